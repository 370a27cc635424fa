"""``mlops-nb step run`` and ``step debug``: one step of a pipeline, by itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import complete_run, examples, open_store, shared_options
from mlops_nb.cli.running import Pair, parameters_in, short_path

if TYPE_CHECKING:
    from mlops_nb.pipeline.running import Seen


@click.group()
def step() -> None:
    """Run one step of a pipeline, or look into it."""


@step.command(
    "run",
    epilog=examples(
        "mlops-nb step run --pipeline churn/ --run 0123456789abcdef --step load",
        "mlops-nb step run --pipeline churn/ --run nightly-2026-11-21 --step train --store team",
    ),
)
@click.option(
    "--pipeline",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A notebook with steps, or a folder that mlops-nb convert has written.",
)
@click.option("--run", required=True, metavar="RUN", help="All steps of one run give the same.")
@click.option("--step", "name", required=True, metavar="NAME", help="The step.")
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
@click.option("--fast", is_flag=True, help="A forked worker in place of a kernel, where safe.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True))
@shared_options
@click.pass_context
def run_step(
    context: click.Context,
    /,
    pipeline: Path,
    run: str,
    name: str,
    pairs: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
    fast: bool,
    timeout_s: float | None,
    format_: str,
    store: str | None,
) -> None:
    """Run one step, as another scheduler asks for it.

    What the steps above it have given is read from the store. Exit code: 0 done or cached, 3 it
    failed, 4 its condition is false.
    """
    from mlops_nb.cli.step_progress import StepLines
    from mlops_nb.documents import plain, to_json
    from mlops_nb.pipeline.running.outcomes import step_document
    from mlops_nb.pipeline.running.single import run_id_of, run_single

    say = StepLines(lambda line: click.echo(line, err=True))

    def observer(seen: Seen) -> None:
        say(seen)

    code, outcomes = run_single(
        pipeline,
        run=run,
        step=name,
        params={**parameters_in(files), **dict(pairs)},
        store=store,
        fast=fast,
        timeout_s=timeout_s,
        observer=observer,
    )
    if format_ == "json":
        document = {"id": run_id_of(run), "steps": [step_document(one) for one in outcomes]}
        click.echo(to_json(plain(document)))
    else:
        bullet = "- " if format_ == "md" else ""
        for one in outcomes:
            message = str((one.error or {}).get("message", "")).strip().splitlines()[:1]
            why = f" ({message[0]})" if message else ""
            click.echo(f"{bullet}{one.name} {one.state}{why}")
    context.exit(code)


@step.command("debug", epilog=examples("mlops-nb step debug 9ab1 train"))
@click.argument("reference", metavar="RUN", shell_complete=complete_run)
@click.argument("name", metavar="STEP")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the notebook and its inputs. [default: in the store]",
)
@shared_options
def debug(reference: str, name: str, output: Path | None, format_: str, store: str | None) -> None:
    """Make a notebook with a step's inputs loaded, and its cells, also of one that failed."""
    from mlops_nb.config import load_settings
    from mlops_nb.documents import to_json
    from mlops_nb.pipeline.running.debugging import debug_step

    with open_store(store) as opened:
        run = opened.get_run(reference)
        state_dir = load_settings(store=store).state_dir
        made = debug_step(opened, run, name, folder=output, state_dir=state_dir)
    if format_ == "json":
        document = {"notebook": str(made.path), "step": name, "remarks": list(made.remarks)}
        click.echo(to_json(document))
        return
    for remark in made.remarks:
        click.echo(f"note: {remark}", err=True)
    path = short_path(made.path)
    click.echo(f"{path}: the inputs of {name} are loaded by its second cell")
    click.echo(f"open it: jupyter lab {shlex.quote(path) if ' ' in path else path}")
