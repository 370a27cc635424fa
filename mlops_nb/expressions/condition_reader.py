"""The text of a step's condition into a tree; what is wrong is said with its place."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from mlops_nb.errors import BadQuery
from mlops_nb.expressions.conditions import (
    Arithmetic,
    Comparison,
    Constant,
    Coordinate,
    Every,
    Some,
    Unless,
)
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlops_nb.expressions.conditions import Operand, Space, StepCondition

LONGEST = 2_000
_DEEPEST = 50
_MOST_SIGNS = 50
_OPERANDS = (Coordinate, Constant, Arithmetic)

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
  | (?P<name>[^\W\d]\w*(?:\.(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w@%:]+))*)
  | (?P<sign><=|>=|!=|<>|==|[=<>+\-*/(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS = frozenset({"<=", ">=", "!=", "<>", "==", "=", "<", ">"})
_SAME = {"==": "=", "<>": "!="}
_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false", "between"})
_SPACE_OF: Mapping[str, Space] = {
    "live": "live",
    "metric": "metrics",
    "metrics": "metrics",
    "param": "params",
    "parameter": "params",
    "parameters": "params",
    "params": "params",
}


@record
class _Token:
    kind: str
    text: str
    at: int


@functools.lru_cache(maxsize=128)
def read_condition(text: str) -> StepCondition:
    """Understand a text as a condition.

    Raises
    ------
    BadQuery
        With the position of the character that does not fit.
    """
    return _Reader(text).condition()


class _Reader:
    """Reads one text, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > LONGEST:
            problem = f"This condition is longer than {LONGEST:,} characters."
            raise BadQuery(f"{text[:60]}…", 0, problem)
        self._tokens = list(self._cut())
        self._next = 0
        self._depth = 0
        self._signs = 0

    def condition(self) -> StepCondition:
        found = self._as_condition(self._either(), 0)
        if self._token.kind != "end":
            raise self._unexpected("and, or, or the end")
        return found

    def _cut(self) -> Iterator[_Token]:
        at, end = 0, len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                start = at + len(self._text[at:]) - len(self._text[at:].lstrip())
                raise self._wrong(start, self._no_token(self._text[start]))
            kind = str(found.lastgroup)
            word = found[kind]
            if kind == "name" and word.lower() in _WORDS:
                kind, word = "word", word.lower()
            yield _Token(kind, word, found.start(found.lastgroup or 0))
            at = found.end()
        yield _Token("end", "", end)

    @staticmethod
    def _no_token(letter: str) -> str:
        if letter in "'\"":
            return "This quote is not closed."
        shown = letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
        return f'A condition has no "{shown}".'

    # --- from weak to strong ------------------------------------------------------------------

    def _either(self) -> StepCondition | Operand:
        return self._joined("or", self._both, Some)

    def _both(self) -> StepCondition | Operand:
        return self._joined("and", self._negation, Every)

    def _joined(
        self,
        word: str,
        read: Callable[[], StepCondition | Operand],
        kind: type[Some | Every],
    ) -> StepCondition | Operand:
        at = self._token.at
        first = read()
        if not self._takes("word", word):
            return first
        items = [self._as_condition(first, at)]
        while True:
            at = self._token.at
            items.append(self._as_condition(read(), at))
            if not self._takes("word", word):
                return kind(tuple(items))

    def _negation(self) -> StepCondition | Operand:
        if not self._takes("word", "not"):
            return self._comparison()
        self._depth += 1
        self._refuse_depth()
        at = self._token.at
        found = Unless(self._as_condition(self._negation(), at))
        self._depth -= 1
        return found

    def _comparison(self) -> StepCondition | Operand:
        at = self._token.at
        left = self._sum()
        token = self._token
        if token.kind == "sign" and token.text in _COMPARISONS:
            self._next += 1
            word = _SAME.get(token.text, token.text)
            return self._compared(word, self._as_operand(left, at), [self._operand()])
        if token.kind == "word" and token.text in {"not", "in", "is", "between"}:
            return self._compared_by_word(self._as_operand(left, at))
        return left

    def _compared_by_word(self, left: Operand) -> Comparison:
        if self._takes("word", "is"):
            word = "is not null" if self._takes("word", "not") else "is null"
            self._need("word", "null")
            return Comparison(word, left)
        negated = "not " if self._takes("word", "not") else ""
        if self._takes("word", "between"):
            low = self._operand()
            self._need("word", "and")
            return self._compared(f"{negated}between", left, [low, self._operand()])
        self._need("word", "in")
        self._need("sign", "(")
        choices = [self._operand()]
        while self._takes("sign", ","):
            choices.append(self._operand())
        self._need("sign", ")")
        return self._compared(f"{negated}in", left, choices)

    def _sum(self) -> StepCondition | Operand:
        return self._chained("+-", self._product)

    def _product(self) -> StepCondition | Operand:
        return self._chained("*/", self._atom)

    def _chained(
        self, signs: str, read: Callable[[], StepCondition | Operand]
    ) -> StepCondition | Operand:
        at = self._token.at
        found = read()
        while self._token.kind == "sign" and self._token.text in signs:
            token = self._token
            self._next += 1
            self._signs += 1
            if self._signs > _MOST_SIGNS:
                raise self._wrong(token.at, f"There are more than {_MOST_SIGNS} of + - * /.")
            left = self._as_number(found, at)
            at_right = self._token.at
            found = Arithmetic(token.text, left, self._as_number(read(), at_right))
        return found

    def _atom(self) -> StepCondition | Operand:
        token = self._token
        self._next += 1
        match token.kind, token.text:
            case "number", text:
                return Constant(float(text))
            case "text", text:
                return Constant(_unquoted(text))
            case "word", "true" | "false":
                return Constant(token.text)
            case "name", text:
                return self._coordinate(token, text)
            case "sign", "+" | "-" if self._token.kind == "number":
                number = self._token
                self._next += 1
                return Constant(float(number.text) * (-1 if token.text == "-" else 1))
            case "sign", "(":
                return self._bracketed()
        self._next -= 1
        raise self._unexpected("a value such as metrics.auc, a number, or text in quotes")

    def _bracketed(self) -> StepCondition | Operand:
        self._depth += 1
        self._refuse_depth()
        found = self._either()
        self._need("sign", ")")
        self._depth -= 1
        return found

    def _coordinate(self, token: _Token, text: str) -> Coordinate:
        space, *parts = re.findall(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^.]+", text)
        name = ".".join(_unquoted(part) if part[0] in "'\"" else part for part in parts)
        known = _SPACE_OF.get(space.lower())
        if known is not None and name:
            return Coordinate(known, name)
        if known is not None:
            raise self._wrong(token.at, f"{space} needs a name: {known}.NAME.")
        raise self._wrong(token.at, _no_such_name(space, name))

    # --- what fits ----------------------------------------------------------------------------

    def _operand(self) -> Operand:
        at = self._token.at
        return self._as_operand(self._sum(), at)

    def _compared(self, word: str, left: Operand, right: list[Operand]) -> Comparison:
        operands = (left, *right)
        is_number = any(_is_number(one) for one in operands)
        texts = [one for one in operands if isinstance(one, Constant) and type(one.value) is str]
        if is_number and texts:
            number = next(one for one in operands if _is_number(one))
            shown = number if isinstance(number, Coordinate) else "a number"
            raise self._wrong(
                self._text.find(str(texts[0].value)),
                f"{shown} is a number; compare it with one, without quotes.",
            )
        return Comparison(word, left, tuple(right))

    def _as_condition(self, node: StepCondition | Operand, at: int) -> StepCondition:
        if not isinstance(node, _OPERANDS):
            return node
        is_flag = isinstance(node, Coordinate) and node.space == "params"
        if is_flag or node in {Constant("true"), Constant("false")}:
            return Comparison("is true", node)
        raise self._wrong(at, "Compare this with something: metrics.auc > 0.9.")

    def _as_operand(self, node: StepCondition | Operand, at: int) -> Operand:
        if isinstance(node, _OPERANDS):
            return node
        raise self._wrong(at, "This is a condition; a value is compared with a value.")

    def _as_number(self, node: StepCondition | Operand, at: int) -> Operand:
        operand = self._as_operand(node, at)
        if isinstance(operand, Constant) and isinstance(operand.value, str):
            raise self._wrong(at, "Only numbers can be added, subtracted, multiplied and divided.")
        return operand

    # --- one token ----------------------------------------------------------------------------

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _takes(self, kind: str, text: str) -> bool:
        is_next = self._token.kind == kind and self._token.text == text
        self._next += is_next
        return is_next

    def _need(self, kind: str, text: str) -> None:
        if not self._takes(kind, text):
            raise self._unexpected(f'"{text}"')

    def _refuse_depth(self) -> None:
        if self._depth > _DEEPEST:
            raise self._wrong(self._token.at, f"Parentheses and nots nest deeper than {_DEEPEST}.")

    def _unexpected(self, wanted: str) -> BadQuery:
        token = self._token
        found = f'Found "{token.text[:40]}"' if token.text else "The condition ends too early"
        return self._wrong(token.at, f"{found}; expected {wanted}.")

    def _wrong(self, at: int, problem: str) -> BadQuery:
        return BadQuery(self._text, max(at, 0), problem)


def _is_number(operand: Operand) -> bool:
    match operand:
        case Coordinate():
            return operand.space != "params"
        case Constant():
            return isinstance(operand.value, float)
        case Arithmetic():
            return True


def _no_such_name(space: str, name: str) -> str:
    from difflib import get_close_matches

    spaces = "metrics, params and live (the metrics of the live model)"
    if not name:
        return (
            f"There is no {space}. Did you mean metrics.{space} (or params.{space})? "
            f"Text stands in quotes: '{space}'."
        )
    near = get_close_matches(space.lower(), _SPACE_OF, n=1)
    hint = f" Did you mean {_SPACE_OF[near[0]]}.{name}?" if near else ""
    return f"There are {spaces}, no {space}.{hint}"


def _unquoted(text: str) -> str:
    quote, inner = text[0], text[1:-1]
    return re.sub(rf"\\([\\{quote}])|{quote}({quote})", r"\1\2", inner)


__all__ = ["LONGEST", "read_condition"]
