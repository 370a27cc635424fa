"""A notebook as what runs it elsewhere, written as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.schedules import ExportRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.display.exports import ExportView
    from mlops_nb.exporters import ExportedFile


def export_notebook(
    notebook: str | Path,
    to: str,
    *,
    output: str | Path | None = None,
    cron: str | None = None,
    tz: str | None = None,
    params: Mapping[str, Any] | None = None,
    name: str | None = None,
    missed: str = "once",
    overlap: str = "skip",
    store: str | None = None,
    force: bool = False,
) -> ExportView:
    """Write a notebook as a workflow, a line or units that run it elsewhere.

    Parameters
    ----------
    notebook
        Its path, or that of a pipeline's folder.
    to
        ``"github"``, ``"cron"`` or ``"systemd"``, or what another package adds.
    output
        A folder, or the file where there is one alone; None only shows it.
    cron, tz, params, name, missed, overlap
        As of `schedule`; without `cron`, what can do without a time has none.
    store
        Path of a store's folder. The address of a server is never written down.
    force
        Whether files that are there are overwritten.

    Raises
    ------
    ExportRefused
        It cannot be said there exactly, it would hold a password, or a file is there already.
    BadCron, UnknownZone, BadParameter, ScheduleRefused
        As of `schedule`.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.export_notebook("train.ipynb", "cron", cron="@daily")  # doctest: +SKIP
    """
    from mlops_nb.display.exports import ExportView
    from mlops_nb.exporters.making import export

    exported = export(
        Path(notebook),
        to,
        cron=cron,
        zone=tz,
        name=name,
        params=params,
        store=store,
        missed=missed,
        overlap=overlap,
        has_server=_goes_to_server(Path(notebook)),
    )
    if output is None:
        return ExportView(exported)
    return ExportView(exported, _written(exported.files, Path(output), to, force=force))


def _goes_to_server(notebook: Path) -> bool:
    """Whether the runs of a notebook go to a server, as things are set here."""
    from mlops_nb.config import load_settings

    folder = notebook.absolute().parent
    return "://" in (load_settings(folder).store or "")


def _written(
    files: tuple[ExportedFile, ...], output: Path, to: str, *, force: bool
) -> tuple[str, ...]:
    is_folder = output.is_dir() or len(files) > 1 or not output.suffix
    places = [output / file.path if is_folder else output for file in files]
    there = [place for place in places if os.path.lexists(place)]
    if there and not force:
        raise ExportRefused(to, f"{there[0]} is there already", "Overwrite it with --force.")
    for place, file in zip(places, files, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        half = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            half.write_text(file.text, encoding="utf-8", newline="\n")
            half.replace(place)
        finally:
            half.unlink(missing_ok=True)
    return tuple(map(str, places))
