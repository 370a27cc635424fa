"""Records to the JSON of the command line, the REST interface and the MIME types, and back.

One shape everywhere. Keys follow the field's own terms and may be added, never renamed; times
are ISO 8601 in UTC, durations seconds, digests ``algorithm:hex``. The result is valid JSON for
any reader, so a float that is not finite never appears as a bare ``NaN``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from typing import Any, cast

from mlops_nb.model import (
    Artifact,
    CellError,
    DataUse,
    Environment,
    Execution,
    FileUse,
    Json,
    Metric,
    ModelFit,
    Output,
    Param,
    Run,
    RunEdit,
)

Document = dict[str, Any]

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def run_document(
    run: Run, *, executions: Sequence[Execution] | None = None, details: bool = True
) -> Document:
    """Describe a run.

    Parameters
    ----------
    run
        The record.
    executions
        If given, they stand in the document in full; else only their ids do.
    details
        Whether each data set carries the digests of its columns, and each parameter its
        version. A comparison of hundreds of runs leaves them out.

    Returns
    -------
    dict
        As ``run`` in the JSON of the command line.

    Examples
    --------
    >>> from mlops_nb.model import as_datetime
    >>> run_document(Run("7f3a", "churn", "finished", "cell", as_datetime(0)))["started_at"]
    '1970-01-01T00:00:00Z'
    """
    document: Document = {
        "id": run.id,
        "name": plain(run.name),
        "experiment": plain(run.experiment),
        "status": run.status,
        "group": plain(run.group),
        "attempt": run.attempt,
        "parent": run.parent,
        "kind": run.kind,
        "notebook": plain(run.notebook),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "duration_s": run.duration_s,
        "busy_s": run.busy_s,
        "params": {plain(key): plain(param.value) for key, param in run.params.items()},
        "metrics": {plain(key): _metric_document(m) for key, m in run.metrics.items()},
        "tags": plain(run.tags),
        "verdict": plain(run.verdict),
        "error": plain(run.error),
        "git": plain(run.git),
        "environment": run.environment,
        "data": [_data_document(use, details=details) for use in run.data],
        "models": [plain(asdict(model)) for model in run.models],
        "artifacts": [plain(asdict(artifact)) for artifact in run.artifacts],
        "executions": list(run.executions)
        if executions is None
        else [execution_document(execution) for execution in executions],
        # Keys from here on are ours, so that a record comes back as it was.
        "child": run.child,
        "session": run.session,
        "setup": list(run.setup),
        "code_digests": list(run.code_digests),
        "note": plain(run.note),
        "starred": run.is_starred,
        "archived": run.is_archived,
        "revision": run.revision,
    }
    if details:
        details_of = {plain(key): _param_details(param) for key, param in run.params.items()}
        document["param_details"] = details_of
    return document


def runs_document(runs: Sequence[Run], *, total: int | None = None) -> Document:
    """Describe a list of runs; `total` says how many there are when these are the first."""
    document: Document = {"runs": [run_document(run) for run in runs]}
    if total is not None:
        document["total"] = total
    return document


def edit_document(edit: RunEdit) -> Document:
    """Describe a change that a person made to a run after the fact."""
    return {**plain(asdict(edit)), "at": iso(edit.at)}


def execution_document(execution: Execution) -> Document:
    """Describe one execution of a cell, with its outputs by MIME type but without their bytes."""
    return {
        "id": execution.id,
        "session": execution.session,
        "order": execution.order,
        "cell_id": plain(execution.cell_id),
        "source": plain(execution.source),
        "code_digest": execution.code_digest,
        "status": execution.status,
        "started_at": iso(execution.started_at),
        "duration_s": execution.duration_s,
        "cpu_s": execution.cpu_s,
        "error": None if execution.error is None else plain(asdict(execution.error)),
        "reads": plain(execution.reads),
        "binds": plain(execution.binds),
        "mutates": plain(execution.mutates),
        "deletes": plain(execution.deletes),
        "files": [plain(asdict(file)) for file in execution.files],
        "outputs": [_output_document(output) for output in execution.outputs],
        "inferred": execution.is_inferred,
        "parent": execution.parent,
        "cell_index": execution.cell_index,
        "transformed": plain(execution.transformed),
        "execution_count": execution.execution_count,
        "flags": plain(execution.flags),
    }


def environment_document(environment: Environment) -> Document:
    """Describe what a session ran on."""
    return {"digest": environment.digest, **plain(environment.content)}


def run_from_document(document: Mapping[str, Json]) -> Run:
    """Read a run back; keys that this version does not know are passed over.

    Raises
    ------
    KeyError
        A key that every run has is missing.
    """
    executions = [_execution_id(item) for item in document.get("executions", ())]
    setup = tuple(document.get("setup", ()))
    details = document.get("param_details", {})
    return Run(
        id=document["id"],
        name=document["name"],
        status=document["status"],
        kind=document["kind"],
        started_at=_time(document["started_at"]),
        ended_at=_time_or_none(document.get("ended_at")),
        busy_s=document.get("busy_s"),
        experiment=document.get("experiment", ""),
        group=document.get("group", ""),
        attempt=document.get("attempt", 0),
        parent=document.get("parent"),
        child=document.get("child"),
        notebook=document.get("notebook"),
        session=document.get("session"),
        params={
            key: _param(value, details.get(key, {}))
            for key, value in document.get("params", {}).items()
        },
        metrics={key: _metric(m) for key, m in document.get("metrics", {}).items()},
        tags=document.get("tags", {}),
        verdict=document.get("verdict"),
        error=document.get("error"),
        git=document.get("git"),
        environment=document.get("environment"),
        data=tuple(_record(DataUse, use) for use in document.get("data", ())),
        models=tuple(_record(ModelFit, model) for model in document.get("models", ())),
        artifacts=tuple(_record(Artifact, item) for item in document.get("artifacts", ())),
        body=tuple(executions[len(setup) :]),
        setup=setup,
        code_digests=tuple(document.get("code_digests", ())),
        note=document.get("note", ""),
        is_starred=document.get("starred", False),
        is_archived=document.get("archived", False),
        revision=document.get("revision", 0),
    )


def execution_from_document(document: Mapping[str, Json]) -> Execution:
    """Read an execution back; keys that this version does not know are passed over."""
    names = {field.name for field in fields(Execution)}
    known = {key: value for key, value in document.items() if key in names}
    for key in ("reads", "binds", "mutates", "deletes", "flags"):
        known[key] = tuple(known.get(key, ()))
    known["started_at"] = _time(document["started_at"])
    known["is_inferred"] = document.get("inferred", False)
    known["outputs"] = tuple(
        _record(Output, {"execution": document["id"], **output})
        for output in document.get("outputs", ())
    )
    known["files"] = tuple(_record(FileUse, file) for file in document.get("files", ()))
    error = document.get("error")
    known["error"] = None if error is None else _record(CellError, error)
    return Execution(**known)


def to_json(document: Json) -> str:
    """Write a document as people and programs read it: indented, UTF-8, strictly valid."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)


