"""``pipeline.yaml``: a pipeline as a text that people read and change, and programs run."""

from __future__ import annotations

import ast
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import BadDefinition
from mlops_nb.model.pipelines import (
    Edge,
    Fact,
    Pipeline,
    PipelineParameter,
    Reason,
    Step,
    StepOptions,
)
from mlops_nb.pipeline.writing.checked import Part, check_graph, top_of
from mlops_nb.pipeline.writing.document import VERSION, content_digest
from mlops_nb.pipeline.writing.yaml_text import Document, read_yaml
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model.terms import Json

DEFINITION = "pipeline.yaml"
_NOTEBOOK_KEYS = ("path", "digest")
_TOP_KEYS = (
    "version",
    "digest",
    "name",
    "notebook",
    "kernel",
    "prelude",
    "parameter_cells",
    "skipped",
    "parameters",
    "steps",
    "edges",
    "metrics",
    "schedule",
    "warnings",
    "fused",
    "facts",
    "metadata",
    "files",
    "proof",
)


@record
class Definition:
    """A file ``pipeline.yaml`` as it was read.

    Attributes
    ----------
    pipeline
        Its `notebook` is a path from where this process runs.
    path
        The file.
    notebook_digest
        Of the notebook that was converted, as of `notebook_digest`.
    notebooks
        Name of a step to its notebook, relative to the folder of `path`.
    files
        Path of each notebook to the digest of what was written there.
    schedule
        As a person has written it; empty if the pipeline has none.
    proof
        ``{"split", "verdict"}`` of the last verification; empty if there was none.
    extra
        Keys that this version does not know; kept when it is written again.
    warnings
        A sentence about each of those.
    is_edited
        Whether somebody has changed the file since it was written.
    """

    pipeline: Pipeline
    path: Path
    notebook_digest: str
    notebooks: Mapping[str, str]
    files: Mapping[str, str]
    schedule: Mapping[str, Json]
    proof: Mapping[str, Json]
    extra: Mapping[str, Json]
    warnings: tuple[str, ...] = ()
    is_edited: bool = False


def read_definition(path: str | Path) -> Pipeline:
    """Read the pipeline of a folder.

    Parameters
    ----------
    path
        A folder with ``pipeline.yaml`` in it, or that file.

    Returns
    -------
    Pipeline
        As it was written; its `notebook` is a path from where this process runs.

    Raises
    ------
    BadDefinition
        There is none, or it is damaged; the error names line and key.

    Examples
    --------
    >>> from mlops_nb.pipeline.writing import read_definition
    >>> read_definition("churn").steps  # doctest: +SKIP
    """
    return load_definition(path).pipeline


def load_definition(path: str | Path) -> Definition:
    """Read ``pipeline.yaml`` with all that it says beside the pipeline; errors as above."""
    found = Path(path)
    found = found / DEFINITION if found.is_dir() else found
    document = read_yaml(_text_of(found), str(found))
    top = top_of(document, _TOP_KEYS)
    _check_version(top)
    pipeline, notebooks = _pipeline(top)
    source = top.part("notebook")
    pipeline = replace(pipeline, notebook=_beside(found, source.text("path")))
    definition = Definition(
        pipeline=pipeline,
        path=found,
        notebook_digest=source.text("digest"),
        notebooks=notebooks,
        files=top.paths("files"),
        schedule=top.mapping("schedule"),
        proof=top.mapping("proof"),
        extra={key: value for key, value in document.value.items() if key not in _TOP_KEYS},
        is_edited=top.text("digest") != content_digest(document.value),
    )
    source.finish(_NOTEBOOK_KEYS)
    return replace(definition, warnings=tuple(top.warnings))


def pipeline_of(document: Mapping[str, Any], path: str = DEFINITION) -> Pipeline:
    """Make the pipeline that `definition_document` described."""
    top = top_of(Document(path, document, {}), _TOP_KEYS)
    pipeline, _ = _pipeline(top)
    return replace(pipeline, notebook=top.part("notebook").text("path"))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = f"there is no {DEFINITION} here"
        remedy = "Give the folder that mlops-nb convert has written."
        raise BadDefinition(str(path.parent), 0, "", problem, remedy) from None
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 (byte {error.start})"
        raise BadDefinition(str(path), 0, "", problem, "Save it as UTF-8.") from None
    except OSError as error:
        problem = f"it cannot be read ({error.strerror or error})"
        raise BadDefinition(str(path), 0, "", problem, "Check the path.") from None


def _beside(path: Path, notebook: str) -> str:
    """Say where the notebook lies, seen from where this process runs."""
    return os.path.normpath(path.parent / notebook) if notebook else ""


