"""A run as a store has it, made of the sources of its cells: no kernel needed."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from mlops_nb.model import (
    DataUsed,
    EnvironmentSeen,
    ExecutionEnded,
    ExecutionStarted,
    MetricLogged,
    OutputSeen,
    RunChanged,
    RunExecuted,
    RunStarted,
    SessionStarted,
)
from mlops_nb.store import Store

BEGIN_NS = 1_790_000_000 * 10**9
SECOND_NS = 10**9
RUN = "7f3a0000000000aa"
SESSION = "5e5510000000000000000001"


@dataclass
class Cell:
    """One execution, and what is special about it."""

    source: str
    status: str = "ok"
    cell_id: str | None = None
    parent: int | None = None
    is_inferred: bool = False
    error: dict | None = None
    outputs: list = field(default_factory=list)
    role: str = "body"


def execution_id(order: int) -> str:
    return f"{order:024x}"


def cell_events(order: int, cell: Cell) -> list:
    at_ns = BEGIN_NS + order * SECOND_NS
    started = ExecutionStarted(
        id=execution_id(order),
        session=SESSION,
        order=order,
        at_ns=at_ns,
        source=cell.source,
        code_digest="",
        parent=None if cell.parent is None else execution_id(cell.parent),
        cell_id=cell.cell_id,
        is_inferred=cell.is_inferred,
    )
    outputs = [
        OutputSeen(execution_id(order), place, kind, name, mime, data, len(data), is_cut)
        for place, kind, name, mime, data, is_cut in cell.outputs
    ]
    if cell.status == "running":
        return [started]
    ended = ExecutionEnded(
        id=execution_id(order),
        at_ns=at_ns + SECOND_NS // 2,
        status=cell.status,
        duration_s=0.5,
        cpu_s=0.1,
        error=cell.error,
        execution_count=order,
    )
    return [started, *outputs, ended]


def run_events(
    cells,
    *,
    metrics=None,
    data=(),
    run=RUN,
    name="churn",
    kind="interactive",
    notebook=None,
    parent=None,
    status="finished",
    host=None,
    environment=None,
    missing=(),
) -> list:
    """Everything that a session tells of a run whose last cell logged `metrics`."""
    last = execution_id(len(cells))
    at_ns = BEGIN_NS + len(cells) * SECOND_NS + SECOND_NS // 4
    seen = [] if environment is None else [EnvironmentSeen("sha256:then", environment)]
    digest = None if environment is None else "sha256:then"
    return [
        *seen,
        SessionStarted(
            SESSION, BEGIN_NS, host or socket.gethostname(), 1, "3.11.7", {}, environment=digest
        ),
        *(event for order, cell in enumerate(cells, 1) for event in cell_events(order, cell)),
        RunStarted(
            id=run,
            at_ns=at_ns,
            name=name,
            kind=kind,
            session=SESSION,
            group=name,
            notebook=notebook,
            parent=parent,
            environment=digest,
            execution=last,
        ),
        *(RunExecuted(run, execution_id(order), cell.role) for order, cell in enumerate(cells, 1)),
        *(RunExecuted(run, id_, "setup") for id_ in missing),
        *(
            MetricLogged(run, key, value, None, at_ns, last)
            for key, value in (metrics or {}).items()
        ),
        *(
            DataUsed(run, name_, role, "numpy.ndarray", digest_, assurance, at_ns, execution=last)
            for name_, role, digest_, assurance in data
        ),
        RunChanged(run, at_ns, {"verdict": {"label": "linear", "reasons": []}}),
        *(
            [RunChanged(run, at_ns + SECOND_NS, {"status": status, "ended_at_ns": at_ns + 1})]
            if status != "running"
            else []
        ),
    ]


def recorded_store(folder, *events) -> Store:
    """A store in a folder with a run in it."""
    store = Store.open(folder / ".mlops", create=True)
    for batch in events:
        store.apply(batch)
    return store
