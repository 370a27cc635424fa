"""``mlops-nb convert``: a notebook becomes a pipeline of ordinary notebooks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import CHECK_SAID_NO, examples, open_store, shared_options, write_view
from mlops_nb.cli.inspecting import split_option

if TYPE_CHECKING:
    from mlops_nb.store import Store


@click.command(
    epilog=examples(
        "mlops-nb convert churn.ipynb -o churn",
        "mlops-nb convert churn.ipynb -o churn --verify     (in CI: exit code 1 unless equal)",
        "mlops-nb convert untagged.ipynb --split-on h2",
    )
)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The pipeline's folder. [default: the notebook's path without .ipynb]",
)
@split_option
@click.option("--name", help="What to call the pipeline. [default: the notebook's name]")
@click.option("--verify", is_flag=True, help="Prove that the split gives what the whole gives.")
@click.option(
    "--jobs", "-j", type=click.IntRange(min=1), help="Steps verified at once. [default: by CPUs]"
)
@click.option("--force", is_flag=True, help="Overwrite files edited by hand.")
@shared_options
@click.pass_context
def convert(
    context: click.Context,
    notebook: Path,
    folder: Path | None,
    split_on: str,
    name: str | None,
    verify: bool,
    jobs: int | None,
    force: bool,
    format_: str,
    store: str | None,
) -> None:
    """Write a notebook as pipeline.yaml and one notebook a step; only --verify runs anything."""
    from mlops_nb.display.conversion import ConversionView
    from mlops_nb.pipeline.writing.conversion import convert_notebook

    with ExitStack() as stack:
        found = convert_notebook(
            notebook,
            folder,
            split_on=split_on,  # type: ignore[arg-type]  # click has checked it
            name=name,
            verify=verify,
            jobs=jobs,
            force=force,
            store=_store(stack, store),
            on_note=_say,
        )
    view = ConversionView(found, "shell")
    write_view(view, format_)
    if not view.is_good:
        context.exit(CHECK_SAID_NO)


def _store(stack: ExitStack, given: str | None) -> Store | None:
    """Open the store here, if there is one; a conversion needs none."""
    from mlops_nb.errors import StoreNotFound

    try:
        return stack.enter_context(open_store(given))
    except StoreNotFound:
        if given is not None:
            raise
        return None


def _say(note: str) -> None:
    click.echo(note, err=True)
