"""The one line below a cell that bore or changed a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Span, line
from mlops_nb.display.formats import UNKNOWN, duration, number, one_line, shortened
from mlops_nb.display.phrases import STATUS_MARKS, change_span, status_tone, verdict_tone
from mlops_nb.display.sparkline import as_text, trend
from mlops_nb.display.text import write_text
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model import RunStatus

CARD_MIME = "application/vnd.mlops-nb.card.v1+json"

_GAP = "   "
_ONE_LINE = 10_000  # a card is never wrapped: the reader's own window does that
_CLAUSE = 100


@record
class Card:
    """What a card says.

    Attributes
    ----------
    run, name, status
        The run's full id, its name and status.
    attempt
        Number in its group, 0 for none.
    metric, value
        The headline metric and its last value, None if there is none yet.
    delta
        Difference of `value` to the attempt before, None if that has none.
    step, steps
        How far it is: the last step, and how many there are to be, where that is known.
    step_name
        What a step is called, as ``epoch``.
    curve
        Last values of the headline metric, for a run that goes on.
    remaining_s
        Estimated time to the end.
    duration_s
        Time so far, or from start to end.
    verdict
        Label of the verdict.
    data, code, environment
        Against the attempt before: ``same``, ``changed`` or more exact words; None where it is
        not known, empty where there is nothing to compare with.
    alert
        One clause that needs a look, as ``214 of 500 test rows are also in the training data``.
    error
        What ended it, as ``ValueError in cell 5 line 3: could not convert…``.
    label
        Short id that the reader can type; by default the first 4 digits.
    """

    run: str
    name: str
    status: RunStatus
    attempt: int = 0
    metric: str | None = None
    value: float | None = None
    delta: float | None = None
    step: int | None = None
    steps: int | None = None
    step_name: str = "step"
    curve: tuple[float, ...] = ()
    remaining_s: float | None = None
    duration_s: float | None = None
    verdict: str | None = None
    data: str | None = ""
    code: str | None = ""
    environment: str | None = ""
    alert: str = ""
    error: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class CardView(View):
    """A card as text, HTML and JSON; shown once and then updated in place."""

    card: Card
    place: Place = "notebook"

    mime: ClassVar[str] = CARD_MIME
    title: ClassVar[str] = "Run"

    def document(self) -> dict[str, Any]:
        """Give the card as JSON."""
        document = plain(asdict(self.card))
        document["label"] = _label(self.card)
        return dict(document)

    def blocks(self) -> tuple[Block, ...]:
        """Give the one line."""
        card = self.card
        mark = Span(STATUS_MARKS[card.status], _mark_tone(card), card.status)
        spans = [mark, Span(" run "), Span(_label(card), "strong", card.run)]
        for clause in self._clauses():
            spans += [Span(_GAP), *clause]
        return (line(*spans),)

    def to_text(self, *, columns: int | None = None, color: bool = False) -> str:
        """Write the card as one line, however long."""
        return write_text(self.blocks(), columns=columns or _ONE_LINE, color=color)

    def _clauses(self) -> Iterator[list[Span]]:
        card = self.card
        yield _who(card)
        if card.error:
            yield [Span(shortened(one_line(card.error), _CLAUSE), "bad", card.error)]
            yield [
                Span("see: "),
                Span(command(self.place, "show", _label(card), "--errors"), "code"),
            ]
            return
        if card.status not in {"running", "finished"}:
            yield [Span(card.status, status_tone(card.status))]
        yield from _progress(card)
        yield from _metric(card)
        if card.remaining_s is not None:
            yield [Span(f"{duration(card.remaining_s)} left")]
        elif card.duration_s is not None:
            yield [Span(duration(card.duration_s), hover=f"{card.duration_s!r} s")]
        if card.verdict:
            yield [Span(card.verdict, verdict_tone(card.verdict))]
        yield from _marks(card)
        if card.alert:
            yield [Span(f"⚠ {shortened(one_line(card.alert), _CLAUSE)}", "warn", card.alert)]


def _label(card: Card) -> str:
    return card.label or card.run[:4]


def _mark_tone(card: Card) -> Tone:
    return "good" if card.status == "finished" else status_tone(card.status)


def _who(card: Card) -> list[Span]:
    name = Span(shortened(one_line(card.name), 40), hover=card.name)
    return [name, Span(f" · attempt {card.attempt}", "muted")] if card.attempt else [name]


def _progress(card: Card) -> Iterator[list[Span]]:
    if card.step is not None and card.status == "running":
        of = "" if card.steps is None else f"/{card.steps}"
        yield [Span(f"{one_line(card.step_name)} {card.step}{of}")]


def _metric(card: Card) -> Iterator[list[Span]]:
    if card.metric is None:
        return
    spans = [Span(f"{shortened(one_line(card.metric), 40)} ", "muted", card.metric)]
    if card.value is None:
        yield [*spans, Span(UNKNOWN)]
        return
    spans.append(Span(number(card.value), "strong", repr(card.value)))
    if len(card.curve) > 1:
        word = trend(card.curve)
        spans += [Span(" "), Span(as_text(card.curve), "muted", curve=card.curve)]
        spans += [Span(f" ({word})", "muted")] if word else []
    if card.delta is not None:
        spans += [
            Span(" "),
            change_span(card.metric, card.value, card.delta, "the attempt before"),
        ]
    yield spans


def _marks(card: Card) -> Iterator[list[Span]]:
    marks = (("data", card.data), ("code", card.code), ("env", card.environment))
    said: list[Span] = []
    for name, mark in marks:
        if mark == "":
            continue
        said += [Span(" · ", "muted")] if said else []
        tone: Tone = "muted" if mark in {None, "same"} else "warn"
        said.append(Span(f"{name} {UNKNOWN if mark is None else mark}", tone))
    if said:
        yield said
