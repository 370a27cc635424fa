"""Files as edges: who writes what others read, and who must not write before others have read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.model.pipelines import Reason
from mlops_nb.pipeline.dataflow.paths import PACKAGES, may_be_same, may_meet
from mlops_nb.pipeline.dataflow.steps import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.pipeline.dataflow.effects import FileUse
    from mlops_nb.pipeline.dataflow.steps import StepFlow


def meet(one: FileUse, other: FileUse) -> bool:
    """Whether two uses of files depend on their order."""
    if not (one.is_written or other.is_written):
        return False
    if one.is_repeatable and other.is_repeatable and one.is_written and other.is_written:
        return False
    if _is_import(one) or _is_import(other):
        # An import reads a file only if some cell says that it writes just that.
        module, written = (one, other) if _is_import(one) else (other, one)
        is_code = written.path.endswith((".py", PACKAGES))
        return is_code and may_be_same(module.path, written.path)
    return may_meet(one.path, other.path)


def _is_import(use: FileUse) -> bool:
    return use.is_repeatable and not use.is_written


def file_reasons(steps: Sequence[StepFlow]) -> Iterator[tuple[int, int, Reason]]:
    """Give pairs of steps that depend on their order by a file, with the reason."""
    above: list[set[int]] = [set() for _ in steps]
    is_moving = any("<cwd>" in step.changed for step in steps)
    for place, step in enumerate(steps):
        for earlier in range(place - 1, -1, -1):
            if earlier in above[place]:
                continue
            found = _between(steps[earlier], step, is_moving=is_moving)
            if found is not None:
                above[place] |= {earlier, *above[earlier]}
                yield earlier, place, found


def _between(first: StepFlow, second: StepFlow, *, is_moving: bool) -> Reason | None:
    best: tuple[tuple[int, FileUse], tuple[int, FileUse]] | None = None
    for cell, use in first.files:
        for other_cell, other in second.files:
            if _is_ordered(use, other, second, is_moving=is_moving):
                pair = (cell, use), (other_cell, other)
                if best is None or _weight(use, other) > _weight(best[0][1], best[1][1]):
                    best = pair
    if best is None:
        return None
    (cell, use), (other_cell, other) = best
    path = use.path if "{" not in use.path else other.path
    text = (
        f"{second.name} {_verb(other)} {other.path} in {Place(other_cell, other.line)}, "
        f"which {first.name} {_verb(use)} in {Place(cell, use.line)}"
    )
    return Reason("file", (path,), text)


def _is_ordered(use: FileUse, other: FileUse, second: StepFlow, *, is_moving: bool) -> bool:
    if is_moving and not use.path.startswith("/") and not other.path.startswith("/"):
        use, other = _anywhere(use), _anywhere(other)
    if not meet(use, other):
        return False
    # A folder that the second step makes for itself, it need not wait for.
    return not (
        use.is_repeatable
        and use.is_written
        and any(u.is_repeatable and u.is_written and u.path == use.path for _, u in second.files)
    )


def _anywhere(use: FileUse) -> FileUse:
    from dataclasses import replace

    return replace(use, path="{…}/" + use.path.lstrip("./"))


def _weight(use: FileUse, other: FileUse) -> tuple[bool, bool]:
    return (use.is_written and other.is_read, use.path == other.path)


def _verb(use: FileUse) -> str:
    return "writes" if use.is_written else "reads"


def paths(step: StepFlow, *, is_written: bool) -> tuple[str, ...]:
    """List the paths that a step reads or writes, as the text says them."""
    found = {
        use.path: None
        for _, use in step.files
        if (use.is_written if is_written else use.is_read)
        and not (use.is_repeatable and not use.is_written)
    }
    return tuple(found)
