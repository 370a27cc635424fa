"""A graph brought down to what can be looked at: a box per cell, chains in one, no detours.

A graph of a hundred cells is true and says nothing. Here a cell and what it made are one box,
the metrics of a model another, an edge is left out where a longer way says the same, and what
only passes something on is folded into what it passes it to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlops_nb.lineage.graph import Edge, LineageGraph, Node

BoxKind: TypeAlias = Literal["file", "cell", "model", "metric", "artifact", "run", "step"]

_FEW_BOXES, _MOST_BOXES = 12, 30


@dataclass(frozen=True, slots=True)
class Box:
    """What is drawn as one: a file, one or more cells with what they made, a model, metrics.

    Attributes
    ----------
    title
        ``[2]``, ``[2] … [5]``, ``data.csv``, ``forest``.
    lines
        What is in it, most telling first.
    nodes
        Ids of the nodes that it stands for.
    cells
        How many cells it stands for.
    """

    id: str
    kind: BoxKind
    title: str
    lines: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    cells: int = 0
    is_focus: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes in an order in which no edge leads back, and the edges between them by id."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[str, str], ...]

    def after(self, box: str) -> list[str]:
        """Give where the edges of a box lead."""
        return [end for start, end in self.edges if start == box]

    def before(self, box: str) -> list[str]:
        """Give where the edges into a box come from."""
        return [start for start, end in self.edges if end == box]


def picture_of(
    graph: LineageGraph, *, number: Mapping[str, str], most: int = _MOST_BOXES
) -> Picture:
    """Bring a graph down to boxes.

    Parameters
    ----------
    graph
        All of it, or the part that was asked for.
    number
        For the id of each metric, how its value is written.
    most
        Boxes that are drawn; beyond that, chains and then whole groups of cells become one.
    """
    place = _homes(graph)
    edges = _edges(graph.edges, place)
    linked = {id_ for edge in edges for id_ in edge}
    boxes = _boxes(graph, place, number)
    # A cell that nothing leads to or from, as one of imports, is no part of any way.
    boxes = [box for box in boxes if box.id in linked or box.is_focus] or boxes
    picture = Picture(tuple(boxes), _reduced(boxes, edges))
    if len(boxes) > _FEW_BOXES:
        picture = _without_chains(picture)
    if len(picture.boxes) > most:
        picture = _without_siblings(picture)
    return picture if len(picture.boxes) <= most else _cut(picture, most)


def _homes(graph: LineageGraph) -> dict[str, str]:
    """Say for each node which box it stands in.

    A value stands in the box of the cell that made it; a cell that only fits a model, or only
    says a metric, in the box of that.
    """
    there = {node.id for node in graph.nodes}
    homes = {node.id: node.id for node in graph.nodes}
    for node in graph.nodes:
        cell = f"cell:{node.execution}"
        if node.kind == "value" and cell in there:
            homes[node.id] = cell
        elif node.kind in {"metric", "artifact"}:
            homes[node.id] = f"{node.kind}s:{node.execution}"
    made = _made(graph)
    for node in graph.nodes:
        if node.kind == "cell" and node.id not in graph.focus and node.id in made:
            home = homes[made[node.id]]
            homes.update({other: home for other in there if homes[other] == node.id})
    return homes


def _made(graph: LineageGraph) -> dict[str, str]:
    """Give for each cell that nobody reads a value from the one other thing that it made."""
    used = {edge.source for edge in graph.edges}
    useful = {e.source for e in graph.edges if e.reason == "binds" and e.target in used}
    useful -= {e.source for e in graph.edges if e.target.startswith("model:")}
    useful |= {
        f"cell:{node.execution}"
        for node in graph.nodes
        if node.kind == "value" and node.id in graph.focus
    }
    found: dict[str, str] = {}
    for reason in ("fits", "logs", "keeps", "writes file"):
        for edge in graph.edges:
            if edge.reason == reason and edge.source not in useful:
                found.setdefault(edge.source, edge.target)
    return found


def _boxes(graph: LineageGraph, place: Mapping[str, str], number: Mapping[str, str]) -> list[Box]:
    members: dict[str, list[Node]] = {}
    for node in graph.nodes:
        members.setdefault(place[node.id], []).append(node)
    used = {edge.source for edge in graph.edges}
    bound = {edge.target for edge in graph.edges if edge.reason == "binds"}
    teller = _Teller(used, bound, frozenset(graph.focus), number)
    return [teller.box(id_, nodes) for id_, nodes in members.items()]


@dataclass(frozen=True, slots=True)
class _Teller:
    """Says what stands in a box."""

    used: set[str]
    bound: set[str]
    focus: frozenset[str]
    number: Mapping[str, str]

    def box(self, id_: str, nodes: list[Node]) -> Box:
        ids = tuple(node.id for node in nodes)
        is_focus = any(node in self.focus for node in ids)
        cells = [node for node in nodes if node.kind == "cell"]
        others = [node for node in nodes if node.kind not in {"cell", "value"}]
        title = cells[0].label if cells else ""
        if not others:
            return Box(id_, "cell", title, self._values(nodes), ids, len(cells), is_focus)
        first = others[0]
        said = [f"{node.label} {self.number.get(node.id, '')}".strip() for node in others]
        title = f"{title} {said[0]}".strip()
        details = [first.detail] if first.detail and first.kind != "artifact" else []
        lines = (*details, *said[1:])
        kind: BoxKind = "cell" if first.kind == "value" else first.kind
        return Box(id_, kind, title, lines, ids, len(cells), is_focus)

    def _values(self, nodes: list[Node]) -> tuple[str, ...]:
        """Name the values of a cell; what nobody reads says little."""
        values = [node for node in nodes if node.kind == "value"]
        values.sort(key=lambda n: (n.id not in self.focus, not n.detail, n.id not in self.used))
        bound = [n for n in values if n.id in self.bound]
        told = [n for n in bound if n.id in self.used or n.detail or n.id in self.focus]
        focused = [n for n in values if n.id in self.focus and n not in told]
        said = tuple(_said(node) for node in (*focused, *(told or bound)))
        changed = dict.fromkeys(f"{node.label} changed" for node in values if node not in bound)
        return said or tuple(changed)


def _said(node: Node) -> str:
    return f"{node.label} {node.detail.replace(' ', '')}".strip()


def _edges(edges: Iterable[Edge], place: Mapping[str, str]) -> list[tuple[str, str]]:
    found = dict.fromkeys((place[edge.source], place[edge.target]) for edge in edges)
    return [(start, end) for start, end in found if start != end]


def _reduced(
    boxes: Sequence[Box], edges: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Leave out each edge where a longer way leads to the same box."""
    near: dict[str, set[str]] = {box.id: set() for box in boxes}
    for start, end in edges:
        near[start].add(end)
    reach: dict[str, set[str]] = {}
    for box in reversed(_sorted(boxes, edges)):
        ends = near[box.id]
        reach[box.id] = ends.union(*(reach.get(end, set()) for end in ends))
    return tuple(
        (start, end)
        for start, end in edges
        if not any(end in reach[other] for other in near[start] if other != end)
    )


