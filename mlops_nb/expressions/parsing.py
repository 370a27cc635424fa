"""Text into a tree, by lark; what is wrong is said with its place."""

from __future__ import annotations

import difflib
import re
import time
from typing import TYPE_CHECKING, Any, Literal, get_args

from mlops_nb.errors import BadQuery
from mlops_nb.expressions import times
from mlops_nb.expressions.grammar import expectation, parser
from mlops_nb.expressions.tree import (
    DURATION_FIELDS,
    FLAG_FIELDS,
    NUMBER_FIELDS,
    RUN_FIELDS,
    TIME_FIELDS,
    Both,
    Compare,
    Either,
    Field,
    Not,
    Order,
    Query,
)
from mlops_nb.model import RunKind, RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.expressions.tree import Condition, Operator, Space, Value

_SPACES: Mapping[str, Space] = {
    "params": "params",
    "param": "params",
    "metrics": "metrics",
    "metric": "metrics",
    "tags": "tags",
    "tag": "tags",
}
_WORDS = {"status": get_args(RunStatus), "kind": get_args(RunKind)}
# What other tools, and people, call our fields.
_ALSO_CALLED = {
    "comment": "note",
    "created": "started_at",
    "created_at": "started_at",
    "date": "started_at",
    "description": "note",
    "duration": "duration_s",
    "end_time": "ended_at",
    "favorite": "starred",
    "finished_at": "ended_at",
    "run_id": "id",
    "run_name": "name",
    "star": "starred",
    "start_time": "started_at",
    "state": "status",
    "type": "kind",
}

LONGEST = 10_000
_DEEPEST = 50
_MOST_COMPARISONS = 200  # far below the depth that databases allow
_OPERATOR_WORDS = frozenset(
    {"OPERATOR", "LIKE", "ILIKE", "CONTAINS", "NOT", "IN", "IS", "NULL", "BETWEEN", "AND"}
)
_SAME = {"==": "=", "<>": "!=", "contains": "like", "not contains": "not like"}
_PATTERNS = frozenset({"like", "not like", "ilike", "not ilike", "contains", "not contains"})
# What a person means by a word that stands where a value should.
_NOT_VALUES = {"nan": "is null", "none": "is null", "null": "is null"}


