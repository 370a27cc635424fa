"""``mlops-nb run`` of a notebook with steps, or of a pipeline's folder."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlops_nb.cli.step_progress import StepLines, StepTable, WorkflowLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlops_nb.pipeline.drafts import SplitOn
    from mlops_nb.pipeline.running import PipelineOutcome, Seen

F = TypeVar("F", bound="Callable[..., Any]")

REPORTS = ("junit", "md")
ALL = "*"
_LAST = ""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What was asked of a pipeline on the command line; fields as the options."""

    jobs: int = 1
    first: str = ""
    until: str = ""
    only: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    resume: str | None = None
    dry_run: bool = False
    split_on: SplitOn | None = None
    engine: str = "local"
    fast: bool = False
    timeout_s: float | None = None
    report: str | None = None
    report_to: Path | None = None

    def refuse(self, *, is_whole: bool) -> None:
        """Say that options for steps mean nothing where there are none."""
        given = [
            option for name, option in _OPTIONS.items() if getattr(self, name) != _plain(name)
        ]
        if given:
            why = "--whole was given" if is_whole else "the notebook has no steps"
            raise click.UsageError(f"{', '.join(given)}: only for pipelines, and {why}")


_OPTIONS = {
    "first": "--from",
    "until": "--until",
    "only": "--only",
    "force": "--force",
    "resume": "--resume",
    "dry_run": "--dry-run",
    "fast": "--fast",
    "timeout_s": "--timeout",
}


def _plain(name: str) -> object:
    return StepOptions.__dataclass_fields__[name].default


def pipeline_options(command: F) -> F:
    """Give a command the options of a run of a pipeline."""
    for option in reversed(_DECLARED):
        command = option(command)
    return command


_DECLARED = (
    click.option(
        "--jobs",
        "-j",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Steps that run at once.",
    ),
    click.option("--from", "first", metavar="STEP", default="", help="This step and those below."),
    click.option("--until", metavar="STEP", default="", help="This step and those above."),
    click.option("--only", metavar="STEP", multiple=True, help="This step alone; repeatable."),
    click.option(
        "--force",
        metavar="[STEP]",
        multiple=True,
        is_flag=False,
        flag_value=ALL,
        help="Run this step whatever is kept of it; without a name all.",
    ),
    click.option(
        "--resume",
        metavar="[RUN]",
        is_flag=False,
        flag_value=_LAST,
        default=None,
        help="Go on with a run that did not finish. [default: the last one]",
    ),
    click.option("--dry-run", is_flag=True, help="Show which steps would run, and why."),
    click.option(
        "--split-on",
        type=click.Choice(("tags", "h2", "cell")),
        default=None,
        help="What begins a step. [default: tags]",
    ),
    click.option("--engine", default="local", show_default=True, help="Where steps run."),
    click.option("--fast", is_flag=True, help="Forked workers in place of kernels, where safe."),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Of each step that says none itself.",
    ),
    click.option("--report", type=click.Choice(REPORTS), help="Also write a report."),
    click.option(
        "--report-to",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Where to. [default: standard output]",
    ),
)


def is_pipeline(path: Path, asked: StepOptions) -> bool:
    """Say whether a path is run as a pipeline: a folder, or a notebook with steps."""
    from mlops_nb.pipeline.running.preparing import is_pipeline_folder

    if is_pipeline_folder(path) or asked.split_on is not None:
        return True
    from mlops_nb.pipeline import drafts, reading

    return drafts.has_steps(drafts.draft_of(reading.read_source(path)))


def run_asked(
    path: Path, given: Mapping[str, object], asked: StepOptions, *, format_: str, **how: Any
) -> int:
    """Run a pipeline as it was asked for, or show what would run; gives the exit code."""
    from mlops_nb.pipeline.running import Choice

    choice = Choice(asked.first, asked.until, asked.only, asked.force)
    shared = {"choice": choice, "split_on": asked.split_on or "tags"}
    if asked.dry_run:
        kept = {name: how[name] for name in ("store", "name", "place")}
        return show_plan(path, given, format_=format_, **kept, **shared)
    return run_steps(
        path,
        given,
        format_=format_,
        report=asked.report,
        report_to=asked.report_to,
        jobs=asked.jobs,
        fast=asked.fast,
        engine=asked.engine,
        resume=asked.resume,
        timeout_s=asked.timeout_s,
        **shared,
        **how,
    )


