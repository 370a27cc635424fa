"""Whose schedules a scheduler runs: this user's own, and what lies in folders that it was given.

A store may be shared, and whoever can write it can write a schedule. So a schedule is signed when
it is made, with the key that signs stored values (the user's, or the team's from the
environment), and a scheduler runs what is signed so: who made it and what it runs cannot be
changed by others. Pausing and resuming change nothing that is signed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors.values import BadSigningKey
from mlops_nb.model.pipelines import Packed
from mlops_nb.record import record

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import Schedule

_SIGNATURE = "signature"


@record
class Allowance:
    """What a scheduler may run.

    Attributes
    ----------
    is_any
        Whether it may be anything, whoever made it.
    folders
        Where everything may be run, whoever made the schedule.
    """

    is_any: bool = False
    folders: tuple[Path, ...] = ()

    def refusal(self, schedule: Schedule) -> str:
        """Say as a clause why a schedule may not run; empty if it may."""
        if self.is_any or any(_is_below(schedule.target, folder) for folder in self.folders):
            return ""
        why = signature_problem(schedule)
        if not why:
            return ""
        made_by = f"{schedule.created_by!r} made it" if schedule.created_by else "unknown maker"
        return f"{made_by}, and {why}; allow its folder with --under, or everything with --any"


def signed(schedule: Schedule) -> Schedule:
    """Sign a schedule; unsigned, where there is no key and none can be made."""
    from mlops_nb.packaging import sign

    try:
        signature = sign(_manifest(schedule)).signature
    except BadSigningKey:
        signature = ""
    return replace(schedule, options={**schedule.options, _SIGNATURE: signature})


def signature_problem(schedule: Schedule) -> str:
    """Say as a clause what is wrong with the signature of a schedule; empty if nothing is."""
    from mlops_nb.packaging import verify_signature

    given = schedule.options.get(_SIGNATURE)
    try:
        manifest = replace(_manifest(schedule), signature=given if isinstance(given, str) else "")
        return verify_signature(manifest)
    except BadSigningKey as error:
        return f"the key cannot be used ({error})"


def _manifest(schedule: Schedule) -> Packed:
    """Describe what decides about what runs, as the thing that is signed."""
    said = {
        "id": schedule.id,
        "name": schedule.name,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "target": schedule.target,
        "params": dict(schedule.params),
        "options": {k: v for k, v in schedule.options.items() if k != _SIGNATURE},
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "created_by": schedule.created_by,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"
    # A format that no value has, so that the one signature never stands for the other.
    return Packed(names=("schedule",), format="schedule", files=(), digest=digest)


def _is_below(target: str, folder: Path) -> bool:
    try:
        return Path(target).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False
