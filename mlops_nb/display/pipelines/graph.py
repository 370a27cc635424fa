"""The steps of a pipeline, drawn from left to right, with the reason of every edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Drawing, Facts, Section, Span, fact, line
from mlops_nb.display.drawing import ArrowNote, draw
from mlops_nb.display.formats import counted, duration, one_line, shortened, width
from mlops_nb.display.lineage import written_ways
from mlops_nb.display.pipelines.inspection import spans_of
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain
from mlops_nb.lineage.folding import Box, Picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.display.blocks import Block, Fact
    from mlops_nb.display.view import Place

GRAPH_MIME = "application/vnd.mlops-nb.graph.v1+json"

_MOST_NAMES, _LONGEST_LABEL, _LONGEST_SPANS, _MOST_REASONS = 3, 26, 16, 200
_ALONE = "prev"


@dataclass(frozen=True, slots=True, repr=False)
class GraphView(View):
    """A pipeline as a graph.

    Attributes
    ----------
    graph
        ``{"steps": […], "edges": [{"from", "to", "reasons": [{"kind", "names", "text"}]}]}``, and
        if there are any ``warnings`` and ``fused``. A step may carry its ``last`` run as
        ``{"status", "duration_s", "cached"}``.
    name
        Of the pipeline.
    notebook
        Its path, for the next command.
    place
        Where the reader is.
    """

    graph: Mapping[str, Any]
    name: str = "pipeline"
    notebook: str = ""
    place: Place = "notebook"

    mime: ClassVar[str] = GRAPH_MIME
    title: ClassVar[str] = "Pipeline"

    def document(self) -> dict[str, Any]:
        """Give the graph as JSON."""
        written = plain({**self.graph})
        assert isinstance(written, dict)  # noqa: S101 - for mypy: a mapping stays one
        return written

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, the picture, what is odd, all reasons, and what to do next."""
        return (
            self._heading(),
            *self._drawing(),
            *self._odd(),
            *self._reasons(),
            self._next(),
        )

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """The steps, in the order of the notebook."""
        return tuple(self.graph.get("steps", ()))

    @property
    def edges(self) -> Sequence[Mapping[str, Any]]:
        """The edges, one a pair of steps, each with its reasons."""
        reasons: dict[tuple[str, str], list[Any]] = {}
        for edge in self.graph.get("edges", ()):
            pair = str(edge["from"]), str(edge["to"])
            reasons.setdefault(pair, []).extend(edge.get("reasons", ()))
        return tuple(
            {"from": source, "to": target, "reasons": told}
            for (source, target), told in reasons.items()
        )

    def svg(self) -> str:
        """Give the picture alone, as an SVG document."""
        return draw(self._picture(), self._notes())[0]

    def _heading(self) -> Block:
        counts = f"{counted(len(self.steps), 'step')} · {counted(len(self.edges), 'edge')}"
        return line(Span(self.name, "strong"), Span(f"   {counts}", "muted"))

    def _drawing(self) -> Iterator[Block]:
        if not self.steps:
            yield line(Span("There are no steps.", "muted"))
            return
        picture = self._picture()
        svg, pixels = draw(picture, self._notes())
        labels = {pair: _label(edge) for pair, edge in self._by_pair().items()}
        lines = [*written_ways(picture, labels=labels)] if picture.edges else []
        linked = {name for pair in picture.edges for name in pair}
        lines += [box.title for box in picture.boxes if box.id not in linked]
        yield Drawing(svg, tuple(lines), pixels)

    def _picture(self) -> Picture:
        boxes = tuple(_box(step) for step in self.steps)
        known = {box.id for box in boxes}
        pairs = tuple(pair for pair in self._by_pair() if known.issuperset(pair))
        return Picture(boxes, pairs)

    def _by_pair(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        return {(edge["from"], edge["to"]): edge for edge in self.edges}

    def _notes(self) -> dict[tuple[str, str], ArrowNote]:
        return {
            pair: ArrowNote(_label(edge), _about(edge), is_dashed=_is_control(edge))
            for pair, edge in self._by_pair().items()
        }

    def _odd(self) -> Iterator[Block]:
        for text in (*self.graph.get("fused", ()), *self.graph.get("warnings", ())):
            yield line(Span("⚠ ", "warn"), str(text))

    def _reasons(self) -> Iterator[Block]:
        facts = [each for edge in self.edges for each in _facts(edge)]
        if not facts:
            return
        shown = facts[:_MOST_REASONS]
        blocks: list[Block] = [Facts(tuple(shown))]
        if len(facts) > len(shown):
            left = counted(len(facts) - len(shown), "more reason")
            blocks.append(line(Span(f"… {left}, all in the JSON", "muted")))
        yield Section("reasons", tuple(blocks), counted(len(facts), "reason"))

    def _next(self) -> Block:
        shown = f'"{self.notebook}"' if " " in self.notebook else self.notebook
        return line("next:  ", Span(command(self.place, "run", *filter(None, [shown])), "code"))


def _box(step: Mapping[str, Any]) -> Box:
    name = str(step["name"])
    cells = tuple(step.get("cells", ()))
    lines = [_cells(cells)] if cells else []
    last = step.get("last")
    if last:
        lines.append(_last(last))
    return Box(name, "step", name, tuple(lines), cells=len(cells))


def _cells(cells: tuple[int, ...]) -> str:
    spans = spans_of(cells)
    if len(cells) == 1:
        return f"cell {spans}"
    is_short = len(spans) <= _LONGEST_SPANS
    return f"cells {spans}" if is_short else f"{len(cells)} cells, {cells[0]}–{cells[-1]}"


def _last(last: Mapping[str, Any]) -> str:
    word = "cached" if last.get("cached") else str(last.get("status", ""))
    taken = last.get("duration_s")
    return " ".join(filter(None, [word, duration(taken) if taken is not None else ""]))


def _is_control(edge: Mapping[str, Any]) -> bool:
    return all(reason.get("kind") == _ALONE for reason in edge.get("reasons", ()))


def _label(edge: Mapping[str, Any]) -> str:
    """Write what flows, and how that is known where the text alone does not say it."""
    names: list[str] = []
    kinds: list[str] = []
    for reason in edge.get("reasons", ()):
        kind = str(reason.get("kind", ""))
        if kind != _ALONE:
            names += [name for name in map(str, reason.get("names", ())) if name not in names]
        if kind not in {_ALONE, "static", *kinds}:
            kinds.append(kind)
    if not names:
        return kinds[0] if kinds else _ALONE
    shown = shortened(_short(names[0]), _LONGEST_LABEL)
    count = 1
    for name in names[1:_MOST_NAMES]:
        longer = f"{shown}, {_short(name)}"
        if width(longer) > _LONGEST_LABEL:
            break
        shown, count = longer, count + 1
    more = f" +{len(names) - count}" if len(names) > count else ""
    how = f" ({', '.join(kinds)})" if kinds else ""
    return shown + more + how


def _short(name: str) -> str:
    """Write a path by its last part."""
    return name if name.startswith("<") else name.rstrip("/").rpartition("/")[2] or name


def _about(edge: Mapping[str, Any]) -> str:
    head = f"{edge['from']} → {edge['to']}"
    return "\n".join([head, *(_sentence(reason) for reason in edge.get("reasons", ()))])


def _sentence(reason: Mapping[str, Any]) -> str:
    text = str(reason.get("text", "")) or ", ".join(map(str, reason.get("names", ())))
    return f"{reason.get('kind', '')}: {text}"


def _facts(edge: Mapping[str, Any]) -> Iterator[Fact]:
    for place, reason in enumerate(edge.get("reasons", ())):
        names = ", ".join(map(str, reason.get("names", ())))
        text = one_line(str(reason.get("text", "")))
        label = f"{edge['from']} → {edge['to']}" if place == 0 else ""
        kind = str(reason.get("kind", ""))
        parts = [Span(f"{names}  ", "code")] if names else []
        yield fact(label, *parts, Span(f"{kind}  " if text else kind, "muted"), text)
