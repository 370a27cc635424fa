"""A notebook cut into steps, by what its author wrote; pure text, nothing is executed.

What flows between the steps is found out later: a draft knows cells, names, ``prev:`` and
options, and refuses what cannot be a pipeline, with step and cell.
"""

from __future__ import annotations

import re
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mlops_nb.errors import BadNotebook, BadValue
from mlops_nb.errors.pipelines import BadPipeline
from mlops_nb.model.pipelines import PipelineParameter, StepOptions
from mlops_nb.notebook import parameters
from mlops_nb.pipeline.grouping import Grouping
from mlops_nb.pipeline.order import after_problems
from mlops_nb.pipeline.reading import language_of_kernel, read_source
from mlops_nb.pipeline.tags import read_tags
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.grouping import Group

SplitOn: TypeAlias = Literal["tags", "h2", "cell"]
SPLITS: tuple[SplitOn, ...] = ("tags", "h2", "cell")
NO_STEPS = (
    'it has no steps. Tag the first cell of each with "step:NAME", or split it with '
    "--split-on h2 or --split-on cell."
)
_KALE = "kubeflow_notebook"
_LONGEST_NAME = 100


@record
class DraftStep:
    """One step as its author wrote it.

    Attributes
    ----------
    cells
        Zero-based positions among all cells of the notebook; they need not be neighbours.
    after
        Steps named with ``prev:``.
    is_named_by_author
        Whether the name was written, or made of a heading or a cell's number.
    """

    name: str
    cells: tuple[int, ...]
    after: tuple[str, ...] = ()
    options: StepOptions = field(default_factory=StepOptions)
    is_named_by_author: bool = True


@record
class Draft:
    """A notebook as steps, before anything is known of what flows between them.

    Attributes
    ----------
    name
        Given, else what the notebook's metadata or a tag say, else the file's without its ending.
    kernel
        Name of the notebook's kernel; empty if it names none.
    prelude
        Positions of the cells that every step runs first: those before the first step that
        have no tag, and ``imports`` and ``functions`` wherever they stand.
    parameter_cells
        Positions of the cells tagged as parameters.
    skipped
        Positions of the code cells that no step runs.
    metric_cells
        Positions of the cells that print what to log as metrics at the end.
    metadata
        What the notebook says of the pipeline: ``description``, ``experiment``, and Kale's own.
    """

    notebook: Notebook
    name: str
    kernel: str
    steps: tuple[DraftStep, ...]
    prelude: tuple[int, ...] = ()
    parameter_cells: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    metric_cells: tuple[int, ...] = ()
    parameters: tuple[PipelineParameter, ...] = ()
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def draft_of(notebook: Notebook, *, split_on: SplitOn = "tags", name: str | None = None) -> Draft:
    """Cut a notebook into steps.

    Parameters
    ----------
    notebook
        As of `read_source`.
    split_on
        ``"tags"``; ``"h2"`` also begins a step at each heading of the second level, ``"cell"``
        at each code cell. A tag wins over both.
    name
        What to call the pipeline.

    Returns
    -------
    Draft
        Without steps, if nothing in the notebook begins one (see `require_steps`).

    Raises
    ------
    BadPipeline
        The tags contradict each other; the error lists all that is wrong.

    Examples
    --------
    >>> draft_of(read_source("train.ipynb")).steps[0].name  # doctest: +SKIP
    'load'
    """
    if split_on not in SPLITS:
        raise BadValue("split_on", f"is {split_on!r}", f"Give one of {', '.join(SPLITS)}")
    grouping = Grouping(notebook, split_on)
    problems = [*grouping.problems]
    offered = _parameters(notebook, grouping, problems)
    problems += _step_problems(grouping)
    if problems:
        raise BadPipeline(notebook.path, tuple(problems))
    kale = _kale(notebook)
    given = name or grouping.pipeline or _text(kale.get("pipeline_name"))
    return Draft(
        notebook=notebook,
        name=_legal(given or Path(notebook.path).stem),
        kernel=notebook.kernel_name or "",
        steps=tuple(_step(group, kale) for group in grouping.groups.values()),
        prelude=tuple(grouping.prelude),
        parameter_cells=tuple(grouping.parameter_cells),
        skipped=tuple(grouping.skipped),
        metric_cells=tuple(grouping.metric_cells),
        parameters=offered,
        warnings=(*notebook.warnings, *grouping.warnings, *_odd_names(grouping)),
        metadata=_metadata(kale),
    )


