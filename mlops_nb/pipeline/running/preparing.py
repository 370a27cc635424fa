"""A notebook, or a folder that `convert` has written, as a pipeline that can be run as asked."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.pipeline.running.parameters import checked_values
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.model.pipelines import Fact, Pipeline
    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.drafts import Draft, SplitOn
    from mlops_nb.store import Store


@record
class Prepared:
    """What is to run.

    Attributes
    ----------
    path
        As the user wrote it.
    notebook, draft
        None for a folder: its notebooks run as they stand.
    notebooks
        Of the steps, for a folder.
    shown
        The user's notebook, which the run is said to be of.
    place
        Where its cells run.
    """

    path: Path
    pipeline: Pipeline
    shown: Path
    place: Path
    notebook: Notebook | None = None
    draft: Draft | None = None
    notebooks: Mapping[str, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def is_pipeline_folder(path: Path) -> bool:
    """Whether a path is a folder that `convert` has written, or its ``pipeline.yaml``."""
    return path.is_dir() or path.suffix in {".yaml", ".yml"}


def start_folder(path: Path) -> Path:
    """Say from where the store of a notebook, or of a pipeline's folder, is looked for."""
    found = path.absolute()
    return found if found.is_dir() else found.parent


def prepare(
    path: str | Path,
    *,
    store: Store | None = None,
    facts: Sequence[Fact] = (),
    split_on: SplitOn = "tags",
    name: str | None = None,
    place: Path | None = None,
) -> Prepared:
    """Read what is to run, and find out what flows between its steps; nothing is executed.

    Parameters
    ----------
    path
        A notebook, a percent script, or a pipeline's folder.
    store
        What earlier runs have shown is read from it.
    facts
        More of the same.
    split_on
        As of `draft_of`.
    name
        Of the pipeline.
    place
        Where its cells run; the notebook's folder if left out, as in Jupyter.

    Raises
    ------
    BadNotebook, BadPipeline, PipelineRefused, BadDefinition
        It cannot run.
    """
    given = Path(path)
    if is_pipeline_folder(given):
        return _prepare_folder(given, place)
    from mlops_nb.pipeline.drafts import draft_of, require_steps
    from mlops_nb.pipeline.reading import read_source

    notebook = read_source(given)
    draft = draft_of(notebook, split_on=split_on, name=name)
    require_steps(draft)
    known = () if store is None else known_facts(draft, store)
    return Prepared(
        path=given,
        pipeline=_flow(draft, (*known, *facts)),
        shown=given.absolute(),
        place=place or given.absolute().parent,
        notebook=notebook,
        draft=draft,
        warnings=tuple(draft.warnings),
    )


def replanned(prepared: Prepared, facts: Sequence[Fact]) -> Prepared:
    """Plan again, with all that is known by now.

    Raises
    ------
    PipelineRefused
        Nothing that is equal to the whole notebook can be made.
    """
    from dataclasses import replace

    if prepared.draft is None:
        return prepared
    return replace(prepared, pipeline=_flow(prepared.draft, facts))


def known_facts(draft: Draft, store: Store) -> tuple[Fact, ...]:
    """Gather what runs have shown: of this pipeline, and the last one of the whole notebook."""
    from mlops_nb.pipeline.dataflow import facts_of

    executions = _last_whole_run(draft, store)
    return (*store.facts(draft.name), *(facts_of(draft, executions) if executions else ()))


def checked(prepared: Prepared, given: Mapping[str, object]) -> dict[str, Any]:
    """Check values against the pipeline's parameters, and give each its type.

    Raises
    ------
    BadParameter
        There is no such parameter, or the value does not fit it.
    """
    notebook = prepared.notebook or _notebook_of_parameters(prepared.pipeline)
    return checked_values(notebook, given, str(prepared.path))


def _flow(draft: Draft, facts: Sequence[Fact]) -> Pipeline:
    from mlops_nb.pipeline.dataflow import dataflow_of

    return dataflow_of(draft, facts=tuple(dict.fromkeys(facts)))


def _prepare_folder(path: Path, place: Path | None) -> Prepared:
    from mlops_nb.pipeline.writing import load_definition

    definition = load_definition(path)
    folder = definition.path.parent
    source = Path(definition.pipeline.notebook or definition.path).absolute()
    # Where the whole notebook would run, if it is still there.
    home = source.parent if source.is_file() else folder.absolute()
    return Prepared(
        path=path,
        pipeline=definition.pipeline,
        shown=source,
        place=place or home,
        notebooks={step: folder / name for step, name in definition.notebooks.items()},
        warnings=definition.warnings,
    )


def _last_whole_run(draft: Draft, store: Store) -> Any:
    """Read what the last tracked run of the whole notebook has executed; empty without one."""
    run = store.last_whole_run(str(Path(draft.notebook.path).absolute()))
    return () if run is None else store.executions(store.get_run(run).executions)


def _notebook_of_parameters(pipeline: Pipeline) -> Notebook:
    """Make a notebook of nothing but the parameters, which says what fits them."""
    from mlops_nb.notebook import Cell, Notebook

    lines = [
        f"{parameter.name} = {parameter.written or 'None'}"
        + (f"  # type: {parameter.type}" if parameter.type else "")
        for parameter in pipeline.parameters
    ]
    cell = Cell(0, "code", "\n".join(lines), "parameters", ("parameters",))
    return Notebook(pipeline.notebook, (4, 5), (cell,), "python", None, (), {"cells": []})
