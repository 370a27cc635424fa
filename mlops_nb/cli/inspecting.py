"""``mlops-nb inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import examples, shared_options, write_view

if TYPE_CHECKING:
    from mlops_nb.pipeline.drafts import SplitOn

SPLITS = ("tags", "h2", "cell")

split_option = click.option(
    "--split-on",
    type=click.Choice(SPLITS),
    default="tags",
    show_default=True,
    help="What begins a step: a tag; also a heading ## of Markdown; or each code cell.",
)


@click.command(
    epilog=examples(
        "mlops-nb inspect train.ipynb",
        "mlops-nb inspect train.py --format json",
        "mlops-nb inspect untagged.ipynb --split-on h2",
    )
)
@click.argument("notebook")
@split_option
@shared_options
def inspect(notebook: str, split_on: SplitOn, format_: str, store: str | None) -> None:
    """List a notebook's steps, its parameters with types and defaults, and what is odd."""
    from mlops_nb.display.pipelines import InspectView
    from mlops_nb.pipeline.drafts import draft_of, read_source

    del store  # nothing of it is needed; every command takes the option
    draft = draft_of(read_source(notebook), split_on=split_on)
    write_view(InspectView(draft, split_on, place="shell"), format_)
