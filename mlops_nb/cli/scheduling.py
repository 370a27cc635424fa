"""``mlops-nb schedule …`` and ``mlops-nb scheduler``: notebooks that run by themselves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import (
    debug_option,
    examples,
    open_store,
    shared_options,
    store_option,
    write_view,
)
from mlops_nb.cli.running import CELL_FAILED

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mlops_nb.schedule.scheduler import Scheduler, Ways

_MISSED = ("skip", "once", "all")
_OVERLAP = ("skip", "queue", "allow")


def complete_schedule(
    _context: click.Context, _parameter: click.Parameter, beginning: str
) -> list[CompletionItem]:
    """Offer the schedules of the store here; nothing where there is none."""
    from click.shell_completion import CompletionItem

    from mlops_nb.errors import MlopsNbError

    try:
        with open_store(None) as store:
            found = store.schedules()
    except (MlopsNbError, OSError):
        return []
    return [
        CompletionItem(one.name, help=one.cron) for one in found if one.name.startswith(beginning)
    ]


_schedule = click.argument("reference", metavar="NAME", shell_complete=complete_schedule)


@click.group()
def schedule() -> None:
    """Run notebooks by themselves: on Mondays at six, every hour, on the last day of a month."""


@schedule.command(
    "add",
    epilog=examples(
        'mlops-nb schedule add train.ipynb --cron "0 6 * * 1" --tz Europe/Brussels',
        "mlops-nb schedule add train.ipynb --cron @daily -p C=0.5 --name nightly --missed all",
    ),
)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--cron", required=True, metavar="CRON", help="Five fields as in crontab, or @daily."
)
@click.option("--tz", metavar="ZONE", help="As Europe/Brussels. [default: this machine's]")
@click.option("--param", "-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--name", help="What to call it. [default: the notebook's name]")
@click.option(
    "--missed",
    type=click.Choice(_MISSED),
    default="once",
    show_default=True,
    help="Times that came while no scheduler ran.",
)
@click.option(
    "--overlap",
    type=click.Choice(_OVERLAP),
    default="skip",
    show_default=True,
    help="If the last one still runs.",
)
@click.option("--replace", is_flag=True, help="Take the place of the one of this name.")
@shared_options
def add(
    notebook: Path,
    cron: str,
    tz: str | None,
    pairs: tuple[str, ...],
    name: str | None,
    missed: str,
    overlap: str,
    replace: bool,
    format_: str,
    store: str | None,
) -> None:
    """Run NOTEBOOK (or a pipeline's folder) whenever a cron expression says so."""
    from mlops_nb.api.scheduling import add_schedule, store_of
    from mlops_nb.schedule.making import as_params, new_schedule

    made = new_schedule(
        notebook,
        cron,
        zone=tz,
        name=name,
        params=as_params(pairs),
        missed=missed,
        overlap=overlap,
    )
    with store_of(Path(made.target), store) as opened:
        view = add_schedule(opened, made, replaces=replace, place="shell")
    write_view(view, format_)


@schedule.command("list")
@shared_options
def list_(format_: str, store: str | None) -> None:
    """List schedules with their next dates, by the clock of each one's zone."""
    from mlops_nb.display.schedules import view_schedules

    with open_store(store) as opened:
        view = view_schedules(opened, place="shell")
    write_view(view, format_)


@schedule.command("next", epilog=examples("mlops-nb schedule next nightly -n 10"))
@_schedule
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True)
@shared_options
def next_(reference: str, count: int, format_: str, store: str | None) -> None:
    """Show one schedule: its next dates, and how it went."""
    from mlops_nb.display.schedules import view_schedule
    from mlops_nb.schedule.making import get_schedule

    with open_store(store) as opened:
        found = get_schedule(opened, reference)
        view = view_schedule(opened, found, count=count, place="shell")
    write_view(view, format_)


@schedule.command()
@_schedule
@shared_options
def pause(reference: str, format_: str, store: str | None) -> None:
    """Let a schedule rest until it is resumed; what runs already runs on."""
    _change(reference, "pause", format_, store)


@schedule.command()
@_schedule
@shared_options
def resume(reference: str, format_: str, store: str | None) -> None:
    """Let a schedule fire again from now on; times while it was paused are not made up for."""
    _change(reference, "resume", format_, store)


