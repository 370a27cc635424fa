"""Where a thing came from, or what came of it: a picture, the same in words, and the cells."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Code, Drawing, Facts, Section, Span, fact, line
from mlops_nb.display.formats import counted, number, one_line, shortened, width
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain
from mlops_nb.lineage.folding import picture_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.display.blocks import Block, Fact
    from mlops_nb.display.view import Place
    from mlops_nb.lineage.folding import Box, Picture
    from mlops_nb.lineage.graph import LineageGraph, Node

LINEAGE_MIME = "application/vnd.mlops-nb.lineage.v1+json"

_ARROW = " ──▶ "
_LONGEST_BOX, _LONGEST_LINE, _MOST_WAYS, _MOST_CELLS = 32, 116, 12, 40
_FEW_CELLS = 16


@dataclass(frozen=True, slots=True, repr=False)
class LineageView(View):
    """A graph of where something came from, or of what came of it.

    Attributes
    ----------
    graph
        The part of it that was asked for.
    asked
        What was asked for, in a reader's words: ``metric auc of run 7f3a``.
    is_downstream
        Whether it leads away from what was asked for.
    """

    graph: LineageGraph
    asked: str
    is_downstream: bool = False
    place: Place = "notebook"

    mime: ClassVar[str] = LINEAGE_MIME
    title: ClassVar[str] = "Lineage"

    def document(self) -> dict[str, Any]:
        """Give the graph as JSON, unfolded."""
        return {
            "asked": plain(self.asked),
            "direction": "downstream" if self.is_downstream else "upstream",
            **self.graph.to_dict(),
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, the picture, the cells on the way, and what to do next."""
        picture = picture_of(self.graph, number=self._numbers())
        if not picture.edges:
            return (self._heading(picture), *self._nothing(), *self._cells(), self._next())
        from mlops_nb.display.drawing import draw

        lines = tuple(written_ways(picture))
        svg, pixels = draw(picture)
        drawing = Drawing(svg, lines, pixels)
        return (self._heading(picture), drawing, *self._cells(), self._next())

    def _numbers(self) -> dict[str, str]:
        return {node.id: number(node.value) for node in self.graph.nodes if node.value is not None}

    def _heading(self, picture: Picture) -> Block:
        word = "What came of" if self.is_downstream else "Where this came from:"
        counts = [
            counted(count, noun)
            for kind, noun in (
                ("file", "file"),
                ("cell", "cell"),
                ("model", "model"),
                ("run", "run"),
            )
            if (count := sum(node.kind == kind for node in self.graph.nodes))
        ]
        cells = sum(box.cells for box in picture.boxes)
        boxes = sum(box.cells > 0 for box in picture.boxes)
        folded = f", {cells} of the cells in {boxes} boxes" if cells > boxes else ""
        note = f"   {', '.join(counts)}{folded}"
        return line(f"{word} ", Span(_short(self.asked), "strong"), Span(note, "muted"))

    def _nothing(self) -> Iterator[Block]:
        away = (
            "Nothing is known to have come of it."
            if self.is_downstream
            else ("Nothing is known of where it came from.")
        )
        yield line(Span(away, "muted"))

    def _cells(self) -> Iterator[Block]:
        linked = {id_ for edge in self.graph.edges for id_ in (edge.source, edge.target)}
        cells = [node for node in self.graph.nodes if node.kind == "cell" and node.id in linked]
        if not cells:
            return
        shown = cells[:_MOST_CELLS]
        blocks: list[Block] = [Facts(tuple(_cell_fact(cell) for cell in shown))]
        if len(cells) > len(shown):
            left = counted(len(cells) - len(shown), "more cell")
            blocks.append(line(Span(f"… {left}, all in the JSON", "muted")))
        sources = [Code(f"# {cell.label}\n{cell.about}", "python") for cell in shown]
        is_open = len(cells) <= _FEW_CELLS
        yield Section("cells on the way", tuple(blocks), counted(len(cells), "cell"), is_open)
        yield Section("their sources", tuple(sources), is_open=False)

    def _next(self) -> Block:
        other = "upstream" if self.is_downstream else "downstream"
        option = () if self.is_downstream else ("--downstream",)
        name = self.asked.rpartition(" ")[2] if len(self.asked.split()) == 2 else "X"  # noqa: PLR2004
        return line(f"{other}:  ", Span(command(self.place, "lineage", name, *option), "code"))


