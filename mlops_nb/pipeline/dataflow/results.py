"""IPython's memory of results: ``_`` is the result of the cell above, and travels as a name."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.pipeline.dataflow.values import Value
    from mlops_nb.pipeline.dataflow.world import World

LAST = "_"
_FORBIDDEN = re.compile(r"_{2,3}\Z|_\d+\Z|_i{1,3}\Z|_i\d+\Z|_(oh|ih|dh)\Z|(In|Out)\Z")
_NEVER_NONE = (
    ast.JoinedStr,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.Lambda,
    ast.BinOp,
    ast.Compare,
)


def is_memory(name: str) -> bool:
    """Whether a name is one that IPython numbers or counts, other than ``_``."""
    return name[0] in "_IO" and _FORBIDDEN.match(name) is not None


def note_results(world: World, tree: ast.Module, source: str, value: Value) -> None:
    """Note what a cell reads of IPython's memory, and the result that it leaves there."""
    cell = world.cell
    for name, line in cell.reads.items():
        if is_memory(name) and name not in world.values:
            cell.results = cell.results or (name, line)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or source.rstrip().endswith(";") or LAST in cell.binds:
        return
    if isinstance(last.value, ast.Constant) and last.value.value is None:
        return
    if LAST in world.sites and not all(site.digest == LAST for site in world.sites[LAST]):
        # IPython keeps its hands off a name that is the user's.
        return
    is_sure = isinstance(last.value, (*_NEVER_NONE, ast.Constant))
    world.line = last.lineno
    world.branches += not is_sure
    world.bind(LAST, value, world.site("value", LAST, is_top=False))
    world.branches -= not is_sure
    if not is_sure:
        cell.certain.discard(LAST)
