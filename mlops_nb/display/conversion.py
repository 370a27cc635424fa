"""What was made of a notebook: steps, why they hang together, what was odd, what to type next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Facts, Section, Span, Table, TableRow, fact, line
from mlops_nb.display.formats import counted
from mlops_nb.display.view import View
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model.pipelines import Edge, Pipeline, SplitProof, Step
    from mlops_nb.pipeline.writing.conversion import Conversion

CONVERSION_MIME = "application/vnd.mlops-nb.conversion.v1+json"
_VERDICTS: dict[str, tuple[str, Tone, str]] = {
    "equal": ("✓", "good", "proven equal to the whole notebook"),
    "differs": ("≠", "bad", "not equal to the whole notebook"),
    "failed": ("✕", "bad", "could not be verified"),
}
_MOST_EDGES = 60


@dataclass(frozen=True, slots=True, repr=False)
class ConversionView(View):
    """A notebook that was written as a pipeline.

    Attributes
    ----------
    conversion
        What to show.
    place
        Where the reader is.
    """

    conversion: Conversion
    place: Place = "notebook"

    mime: ClassVar[str] = CONVERSION_MIME
    title: ClassVar[str] = "Pipeline"

    @property
    def pipeline(self) -> Pipeline:
        """What was written."""
        return self.conversion.converted.pipeline

    @property
    def is_good(self) -> bool:
        """Whether a check passes: what was to be proven is."""
        proof = self.conversion.proof
        return proof is None or proof.verdict == "equal"

    def document(self) -> dict[str, Any]:
        """Give the conversion as JSON."""
        from mlops_nb.pipeline.writing import definition_document
        from mlops_nb.pipeline.writing.converting import converted_document

        proof = self.conversion.proof
        described = definition_document(self.pipeline)
        document: dict[str, Any] = plain(
            {
                "name": self.pipeline.name,
                "notebook": self.conversion.source,
                **converted_document(self.conversion.converted),
                "steps": described["steps"],
                "edges": described.get("edges", []),
                "warnings": self.pipeline.warnings,
                "fused": self.pipeline.fused,
                "proof": None if proof is None else proof_document(proof),
                "notes": self.conversion.notes,
            }
        )
        return document

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer first, the evidence below, the next action last."""
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        converted, pipeline = self.conversion.converted, self.pipeline
        said = "is unchanged" if converted.is_unchanged else "written"
        steps = counted(len(pipeline.steps), "step")
        yield line(
            Span(f"{Path(self.conversion.source).name} → {steps}", "strong"),
            Span(f" · {_shown(converted.definition)} {said}", "muted"),
        )
        if self.conversion.proof is not None:
            yield from self._proof(self.conversion.proof)
        yield _steps_table(pipeline)
        if pipeline.edges:
            yield _edges(pipeline)
        yield from _sentences("fused", pipeline.fused, "⚭")
        yield from _sentences("warnings", (*converted.warnings, *pipeline.warnings), "⚠")
        if converted.removed:
            yield line(Span(f"removed: {', '.join(converted.removed)}", "muted"))
        yield self._next()

    def _proof(self, proof: SplitProof) -> Iterator[Block]:
        mark, tone, text = _VERDICTS[proof.verdict]
        compared = counted(len(proof.values), "value")
        yield line(Span(f"{mark} {text}", tone), Span(f" · {compared} compared", "muted"))
        if proof.difference:
            yield line(Span(proof.difference, "bad"))
        yield from _sentences("repaired", proof.repairs, "+")
        yield from _sentences("not reproducible", self.conversion.notes, "≈")

    def _next(self) -> Block:
        folder = _shown(self.conversion.converted.folder)
        quoted = shlex.quote(folder)
        run = f"%mlops_run {quoted}" if self.place == "notebook" else f"mlops-nb run {quoted}"
        parts = [Span("run it: ", "muted"), Span(run, "code")]
        if self.conversion.proof is None:
            source = shlex.quote(_shown(Path(self.conversion.source)))
            start = "%mlops_convert" if self.place == "notebook" else "mlops-nb convert"
            prove = f"{start} {source} -o {quoted} --verify"
            parts += [Span("   prove it equal: ", "muted"), Span(prove, "code")]
        return line(*parts)


def proof_document(proof: SplitProof) -> dict[str, Any]:
    """Describe a proof as JSON."""
    from datetime import datetime, timezone

    from mlops_nb.documents import iso

    at = datetime.fromtimestamp(proof.at_ns / 1e9, tz=timezone.utc)
    return {
        "pipeline": proof.pipeline,
        "split": proof.split,
        "verdict": proof.verdict,
        "at": iso(at),
        "values": [dict(value) for value in proof.values],
        "repairs": list(proof.repairs),
        "difference": proof.difference,
    }


def _steps_table(pipeline: Pipeline) -> Table:
    columns = (
        Column("step", widest=40),
        Column("cells", align="right"),
        Column("takes", widest=48),
        Column("gives", widest=48),
        Column("params", rank=1, widest=32),
        Column("after", rank=2, widest=32),
    )
    rows = tuple(_row(pipeline, step) for step in pipeline.steps)
    return Table(columns, rows, summary=f"The steps of {pipeline.name}")


def _row(pipeline: Pipeline, step: Step) -> TableRow:
    sources = dict.fromkeys(edge.source for edge in pipeline.edges if edge.target == step.name)
    given = [name for unit in step.outputs for name in unit]
    return TableRow(
        (
            Cell(step.name, "strong"),
            Cell(_ranges(step.cells)),
            _names(step.inputs),
            _names(given),
            _names(step.params),
            _names(sources),
        )
    )


def _names(names: Any) -> Cell:
    text = ", ".join(names)
    return Cell(text, hover=text) if text else Cell("–", "muted")


def _ranges(cells: tuple[int, ...]) -> str:
    """Write positions as ``4–6, 9``."""
    parts: list[list[int]] = []
    for cell in cells:
        if parts and cell == parts[-1][-1] + 1:
            parts[-1].append(cell)
        else:
            parts.append([cell])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _edges(pipeline: Pipeline) -> Section:
    facts: list[Any] = []
    last = ""
    for edge in pipeline.edges[:_MOST_EDGES]:
        label = f"{edge.source} → {edge.target}"
        facts += _edge(edge, "" if label == last else label)
        last = label
    more = len(pipeline.edges) - _MOST_EDGES
    blocks: tuple[Block, ...] = (Facts(tuple(facts)),)
    if more > 0:
        blocks += (line(Span(f"… {more} more in pipeline.yaml", "muted")),)
    return Section("why they hang together", blocks, note=counted(len(pipeline.edges), "edge"))


def _edge(edge: Edge, label: str) -> Iterator[Any]:
    for reason in edge.reasons:
        text = reason.text or ", ".join(reason.names)
        yield fact(label, Span(text), Span(f" ({reason.kind})", "muted"))
        label = ""


def _sentences(title: str, texts: tuple[str, ...], mark: str) -> Iterator[Block]:
    if texts:
        yield Facts(tuple(fact(title if not n else "", t, mark=mark) for n, t in enumerate(texts)))


def _shown(path: Path) -> str:
    """Show a path as short as it can be typed."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)
