"""What a run needs, and what its order of execution is worth: slice and verdict.

Both are pure functions over execution records. A slice may hold too many executions, never too
few: whatever cannot be told apart statically is included.
"""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.source import analyse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mlops_nb.model import Execution, Json

SEVERITY = (
    "mutated-data",
    "out-of-order",
    "stale-source",
    "dirty-code",
    "order-unknown",
    "linear",
)
"""Verdict labels, worst first."""

AMBIENT = frozenset({"<rng>", "<cwd>", "<environ>", "<options>"})
"""Pseudo-names of state that every run is assumed to read."""

_AMBIENT_CALLS = {
    "seed": "<rng>",
    "manual_seed": "<rng>",
    "set_state": "<rng>",
    "setstate": "<rng>",
    "default_rng": "<rng>",
    "chdir": "<cwd>",
    "putenv": "<environ>",
    "load_dotenv": "<environ>",
    "set_option": "<options>",
    "set_config": "<options>",
    "filterwarnings": "<options>",
    "simplefilter": "<options>",
    "seterr": "<options>",
    "rc": "<options>",
    "use": "<options>",
}
_WRITERS = (
    "to_",
    "save",
    "dump",
    "write",
    "open",
    "mkdir",
    "touch",
    "unlink",
    "remove",
    "urlretrieve",
)


@dataclass(frozen=True, slots=True)
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


def slice_of(executions: Sequence[Execution], body: Collection[str]) -> tuple[str, ...]:
    """Find the earlier executions that the executions of `body` depend on.

    Parameters
    ----------
    executions
        All executions of the session, in run order.
    body
        Ids of the run's own executions.

    Returns
    -------
    tuple of str
        Ids in run order, those of `body` left out.

    Examples
    --------
    >>> slice_of((), ())
    ()
    """
    late: set[str] = set()
    while True:
        setup = _backwards(executions, body, late)
        # A function reads its globals when it is called, so what it reads may be bound after it.
        read_late = {
            name
            for execution in setup
            if "def " in execution.source or "lambda" in execution.source
            for name in execution.reads
        }
        if read_late <= late:
            return tuple(execution.id for execution in setup)
        late |= read_late


def _backwards(
    executions: Sequence[Execution], body: Collection[str], late: set[str]
) -> list[Execution]:
    needed: set[str] = {*AMBIENT, *late}
    setup: list[Execution] = []
    is_below = False
    for execution in reversed(executions):
        if execution.id in body:
            is_below = True
            needed |= _reads(execution)
        elif is_below and (given := _gives(execution, needed)) is not None:
            setup.append(execution)
            needed = (needed - given) | _reads(execution)
    return setup[::-1]


def _gives(execution: Execution, needed: set[str]) -> set[str] | None:
    """What an execution settles of `needed`; None if it gives nothing of it."""
    if execution.status == "syntax":
        return None
    ambient = _pseudo_names(execution.source)
    changes = (execution.binds, execution.mutates, execution.deletes, ambient.writes)
    if all(map(needed.isdisjoint, changes)) and "dynamic" not in execution.flags:
        return None
    # A name is settled only by a rebinding that does not need its earlier value, and only if
    # nothing went wrong on the way.
    keeps = {*execution.reads, *execution.mutates, *ambient.writes}
    return set(execution.binds) - keeps if execution.status == "ok" else set()


def _reads(execution: Execution) -> set[str]:
    return {*execution.reads, *execution.mutates, *_pseudo_names(execution.source).reads}


@dataclass(frozen=True, slots=True)
class _Pseudo:
    reads: frozenset[str]
    writes: frozenset[str]


@lru_cache(maxsize=4096)
def _pseudo_names(source: str) -> _Pseudo:
    """Names for state that is not a variable: generators, folder, options, files."""
    calls = analyse(source).calls
    writes = {_AMBIENT_CALLS[tail] for call in calls if (tail := _tail(call)) in _AMBIENT_CALLS}
    if any(".random." in f".{call}." for call in calls):
        writes.add("<rng>")
    if "environ" in source:
        writes.add("<environ>")
    if "rcParams" in source or "options." in source:
        writes.add("<options>")
    paths = {f"<file:{path}>" for path in _paths_in(source)}
    if any(_tail(call).startswith(_WRITERS) for call in calls) or "!" in source or "%" in source:
        writes |= paths
    return _Pseudo(frozenset(paths), frozenset(writes))


def _tail(call: str) -> str:
    return call.rpartition(".")[2]


def _paths_in(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
    found = (t for t in texts if isinstance(t, str) and 0 < len(t) < 256 and not t.isspace())  # noqa: PLR2004
    return {t.rpartition("/")[2] for t in found if "." in t.strip(".") and " " not in t}


def verdict_of(executions: Sequence[Execution], order: NotebookOrder | None) -> dict[str, Json]:
    """Judge whether a run's executions are what the notebook says, in its order.

    Parameters
    ----------
    executions
        Those the run needs, in run order.
    order
        The notebook as it stands; None where it is not known.

    Returns
    -------
    dict
        ``{"label": …, "reasons": [{"kind", "text"}, …]}``, the worst reason as the label.
    """
    outer = [e for e in executions if e.parent is None and e.status != "syntax"]
    reasons = [*_order_reasons(outer, order), *_source_reasons(outer, order)]
    kinds = {reason["kind"] for reason in reasons}
    label = next((kind for kind in SEVERITY if kind in kinds), "linear")
    return {"label": label, "reasons": reasons}


def _place(execution: Execution, order: NotebookOrder | None) -> int | None:
    if execution.cell_index is not None:
        return execution.cell_index
    if order is None or execution.cell_id is None:
        return None
    return order.positions.get(execution.cell_id)


def _order_reasons(
    executions: Sequence[Execution], order: NotebookOrder | None
) -> list[dict[str, Json]]:
    places = [_place(execution, order) for execution in executions]
    reasons: list[dict[str, Json]] = []
    if any(place is None for place in places):
        unknown = sum(place is None for place in places)
        text = f"the place of {unknown} of {len(places)} cells in the notebook is not known"
        reasons.append({"kind": "order-unknown", "text": text})
    known = [place for place in places if place is not None]
    for before, after in itertools.pairwise(known):
        if after < before:
            text = f"cell {after + 1} ran after cell {before + 1}, which stands below it"
            reasons.append({"kind": "out-of-order", "text": text})
    repeated = sorted({place for place in known if known.count(place) > 1})
    if repeated:
        cells = ", ".join(str(place + 1) for place in repeated)
        word = "cell" if len(repeated) == 1 else "cells"
        reasons.append({"kind": "out-of-order", "text": f"{word} {cells} ran more than once"})
    return reasons


def _source_reasons(
    executions: Sequence[Execution], order: NotebookOrder | None
) -> list[dict[str, Json]]:
    reasons: list[dict[str, Json]] = []
    if order is None:
        return reasons
    for execution in executions:
        if execution.cell_id is None or execution.started_at.timestamp() * 1e9 > order.as_of_ns:
            continue  # the file is older than the execution: it cannot testify against it
        source = order.sources.get(execution.cell_id)
        if source is None:
            text = f"the cell of execution {execution.order} is no longer in the notebook"
        elif source.strip() != execution.source.strip():
            place = order.positions[execution.cell_id] + 1
            text = f"cell {place} has been edited since it ran"
        else:
            continue
        reasons.append({"kind": "stale-source", "text": text})
    return reasons
