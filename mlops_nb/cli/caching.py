"""``mlops-nb status`` and ``mlops-nb cache``."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from mlops_nb.cli.frame import complete_run, examples, open_store, shared_options, write_view

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def _seconds(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    """Read a length of time, as ``7d``."""
    if value is None:
        return None
    found = _AGE.fullmatch(value.strip().lower())
    if found is None:
        raise click.BadParameter(f"{value!r} is no length of time; write 30m, 12h, 7d or 2w")
    return float(found[1]) * _UNITS_S[found[2]]


@click.command(
    epilog=examples(
        "mlops-nb status",
        "mlops-nb status 9ab1",
        "mlops-nb status train.ipynb --format json",
    )
)
@click.argument("reference", metavar="[RUN|NOTEBOOK]", required=False, shell_complete=complete_run)
@click.option(
    "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Most runs."
)
@shared_options
def status(reference: str | None, limit: int, format_: str, store: str | None) -> None:
    """Show the last runs of pipelines, or the steps of one: their states, and who runs them."""
    from mlops_nb.display.pipelines.status import (
        PipelineStatusView,
        StatusView,
        pipeline_states,
    )

    with open_store(store) as opened:
        states = pipeline_states(opened, reference, limit=limit)
    is_one = reference is not None and len(states) == 1
    write_view(PipelineStatusView(states[0]) if is_one else StatusView(states), format_)


@click.group()
def cache() -> None:
    """See and remove the results of steps that are kept to be used again.

    A step is run only if something that its results are made from has changed: its code, what it
    reads, its parameters, a library. Everything else is taken from here.
    """


@cache.command(name="ls", epilog=examples("mlops-nb cache ls", "mlops-nb cache ls churn"))
@click.argument("pipeline", required=False)
@click.option("--step", metavar="NAME", help="Only results of this step.")
@shared_options
def list_results(pipeline: str | None, step: str | None, format_: str, store: str | None) -> None:
    """List the results that are kept, the latest first."""
    from mlops_nb.display.pipelines.cache import CacheView

    with open_store(store) as opened:
        found = opened.cached_steps(pipeline, step)
    write_view(CacheView(tuple(found), pipeline), format_)


@cache.command(
    name="rm",
    epilog=examples(
        "mlops-nb cache rm --step train",
        "mlops-nb cache rm churn --older-than 7d",
        "mlops-nb cache rm --all",
    ),
)
@click.argument("pipeline", required=False)
@click.option("--step", metavar="NAME", help="Only results of this step.")
@click.option(
    "--older-than",
    callback=_seconds,
    metavar="AGE",
    help="Only those not made or used for so long: 7d.",
)
@click.option("--all", "everything", is_flag=True, help="Results of all pipelines.")
@shared_options
def remove_results(
    pipeline: str | None,
    step: str | None,
    older_than: float | None,
    everything: bool,
    format_: str,
    store: str | None,
) -> None:
    """Remove results, so that their steps run again; what a running pipeline uses stays."""
    from mlops_nb.display.pipelines.cache import ForgottenView, bytes_of

    if pipeline is None and step is None and older_than is None and not everything:
        raise click.UsageError("Say which: a pipeline, --step, --older-than, or --all.")
    before_ns = None if older_than is None else time.time_ns() - int(older_than * 1e9)
    with open_store(store) as opened:
        gone = opened.drop_cached(pipeline=pipeline, step=step, before_ns=before_ns)
        left = opened.cached_steps()
    kept = bytes_of(left)
    freed = sum(size for digest, size in bytes_of(gone).items() if digest not in kept)
    in_use = sum(_was_meant(one, pipeline, step, before_ns) for one in left)
    write_view(ForgottenView(tuple(gone), freed, in_use), format_)


def _was_meant(one: Any, pipeline: str | None, step: str | None, before_ns: int | None) -> bool:
    """Say whether results that are still there were to be removed."""
    if pipeline not in {None, one.pipeline} or step not in {None, one.step}:
        return False
    return before_ns is None or max(one.created_at_ns, one.used_at_ns or 0) < before_ns


@cache.command(
    name="explain",
    epilog=examples("mlops-nb cache explain train", "mlops-nb cache explain train --run 9ab1"),
)
@click.argument("step")
@click.option(
    "--run",
    metavar="RUN",
    shell_complete=complete_run,
    help="In this run of the pipeline. [default: the last one that has the step]",
)
@shared_options
def explain_step(step: str, run: str | None, format_: str, store: str | None) -> None:
    """Say why a step ran, or why it did not have to."""
    from mlops_nb.display.pipelines.cache import ExplanationView, explanations

    with open_store(store) as opened:
        found = explanations(opened, step, run)
    write_view(ExplanationView(found), format_)