def _sorted(boxes: Sequence[Box], edges: Iterable[tuple[str, str]]) -> list[Box]:
    """Put boxes in an order in which no edge leads back, as far as they came to be."""
    waiting = Counter(end for _, end in edges)
    near: dict[str, list[str]] = {}
    for start, end in edges:
        near.setdefault(start, []).append(end)
    by_id = {box.id: box for box in boxes}
    ready = [box.id for box in boxes if not waiting[box.id]]
    found = []
    while ready:
        id_ = ready.pop(0)
        found.append(by_id[id_])
        for end in near.get(id_, ()):
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)
    return found


# --- folding -----------------------------------------------------------------------------------


def _without_chains(picture: Picture) -> Picture:
    """Fold cells that only hand on what one other cell gave them into one box."""
    before = {box.id: picture.before(box.id) for box in picture.boxes}
    after = {box.id: picture.after(box.id) for box in picture.boxes}
    kinds = {box.id: box for box in picture.boxes}
    into: dict[str, str] = {}
    for box in _sorted(picture.boxes, picture.edges):
        earlier = before[box.id]
        if box.kind != "cell" or box.is_focus or len(earlier) != 1:
            continue
        only = kinds[earlier[0]]
        if only.kind == "cell" and not only.is_focus and len(after[only.id]) == 1:
            into[box.id] = into.get(only.id, only.id)
    return _merged(picture, into)


