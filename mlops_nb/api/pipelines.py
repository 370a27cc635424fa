"""Notebooks as pipelines: look at the steps, draw them, convert, run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.display.conversion import ConversionView
    from mlops_nb.display.pipelines import GraphView, InspectView
    from mlops_nb.model.pipelines import Pipeline
    from mlops_nb.pipeline.drafts import SplitOn


def inspect_notebook(notebook: str | Path, *, split_on: SplitOn = "tags") -> InspectView:
    """List the steps and parameters of a notebook, and what is odd; nothing is run.

    Parameters
    ----------
    notebook
        Path of a notebook, or of a percent script.
    split_on
        What begins a step: ``"tags"``, also headings of the second level (``"h2"``), or each
        code cell (``"cell"``).

    Raises
    ------
    BadNotebook
        The file is no notebook, or is not in Python.
    BadPipeline
        Its tags contradict each other; the error lists all that is wrong.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.inspect_notebook("train.ipynb")  # doctest: +SKIP
    """
    from mlops_nb.display.pipelines import InspectView
    from mlops_nb.pipeline.drafts import draft_of, read_source

    return InspectView(draft_of(read_source(notebook), split_on=split_on), split_on)


def graph(notebook: str | Path, *, split_on: SplitOn = "tags") -> GraphView:
    """Draw the steps of a notebook, with the reason of every edge; nothing is run.

    Parameters
    ----------
    notebook
        Path of a notebook, of a percent script, or of a folder that `convert` has written.
    split_on
        As of `inspect_notebook`.

    Raises
    ------
    BadNotebook, BadPipeline, PipelineRefused
        The notebook cannot be split so that it stays equal to the whole.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.graph("churn.ipynb")  # doctest: +SKIP
    """
    from mlops_nb.display.pipelines import GraphView
    from mlops_nb.pipeline.graph import graph_document

    pipeline = _planned(notebook, split_on)
    return GraphView(graph_document(pipeline), pipeline.name, str(notebook))


def why(notebook: str | Path, value: str, step: str, *, split_on: SplitOn = "tags") -> str:
    """Say in one sentence from where a step has a value, or why no edge brings it.

    Parameters
    ----------
    notebook
        As of `graph`.
    value
        A name, a path, state such as ``<rng:numpy>``, or another step.
    step
        The step that is asked about.
    split_on
        As of `inspect_notebook`.

    Raises
    ------
    UnknownStep
        There is no such step.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.why("churn.ipynb", "df", "train")  # doctest: +SKIP
    'train reads df in cell 4, line 1, which clean last changes in cell 3, line 2.'
    """
    from mlops_nb.pipeline import graph as graphs

    return graphs.why(_planned(notebook, split_on), value, step)


def _planned(notebook: str | Path, split_on: SplitOn) -> Pipeline:
    """Plan a notebook, with what its runs have shown if there is a store."""
    from contextlib import ExitStack

    from mlops_nb.api.current import open_store
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.pipeline.running.preparing import prepare

    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store())
        except StoreNotFound:
            store = None
        return prepare(notebook, store=store, split_on=split_on).pipeline


def convert(
    notebook: str | Path,
    folder: str | Path | None = None,
    *,
    split_on: SplitOn = "tags",
    name: str | None = None,
    verify: bool = False,
    jobs: int | None = None,
    force: bool = False,
) -> ConversionView:
    """Write a notebook as a pipeline: ``pipeline.yaml``, and one ordinary notebook a step.

    Parameters
    ----------
    notebook
        Path of a notebook, or of a percent script.
    folder
        Where to; the notebook's path without its ending if left out.
    split_on
        As of `inspect_notebook`.
    name
        What to call the pipeline; the notebook's name if left out.
    verify
        Whether the notebook and its steps are run, to prove that they give the same.
    jobs
        How many steps are verified at once.
    force
        Whether files edited by hand are overwritten.

    Returns
    -------
    ConversionView
        Steps, edges with their reasons, warnings; `is_good` unless the proof has failed.

    Raises
    ------
    BadNotebook, BadPipeline, PipelineRefused
        The notebook cannot be split so that it stays equal to the whole.
    NotOverwritten, NotWritten
        The folder holds files that are not ours to overwrite, or cannot be written.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.convert("churn.ipynb", "churn", verify=True).is_good  # doctest: +SKIP
    True
    """
    from contextlib import ExitStack

    from mlops_nb.api.current import open_store
    from mlops_nb.display.conversion import ConversionView
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.pipeline.writing.conversion import convert_notebook

    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store())
        except StoreNotFound:
            store = None
        found = convert_notebook(
            notebook,
            folder,
            split_on=split_on,
            name=name,
            verify=verify,
            jobs=jobs,
            force=force,
            store=store,
        )
    return ConversionView(found)
