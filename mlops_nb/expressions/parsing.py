"""Text into a tree, by lark; what is wrong is said with its place."""

from __future__ import annotations

import difflib
import functools
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, get_args

from mlops_nb.errors import BadQuery
from mlops_nb.expressions.tree import (
    NUMBER_FIELDS,
    TEXT_FIELDS,
    TIME_FIELDS,
    Both,
    Compare,
    Either,
    Field,
    Not,
    Order,
    Query,
)
from mlops_nb.expressions.values import nanoseconds
from mlops_nb.model import RunKind, RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.expressions.tree import Condition, Space, Value

_FIELDS = (*sorted(TEXT_FIELDS), *sorted(NUMBER_FIELDS), *sorted(TIME_FIELDS))
_SPACES: Mapping[str, Space] = {
    "params": "params",
    "param": "params",
    "metrics": "metrics",
    "metric": "metrics",
    "tags": "tags",
    "tag": "tags",
}
_WORDS = {"status": get_args(RunStatus), "kind": get_args(RunKind)}

LONGEST = 10_000
_DEEPEST = 50
_MOST_COMPARISONS = 200  # far below the depth that databases allow


_GRAMMAR = r"""
query: [disjunction] [order] [limit]
order: ORDER BY ordering
ordering: sort ("," sort)*
sort: FIELD [ASC | DESC]
limit: LIMIT NUMBER

?disjunction: conjunction (OR conjunction)*
?conjunction: negation (AND negation)*
?negation: NOT negation -> negated
         | comparison
         | "(" disjunction ")"
comparison: FIELD OPERATOR value
          | FIELD LIKE STRING
          | FIELD NOT LIKE STRING
          | FIELD IN "(" value ("," value)* ")"
          | FIELD NOT IN "(" value ("," value)* ")"
          | FIELD IS NULL
          | FIELD IS NOT NULL
?value: NUMBER | STRING | TRUE | FALSE

OPERATOR: /<=|>=|!=|<>|==|=|<|>/
AND.2: /and(?![\w.])/i
OR.2: /or(?![\w.])/i
NOT.2: /not(?![\w.])/i
LIKE.2: /like(?![\w.])/i
IN.2: /in(?![\w.])/i
IS.2: /is(?![\w.])/i
NULL.2: /null(?![\w.])/i
TRUE.2: /true(?![\w.])/i
FALSE.2: /false(?![\w.])/i
ORDER.2: /order(?![\w.])/i
BY.2: /by(?![\w.])/i
ASC.2: /asc(?![\w.])/i
DESC.2: /desc(?![\w.])/i
LIMIT.2: /limit(?![\w.])/i
NUMBER.2: /[+-]?(?:(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf)(?![\w.])/i
STRING: /'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"/s
FIELD: WORD ("." (QUOTED | BARE))*
WORD: /(?!KEYWORD(?![\w.]))[^\W\d]\w*/
QUOTED: /"(?:[^"\\]|\\.|"")*"/ | /'(?:[^'\\]|\\.|'')*'/
BARE: /[\w@%\/:+-]+/
%ignore /\s+/
"""

_VALUE = "a number or text in quotes"
_COMPARISON = "a comparison (=, !=, <, <=, >, >=, like, in, is null)"
_NAMES = {
    "FIELD": "a field such as metrics.auc",
    "NUMBER": "a number",
    "STRING": "text in quotes",
    "LPAR": '"("',
    "RPAR": '")"',
    "COMMA": '","',
    "$END": "the end",
}
# What a person means by a word that stands where a value should.
_NOT_VALUES = {"nan": "is null", "none": "is null", "null": "is null"}


@functools.cache
def _parser() -> Any:
    from lark import Lark

    # No cache on disk: lark's is a pickle in the shared temporary folder.
    words = "and|or|not|like|in|is|null|true|false|order|by|asc|desc|limit"
    grammar = _GRAMMAR.replace("KEYWORD", f"(?i:{words})")
    return Lark(
        grammar, start=["query", "ordering"], parser="lalr", lexer="contextual", regex=False
    )


