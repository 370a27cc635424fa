"""From the path of a notebook to a written pipeline, proven if that is wanted."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors.pipelines import BadDefinition
from mlops_nb.pipeline.drafts import draft_of, read_source, require_steps
from mlops_nb.pipeline.writing.converting import check_writable, convert
from mlops_nb.pipeline.writing.definition import load_definition
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.model.pipelines import Fact, SplitProof
    from mlops_nb.model.terms import Json
    from mlops_nb.pipeline.drafts import Draft, SplitOn
    from mlops_nb.pipeline.writing.converting import Converted
    from mlops_nb.store import Store


@record
class Conversion:
    """A notebook that was written as a pipeline.

    Attributes
    ----------
    source
        The notebook, as the user wrote it.
    converted
        What was written.
    proof
        What the verification said, None if none was wanted.
    notes
        Sentences about values that no proof can be about.
    """

    source: str
    converted: Converted
    proof: SplitProof | None = None
    notes: tuple[str, ...] = field(default=())


def convert_notebook(
    source: str | Path,
    folder: str | Path | None = None,
    *,
    split_on: SplitOn = "tags",
    name: str | None = None,
    verify: bool = False,
    jobs: int | None = None,
    force: bool = False,
    schedule: Mapping[str, Json] | None = None,
    store: Store | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Conversion:
    """Write a notebook as a pipeline; nothing of it is executed unless it is to be verified.

    Parameters
    ----------
    source
        A notebook, or a percent script.
    folder
        Where to; the notebook's path without its ending if left out.
    split_on, name
        As of `draft_of`.
    verify
        Whether the split is proven equal to the whole before it is written.
    jobs
        How many steps are verified at once.
    force, schedule
        As of `convert`.
    store
        Where earlier runs are looked up, and the proof is kept; neither if left out.
    on_note
        Called with sentences about the progress of the verification.

    Returns
    -------
    Conversion
        Its `proof` may say that the split is not equal: it is written all the same, and says so.

    Raises
    ------
    BadNotebook, BadPipeline, PipelineRefused
        The notebook cannot be split.
    NotOverwritten, NotWritten
        The folder cannot be written.
    """
    notebook = read_source(source)
    draft = draft_of(notebook, split_on=split_on, name=name)
    require_steps(draft)
    target = Path(source).with_suffix("") if folder is None else Path(folder)
    check_writable(target, notebook)
    facts = _known(draft, store, target)
    if not verify:
        from mlops_nb.pipeline.dataflow import dataflow_of

        pipeline = dataflow_of(draft, facts=facts)
        converted = convert(pipeline, notebook, target, force=force, schedule=schedule)
        return Conversion(str(source), converted)
    from mlops_nb.pipeline.verify import prove

    proven = prove(draft, facts=facts, jobs=jobs, on_note=on_note)
    if store is not None:
        store.save_proof(proven.proof)
        store.save_facts(draft.name, proven.pipeline.facts)
    converted = convert(
        proven.pipeline, notebook, target, force=force, schedule=schedule, proof=proven.proof
    )
    return Conversion(str(source), converted, proven.proof, proven.notes)


def _known(draft: Draft, store: Store | None, target: Path) -> Sequence[Fact]:
    """Give what earlier runs have shown, and what the pipeline that is there was made with."""
    facts: list[Fact] = []
    if store is not None:
        from mlops_nb.pipeline.running.preparing import known_facts

        facts += known_facts(draft, store)
    try:
        found = load_definition(target).pipeline
    except BadDefinition:
        return facts  # none is there, or what is there will be refused
    return [*facts, *(found.facts if found.name == draft.name else ())]
