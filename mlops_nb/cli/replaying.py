"""``mlops-nb restore`` and ``replay``: the cells of a run back, and run again."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli.frame import (
    CHECK_SAID_NO,
    complete_run,
    examples,
    open_store,
    shared_options,
    write_view,
)
from mlops_nb.cli.running import progress_bar, progress_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.cli.running import OnProgress
    from mlops_nb.display.replay import ReplayView
    from mlops_nb.model import Run
    from mlops_nb.store import Store


@click.command(
    epilog=examples("mlops-nb restore 7f3a", "mlops-nb restore @best:auc -o best.ipynb")
)
@click.argument("reference", metavar="[RUN]", default="@-1", shell_complete=complete_run)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="The notebook; - for standard output. [default: restored-RUN.ipynb]",
)
@click.option("--outputs", is_flag=True, help="Also what the cells showed.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@shared_options
def restore(
    reference: str,
    output: Path | None,
    outputs: bool,
    force: bool,
    format_: str,
    store: str | None,
) -> None:
    """Write the recorded cells of a run as a notebook, in the order in which they ran."""
    from mlops_nb.display.replay import RestoredView
    from mlops_nb.replay import choose, default_name, write_restored
    from mlops_nb.replay import restore as restored

    with open_store(store) as opened:
        run = choose(opened, reference)
        notebook = restored(opened, run, outputs=outputs)
    if str(output) == "-":
        import nbformat

        click.echo(nbformat.writes(notebook))
        return
    path = write_restored(notebook, output or Path(default_name(run)), force=force)
    cells = len(notebook.metadata.mlops_nb.executions)
    write_view(RestoredView(run, path, cells, "shell"), format_)


@click.command(
    epilog=examples(
        "mlops-nb replay 7f3a",
        "mlops-nb replay @best:auc --check --format json     (in CI: exit code 1 unless verified)",
    )
)
@click.argument("reference", metavar="[RUN]", default="@-1", shell_complete=complete_run)
@click.option("--check", is_flag=True, help="Exit with 1 unless it is verified.")
@click.option("--trust", is_flag=True, help="Run cells that you may not have recorded.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The executed notebook. [default: in the store, by the new run's id]",
)
@click.option(
    "--cwd",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the cells run. [default: the notebook's folder]",
)
@shared_options
@click.pass_context
def replay(
    context: click.Context,
    reference: str,
    check: bool,
    trust: bool,
    output: Path | None,
    cwd: Path | None,
    format_: str,
    store: str | None,
) -> None:
    """Run a run's cells again in a fresh kernel, and compare all data and metrics."""
    from mlops_nb.replay import choose

    with open_store(store) as opened:
        run = choose(opened, reference)
        view = _watched(opened, run, trust=trust, output=output, folder=cwd)
    write_view(view, format_)
    if check and not view.is_good:
        context.exit(CHECK_SAID_NO)


def _watched(
    store: Store, run: Run, *, trust: bool, output: Path | None, folder: Path | None
) -> ReplayView:
    """Replay with a bar in a terminal, else with a plain line per cell."""
    from mlops_nb.display.replay import ReplayView
    from mlops_nb.replay import Watcher
    from mlops_nb.replay import replay as replayed

    with ExitStack() as stack:
        progress = _Progress(stack, f"replay of {run.id[:4]}")
        watcher = Watcher(on_note=_say, on_progress=progress, ask=_ask)
        try:
            found = replayed(
                store, run, trust=trust, output=output, folder=folder, watcher=watcher
            )
        except KeyboardInterrupt as stopped:
            stack.close()
            click.echo(str(stopped), err=True)
            raise
    return ReplayView(found, "shell")


def _say(note: str) -> None:
    click.echo(f"note: {note}", err=True)


class _Progress:
    """Opens the bar with the first cell: before that, there may be a question to answer."""

    def __init__(self, stack: ExitStack, title: str) -> None:
        self._stack, self._title = stack, title
        self._move: OnProgress | None = None

    def __call__(self, index: int, total: int, what: str) -> None:
        """Move the bar, or write a line."""
        if self._move is None:
            watch = progress_bar if sys.stderr.isatty() else progress_lines
            _, self._move = self._stack.enter_context(watch(self._title, total))
        self._move(index, total, what)


def _ask(sources: Sequence[str], why: str) -> bool:
    """Show what would run, and ask; nobody there to answer is a no."""
    if not sys.stdin.isatty():
        return False
    for place, source in enumerate(sources, start=1):
        click.echo(f"--- cell {place} of {len(sources)}\n{_shown(source)}", err=True)
    return click.confirm(f"You may not have recorded this: {why}. Run it?", err=True)


def _shown(source: str) -> str:
    """Show a source that may be hostile: without what a terminal would act on."""
    from mlops_nb.display.formats import clean

    return clean(source)
