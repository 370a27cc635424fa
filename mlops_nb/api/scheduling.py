"""Notebooks that run by themselves: schedules, and what runs them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.api.current import open_store
from mlops_nb.errors.schedules import ScheduleRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.display.schedules import SchedulesView, ScheduleView
    from mlops_nb.display.view import Place
    from mlops_nb.model.pipelines import Schedule
    from mlops_nb.store import Store

_UNSIGNED = (
    "It could not be signed, as there is no key of yours: a scheduler runs it only with --under "
    "or --any."
)


def schedule(
    cron: str,
    notebook: str | Path | None = None,
    *,
    tz: str | None = None,
    params: Mapping[str, Any] | None = None,
    name: str | None = None,
    missed: str = "once",
    overlap: str = "skip",
    replace: bool = False,
) -> ScheduleView:
    """Run a notebook by itself from now on, whenever a cron expression says so.

    It runs while a scheduler does, on any machine that sees the store and the notebook:
    ``mlops-nb scheduler``.

    Parameters
    ----------
    cron
        Five fields as in crontab (``"0 6 * * 1"``: Mondays at six), or a name (``"@daily"``).
    notebook
        Its path, or that of a pipeline's folder; the one in front of you if left out.
    tz
        Time zone, as ``"Europe/Brussels"``; this machine's if left out.
    params
        Values for the parameters cell.
    name
        What to call it; the notebook's name if left out.
    missed
        What happens to times that came while no scheduler ran: ``"skip"`` them, run ``"once"``
        for all, or run ``"all"``.
    overlap
        What happens if the last one still runs: ``"skip"`` the new one, ``"queue"`` it, or
        ``"allow"`` both.
    replace
        Whether it takes the place of a schedule of the same name.

    Raises
    ------
    BadCron, UnknownZone
        Expression or zone cannot be read.
    BadParameter
        The notebook has no such parameter, or the value is of another type.
    ScheduleRefused
        The notebook is not there or has no name yet, or the name is taken.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.schedule("0 6 * * 1", tz="Europe/Brussels")  # doctest: +SKIP
    """
    from mlops_nb.schedule.making import new_schedule

    made = new_schedule(
        _notebook_in_front() if notebook is None else Path(notebook),
        cron,
        zone=tz,
        name=name,
        params=params,
        missed=missed,
        overlap=overlap,
    )
    with store_of(Path(made.target)) as store:
        return add_schedule(store, made, replaces=replace)


def schedules() -> SchedulesView:
    """List the schedules of the store here, with their next dates.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.schedules()  # doctest: +SKIP
    """
    from mlops_nb.display.schedules import view_schedules

    with open_store() as store:
        return view_schedules(store)


def add_schedule(
    store: Store, made: Schedule, *, replaces: bool = False, place: Place = "notebook"
) -> ScheduleView:
    """Keep a schedule in a store, and show it."""
    from mlops_nb.display.schedules import view_schedule
    from mlops_nb.schedule.making import keep_schedule

    kept = keep_schedule(store, made, replaces=replaces)
    note = "" if kept.options.get("signature") else _UNSIGNED
    said = "replaced" if replaces and kept.id != made.id else "added"
    return view_schedule(store, kept, said=said, note=note, place=place)


def change_schedule(
    store: Store, reference: str, what: str, *, place: Place = "notebook"
) -> ScheduleView:
    """Pause, resume or remove a schedule (``pause``, ``resume``, ``rm``), and show it."""
    from mlops_nb.display.schedules import view_schedule
    from mlops_nb.schedule.making import get_schedule, paused, resumed

    found = get_schedule(store, reference)
    if what == "rm":
        store.drop_schedule(found.id)
        return view_schedule(store, found, said="removed", count=0, place=place)
    if found.is_paused == (what == "pause"):
        is_so = "is paused already" if found.is_paused else "is not paused"
        return view_schedule(store, found, said=is_so, place=place)
    changed = paused(found) if what == "pause" else resumed(found)
    store.save_schedule(changed)
    said = "paused" if what == "pause" else "resumed"
    return view_schedule(store, changed, said=said, place=place)


def store_of(notebook: Path, given: str | None = None) -> Store:
    """Open the store that a notebook's runs go to; it is made if there is none."""
    from mlops_nb.config import load_settings
    from mlops_nb.store import Store
    from mlops_nb.store.locate import locate

    folder = notebook.absolute()
    folder = folder if folder.is_dir() else folder.parent
    store = Store.open(locate(folder, load_settings(folder, store=given)), create=True)
    store.refresh()
    return store


def _notebook_in_front() -> Path:
    import os

    from mlops_nb import session as sessions
    from mlops_nb.config import load_settings
    from mlops_nb.notebook import detect_notebook

    session = sessions.active()
    path: object = session.notebook if session is not None else None
    if path is None:
        path, _ = detect_notebook(load_settings(), None, {}, os.environ)
    if path is None:
        remedy = "Save it, and say where it is: schedule(cron, 'train.ipynb')."
        raise ScheduleRefused("schedule", "the path of this notebook is not known", remedy)
    return Path(str(path))
