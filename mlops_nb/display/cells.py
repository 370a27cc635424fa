"""The executions of a run: sources, outputs, figures, errors, and which cell made which name."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from mlops_nb.display.blocks import PICTURE_TYPES, Code, Gallery, Picture, Section, Span, line
from mlops_nb.display.formats import clean, counted, duration, one_line, size
from mlops_nb.model import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.model import Execution, Output, Run

    Bytes = Mapping[str, bytes]

_MOST_FIGURES, _LARGEST_FIGURE, _ALL_FIGURES = 12, 2_000_000, 8_000_000
_MOST_LINES, _MOST_TEXT = 24, 20_000
_STATUS_TONES: dict[str, Tone] = {"error": "bad", "syntax": "bad", "interrupted": "warn"}
_MOST_NAMES = 12


def place_of(execution: Execution) -> str:
    """Name an execution as the reader knows it: by its prompt, else by its cell, else in order."""
    if execution.execution_count is not None:
        return f"[{execution.execution_count}]"
    if execution.cell_index is not None:
        return f"cell {execution.cell_index + 1}"
    return f"#{execution.order}"


def cell_sections(
    executions: Sequence[Execution], contents: Bytes, setup: frozenset[str]
) -> Iterator[Section]:
    """Give each cell as a part of its own: source and outputs; set-up cells are folded."""
    for execution in executions:
        is_setup = execution.id in setup
        remarks = [
            "" if execution.status == "ok" else execution.status,
            duration(execution.duration_s),
            _cell_name(execution),
            "set-up" if is_setup else "",
            "from the history, before tracking" if execution.is_inferred else "",
        ]
        blocks = (Code(execution.source, "python"), *_outputs(execution, contents))
        note = " · ".join(filter(None, remarks))
        if is_setup:
            note += f"   {one_line(execution.source)[:60]}"
        yield Section(place_of(execution), blocks, note, is_open=not is_setup)


def figures(
    executions: Sequence[Execution], contents: Bytes, artifacts: Sequence[Artifact] = ()
) -> Iterator[Block]:
    """Give the pictures that cells showed or that were kept by hand, as thumbnails."""
    distinct = _pictures(executions, artifacts)
    shown = _affordable(distinct)
    pictures = [
        Picture(figure.mime, contents[figure.digest], figure.name)
        for figure in shown
        if figure.digest in contents
    ]
    if pictures:
        yield Gallery(tuple(pictures))
    if len(pictures) < len(distinct):
        more = counted(len(distinct) - len(pictures), "more figure")
        yield line(Span(f"{more} in the store, not shown here", "muted"))


def digests_to_show(
    executions: Sequence[Execution], artifacts: Sequence[Artifact] = ()
) -> list[str]:
    """Name the contents that a view of these executions shows, within its bounds."""
    texts = [
        output.digest
        for execution in executions
        for output in execution.outputs
        if output.mime.startswith("text/plain")
    ]
    figures = [figure.digest for figure in _affordable(_pictures(executions, artifacts))]
    return list(dict.fromkeys([*figures, *texts]))


def error_blocks(run: Run, executions: Sequence[Execution]) -> Iterator[Block]:
    """Give what went wrong, with its traceback as IPython would print it."""
    if run.error:
        said = f"{run.error.get('type')}: {run.error.get('message')}"
        yield line(Span(one_line(said), "bad"))
    for execution in executions:
        if execution.error is None:
            continue
        error = execution.error
        where = "" if error.line is None else f", line {error.line}"
        yield line(
            Span(f"{place_of(execution)}{where}: ", "strong"),
            Span(one_line(f"{error.type}: {error.message}"), "bad"),
        )
        if error.traceback:
            yield Code(error.traceback, most_lines=_MOST_LINES * 2)


def lineage_lines(executions: Sequence[Execution]) -> Iterator[Block]:
    """Say for each cell which names it made or changed, and from which others."""
    for execution in executions:
        made = [*execution.binds, *(f"{name} (changed)" for name in execution.mutates)]
        if not made:
            continue
        sources = [name for name in execution.reads if name not in execution.binds]
        origin = f" ← {_names(sources)}" if sources else ""
        yield line(
            Span(f"{place_of(execution)} ", "muted"), Span(_names(made)), Span(origin, "muted")
        )


def _pictures(executions: Sequence[Execution], artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Give each picture once, however often it was shown."""
    shown = [
        Artifact(f"figure of {place_of(execution)}", "figure", o.mime, o.digest, o.size_bytes)
        for execution in executions
        for o in execution.outputs
        if o.mime in PICTURE_TYPES and not o.is_cut
    ]
    kept = [artifact for artifact in artifacts if artifact.mime in PICTURE_TYPES]
    return list({figure.digest: figure for figure in (*shown, *kept)}.values())


def _affordable(figures: Sequence[Artifact]) -> list[Artifact]:
    """Keep a document from growing with every figure: so many, so large, so much in all."""
    kept: list[Artifact] = []
    for figure in figures:
        taken = sum(other.size_bytes for other in kept)
        is_small = figure.size_bytes <= _LARGEST_FIGURE
        if len(kept) < _MOST_FIGURES and is_small and taken + figure.size_bytes <= _ALL_FIGURES:
            kept.append(figure)
    return kept


def _cell_name(execution: Execution) -> str:
    is_known = execution.cell_index is not None and execution.execution_count is not None
    return f"cell {(execution.cell_index or 0) + 1}" if is_known else ""


def _names(names: Sequence[str]) -> str:
    more = f", … {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return one_line(", ".join(names[:_MOST_NAMES])) + more


def _outputs(execution: Execution, contents: Bytes) -> Iterator[Block]:
    """Give the outputs of a cell in their order, each by the richest type that is text."""
    ordered = sorted(execution.outputs, key=lambda output: output.position)
    for _, bundle in groupby(ordered, key=lambda output: output.position):
        yield from _output(list(bundle), contents)


def _output(bundle: Sequence[Output], contents: Bytes) -> Iterable[Block]:
    if any(output.kind == "error" for output in bundle):
        return
    picture = next((output for output in bundle if output.mime in PICTURE_TYPES), None)
    text = next((output for output in bundle if output.mime.startswith("text/plain")), None)
    if picture is not None:
        yield line(Span(f"{picture.mime}, {size(picture.size_bytes)}", "muted"))
    elif text is not None:
        data = contents.get(text.digest)
        if data is None:
            yield line(Span(f"{text.name or 'output'}, {size(text.size_bytes)}", "muted"))
        else:
            yield Code(_shown(data), most_lines=_MOST_LINES)
    else:
        named = ", ".join(f"{output.mime}, {size(output.size_bytes)}" for output in bundle)
        yield line(Span(named, "muted"))
    if any(output.is_cut for output in bundle):
        yield line(Span("The output was longer; only its beginning was kept.", "muted"))


def _shown(data: bytes) -> str:
    text = clean(data[:_MOST_TEXT].decode("utf-8", "replace")).rstrip("\n")
    return text if len(data) <= _MOST_TEXT else f"{text}\n…"
