"""``mlops-nb graph`` and ``why``: what flows between the steps of a notebook."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import examples, open_store, shared_options, write_view
from mlops_nb.cli.inspecting import split_option

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import Pipeline
    from mlops_nb.pipeline.drafts import SplitOn


@click.command(
    epilog=examples(
        "mlops-nb graph churn.ipynb",
        "mlops-nb graph untagged.ipynb --split-on h2 --format md",
        "mlops-nb graph churn/ --format json     (a folder that convert has written)",
    )
)
@click.argument("notebook", type=click.Path(path_type=Path))
@split_option
@shared_options
def graph(notebook: Path, split_on: SplitOn, format_: str, store: str | None) -> None:
    """Draw the steps of a notebook, with the reason of every edge; nothing is run."""
    from mlops_nb.display.pipelines import GraphView
    from mlops_nb.pipeline.graph import graph_document

    pipeline = _planned(notebook, split_on, store)
    document = graph_document(pipeline)
    write_view(GraphView(document, pipeline.name, str(notebook), place="shell"), format_)


@click.command(
    epilog=examples(
        "mlops-nb why churn.ipynb df train       (from where does train have df?)",
        "mlops-nb why churn.ipynb '<rng:numpy>' split",
        "mlops-nb why churn.ipynb clean train    (why does train come after clean?)",
    )
)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.argument("value")
@click.argument("step")
@split_option
@shared_options
def why(
    notebook: Path, value: str, step: str, split_on: SplitOn, format_: str, store: str | None
) -> None:
    """Say from where STEP has VALUE, a name, a file or another step, and why."""
    from mlops_nb.documents import to_json
    from mlops_nb.pipeline import graph as graphs

    pipeline = _planned(notebook, split_on, store)
    answer = graphs.why(pipeline, value, step)
    if format_ == "json":
        giver = next((s.inputs.get(value) for s in pipeline.steps if s.name == step), None)
        click.echo(to_json({"value": value, "step": step, "from": giver, "text": answer}))
    else:
        click.echo(answer)


def _planned(notebook: Path, split_on: SplitOn, store: str | None) -> Pipeline:
    """Plan a notebook, with what its runs have shown if there is a store here."""
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.pipeline.running.preparing import prepare

    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_store(store))
        except StoreNotFound:
            if store is not None:
                raise
            opened = None
        return prepare(notebook, store=opened, split_on=split_on).pipeline
