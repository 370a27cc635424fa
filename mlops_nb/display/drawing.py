"""A graph of boxes as SVG: left to right in layers, arrows around the boxes, for any theme.

The picture is shown as an image, because a notebook that is not trusted drops inline SVG. An
image does not know the page's theme, so every text stands on a fill of its own, and lines have a
grey that is seen on white and on black. Each kind has a shape of its own beside its colour.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from mlops_nb.display.formats import clean, one_line, shortened, width
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.lineage.folding import Box, Picture

_FILLS = {
    "file": "#586879",
    "cell": "#3f6ea5",
    "model": "#7a5195",
    "metric": "#2a7a57",
    "artifact": "#86662f",
    "run": "#4a5560",
    "step": "#3f6ea5",
}
_LINE, _FOCUS = "#8a8a8a", "#d9961a"
_LETTER, _TITLE_LETTER, _ROW, _PADDING, _TOP = 6.9, 7.5, 15, 9, 7
_BETWEEN_LAYERS, _BETWEEN_BOXES, _MARGIN = 34, 14, 8
_LONGEST, _MOST_ROWS = 26, 4
_FOLD, _SLANT, _ROUND = 9, 8, 13
_SWEEPS = 6
_NOTE, _NOTE_LETTER, _NOTE_HEIGHT = "#6a6f76", 6.1, 17
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


@record
class ArrowNote:
    """What stands on an arrow; `about` is what one reads where it can be pointed at."""

    text: str
    about: str = ""
    is_dashed: bool = False


@dataclass(slots=True)
class _Place:
    """Where a box stands; one without a box is where a long arrow passes."""

    id: str
    layer: int
    box: Box | None = None
    rows: tuple[str, ...] = ()
    width: float = 0.0
    height: float = 4.0
    x: float = 0.0
    y: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(slots=True)
class _Layout:
    places: dict[str, _Place] = field(default_factory=dict)
    layers: list[list[_Place]] = field(default_factory=list)
    # Each arrow as the places that it passes, from its box to its box.
    ways: list[list[_Place]] = field(default_factory=list)
    notes: list[ArrowNote | None] = field(default_factory=list)


def draw(
    picture: Picture, notes: Mapping[tuple[str, str], ArrowNote] | None = None
) -> tuple[str, int]:
    """Draw boxes and arrows as an SVG document; give it with its width in pixels.

    Parameters
    ----------
    picture
        Boxes and arrows.
    notes
        What stands on an arrow, by the ids of its boxes.
    """
    layout = _Layout()
    layout.notes = [(notes or {}).get(edge) for edge in picture.edges]
    _place_in_layers(layout, picture)
    _order(layout)
    _stack(layout)
    labels = _labels(layout)
    width_, height = _size(layout)
    height = max([height, *(y + _NOTE_HEIGHT + _MARGIN for _, y, _, _ in labels)])
    parts = [*_arrows(layout), *(_box(p) for p in layout.places.values() if p.box is not None)]
    parts += [_label(*label) for label in labels]
    head = f'<path d="M0,0 L7,3.5 L0,7 z" fill="{_LINE}"/>'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width_:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width_:.0f} {height:.0f}" font-family="{_FONT}" font-size="12">'
        '<defs><marker id="head" markerWidth="7" markerHeight="7" refX="6.5" refY="3.5" '
        f'orient="auto" markerUnits="userSpaceOnUse">{head}</marker></defs>'
        f"{''.join(parts)}</svg>"
    )
    return svg, round(width_)


# --- where things stand ------------------------------------------------------------------------


def _place_in_layers(layout: _Layout, picture: Picture) -> None:
    layers = _layers(picture)
    for box in picture.boxes:
        layout.places[box.id] = _placed(box, layers[box.id])
    layout.layers = [[] for _ in range(max(layers.values(), default=0) + 1)]
    for place in list(layout.places.values()):
        layout.layers[place.layer].append(place)
    for start, end in picture.edges:
        way = [layout.places[start]]
        for layer in range(layers[start] + 1, layers[end]):
            passing = _Place(f"{start} {end} {layer}", layer)
            layout.layers[layer].append(passing)
            way.append(passing)
        layout.ways.append([*way, layout.places[end]])


def _layers(picture: Picture) -> dict[str, int]:
    """Put each box behind the last that leads to it, and what begins close to its use."""
    before = {box.id: picture.before(box.id) for box in picture.boxes}
    layers: dict[str, int] = {}
    waiting = [box.id for box in picture.boxes]
    while waiting:
        ready = [id_ for id_ in waiting if all(start in layers for start in before[id_])]
        if not ready:  # a circle cannot come from folding; it would be no reason to hang
            ready = waiting[:1]
        for id_ in ready:
            layers[id_] = max((layers.get(s, -1) for s in before[id_]), default=-1) + 1
        waiting = [id_ for id_ in waiting if id_ not in layers]
    for box in picture.boxes:
        after = picture.after(box.id)
        if not before[box.id] and after:
            layers[box.id] = min(layers[end] for end in after) - 1
    return layers


def _placed(box: Box, layer: int) -> _Place:
    lines = [shortened(one_line(text), _LONGEST) for text in (box.title, *box.lines) if text]
    rows = lines[:_MOST_ROWS]
    if len(lines) > _MOST_ROWS:
        rows = [*lines[: _MOST_ROWS - 1], f"… {len(lines) - _MOST_ROWS + 1} more"]
    widest = max([width(rows[0]) * _TITLE_LETTER, *(width(r) * _LETTER for r in rows[1:])])
    box_width = widest + 2 * _PADDING + (2 * _SLANT if box.kind == "metric" else 0)
    return _Place(box.id, layer, box, tuple(rows), box_width, _ROW * len(rows) + 2 * _TOP)


def _order(layout: _Layout) -> None:
    """Sweep to and fro, each place to the mean of those it is joined to: fewer arrows cross."""
    near: dict[str, tuple[list[_Place], list[_Place]]] = {}
    for way in layout.ways:
        for start, end in itertools.pairwise(way):
            near.setdefault(end.id, ([], []))[0].append(start)
            near.setdefault(start.id, ([], []))[1].append(end)
    for sweep in range(_SWEEPS):
        side = sweep % 2
        layers = layout.layers if side == 0 else layout.layers[::-1]
        for layer in layers:
            for i, place in enumerate(layer):
                place.y = float(i)
        for layer in layers[1:]:
            wanted = {
                place.id: _mean([p.y for p in near.get(place.id, ([], []))[side]], place.y)
                for place in layer
            }
            layer.sort(key=lambda place: wanted[place.id])
            for i, place in enumerate(layer):
                place.y = float(i)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _stack(layout: _Layout) -> None:
    """Give each layer its column, and each place a height near those that it is joined to."""
    x = float(_MARGIN)
    for layer in layout.layers:
        widest = max((place.width for place in layer), default=0.0)
        for place in layer:
            place.x = x
            # Boxes of a layer are as wide as each other, so that arrows begin on one line.
            place.width = widest
        x += widest + _gap_after(layout, layer)
    near: dict[str, list[_Place]] = {}
    for way in layout.ways:
        for start, end in itertools.pairwise(way):
            near.setdefault(end.id, []).append(start)
            near.setdefault(start.id, []).append(end)
    for layer in layout.layers:
        _spread(layer, [0.0] * len(layer))
    for _ in range(_SWEEPS):
        for layer in (*layout.layers, *layout.layers[::-1]):
            wanted = [
                _mean([other.middle for other in near.get(p.id, ())], p.middle) - p.height / 2
                for p in layer
            ]
            _spread(layer, wanted)
    top = min((place.y for layer in layout.layers for place in layer), default=0.0)
    for layer in layout.layers:
        for place in layer:
            place.y += _MARGIN - top


def _gap_after(layout: _Layout, layer: list[_Place]) -> float:
    """Leave room for the longest note that stands on an arrow's last part."""
    here = {place.id for place in layer}
    widths = [
        _note_width(note)
        for way, note in zip(layout.ways, layout.notes, strict=True)
        if note is not None and way[-2].id in here
    ]
    return max([_BETWEEN_LAYERS, *(wide + _BETWEEN_LAYERS for wide in widths if wide)])


