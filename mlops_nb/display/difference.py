"""Why one run is different from another: the causes first, the evidence below, folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.compare import is_lower_better
from mlops_nb.display.blocks import (
    Cell,
    CodeDiff,
    Column,
    Facts,
    Section,
    Span,
    Table,
    TableRow,
    fact,
    line,
)
from mlops_nb.display.data import difference_blocks
from mlops_nb.display.environment import environment_blocks
from mlops_nb.display.formats import (
    UNKNOWN,
    counted,
    difference,
    number,
    one_line,
    scalar,
    shortened,
    size,
)
from mlops_nb.display.phrases import (
    change_span,
    direction,
    value_hover,
    verdict_details,
    verdict_tone,
)
from mlops_nb.display.view import View, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.compare.causes import Cause
    from mlops_nb.compare.cells import CellPair
    from mlops_nb.compare.changes import MetricChange, ValueChange
    from mlops_nb.compare.difference import RunDifference
    from mlops_nb.compare.values import DataChange
    from mlops_nb.display.blocks import Block, Fact, Tone
    from mlops_nb.display.view import Place

DIFF_MIME = "application/vnd.mlops-nb.diff.v1+json"

_MOST_DATA_CAUSES, _NAMED = 3, 8
_OPEN_CELLS, _OPEN_LINES = 3, 40
_MOST_CELLS, _MOST_VALUES, _MOST_ROWS = 30, 40, 100
_LABELS = {"params": "params", "packages": "packages", "modules": "modules", "random": "chance"}
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True, repr=False)
class DifferenceView(View):
    """A difference between two runs.

    Attributes
    ----------
    difference
        What to show.
    place
        Where the reader is.
    """

    difference: RunDifference
    place: Place = "notebook"

    mime: ClassVar[str] = DIFF_MIME
    title: ClassVar[str] = "Difference between two runs"

    @property
    def is_different(self) -> bool:
        """Whether anything is known to differ."""
        return self.difference.is_different

    def document(self) -> dict[str, Any]:
        """Give the difference as JSON."""
        return self.difference.to_dict()

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, the causes, and the evidence in parts that fold."""
        parts = (
            self._metrics(),
            self._params(),
            self._data(),
            self._code(),
            self._environment(),
            self._repository(),
            self._verdicts(),
        )
        sections = [block for part in parts for block in part]
        return (self._answer(), *self._causes(), *sections, self._next())

    # --- the answer -----------------------------------------------------------------------

    def _answer(self) -> Block:
        found = self.difference
        old, new = found.labels
        metric = found.headline
        said: list[str | Span] = [Span(new, "strong", _about(found, 1))]
        if found.a.id == found.b.id:
            return line(*said, " is compared with itself.")
        if metric is None or metric.delta is None:
            said += [" against ", Span(old, "strong", _about(found, 0)), ". "]
        elif not metric.delta:
            said += [f" has the same {_name(metric.name)} as ", Span(old, "strong"), ". "]
        else:
            said += [" is ", _step(metric, old), f" in {_name(metric.name)} than {old}. "]
        return line(*said, self._what_follows())

    def _what_follows(self) -> str:
        found = self.difference
        if found.is_different and found.causes:
            return "What differs, most likely cause first:"
        unclear = [n for n in ("data", "code", "packages") if found.aspects[n].kind == "unknown"]
        known = "Nothing that was recorded differs"
        return f"{known}; not proved the same: {', '.join(unclear)}." if unclear else f"{known}."

    def _causes(self) -> Iterator[Block]:
        found = self.difference
        shown, hidden = _shown_causes(found.causes)
        facts = [_cause_fact(cause, i) for i, cause in enumerate(shown, start=1)]
        if hidden:
            facts.append(fact("", Span(f"… {counted(hidden, 'more value')} below", "muted")))
        # Two lines at most, so that what is the same does not outweigh what is not.
        aspects = {n: m for n, m in found.aspects.items() if m.kind != "changed"}
        said: list[str | Span] = []
        for name, mark in aspects.items():
            gap = "      " if said else ""
            said += [Span(f"{gap}{name} "), Span(mark.text, "muted", "; ".join(mark.details))]
        if facts:
            yield Facts(tuple(facts))
        if said:
            yield line(*said)

    # --- the evidence ---------------------------------------------------------------------

    def _metrics(self) -> Iterator[Block]:
        metrics = self.difference.metrics
        if not metrics:
            return
        old, new = self.difference.labels
        columns = (
            Column("metric", widest=_LONGEST_NAME),
            Column(old, "decimal"),
            Column(new, "decimal", has_changes=True),
        )
        rows = tuple(TableRow(_metric_cells(metric, old)) for metric in metrics[:_MOST_ROWS])
        changed = sum(metric.delta != 0 for metric in metrics)
        note = f"{changed} of {len(metrics)} differ"
        blocks = (Table(columns, rows), *_more(len(metrics), _MOST_ROWS, "metric"))
        yield Section("metrics", blocks, note, is_open=len(rows) <= _NAMED)

    def _params(self) -> Iterator[Block]:
        params = self.difference.params
        if params:
            table = _value_table("parameter", params[:_MOST_ROWS], self.difference.labels)
            blocks = (table, *_more(len(params), _MOST_ROWS, "parameter"))
            note = f"{counted(len(params), 'parameter')} differ" + "s" * (len(params) == 1)
            yield Section("parameters", blocks, note, is_open=len(params) <= _NAMED)

    def _data(self) -> Iterator[Block]:
        found = self.difference
        changed = [change for change in found.data if change.change != "same"]
        blocks: list[Block] = []
        for change in changed[:_MOST_VALUES]:
            blocks += _data_blocks(change)
        blocks += _more(len(changed), _MOST_VALUES, "value")
        for file in found.files[:_MOST_VALUES]:
            sizes = [
                UNKNOWN if use.size_bytes is None else size(use.size_bytes)
                for use in (file.old, file.new)
            ]
            word = "other content" if file.is_different else "not shown different"
            blocks.append(
                line(Span(file.name, "strong", file.new.uri), f"  {word}, {' → '.join(sizes)}")
            )
        if blocks:
            same = len(found.data) - len(changed)
            note = f"{len(changed)} of {counted(len(found.data), 'value')}"
            note += f", {same} same" if same else ""
            yield Section("data", tuple(blocks), note, is_open=False)

    def _code(self) -> Iterator[Block]:
        changed = [p for p in self.difference.cells if p.change not in {"same", "reformatted"}]
        lines = sum(pair.lines for pair in changed)
        is_short = len(changed) <= _OPEN_CELLS and lines <= _OPEN_LINES
        labels = self.difference.labels
        sections: list[Block] = [
            _cell_section(pair, labels, is_open=is_short) for pair in changed[:_MOST_CELLS]
        ]
        sections += _more(len(changed), _MOST_CELLS, "cell")
        if sections:
            total = len(self.difference.cells)
            note = f"{len(changed)} of {counted(total, 'cell')}, {counted(lines, 'line')}"
            yield Section("code", tuple(sections), note, is_open=is_short)

    def _environment(self) -> Iterator[Block]:
        environment = self.difference.environment
        if environment.is_known and not environment.is_same:
            blocks = tuple(environment_blocks(environment, self.difference.labels))
            note = counted(len(environment.packages), "package")
            yield Section("environment", blocks, note, is_open=False)

    def _repository(self) -> Iterator[Block]:
        if self.difference.git:
            table = _value_table("", self.difference.git, self.difference.labels)
            note = ", ".join(change.name for change in self.difference.git[:_NAMED])
            yield Section("git", (table,), note, is_open=False)

    def _verdicts(self) -> Iterator[Block]:
        found = self.difference
        verdicts = [(run.verdict or {}).get("label") for run in (found.a, found.b)]
        if verdicts[0] == verdicts[1]:
            return
        facts = []
        for label, run, verdict in zip(found.labels, (found.a, found.b), verdicts, strict=True):
            said = Span(str(verdict or UNKNOWN), verdict_tone(verdict))
            facts.append(fact(label, said, Span(f"  {verdict_details(run)}", "muted")))
        note = " → ".join(str(verdict or UNKNOWN) for verdict in verdicts)
        yield Section("verdict", (Facts(tuple(facts)),), note, is_open=False)

    def _next(self) -> Block:
        old, new = self.difference.labels
        return line(
            "Look closer:  ",
            Span(command(self.place, "show", new), "code"),
            "   side by side:  ",
            Span(command(self.place, "compare", old, new), "code"),
        )