def _check_version(top: Part) -> None:
    version = top.value.get("version")
    if type(version) is not int:
        problem = "it does not say which version of the format it is in"
        raise top.fault("version", problem, "Is it a pipeline of mlops-nb? Convert it again.")
    if version > VERSION:
        problem = f"it is in version {version} of the format; this mlops-nb reads up to {VERSION}"
        remedy = "Upgrade: pip install -U mlops-nb, or convert the notebook again with --force."
        raise top.fault("version", problem, remedy)
    if version < 1:
        raise top.fault("version", f"there is no version {version}", "Convert it again.")


def _pipeline(top: Part) -> tuple[Pipeline, dict[str, str]]:
    notebooks: dict[str, str] = {}
    steps = []
    for part in top.parts("steps"):
        step, path = _step(part)
        if step.name in notebooks:
            raise part.fault("name", f'there are two steps "{step.name}"')
        notebooks[step.name] = path
        steps.append(step)
    if not steps:
        raise top.fault("steps", "there are none", "Convert the notebook again.")
    pipeline = Pipeline(
        name=top.name("name"),
        kernel=top.text("kernel"),
        prelude=top.numbers("prelude"),
        parameter_cells=top.numbers("parameter_cells"),
        skipped=top.numbers("skipped"),
        parameters=tuple(_parameter(part) for part in top.parts("parameters")),
        steps=tuple(steps),
        edges=tuple(_edge(part) for part in top.parts("edges")),
        facts=tuple(_fact(part) for part in top.parts("facts")),
        fused=top.texts("fused"),
        warnings=top.texts("warnings"),
        metrics=top.texts("metrics"),
        metadata=top.mapping("metadata"),
    )
    check_graph(top, pipeline)
    return pipeline, notebooks


_STEP_KEYS = ("notebook", *(field.name for field in fields(Step)))


def _step(part: Part) -> tuple[Step, str]:
    step = Step(
        name=part.name("name"),
        cells=part.numbers("cells"),
        after=part.texts("after"),
        options=_options(part.part("options")),
        inputs=part.pairs("inputs"),
        outputs=part.units("outputs"),
        params=part.texts("params"),
        definitions=part.texts("definitions"),
        watched=part.texts("watched"),
        reads_files=part.texts("reads_files"),
        writes_files=part.texts("writes_files"),
    )
    part.finish(_STEP_KEYS)
    return step, part.path("notebook")


def _options(part: Part) -> StepOptions:
    whole = part.number("retry")
    if whole < 0:
        raise part.fault("retry", "it is below 0")
    options = StepOptions(
        retry=whole,
        timeout_s=part.seconds("timeout_s"),
        when=part.text("when"),
        foreach=part.text("foreach"),
        is_join=part.flag("is_join"),
        is_cached=part.flag("is_cached", default=True),
        outputs=part.texts("outputs"),
        secrets=part.texts("secrets"),
        is_gate=part.flag("is_gate"),
        is_deploy=part.flag("is_deploy"),
        kernel=part.text("kernel"),
        image=part.text("image"),
        limits=part.pairs("limits"),
        annotations=part.pairs("annotations"),
        labels=part.pairs("labels"),
        reports=part.texts("reports"),
    )
    part.finish([field.name for field in fields(StepOptions)])
    return options


def _parameter(part: Part) -> PipelineParameter:
    written = part.text("written")
    if "default" in part.value:
        default = part.value["default"]
        written = written or repr(default)
    else:
        default = _literal(written)
    part.finish(("name", "type", "default", "written", "comment"))
    return PipelineParameter(
        name=part.name("name"),
        type=part.text("type"),
        default=default,
        written=written,
        comment=part.text("comment"),
    )


def _literal(written: str) -> Any:
    try:
        return ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _edge(part: Part) -> Edge:
    reasons = []
    for one in part.parts("reasons"):
        kind = one.one_of("kind", ("static", "observed", "file", "rng", "prev"))
        reasons.append(Reason(kind, one.texts("names"), one.text("text")))
        one.finish([field.name for field in fields(Reason)])
    part.finish(("from", "to", "reasons"))
    return Edge(part.name("from"), part.name("to"), tuple(reasons))


def _fact(part: Part) -> Fact:
    kinds = ("reads", "binds", "mutates", "deletes", "shares", "rng", "differs")
    part.finish([field.name for field in fields(Fact)])
    return Fact(
        step=part.name("step"),
        kind=part.one_of("kind", kinds),
        names=part.texts("names"),
        code=part.text("code"),
        text=part.text("text"),
    )