def _note_width(note: ArrowNote) -> float:
    return width(note.text) * _NOTE_LETTER + 10 if note.text else 0.0


def _labels(layout: _Layout) -> list[tuple[float, float, float, ArrowNote]]:
    """Put each note on the middle of its arrow's last part, none over another."""
    found: list[tuple[float, float, float, ArrowNote]] = []
    lowest: dict[int, float] = {}
    arrows = [
        (way[-2], way[-1], note)
        for way, note in zip(layout.ways, layout.notes, strict=True)
        if note is not None and note.text
    ]
    for start, end, note in sorted(arrows, key=lambda arrow: arrow[0].middle + arrow[1].middle):
        wide = _note_width(note)
        x = (start.x + start.width + end.x - wide) / 2
        y = (start.middle + end.middle - _NOTE_HEIGHT) / 2
        y = max(y, lowest.get(start.layer, y))
        lowest[start.layer] = y + _NOTE_HEIGHT + 2
        found.append((x, y, wide, note))
    return found


def _spread(layer: list[_Place], wanted: list[float]) -> None:
    """Put places near where they want to be, in their order and apart from each other."""
    bottom = float("-inf")
    for place, y in zip(layer, wanted, strict=True):
        place.y = max(y, bottom)
        bottom = place.y + place.height + _BETWEEN_BOXES
    # What was pushed down pulls the others up half the way, so that a layer stays centred.
    if layer:
        pushed = sum(place.y - y for place, y in zip(layer, wanted, strict=True)) / len(layer)
        for place in layer:
            place.y -= pushed


