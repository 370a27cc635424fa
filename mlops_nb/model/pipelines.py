"""Records of pipelines: steps, edges with their reasons, what ran of them, and when they run."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model.terms import Json

ReasonKind: TypeAlias = Literal["static", "observed", "file", "rng", "prev"]
FactKind: TypeAlias = Literal["reads", "binds", "mutates", "deletes", "shares", "rng", "differs"]
StepState: TypeAlias = Literal[
    "pending", "ready", "running", "cached", "done", "failed", "skipped", "upstream_failed"
]


@record
class StepOptions:
    """What tags say about a step, beyond its name and its place.

    Attributes
    ----------
    retry
        How often a failed step is tried again.
    timeout_s
        After which the step's processes are killed; None never.
    when
        A condition of the expression language; empty: always.
    foreach
        Name of a value; the step runs once for each piece of one element.
    is_join
        It takes the joined values of fanned-out steps.
    is_cached
        Whether an earlier result may stand for it.
    outputs
        Names to keep as results of the pipeline, even if no step reads them.
    secrets
        Names that never cross a border by value.
    is_gate, is_deploy
        Whether it decides about, or does, a deployment.
    kernel
        Name of the kernel it runs in; empty: the notebook's.
    image, limits, annotations, labels, reports
        For engines that know them.
    """

    retry: int = 0
    timeout_s: float | None = None
    when: str = ""
    foreach: str = ""
    is_join: bool = False
    is_cached: bool = True
    outputs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    is_gate: bool = False
    is_deploy: bool = False
    kernel: str = ""
    image: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    reports: tuple[str, ...] = ()


@record
class Reason:
    """Why one step comes after another.

    Attributes
    ----------
    names
        Variables, state such as ``<rng:numpy>``, or paths.
    text
        A sentence: ``"train reads clean, which prepare last changes in cell 4, line 3"``.
    """

    kind: ReasonKind
    names: tuple[str, ...] = ()
    text: str = ""


@record
class Edge:
    """One step comes after another, for at least one reason."""

    source: str
    target: str
    reasons: tuple[Reason, ...]


@record
class Fact:
    """Something seen in a run that the text of a step does not say.

    Attributes
    ----------
    code
        Normalised digest of the step's source: a fact about other code is none.
    """

    step: str
    kind: FactKind
    names: tuple[str, ...]
    code: str = ""
    text: str = ""


@record
class Step:
    """A group of cells that runs by itself.

    Attributes
    ----------
    cells
        Zero-based positions of its cells in the notebook, in order; a prelude is not among them.
    after
        Steps that the author named with ``prev:``.
    inputs
        Name to the step that gives it. State of the process has names in angle brackets, as
        ``<rng:numpy>``; a name of the prelude or of the parameters is not among them unless a
        step has changed it.
    outputs
        What it saves for others: units of names, each unit one object graph, so that names that
        share an object still share it afterwards.
    params
        Parameters that it reads.
    definitions
        Functions and classes of other steps that stand in its notebook as source, in the order
        in which they are to be defined.
    watched
        Names that it holds and later steps take from an earlier step, so it must not change them.
    reads_files, writes_files
        Paths as the text, or the recorded run, says them.
    """

    name: str
    cells: tuple[int, ...] = ()
    after: tuple[str, ...] = ()
    options: StepOptions = field(default_factory=StepOptions)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[tuple[str, ...], ...] = ()
    params: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    reads_files: tuple[str, ...] = ()
    writes_files: tuple[str, ...] = ()


@record
class PipelineParameter:
    """A value that the parameters cell binds; as `notebook.Parameter`, kept with a pipeline."""

    name: str
    type: str = ""
    default: Json = None
    written: str = ""
    comment: str = ""


@record
class Pipeline:
    """A notebook as steps.

    Attributes
    ----------
    name
        What people call it; the notebook's name without its ending if nothing else is said.
    notebook
        Its path as the user wrote it.
    prelude
        Positions of the cells that every step runs first.
    parameter_cells
        Positions of the parameters cell and what the author keeps with it.
    skipped
        Positions of cells that no step runs.
    edges
        In notebook order of their targets.
    fused
        Steps that were made one, each with the reason as a sentence.
    warnings
        Sentences, each with the cell it is about.
    metrics
        Names to log as metrics at the end (``pipeline-metrics``).
    """

    name: str
    notebook: str = ""
    kernel: str = ""
    prelude: tuple[int, ...] = ()
    parameter_cells: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    parameters: tuple[PipelineParameter, ...] = ()
    steps: tuple[Step, ...] = ()
    edges: tuple[Edge, ...] = ()
    facts: tuple[Fact, ...] = ()
    fused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)


@record
class PackedFile:
    """One file of a packed value; `digest` is ``sha256:…`` of its bytes."""

    name: str
    digest: str
    size_bytes: int


@record
class Packed:
    """A unit of values as files.

    Attributes
    ----------
    names
        Of the values, all loaded together.
    format
        ``json``, ``parquet``, ``arrow``, ``npy``, ``npz``, ``skops``, ``joblib``, ``xgboost``,
        ``lightgbm``, ``torch``, ``pickle``.
    digest
        Of the content, whatever the format: equal contents have equal digests.
    digests
        The same for each name.
    assurance
        How far `digest` can be trusted, as of a fingerprint.
    signature
        Under the key of who wrote it; empty where the format needs none to be loaded safely.
    detail
        What the format needs to give the same value back, and versions that wrote it.
    """

    names: tuple[str, ...]
    format: str
    files: tuple[PackedFile, ...]
    digest: str
    digests: Mapping[str, str] = field(default_factory=dict)
    assurance: str = "exact"
    signature: str = ""
    size_bytes: int = 0
    detail: Mapping[str, Json] = field(default_factory=dict)


@record
class StepTask:
    """What the process that runs a step is told; a JSON file named by ``MLOPS_NB_STEP``.

    Attributes
    ----------
    pipeline, step
        Names; `step` without the number of a piece.
    folder
        Where values are written: one folder a unit, and ``result.json`` (a `StepResult`).
    inputs
        Name to the folder of the unit that holds it; a joined name has several, in order.
    units
        What lies in each of those folders, by its path.
    outputs, watched, definitions, secrets
        As of `Step` and its options.
    state_in, state_out
        State of the process (``<rng:numpy>``…) to take over, and to save; all else is guarded.
    piece
        ``{"name", "index", "count"}`` of a fanned-out step: it keeps one element of that value.
    prelude_digests
        What names of the prelude were in the first step that ran it; they must be the same here.
    may_pickle
        Whether values may be stored as pickles.
    """

    pipeline: str
    step: str
    folder: str
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    units: Mapping[str, Packed] = field(default_factory=dict)
    outputs: tuple[tuple[str, ...], ...] = ()
    watched: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    state_in: tuple[str, ...] = ()
    state_out: tuple[str, ...] = ()
    piece: Mapping[str, Json] | None = None
    prelude_digests: Mapping[str, str] = field(default_factory=dict)
    may_pickle: bool = True


@record
class StepResult:
    """What a step's process says at its end.

    Attributes
    ----------
    units
        What it saved, each in a folder of its own under `StepTask.folder`, by number.
    facts
        What it did that the plan does not allow for: with one, its values must not be used.
    prelude_digests
        What the prelude bound, by name, as far as steps read it.
    changed_state
        Which state of the process changed while the step ran.
    """

    units: tuple[Packed, ...] = ()
    facts: tuple[Fact, ...] = ()
    prelude_digests: Mapping[str, str] = field(default_factory=dict)
    changed_state: tuple[str, ...] = ()


@record
class StepRun:
    """What became of one step in one run of a pipeline.

    Attributes
    ----------
    pipeline_run
        Id of the run of kind ``pipeline``.
    step
        Name of the step, ``train[2]`` for a piece of a fanned-out one.
    run
        Id of its own run (kind ``step``); None if it did not run.
    cached_from
        Id of the step's run whose results stand for it.
    attempt
        From 1; a retry is the next one.
    key, parts
        What it is cached by, and the named parts of that.
    error
        ``{"type", "message", "cell", "line"}``, or the reason why it was skipped as ``message``.
    notebook
        ``sha256:…`` of the executed notebook.
    owner
        The process that runs it (as of a session), whose lease ends at `lease_until_ns`.
    """

    pipeline_run: str
    step: str
    state: StepState
    run: str | None = None
    cached_from: str | None = None
    attempt: int = 1
    key: str = ""
    parts: Mapping[str, Json] = field(default_factory=dict)
    started_at_ns: int | None = None
    ended_at_ns: int | None = None
    error: Mapping[str, Json] | None = None
    notebook: str = ""
    owner: Mapping[str, Json] = field(default_factory=dict)
    lease_until_ns: int | None = None


@record
class CachedStep:
    """Results of a step, to be found by what they were made from.

    Attributes
    ----------
    key
        ``sha256:…`` over `parts`.
    parts
        ``{"source": …, "definitions": {…}, "params": {…}, "inputs": {…}, "files": {…},
        "distributions": {…}, "modules": {…}, …}``, so that a miss can be explained.
    run
        The step's run that made it.
    units
        What it saved.
    files
        What it wrote: ``{path: {"digest", "size_bytes"}}``.
    notebook
        ``sha256:…`` of the executed notebook.
    """

    key: str
    pipeline: str
    step: str
    run: str
    created_at_ns: int
    parts: Mapping[str, Json]
    units: tuple[Packed, ...] = ()
    files: Mapping[str, Json] = field(default_factory=dict)
    notebook: str = ""
    duration_s: float = 0.0
    used_at_ns: int | None = None


@record
class SplitProof:
    """What a verification of a split said.

    Attributes
    ----------
    pipeline
        Name of the pipeline.
    split
        Digest of notebook, steps, edges and parameters: the proof is about these and no other.
    verdict
        ``equal``, ``differs`` or ``failed``.
    values
        One a step and name: ``{"step", "name", "whole", "split", "same"}``.
    repairs
        What had to be added to the edges before it was equal, as sentences.
    difference
        The first value that differs, as a sentence; empty if none.
    """

    pipeline: str
    split: str
    verdict: Literal["equal", "differs", "failed"]
    at_ns: int
    values: tuple[Mapping[str, Json], ...] = ()
    repairs: tuple[str, ...] = ()
    difference: str = ""
    run: str | None = None


@record
class Schedule:
    """When a notebook or a pipeline runs by itself.

    Attributes
    ----------
    cron
        Five fields, as in crontab.
    zone
        Name of a time zone, as ``Europe/Brussels``.
    target
        Absolute path of a notebook or a pipeline's folder.
    params
        Values given with ``-p``.
    missed
        What happens to firings that came while no scheduler ran: ``skip``, ``once`` or ``all``.
    overlap
        What happens if the last one still runs: ``skip``, ``queue`` or ``allow``.
    next_at_ns
        Of the next firing, None while paused.
    """

    id: str
    name: str
    cron: str
    zone: str
    target: str
    params: Mapping[str, Json] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)
    missed: Literal["skip", "once", "all"] = "once"
    overlap: Literal["skip", "queue", "allow"] = "skip"
    is_paused: bool = False
    created_at_ns: int = 0
    created_by: str = ""
    next_at_ns: int | None = None


@record
class Firing:
    """One time at which a schedule was due.

    Attributes
    ----------
    state
        ``claimed``, ``running``, ``done``, ``failed``, ``skipped`` or ``lost``.
    run
        Id of the run it started.
    owner
        The scheduler that claimed it; `lease_until_ns` is when its claim ends unless renewed.
    """

    schedule: str
    due_at_ns: int
    state: str
    owner: Mapping[str, Json] = field(default_factory=dict)
    lease_until_ns: int | None = None
    run: str | None = None
    started_at_ns: int | None = None
    ended_at_ns: int | None = None
    text: str = ""


__all__ = [
    "CachedStep",
    "Edge",
    "Fact",
    "FactKind",
    "Firing",
    "Packed",
    "PackedFile",
    "Pipeline",
    "PipelineParameter",
    "Reason",
    "ReasonKind",
    "Schedule",
    "SplitProof",
    "Step",
    "StepOptions",
    "StepResult",
    "StepRun",
    "StepState",
    "StepTask",
]