class Parser:
    """Makes a tree of one text, with the place of whatever is wrong."""

    def __init__(self, text: str, *, now_ns: int | None = None) -> None:
        self._text = text
        self._now_ns = time.time_ns() if now_ns is None else now_ns
        self._comparisons = 0
        if len(text) > LONGEST:
            problem = f"This query is longer than {LONGEST:,} characters."
            raise BadQuery(f"{text[:60]}…", 0, problem)
        if "\0" in text:
            raise BadQuery(text, text.index("\0"), "Here is a NUL character, which no text has.")

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
            return parser().parse(self._text, start=start)
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
            raise self._wrong(_first(tree), f"Parentheses and nots nest deeper than {_DEEPEST}.")
        match tree.data:
            case "comparison":
                return self._comparison(tree.children)
            case "between":
                return self._between(tree.children)
            case "negated":
                return Not(self._condition(tree.children[-1], depth + 1))
            case _:
                parts = tuple(
                    self._condition(child, depth + 1)
                    for child in tree.children
                    if hasattr(child, "data")
                )
                return Both(parts) if tree.data == "conjunction" else Either(parts)

    def _comparison(self, children: list[Any]) -> Condition:
        field = self._field(children[0])
        words, tokens = _told_apart(children[1:])
        if _kind(field) == "flag":
            return self._flag(field, children[0], words, tokens)
        if not words:
            raise self._unexpected(self._next_place(children[0]), {"OPERATOR"})
        return self._compared(field, words, tokens)

    def _between(self, children: list[Any]) -> Condition:
        field = self._field(children[0])
        words, (low, high) = _told_apart(children[1:])
        if _kind(field) == "any" and (low.type == "STRING") != (high.type == "STRING"):
            raise self._wrong(high, "Both ends are numbers, or both are text.")
        if words.startswith("not "):
            outside = self._compared(field, "<", [low]), self._compared(field, ">", [high])
            return Either(outside)
        return Both((self._compared(field, ">=", [low]), self._compared(field, "<=", [high])))

    def _compared(self, field: Field, written: str, tokens: Sequence[Any]) -> Condition:
        self._count(tokens[0] if tokens else None)
        operator: Operator = _SAME.get(written, written)  # type: ignore[assignment]
        if _kind(field) == "time" and written not in _PATTERNS and tokens:
            for token in tokens[1:]:
                self._count(token)
            return _about_time(field, operator, [self._span(token, field) for token in tokens])
        values = tuple(self._literal(token, field, written) for token in tokens)
        return Compare(field, operator, values)

    def _count(self, token: Any) -> None:
        self._comparisons += 1
        if self._comparisons > _MOST_COMPARISONS:
            at = 0 if token is None else token.start_pos
            problem = f"There are more than {_MOST_COMPARISONS} comparisons."
            raise BadQuery(self._text, at, problem)

    def _flag(self, field: Field, named: Any, words: str, tokens: Sequence[Any]) -> Compare:
        self._count(named)
        is_plain = not tokens or (len(tokens) == 1 and tokens[0].type in {"TRUE", "FALSE"})
        if words not in {"", "=", "==", "!=", "<>"} or not is_plain:
            at = tokens[0] if tokens else named
            raise self._wrong(at, f"{field} is true or false: {field} = true.")
        is_set = (not tokens or tokens[0].type == "TRUE") != (words in {"!=", "<>"})
        return Compare(field, "=", (is_set,))

    def _field(self, token: Any) -> Field:
        space, *parts = _pieces(token)
        if not parts:
            if space not in RUN_FIELDS:
                raise self._wrong(token, _no_such_field(space))
            return Field("run", space)
        if space not in _SPACES:
            near = difflib.get_close_matches(space[:50], _SPACES, n=1)
            hint = f" Did you mean {near[0]}.{_cut('.'.join(parts))}?" if near else ""
            raise self._wrong(
                token, f"There are params, metrics and tags, no {_cut(space)}.{hint}"
            )
        return Field(_SPACES[space], _storable(".".join(parts)))

    def _literal(self, token: Any, field: Field, written: str) -> Value:
        kind = _kind(field)
        if token.type == "DURATION":
            return self._duration(token, field, kind)
        value = _literal_value(token)
        if written in _PATTERNS:
            return self._pattern(token, str(value), field, kind, written)
        if kind == "number" and isinstance(value, str):
            raise self._wrong(token, f"{field} is a number; compare it with one, without quotes.")
        if kind == "text" and not isinstance(value, str):
            raise self._wrong(token, f"{field} is text; put the value in quotes: '{_cut(token)}'.")
        known = _WORDS.get(field.name) if field.space == "run" else None
        if known and value not in known and written in {"=", "==", "!=", "<>", "in", "not in"}:
            listed = ", ".join(known)
            raise self._wrong(token, f"No {field} is {_cut(token)}; there are {listed}.")
        return value

    def _duration(self, token: Any, field: Field, kind: str) -> float:
        if field.space == "metrics" or (field.space == "run" and field.name in DURATION_FIELDS):
            return times.seconds(token)
        if kind == "number":
            raise self._wrong(token, f"{field} is a number without a unit.")
        raise self._wrong(token, f"Put text in quotes: '{_cut(token)}'.")

    def _pattern(self, token: Any, pattern: str, field: Field, kind: str, written: str) -> str:
        if kind in {"number", "time"}:
            raise self._wrong(token, f"{field} is no text; compare it with =, <, > instead.")
        if written.endswith("contains"):
            return "%" + re.sub(r"([\\%_])", r"\\\1", pattern) + "%"
        if len(re.findall(r"\\*$", pattern)[0]) % 2:
            raise self._wrong(token, "The pattern ends with a \\ that escapes nothing.")
        return pattern

    def _span(self, token: Any, field: Field) -> tuple[int, int]:
        text = str(token) if token.type == "DURATION" else str(_literal_value(token)).strip()
        if re.fullmatch(rf"[+-]{times.DURATION}", text, re.IGNORECASE):
            at = times.before(self._now_ns, text)
            return at, at
        try:
            return times.span(text)
        except (ValueError, OverflowError):
            pass
        if token.type == "DURATION":
            raise self._wrong(token, f"Write -{text} for that long ago.")
        problem = (
            f"{field} is a time; write it as '2026-11-21' or '2026-11-21T09:30' (UTC), "
            "or as -7d (7 days ago)."
        )
        raise self._wrong(token, problem)

    def _orders(self, tree: Any) -> tuple[Order, ...]:
        orders = []
        for sort in tree.children:
            words = {token.type for token in sort.children[1:] if token is not None}
            orders.append(Order(self._field(sort.children[0]), "DESC" in words, "FIRST" in words))
        return tuple(orders)

    def _limit(self, token: Any) -> int:
        if not re.fullmatch(r"\+?[\d_]{1,18}", token):
            raise self._wrong(token, "A limit is a whole number, 0 or more.")
        return int(token)

    # --- what is wrong ------------------------------------------------------------------------

    def _wrong(self, token: Any, problem: str) -> BadQuery:
        return BadQuery(self._text, token.start_pos, problem)

    def _next_place(self, token: Any) -> int:
        """Give the place of what comes after a token."""
        rest = self._text[token.end_pos :]
        return int(token.end_pos) + (len(rest) - len(rest.lstrip()) if rest.strip() else 0)

    def _unexpected(self, position: int, expected: set[str]) -> BadQuery:
        found = re.match(r"[\w.]+|.", self._text.rstrip()[position:], flags=re.DOTALL)
        word = found[0] if found else ""
        if word in {"'", '"'}:
            return BadQuery(self._text, position, "This quote is not closed.")
        if {"STRING", "NUMBER"} <= expected and re.fullmatch(r"[^\W\d][\w.]*", word):
            hint = _NOT_VALUES.get(word.lower())
            problem = (
                f'Write "{hint}" instead.' if hint else f"Put text in quotes: '{_cut(word)}'."
            )
            return BadQuery(self._text, position, problem)
        at = f'Found "{_cut(word)}"' if word else "The query ends too early"
        return BadQuery(self._text, position, f"{at}; expected {expectation(expected)}.")