def _more(count: int, shown: int, noun: str) -> list[Block]:
    """Say how many are not shown."""
    if count <= shown:
        return []
    return [line(Span(f"… {counted(count - shown, f'more {noun}')}, all in the JSON", "muted"))]


def _about(found: RunDifference, side: int) -> str:
    run = (found.a, found.b)[side]
    return f"{run.id} {run.name}"


def _name(text: str) -> str:
    return shortened(one_line(text), _LONGEST_NAME)


def _step(metric: MetricChange, reference: str) -> Span:
    """Say how far a metric went, as ``0.051 lower``, in the tone of better or worse."""
    delta = metric.delta or 0.0
    amount = difference(abs(delta), metric.new or 0.0).lstrip("+")
    word, mark = ("higher", "▲") if delta > 0 else ("lower", "▼")
    tone: Tone = "good" if metric.is_better else "bad"
    is_better = "better" if metric.is_better else "worse"
    lower = ", lower is better" if is_lower_better(metric.name) else ""
    about = f"{is_better} than {reference}: {metric.old!r} → {metric.new!r}{lower}"
    return Span(f"{mark} {amount} {word}", tone, about)


def _shown_causes(causes: tuple[Cause, ...]) -> tuple[list[Cause], int]:
    """Keep the first values: a changed file changes every frame that is made of it."""
    data = [cause for cause in causes if cause.kind == "data"]
    hidden = {id(cause) for cause in data[_MOST_DATA_CAUSES:]}
    return [cause for cause in causes if id(cause) not in hidden], len(hidden)


