"""``mlops-nb diff``, ``data``, ``env`` and ``lineage``: what differs, and where from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import (
    CHECK_SAID_NO,
    complete_run,
    examples,
    open_store,
    shared_options,
    write_page,
    write_view,
)

if TYPE_CHECKING:
    from mlops_nb.display import View
    from mlops_nb.environment.lock import LockKind


check_option = click.option(
    "--check", is_flag=True, help="Exit with 1 if something is known to differ."
)
html_option = click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write it as a page that needs no server and no script.",
)


@click.command(
    epilog=examples(
        "mlops-nb diff 7f3a e21b",
        "mlops-nb diff @best:auc @-1 --html why.html",
        "mlops-nb diff tag:production @-1 --check",
    )
)
@click.argument("a", shell_complete=complete_run)
@click.argument("b", default="@-1", shell_complete=complete_run)
@html_option
@check_option
@shared_options
@click.pass_context
def diff(
    context: click.Context,
    a: str,
    b: str,
    html: Path | None,
    check: bool,
    format_: str,
    store: str | None,
) -> None:
    """Say why run B is different from run A, the most likely cause first. B: the newest run."""
    from mlops_nb.display.identity import view_difference

    with open_store(store) as opened:
        view = view_difference(opened, a, b, place="shell")
    write_view(view, format_)
    write_page(view, html)
    if check and view.is_different:
        context.exit(CHECK_SAID_NO)


@click.command(
    epilog=examples(
        "mlops-nb lineage @-1",
        "mlops-nb lineage auc",
        "mlops-nb lineage data/train.csv --downstream",
        "mlops-nb lineage model:forest --format json",
    )
)
@click.argument("what")
@click.option("--downstream", "-d", is_flag=True, help="What came of it.")
@html_option
@shared_options
def lineage(
    what: str, downstream: bool, html: Path | None, format_: str, store: str | None
) -> None:
    """Show where WHAT came from: a run, a file, a model's name, a metric or a variable."""
    from mlops_nb.display.identity import view_lineage

    with open_store(store) as opened:
        view = view_lineage(opened, what, is_downstream=downstream, place="shell")
    write_view(view, format_)
    write_page(view, html)


@click.group()
def data() -> None:
    """Say what data is: its identity, its statistics, or what differs from other data.

    A NAME is a .csv or .parquet file, or RUN:NAME for data that a run used.
    """


@data.command("fingerprint", epilog=examples("mlops-nb data fingerprint train.csv"))
@click.argument("name")
@shared_options
def data_fingerprint(name: str, format_: str, store: str | None) -> None:
    """Say what identifies data: a digest for all of it, and one for each column."""
    write_view(_view_data("fingerprint", (name,), store), format_)


@data.command("profile", epilog=examples("mlops-nb data profile @-1:X_train"))
@click.argument("name")
@shared_options
def data_profile(name: str, format_: str, store: str | None) -> None:
    """Give the statistics of each column."""
    write_view(_view_data("profile", (name,), store), format_)


@data.command(
    "diff",
    epilog=examples(
        "mlops-nb data diff old.csv new.csv", "mlops-nb data diff 7f3a:X_train @-1:X_train --check"
    ),
)
@click.argument("a")
@click.argument("b")
@check_option
@shared_options
@click.pass_context
def data_diff(
    context: click.Context, a: str, b: str, check: bool, format_: str, store: str | None
) -> None:
    """Say which columns differ from A to B, how, and where."""
    from mlops_nb.display.data import DataDifferenceView

    view = _view_data("diff", (a, b), store)
    write_view(view, format_)
    if check and isinstance(view, DataDifferenceView) and view.is_different:
        context.exit(CHECK_SAID_NO)


@click.group()
def env() -> None:
    """Say what a run ran on and what differs from that, or write a lock of it."""


@env.command("show", epilog=examples("mlops-nb env show", "mlops-nb env show @best:auc"))
@click.argument("reference", metavar="[RUN]", default="@-1", shell_complete=complete_run)
@shared_options
def env_show(reference: str, format_: str, store: str | None) -> None:
    """Show what a run ran on: Python, machine, git, packages, those it imported first."""
    from mlops_nb.display.identity import view_environment

    with open_store(store) as opened:
        view = view_environment(opened, reference, place="shell")
    write_view(view, format_)


@env.command(
    "lock",
    epilog=examples(
        "mlops-nb env lock @best:auc -o pylock.best.toml",
        "mlops-nb env lock 7f3a -o requirements.lock.txt --offline",
    ),
)
@click.argument("reference", metavar="[RUN]", default="@-1", shell_complete=complete_run)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="The file, or its folder. [default: pylock.toml]",
)
@click.option(
    "--kind",
    type=click.Choice(["pylock", "requirements"]),
    help="[default: what the file's name says]",
)
@click.option("--offline", is_flag=True, help="A list of versions: no package index is asked.")
@click.option("--all", "-a", "all_packages", is_flag=True, help="Also what was not imported.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@shared_options
def env_lock(
    reference: str,
    output: Path | None,
    kind: LockKind | None,
    offline: bool,
    all_packages: bool,
    force: bool,
    format_: str,
    store: str | None,
) -> None:
    """Write a lock file that rebuilds what a run ran on, with hashes from the package index."""
    from mlops_nb.display.asking import lock_environment
    from mlops_nb.display.identity import environment_of

    with open_store(store) as opened:
        environment = environment_of(opened, opened.get_run(reference))
    view = lock_environment(
        environment,
        output,
        kind=kind,
        offline=offline,
        all_packages=all_packages,
        overwrite=force,
        on_progress=lambda text: click.echo(text, err=True),
        place="shell",
    )
    write_view(view, format_)


@env.command("diff", epilog=examples("mlops-nb env diff 7f3a e21b", "mlops-nb env diff @-1"))
@click.argument("a", shell_complete=complete_run)
@click.argument("b", required=False, shell_complete=complete_run)
@check_option
@shared_options
@click.pass_context
def env_diff(
    context: click.Context, a: str, b: str | None, check: bool, format_: str, store: str | None
) -> None:
    """Say what differs from run A to run B, or to this environment; imported packages first."""
    from mlops_nb.display.identity import view_environment_difference
    from mlops_nb.environment import read_environment

    with open_store(store) as opened:
        view = view_environment_difference(opened, a, b, now=read_environment(), place="shell")
    write_view(view, format_)
    if check and view.is_different:
        context.exit(CHECK_SAID_NO)


def _view_data(action: str, names: tuple[str, ...], store: str | None) -> View:
    from mlops_nb.display.asking import view_data

    return view_data(action, names, open_store=lambda: open_store(store), place="shell")
