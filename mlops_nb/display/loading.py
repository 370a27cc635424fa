"""From a store to a view: what a view needs beside the runs themselves."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.capture.files.digest import Digests
from mlops_nb.capture.files.state import file_state
from mlops_nb.compare import compare_runs
from mlops_nb.compare.columns import SCORED_AGAIN
from mlops_nb.display.cells import digests_to_show
from mlops_nb.display.comparison import ComparisonView
from mlops_nb.display.run import RunView
from mlops_nb.errors import StoreError
from mlops_nb.lineage import reviewed
from mlops_nb.store.reading.references import REPLAY_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlops_nb.capture.files.state import FileState
    from mlops_nb.display.view import Place
    from mlops_nb.model import Execution, Run
    from mlops_nb.store import Store

_RUNS_TO_LOOK_BACK = 50
_LOOK_BYTES = 500_000_000
_CURVE_POINTS = 200  # what a picture of a curve can show
# What no reference holds: `tag:stage=prod` has no blank, and no name of a run an operator.
_QUERY = re.compile(
    r"[<>!]|\s(=|==|i?like|contains|between|in|is|not)\s|^\s*(order by|not)\s"
    r"|^[\w.]+\s*==?\s*['\"\d]"
)


def view_comparison(
    store: Store,
    references: Sequence[str] = (),
    *,
    query: str | None = None,
    notebook: str | None = None,
    baseline: str | None = None,
    sort_by: str | None = None,
    all_params: bool = False,
    by_group: bool = False,
    limit: int = 50,
    place: Place = "notebook",
) -> ComparisonView:
    """Compare runs of a store.

    Parameters
    ----------
    store
        Where they are.
    references
        Runs to compare, with their children, or a query in words; the newest ones if left out.
    query
        Selects runs instead.
    notebook
        Takes only runs of this notebook, if any is.
    baseline, sort_by, all_params, by_group
        As in `compare_runs`; a baseline that is not among the runs is added.
    limit
        Most runs, where none are named.
    place
        Where the reader is.
    """
    runs, total = _selected(store, references, query, notebook, limit)
    if baseline is not None:
        chosen = store.get_run(baseline)
        baseline = chosen.id
        if chosen.id not in {run.id for run in runs}:
            runs = [*runs, chosen]
    environments = store.environments({run.environment for run in runs if run.environment})
    comparison = compare_runs(
        runs,
        series=_series(store, runs),
        baseline=baseline,
        sort_by=sort_by,
        all_params=all_params,
        by_group=by_group,
        environments=environments,
        total=total,
    )
    return ComparisonView(comparison, place, is_complete=all_params)


def view_run(
    store: Store, run: Run, *, sections: tuple[str, ...] = (), place: Place = "notebook"
) -> RunView:
    """Show one run of a store, with its executions and what it ran on."""
    earlier = [
        other
        for other in store.runs(limit=_RUNS_TO_LOOK_BACK)
        if other.id != run.id and other.started_at <= run.started_at
    ]
    executions = sorted(store.executions(run.executions), key=lambda execution: execution.order)
    environment = store.environment(run.environment) if run.environment else None
    verdict = reviewed(run.verdict, executions, _input_states(executions), environment)
    return RunView(
        replace(run, verdict=verdict),
        tuple(executions),
        series={key: values for (_, key), values in _series(store, [run]).items()},
        environment=environment,
        before=_attempt_before(run, earlier),
        data_seen={use.digest: other.id[:4] for other in reversed(earlier) for use in other.data},
        contents=_contents(store, digests_to_show(executions, run.artifacts)),
        sections=sections,
        place=place,
    )


def _input_states(executions: Sequence[Execution]) -> dict[str, FileState]:
    """Look at the files that a run read, as far as that is quick."""
    digests, left_bytes = Digests(), _LOOK_BYTES
    states: dict[str, FileState] = {}
    for use in (use for execution in executions for use in execution.files if use.mode == "r"):
        if use.uri not in states:
            states[use.uri] = file_state(use, digests=digests, budget_bytes=left_bytes)
            left_bytes = max(0, _LOOK_BYTES - digests.read_bytes)
    return states


def _selected(
    store: Store, references: Sequence[str], query: str | None, notebook: str | None, limit: int
) -> tuple[list[Run], int]:
    """Give the runs to compare, and how many there are in all."""
    if query is None and _QUERY.search(text := " ".join(references)):
        references, query, notebook = (), text, None
    if len(references) == 1 and (many := _all_of(store, references[0])):
        references, query, notebook = (), many, None
    if references:
        named = [store.get_run(reference) for reference in references]
        children = _children(store, named)
        runs = list({run.id: run for run in (*named, *children)}.values())
        return runs, len(runs)
    is_chosen = query is not None
    if query is None and notebook is not None:
        query = f"notebook = {_quoted(notebook)}"
    runs = store.runs(query, limit=limit)
    total = max(store.count_runs(query), len(runs))
    if is_chosen:
        return runs, total
    own = _without_replays(runs)
    return own, total - len(runs) + len(own)


def _without_replays(runs: Sequence[Run]) -> list[Run]:
    """Leave out what only verifies another run, with all below it."""
    replays = {run.id for run in runs if REPLAY_TAG in run.tags}
    return [run for run in runs if run.id not in replays and run.parent not in replays]


def _all_of(store: Store, reference: str) -> str | None:
    """A name or a tag stands for all runs that have it: one run is no comparison."""
    kind, _, label = reference.partition(":")
    if kind == "tag":
        key, _, value = label.partition("=")
        test = f"= {_quoted(value)}" if value else "is not null"
        return f'tags."{key}" {test}'
    query = f"name = {_quoted(reference)} and parent is null"
    return query if store.count_runs(query) > 1 else None


def _children(store: Store, named: Sequence[Run]) -> list[Run]:
    parents = dict.fromkeys(_quoted(run.id) for run in named if not run.parent)
    if not parents:
        return []
    found = store.runs(f"parent in ({', '.join(parents)})")
    order = {run.id: place for place, run in enumerate(named)}
    return sorted(found, key=lambda child: order[str(child.parent)])


def _quoted(text: str) -> str:
    """Write a text as a value in a query."""
    doubled = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def _series(store: Store, runs: Iterable[Run]) -> Mapping[tuple[str, str], Sequence[float]]:
    wanted = [(run.id, key) for run in runs for key in _curves(run)]
    return store.curves(wanted, points=_CURVE_POINTS) if wanted else {}


def _curves(run: Run) -> list[str]:
    return [key for key, metric in run.metrics.items() if metric.count > SCORED_AGAIN]


def _attempt_before(run: Run, earlier: Iterable[Run]) -> Run | None:
    attempts = [o for o in earlier if o.group == run.group and 0 < o.attempt < run.attempt]
    return max(attempts, key=lambda other: other.attempt, default=None)


def _contents(store: Store, digests: Iterable[str]) -> dict[str, bytes]:
    """Read what is shown; what is gone from the store is named instead."""
    contents = {}
    for digest in digests:
        try:
            contents[digest] = store.read_blob(digest)
        except (OSError, LookupError, StoreError):
            continue
    return contents
