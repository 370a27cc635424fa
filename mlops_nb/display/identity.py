"""From a store to the views of identity: what differs, what it is made of, where it came from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.compare.changes import environment_change
from mlops_nb.compare.columns import headline_metric
from mlops_nb.compare.difference import diff_runs
from mlops_nb.compare.values import bare_fingerprint
from mlops_nb.display.difference import DifferenceView
from mlops_nb.display.environment import EnvironmentDifferenceView, EnvironmentView
from mlops_nb.display.formats import number
from mlops_nb.display.lineage import LineageView
from mlops_nb.errors import BadValue, MissingExtra
from mlops_nb.fingerprint.record import fingerprint_from_document
from mlops_nb.lineage import slice_of
from mlops_nb.lineage.graph import Edge, LineageGraph, Node, graph_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlops_nb.display.view import Place
    from mlops_nb.model import DataUse, Environment, Execution, Fingerprint, Run
    from mlops_nb.store import Store

_RUN_LIKE = re.compile(r"@|tag:|[0-9a-f]{4,16}\Z")
_KINDS = ("run", "file", "model", "metric", "variable")
_RUNS_TO_LOOK_BACK = 500


def view_difference(store: Store, a: str, b: str, *, place: Place = "notebook") -> DifferenceView:
    """Say what differs from one run of a store to another.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    """
    old, new = store.get_run(a), store.get_run(b)
    before, after = needed_executions(store, old), needed_executions(store, new)
    found = diff_runs(
        old,
        new,
        executions_a=before,
        executions_b=after,
        relevant=_relevant(old, before) | _relevant(new, after),
        environment_a=_environment(store, old),
        environment_b=_environment(store, new),
        fingerprints=_fingerprints(store, (*old.data, *new.data)),
    )
    return DifferenceView(found, place)


def environment_of(store: Store, run: Run) -> Environment:
    """Read what a run ran on, with what its own session had imported.

    Raises
    ------
    BadValue
        It was not recorded.
    """
    found = _environment(store, run)
    if found is None:
        remedy = "Ask for another run: mlops-nb runs"
        raise BadValue(f"run {run.id[:4]}", "has no record of what it ran on", remedy)
    details = found.content.get("details") or {}
    owners = details.get("modules") or {}
    modules = store.session_facts(run.session).get("modules") if run.session else None
    if not owners or not modules:
        return found
    # The record is shared by all sessions of one environment, which import this and that.
    tops = {name.partition(".")[0] for name in modules}
    own = {name for top in tops for name in owners.get(top) or ()}
    imported = {n: v for n, v in (details.get("imported") or {}).items() if n in own}
    return replace(found, content={**found.content, "details": {**details, "imported": imported}})


def view_environment(
    store: Store, reference: str, *, place: Place = "notebook"
) -> EnvironmentView:
    """Show what a run ran on.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadValue
        What it ran on was not recorded.
    """
    run = store.get_run(reference)
    return EnvironmentView(environment_of(store, run), run.git, place, run.id[:4])


def view_environment_difference(
    store: Store, a: str, b: str | None, *, now: Environment, place: Place = "notebook"
) -> EnvironmentDifferenceView:
    """Say what differs between what two runs ran on, or from a run to `now`."""
    old = store.get_run(a)
    new = None if b is None else store.get_run(b)
    environment = now if new is None else _environment(store, new)
    runs = [run for run in (old, new) if run is not None]
    executions = [e for run in runs for e in store.executions(run.executions)]
    change = environment_change(_environment(store, old), environment, executions)
    names = (old.id[:4], "now" if new is None else new.id[:4])
    return EnvironmentDifferenceView(change, names, place)


def stored_fingerprint(store: Store, reference: str) -> Fingerprint:
    """Read the fingerprint of a value that a run used, by ``RUN:NAME``.

    Raises
    ------
    RunNotFound
        There is no such run.
    BadValue
        It used no such value.
    """
    run_reference, _, name = reference.rpartition(":")
    run = store.get_run(run_reference)
    uses = [use for use in run.data if use.name == name]
    if not uses:
        known = ", ".join(dict.fromkeys(use.name for use in run.data)) or "nothing"
        remedy = f"Its values are: {known}"
        raise BadValue(f"name {name!r}", f"is none of the values of run {run.id[:4]}", remedy)
    use = uses[-1]
    found = _fingerprints(store, (use,)).get(use.digest)
    return found if found is not None else bare_fingerprint(use)


def read_table(path: Path) -> object:
    """Read a ``.csv`` or ``.parquet`` file as a frame.

    Raises
    ------
    MissingExtra
        There is no pandas to read it with.
    BadValue
        It is not what its name says.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("Reading a file to compare", "pandas") from error
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    try:
        return read(path)
    except ImportError as error:
        raise MissingExtra("Reading a .parquet file", "pyarrow") from error
    except (ValueError, pd.errors.ParserError) as error:
        said = str(error).partition("\n")[0]
        raise BadValue(f"file {path}", f"cannot be read: {said}", "Give another one") from error


