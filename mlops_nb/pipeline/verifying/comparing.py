"""What the steps alone have given beside what the whole notebook gave."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from mlops_nb.packaging.record import packed_document
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlops_nb.model.pipelines import Packed, Pipeline
    from mlops_nb.pipeline.verifying.alone import Alone
    from mlops_nb.pipeline.verifying.whole import Whole

_WORDING_TIMEOUT_S = 120
_ABSENT = ""


@record
class Compared:
    """One value of one step.

    Attributes
    ----------
    name
        As in the notebook; ``<file:PATH>`` for a file.
    whole, split
        Digests; empty where the value could not be read, or is not there.
    whole_at, split_at
        The units that hold it, and where they lie; None for a file.
    """

    step: str
    name: str
    whole: str
    split: str
    whole_at: tuple[Packed, Path] | None = None
    split_at: tuple[Packed, Path] | None = None

    @property
    def is_same(self) -> bool:
        """Whether both are known and equal."""
        return self.whole == self.split and (self.whole != _ABSENT or self.name.startswith("<"))


def compare(pipeline: Pipeline, whole: Whole, alone: Mapping[str, Alone]) -> list[Compared]:
    """Compare every value that a step hands on, and every file that it writes."""
    found: list[Compared] = []
    for step in pipeline.steps:
        # Pieces are compared by what is made of them: each by itself is no value of the whole.
        if step.options.foreach:
            continue
        found += _values(whole, alone[step.name])
        found += _files(step.name, step.writes_files, whole, alone[step.name])
    return found


def _values(whole: Whole, alone: Alone) -> Iterator[Compared]:
    given = {
        name: (unit, alone.folder / str(number))
        for number, unit in enumerate(alone.result.units)
        for name in unit.names
    }
    for number, unit in enumerate(whole.units[alone.step]):
        for name in unit.names:
            other = given.get(name)
            yield Compared(
                alone.step,
                name,
                digest_in(unit, name),
                digest_in(other[0], name) if other else _ABSENT,
                (unit, whole.place_of(alone.step, number)),
                other,
            )


def digest_in(unit: Packed, name: str) -> str:
    """Give the digest of one of the values in a unit."""
    return unit.digests.get(name, unit.digest if len(unit.names) == 1 else _ABSENT)


def _files(step: str, paths: tuple[str, ...], whole: Whole, alone: Alone) -> Iterator[Compared]:
    for path in paths:
        was = whole.after[step].digests.get(path, _ABSENT)
        yield Compared(step, f"<file:{path}>", was, alone.files.digests.get(path, _ABSENT))


# --- in words ---------------------------------------------------------------------------------


def sentence(one: Compared) -> str:
    """Say which value differs, and how where the two can be looked at.

    The values are loaded in a process of their own: they may be large, or pickles.
    """
    head = f"Step {one.step} gives another {one.name} alone than in the whole notebook"
    if one.name.startswith("<file:"):
        path = one.name.removeprefix("<file:").removesuffix(">")
        return f"Step {one.step} writes another {path} alone than in the whole notebook."
    if one.split_at is None:
        return f"Step {one.step} gives no {one.name} alone; the whole notebook does."
    if not one.whole or not one.split:
        return f"{head}, as far as can be told: it cannot be read without running it."
    detail = _detail(one)
    return f"{head}: {detail}." if detail else f"{head}."


def _detail(one: Compared) -> str:
    if one.whole_at is None or one.split_at is None:
        return ""
    told = [
        {"unit": packed_document(unit), "folder": str(folder)}
        for unit, folder in (one.whole_at, one.split_at)
    ]
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "mlops_nb.pipeline.verifying.wording", one.name],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=_WORDING_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
