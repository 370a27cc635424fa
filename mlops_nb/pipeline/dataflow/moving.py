"""Whether cells may run in another order than they stand in, and which must not run twice."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.file_edges import meet
from mlops_nb.pipeline.dataflow.words import words_of
from mlops_nb.pipeline.dataflow.world import BUILTINS, is_state

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlops_nb.pipeline.dataflow.effects import CellEffects
    from mlops_nb.pipeline.dataflow.reading import Reading


def touching(first: CellEffects, second: CellEffects, source: Collection[str]) -> str:
    """Name something by which two cells depend on their order; empty if there is nothing.

    Parameters
    ----------
    first, second
        Cells, in the order of the notebook.
    source
        Names that are the same wherever they are bound: imports.
    """
    if first.dynamic or second.dynamic:
        return "names that its text does not show"
    changed, also = first.changed - set(source), second.changed - set(source)
    read, also_read = set(first.loads), set(second.loads)
    both = (changed & (also | also_read)) | (also & read)
    both = {name for name in both if name != "_"}
    if both:
        return min(both, key=lambda name: (is_state(name), name))
    ambient = {n for n in changed | also if is_state(n) and not n.startswith(("<rng", "<module"))}
    if ambient:
        return min(ambient)
    return next(
        (one.path for one in first.files for other in second.files if meet(one, other)), ""
    )


def inverted(reading: Reading, positions: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Give pairs of cells that run in another order than they stand in."""
    order = reading.order
    if all(positions.get(a, -1) <= positions.get(b, -1) for a, b in pairwise(order)):
        return
    for place, cell in enumerate(order):
        for later in order[place + 1 :]:
            if positions.get(later, -1) < positions.get(cell, -1):
                yield cell, later


def not_again(
    reading: Reading, prelude: Sequence[int], stepped: Collection[int], deleted: Collection[str]
) -> dict[int, str]:
    """Find the cells of the prelude that only the first step may run, each with the reason.

    Parameters
    ----------
    reading
        All cells.
    prelude
        Cells that every step runs first, without the parameters.
    stepped
        Cells of steps.
    deleted
        Names that a step deletes.
    """
    found: dict[int, str] = {}
    seeded = {
        name
        for cell in reading.order
        if cell not in stepped
        for name in reading.effects[cell].certain
        if name.startswith("<rng")
    }
    for cell in prelude:
        effects = reading.effects[cell]
        why = _why_not_again(reading, effects, seeded, stepped)
        again = (reading.differing | set(deleted)) & effects.binds.keys()
        if not why and again:
            name = min(again)
            is_deleted = name in deleted
            why = (
                f"{name}, which a step deletes"
                if is_deleted
                else f"{name}, which came out differently"
            )
        if not why:
            why = next(
                (
                    f"{name}, which depends on cell {other}"
                    for other in found
                    if (name := touching(reading.effects[other], effects, ()))
                ),
                "",
            )
        if why:
            found[cell] = why
    return found


def _why_not_again(
    reading: Reading, effects: CellEffects, seeded: Collection[str], stepped: Collection[int]
) -> str:
    """Say why running a cell in every step would not give the same."""
    if effects.chance is not None:
        return effects.chance[0]
    drawn = {n for change in effects.changes for n in change.affected if n.startswith("<rng")}
    if drawn - set(seeded):
        return f"what it draws from {words_of(min(drawn - set(seeded)))}, which have no seed"
    for use in effects.files:
        if use.is_written and use.is_repeatable:
            continue
        if use.is_written:
            return f"the file {use.path}, which it writes"
        for cell in stepped:
            for other in reading.effects[cell].files:
                if other.is_written and meet(use, other) and not other.is_repeatable:
                    return f"the file {use.path}, which cell {cell} writes"
    return ""


def bound_nowhere(reading: Reading) -> set[str]:
    """Names that are read and that no cell binds."""
    bound = {name for effects in reading.effects.values() for name in effects.changed}
    read = {name for effects in reading.effects.values() for name in effects.reads}
    return {name for name in read - bound - BUILTINS if not is_state(name)}
