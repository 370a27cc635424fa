"""What the order of a run's executions is worth, and what they were made of."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.model import Environment
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.model import DataUse, Execution, Json

FileState: TypeAlias = Literal["same", "changed", "gone", "unknown"]

SEVERITY = (
    "mutated-data",
    "out-of-order",
    "stale-source",
    "dirty-code",
    "order-unknown",
    "linear",
)
"""Verdict labels, worst first."""

_PROVEN = frozenset({"exact", "carried:pages"})
_NAMED, _LONGEST = 5, 60


@record
class NotebookOrder:
    """The cells of a notebook as they stand now.

    Attributes
    ----------
    positions
        Cell id -> zero-based index in the notebook.
    sources
        Cell id -> source.
    as_of_ns
        When they stood so: the file's modification time, or now for the panel and a batch.
    """

    positions: Mapping[str, int]
    sources: Mapping[str, str]
    as_of_ns: int


def verdict_of(
    executions: Sequence[Execution],
    order: NotebookOrder | None,
    *,
    files: Mapping[str, FileState] | None = None,
    git: Mapping[str, Json] | None = None,
    environment: Environment | Mapping[str, Json] | None = None,
    data: Sequence[DataUse] = (),
) -> dict[str, Json]:
    """Judge whether a run can be had again: order, sources, input files, modules.

    Parameters
    ----------
    executions
        Those the run needs, in run order.
    order
        The notebook as it stands; None where it is not known.
    files
        How each input file stands now, by its path as in `FileUse.uri`; what is left out was
        not looked at.
    git
        State of the repository when the run ran; its ``modules`` are those that were imported
        with changes that are not committed.
    environment
        What it ran on; one without a lock is a reason, never the label.
    data
        What went into the run: a value that differs from its earlier use though no cell changed
        it was changed from outside the cells.

    Returns
    -------
    dict
        ``{"label": …, "reasons": [{"kind", "text"}, …]}``, the worst reason as the label.

    Examples
    --------
    >>> verdict_of((), None, git={"modules": ["features.py"]})["label"]
    'dirty-code'
    """
    outer = [e for e in executions if e.parent is None and e.status != "syntax"]
    reasons = [
        *_file_reasons(outer, order, files or {}),
        *_value_reasons(outer, order, data),
        *_order_reasons(outer, order),
        *_source_reasons(outer, order),
        *_module_reasons(git or {}),
        *_environment_reasons(environment),
    ]
    kinds = {reason["kind"] for reason in reasons}
    label = next((kind for kind in SEVERITY if kind in kinds), "linear")
    return {"label": label, "reasons": reasons}


def reviewed(
    verdict: Mapping[str, Json] | None,
    executions: Sequence[Execution],
    files: Mapping[str, FileState],
    environment: Environment | None = None,
) -> dict[str, Json] | None:
    """Add to a verdict what has become of the input files, and what is known by now.

    Parameters
    ----------
    verdict
        As kept with the run; ``verified`` stands only while its inputs do.
    executions
        Those the run needs, in run order.
    files
        How each input file stands now, by its path as in `FileUse.uri`.
    environment
        What it ran on, with its details if they were found out.

    Examples
    --------
    >>> reviewed({"label": "linear", "reasons": []}, (), {})["label"]
    'linear'
    """
    if verdict is None:
        return None
    known = verdict["reasons"]
    changed = [r for r in _file_reasons(executions, None, files) if r not in known]
    label = "mutated-data" if changed else verdict["label"]
    unpinned = [r for r in _environment_reasons(environment) if r not in known]
    return {**verdict, "label": label, "reasons": [*changed, *known, *unpinned]}


def _reason(kind: str, text: str) -> dict[str, Json]:
    return {"kind": kind, "text": text}


def _cell(execution: Execution, order: NotebookOrder | None) -> str:
    """Call an execution what its reader does."""
    place = _place(execution, order)
    if place is not None:
        return f"cell {place + 1}"
    count = execution.execution_count
    return f"[{count}]" if count is not None else f"execution {execution.order}"


# --- files and values --------------------------------------------------------------------------


def _file_reasons(
    executions: Sequence[Execution],
    order: NotebookOrder | None,
    states: Mapping[str, FileState],
) -> Iterator[dict[str, Json]]:
    """Name the inputs that are not what they were; what the run itself wrote first is none."""
    read: dict[str, Execution] = {}
    written: set[str] = set()
    for execution in executions:
        for use in execution.files:
            if use.mode == "r" and use.uri not in written:
                read.setdefault(use.uri, execution)
        written |= {use.uri for use in execution.files if use.mode == "w"}
    for uri, execution in read.items():
        name, cell = _file_name(uri), _cell(execution, order)
        state = states.get(uri)
        if uri in written and state != "same":
            text = f"the run itself wrote {name} after {cell} had read it"
            yield _reason("mutated-data", text)
        elif state == "changed":
            yield _reason("mutated-data", f"{name} has changed since {cell} read it")
        elif state == "gone":
            yield _reason("mutated-data", f"{name}, which {cell} read, is gone")


def _file_name(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2] or uri


def _value_reasons(
    executions: Sequence[Execution], order: NotebookOrder | None, data: Sequence[DataUse]
) -> Iterator[dict[str, Json]]:
    """Name the values that differ from one use to the next, though no cell changed them."""
    places = {execution.id: i for i, execution in enumerate(executions)}
    known = [use for use in data if use.execution in places and use.assurance in _PROVEN]
    last: dict[str, DataUse] = {}
    for use in sorted(known, key=lambda use: places[use.execution or ""]):
        before = last.get(use.name)
        last[use.name] = use
        if before is None or before.digest == use.digest or not (before.digest and use.digest):
            continue
        first, second = places[before.execution or ""], places[use.execution or ""]
        # A name that no cell binds is one of a function, and another value at each call.
        is_of_notebook = any(use.name in e.binds for e in executions[: first + 1])
        if not is_of_notebook or any(
            _may_change(e, use.name) for e in executions[first : second + 1]
        ):
            continue
        cells = " and ".join(_cell(executions[i], order) for i in (first, second))
        yield _reason("mutated-data", f"{use.name} changed between {cells}, but in no cell")


def _may_change(execution: Execution, name: str) -> bool:
    changed = (execution.binds, execution.mutates, execution.deletes)
    return "dynamic" in execution.flags or any(name in names for names in changed)


# --- modules and environment -------------------------------------------------------------------


def _module_reasons(git: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    names = [_module_name(module) for module in git.get("modules") or ()]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        listed = ", ".join(names[:_NAMED]) + more
        yield _reason("dirty-code", f"imported with changes that are not committed: {listed}")


def _module_name(module: Json) -> str:
    if isinstance(module, dict):
        return str(module.get("path") or module.get("name") or module.get("module") or "?")
    return str(module)


def _environment_reasons(
    environment: Environment | Mapping[str, Json] | None,
) -> Iterator[dict[str, Json]]:
    content: Mapping[str, Json] = {}
    if environment is not None:
        content = environment.content if isinstance(environment, Environment) else environment
    editable = (content.get("details") or {}).get("editable") or {}
    if editable:
        listed = ", ".join(sorted(map(str, editable))[:_NAMED])
        yield _reason("unpinned-env", f"installed from a working copy: {listed}")
    if "lock" in content and not content["lock"]:
        text = "no lock file rebuilds its packages (write one: %mlops_env lock)"
        yield _reason("unpinned-env", text)


# --- order and sources -------------------------------------------------------------------------


def _place(execution: Execution, order: NotebookOrder | None) -> int | None:
    if execution.cell_index is not None:
        return execution.cell_index
    if order is None or execution.cell_id is None:
        return None
    return order.positions.get(execution.cell_id)


def _order_reasons(
    executions: Sequence[Execution], order: NotebookOrder | None
) -> list[dict[str, Json]]:
    # A cell that was deleted has no place any more; that is a reason of its own.
    standing = [e for e in executions if not _is_deleted(e, order)]
    places = [_place(execution, order) for execution in standing]
    reasons: list[dict[str, Json]] = []
    unknown = sum(place is None for place in places)
    if unknown:
        cells = "cell" if len(places) == 1 else "cells"
        text = f"the place of {unknown} of {len(places)} {cells} in the notebook is not known"
        reasons.append(_reason("order-unknown", text))
    known = [place for place in places if place is not None]
    swaps = [pair for pair in itertools.pairwise(known) if pair[1] < pair[0]]
    for before, after in dict.fromkeys(swaps):
        text = f"cell {after + 1} ran after cell {before + 1}, which stands below it"
        reasons.append(_reason("out-of-order", text))
    repeated = sorted({place for place in known if known.count(place) > 1})
    if repeated:
        cells = ", ".join(str(place + 1) for place in repeated)
        word = "cell" if len(repeated) == 1 else "cells"
        reasons.append(_reason("out-of-order", f"{word} {cells} ran more than once"))
    return reasons


def _source_reasons(
    executions: Sequence[Execution], order: NotebookOrder | None
) -> list[dict[str, Json]]:
    reasons: dict[str, dict[str, Json]] = {}
    for execution in executions:
        text = None if order is None else _staleness(execution, order)
        if text is not None:
            reasons[text] = _reason("stale-source", text)
    return list(reasons.values())


def _staleness(execution: Execution, order: NotebookOrder) -> str | None:
    if _is_deleted(execution, order):
        count = execution.execution_count
        what = f"ran as [{count}]" if count is not None else f"was execution {execution.order}"
        first = execution.source.strip().partition("\n")[0]
        shown = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"
        return f"the cell that {what} is no longer in the notebook: {shown}"
    if execution.cell_id is None or not _can_testify(execution, order):
        return None
    if order.sources[execution.cell_id].strip() == execution.source.strip():
        return None
    return f"cell {order.positions[execution.cell_id] + 1} has been edited since it ran"


def _is_deleted(execution: Execution, order: NotebookOrder | None) -> bool:
    if order is None or execution.cell_id is None or not _can_testify(execution, order):
        return False
    return execution.cell_id not in order.sources


def _can_testify(execution: Execution, order: NotebookOrder) -> bool:
    """Tell whether the notebook is not older than the execution: it would not know it."""
    return execution.started_at.timestamp() * 1e9 <= order.as_of_ns
