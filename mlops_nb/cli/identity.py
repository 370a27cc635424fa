"""``mlops-nb diff``, ``data``, ``env`` and ``lineage``: what differs, and where from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import (
    complete_run,
    examples,
    open_store,
    shared_options,
    write_view,
)

if TYPE_CHECKING:
    from mlops_nb.display import View

CHECK_SAID_NO = 1

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
    _write_page(view, html)
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
    _write_page(view, html)


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
    """Say what differs between what runs ran on."""


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


def _write_page(view: View, path: Path | None) -> None:
    if path is not None:
        path.write_text(view.html_page(), encoding="utf-8")
        click.echo(f"written: {path}", err=True)