def _size(layout: _Layout) -> tuple[float, float]:
    places = [place for layer in layout.layers for place in layer]
    right = max((place.x + place.width for place in places), default=0.0)
    bottom = max((place.y + place.height for place in places), default=0.0)
    return right + _MARGIN, bottom + _MARGIN


# --- what is drawn -----------------------------------------------------------------------------


def _arrows(layout: _Layout) -> Iterator[str]:
    for way, note in zip(layout.ways, layout.notes, strict=True):
        first = way[0]
        x, y = first.x + first.width, first.middle
        path = [f"M{x:.1f},{y:.1f}"]
        for place in way[1:]:
            path.append(_curve(x, y, place.x, place.middle))
            x, y = place.x, place.middle
            if place.box is None:
                x += place.width
                path.append(f"L{x:.1f},{y:.1f}")
        dashed = ' stroke-dasharray="5 4"' if note is not None and note.is_dashed else ""
        yield (
            f'<path d="{" ".join(path)}" fill="none" stroke="{_LINE}" stroke-width="1.4"{dashed} '
            f'marker-end="url(#head)">{_about(note)}</path>'
        )


def _about(note: ArrowNote | None) -> str:
    """Write what is seen where one points, where the picture is no image."""
    return f"<title>{escape(clean(note.about))}</title>" if note is not None and note.about else ""


def _label(x: float, y: float, wide: float, note: ArrowNote) -> str:
    return (
        f'<g>{_about(note)}<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
        f'height="{_NOTE_HEIGHT}" rx="3" fill="{_NOTE}"/><text x="{x + wide / 2:.1f}" '
        f'y="{y + 12:.1f}" text-anchor="middle" fill="#ffffff" font-size="10.5">'
        f"{escape(one_line(note.text))}</text></g>"
    )


def _curve(x: float, y: float, end_x: float, end_y: float) -> str:
    bend = (end_x - x) / 2
    return f"C{x + bend:.1f},{y:.1f} {end_x - bend:.1f},{end_y:.1f} {end_x:.1f},{end_y:.1f}"


def _box(place: _Place) -> str:
    if place.box is None:
        return ""
    kind = place.box.kind
    stroke = f'stroke="{_FOCUS}" stroke-width="3"' if place.box.is_focus else 'stroke="none"'
    shape = f'<path d="{_outline(place, kind)}" fill="{_FILLS[kind]}" {stroke}/>'
    left = place.x + _PADDING + (_SLANT if kind == "metric" else 0)
    texts = []
    for i, row in enumerate(place.rows):
        y = place.y + _TOP + _ROW * i + 11.5
        weight = ' font-weight="600"' if i == 0 else ' fill-opacity="0.88"'
        texts.append(
            f'<text x="{left:.1f}" y="{y:.1f}" fill="#ffffff"{weight}>{escape(row)}</text>'
        )
    return shape + "".join(texts)


def _outline(place: _Place, kind: str) -> str:
    x, y, right, bottom = place.x, place.y, place.x + place.width, place.y + place.height
    if kind in {"file", "artifact"}:
        return (
            f"M{x:.1f},{y:.1f} H{right - _FOLD:.1f} L{right:.1f},{y + _FOLD:.1f} "
            f"V{bottom:.1f} H{x:.1f} Z"
        )
    if kind == "metric":
        middle = place.middle
        return (
            f"M{x + _SLANT:.1f},{y:.1f} H{right - _SLANT:.1f} L{right:.1f},{middle:.1f} "
            f"L{right - _SLANT:.1f},{bottom:.1f} H{x + _SLANT:.1f} L{x:.1f},{middle:.1f} Z"
        )
    round_ = min({"model": _ROUND, "step": 7}.get(kind, 3), place.height / 2)
    return (
        f"M{x + round_:.1f},{y:.1f} H{right - round_:.1f} Q{right:.1f},{y:.1f} {right:.1f},"
        f"{y + round_:.1f} V{bottom - round_:.1f} Q{right:.1f},{bottom:.1f} {right - round_:.1f},"
        f"{bottom:.1f} H{x + round_:.1f} Q{x:.1f},{bottom:.1f} {x:.1f},{bottom - round_:.1f} "
        f"V{y + round_:.1f} Q{x:.1f},{y:.1f} {x + round_:.1f},{y:.1f} Z"
    )
