"""Events: what happened, in the order it happened, with times as nanoseconds since the epoch."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model.terms import Assurance, Binding, ExecutionStatus, Json, RunKind


@record
class SessionStarted:
    """A kernel turned tracking on; `owner` identifies its process (see `store.spool`)."""

    id: str
    at_ns: int
    host: str
    pid: int
    python: str
    owner: Mapping[str, Json]
    notebook: str | None = None
    notebook_assurance: str = "unknown"
    environment: str | None = None


@record
class SessionChanged:
    """Facts about a session that came later; only the given keys change."""

    id: str
    at_ns: int
    changes: Mapping[str, Json]


@record
class SessionEnded:
    """The kernel ended in good order."""

    id: str
    at_ns: int


@record
class EnvironmentSeen:
    """An environment, once per session; stored once per digest."""

    digest: str
    content: Mapping[str, Json]


@record
class ExecutionStarted:
    """A cell began to run; fields as in `Execution`.

    `code_digest` is empty where the store is to work it out, off the user's thread.
    """

    id: str
    session: str
    order: int
    at_ns: int
    source: str
    code_digest: str
    transformed: str | None = None
    parent: str | None = None
    cell_id: str | None = None
    cell_index: int | None = None
    execution_count: int | None = None
    flags: tuple[str, ...] = ()
    is_inferred: bool = False


@record
class ExecutionEnded:
    """A cell ended; fields as in `Execution`; `error` has the fields of `CellError`."""

    id: str
    at_ns: int
    status: ExecutionStatus
    duration_s: float
    cpu_s: float
    error: Mapping[str, Json] | None = None
    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    mutates: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    execution_count: int | None = None


@record
class OutputSeen:
    """One output, or one more piece of a stream (same execution and position: appended).

    Attributes
    ----------
    data
        The bytes, UTF-8 for text; the store moves them into a blob.
    """

    execution: str
    position: int
    kind: str
    name: str
    mime: str
    data: bytes
    size_bytes: int
    is_cut: bool = False


@record
class RunStarted:
    """A run was born; `attempt` is given by the store, by group."""

    id: str
    at_ns: int
    name: str
    kind: RunKind
    session: str | None = None
    experiment: str = ""
    group: str = ""
    parent: str | None = None
    child: int | None = None
    notebook: str | None = None
    environment: str | None = None
    execution: str | None = None


@record
class RunChanged:
    """Facts about a run that came later; only the given keys change.

    Keys are fields of `Run`: ``name``, ``status``, ``ended_at_ns``, ``busy_s``, ``error``,
    ``verdict``, ``git``, ``environment``, ``parent``, ``child``, ``group``, ``experiment``…
    """

    id: str
    at_ns: int
    changes: Mapping[str, Json]


@record
class RunExecuted:
    """A run needs an execution, and those in `also`; `role` is ``body`` or ``setup``."""

    run: str
    execution: str
    role: Literal["body", "setup"]
    also: tuple[str, ...] = ()


@record
class ParamLogged:
    """A parameter; another value for a key is kept as a new version."""

    run: str
    key: str
    value: Json
    at_ns: int
    execution: str | None = None
    is_default: bool = False
    fit: str | None = None


@record
class MetricLogged:
    """One value of a metric; a `step` of None counts up per key in the store."""

    run: str
    key: str
    value: float
    step: int | None
    at_ns: int
    execution: str | None = None
    binding: Binding = "explicit"
    fit: str | None = None
    detail: Mapping[str, Json] | None = None


@record
class TagSet:
    """A tag was set, or removed with a `value` of None."""

    run: str
    key: str
    value: str | None
    at_ns: int


@record
class DataUsed:
    """A value went into a run; fields as in `DataUse`.

    One that is still being hashed is told with an empty digest, and again when that is done:
    the later event takes the place of the earlier one.
    """

    run: str
    name: str
    role: str
    kind: str
    digest: str
    assurance: str
    at_ns: int
    rows: int | None = None
    columns: int | None = None
    schema_digest: str = ""
    column_digests: Mapping[str, str] = field(default_factory=dict)
    execution: str | None = None
    fit: str | None = None


@record
class ModelFitted:
    """A model was fitted; fields as in `ModelFit`."""

    run: str
    fit: str
    name: str
    class_name: str
    at_ns: int
    duration_s: float | None = None
    execution: str | None = None


@record
class ArtifactLogged:
    """Bytes with a role: in `data`, in the file `staged` beside the spool, or kept before.

    `digest` and `size_bytes` name bytes that an earlier event of the session brought.
    """

    run: str
    name: str
    kind: str
    mime: str
    at_ns: int
    data: bytes | None = None
    staged: str | None = None
    execution: str | None = None
    fit: str | None = None
    digest: str = ""
    size_bytes: int = 0


@record
class FileSeen:
    """An execution read or wrote a file; other fields as in `FileUse`."""

    execution: str
    uri: str
    mode: Literal["r", "w"]
    evidence: str
    at_ns: int
    digest: str = ""
    assurance: Assurance = "exact"
    size_bytes: int | None = None
    modified_ns: int | None = None
    md5: str | None = None
    detail: Mapping[str, Json] | None = None


@record
class FingerprintSeen:
    """Columns, chunks and statistics of a fingerprint, kept once per content.

    Attributes
    ----------
    content
        As `fingerprint.record.fingerprint_document` writes it.
    """

    digest: str
    schema_digest: str
    content: Mapping[str, Json]


@record
class FitMoved:
    """All evidence of one fit generation went from a run to its child."""

    parent: str
    child: str
    fit: str


Event: TypeAlias = (
    SessionStarted
    | SessionChanged
    | SessionEnded
    | EnvironmentSeen
    | ExecutionStarted
    | ExecutionEnded
    | OutputSeen
    | RunStarted
    | RunChanged
    | RunExecuted
    | ParamLogged
    | MetricLogged
    | TagSet
    | DataUsed
    | ModelFitted
    | ArtifactLogged
    | FitMoved
    | FileSeen
    | FingerprintSeen
)
