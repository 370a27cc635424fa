"""``mlops-nb run``: a notebook as one run, watched cell by cell; or as a pipeline."""

from __future__ import annotations

import logging
import shlex
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli.frame import examples, shared_options
from mlops_nb.cli.running_pipelines import (
    StepOptions,
    is_pipeline,
    pipeline_options,
    run_asked,
    write_report,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.model import Run
    from mlops_nb.notebook import Notebook
    from mlops_nb.papermill_engine import Failure, Outcome, RunPlan

    OnProgress = Callable[[int, int, str], None]

CELL_FAILED = 3
_SHOWN_METRICS = 3


class Pair(click.ParamType[tuple[str, str]]):
    """``name=value`` on a command line."""

    name = "name=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first equals sign."""
        if isinstance(value, tuple):
            return value
        key, sign, text = str(value).partition("=")
        if not sign or not key.strip():
            self.fail(f'"{value}" is not name=value', param, ctx)
        return key.strip(), text


@click.command(
    epilog=examples(
        "mlops-nb run train.ipynb -p C=0.5 -p solver=saga",
        "mlops-nb run train.ipynb -f params.yaml -o report.ipynb --name nightly",
        "mlops-nb run train.ipynb -j 4 --from forest --force forest",
        "mlops-nb run churn/ --report junit --report-to report.xml",
    )
)
@click.argument("notebook", metavar="NOTEBOOK|FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--param", "-p", "pairs", type=Pair(), multiple=True, metavar="NAME=VALUE", help="A parameter."
)
@click.option(
    "--params-file",
    "-f",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Parameters as YAML or JSON; -p wins over them.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The executed notebook. [default: in the store, by the run's id]",
)
@click.option("--kernel", "-k", help="Name of a kernel. [default: the notebook's]")
@click.option("--name", help="Name of the run, and of the group of its attempts.")
@click.option("--experiment", "-e", help="What the run belongs to.")
@click.option("--tag", "-t", "tags", type=Pair(), multiple=True, metavar="K=V", help="A tag.")
@click.option(
    "--cwd",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the kernel runs. [default: the notebook's folder]",
)
@click.option("--whole", is_flag=True, help="One run, whatever steps the notebook has.")
@pipeline_options
@shared_options
@click.pass_context
def run(
    context: click.Context,
    /,
    notebook: Path,
    pairs: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
    output: Path | None,
    kernel: str | None,
    name: str | None,
    experiment: str | None,
    tags: tuple[tuple[str, str], ...],
    cwd: Path | None,
    whole: bool,
    format_: str,
    store: str | None,
    **steps: Any,
) -> None:
    """Run a notebook: one with steps as a pipeline, any other one as one tracked run.

    Of a pipeline, only the steps run whose results are not kept: see why with --dry-run.
    """
    asked = StepOptions(**steps)
    given = {**parameters_in(files), **dict(pairs)}
    if not whole and is_pipeline(notebook, asked):
        if output is not None:
            problem = "-o is for one executed notebook, and a pipeline has several"
            raise click.UsageError(f"{problem}: give --whole too, or leave it out")
        more = {"name": name, "experiment": experiment or "", "tags": dict(tags)}
        context.exit(
            run_asked(
                notebook,
                given,
                asked,
                kernel=kernel,
                place=cwd,
                store=store,
                format_=format_,
                **more,
            )
        )
    asked.refuse(is_whole=whole)
    from mlops_nb.model import new_run_id
    from mlops_nb.notebook import read_notebook
    from mlops_nb.papermill_engine import plan_run

    read = read_notebook(notebook)
    plan = plan_run(read, params=given, kernel=kernel)
    run_id = new_run_id()
    batch = {
        "run": run_id,
        "name": name,
        "experiment": experiment,
        "tags": dict(tags),
        # The kernel runs in another folder than the one in which this was typed.
        "store": store if store is None or "://" in store else str(Path(store).absolute()),
    }
    target = output or _output_in_store(notebook, store, run_id)
    outcome = _watched(plan, target, folder=cwd, batch=batch)
    recorded = _recorded(outcome, notebook, store)
    _write_outcome(read, outcome, recorded, format_)
    if asked.report is not None:
        write_report(_document(read, outcome, recorded), asked.report, asked.report_to)
    if outcome.failure is not None:
        context.exit(CELL_FAILED)


def parameters_in(files: tuple[Path, ...]) -> dict[str, object]:
    """Read parameter files; a later one wins."""
    if not files:
        return {}  # papermill takes a while to load
    import yaml
    from papermill.iorw import NoDatesSafeLoader

    given: dict[str, object] = {}
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
            # Papermill's: a safe loader that leaves dates as texts.
            content = yaml.load(text, Loader=NoDatesSafeLoader)  # noqa: S506
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise click.UsageError(f"{path} is not YAML: {reason}") from None
        if content is not None and not isinstance(content, dict):
            raise click.UsageError(f"{path} does not hold names and values, as in: C: 0.5")
        given.update({str(key): value for key, value in (content or {}).items()})
    return given


def _output_in_store(notebook: Path, given: str | None, run_id: str) -> Path:
    """Choose a place in the store, named after the run."""
    from mlops_nb.config import load_settings
    from mlops_nb.store.locate import locate, prepare

    folder = notebook.absolute().parent
    location = locate(folder, load_settings(folder, store=given))
    if "://" in location:
        return Path.cwd() / f"{notebook.stem}-{run_id[:8]}.ipynb"
    home = prepare(location) / "runs" / run_id
    home.mkdir(parents=True, exist_ok=True)
    return home / notebook.name


# --- watching ---------------------------------------------------------------------------------


def _watched(plan: RunPlan, output: Path, **how: Any) -> Outcome:
    """Run with a bar in a terminal, else with a plain line per event."""
    from mlops_nb.papermill_engine import run_notebook

    notebook = plan.notebook
    watch = progress_bar if sys.stderr.isatty() else progress_lines
    title = Path(notebook.path).name
    with watch(title, len(notebook.cells)) as (say, on_progress), _remarks_to(say):
        say(f"{title}: {len(notebook.code_cells)} code cells{_chosen(plan)}")
        for warning in notebook.warnings:
            say(f"note: {warning}")
        try:
            return run_notebook(plan, output, on_progress=on_progress, **how)
        except KeyboardInterrupt:
            say(f"what ran is in {short_path(output)}")
            raise


def _chosen(plan: RunPlan) -> str:
    """Say which parameters were given, and what they would have been."""
    from mlops_nb.notebook import parameters

    if not plan.params:
        return ""
    defaults = {known.name: known.written for known in parameters(plan.notebook)}
    given = (f"{key}={value} (default {defaults[key]})" for key, value in plan.params.items())
    return f" · params {', '.join(given)}"


@contextmanager
def progress_lines(_title: str, _total: int) -> Iterator[tuple[Callable[[str], None], OnProgress]]:
    """Print a line at the end of each cell."""
    begun: dict[int, float] = {}

    def say(text: str) -> None:
        click.echo(text, err=True)

    def on_progress(index: int, total: int, what: str) -> None:
        if what == "started":
            begun[index] = time.monotonic()
            return
        say(f"cell {index + 1}/{total} {what} {time.monotonic() - begun.pop(index):.1f} s")

    yield say, on_progress


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[tuple[Callable[[str], None], OnProgress]]:
    """Draw one bar that moves with the cells."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("cell {task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)

        def on_progress(_index: int, total: int, what: str) -> None:
            progress.update(task, total=total, advance=what != "started")

        def say(text: str) -> None:
            console.print(text, markup=False, highlight=False)

        yield say, on_progress


@contextmanager
def _remarks_to(say: Callable[[str], None]) -> Iterator[None]:
    """Show the engine's warnings as ours, each once, and keep the libraries' own to themselves."""

    class Remarks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = f"warning: {record.getMessage()}"
            if text not in seen:
                seen.add(text)
                say(text)

    seen: set[str] = set()
    handler = Remarks(logging.WARNING)
    logger = logging.getLogger("papermill")
    was_propagating, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = was_propagating


# --- what came out ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The run as the store has it; `where` is what a command needs to find that store."""

    run: Run
    where: str = ""


def _recorded(outcome: Outcome, notebook: Path, given: str | None) -> _Recorded | None:
    """Read the run back, None where it could not be recorded."""
    from mlops_nb.config import load_settings
    from mlops_nb.errors import MlopsNbError
    from mlops_nb.store import Store
    from mlops_nb.store.address import location_of
    from mlops_nb.store.locate import find

    folder, here = notebook.absolute().parent, Path.cwd()
    try:
        location = find(folder, load_settings(folder, store=given))
        if location is None:
            return None
        with Store.open(location) as store:
            store.refresh()
            run = store.find_run(outcome.run) if outcome.run else None
        is_found_here = location == find(here, load_settings(here))
    except MlopsNbError as error:
        click.echo(f"warning: {error}", err=True)
        return None
    if run is None:
        return None
    name = location_of(location) if "://" in location else short_path(location)
    return _Recorded(run, "" if is_found_here else f" --store {name}")


def _write_outcome(
    notebook: Notebook, outcome: Outcome, recorded: _Recorded | None, format_: str
) -> None:
    if format_ == "json":
        from mlops_nb.documents import to_json

        click.echo(to_json(_document(notebook, outcome, recorded)))
        return
    bullet = "- " if format_ == "md" else ""
    for line in _sentences(notebook, outcome, recorded):
        click.echo(f"{bullet}{line}" if line and not line.startswith("    ") else line)


def _document(notebook: Notebook, outcome: Outcome, recorded: _Recorded | None) -> dict[str, Any]:
    """Describe a run of one step."""
    from mlops_nb.documents import plain

    failure = outcome.failure
    error = failure and {
        "type": failure.type,
        "message": failure.message,
        "cell": failure.cell,
        "line": failure.line,
    }
    step = {
        "name": Path(notebook.path).stem,
        "status": recorded.run.status if recorded else outcome.status,
        "cached": False,
        "duration_s": outcome.duration_s,
        "run": recorded.run.id if recorded else None,
        "notebook": str(outcome.output),
        "error": error,
    }
    document: dict[str, Any] = plain(
        {
            "id": step["run"],
            "status": step["status"],
            "steps": [step],
            "outputs": {"notebook": str(outcome.output)},
        }
    )
    return document


def _sentences(notebook: Notebook, outcome: Outcome, recorded: _Recorded | None) -> Iterator[str]:
    """Say how it went, and what to do next."""
    step = Path(notebook.path).stem
    if outcome.failure is not None:
        yield from _failure_lines(step, outcome.failure)
    head = f"run {recorded.run.id[:8]}" if recorded else "not recorded"
    results = "".join(f" · {text}" for text in _results(recorded))
    yield f"{head} · {outcome.status} · {outcome.duration_s:.1f} s{results}"
    yield f"notebook: {short_path(outcome.output)}"
    if recorded is None:
        yield "why: mlops-nb doctor"
        return
    run_id, where = recorded.run.id[:8], recorded.where
    if outcome.failure is not None:
        show = f"mlops-nb show {run_id}"
        yield f"traceback: {show} --errors{where}    everything: {show}{where}"
    else:
        yield f"look: mlops-nb show {run_id}{where}    compare: mlops-nb compare{where}"


def _results(recorded: _Recorded | None) -> Iterator[str]:
    from mlops_nb.display.formats import number

    for key, metric in list((recorded.run.metrics if recorded else {}).items())[:_SHOWN_METRICS]:
        yield f"{key} {number(metric.value)}"


def _failure_lines(step: str, failure: Failure) -> Iterator[str]:
    """Show the cell that failed: what it raised, and the five lines around."""
    where = f"cell {failure.cell}" + (f" line {failure.line}" if failure.line else "")
    message = failure.message.strip().splitlines() or [""]
    yield f"✕ {step}: {failure.type} in {where}: {message[0]}"
    for number, text in failure.lines:
        mark = ">" if number == failure.line else " "
        yield f"    {mark} {number:>3}  {text}"


def short_path(path: Path | str) -> str:
    """Write a path as short as it can be typed here."""
    try:
        return shlex.quote(str(Path(path).absolute().relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))
