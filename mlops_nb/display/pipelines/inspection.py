"""What a notebook holds: its steps, its parameters, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.formats import UNKNOWN, counted, duration, one_line
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.display.blocks import Block
    from mlops_nb.display.view import Place
    from mlops_nb.model.pipelines import PipelineParameter, StepOptions
    from mlops_nb.pipeline.drafts import Draft, DraftStep, SplitOn

INSPECT_MIME = "application/vnd.mlops-nb.inspect.v1+json"


@dataclass(frozen=True, slots=True, repr=False)
class InspectView(View):
    """A notebook as steps and parameters; nothing of it was run.

    Attributes
    ----------
    draft
        The notebook, read.
    split_on
        What it was cut by.
    place
        Where the reader is.
    """

    draft: Draft
    split_on: SplitOn = "tags"
    place: Place = "notebook"

    mime: ClassVar[str] = INSPECT_MIME
    title: ClassVar[str] = "Pipeline"

    def document(self) -> dict[str, Any]:
        """Give parameters, steps and warnings as JSON."""
        return inspect_document(self.draft)

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, the steps, the parameters, what is odd, and what to do next."""
        return (self._heading(), *self._steps(), *self._parameters(), *self._odd(), self._next())

    def _heading(self) -> Block:
        draft = self.draft
        counts = [
            counted(len(draft.steps), "step"),
            counted(len(draft.parameters), "parameter"),
            *([f"prelude of {counted(len(draft.prelude), 'cell')}"] if draft.prelude else []),
            *([f"{counted(len(draft.skipped), 'cell')} skipped"] if draft.skipped else []),
        ]
        return line(Span(draft.name, "strong"), Span(f"   {' · '.join(counts)}", "muted"))

    def _steps(self) -> Iterator[Block]:
        steps = self.draft.steps
        if not steps:
            yield line(
                "No cell begins a step: tag one with ",
                Span("step:NAME", "code"),
                ", or split at headings or cells with ",
                Span("--split-on h2", "code"),
                " or ",
                Span("--split-on cell", "code"),
                ".",
            )
            return
        columns = [
            Column("", "right"),
            Column("step", widest=40),
            Column("cells", widest=24),
            Column("after", widest=40),
            Column("options", rank=2, widest=60),
        ]
        rows = [_step_cells(number, step) for number, step in enumerate(steps, start=1)]
        yield _table(columns, rows, summary=counted(len(steps), "step"))

    def _parameters(self) -> Iterator[Block]:
        given = self.draft.parameters
        if not given:
            return
        columns = [
            Column("parameter", widest=40),
            Column("type", widest=24),
            Column("default", widest=40),
            Column("about", rank=2, widest=60),
        ]
        rows = [_parameter_cells(one) for one in given]
        yield _table(columns, rows, summary=counted(len(given), "parameter"))

    def _odd(self) -> Iterator[Block]:
        for warning in self.draft.warnings:
            yield line(Span("⚠ ", "warn"), warning)

    def _next(self) -> Block:
        verb = "graph" if self.draft.steps else "run"
        path = self.draft.notebook.path
        shown = f'"{path}"' if " " in path else path
        how = () if self.split_on == "tags" else (f"--split-on {self.split_on}",)
        return line("next:  ", Span(command(self.place, verb, shown, *how), "code"))


def inspect_document(draft: Draft) -> dict[str, Any]:
    """Describe a draft as ``mlops-nb inspect --format json`` does."""
    document = {
        "name": draft.name,
        "notebook": draft.notebook.path,
        "kernel": draft.kernel or None,
        "parameters": [
            {
                "name": one.name,
                "type": one.type,
                "default": _default(one.default),
                "written": one.written,
                "comment": one.comment,
            }
            for one in draft.parameters
        ],
        "steps": [_step_document(step) for step in draft.steps],
        "prelude": list(draft.prelude),
        "parameter_cells": list(draft.parameter_cells),
        "metric_cells": list(draft.metric_cells),
        "skipped": list(draft.skipped),
        "metadata": dict(draft.metadata),
        "warnings": list(draft.warnings),
    }
    written = plain(document)
    assert isinstance(written, dict)  # noqa: S101 - for mypy: a mapping stays one
    return written


def _default(value: object) -> object:
    """Give a default as JSON can; what it has no form for stands in ``written`` alone."""
    if isinstance(value, set | frozenset):
        return [_default(part) for part in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [_default(part) for part in value]
    if isinstance(value, dict):
        return {key: _default(part) for key, part in value.items()}
    return value if isinstance(value, str | int | float) else None


def _step_document(step: DraftStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "cells": list(step.cells),
        "after": list(step.after),
        "options": said_options(step.options),
    }


def said_options(options: StepOptions) -> dict[str, Any]:
    """Give the options of a step that are not as they would be without a tag."""
    from dataclasses import fields

    from mlops_nb.model.pipelines import StepOptions

    usual = StepOptions()
    return {
        one.name: list(value) if isinstance(value, tuple) else value
        for one in fields(usual)
        if (value := getattr(options, one.name)) != getattr(usual, one.name)
    }


def _step_cells(number: int, step: DraftStep) -> list[Cell]:
    options = "  ".join(
        _written(name, value) for name, value in said_options(step.options).items()
    )
    hover = "" if step.is_named_by_author else "named after its heading or its cell"
    return [
        Cell(str(number), "muted"),
        Cell(step.name, "strong", hover),
        Cell(spans_of(step.cells)),
        Cell(", ".join(step.after) or UNKNOWN, "plain" if step.after else "muted"),
        Cell(options, "muted", options),
    ]


def _written(name: str, value: object) -> str:
    match name, value:
        case "is_cached", _:
            return "nocache"
        case (("is_join" | "is_gate" | "is_deploy"), _):
            return name.removeprefix("is_")
        case "timeout_s", float():
            return f"timeout {duration(value)}"
        case _, dict():
            return " ".join(f"{name.removesuffix('s')} {k}={v}" for k, v in value.items())
        case _, list():
            return f"{name} {', '.join(map(str, value))}"
        case _:
            return f"{name} {value}"


def _parameter_cells(one: PipelineParameter) -> list[Cell]:
    return [
        Cell(one.name, "strong"),
        Cell(one.type or UNKNOWN, "plain" if one.type else "muted"),
        Cell(one_line(one.written) or UNKNOWN, "code" if one.written else "muted"),
        Cell(one_line(one.comment), "muted"),
    ]


def spans_of(cells: Sequence[int]) -> str:
    """Write positions shortly.

    Examples
    --------
    >>> spans_of((4, 5, 6, 9))
    '4–6, 9'
    """
    spans: list[list[int]] = []
    for cell in cells:
        if spans and cell == spans[-1][1] + 1:
            spans[-1][1] = cell
        else:
            spans.append([cell, cell])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in spans)


def _table(columns: list[Column], rows: list[list[Cell]], *, summary: str) -> Table:
    """Make a table of the columns in which something stands."""
    kept = [i for i in range(len(columns)) if any(row[i].text for row in rows)]
    return Table(
        tuple(columns[i] for i in kept),
        tuple(TableRow(tuple(row[i] for i in kept)) for row in rows),
        summary,
    )