def _without_siblings(picture: Picture) -> Picture:
    """Fold boxes of one kind that come from the same and lead to the same into one."""
    groups: dict[tuple[object, ...], str] = {}
    into = {}
    for box in picture.boxes:
        if box.is_focus:
            continue
        key = (box.kind, *map(frozenset, (picture.before(box.id), picture.after(box.id))))
        first = groups.setdefault(key, box.id)
        if first != box.id:
            into[box.id] = first
    return _merged(picture, into)


def _cut(picture: Picture, most: int) -> Picture:
    """Fold the cells in the middle into one box, where nothing else makes the graph small."""
    ordered = _sorted(picture.boxes, picture.edges)
    cells = [box for box in ordered if box.kind == "cell" and not box.is_focus]
    others = len(ordered) - len(cells)
    keep = max(most - others - 1, 2)
    # Cells that stand next to each other in the order can be one without making a circle.
    start = keep // 2
    middle = cells[start : len(cells) - (keep - start)]
    first = middle[0].id if middle else ""
    between = _convex(picture, {box.id for box in middle})
    into = dict.fromkeys(between - {first}, first)
    return _merged(picture, into) if len(between) > 1 else picture


def _convex(picture: Picture, ids: set[str]) -> set[str]:
    """Add what lies between boxes that are to be one: an edge out and back would be a circle."""
    order = _sorted(picture.boxes, picture.edges)
    down: set[str] = set()
    for box in order:
        if box.id in ids or any(start in down for start in picture.before(box.id)):
            down.add(box.id)
    up: set[str] = set()
    for box in reversed(order):
        if box.id in ids or any(end in up for end in picture.after(box.id)):
            up.add(box.id)
    return ids | (down & up)


def _merged(picture: Picture, into: Mapping[str, str]) -> Picture:
    if not into:
        return picture
    groups: dict[str, list[Box]] = {}
    for box in picture.boxes:
        groups.setdefault(into.get(box.id, box.id), []).append(box)
    boxes = [_merge(id_, group) for id_, group in groups.items()]
    edges = dict.fromkeys((into.get(a, a), into.get(b, b)) for a, b in picture.edges)
    return Picture(tuple(boxes), _reduced(boxes, [(a, b) for a, b in edges if a != b]))


def _merge(id_: str, group: list[Box]) -> Box:
    if len(group) == 1:
        return group[0]
    first, last = group[0], group[-1]
    nodes = tuple(node for box in group for node in box.nodes)
    cells = sum(box.cells for box in group)
    if first.kind == "cell":
        start, end = first.title.partition(" … ")[0], last.title.rpartition(" … ")[2]
        # What leaves the last cell is what the whole of them gives.
        lines = tuple(line for box in reversed(group) for line in box.lines)
        return replace(
            first, id=id_, title=f"{start} … {end}", lines=lines, nodes=nodes, cells=cells
        )
    lines = tuple(line for box in group[1:] for line in (box.title, *box.lines))
    return replace(first, id=id_, lines=(*first.lines, *lines), nodes=nodes, cells=cells)