def is_table_file(text: str) -> bool:
    """Tell whether a text names a file that `read_table` reads."""
    return text.endswith((".csv", ".csv.gz", ".parquet", ".tsv"))


# --- lineage -----------------------------------------------------------------------------------


def view_lineage(
    store: Store,
    what: str,
    *,
    session: str | None = None,
    is_downstream: bool = False,
    place: Place = "notebook",
) -> LineageView:
    """Draw where something came from, or what came of it.

    Parameters
    ----------
    store
        Where runs and executions are.
    what
        A run, a file's path, a model's name, a metric, or a variable of the notebook; where one
        name is several of these, ``model:NAME`` says which.
    session
        The one whose variables are meant; that of the newest run if left out.
    is_downstream
        Whether to look at what came of it.

    Raises
    ------
    BadValue
        Nothing has this name.
    """
    kind, _, name = what.partition(":")
    if kind not in _KINDS or not name:
        kind, name = "", what
    finder = _Finder(store, session, is_downstream, place)
    for each, find in finder.ways():
        if kind in {"", each} and (kind or each != "run" or _RUN_LIKE.match(name)):
            view = find(name)
            if view is not None:
                return view
    run = store.find_run(name) if kind in {"", "run"} else None
    if run is None:
        known = "is no run, file, model, metric or variable that is known here"
        remedy = "Runs are listed by mlops-nb runs; a file is given by its path"
        raise BadValue(f"name {name!r}", known if not kind else f"is no {kind} here", remedy)
    return finder.of_run(run)


class _Finder:
    """Looks for what a name may mean, kind by kind."""

    def __init__(
        self,
        store: Store,
        session: str | None,
        is_downstream: bool,
        place: Place,
    ) -> None:
        self._store, self._session = store, session
        self._is_downstream, self._place = is_downstream, place
        self._runs: list[Run] | None = None

    def ways(self) -> tuple[tuple[str, Callable[[str], LineageView | None]], ...]:
        """Give each kind with what finds one by its name, the surest first."""
        return (
            ("run", self._run),
            ("file", self._file),
            ("model", self._model),
            ("metric", self._metric),
            ("variable", self._variable),
        )

    def of_run(self, run: Run) -> LineageView:
        graph = graph_of(run, self._executions(run))
        if self._is_downstream:
            graph = graph.downstream(f"cell:{id_}" for id_ in run.body)
        return self._view(graph, f"run {run.id[:4]}")

    def _run(self, name: str) -> LineageView | None:
        run = self._store.find_run(name)
        return None if run is None else self.of_run(run)

    def _model(self, name: str) -> LineageView | None:
        for run in self._recent():
            if any(model.name == name for model in run.models):
                graph = graph_of(run, self._executions(run))
                nodes = graph.named("model", name)
                return self._part(graph, nodes, f"model {name}") if nodes else None
        return None

    def _metric(self, name: str) -> LineageView | None:
        run = next((run for run in self._recent() if name in run.metrics), None)
        if run is None:
            return None
        graph = graph_of(run, self._executions(run))
        return self._part(graph, graph.named("metric", name), f"metric {name}")

    def _variable(self, name: str) -> LineageView | None:
        recent = self._recent()
        session = self._session or next((run.session for run in recent if run.session), None)
        if session is None:
            return None
        run = next((run for run in recent if run.session == session), None)
        graph = graph_of(run, self._store.session_executions(session))
        values = graph.named("value", name) or graph.named("model", name)
        if not values:
            return None
        # Upstream of what it is now; downstream of all that it ever was.
        chosen = values if self._is_downstream else values[-1:]
        return self._part(graph, chosen, f"variable {name}")

    def _file(self, name: str) -> LineageView | None:
        for uri in _possible_uris(name):
            uses = self._store.file_uses(uri)
            if uses:
                executions = self._store.executions(list(dict.fromkeys(id_ for id_, _ in uses)))
                return self._of_file(uri, executions)
        return None

    def _of_file(self, uri: str, executions: Sequence[Execution]) -> LineageView:
        asked = f"file {uri.rpartition('/')[2] or uri}"
        writers = [e for e in executions if any(u.uri == uri and u.mode == "w" for u in e.files)]
        if writers and not self._is_downstream:
            last = max(writers, key=lambda e: e.started_at)
            graph = graph_of(None, self._store.session_executions(last.session))
            nodes = [n for n in graph.nodes if n.kind == "file" and n.about == uri]
            return self._part(graph, nodes[-1:], asked)
        return self._view(self._used_by(uri, executions), asked, is_downstream=True)

    def _used_by(self, uri: str, executions: Sequence[Execution]) -> LineageGraph:
        """Lead from a file to the cells that read it, and to the runs that needed those."""
        readers = [e for e in executions if any(u.uri == uri and u.mode == "r" for u in e.files)]
        graph = graph_of(None, readers)
        nodes = [n for n in graph.nodes if n.kind == "cell" or n.about == uri]
        ids = {reader.id for reader in readers}
        edges = [e for e in graph.edges if e.reason == "reads file" and e.source == f"file:{uri}"]
        for run in self._recent():
            needed = [f"cell:{id_}" for id_ in run.executions if id_ in ids]
            if needed:
                nodes.append(_run_node(run))
                edges += [Edge(cell, f"run:{run.id}", "needs", (run.name,)) for cell in needed]
        focus = (f"file:{uri}",)
        return LineageGraph(tuple(nodes), tuple(edges), focus)

    def _part(self, graph: LineageGraph, nodes: Iterable[Node], asked: str) -> LineageView:
        ids = [node.id for node in nodes]
        part = graph.downstream(ids) if self._is_downstream else graph.upstream(ids)
        return self._view(part, asked)

    def _view(
        self, graph: LineageGraph, asked: str, *, is_downstream: bool | None = None
    ) -> LineageView:
        down = self._is_downstream if is_downstream is None else is_downstream
        return LineageView(graph, asked, down, self._place)

    def _recent(self) -> list[Run]:
        if self._runs is None:
            self._runs = self._store.runs(limit=_RUNS_TO_LOOK_BACK)
        return self._runs

    def _executions(self, run: Run) -> list[Execution]:
        return needed_executions(self._store, run)


