"""What all commands share: options, opening the store, and writing a view."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from mlops_nb.display import View
    from mlops_nb.store import Store

F = TypeVar("F", bound="Callable[..., Any]")

FORMATS = ("table", "json", "md")
CHECK_SAID_NO = 1
"""The exit code of a check that found what it looks for."""

_debug = {"is_on": "MLOPS_NB_DEBUG" in os.environ}


def is_debug() -> bool:
    """Whether errors are shown with their traceback."""
    return _debug["is_on"]


def _set_debug(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    _debug["is_on"] = _debug["is_on"] or value


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_debug,
    help="Show errors with their traceback.",
)
store_option = click.option(
    "--store",
    metavar="PATH",
    help="The store's folder. [default: .mlops, found from here upwards]",
)
format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="A table for people, JSON for programs, Markdown for a report.",
)


def shared_options(command: F) -> F:
    """Give a command ``--format``, ``--store`` and ``--debug``."""
    return format_option(store_option(debug_option(command)))


def examples(*lines: str) -> str:
    """Write lines that help shows as they are."""
    return "\b\n" + "\n".join(lines)


def open_store(given: str | None) -> Store:
    """Open the store of this folder, with everything in it that is still on its way.

    Raises
    ------
    StoreNotFound
        There is none here or above.
    """
    from mlops_nb.config import load_settings
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.store import Store
    from mlops_nb.store.locate import find

    here = Path.cwd()
    location = find(here, load_settings(here, store=given))
    if location is None:
        raise StoreNotFound(given or str(here))
    store = Store.open(location)
    store.refresh()
    return store


def write_view(view: View, format_: str) -> None:
    """Write a view to standard output."""
    if format_ == "json":
        from mlops_nb.documents import to_json

        click.echo(to_json(view.document()))
    elif format_ == "md":
        click.echo(view.markdown)
    else:
        click.echo(view.to_text(color=has_color()))


def write_page(view: View, path: Path | None) -> None:
    """Write a view as a file of its own, where one is asked for."""
    if path is not None:
        path.write_text(view.html_page(), encoding="utf-8")
        click.echo(f"written: {path}", err=True)


def has_color() -> bool:
    """Whether a person at a terminal that shows colours reads standard output."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def complete_run(
    _context: click.Context, _parameter: click.Parameter, beginning: str
) -> list[CompletionItem]:
    """Offer the newest runs of the store here; nothing where there is none."""
    from click.shell_completion import CompletionItem

    from mlops_nb.errors import MlopsNbError

    try:
        with open_store(None) as store:
            found = store.runs(limit=100)
    except (MlopsNbError, OSError):
        return []
    return [
        CompletionItem(run.id[:8], help=f"{run.name} {run.status}")
        for run in found
        if run.id.startswith(beginning) or run.name.startswith(beginning)
    ]
