"""The command ``mlops-nb``: parse, call one thing, show it.

Exit codes: 0 done, 1 a check said no, 2 usage or bad input, 3 a cell failed, 130 interrupted.
What a program reads goes to standard output, what a person watches to standard error.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

from mlops_nb import __version__
from mlops_nb.cli.caching import cache, status
from mlops_nb.cli.completion import completion
from mlops_nb.cli.converting import convert
from mlops_nb.cli.editing import COMMANDS as EDITING
from mlops_nb.cli.exporting import export
from mlops_nb.cli.frame import debug_option, is_debug
from mlops_nb.cli.graphing import graph, why
from mlops_nb.cli.identity import data, diff, env, lineage
from mlops_nb.cli.inspecting import inspect
from mlops_nb.cli.looking import compare, doctor, runs, show
from mlops_nb.cli.replaying import replay, restore
from mlops_nb.cli.running import run
from mlops_nb.cli.scheduling import schedule, scheduler
from mlops_nb.cli.stepping import step
from mlops_nb.cli.store import store
from mlops_nb.errors import MlopsNbError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

INTERRUPTED = 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A RUN is an id or its beginning (7f3a), a name, @-1 (the newest), @best:METRIC or "
    "tag:NAME. Each command explains itself: mlops-nb COMMAND -h",
)
@click.version_option(__version__, prog_name="mlops-nb")
@debug_option
def cli() -> None:
    """Look at what your notebooks did, and run them."""


for command in (
    runs,
    compare,
    diff,
    show,
    run,
    step,
    replay,
    restore,
    doctor,
    data,
    env,
    lineage,
    inspect,
    graph,
    why,
    convert,
    status,
    cache,
    schedule,
    scheduler,
    export,
    store,
    *EDITING,
    completion,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Parameters
    ----------
    arguments
        As typed, without the program's name; those of this process if left out.

    Raises
    ------
    SystemExit
        Always; see the module for its codes.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A star that a terminal cannot show is no reason to fail.
            stream.reconfigure(errors="replace")
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="mlops-nb",
            standalone_mode=False,
        )
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MlopsNbError as error:
        return _refuse(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader (`head`) has seen enough; Python would complain when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(_said(error), click.UsageError.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost edge: a person reads one line
        text = f"{type(error).__name__}: {error}"
        hint = "This is a fault of mlops-nb. Show where it happened: mlops-nb --debug …"
        return _refuse(f"{text}\n{hint}", 70)
    return code if isinstance(code, int) else 0


def _refuse(message: str, code: int) -> int:
    """Print one message; with ``--debug`` also where it came from."""
    if is_debug():
        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    return code


def _said(error: OSError) -> str:
    """Say what the system refused, in one line."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