def iso(at: datetime | None) -> str | None:
    """Write a time as ISO 8601 in UTC, as ``2026-11-21T11:10:00Z``."""
    if at is None:
        return None
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def plain(value: object) -> Any:
    """Reduce a value to what JSON has.

    A float that is not finite becomes its name, half a surrogate pair a question mark, and a
    value of any other type the name of its type: nothing is ever called on it.

    Examples
    --------
    >>> plain({"missing": float("nan"), 1: (2, 3)})
    {'missing': 'NaN', '1': [2, 3]}
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if _has_surrogate(value) else value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _name_of(value)
    if isinstance(value, Mapping):
        return {
            plain(k) if isinstance(k, str) else str(plain(k)): plain(v) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return type(value).__name__


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _metric_document(metric: Metric) -> Document:
    document: Document = {
        "value": metric.value,
        "step": metric.step,
        "count": metric.count,
        "minimum": metric.minimum,
        "maximum": metric.maximum,
        "binding": metric.binding,
        "execution": metric.execution,
        "fit": metric.fit,
        "detail": plain(metric.detail),
    }
    for key in ("value", "minimum", "maximum"):
        value = document[key]
        if value is not None and not math.isfinite(value):
            # The documented type is a number: readers get null, and the name beside it.
            document[f"{key}_text"], document[key] = _name_of(value), None
    return document


def _metric(document: Mapping[str, Json]) -> Metric:
    values = dict(document)
    for key in ("value", "minimum", "maximum"):
        if f"{key}_text" in values:
            values[key] = _NOT_FINITE[values[f"{key}_text"]]
    return cast("Metric", _record(Metric, values))


def _param_details(param: Param) -> Document:
    details: Document = {"version": param.version, "is_default": param.is_default}
    if param.fit is not None:
        details["fit"] = param.fit
    if isinstance(param.value, float) and not math.isfinite(param.value):
        details["is_float"] = True
    return details


def _param(value: Json, details: Mapping[str, Json]) -> Param:
    if details.get("is_float"):
        value = _NOT_FINITE[value]
    return Param(
        value, details.get("version", 1), details.get("is_default", False), details.get("fit")
    )


def _data_document(use: DataUse, *, details: bool) -> Document:
    document = plain(asdict(use))
    if not details:
        del document["column_digests"]
    return cast("Document", document)


def _output_document(output: Output) -> Document:
    document = plain(asdict(output))
    del document["execution"]
    return cast("Document", document)


def _record(record: Any, values: Mapping[str, Json]) -> Any:
    """Make a record of the keys that it knows."""
    return record(**{key: value for key, value in values.items() if key in record.__slots__})


def _execution_id(item: Json) -> str:
    return str(item["id"] if isinstance(item, Mapping) else item)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _time(text)
