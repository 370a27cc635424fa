"""Schedules from what a person typed: everything checked before anything is kept."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.schedules import AmbiguousSchedule, ScheduleNotFound, ScheduleRefused
from mlops_nb.model import new_run_id
from mlops_nb.model.pipelines import Schedule
from mlops_nb.redact import redact
from mlops_nb.redact.assigned import is_telling
from mlops_nb.schedule.cron import read_cron
from mlops_nb.schedule.due import first_firing_ns
from mlops_nb.schedule.trust import signed
from mlops_nb.schedule.zones import default_zone, read_zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model import Json
    from mlops_nb.store import Store

MISSED = ("skip", "once", "all")
OVERLAP = ("skip", "queue", "allow")

_LONGEST_NAME = 100
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_DEFINITION = "pipeline.yaml"
_NOTEBOOKS = frozenset({".ipynb", ".py"})
_CLOSE = 3


def new_schedule(
    target: Path,
    cron: str,
    *,
    zone: str | None = None,
    name: str | None = None,
    params: Mapping[str, Any] | None = None,
    missed: str = "once",
    overlap: str = "skip",
    now_ns: int | None = None,
) -> Schedule:
    """Make a schedule, with everything in it checked; it is not kept anywhere yet.

    Parameters
    ----------
    target
        A notebook, or the folder of a pipeline.
    cron, zone
        When, by whose clock; this machine's if left out.
    name
        What people call it; the target's name if left out.
    params
        Values for its parameters cell.
    missed, overlap
        As of `Schedule`.
    now_ns
        The time; it fires after it.

    Raises
    ------
    BadCron, UnknownZone
        Expression or zone cannot be read.
    BadParameter
        The notebook has no such parameter, or it is of another type.
    ScheduleRefused
        The target is not there, a name or a value cannot be used.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  # links stay as they are
    shown = name or target.name
    _check_choice(shown, "missed", missed, MISSED)
    _check_choice(shown, "overlap", overlap, OVERLAP)
    _check_target(target)
    at_ns = time.time_ns() if now_ns is None else now_ns
    schedule = Schedule(
        id=new_run_id(),
        name=_checked_name(name if name is not None else target.stem),
        cron=read_cron(cron).text,
        zone=read_zone(zone or default_zone()).key,
        target=str(target),
        params=_checked_params(shown, target, params or {}),
        missed=missed,  # type: ignore[arg-type]  # checked above
        overlap=overlap,  # type: ignore[arg-type]
        created_at_ns=at_ns,
        created_by=_user(),
    )
    return signed(replace(schedule, next_at_ns=first_firing_ns(schedule, at_ns)))


def keep_schedule(store: Store, schedule: Schedule, *, replaces: bool = False) -> Schedule:
    """Write a new schedule into a store.

    Parameters
    ----------
    store
        An open one.
    schedule
        As `new_schedule` makes it.
    replaces
        Whether it takes the place, the id and the history of one of the same name.

    Raises
    ------
    ScheduleRefused
        There is one of this name already, and it may not be replaced.
    """
    same = [one for one in store.schedules() if one.name == schedule.name]
    if same and not replaces:
        raise _name_taken(schedule)
    if same:
        schedule = signed(
            replace(schedule, id=same[0].id, created_at_ns=same[0].created_at_ns, options={})
        )
    store.save_schedule(schedule)
    # Of two who made one of the same name at once, the one whose id comes first has it.
    others = [one for one in store.schedules() if one.name == schedule.name]
    if min(one.id for one in others) != schedule.id and not same:
        store.drop_schedule(schedule.id)
        raise _name_taken(schedule)
    return schedule


def get_schedule(store: Store, reference: str) -> Schedule:
    """Find a schedule by its name, its id, or the beginning of its id.

    Raises
    ------
    ScheduleNotFound, AmbiguousSchedule
        None, or more than one, is meant.
    """
    from difflib import get_close_matches

    found = store.find_schedules(reference)
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousSchedule(reference, tuple(_label(one) for one in found))
    known = {one.name: one for one in store.schedules()}
    close = get_close_matches(reference, known, n=_CLOSE, cutoff=0.5)
    raise ScheduleNotFound(reference, tuple(_label(known[name]) for name in close))


