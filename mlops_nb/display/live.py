"""The card of a run that lives in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.compare import code_mark, data_mark, environment_mark, headline_metric
from mlops_nb.display.card import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.compare import Mark
    from mlops_nb.model import Run
    from mlops_nb.tracking import LiveRun


def card_of(live: LiveRun, before: Run | None, attempt: int) -> Card:
    """Say in one line how a run stands, against the attempt before it.

    Parameters
    ----------
    live
        The run.
    before
        The attempt before, None if there is none.
    attempt
        Its number in its group.
    """
    run = live.record()
    speaker = run if run.metrics else _best_child(live) or run
    metric = headline_metric([speaker])
    value = None if metric is None else speaker.metrics[metric].value
    fits = sum(child.born_by == "fit" for child in live.children)
    known = before.metrics.get(metric) if before is not None and metric is not None else None
    return Card(
        run=run.id,
        name=f"{run.name} ({fits} fits)" if fits else run.name,
        # A finished cell leaves its run open for late evidence: that is no news to a reader.
        status="finished" if run.status == "running" and not run.error else run.status,
        attempt=attempt,
        metric=metric,
        value=value,
        delta=None if known is None or value is None else value - known.value,
        curve=tuple(live.curves.get(metric or "", ())),
        duration_s=run.busy_s,
        verdict=(run.verdict or {}).get("label"),
        data=_word(data_mark, before, run) if run.data or (before and before.data) else "",
        code=_word(code_mark, before, run),
        environment=_word(environment_mark, before, run),
        alert=live.alert,
        error=_error(run),
    )


def _best_child(live: LiveRun) -> Run | None:
    """The child with the best headline metric, to stand for its parent."""
    from mlops_nb.compare import is_lower_better

    records = [child.record() for child in live.children if child.metrics]
    metric = headline_metric(records)
    if metric is None:
        return None
    scored = [record for record in records if metric in record.metrics]
    sign = -1 if is_lower_better(metric) else 1
    return max(scored, key=lambda record: sign * record.metrics[metric].value)


def _word(mark: Callable[[Run, Run], Mark], before: Run | None, run: Run) -> str | None:
    if before is None:
        return ""
    found = mark(before, run)
    return None if found.kind == "unknown" else found.text


def _error(run: Run) -> str:
    if not run.error:
        return ""
    return f"{run.error.get('type')}: {run.error.get('message')}"