def _run_node(run: Run) -> Node:
    metric = headline_metric([run])
    value = "" if metric is None else f"{metric} {number(run.metrics[metric].value)}"
    detail = " ".join(filter(None, (run.name, value)))
    return Node(f"run:{run.id}", "run", run.id[:4], detail, run.id)


def _possible_uris(name: str) -> list[str]:
    if "://" in name:
        return [name]
    path = Path(name).expanduser()
    return list(dict.fromkeys([name, str(path.absolute()), str(path.resolve())]))


# --- of a store --------------------------------------------------------------------------------


def needed_executions(store: Store, run: Run) -> list[Execution]:
    """Read the executions that a run needs, in the order in which they ran.

    A child has those cells of its parent that its model, its metrics and its data depend on:
    the parent's other children ran in the same cells, or between them.
    """
    family = run if run.parent is None else store.find_run(run.parent) or run
    known = {e.id: e for e in store.executions(family.executions)}
    ordered = sorted(known.values(), key=lambda e: (e.started_at, e.order))
    body = [id_ for id_ in _evidence(run) if id_ in known]
    if family is run or not body:
        own = ordered if family is run else store.executions(run.executions)
        return sorted(own, key=lambda e: (e.started_at, e.order))
    needed = {*slice_of(ordered, body), *body}
    return [execution for execution in ordered if execution.id in needed]


def _evidence(run: Run) -> set[str]:
    """Name the executions that a run's models, metrics, artifacts and data are of."""
    found = (
        *(model.execution for model in run.models),
        *(metric.execution for metric in run.metrics.values()),
        *(artifact.execution for artifact in run.artifacts),
        *(use.execution for use in run.data),
    )
    return {id_ for id_ in found if id_}


def _relevant(run: Run, executions: Sequence[Execution]) -> set[str]:
    """Name the executions that a run's results depend on; all if it has no results."""
    body = _evidence(run) & {execution.id for execution in executions}
    if not body:
        return {execution.id for execution in executions}
    return {*slice_of(executions, body), *body}


def _environment(store: Store, run: Run) -> Environment | None:
    return store.environment(run.environment) if run.environment else None


def _fingerprints(store: Store, uses: Iterable[DataUse]) -> dict[str, Fingerprint]:
    """Read the fingerprints that are kept in full, by digest."""
    found = {}
    for digest, schema in {(use.digest, use.schema_digest) for use in uses if use.digest}:
        content = store.fingerprint_content(digest, schema)
        if content is not None:
            found[digest] = fingerprint_from_document(content)
    return found
