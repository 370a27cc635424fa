"""``mlops-nb runs``, ``compare``, ``show`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path

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

SECTIONS = ("data", "env", "resources", "errors")


@click.command(
    epilog=examples(
        "mlops-nb runs \"params.lr > 0.01 and metrics.auc >= 0.9 and status = 'finished'\"",
        "mlops-nb runs \"name like 'rf%' order by metrics.auc desc limit 20\"",
    )
)
@click.argument("query", nargs=-1)
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="0 for all."
)
@click.option("--archived", is_flag=True, help="Archived ones too.")
@shared_options
def runs(
    query: tuple[str, ...], limit: int, archived: bool, format_: str, store: str | None
) -> None:
    """List runs, newest first."""
    from mlops_nb.display import RunsView
    from mlops_nb.documents import runs_document, to_json

    text = " ".join(query) or None
    with open_store(store) as opened:
        found = tuple(opened.runs(text, limit=limit or None, archived=archived))
        total = max(opened.count_runs(text, archived=archived), len(found))
        left_out = 0 if found or text else opened.count_runs("archived")
    if format_ == "json":
        # All that was asked for; the table stops where nobody reads on.
        click.echo(to_json(runs_document(found, total=total)))
        return
    view = RunsView(found, total=total, query=text, place="shell", archived=left_out)
    write_view(view, format_)


@click.command(
    epilog=examples(
        "mlops-nb compare",
        "mlops-nb compare 7f3a e21b --sort auc",
        "mlops-nb compare --query \"name = 'churn'\" --html churn.html",
    )
)
@click.argument("references", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("--query", "-q", help="Compare the runs that match.")
@click.option(
    "--baseline",
    "-b",
    metavar="RUN",
    shell_complete=complete_run,
    help="Count differences from this run. [default: the best one]",
)
@click.option("--sort", "-s", "sort_by", metavar="METRIC", help="Best by this metric first.")
@click.option("--all", "-a", "all_params", is_flag=True, help="Also parameters that agree.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Most runs, where none are named.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the table as a page that needs no server and no script.",
)
@shared_options
def compare(
    references: tuple[str, ...],
    query: str | None,
    baseline: str | None,
    sort_by: str | None,
    all_params: bool,
    limit: int,
    html: Path | None,
    format_: str,
    store: str | None,
) -> None:
    """Compare runs: what differs, what came out, which is best. Without RUN: the newest."""
    from mlops_nb.display import view_comparison

    with open_store(store) as opened:
        view = view_comparison(
            opened,
            references,
            query=query,
            baseline=baseline,
            sort_by=sort_by,
            all_params=all_params,
            limit=limit,
            place="shell",
        )
    write_view(view, format_)
    write_page(view, html)


@click.command(
    epilog=examples("mlops-nb show", "mlops-nb show @best:auc --data --env"),
)
@click.argument("reference", metavar="[RUN]", default="@-1", shell_complete=complete_run)
@click.option("--data", "sections", flag_value="data", multiple=True, help="What went in.")
@click.option("--env", "sections", flag_value="env", multiple=True, help="Packages, machine.")
@click.option("--resources", "sections", flag_value="resources", multiple=True, help="Time.")
@click.option("--errors", "sections", flag_value="errors", multiple=True, help="What failed.")
@shared_options
def show(reference: str, sections: tuple[str, ...], format_: str, store: str | None) -> None:
    """Show what is kept of one run, or only the parts asked for."""
    from mlops_nb.display import view_run

    with open_store(store) as opened:
        run = opened.get_run(reference)
        view = view_run(opened, run, sections=sections, place="shell")
    write_view(view, format_)


@click.command()
@click.option("--check", is_flag=True, help="Exit with 1 if something needs attention.")
@shared_options
@click.pass_context
def doctor(context: click.Context, check: bool, format_: str, store: str | None) -> None:
    """Say what is captured, and how store and settings are."""
    from mlops_nb.doctor import examine

    diagnosis = examine(store)
    write_view(diagnosis, format_)
    if check and not diagnosis.is_well:
        context.exit(CHECK_SAID_NO)
