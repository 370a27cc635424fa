"""A pipeline as plain values and as the text of ``pipeline.yaml``; the digests it is known by."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.documents import plain
from mlops_nb.model.pipelines import Pipeline, Step, StepOptions
from mlops_nb.pipeline.writing.yaml_text import write_yaml

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import Edge, PipelineParameter
    from mlops_nb.notebook import Notebook

VERSION = 1
"""Of the format; a file of a higher one is refused."""


def definition_document(
    pipeline: Pipeline, *, paths: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Describe a pipeline as ``pipeline.yaml`` does; what is empty is left out.

    Parameters
    ----------
    pipeline
        The record.
    paths
        Notebook of each step; what `step_paths` says if left out.

    Returns
    -------
    dict
        Plain values, always in the same order.

    Examples
    --------
    >>> definition_document(Pipeline("churn", steps=(Step("load", (2,)),)))["steps"]
    [{'name': 'load', 'notebook': 'steps/01_load.ipynb', 'cells': [2]}]
    """
    from mlops_nb.pipeline.writing.notebooks import step_paths

    paths = step_paths(pipeline) if paths is None else paths
    document = {
        "version": VERSION,
        "name": pipeline.name,
        "notebook": {"path": pipeline.notebook},
        "kernel": pipeline.kernel,
        "prelude": list(pipeline.prelude),
        "parameter_cells": list(pipeline.parameter_cells),
        "skipped": list(pipeline.skipped),
        "parameters": [_parameter_document(one) for one in pipeline.parameters],
        "steps": [_step_document(step, paths[step.name]) for step in pipeline.steps],
        "edges": [_edge_document(edge) for edge in pipeline.edges],
        "metrics": list(pipeline.metrics),
        "warnings": list(pipeline.warnings),
        "fused": list(pipeline.fused),
        "facts": [_filled(fact) for fact in pipeline.facts],
        "metadata": plain(pipeline.metadata),
    }
    return {
        key: _texts(value) for key, value in document.items() if value not in ("", [], {}, None)
    }


def definition_text(document: Mapping[str, Any]) -> str:
    """Write the document of a pipeline, with what it is and how to run it at the top."""
    steps = document.get("steps", [])
    body = {key: value for key, value in document.items() if key != "digest"}
    body = {"version": body.pop("version"), "digest": content_digest(body), **body}
    return f"{_heading(document, steps)}\n{write_yaml(body)}"


def content_digest(document: Mapping[str, Any]) -> str:
    """Identify what was written, so that an edit by hand is seen; a proof may be added to it."""
    kept = {k: v for k, v in document.items() if k not in {"version", "digest", "proof"}}
    return _digest_of(kept)


def _heading(document: Mapping[str, Any], steps: list[dict[str, Any]]) -> str:
    counted = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    folder, source = os.path.split(document["notebook"]["path"])
    first = steps[0]["notebook"] if steps else ""
    # Where the cells find their files: values are looked for right below that folder.
    place = " --cwd .." if folder == ".." else ""
    lines = [f"{document['name']}: {source} as a pipeline of {counted}.", ""]
    lines.append("Run it from this folder:     mlops-nb run .")
    if parameters := document.get("parameters", []):
        name = parameters[0]["name"]
        shown = parameters[0].get("written", parameters[0].get("default"))
        lines.append(f"With another value:          mlops-nb run . -p {name}={_one_word(shown)}")
    lines += [
        f"One by one, without it:      papermill {first} out.ipynb{place}",
        "The notebooks may be edited: mlops-nb convert does not overwrite edits unasked.",
    ]
    return "\n".join(f"# {_printable(line)}".rstrip() for line in lines)


def _one_word(value: object) -> str:
    text = str(value)
    return text if text.isidentifier() or text.replace(".", "").isdigit() else "…"


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _parameter_document(parameter: PipelineParameter) -> dict[str, Any]:
    """Describe a parameter; its default as YAML where that says all, and as written where not."""
    document: dict[str, Any] = {"name": parameter.name}
    if parameter.type:
        document["type"] = parameter.type
    is_exact = _is_json(parameter.default)
    if is_exact and (parameter.default is not None or parameter.written in {"", "None"}):
        document["default"] = parameter.default
    if not ("default" in document and parameter.written == repr(parameter.default)):
        document["written"] = parameter.written
    if parameter.comment:
        document["comment"] = parameter.comment
    return {key: value for key, value in document.items() if key != "written" or value}


def _is_json(value: object) -> bool:
    """Say whether YAML gives the very same value back."""
    if value is None or isinstance(value, bool | int):
        return True
    if isinstance(value, float):
        return not math.isnan(value)
    if isinstance(value, str):
        return bool(plain(value) == value)
    if type(value) is list:
        return all(_is_json(item) for item in value)
    if type(value) is dict:
        return all(type(k) is str and _is_json(k) and _is_json(v) for k, v in value.items())
    return False


def _step_document(step: Step, path: str) -> dict[str, Any]:
    document = _filled(step)
    del document["name"]
    options = document.pop("options", None)
    found = {"name": step.name, "notebook": path, **document}
    if options:
        found["options"] = options
    return found


def _edge_document(edge: Edge) -> dict[str, Any]:
    reasons = [_filled(reason) for reason in edge.reasons]
    return {"from": edge.source, "to": edge.target, "reasons": reasons}


def _filled(one: Any) -> dict[str, Any]:
    """Give the fields of a record that say something, as plain values."""
    found = {}
    for field in fields(one):
        value = getattr(one, field.name)
        if isinstance(value, StepOptions):
            value = _filled(value)
        if value != _default_of(field) and value not in ((), {}):
            found[field.name] = _listed(value)
    return found


def _default_of(field: Any) -> object:
    return None if field.default is MISSING else field.default


def _listed(value: object) -> Any:
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _texts(value: Any) -> Any:
    """Give the same without half a surrogate pair, which no UTF-8 file can hold."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {_texts(key): _texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return value


# --- digests ----------------------------------------------------------------------------------


def notebook_digest(notebook: Notebook) -> str:
    """Identify what a notebook says: sources, tags and kernel; not what it has shown.

    Returns
    -------
    str
        ``sha256:…``, the same after the notebook was executed and saved again.
    """
    cells = [[cell.kind, cell.source, list(cell.tags)] for cell in notebook.cells]
    return _digest_of([cells, notebook.kernel_name, notebook.language])


def split_digest(pipeline: Pipeline, digest: str) -> str:
    """Identify a split: what a proof is about.

    Parameters
    ----------
    pipeline
        Its steps, edges and parameters count; texts for people, facts and paths do not.
    digest
        Of the notebook, as of `notebook_digest`.
    """
    bare = replace(pipeline, notebook="", warnings=(), fused=(), facts=(), metadata={})
    document = definition_document(bare)
    edges = [[edge.source, edge.target] for edge in pipeline.edges]
    return _digest_of({**document, "edges": edges, "of": digest})


def _digest_of(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
