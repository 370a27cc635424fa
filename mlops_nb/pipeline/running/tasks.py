"""What a step takes from the steps above it, and the work that comes of it; pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mlops_nb.errors.pipelines import StepInputsMissing
from mlops_nb.model.pipelines import StepTask
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import CachedStep, Packed, Pipeline, Step


@record
class Piece:
    """One element of what a step is fanned out over; the whole step has none.

    Attributes
    ----------
    value
        Name of the value.
    """

    value: str
    index: int
    count: int

    def document(self) -> dict[str, Json]:
        """Describe it as a task does."""
        return {"name": self.value, "index": self.index, "count": self.count}


def part_name(step: str, piece: Piece | None) -> str:
    """Name a step, or a piece of it.

    Examples
    --------
    >>> part_name("train", Piece("seed", 2, 3))
    'train[2]'
    """
    return step if piece is None else f"{step}[{piece.index}]"


def is_state(name: str) -> bool:
    """Whether a name stands for state of the process, as ``<rng:numpy>``."""
    return name.startswith("<")


def units_for(
    pipeline: Pipeline,
    step: Step,
    results: Mapping[str, Sequence[CachedStep]],
    piece: Piece | None = None,
) -> dict[str, tuple[Packed, ...]]:
    """Find, for each name that a step takes, the units that hold it.

    A piece takes the values of the same piece of a step that is fanned out over the same value;
    any other step takes those of all pieces, in order, to be joined.

    Raises
    ------
    StepInputsMissing
        A step above has not given a name.
    """
    fanned = {one.name: one.options.foreach for one in pipeline.steps}
    found: dict[str, tuple[Packed, ...]] = {}
    for name, source in step.inputs.items():
        given = results.get(source, ())
        if piece is not None and fanned[source] == piece.value and len(given) == piece.count:
            given = given[piece.index : piece.index + 1]
        units = tuple(unit for result in given for unit in result.units if name in unit.names)
        if not units or len(units) != len(given):
            raise StepInputsMissing(pipeline.name, source, (name,))
        found[name] = units
    return found


def task_for(
    pipeline: Pipeline,
    step: Step,
    units: Mapping[str, Sequence[Packed]],
    folder: Path,
    *,
    piece: Piece | None = None,
    prelude_digests: Mapping[str, str] | None = None,
) -> StepTask:
    """Write what the kernel of a step is told.

    Parameters
    ----------
    units
        Of `units_for`.
    folder
        Private to this attempt; inputs are expected in folders below it.
    """
    placed = {
        name: [(place_of(unit, folder, number), unit) for number, unit in enumerate(units[name])]
        for name in units
    }
    return StepTask(
        pipeline=pipeline.name,
        step=step.name,
        folder=str(folder),
        inputs={name: tuple(place for place, _ in placed[name]) for name in placed},
        units={place: unit for pairs in placed.values() for place, unit in pairs},
        outputs=tuple(unit for unit in step.outputs if not is_state(unit[0])),
        watched=step.watched,
        definitions=step.definitions,
        secrets=step.options.secrets,
        state_in=tuple(name for name in step.inputs if is_state(name)),
        state_out=tuple(unit[0] for unit in step.outputs if is_state(unit[0])),
        piece=None if piece is None else piece.document(),
        prelude_digests=dict(prelude_digests or {}),
    )


def place_of(unit: Packed, folder: Path, number: int = 0) -> str:
    """Say where a unit lies for a step: one place for all its names, each joined piece its own."""
    told = "\0".join((*unit.names, unit.format, *(file.digest for file in unit.files)))
    name = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return str(folder / "in" / (f"{name}-{number}" if number else name))