class Parser:
    """Makes a tree of one text, with the place of whatever is wrong."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._comparisons = 0
        if len(text) > LONGEST:
            problem = f"This query is longer than {LONGEST:,} characters."
            raise BadQuery(f"{text[:60]}…", 0, problem)

    def query(self) -> Query:
        """Understand the text as a query."""
        where: Condition | None = None
        order: tuple[Order, ...] = ()
        limit: int | None = None
        for part in self._parse("query").children:
            if part is None:
                continue
            if part.data == "order":
                order = self._orders(part.children[-1])
            elif part.data == "limit":
                limit = self._limit(part.children[-1])
            else:
                where = self._condition(part, 0)
        return Query(self._text, where, order, limit)

    def ordering(self) -> tuple[Order, ...]:
        """Understand the text as what stands after ``order by``."""
        return self._orders(self._parse("ordering"))

    def _parse(self, start: str) -> Any:
        from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken

        try:
            return _parser().parse(self._text, start=start)
        except UnexpectedCharacters as error:
            raise self._unexpected(int(error.pos_in_stream or 0), error.allowed or set()) from None
        except UnexpectedToken as error:
            is_end = error.token.type == "$END"
            position = len(self._text.rstrip()) if is_end else int(error.pos_in_stream or 0)
            raise self._unexpected(position, error.accepts or error.expected) from None
        except UnexpectedEOF as error:
            raise self._unexpected(len(self._text.rstrip()), set(error.expected)) from None

    # --- what lark found, as our tree ---------------------------------------------------------

    def _condition(self, tree: Any, depth: int) -> Condition:
        if depth > _DEEPEST:
            first = next(tree.scan_values(lambda _: True))
            raise self._wrong(first, f"Parentheses and nots nest deeper than {_DEEPEST}.")
        match tree.data:
            case "comparison":
                return self._comparison(tree.children)
            case "negated":
                return Not(self._condition(tree.children[-1], depth + 1))
            case _:
                parts = tuple(
                    self._condition(child, depth + 1)
                    for child in tree.children
                    if hasattr(child, "data")
                )
                return Both(parts) if tree.data == "conjunction" else Either(parts)

    def _comparison(self, children: list[Any]) -> Compare:
        self._comparisons += 1
        if self._comparisons > _MOST_COMPARISONS:
            raise self._wrong(children[0], f"There are more than {_MOST_COMPARISONS} comparisons.")
        field = self._field(children[0])
        words = [c for c in children[1:] if c.type in _OPERATOR_WORDS]
        tokens = [c for c in children[1:] if c.type not in _OPERATOR_WORDS]
        written = " ".join(word.lower() for word in words)
        operator = _SAME.get(written, written)
        values = tuple(self._literal(token, field, operator) for token in tokens)
        return Compare(field, operator, values)  # type: ignore[arg-type]

    def _field(self, token: Any) -> Field:
        space, *parts = _pieces(token)
        if not parts:
            if space not in _FIELDS:
                raise self._wrong(token, self._no_such_field(space))
            return Field("run", space)
        if space not in _SPACES:
            near = difflib.get_close_matches(space, _SPACES, n=1)
            hint = f" Did you mean {near[0]}.{'.'.join(parts)}?" if near else ""
            raise self._wrong(token, f"There are params, metrics and tags, no {space}.{hint}")
        return Field(_SPACES[space], ".".join(parts))

    @staticmethod
    def _no_such_field(name: str) -> str:
        if name in _SPACES:
            return f"{name} needs a name: {name}.NAME."
        if near := difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.75):
            return f"There is no field {name}. Did you mean {near[0]}?"
        return (
            f"There is no field {name}. Did you mean metrics.{name} (or params.{name}, "
            f"tags.{name})?"
        )

    def _literal(self, token: Any, field: Field, operator: str) -> Value:
        value = _literal_value(token)
        kind = _kind(field)
        if operator in {"like", "not like"}:
            return self._pattern(token, str(value), field, kind)
        if kind == "time":
            return self._time(token, value, field)
        if kind == "number" and isinstance(value, str):
            raise self._wrong(token, f"{field} is a number; compare it with one, without quotes.")
        if kind == "text" and not isinstance(value, str):
            raise self._wrong(token, f"{field} is text; put the value in quotes: '{token}'.")
        known = _WORDS.get(field.name) if field.space == "run" else None
        if known and value not in known and operator in {"=", "!=", "in", "not in"}:
            raise self._wrong(token, f"No {field} is {token}; there are {', '.join(known)}.")
        return value

    def _pattern(self, token: Any, pattern: str, field: Field, kind: str) -> str:
        if kind in {"number", "time"}:
            raise self._wrong(token, f"{field} is no text; compare it with =, <, > instead.")
        if len(re.findall(r"\\*$", pattern)[0]) % 2:
            raise self._wrong(token, "The pattern ends with a \\ that escapes nothing.")
        return pattern

    def _time(self, token: Any, value: Value, field: Field) -> int:
        try:
            time = datetime.fromisoformat(str(value))
            return nanoseconds(time if time.tzinfo else time.replace(tzinfo=timezone.utc))
        except (ValueError, OverflowError):
            problem = f"{field} is a time; write it as '2026-11-21' or '2026-11-21T09:30' (UTC)."
            raise self._wrong(token, problem) from None

    def _orders(self, tree: Any) -> tuple[Order, ...]:
        return tuple(
            Order(self._field(sort.children[0]), _is_descending(sort.children[1:]))
            for sort in tree.children
        )

    def _limit(self, token: Any) -> int:
        if not re.fullmatch(r"\+?[\d_]{1,18}", token):
            raise self._wrong(token, "A limit is a whole number, 0 or more.")
        return int(token)

    # --- what is wrong ------------------------------------------------------------------------

    def _wrong(self, token: Any, problem: str) -> BadQuery:
        return BadQuery(self._text, token.start_pos, problem)

    def _unexpected(self, position: int, expected: set[str]) -> BadQuery:
        found = re.match(r"[\w.]+|.", self._text.rstrip()[position:], flags=re.DOTALL)
        word = found[0] if found else ""
        if word in {"'", '"'}:
            return BadQuery(self._text, position, "This quote is not closed.")
        if {"STRING", "NUMBER"} <= expected and re.fullmatch(r"[^\W\d][\w.]*", word):
            hint = _NOT_VALUES.get(word.lower())
            problem = f'Write "{hint}" instead.' if hint else f"Put text in quotes: '{word}'."
            return BadQuery(self._text, position, problem)
        wanted = _listed(_named(expected))
        at = f'Found "{word}"' if word else "The query ends too early"
        return BadQuery(self._text, position, f"{at}; expected {wanted}.")


_OPERATOR_WORDS = frozenset({"OPERATOR", "LIKE", "NOT", "IN", "IS", "NULL"})
_SAME = {"==": "=", "<>": "!="}


def _kind(field: Field) -> Literal["any", "text", "number", "time"]:
    """Say with what a field can be compared; parameters are of any kind."""
    if field.space == "params":
        return "any"
    if field.space == "metrics" or (field.space == "run" and field.name in NUMBER_FIELDS):
        return "number"
    return "time" if field.space == "run" and field.name in TIME_FIELDS else "text"


def _pieces(token: str) -> list[str]:
    """Cut ``metrics."train.accuracy"`` at the dots outside of quotes."""
    parts = re.findall(r"\"(?:[^\"\\]|\\.|\"\")*\"|'(?:[^'\\]|\\.|'')*'|[^.]+", token, re.DOTALL)
    return [_unquoted(part) if part[0] in "'\"" else part for part in parts]


def _literal_value(token: Any) -> float | str:
    match token.type:
        case "NUMBER":
            return float(token)
        case "STRING":
            return _unquoted(token)
        case _:
            return str(token).lower()  # true and false, as `comparable` writes them


def _unquoted(text: str) -> str:
    quote, inner = text[0], text[1:-1]
    # Other escapes stay: they are a pattern's own, or a path's.
    return re.sub(rf"\\([\\{quote}])|{quote}({quote})", r"\1\2", inner)


def _is_descending(rest: list[Any]) -> bool:
    return bool(rest) and rest[0] is not None and rest[0].type == "DESC"


def _named(expected: set[str]) -> list[str]:
    """Name what the grammar expects, in a person's words."""
    if "OPERATOR" in expected:
        return [_COMPARISON]
    if {"NUMBER", "STRING"} <= expected:
        return [_VALUE]
    return [_NAMES.get(name, name.lower()) for name in sorted(expected)]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