def as_params(pairs: Iterable[str]) -> dict[str, str]:
    """Read what was typed after ``-p``.

    Examples
    --------
    >>> as_params(["C=0.5", "note=a=b"])
    {'C': '0.5', 'note': 'a=b'}
    """
    found = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise ScheduleRefused(repr(pair), "this is no parameter", "Write -p NAME=VALUE.")
        found[key.strip()] = text
    return found


def paused(schedule: Schedule) -> Schedule:
    """Give a schedule that does not fire until it is resumed."""
    return replace(schedule, is_paused=True, next_at_ns=None)


def resumed(schedule: Schedule, now_ns: int | None = None) -> Schedule:
    """Give a schedule that fires again, from now on: what came meanwhile was not missed."""
    at_ns = time.time_ns() if now_ns is None else now_ns
    return replace(schedule, is_paused=False, next_at_ns=first_firing_ns(schedule, at_ns))


def _label(schedule: Schedule) -> str:
    return f"{schedule.name} ({schedule.id[:4]})"


def _name_taken(schedule: Schedule) -> ScheduleRefused:
    remedy = (
        "Give another one with --name, or change it with --replace. "
        "List them: mlops-nb schedule list"
    )
    return ScheduleRefused(schedule.name, "there is a schedule of this name already", remedy)


def _check_choice(name: str, option: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        problem = f"{option} cannot be {given!r}"
        raise ScheduleRefused(name, problem, f"Give one of {', '.join(choices)}.")


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > _LONGEST_NAME or not _NAME.fullmatch(name) or not _is_text(name):
        problem = "this cannot be the name of a schedule"
        remedy = f"Give one line of at most {_LONGEST_NAME} letters with --name."
        raise ScheduleRefused(repr(name[:40]), problem, remedy)
    return name


def _is_text(text: str) -> bool:
    """Whether a text can be written anywhere: no half letters of file names."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _check_target(target: Path) -> None:
    if not _is_text(str(target)):
        problem, remedy = "its path is no text", "Rename it."
    elif not target.exists():
        problem, remedy = "there is no such notebook or folder", "Give the path of one."
    elif target.is_dir() and not (target / _DEFINITION).is_file():
        problem = f"the folder has no {_DEFINITION}"
        remedy = f"Make one with: mlops-nb convert NOTEBOOK -o {target.name}"
    elif not target.is_dir() and not (target.is_file() and target.suffix in _NOTEBOOKS):
        problem, remedy = "it is no notebook", "Give a .ipynb or a .py file, or a pipeline."
    else:
        return
    raise ScheduleRefused(
        repr(str(target)) if problem[4:8] == "path" else str(target), problem, remedy
    )


def _checked_params(name: str, target: Path, params: Mapping[str, Any]) -> dict[str, Json]:
    """Check values as the run will do, so that a mistake shows now and not at six o'clock."""
    for key, value in params.items():
        text = value if isinstance(value, str) else _as_json(name, key, value)
        if is_telling(key) or redact(text) is not text:
            problem = f'"{key}" holds a secret, which would be kept in the store'
            remedy = "Let the notebook read it from its environment, and set it for the scheduler."
            raise ScheduleRefused(name, problem, remedy)
        if not _is_text(text) or not _is_text(key):
            raise ScheduleRefused(name, f"the value of {key!r} is no text", "Give another one.")
    if target.suffix == ".ipynb" and params:
        from mlops_nb.notebook import check_parameters, read_notebook

        check_parameters(read_notebook(target), params)
    return dict(params)


def _as_json(name: str, key: str, value: object) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        problem = f'the value of "{key}" is a {type(value).__name__}, which cannot be kept'
        remedy = "Give a number, a text, a list, or the value as a text, as after -p."
        raise ScheduleRefused(name, problem, remedy) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this number, as in many containers
        return str(os.getuid()) if hasattr(os, "getuid") else ""
