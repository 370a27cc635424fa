"""Where a thing came from: file, cell, value, model, metric, and the edges between them.

A name is another node each time that a cell binds or changes it, and a file each time that a
cell writes it, so that no graph has a circle.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mlops_nb.documents import plain
from mlops_nb.lineage.results import gives_result, results_read
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlops_nb.model import DataUse, Execution, FileUse, Json, Run

NodeKind: TypeAlias = Literal["file", "cell", "value", "model", "metric", "artifact", "run"]


@dataclass(frozen=True, slots=True)
class Node:
    """One thing in a graph.

    Attributes
    ----------
    label
        What a reader calls it: a file's name, ``[2]``, ``df``, ``auc``.
    detail
        What more there is to say in a word: ``569 × 31``, ``0.912``.
    about
        All of it, for who asks: a path, a source.
    execution
        Of a cell, and of what a cell made.
    digest
        Of its content, where that is known.
    value
        Of a metric.
    """

    id: str
    kind: NodeKind
    label: str
    detail: str = ""
    about: str = ""
    execution: str | None = None
    digest: str = ""
    value: Json = None

    def to_dict(self) -> dict[str, Any]:
        """Describe the node as JSON."""
        return {
            "id": plain(self.id),
            "kind": self.kind,
            "label": plain(self.label),
            "detail": plain(self.detail),
            "about": plain(self.about),
            "execution": self.execution,
            "digest": self.digest or None,
            "value": plain(self.value),
        }


@dataclass(frozen=True, slots=True)
class Edge:
    """What leads from one node to another.

    Attributes
    ----------
    reason
        ``reads``, ``binds``, ``changes``, ``reads result``, ``reads file``, ``writes file``,
        ``trains``, ``fits``, ``scores``, ``logs``, ``keeps`` or ``needs``.
    names
        What flows along it.
    """

    source: str
    target: str
    reason: str
    names: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Describe the edge as JSON."""
        return {
            "from": plain(self.source),
            "to": plain(self.target),
            "reasons": [{"kind": self.reason, "names": plain(self.names)}],
        }


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Nodes in the order in which they came to be, and the edges between them.

    Attributes
    ----------
    focus
        Ids of what was asked for; empty if all of a run was.
    """

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    focus: tuple[str, ...] = ()

    def upstream(self, ids: Iterable[str]) -> LineageGraph:
        """Give what these came from, and themselves."""
        return self._part(ids, is_upwards=True)

    def downstream(self, ids: Iterable[str]) -> LineageGraph:
        """Give what came from these, and themselves."""
        return self._part(ids, is_upwards=False)

    def named(self, kind: NodeKind, label: str) -> list[Node]:
        """Find nodes of a kind by what a reader calls them."""
        return [node for node in self.nodes if node.kind == kind and node.label == label]

    def to_dict(self) -> dict[str, Any]:
        """Describe the graph as JSON."""
        return {
            "nodes": [node.to_dict() for node in self.nodes],
            "edges": [edge.to_dict() for edge in self.edges],
            "focus": plain(self.focus),
        }

    def _part(self, ids: Iterable[str], *, is_upwards: bool) -> LineageGraph:
        near: dict[str, list[str]] = {}
        for edge in self.edges:
            start, end = (edge.target, edge.source) if is_upwards else (edge.source, edge.target)
            near.setdefault(start, []).append(end)
        focus = tuple(ids)
        found, waiting = set(focus), list(focus)
        while waiting:
            for other in near.get(waiting.pop(), ()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return LineageGraph(
            tuple(node for node in self.nodes if node.id in found),
            tuple(e for e in self.edges if e.source in found and e.target in found),
            focus,
        )


def graph_of(run: Run | None, executions: Sequence[Execution]) -> LineageGraph:
    """Draw up where everything in a run came from.

    Parameters
    ----------
    run
        With its models, metrics, data and artifacts; None for cells alone.
    executions
        Those that it needs, or all of a session.

    Returns
    -------
    LineageGraph
        Its nodes in the order in which they came to be.

    Examples
    --------
    >>> graph_of(None, ()).nodes
    ()
    """
    builder = _Builder(run)
    ordered = sorted(executions, key=lambda e: (e.started_at.timestamp(), e.order))
    for execution in ordered:
        if execution.status != "syntax" and execution.parent is None:
            builder.add_execution(execution)
    builder.add_results()
    return builder.graph()


def cell_label(execution: Execution) -> str:
    """Name an execution as its reader does: by its prompt, else by its cell, else in order."""
    if execution.execution_count is not None:
        return f"[{execution.execution_count}]"
    if execution.cell_index is not None:
        return f"cell {execution.cell_index + 1}"
    return f"#{execution.order}"


@dataclass(slots=True)
class _Builder:
    run: Run | None
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    # For each name the nodes that its value now comes from: who bound it, then who changed it.
    holders: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    results: list[Execution] = field(default_factory=list)

    def graph(self) -> LineageGraph:
        edges = [Edge(*key, tuple(dict.fromkeys(names))) for key, names in self.edges.items()]
        return LineageGraph(tuple(self.nodes.values()), tuple(edges))

    def add_execution(self, execution: Execution) -> None:
        cell = f"cell:{execution.id}"
        source = execution.source.strip()
        self._node(Node(cell, "cell", cell_label(execution), about=source, execution=execution.id))
        for use in execution.files:
            if use.mode == "r":
                self._connect(self._file(use), cell, "reads file", _base_name(use.uri))
        for name in dict.fromkeys((*execution.reads, *execution.mutates)):
            for holder in self.holders.get(name, ()):
                self._connect(holder, cell, "reads", name)
        for giver in self._results_for(execution):
            self._connect(f"cell:{giver}", cell, "reads result", "_")
        self.results.append(execution)
        before = {name: holders[-1] for name, holders in self.holders.items() if holders}
        self._add_names(execution, cell)
        self._describe(execution, before)
        for use in execution.files:
            if use.mode == "w":
                name = _base_name(use.uri)
                self._connect(cell, self._file(use, execution.id), "writes file", name)

    def _results_for(self, execution: Execution) -> Iterator[str]:
        """Name the executions whose remembered results one reads: ``_``, ``_12``, ``Out[12]``."""
        asked = results_read(execution)
        depth = asked.depth
        for earlier in reversed(self.results if asked.is_asking else ()):
            certainty = gives_result(earlier)
            if certainty == "no":
                continue
            if asked.is_any or depth > 0 or earlier.execution_count in asked.numbers:
                yield earlier.id
            depth -= certainty == "yes"

    def _add_names(self, execution: Execution, cell: str) -> None:
        imported = imported_names(execution.source)
        fitted = self._models_of(execution)
        for name in execution.deletes:
            self.holders.pop(name, None)
        for name in dict.fromkeys((*execution.binds, *execution.mutates)):
            if name in execution.binds:
                # Another value by this name is no module any more.
                self.imported.discard(name)
                if name in imported:
                    self.imported.add(name)
            if name in self.imported:
                self.holders.pop(name, None)
                continue
            is_bound = name in execution.binds
            node = fitted.get(name) or self._value(name, execution)
            self._connect(cell, node, "binds" if is_bound else "changes", name)
            known = self.holders.setdefault(name, [])
            if is_bound:
                known.clear()
            known.append(node)
        for name, node in fitted.items():
            self._connect(cell, node, "fits", name)
            if name not in (*execution.binds, *execution.mutates):
                self.holders[name] = [*self.holders.get(name, ()), node]

    def _value(self, name: str, execution: Execution) -> str:
        id_ = f"value:{name}@{execution.id}"
        self._node(Node(id_, "value", name, execution=execution.id))
        return id_

    def _describe(self, execution: Execution, before: dict[str, str]) -> None:
        """Say of the values that an execution put to use what is known of them."""
        for use in self.run.data if self.run is not None else ():
            if use.execution != execution.id:
                continue
            is_own = use.name in execution.binds and use.name not in execution.reads
            holder = None if is_own else before.get(use.name)
            node = self.nodes.get(holder or f"value:{use.name}@{execution.id}")
            if node is not None and node.kind == "value":
                known = replace(node, detail=shape_text(use), digest=use.digest)
                self.nodes[node.id] = known

    def _models_of(self, execution: Execution) -> dict[str, str]:
        """Make the nodes of the models that an execution fitted, by name."""
        found = {}
        for model in self.run.models if self.run is not None else ():
            if model.execution != execution.id:
                continue
            id_ = f"model:{model.fit}"
            kind = model.class_name.rpartition(".")[2]
            self._node(
                Node(id_, "model", model.name, kind, model.class_name, execution=execution.id)
            )
            found[model.name] = id_
            for use in self.run.data if self.run is not None else ():
                if use.fit == model.fit and use.role == "train":
                    for holder in self.holders.get(use.name, ()):
                        self._connect(holder, id_, "trains", use.name)
        return found

    def add_results(self) -> None:
        """Add what a run is judged by and what it kept."""
        if self.run is None:
            return
        for name, metric in self.run.metrics.items():
            id_ = f"metric:{self.run.id}:{name}"
            self._node(Node(id_, "metric", name, execution=metric.execution, value=metric.value))
            model = f"model:{metric.fit}"
            if model in self.nodes:
                self._connect(model, id_, "scores", name)
            if f"cell:{metric.execution}" in self.nodes:
                self._connect(f"cell:{metric.execution}", id_, "logs", name)
        for artifact in self.run.artifacts:
            id_ = f"artifact:{self.run.id}:{artifact.name}:{artifact.digest}"
            self._node(
                Node(
                    id_,
                    "artifact",
                    artifact.name,
                    artifact.kind,
                    execution=artifact.execution,
                    digest=artifact.digest,
                )
            )
            if f"cell:{artifact.execution}" in self.nodes:
                self._connect(f"cell:{artifact.execution}", id_, "keeps", artifact.name)

    def _file(self, use: FileUse, writer: str | None = None) -> str:
        """Give the node of a file as it is now; after a cell has written it, it is another."""
        if writer is not None:
            self.files[use.uri] = f"file:{use.uri}@{writer}"
        id_ = self.files.setdefault(use.uri, f"file:{use.uri}")
        self._node(Node(id_, "file", _base_name(use.uri), about=use.uri, digest=use.digest))
        return id_

    def _node(self, node: Node) -> None:
        self.nodes.setdefault(node.id, node)

    def _connect(self, source: str, target: str, reason: str, name: str) -> None:
        self.edges.setdefault((source, target, reason), []).append(name)


def shape_text(use: DataUse) -> str:
    """Write the size of a value, as ``569 × 31``."""
    axes = [f"{axis:,}" for axis in (use.rows, use.columns) if axis is not None]
    return " × ".join(axes)


@lru_cache(maxsize=1024)
def imported_names(source: str) -> frozenset[str]:
    """Name what a cell binds by importing it: modules and functions are no data."""
    tree = parse_cell(source)
    return frozenset(_imports(tree)) if tree is not None else frozenset()


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]


def _base_name(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2] or uri
