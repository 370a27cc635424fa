"""Records: what a store gives back, with aware times in UTC."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mlops_nb.model.terms import Assurance, Binding, ExecutionStatus, Json, RunKind, RunStatus


@record
class ColumnFingerprint:
    """Identity and statistics of one column.

    Attributes
    ----------
    name
        The column's label as text.
    type
        Logical type, as ``"float64"``, ``"utf8"``, ``"dict<utf8>"``.
    digest
        ``nbfp1`` digest of the values, 32 hex digits.
    chunks
        Digest of each 65,536 rows, in order.
    count, nulls
        Number of rows, and of missing ones.
    minimum, maximum, mean
        Of the values that are there, in the column's own unit; None where they mean nothing.
    """

    name: str
    type: str
    digest: str
    chunks: tuple[str, ...] = ()
    count: int = 0
    nulls: int = 0
    minimum: Json = None
    maximum: Json = None
    mean: float | None = None


@record
class Fingerprint:
    """Identity of a value: equal content has equal digests, on any machine.

    Attributes
    ----------
    kind
        What was hashed, as ``"pandas.DataFrame"``.
    digest
        Of the content, as ``"nbfp1:<32 hex digits>"``; empty where nothing could be said.
    schema_digest
        Of names, physical types and index kind, in the same form.
    assurance
        How far the digest can be trusted; two values are "same" only if both are exact.
    rows
        Length of the first axis, None for a value without one.
    shape
        All axes.
    size_bytes
        Of the buffers that were hashed.
    columns
        By name, in order; empty for values without columns.
    cost_ns
        CPU time that hashing took.
    index
        The row labels of a frame or series, one column a level.
    chunks, chunk_rows
        Of an array: the digest of each `chunk_rows` rows, in order.
    """

    kind: str
    digest: str
    schema_digest: str = ""
    assurance: Assurance = "exact"
    rows: int | None = None
    shape: tuple[int, ...] = ()
    size_bytes: int = 0
    columns: Mapping[str, ColumnFingerprint] = field(default_factory=dict)
    cost_ns: int = 0
    index: tuple[ColumnFingerprint, ...] = ()
    chunks: tuple[str, ...] = ()
    chunk_rows: int = 65_536

    def __str__(self) -> str:
        """Say it in one line, without columns and chunks."""
        shape = " × ".join(f"{length:,}" for length in self.shape)
        return " ".join(filter(None, (self.kind, shape, self.digest, self.assurance)))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # IPython's protocol
        del cycle
        printer.text(str(self))


@record
class Environment:
    """What a session ran on.

    Attributes
    ----------
    digest
        ``sha256:…`` over `content`.
    content
        ``python`` (version, implementation), ``packages`` (name: version), ``os``,
        ``hardware`` (cpu, cpus, memory_bytes, gpus), ``variables`` (allow-listed only),
        ``software`` (digest of all but the hardware).
    """

    digest: str
    content: Mapping[str, Json]


@record
class Session:
    """One kernel process with tracking on.

    Attributes
    ----------
    kernel, folder, user
        Name of its kernel, its working folder when tracking began, and who ran it; empty where
        that is not known.
    """

    id: str
    started_at: datetime
    ended_at: datetime | None
    notebook: str | None
    notebook_assurance: str
    python: str
    environment: str | None
    host: str
    pid: int
    kernel: str = ""
    folder: str = ""
    user: str = ""


@record
class CellError:
    """What a cell raised.

    Attributes
    ----------
    type, message
        Class name and text of the exception.
    traceback
        As IPython would print it, without colours.
    line
        One-based line in the cell, None where it is not known.
    """

    type: str
    message: str
    traceback: str = ""
    line: int | None = None


@record
class Output:
    """One output of an execution, one row per MIME type.

    Attributes
    ----------
    position
        Order among the outputs of its execution; the types of one bundle share it.
    kind
        ``stream``, ``display``, ``result`` or ``error``.
    name
        ``stdout`` or ``stderr`` for a stream, else empty.
    digest
        ``sha256:…`` of the bytes in the blob store.
    is_cut
        Whether the output was larger than its cap and only the beginning was kept.
    """

    execution: str
    position: int
    kind: str
    name: str
    mime: str
    size_bytes: int
    digest: str
    is_cut: bool = False


@record
class FileUse:
    """A file, URL or query that an execution read or wrote.

    Attributes
    ----------
    uri
        Absolute path, or a URL without credentials.
    mode
        ``r`` or ``w``.
    evidence
        How it was seen, the strongest one: ``adapter`` (a reader told), ``kernel:pid`` (the
        operating system, this process), ``kernel:dir`` (the operating system, some process),
        ``audit``, ``mentioned`` (its path stands in the source).
    digest
        ``nbfp1:…`` of the content, empty where `assurance` says why.
    assurance
        ``exact``, ``torn`` (it changed while it was read), ``skipped:budget``, ``opaque`` (not
        readable: a URL, a folder, gone).
    md5
        As DVC writes it, only where asked for.
    detail
        What the reader knows: ``{"columns": […], "sql": …, "filters": …, "function": …}``.
    """

    uri: str
    mode: Literal["r", "w"]
    evidence: str
    digest: str = ""
    assurance: Assurance = "exact"
    size_bytes: int | None = None
    modified_ns: int | None = None
    md5: str | None = None
    detail: Mapping[str, Json] | None = None


@record
class Execution:
    """One execution of one cell; never changed after it ended.

    Attributes
    ----------
    order
        Position in its session, from 1.
    parent
        The execution it ran inside of (``%%capture``, ``ip.run_cell``), if any.
    source, transformed
        As typed, and as run (None where both are the same).
    code_digest
        Normalised, so that comments and formatting do not count.
    reads, binds, mutates, deletes
        Names of the notebook's namespace.
    cell_index
        Zero-based position of the cell in the notebook, None where it is not known.
    is_inferred
        Taken from IPython's history, from before tracking was on.
    flags
        Remarks: ``dynamic``, ``silent``, ``no-history``, ``nested``…
    """

    id: str
    session: str
    order: int
    status: ExecutionStatus
    source: str
    code_digest: str
    started_at: datetime
    duration_s: float | None = None
    cpu_s: float | None = None
    parent: str | None = None
    cell_id: str | None = None
    cell_index: int | None = None
    transformed: str | None = None
    execution_count: int | None = None
    error: CellError | None = None
    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    mutates: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    is_inferred: bool = False
    outputs: tuple[Output, ...] = ()
    files: tuple[FileUse, ...] = ()


@record
class Metric:
    """The last value of one metric of a run.

    Attributes
    ----------
    value, step, count
        Last value, its step (None for a single value), and how many values there are.
    minimum, maximum
        Over all values.
    binding
        The rule by which the metric found its run.
    execution
        The execution that logged the last value.
    fit
        The fit generation it belongs to, None if none.
    detail
        Anything else: ``{"between": [run, run]}`` for a relation.
    """

    value: float
    step: int | None = None
    count: int = 1
    minimum: float | None = None
    maximum: float | None = None
    binding: Binding = "explicit"
    execution: str | None = None
    fit: str | None = None
    detail: Mapping[str, Json] | None = None


@record
class Param:
    """One parameter of a run; `version` counts its values from 1, `is_default` says unchanged."""

    value: Json
    version: int = 1
    is_default: bool = False
    fit: str | None = None


@record
class MetricSeries:
    """All values of one metric, in the order logged, as NumPy arrays of one length.

    Where NumPy is not installed they are arrays of Python's own `array` module.

    Attributes
    ----------
    steps
        Whole numbers of 64 bits.
    values
        Floating-point numbers of 64 bits.
    at_ns
        Nanoseconds since the epoch, whole numbers of 64 bits.
    """

    key: str
    steps: Any
    values: Any
    at_ns: Any


@record
class DataUse:
    """A value that went into a run; role: ``train``, ``test``, ``input``."""

    name: str
    role: str
    kind: str
    digest: str
    assurance: str
    rows: int | None = None
    columns: int | None = None
    schema_digest: str = ""
    column_digests: Mapping[str, str] = field(default_factory=dict)
    execution: str | None = None
    fit: str | None = None


@record
class ModelFit:
    """A model that was fitted in a run.

    Attributes
    ----------
    fit
        Fit generation: id of (estimator, n-th fit).
    name
        The variable it was bound to, else its class in snake case.
    class_name
        As ``sklearn.linear_model._logistic.LogisticRegression``.
    """

    fit: str
    name: str
    class_name: str
    duration_s: float | None = None
    execution: str | None = None


@record
class Artifact:
    """Bytes with a role: ``figure``, ``table``, ``model``, ``notebook``, ``log``, ``file``."""

    name: str
    kind: str
    mime: str
    digest: str
    size_bytes: int
    execution: str | None = None


@record
class Run:
    """What is compared: parameters, metrics, artifacts, and the executions it needs.

    Attributes
    ----------
    group, attempt
        All attempts at the same thing share `group`; `attempt` counts from 1 (0: a child).
    parent, child
        For a child run: its parent and its number in it, from 1.
    busy_s
        Time spent in the executions of its body, in seconds.
    body, setup
        Execution ids between its start and end / the earlier ones it depends on.
    verdict
        ``{"label": str, "reasons": [{"kind": str, "text": str}]}``.
    git
        ``{"commit", "branch", "dirty"}``, or None outside a repository.
    note
        What a person wrote about it, in Markdown.
    is_starred, is_archived
        Whether a person marked it, or put it away.
    revision
        How often people changed it after the fact.
    """

    id: str
    name: str
    status: RunStatus
    kind: RunKind
    started_at: datetime
    ended_at: datetime | None = None
    busy_s: float | None = None
    experiment: str = ""
    group: str = ""
    attempt: int = 0
    parent: str | None = None
    child: int | None = None
    notebook: str | None = None
    session: str | None = None
    params: Mapping[str, Param] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    verdict: Mapping[str, Json] | None = None
    error: Mapping[str, Json] | None = None
    git: Mapping[str, Json] | None = None
    environment: str | None = None
    data: tuple[DataUse, ...] = ()
    models: tuple[ModelFit, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    body: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    code_digests: tuple[str, ...] = ()
    note: str = ""
    is_starred: bool = False
    is_archived: bool = False
    revision: int = 0

    @property
    def duration_s(self) -> float | None:
        """Wall time from start to end, None while it runs."""
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def executions(self) -> tuple[str, ...]:
        """Ids of all executions it needs, set-up first."""
        return (*self.setup, *self.body)


@record
class RunEdit:
    """One change that a person made to a run after the fact.

    Attributes
    ----------
    run, name
        Its id, and its name before the change (empty in a history).
    field
        ``name``, ``note``, ``starred``, ``archived``, ``deleted`` or ``tags.KEY``.
    before, after
        Its values; None for a tag that is not there.
    revision
        Of the run after this change.
    by
        The user; empty where that is not known.
    replaces
        The other user whose value it replaced, if any.
    """

    run: str
    name: str
    field: str
    before: Json
    after: Json
    revision: int
    by: str
    at: datetime
    replaces: str = ""