def _about_time(field: Field, operator: Operator, spans: Sequence[tuple[int, int]]) -> Condition:
    """Compare a time with moments and whole days: exactly one of <, = and > holds."""
    first, after = spans[0]
    is_day = after > first
    match operator:
        case "=" | "in":
            return _either([_within(field, span) for span in spans])
        case "!=" | "not in":
            inside = _either([_within(field, span) for span in spans])
            return Both((Compare(field, "is not null"), Not(inside)))
        case ">" if is_day:
            return Compare(field, ">=", (after,))
        case "<=" if is_day:
            return Compare(field, "<", (after,))
        case _:
            return Compare(field, operator, (first,))


def _within(field: Field, span: tuple[int, int]) -> Condition:
    first, after = span
    if after == first:
        return Compare(field, "=", (first,))
    return Both((Compare(field, ">=", (first,)), Compare(field, "<", (after,))))


def _either(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else Either(tuple(parts))


def _kind(field: Field) -> Literal["any", "text", "number", "time", "flag"]:
    """Say with what a field can be compared; parameters are of any kind."""
    if field.space == "params":
        return "any"
    if field.space != "run":
        return "number" if field.space == "metrics" else "text"
    if field.name in FLAG_FIELDS:
        return "flag"
    if field.name in NUMBER_FIELDS:
        return "number"
    return "time" if field.name in TIME_FIELDS else "text"


def _told_apart(tokens: Sequence[Any]) -> tuple[str, list[Any]]:
    """Tell the words of an operator from its values."""
    words = [token.lower() for token in tokens if token.type in _OPERATOR_WORDS]
    return " ".join(words), [token for token in tokens if token.type not in _OPERATOR_WORDS]


def _first(tree: Any) -> Any:
    """Give the first token of a tree, however deep it is."""
    while hasattr(tree, "children"):
        tree = next(child for child in tree.children if child is not None)
    return tree


def _no_such_field(name: str) -> str:
    if name in _SPACES:
        return f"{name} needs a name: {name}.NAME."
    meant = _ALSO_CALLED.get(name.lower())
    near = difflib.get_close_matches(name[:50].lower(), RUN_FIELDS, n=1, cutoff=0.75)
    shown = _cut(name)
    if meant or near:
        return f"There is no field {shown}. Did you mean {meant or near[0]}?"
    return (
        f"There is no field {shown}. Did you mean metrics.{shown} (or params.{shown}, "
        f"tags.{shown})?"
    )


def _pieces(token: str) -> list[str]:
    """Cut ``metrics."train.accuracy"`` at the dots outside of quotes."""
    parts = re.findall(r"\"(?:[^\"\\]|\\.|\"\")*\"|'(?:[^'\\]|\\.|'')*'|[^.]+", token, re.DOTALL)
    return [_unquoted(part) if part[0] in "'\"" else part for part in parts]


def _literal_value(token: Any) -> float | str:
    match token.type:
        case "NUMBER":
            return float(token)
        case "STRING":
            return _storable(_unquoted(token))
        case _:
            return str(token).lower()  # true and false, as `comparable` writes them


def _storable(text: str) -> str:
    """Write what no database can encode as stores do, so that it finds what they hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unquoted(text: str) -> str:
    quote, inner = text[0], text[1:-1]
    # Other escapes stay: they are a pattern's own, or a path's.
    return re.sub(rf"\\([\\{quote}])|{quote}({quote})", r"\1\2", inner)


def _cut(text: str) -> str:
    """Give what was found as a message can hold it: short, and without control characters."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:61])
    return shown if len(shown) <= 60 else f"{shown[:60]}…"  # noqa: PLR2004 - a message, not a page