def run_steps(
    path: Path,
    given: Mapping[str, object],
    *,
    format_: str,
    report: str | None,
    report_to: Path | None,
    **how: Any,
) -> int:
    """Run a pipeline, watched step by step; gives the exit code."""
    from mlops_nb.pipeline.running import run_pipeline

    with _watched() as observer:
        try:
            outcome = run_pipeline(path, params=given, observer=observer, **how)
        except KeyboardInterrupt as stopped:
            if not stopped.args:
                raise
            outcome = stopped.args[0]
    _write(outcome, path, format_, how.get("store"))
    write_report(outcome.document(), report, report_to)
    return outcome.exit_code


def show_plan(path: Path, given: Mapping[str, object], *, format_: str, **how: Any) -> int:
    """Print which steps would run, and why; nothing runs."""
    from mlops_nb.documents import to_json
    from mlops_nb.pipeline.running.staleness import plan_pipeline

    plan = plan_pipeline(path, params=given, **how)
    if format_ == "json":
        click.echo(to_json(plan.document()))
        return 0
    bullet = "- " if format_ == "md" else " "
    width = max((len(step.name) for step in plan.steps), default=0)
    for step in plan.steps:
        mark = "·" if step.is_stale else "✓"
        word = "runs  " if step.is_stale else "cached"
        click.echo(
            f"{bullet}{mark} {step.name:<{width}}  {word}  {'; '.join(step.reasons)}".rstrip()
        )
    stale = sum(step.is_stale for step in plan.steps)
    click.echo(f"{stale} of {len(plan.steps)} steps would run")
    return 0


def write_report(document: Mapping[str, Any], kind: str | None, to: Path | None) -> None:
    """Write a report where it was asked for; without a path to standard output."""
    if kind is None:
        return
    from mlops_nb.pipeline.reports import junit_report, markdown_report

    text = (junit_report if kind == "junit" else markdown_report)(document)
    if to is None:
        click.echo(text, nl=False)
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text, encoding="utf-8")
    click.echo(f"report: {to}", err=True)


@contextmanager
def _watched() -> Iterator[Callable[[Seen], None]]:
    """Draw a line for each step in a terminal; else write a line for each event."""
    if sys.stderr.isatty() and "GITHUB_ACTIONS" not in os.environ:
        with StepTable() as table:
            yield table
    elif "GITHUB_ACTIONS" in os.environ:
        yield WorkflowLog(lambda line: click.echo(line, err=True))
    else:
        yield StepLines(lambda line: click.echo(line, err=True))


# --- what came out ----------------------------------------------------------------------------


def _write(outcome: PipelineOutcome, path: Path, format_: str, store: str | None) -> None:
    if format_ == "json":
        from mlops_nb.documents import to_json

        click.echo(to_json(outcome.document()))
        return
    if format_ == "md":
        from mlops_nb.pipeline.reports import markdown_report

        click.echo(markdown_report(outcome.document()), nl=False)
        return
    for line in _sentences(outcome, path, store):
        click.echo(line)


def _sentences(outcome: PipelineOutcome, path: Path, store: str | None) -> Iterator[str]:
    """Say how it went, and what to do next."""
    from mlops_nb.cli.running import short_path
    from mlops_nb.display.formats import number

    where = f" --store {shlex.quote(store)}" if store else ""
    run = outcome.run[:8]
    failed = [step for step in outcome.steps if step.state == "failed"]
    for step in failed:
        yield from _failure_lines(step.name, step.error or {})
    saved = f" · {outcome.saved_s:.1f} s saved by cache" if outcome.saved_s else ""
    metrics = "".join(f" · {k} {number(v)}" for k, v in list(outcome.metrics.items())[:3])
    yield f"run {run} · {outcome.status} · {outcome.duration_s:.1f} s{saved}{metrics}"
    if any(step.run for step in outcome.steps):
        yield f"notebooks: {short_path(outcome.folder)}"
    for step in failed[:1]:
        own = f"show: mlops-nb show {step.run[:8]} --errors{where}    " if step.run else ""
        yield f"{own}debug: mlops-nb step debug {run} {shlex.quote(step.name)}{where}"
    if outcome.status in {"failed", "interrupted"}:
        yield f"go on: mlops-nb run {short_path(path)} --resume {run}{where}"
    else:
        yield f"look: mlops-nb show {run}{where}    compare: mlops-nb compare {run} @-1{where}"


def _failure_lines(step: str, error: Mapping[str, Any]) -> Iterator[str]:
    """Show the cell that failed: what it raised, and the five lines around."""
    from mlops_nb.pipeline.reports import where_of

    where = error.get("part") or where_of(error)
    message = str(error.get("message", "")).strip().splitlines() or [""]
    yield f"✕ {step}: {error.get('type')}{f' in {where}' if where else ''}: {message[0]}"
    for line in error.get("lines") or ():
        yield f"    {line}"
