"""IPython's memory of results: which cells gave one, and which cells read it.

What a cell shows as its result is kept as ``_``, ``__``, ``___``, ``_12`` and ``Out[12]``. A
cell that reads one of these needs the cell that gave it, though no name says so.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from mlops_nb.record import record
from mlops_nb.source import analyse
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from mlops_nb.model import Execution

Certainty = Literal["no", "perhaps", "yes"]

RESULT_FLAG = "result"
"""Flag of an execution that gave a result, where its outputs are not at hand."""

_LAST = {"_": 1, "__": 2, "___": 3}
_NUMBERED = re.compile(r"_(\d+)\Z")
_MEMORIES = frozenset({"Out", "_oh"})
# These are never None, whatever is in them, so such a last line always shows something.
_NEVER_NONE = (
    ast.JoinedStr,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Lambda,
)


@record
class ResultsRead:
    """What a cell reads of IPython's memory of results.

    Attributes
    ----------
    depth
        How far back: 1 for ``_``, 3 for ``___``; 0 if it reads none of them.
    numbers
        The prompts whose results it reads: ``_12``, ``Out[12]``.
    is_any
        Whether it may read any result: ``Out[n]``, or a function that reads ``_``.
    """

    depth: int = 0
    numbers: frozenset[int] = frozenset()
    is_any: bool = False

    @property
    def is_asking(self) -> bool:
        """Whether it reads any of them."""
        return bool(self.depth or self.numbers or self.is_any)


_NOTHING = ResultsRead()


def results_read(execution: Execution) -> ResultsRead:
    """Say which results an execution read.

    Capture notes any of them as a read of ``_``; which one it was stands in the source.
    """
    return _results_in(execution.source) if "_" in execution.reads else _NOTHING


def gives_result(execution: Execution) -> Certainty:
    """Say whether an execution left a result in IPython's memory."""
    if execution.status != "ok" or execution.parent is not None:
        return "no"
    if RESULT_FLAG in execution.flags or any(o.kind == "result" for o in execution.outputs):
        return "yes"
    # With outputs at hand, one that is not among them was not given.
    return "no" if execution.outputs else _shows(execution.source)


@lru_cache(maxsize=1024)
def binds_underscore(source: str) -> bool:
    """Tell whether a cell binds ``_`` itself, as ``for _ in range(3)`` does."""
    return "_" in analyse(source).binds


@lru_cache(maxsize=1024)
def _results_in(source: str) -> ResultsRead:
    tree = parse_cell(source)
    if tree is None:
        return ResultsRead(is_any=True)
    depth, numbers, is_any = 0, set(), False
    indexed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            number = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if node.value.id in _MEMORIES and type(number) is int:
                numbers.add(number)
                indexed.add(id(node.value))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found = _NUMBERED.match(node.id)
            depth = max(depth, _LAST.get(node.id, 0))
            numbers |= {int(found[1])} if found else set()
            is_any = is_any or (node.id in _MEMORIES and id(node) not in indexed)
    if not depth and not numbers:
        is_any = True  # it came through a function
    return ResultsRead(depth, frozenset(numbers), is_any)


@lru_cache(maxsize=1024)
def _shows(source: str) -> Certainty:
    """Judge by its text whether a cell shows a result: its last line is an expression."""
    tree = parse_cell(source)
    if tree is None or not tree.body or source.rstrip().endswith(";"):
        return "no"
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        return "no"
    if isinstance(last.value, ast.Constant):
        return "no" if last.value.value is None else "yes"
    return "yes" if isinstance(last.value, _NEVER_NONE) else "perhaps"