def has_steps(draft: Draft) -> bool:
    """Say whether anything in a notebook begins a step."""
    return bool(draft.steps)


def require_steps(draft: Draft) -> None:
    """Refuse a notebook that has no steps.

    Raises
    ------
    BadPipeline
        Nothing in it begins one.
    """
    if not draft.steps:
        raise BadPipeline(draft.notebook.path, (NO_STEPS,))


def _step(group: Group, kale: Mapping[str, Any]) -> DraftStep:
    said: dict[str, Any] = {**group.said}
    for field_, pairs in _defaults(kale).items():
        said[field_] = {**pairs, **said.get(field_, {})}
    if image := _text(kale.get("docker_image")):
        said.setdefault("image", image)
    return DraftStep(
        name=group.name,
        cells=tuple(group.cells),
        after=tuple(group.after),
        options=StepOptions(**said),
        is_named_by_author=group.is_named_by_author,
    )


# --- what is wrong -----------------------------------------------------------------------------


def _step_problems(grouping: Grouping) -> Iterator[str]:
    for group in grouping.groups.values():
        where = f"Step {group.name} (cell {group.cells[0]})"
        if not group.has_code:
            yield f"{where} is empty. Write what it does, or take the tag away."
        kernel = str(group.said.get("kernel", ""))
        language = language_of_kernel(kernel)
        if language is not None:
            yield (
                f"{where} asks for the kernel {kernel}, which runs {language}. "
                "Steps are in Python."
            )
    yield from after_problems(
        {name: tuple(group.after) for name, group in grouping.groups.items()},
        {name: group.cells[0] for name, group in grouping.groups.items()},
        grouping.skipped_steps,
    )


def _odd_names(grouping: Grouping) -> Iterator[str]:
    """Warn of two names that a reader takes for one."""
    seen: dict[str, str] = {}
    for name in grouping.groups:
        folded = name.casefold().replace("-", "_")
        if folded in seen:
            yield f"Steps {seen[folded]} and {name} have nearly the same name."
        seen.setdefault(folded, name)


def _parameters(
    notebook: Notebook, grouping: Grouping, problems: list[str]
) -> tuple[PipelineParameter, ...]:
    for extra in grouping.parameter_cells[1:]:
        grouping.warnings.append(
            f"Cell {extra} is tagged as parameters too; values can be given only for those of "
            f"cell {grouping.parameter_cells[0]}."
        )
    try:
        found = parameters(notebook)
    except BadNotebook as error:
        problems.append(f"{error.problem[:1].upper()}{error.problem[1:]}. {error.remedy}")
        return ()
    except (RecursionError, MemoryError):
        problems.append(
            f"Its parameters cell (cell {grouping.parameter_cells[0]}) is nested too deeply to be "
            "read. Write its values plainly."
        )
        return ()
    return tuple(
        PipelineParameter(one.name, one.type, one.default, one.written, one.comment)
        for one in found
    )


# --- what the notebook says of itself ----------------------------------------------------------


def _kale(notebook: Notebook) -> Mapping[str, Any]:
    found = notebook.content.get("metadata", {}).get(_KALE)
    return found if isinstance(found, dict) else {}


def _metadata(kale: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        "description": _text(kale.get("pipeline_description")),
        "experiment": _text(kale.get("experiment_name")),
    }
    found: dict[str, Any] = {key: value for key, value in said.items() if value}
    return {**found, _KALE: dict(kale)} if kale else found


def _defaults(kale: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Read what Kale says of all steps: ``["label:access:true", "limit:cpu:2"]``."""
    written = kale.get("steps_defaults")
    if not isinstance(written, list):
        return {}
    found = read_tags(tag for tag in written if isinstance(tag, str))
    pairs = ("annotations", "labels", "limits")
    return {name: value for name in pairs if isinstance(value := found.options.get(name), dict)}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _legal(name: str) -> str:
    """Take out of a name what cannot stand in ``"PIPELINE/STEP"`` or in a file's name."""
    kept = "".join(letter if letter.isprintable() else "_" for letter in name)
    return re.sub(r"[/\\:*?\"'<>|]+", "_", kept).strip(" .")[:_LONGEST_NAME] or "pipeline"


__all__ = [
    "NO_STEPS",
    "SPLITS",
    "Draft",
    "DraftStep",
    "SplitOn",
    "draft_of",
    "has_steps",
    "read_source",
    "require_steps",
]