@schedule.command()
@_schedule
@shared_options
def rm(reference: str, format_: str, store: str | None) -> None:
    """Remove a schedule; its runs stay."""
    _change(reference, "rm", format_, store)


def _change(reference: str, what: str, format_: str, store: str | None) -> None:
    from mlops_nb.api.scheduling import change_schedule

    with open_store(store) as opened:
        view = change_schedule(opened, reference, what, place="shell")
    write_view(view, format_)


@schedule.command("run-now")
@_schedule
@click.option("--any", "is_any", is_flag=True, help="Also if somebody else made it.")
@shared_options
@click.pass_context
def run_now(
    context: click.Context, reference: str, is_any: bool, format_: str, store: str | None
) -> None:
    """Run what a schedule runs, now and here, as the scheduler would; exit 3 if it fails."""
    from mlops_nb.display.schedules import view_schedule
    from mlops_nb.schedule.making import get_schedule
    from mlops_nb.schedule.scheduler import Ways

    with open_store(store) as opened:
        found = get_schedule(opened, reference)
    ways = Ways(kills_at_once=True)
    failed = _scheduler(store, ways, under=(), is_any=is_any).run_now(found)
    with open_store(store) as opened:
        view = view_schedule(opened, found, said="ran", place="shell")
    write_view(view, format_)
    if failed:
        context.exit(CELL_FAILED)


@click.command(
    epilog=examples(
        "mlops-nb scheduler",
        "mlops-nb scheduler --once",
        "mlops-nb scheduler --under /srv/notebooks --jobs 8",
    )
)
@click.option("--once", is_flag=True, help="Run what is due now, and end; exit 3 if one failed.")
@click.option(
    "--poll",
    "poll_s",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    metavar="S",
    help="How often to look for what is new.",
)
@click.option("--jobs", "-j", type=click.IntRange(1), help="At most so many at once. [default: 4]")
@click.option(
    "--under",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also run what lies in this folder, whoever scheduled it.",
)
@click.option("--any", "is_any", is_flag=True, help="Run all schedules, whoever made them.")
@click.option("--now", "kills_at_once", is_flag=True, help="When told to stop, stop what runs.")
@store_option
@debug_option
@click.pass_context
def scheduler(
    context: click.Context,
    once: bool,
    poll_s: float,
    jobs: int | None,
    under: tuple[Path, ...],
    is_any: bool,
    kills_at_once: bool,
    store: str | None,
) -> None:
    """Run what is scheduled in this store, until SIGTERM or Ctrl-C; any number may run.

    What runs is let finish first; a second signal stops it too. Only your own schedules run,
    which are signed with your key (or the team's, MLOPS_NB_TEAM_KEY).
    """
    from mlops_nb.schedule.scheduler import Ways

    ways = Ways(poll_s=poll_s, jobs=jobs or 4, is_once=once, kills_at_once=kills_at_once)
    failed = _scheduler(store, ways, under=under, is_any=is_any).run()
    if once and failed:
        context.exit(CELL_FAILED)


def _scheduler(
    given: str | None, ways: Ways, *, under: tuple[Path, ...], is_any: bool
) -> Scheduler:
    import os

    from mlops_nb.config import load_settings
    from mlops_nb.errors import StoreNotFound, StoreUnwritable
    from mlops_nb.schedule.scheduler import Scheduler
    from mlops_nb.schedule.trust import Allowance
    from mlops_nb.store import Store
    from mlops_nb.store.locate import find

    here = Path.cwd()
    settings = load_settings(here, store=given)
    location = find(here, settings)
    if location is None:
        raise StoreNotFound(given or str(here))
    with Store.open(location) as store:
        if store.is_read_only:
            remedy = "A scheduler writes down what it runs; make it writable."
            raise StoreUnwritable(store.location, "this store may only be read", remedy)
    # In the environment, where nobody else reads it: it may hold a password.
    environment = {**os.environ, "MLOPS_NB_STORE": location}
    environment.pop("MLOPS_NB_STEP", None)
    return Scheduler(
        lambda: Store.open(location),
        refusal=Allowance(is_any=is_any, folders=under).refusal,
        say=_say,
        logs=settings.state_dir / "schedules",
        environment=environment,
        ways=ways,
    )


def _say(text: str) -> None:
    click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} {text}", err=True)
