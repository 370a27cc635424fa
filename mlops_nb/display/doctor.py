"""A check-up of tracking and store, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.display.blocks import Block
    from mlops_nb.model import Json

DOCTOR_MIME = "application/vnd.mlops-nb.doctor.v1+json"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check-up: is it well, what is it about, what was found, what to do."""

    is_well: bool
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class DiagnosisView(View):
    """The result of a check-up.

    Attributes
    ----------
    findings
        In the order in which they are read.
    facts
        The same as JSON, with the details.
    """

    findings: tuple[Finding, ...]
    facts: Mapping[str, Json]

    mime: ClassVar[str] = DOCTOR_MIME
    title: ClassVar[str] = "Check-up"

    @property
    def is_well(self) -> bool:
        """Whether nothing needs attention."""
        return all(finding.is_well for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """Give the check-up as JSON."""
        return dict(self.facts)

    def blocks(self) -> tuple[Block, ...]:
        """Give a sentence and a line for each finding."""
        bad = sum(not finding.is_well for finding in self.findings)
        answer = "all is well" if not bad else f"{bad} of {len(self.findings)} need attention"
        columns = (
            Column(""),
            Column("what"),
            Column("found", widest=100),
            Column("next", widest=60),
        )
        rows = tuple(TableRow(_cells(finding)) for finding in self.findings)
        return (line(Span(answer, "strong")), Table(columns, rows, summary=answer))


def _cells(finding: Finding) -> tuple[Cell, ...]:
    mark = Cell("✓", "good", "well") if finding.is_well else Cell("✕", "bad", "needs attention")
    return (
        mark,
        Cell(finding.subject, "strong"),
        Cell(finding.text, hover=finding.text),
        Cell(finding.remedy, "code" if finding.remedy else "plain"),
    )
