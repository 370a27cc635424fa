"""What a replay found, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mlops_nb.model import Execution, Json, Run

Outcome: TypeAlias = Literal[
    "verified", "verified-close", "differs", "needs-secret", "not-replayable"
]
Result: TypeAlias = Literal["exact", "close", "differs", "missing", "not compared"]
CauseKind: TypeAlias = Literal["data", "code", "package", "seed", "hardware", "unknown"]

GOOD: frozenset[str] = frozenset({"verified", "verified-close"})
"""Outcomes with which a check passes."""


@dataclass(frozen=True, slots=True)
class Value:
    """One thing that was compared.

    Attributes
    ----------
    kind
        ``outcome`` (how the cell ended), ``data`` or ``metric``.
    position
        Zero-based place of its cell among the replayed ones.
    name, role
        Of the data or metric; the role is empty for a metric.
    before, after
        What was recorded, and what came now: a number, a digest, a status.
    note
        Why it was not compared, or what else there is to say.
    """

    kind: Literal["outcome", "data", "metric"]
    position: int
    name: str
    role: str
    before: Json
    after: Json
    result: Result
    note: str = ""

    @property
    def is_difference(self) -> bool:
        """Whether it keeps the run from being verified."""
        return self.result in {"differs", "missing"}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a replay may differ.

    Attributes
    ----------
    text
        One sentence, with names and both values.
    is_sure
        Whether it is about something that the differing cell, or one before it, used.
    """

    kind: CauseKind
    text: str
    is_sure: bool = True


@dataclass(frozen=True, slots=True)
class Replay:
    """A run that was run again, compared with its record.

    Attributes
    ----------
    run
        The run that was recorded.
    outcome
        ``verified``, ``verified-close``, ``differs``, ``needs-secret``, ``not-replayable``.
    reasons
        What decided, as sentences.
    executions
        The replayed cells as they were recorded, in run order.
    values
        Everything that was compared, in run order.
    causes
        Of a difference, the most likely one first.
    notes
        What is good to know: inputs that have changed, cells taken from the history.
    replayed_by
        Id of the run that the replay is; None where nothing ran.
    notebook
        The executed notebook.
    """

    run: Run
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    executions: tuple[Execution, ...] = ()
    values: tuple[Value, ...] = ()
    causes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    replayed_by: str | None = None
    notebook: str | None = None
    duration_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether a check passes."""
        return self.outcome in GOOD

    @property
    def first(self) -> Value | None:
        """The first difference in run order."""
        return next((value for value in self.values if value.is_difference), None)

    @property
    def close(self) -> tuple[Value, ...]:
        """Metrics that agree within 1e-9, but not to the last bit."""
        return tuple(value for value in self.values if value.result == "close")

    def count(self, result: Result, kind: str | None = None) -> int:
        """Count the values with a result, of one kind or of data and metrics."""
        kinds = {kind} if kind else {"data", "metric"}
        return sum(value.result == result and value.kind in kinds for value in self.values)
