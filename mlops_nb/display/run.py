"""Everything that is kept of one run: the answer first, the evidence below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.compare.table import thinned
from mlops_nb.display.blocks import Cell, Code, Column, Section, Span, Table, TableRow, line
from mlops_nb.display.cells import cell_sections, error_blocks, figures, lineage_lines, place_of
from mlops_nb.display.formats import (
    UNKNOWN,
    ago,
    counted,
    duration,
    exact_time,
    number,
    one_line,
    scalar,
    shortened,
    size,
)
from mlops_nb.display.phrases import (
    STATUS_MARKS,
    change_span,
    direction,
    repository,
    status_tone,
    time_taken,
    value_hover,
    verdict_details,
    verdict_tone,
    weak_binding,
)
from mlops_nb.display.view import View, command
from mlops_nb.documents import environment_document, plain, run_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model import DataUse, Environment, Execution, Json, Metric, Param, Run

RUN_MIME = "application/vnd.mlops-nb.run.v1+json"

_FEW_CELLS = 12
_NOTE_LINES = 20
_CURVE_POINTS = 200


def _now() -> datetime:
    return datetime.now(tz=timezone.utc)


@dataclass(frozen=True, slots=True, repr=False)
class RunView(View):
    """One run: a header, then parts that fold, then what to do next.

    Attributes
    ----------
    run
        What to show.
    executions
        Those that it needs, in the order in which they ran.
    series
        Values of the metrics that are curves, by name.
    environment
        What it ran on.
    before
        The attempt before, to say what changed since.
    data_seen
        For the digest of a data set, the label of another run that used the same one.
    contents
        Bytes of outputs and figures by digest; those that are missing are named, not shown.
    sections
        Only these of ``data``, ``env``, ``resources``, ``errors``; all parts if empty.
    place, now
        Where the reader is, and when.
    """

    run: Run
    executions: tuple[Execution, ...] = ()
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    environment: Environment | None = None
    before: Run | None = None
    data_seen: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, bytes] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    place: Place = "notebook"
    now: datetime = field(default_factory=_now)

    mime: ClassVar[str] = RUN_MIME
    title: ClassVar[str] = "Run"

    def document(self) -> dict[str, Any]:
        """Give the run with its executions in full as JSON, and its curves and environment."""
        document = run_document(self.run, executions=self.executions)
        if self.environment is not None:
            document["environment_details"] = environment_document(self.environment)
        document["curves"] = {
            key: plain(thinned(values, _CURVE_POINTS)) for key, values in self.series.items()
        }
        return document

    def blocks(self) -> tuple[Block, ...]:
        """Give the header, the parts asked for, and what to do next."""
        parts = [section for name, section in self._parts() if self._is_wanted(name)]
        return (*self._header(), *parts, *self._next())

    @property
    def label(self) -> str:
        """The short id."""
        return self.run.id[:4]

    def _is_wanted(self, name: str) -> bool:
        return not self.sections or name in self.sections

    # --- header and last line -------------------------------------------------------------

    def _header(self) -> Iterator[Block]:
        run = self.run
        tone: Tone = "good" if run.status == "finished" else status_tone(run.status)
        spans = [
            Span(STATUS_MARKS[run.status], tone, run.status),
            Span(" run "),
            Span(self.label, "strong", run.id),
            Span(f"   {shortened(one_line(run.name), 80)}", "strong", run.name),
            Span(f" · attempt {run.attempt}" if run.attempt else ""),
            Span(f" · {run.status}", tone if tone != "good" else "plain"),
        ]
        if run.verdict:
            verdict = str(run.verdict.get("label"))
            spans += [Span(" · "), Span(verdict, verdict_tone(verdict), verdict_details(run))]
        if run.is_starred:
            spans.append(Span(" · ★ starred"))
        if run.is_archived:
            spans.append(Span(" · archived", "warn"))
        yield line(*spans)
        yield line(Span(" · ".join(self._facts()), "muted"))
        if run.note:
            yield Code(run.note, "markdown", most_lines=_NOTE_LINES)
        for reason in (run.verdict or {}).get("reasons") or ():
            said = f"{reason.get('kind')}: {reason.get('text')}"
            yield line(Span(f"  {one_line(said)}", verdict_tone(str(reason.get("kind")))))

    def _facts(self) -> Iterator[str]:
        run = self.run
        yield f"began {ago(run.started_at, self.now)} ({exact_time(run.started_at)})"
        yield f"took {duration(time_taken(run))}"
        if run.notebook:
            yield f"in {_short(run.notebook)}"
        if run.git:
            yield _short(repository(run.git))
        if run.tags:
            yield _short("tags " + ", ".join(f"{k}={v}" for k, v in run.tags.items()))

    def _next(self) -> Iterator[Block]:
        pair = () if self.before is None else (self.label, self.before.id[:4])
        spans = [Span("compare:  "), Span(command(self.place, "compare", *pair), "code")]
        if self.sections:
            spans += [Span("   all of it:  "), Span(self._command(), "code")]
        yield line(*spans)

    def _command(self, *options: str) -> str:
        return command(self.place, "show", self.label, *options)

    # --- parts ----------------------------------------------------------------------------

    def _parts(self) -> Iterator[tuple[str, Section]]:
        if self.run.error or any(execution.error for execution in self.executions):
            yield "errors", self._errors()
        elif "errors" in self.sections:
            yield "errors", Section("errors", (line("No cell of this run raised."),))
        if self.run.metrics:
            yield "metrics", self._metrics()
        if self.run.params:
            yield "params", self._params()
        yield "data", self._data()
        gallery = tuple(figures(self.executions, self.contents, self.run.artifacts))
        if gallery:
            yield "figures", Section("figures", gallery)
        if self.executions:
            yield "cells", self._cells()
            yield "resources", self._resources()
        yield "env", self._environment()
        lineage = tuple(lineage_lines(self.executions))
        if lineage:
            yield (
                "lineage",
                Section("lineage", lineage, "which cell made which name"),
            )
        if self.run.artifacts:
            yield "files", self._files()

    def _metrics(self) -> Section:
        metrics = self.run.metrics
        columns = (
            Column("metric", widest=40),
            Column("value", "decimal", has_changes=self.before is not None),
            Column("curve", rank=3),
            Column("values", "right", rank=4),
            Column("lowest", "decimal", rank=6),
            Column("highest", "decimal", rank=5),
            Column("bound by", rank=7, hover="how the value found its model"),
        )
        rows = tuple(TableRow(self._metric_cells(key, m)) for key, m in metrics.items())
        kept = (
            columns if any(m.count > 1 for m in metrics.values()) else (*columns[:2], columns[6])
        )
        places = [columns.index(column) for column in kept]
        rows = tuple(TableRow(tuple(row.cells[i] for i in places)) for row in rows)
        note = f"▲ ▼ against {self.before.id[:4]}, the attempt before" if self.before else ""
        return Section("metrics", (Table(kept, rows),), note)

    def _metric_cells(self, key: str, metric: Metric) -> tuple[Cell, ...]:
        change = None
        was = self.before.metrics.get(key) if self.before is not None else None
        if was is not None and self.before is not None:
            delta = metric.value - was.value
            change = change_span(key, metric.value, delta, self.before.id[:4])
        is_curve = metric.count > 1
        extremes = (metric.minimum, metric.maximum) if is_curve else (None, None)
        weak = weak_binding(metric.binding)
        return (
            Cell(f"{key} {direction(key)}"),
            Cell(number(metric.value), "strong", value_hover(metric.value), change=change),
            Cell(curve=tuple(thinned(self.series.get(key, ()), _CURVE_POINTS))),
            Cell(f"{metric.count:,}" if is_curve else ""),
            *(Cell("" if v is None else number(v), "muted", value_hover(v)) for v in extremes),
            Cell(metric.binding, "warn" if weak else "muted", weak),
        )

    def _params(self) -> Section:
        before = self.before.params if self.before is not None else {}
        own = {key: param for key, param in self.run.params.items() if not param.is_default}
        default = {key: param for key, param in self.run.params.items() if param.is_default}
        blocks: list[Block] = []
        if own:
            blocks.append(_param_table(own, before))
        if default:
            title = f"{len(default)} at their defaults"
            table = _param_table(default, before)
            blocks.append(Section(title, (table,), ", ".join(default), is_open=not own))
        return Section(
            "parameters", tuple(blocks), counted(len(own), "set or changed").rstrip("s")
        )

    def _data(self) -> Section:
        if not self.run.data:
            none = line(Span("No data was recorded for this run.", "muted"))
            return Section("data", (none,))
        columns = (
            Column("name"),
            Column("role", rank=2),
            Column("shape", "right"),
            Column("type", rank=4),
            Column("digest", rank=3, widest=40),
            Column("", rank=1, widest=40),
        )
        rows = tuple(TableRow(self._data_cells(use)) for use in self.run.data)
        return Section("data", (Table(columns, rows),), counted(len(rows), "value"))

    def _data_cells(self, use: DataUse) -> tuple[Cell, ...]:
        axes = [f"{axis:,}" for axis in (use.rows, use.columns) if axis is not None]
        algorithm, _, digits = use.digest.partition(":")
        short = f"{algorithm}:{digits[:8]}" if digits else UNKNOWN
        other = self.data_seen.get(use.digest) if use.digest else None
        is_exact = use.assurance in {"exact", "carried:pages"}
        remark = f"same as in {other}" if other and is_exact else ""
        return (
            Cell(use.name, "strong"),
            Cell(use.role),
            Cell(" × ".join(axes) or UNKNOWN),
            Cell(use.kind, "muted"),
            Cell(short, "muted", use.digest),
            Cell(remark) if is_exact else Cell(f"fingerprint is {use.assurance}", "warn"),
        )

    def _cells(self) -> Section:
        setup = frozenset(self.run.setup)
        sections = tuple(cell_sections(self.executions, self.contents, setup))
        note = f"{len(sections)} in the order they ran"
        if setup:
            note += f", {len(setup)} of them set-up"
        return Section("cells", sections, note, is_open=len(sections) <= _FEW_CELLS)

    def _resources(self) -> Section:
        columns = (
            Column("cell"),
            Column("took", "right"),
            Column("CPU", "right"),
            Column("first line", rank=1, widest=60),
        )
        ordered = sorted(self.executions, key=lambda e: -(e.duration_s or 0))
        rows = [
            TableRow(
                (
                    Cell(place_of(execution)),
                    Cell(duration(execution.duration_s)),
                    Cell(duration(execution.cpu_s)),
                    Cell(execution.source.strip().partition("\n")[0], "code"),
                )
            )
            for execution in ordered
        ]
        wall = sum(execution.duration_s or 0 for execution in self.executions)
        cpu = sum(execution.cpu_s or 0 for execution in self.executions)
        note = f"{duration(wall)} in {counted(len(rows), 'cell')}, CPU {duration(cpu)}"
        fits = [
            line(f"{one_line(fit.name)} ({fit.class_name}): fitted in {duration(fit.duration_s)}")
            for fit in self.run.models
        ]
        is_open = "resources" in self.sections
        table = Table(columns, tuple(rows), "cells, slowest first")
        return Section("time", (*fits, table), note, is_open, self._command("--resources"))

    def _environment(self) -> Section:
        content = self.environment.content if self.environment is not None else {}
        if not content:
            said = "not recorded" if self.run.environment is None else self.run.environment
            return Section("environment", (line(Span(said, "muted")),))
        packages: Mapping[str, str] = content.get("packages") or {}
        facts = {key: value for key, value in content.items() if key != "packages"}
        rows = [_pair_row(key, text) for key, text in _flat(facts)]
        table = Table((Column(""), Column("", widest=80)), tuple(rows))
        listed = Table(
            (Column("package"), Column("version")),
            tuple(
                _pair_row(name, str(packages[name])) for name in sorted(packages, key=str.lower)
            ),
        )
        is_open = "env" in self.sections
        section = Section(counted(len(packages), "package"), (listed,), is_open=is_open)
        note = f"Python {_version(content)}, {counted(len(packages), 'package')}"
        return Section("environment", (table, section), note, is_open, self._command("--env"))

    def _files(self) -> Section:
        columns = (
            Column("name", widest=48),
            Column("kind"),
            Column("size", "right"),
            Column("digest"),
        )
        rows = tuple(
            TableRow(
                (
                    Cell(artifact.name, "strong"),
                    Cell(artifact.kind),
                    Cell(size(artifact.size_bytes)),
                    Cell(artifact.digest[:15], "muted", artifact.digest),
                )
            )
            for artifact in self.run.artifacts
        )
        return Section("files", (Table(columns, rows),), counted(len(rows), "file"))

    def _errors(self) -> Section:
        blocks = tuple(error_blocks(self.run, self.executions))
        return Section("errors", blocks, is_open=True, opener=self._command("--errors"))


def _param_table(params: Mapping[str, Param], before: Mapping[str, Param]) -> Table:
    rows = []
    for key, param in params.items():
        was = before.get(key)
        is_new = was is not None and was.value != param.value
        change = Span(f"(was {scalar(was.value)})", "warn") if was is not None and is_new else None
        about = f"changed {param.version - 1} times" if param.version > 1 else ""
        tone: Tone = "muted" if param.is_default else "strong"
        rows.append(TableRow((Cell(key), Cell(scalar(param.value), tone, about, change=change))))
    has_changes = any(row.cells[1].change is not None for row in rows)
    value = Column("value", widest=60, has_changes=has_changes)
    return Table((Column("parameter", widest=40), value), tuple(rows))


def _pair_row(key: str, text: str) -> TableRow:
    return TableRow((Cell(key, "muted"), Cell(text)))


def _flat(value: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give nested facts as pairs of a dotted name and a text."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key} ")
        elif item not in (None, [], ""):
            is_size = key.endswith("_bytes") and isinstance(item, int)
            name = f"{prefix}{key}".removesuffix("_bytes") if is_size else f"{prefix}{key}"
            yield name, size(item) if is_size else scalar(item)


def _short(text: str) -> str:
    return shortened(one_line(text), 120)


def _version(content: Mapping[str, Json]) -> str:
    python = content.get("python")
    return str(python.get("version", "") if isinstance(python, Mapping) else python or UNKNOWN)
