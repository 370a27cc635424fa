"""The grammar of queries, and how it names what it expects."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mlops_nb.expressions.times import DURATION

if TYPE_CHECKING:
    from collections.abc import Iterable

_GRAMMAR = r"""
query: [disjunction] [order] [limit]
order: ORDER BY ordering
ordering: sort ("," sort)*
sort: FIELD [ASC | DESC] [NULLS (FIRST | LAST)]
limit: LIMIT NUMBER

?disjunction: conjunction (OR conjunction)*
?conjunction: negation (AND negation)*
?negation: NOT negation -> negated
         | comparison
         | between
         | "(" disjunction ")"
comparison: FIELD
          | FIELD OPERATOR value
          | FIELD LIKE STRING
          | FIELD NOT LIKE STRING
          | FIELD ILIKE STRING
          | FIELD NOT ILIKE STRING
          | FIELD CONTAINS STRING
          | FIELD NOT CONTAINS STRING
          | FIELD IN "(" value ("," value)* ")"
          | FIELD NOT IN "(" value ("," value)* ")"
          | FIELD IS NULL
          | FIELD IS NOT NULL
between: FIELD BETWEEN value AND value
       | FIELD NOT BETWEEN value AND value
?value: NUMBER | DURATION | STRING | TRUE | FALSE

OPERATOR: /<=|>=|!=|<>|==|=|<|>/
WORDS
NUMBER.2: /[+-]?(?:(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf)(?![\w.])/i
DURATION.2: /[+-]?LENGTH(?![\w.])/i
STRING: /'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"/s
FIELD: WORD ("." (QUOTED | BARE))*
WORD: /(?!KEYWORD(?![\w.]))[^\W\d]\w*/
QUOTED: /"(?:[^"\\]|\\.|"")*"/ | /'(?:[^'\\]|\\.|'')*'/
BARE: /[\w@%\/:+-]+/
%ignore /\s+/
"""

# These cannot be the name of a field; the others only mean something where one cannot stand.
_KEYWORDS = "and or not like in is null true false order by asc desc limit".split()  # noqa: SIM905 - words
_WORDS = [*_KEYWORDS, "ilike", "contains", "between", "nulls", "first", "last"]

_VALUE = "a number or text in quotes"
_COMPARISON = "a comparison (=, !=, <, <=, >, >=, like, in, between, is null)"
_NAMES = {
    "FIELD": "a field such as metrics.auc",
    "NUMBER": "a number",
    "STRING": "text in quotes",
    "LPAR": '"("',
    "RPAR": '")"',
    "COMMA": '","',
    "$END": "the end",
}


@functools.cache
def parser() -> Any:
    """Make the parser, once."""
    from lark import Lark

    words = "\n".join(f"{word.upper()}.2: /{word}(?![\\w.])/i" for word in _WORDS)
    grammar = _GRAMMAR.replace("KEYWORD", f"(?i:{'|'.join(_KEYWORDS)})")
    grammar = grammar.replace("WORDS", words).replace("LENGTH", DURATION)
    # No cache on disk: lark's is a pickle in the shared temporary folder.
    return Lark(
        grammar, start=["query", "ordering"], parser="lalr", lexer="contextual", regex=False
    )


def expectation(names: Iterable[str]) -> str:
    """Say what the grammar expects, in a person's words.

    Examples
    --------
    >>> expectation({"RPAR", "COMMA"})
    '"," or ")"'
    """
    expected = set(names) - {"DURATION"}
    if "OPERATOR" in expected:
        return _COMPARISON
    if {"NUMBER", "STRING"} <= expected:
        return _VALUE
    listed = [_NAMES.get(name, name.lower()) for name in sorted(expected)]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