def _cause_fact(cause: Cause, number_: int) -> Fact:
    # Of one that follows from parameters its own text says of which.
    is_told = cause.follows in {"code", "seed"}
    after = f"   follows from the {cause.follows}" if is_told else ""
    return fact(
        _LABELS.get(cause.kind, cause.kind), cause.text, Span(after, "muted"), mark=str(number_)
    )


def _metric_cells(metric: MetricChange, reference: str) -> tuple[Cell, ...]:
    change = None
    if metric.delta is not None and metric.new is not None:
        change = change_span(metric.name, metric.new, metric.delta, reference)
    return (
        Cell(f"{metric.name} {direction(metric.name)}"),
        Cell(number(metric.old), "plain", value_hover(metric.old)),
        Cell(number(metric.new), "strong", value_hover(metric.new), change=change),
    )


def _value_table(title: str, changes: tuple[ValueChange, ...], labels: tuple[str, str]) -> Table:
    columns = (
        Column(title, widest=_LONGEST_NAME),
        Column(labels[0], widest=60),
        Column(""),
        Column(labels[1], widest=60),
    )
    rows = tuple(
        TableRow(
            (
                Cell(change.name),
                Cell(UNKNOWN if change.change == "added" else scalar(change.old)),
                Cell("→", "muted"),
                Cell(UNKNOWN if change.change == "removed" else scalar(change.new), "strong"),
            )
        )
        for change in changes
    )
    return Table(columns, rows)


def _data_blocks(change: DataChange) -> Iterator[Block]:
    tone: Tone = "plain" if change.is_different else "muted"
    yield line(Span(change.text, tone), Span(f"   {change.role}", "muted"))
    if change.difference is not None:
        yield from difference_blocks(change.difference)


def _cell_section(pair: CellPair, labels: tuple[str, str], *, is_open: bool) -> Section:
    words = {
        "changed": counted(pair.lines, "line"),
        "added": "new",
        "removed": "gone",
        "repeated": "ran once more",
    }
    runs = [
        f"[{one.execution_count}]"
        for one in (pair.old, pair.new)
        if one is not None and one.execution_count is not None
    ]
    note = " · ".join(filter(None, [words[pair.change], " → ".join(runs)]))
    blocks = () if pair.change == "repeated" else (CodeDiff(pair.hunks, labels),)
    return Section(pair.place, blocks, note, is_open=is_open and bool(blocks))
