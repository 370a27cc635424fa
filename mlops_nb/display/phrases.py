"""The words and marks that all views share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.compare import is_lower_better
from mlops_nb.display.blocks import Cell, Span, line
from mlops_nb.display.formats import UNKNOWN, difference, exact_time, one_line
from mlops_nb.display.view import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.compare import Mark
    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model import Json, Run

STATUS_MARKS: dict[str, str] = {
    "running": "◐",
    "finished": "●",
    "failed": "✕",
    "interrupted": "■",
    "superseded": "»",
    "lost": "?",
}
_STATUS_TONES: dict[str, Tone] = {"failed": "bad", "lost": "warn", "interrupted": "warn"}
_STATUS_MEANS = {
    "running": "running, or its cell is the last that ran",
    "failed": "an error ended it; its values are not compared",
    "interrupted": "it was interrupted; its values are not compared",
    "superseded": "its start cell ran again before it ended; its values are not compared",
    "lost": "its process died before it ended; its values are not compared",
}
_VERDICTS = {
    "linear": "its cells ran in notebook order, each once, and stand there as they ran",
    "out-of-order": "its cells did not run in notebook order",
    "stale-source": "a cell was edited or deleted after it ran",
    "dirty-code": "it imported modules with uncommitted changes",
    "mutated-data": "an input file has changed since it was read",
    "order-unknown": "the order of the cells in the notebook is not known",
    "verified": "a replay gave the same data and metrics",
    "varies": "the runs of this group have different verdicts",
}
_WEAK_BINDINGS = {
    "recent": "bound to the model that predicted last in the cell",
    "current": "bound to the run that was open",
}
_MARK_TONES: dict[str, Tone] = {
    "same": "muted",
    "changed": "warn",
    "unknown": "muted",
    "baseline": "muted",
}


def nothing_yet(place: Place, query: str | None = None) -> tuple[Block, ...]:
    """Say that there is nothing to show, and what to do about it."""
    if query:
        every = command(place, "runs")
        return (line(f"No runs match {one_line(query)}.   All of them:  ", Span(every, "code")),)
    if place == "shell":
        how = "Run a notebook: mlops-nb run NOTEBOOK.ipynb"
    else:
        how = "Switch tracking on with %mlops_track, then run a cell that fits a model."
    return (line(f"No runs yet. {how}"),)


def status_tone(status: str) -> Tone:
    """Give the tone that a status is said in."""
    return _STATUS_TONES.get(status, "plain")


def verdict_cell(run: Run, verdict: str | None) -> Cell:
    """Say how a run went: its status if it did not come to its end, else its verdict."""
    if run.status not in {"finished", "running"}:
        return Cell(run.status, status_tone(run.status), _status_details(run))
    return Cell(verdict or UNKNOWN, verdict_tone(verdict), verdict_details(run))


def verdict_tone(verdict: str | None) -> Tone:
    """Give the tone that a verdict is said in: only what needs a look stands out."""
    if verdict == "verified":
        return "good"
    return "muted" if verdict in {None, "linear", "order-unknown"} else "warn"


def verdict_details(run: Run) -> str:
    """Say what a verdict means, then the reasons for it."""
    if not run.verdict:
        return "no verdict was recorded"
    label = str(run.verdict.get("label"))
    reasons = [str(reason.get("text", "")) for reason in run.verdict.get("reasons") or ()]
    return "; ".join([_VERDICTS.get(label, label), *filter(None, reasons)])


def mark_cell(mark: Mark) -> Cell:
    """Say what changed in data, code or environment."""
    return Cell(mark.text, _MARK_TONES[mark.kind], "; ".join(mark.details))


def change_span(metric: str, value: float, delta: float, reference: str) -> Span:
    """Say a difference with a mark and a sign, and on hover whether that is better.

    The mark points up or down as the value does; the tone says whether that is good.
    """
    text = difference(delta, value)
    if not delta:
        return Span(text, "muted", f"the same as {reference}")
    is_better = (delta < 0) == is_lower_better(metric)
    word = "better" if is_better else "worse"
    arrow = "▲" if delta > 0 else "▼"
    about = f"{word} than {reference} by {abs(delta):.10g}"
    return Span(f"{arrow} {text}", "good" if is_better else "bad", about)


def direction(metric: str) -> str:
    """Give the arrow of the better direction of a metric."""
    return "↓" if is_lower_better(metric) else "↑"


def weak_binding(binding: str) -> str:
    """Say how a metric was bound if that is not certain, else nothing."""
    return _WEAK_BINDINGS.get(binding, "")


def value_hover(value: float | None, *more: str) -> str:
    """Give all digits of a value, and what more there is to say."""
    exact = "no value" if value is None else f"{value!r}"
    return "; ".join([exact, *filter(None, more)])


def time_taken(run: Run) -> float | None:
    """Give the time spent in a run's cells; of a run without cells of its own, the wall time."""
    return run.busy_s or run.duration_s


def started_hover(run: Run) -> str:
    """Name a run in full: its id, and when it began and ended."""
    ended = f", ended {exact_time(run.ended_at)}" if run.ended_at else ""
    return f"{run.id} {run.name}, {run.status}, began {exact_time(run.started_at)}{ended}"


def _status_details(run: Run) -> str:
    error = run.error or {}
    raised = f"{error.get('type')}: {error.get('message')}" if error.get("type") else ""
    return "; ".join(filter(None, [_STATUS_MEANS.get(run.status, run.status), raised]))


def repository(git: Mapping[str, Json]) -> str:
    """Say which state of a repository it is, as ``commit 1a2b3c4d on main``."""
    if not any(git.get(key) for key in ("commit", "branch")):
        return "no repository, or none that git can read"
    commit = f"commit {str(git['commit'])[:8]}" if git.get("commit") else "no commit yet"
    branch = f" on {git['branch']}" if git.get("branch") else ""
    dirty = ", with uncommitted changes" if git.get("dirty") else ""
    return f"{commit}{branch}{dirty}"