def written_ways(
    picture: Picture, *, labels: Mapping[tuple[str, str], str] | None = None
) -> Iterator[str]:
    """Write a picture as lines of arrows: the longest way first, then what joins it.

    Parameters
    ----------
    picture
        Boxes and arrows.
    labels
        What stands in an arrow, by the ids of its boxes.
    """
    left = list(picture.edges)
    told: set[str] = set()
    count = 0
    while left:
        if count == _MOST_WAYS:
            yield f"… {counted(len(left), 'more arrow')}"
            return
        way = _longest(picture, left)
        texts = [_box_text(box, is_known=box.id in told) for box in way]
        pairs = [(a.id, b.id) for a, b in itertools.pairwise(way)]
        yield from _wrapped(texts, [_arrow((labels or {}).get(pair, "")) for pair in pairs])
        told |= {box.id for box in way}
        steps = set(pairs)
        left = [edge for edge in left if edge not in steps]
        count += 1


def _longest(picture: Picture, edges: list[tuple[str, str]]) -> list[Box]:
    """Find the longest way along the edges that were not told yet."""
    by_id = {box.id: box for box in picture.boxes}
    near: dict[str, list[str]] = {}
    for start, end in edges:
        near.setdefault(start, []).append(end)
    best: dict[str, list[str]] = {}
    for start in _deepest_first(near):
        ways = (best.get(end, [end]) for end in near[start])
        best[start] = [start, *max(ways, key=len)]
    return [by_id[id_] for id_ in max(best.values(), key=len)]


def _deepest_first(near: dict[str, list[str]]) -> list[str]:
    """Put what is reached before what leads to it, without recursion."""
    done: list[str] = []
    seen: set[str] = set()
    for start in near:
        waiting = [(start, False)]
        while waiting:
            id_, is_left = waiting.pop()
            if is_left:
                done.append(id_)
            elif id_ not in seen and id_ in near:
                seen.add(id_)
                waiting.append((id_, True))
                waiting += [(end, False) for end in near[id_] if end not in seen]
    return done


def _box_text(box: Box, *, is_known: bool) -> str:
    """Write a box in a line; one that was told before by its title only."""
    parts = [box.title]
    lines = () if is_known or box.kind in {"file", "model", "run", "step"} else box.lines
    comma = " " if box.kind == "cell" else ", "
    for i, text in enumerate(lines):
        longer = comma.join(parts) if i == 0 else ", ".join(parts)
        if width(longer) + width(text) > _LONGEST_BOX - 4:
            parts.append("…")
            break
        parts = [f"{parts[0]}{comma}{text}"] if i == 0 else [*parts, text]
    return shortened(one_line(", ".join(parts)), _LONGEST_BOX + 3)


def _arrow(label: str) -> str:
    return f" ──{label}──▶ " if label else _ARROW


def _wrapped(texts: list[str], arrows: list[str]) -> Iterator[str]:
    written = texts[0]
    for text, arrow in zip(texts[1:], arrows, strict=True):
        if width(written + arrow + text) > _LONGEST_LINE:
            yield written + arrow.rstrip()
            written = f"    {text}"
        else:
            written += arrow + text
    yield written


def _cell_fact(cell: Node) -> Fact:
    lines = [text for text in cell.about.splitlines() if text.strip()]
    first = shortened(one_line(lines[0]), 90) if lines else ""
    more = f"   … {counted(len(lines) - 1, 'more line')}" if len(lines) > 1 else ""
    return fact(cell.label, Span(first, "code", cell.about), Span(more, "muted"))


def _short(text: str) -> str:
    return shortened(one_line(text), 80)
