"""``mlops-nb store``: copy, check, back up and clean up a whole store."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import (
    CHECK_SAID_NO,
    debug_option,
    examples,
    format_option,
    open_store,
    shared_options,
    write_view,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.store.parts import OnProgress

_REDRAW_S = 0.1
_DAY_S = 24 * 3600.0
_KEEP_DAYS, _GRACE_HOURS = 30.0, 24.0


@click.group()
def store() -> None:
    """Copy, check, back up or clean up a whole store.

    A store is its folder (.mlops), the URL of a server, or what --store, MLOPS_NB_STORE or your
    configuration says.
    """


@store.command(epilog=examples("mlops-nb store info", "mlops-nb store info --format json"))
@shared_options
def info(format_: str, store: str | None) -> None:
    """Say where it is, how large, and what is in it."""
    from mlops_nb.display.store import StoreInfoView

    with open_store(store) as opened:
        facts = opened.info()
    write_view(StoreInfoView(facts), format_)


@store.command(
    epilog=examples(
        "mlops-nb store check",
        "mlops-nb store check --quick --format json     (in CI: exit code 1 if anything is wrong)",
    ),
    short_help="Say what is damaged, missing or left over.",
)
@click.option("--quick", is_flag=True, help="Do not read all bytes: only see that they are there.")
@shared_options
@click.pass_context
def check(context: click.Context, quick: bool, format_: str, store: str | None) -> None:
    """Read all of it, and say what is damaged, missing or left over; changes nothing."""
    from mlops_nb.display.store import StoreCheckView
    from mlops_nb.store import care

    location = _there(store)
    with _progress() as on_progress:
        report = care.check(location, is_quick=quick, on_progress=on_progress)
    write_view(StoreCheckView(report), format_)
    if not report.is_well:
        context.exit(CHECK_SAID_NO)


@store.command(
    epilog=examples("mlops-nb store gc", "mlops-nb store gc --yes --keep-days 7"),
    short_help="Show what nothing needs any more; --yes removes it.",
)
@click.option("--yes", is_flag=True, help="Remove it; without this it is only shown.")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=_KEEP_DAYS,
    show_default=True,
    help="Runs deleted, and backups made, so lately stay.",
)
@click.option(
    "--grace-hours",
    type=click.FloatRange(min=1),
    default=_GRACE_HOURS,
    show_default=True,
    help="Bytes written so lately stay: their rows may be about to be written.",
)
@shared_options
def gc(yes: bool, keep_days: float, grace_hours: float, format_: str, store: str | None) -> None:
    """Show what nothing needs any more: bytes, deleted runs, old backups. --yes removes it."""
    from mlops_nb.display.store import CollectionView
    from mlops_nb.store import care

    with open_store(store) as opened, _progress() as on_progress:
        found = care.collect_garbage(
            opened,
            is_done=yes,
            keep_s=keep_days * _DAY_S,
            grace_s=grace_hours * 3600,
            on_progress=on_progress,
        )
    again = ["mlops-nb", "store", "gc", "--yes"]
    for option, given, default in (
        ("--keep-days", f"{keep_days:g}", f"{_KEEP_DAYS:g}"),
        ("--grace-hours", f"{grace_hours:g}", f"{_GRACE_HOURS:g}"),
        ("--store", store or "", ""),
    ):
        again += [option, given] if given != default else []
    write_view(CollectionView(found, shlex.join(again)), format_)


@store.command(
    epilog=examples(
        "mlops-nb store copy .mlops /mnt/usb/.mlops",
        "mlops-nb store copy .mlops postgresql+psycopg://db.local/lab   (password: ~/.pgpass)",
        "mlops-nb store copy mlops-backup.tar .mlops",
    ),
    short_help="Copy everything that TO lacks, and check that it arrived.",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@format_option
@debug_option
@click.pass_context
def copy(context: click.Context, source: str, target: str, format_: str) -> None:
    """Copy everything that TO lacks, and check by SHA-256 that it arrived.

    FROM is not changed. Run it again to finish a copy, or to bring it up to date.
    """
    from mlops_nb.display.store import CopyView
    from mlops_nb.store import care

    here, there = _there(source), _new(target)
    with _progress() as on_progress:
        report = care.copy(here, there, on_progress=on_progress)
    write_view(CopyView(report), format_)
    if not report.is_well:
        context.exit(CHECK_SAID_NO)


@store.command(
    epilog=examples("mlops-nb store backup", "mlops-nb store backup -o /mnt/usb/lab.tar"),
    short_help="Save it as it is now, checked.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="A new folder, or a file that ends in .tar. [default: backups/TIME in the store]",
)
@shared_options
@click.pass_context
def backup(context: click.Context, output: Path | None, format_: str, store: str | None) -> None:
    """Save it as it is now, checked; notebooks may go on writing. Restore it with store copy."""
    from mlops_nb.display.store import BackupView
    from mlops_nb.store import care

    with open_store(store) as opened, _progress() as on_progress:
        report = care.backup(opened, output, on_progress=on_progress)
    write_view(BackupView(report), format_)
    if not report.is_well:
        context.exit(CHECK_SAID_NO)


@store.command(
    epilog=examples("mlops-nb store upgrade"), short_help="Bring its tables to this version."
)
@shared_options
def upgrade(format_: str, store: str | None) -> None:
    """Bring its tables to this version: a folder's after a backup, a server's for the team."""
    from mlops_nb.display.store import UpgradeView
    from mlops_nb.store.address import location_of
    from mlops_nb.store.care import upgrade_store

    location = _there(store)
    before, after = upgrade_store(location)
    named = location_of(location) if "://" in location else location
    write_view(UpgradeView(named, before, after), format_)


# --- which store ---------------------------------------------------------------------------------


def _there(given: str | None) -> str:
    """Name a store that is there, a damaged one too, or the file of a backup."""
    from mlops_nb.config import load_settings
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.store.locate import find

    if given is not None and "://" not in given and Path(given).is_file():
        path = Path(given)
        return str(path.parent if path.name == "store.db" else path)
    here = Path.cwd()
    location = find(here, load_settings(here, store=given))
    if location is None:
        raise StoreNotFound(given or str(here))
    return location


def _new(given: str) -> str:
    """Name a store that need not be there: of a project's folder, the one inside it."""
    from mlops_nb.config import load_settings
    from mlops_nb.store.locate import FOLDER, is_store, locate

    here = Path.cwd()
    location = locate(here, load_settings(here, store=given))
    if "://" in location:
        return location
    folder = Path(location)
    is_project = folder.name != FOLDER and folder.is_dir() and any(folder.iterdir())
    return str(folder / FOLDER) if is_project and not is_store(folder) else location


# --- watching ------------------------------------------------------------------------------------


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show bars to a person at a terminal; they are gone when all is done."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from mlops_nb.display.formats import size

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, said="")
        drawn: dict[str, float] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            if now - drawn.get(what, 0.0) < _REDRAW_S and done < total:
                return
            if what not in drawn:
                progress.reset(task, description=what)
            drawn[what] = now
            shown = (size(done), size(total)) if "bytes" in what else (f"{done:,}", f"{total:,}")
            said = f"{shown[0]} of {shown[1]}" if total else ""
            progress.update(task, completed=done, total=total or None, said=said)

        yield on_progress
