"""The parameters cell of a step: what is given, and what follows from it.

Papermill puts the values that it is given into a cell right below the one tagged ``parameters``.
What the author has worked out in that cell (``path = folder / name``) would keep the old values.
So the cell is written in two: what can be given stands in the tagged cell, and what follows from
it in the cell below the injected one, unless it is given itself.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mlops_nb.pipeline.writing.positions import Block, blocks_of, names_bound, names_read
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

# Calls that give the same value at any time, and do nothing else.
_PURE = frozenset(
    """
    bool bytes complex dict float frozenset int len list max min range round set sorted str sum
    tuple abs Path PurePath PosixPath date datetime time timedelta Decimal Fraction UUID timezone
    ZoneInfo compile array arange linspace join format
    """.split()  # noqa: SIM905 - a list of words reads better than one of strings
)
_FOLLOWS = "# Follows from the parameters, also from values given with -p."
_UNLESS_GIVEN = "# worked out below, unless given"


@record
class ParameterCells:
    """What stands in the notebook of a step instead of the parameters cells.

    Attributes
    ----------
    given
        Text of the tagged cell; empty if the step needs none.
    follows
        Text of the cell below it; empty if nothing follows.
    """

    given: str
    follows: str = ""


def split_parameters(
    sources: Sequence[str], needed: Collection[str] | None = None
) -> ParameterCells:
    r"""Write parameters cells as what is given and what follows from it.

    Cells in which that cannot be done for sure (a name bound twice, a loop, a magic) stay one
    cell as they are.

    Parameters
    ----------
    sources
        Of the cells, in their order.
    needed
        Names that are read; what they follow from comes along. All if left out.

    Examples
    --------
    >>> split_parameters(["n = 3\nm = n * 2"]).given
    'n = 3\nm = None  # worked out below, unless given'
    >>> print(split_parameters(["n = 3\nm = n * 2"]).follows)
    # Follows from the parameters, also from values given with -p.
    if m is None:
        m = n * 2
    """
    whole = "\n\n".join(source.strip("\n") for source in sources if source.strip())
    blocks = blocks_of(whole)
    if blocks is None or not _can_split(blocks):
        return ParameterCells(whole)
    kept = _needed(blocks, needed)
    if not any(block.statements for block in kept):
        return ParameterCells("")
    given, follows = _sorted_out(kept)
    if not follows:
        return ParameterCells(_joined(given))
    announced = [
        f"{_target(block)} = None  {_UNLESS_GIVEN}" for block in follows if _target(block)
    ]
    return ParameterCells(
        "\n".join(part for part in (_joined(given), *announced) if part),
        "\n".join([_FOLLOWS, *(_unless_given(block) for block in follows)]),
    )


def _can_split(blocks: Iterable[Block]) -> bool:
    """Say whether the order of the statements matters only through the names they bind."""
    bound: set[str] = set()
    late = _bound_somewhere(blocks)
    for block in blocks:
        for statement in block.statements:
            names = set(names_bound(statement))
            if not (
                _is_assignment(statement) or isinstance(statement, ast.Import | ast.ImportFrom)
            ):
                return False
            # A name that is bound later has another value here, from the prelude.
            if names & bound or (names_read([statement]) & late) - bound:
                return False
            # Set further in, a text of several lines would be another text.
            if not _is_constant(statement) and _has_long_text(statement):
                return False
            bound |= names
        if len(block.statements) > 1 and any(
            _reads(statement, late) or not _is_constant(statement)
            for statement in block.statements
        ):
            return False
    return True


def _has_long_text(statement: ast.stmt) -> bool:
    return any(
        isinstance(node, ast.Constant | ast.JoinedStr) and node.lineno != node.end_lineno
        for node in ast.walk(statement)
    )


def _bound_somewhere(blocks: Iterable[Block]) -> set[str]:
    return {name for b in blocks for s in b.statements for name in names_bound(s)}


def _is_assignment(statement: ast.stmt) -> bool:
    """Say whether a statement binds one name, or several to constants, and does nothing else."""
    if isinstance(statement, ast.AnnAssign):
        return isinstance(statement.target, ast.Name) and statement.value is not None
    if not isinstance(statement, ast.Assign):
        return False
    if any(isinstance(node, ast.NamedExpr | ast.Await) for node in ast.walk(statement)):
        return False
    if len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return True
    return _is_constant(statement) and not any(
        isinstance(node, ast.Attribute | ast.Subscript | ast.Starred)
        for target in statement.targets
        for node in ast.walk(target)
    )


def _is_constant(statement: ast.stmt) -> bool:
    """Say whether the value of an assignment is a literal."""
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.expr):
        return False
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _reads(statement: ast.stmt, names: Collection[str]) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(value, ast.expr) and bool(names_read([value]) & set(names))


def _needed(blocks: Sequence[Block], needed: Collection[str] | None) -> list[Block]:
    """Leave out what the step does not read, but never what does more than give a value."""
    if needed is None:
        return list(blocks)
    wanted, kept = set(needed), []
    for block in reversed(blocks):
        names = _bound_somewhere([block])
        if block.statements and not names & wanted and all(map(_is_idle, block.statements)):
            continue
        wanted |= names_read(block.statements)
        kept.append(block)
    return kept[::-1]


def _is_idle(statement: ast.stmt) -> bool:
    """Say whether a statement may be left out where nobody reads what it binds."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return False
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return all(
        (function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")) in _PURE
        for function in calls
    )


def _sorted_out(blocks: Iterable[Block]) -> tuple[list[Block], list[Block]]:
    """Tell what is given from what follows; what is worked out later keeps its place there."""
    given: list[Block] = []
    follows: list[Block] = []
    bound: set[str] = set()
    for block in blocks:
        names = _bound_somewhere([block])
        values = [s for s in block.statements if not isinstance(s, ast.Import | ast.ImportFrom)]
        is_fixed = all(_is_constant(statement) for statement in values)
        is_derived = any(_reads(statement, bound) for statement in values)
        is_import = bool(block.statements) and not values
        if is_import or is_fixed or (not is_derived and not follows):
            given.append(block)
        else:
            follows.append(block)
        if not is_import:
            bound |= names
    return given, follows


def _joined(blocks: Iterable[Block]) -> str:
    return "\n".join("\n".join(block.lines) for block in blocks).strip("\n")


def _target(block: Block) -> str:
    """Name what a block binds, empty for a comment."""
    return next(iter(_bound_somewhere([block])), "")


def _unless_given(block: Block) -> str:
    if not block.statements:
        return block.text
    name = _target(block)
    body = [f"    {line}" if line.strip() else line for line in block.text.split("\n")]
    return "\n".join([f"if {name} is None:", *body])
