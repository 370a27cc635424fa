"""``mlops-nb rename``, ``note``, ``tag``, ``star``, ``archive``, ``delete``, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli.frame import (
    complete_run,
    examples,
    open_store,
    shared_options,
    write_view,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.model import Json

_run = click.argument("reference", metavar="RUN", shell_complete=complete_run)
_runs = click.argument("references", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
_query = click.option("--query", "-q", help="Also all runs that match.")
_since = click.option(
    "--since",
    type=click.IntRange(min=0),
    metavar="REVISION",
    help="Refuse if somebody changed the same after this revision of the run.",
)


@click.command(epilog=examples('mlops-nb rename 7f3a "forest, deeper"', 'mlops-nb rename 7f3a ""'))
@_run
@click.argument("name", nargs=-1, required=True)
@_since
@shared_options
def rename(
    reference: str, name: tuple[str, ...], since: int | None, format_: str, store: str | None
) -> None:
    """Give a run another name; an empty one gives back what it was recorded with."""
    _edit((reference,), {"name": " ".join(name)}, format_, store, since=since)


@click.command(
    epilog=examples(
        'mlops-nb note @best:auc "Leaks the label; do **not** use."',
        "mlops-nb note 7f3a --from findings.md",
        "mlops-nb note 7f3a",
    )
)
@_run
@click.argument("text", nargs=-1)
@click.option("--append", "-a", is_flag=True, help="Below the note that is there.")
@click.option(
    "--from", "file", type=click.File("r"), help="Take the text from a file; - is stdin."
)
@click.option("--remove", is_flag=True, help="Take the note away.")
@_since
@shared_options
def note(
    reference: str,
    text: tuple[str, ...],
    append: bool,
    file: Any,
    remove: bool,
    since: int | None,
    format_: str,
    store: str | None,
) -> None:
    """Write a note on a run, in Markdown; without TEXT print the one that is there."""
    if sum((bool(text), file is not None, remove)) > 1:
        raise click.UsageError("Give one of TEXT, --from and --remove.")
    if not text and file is None and not remove:
        _print_note(reference, format_, store)
        return
    said = " ".join(text) if file is None else file.read()
    _edit((reference,), {"note+" if append else "note": said}, format_, store, since=since)


def _print_note(reference: str, format_: str, store: str | None) -> None:
    from mlops_nb.display.formats import clean
    from mlops_nb.documents import to_json

    with open_store(store) as opened:
        run = opened.get_run(reference)
    if format_ == "json":
        click.echo(to_json({"run": run.id, "note": run.note, "revision": run.revision}))
    else:
        click.echo(clean(run.note) if run.note else f"run {run.id[:4]} has no note")


@click.command(epilog=examples("mlops-nb tag 7f3a stage=prod owner=ann", "mlops-nb tag 7f3a seen"))
@_run
@click.argument("pairs", metavar="K[=V]...", nargs=-1, required=True)
@_since
@shared_options
def tag(
    reference: str, pairs: tuple[str, ...], since: int | None, format_: str, store: str | None
) -> None:
    """Set tags of a run; without a value it is "true"."""
    split = [pair.partition("=") for pair in pairs]
    changes = {f"tags.{key}": value if equals else "true" for key, equals, value in split}
    _edit((reference,), changes, format_, store, since=since)


@click.command(epilog=examples("mlops-nb untag 7f3a stage"))
@_run
@click.argument("keys", metavar="K...", nargs=-1, required=True)
@_since
@shared_options
def untag(
    reference: str, keys: tuple[str, ...], since: int | None, format_: str, store: str | None
) -> None:
    """Take tags away from a run."""
    changes = {f"tags.{key}": None for key in keys}
    _edit((reference,), changes, format_, store, since=since)


@click.command(epilog=examples("mlops-nb star 7f3a e21b", 'mlops-nb runs "starred"'))
@_runs
@_query
@shared_options
def star(references: tuple[str, ...], query: str | None, format_: str, store: str | None) -> None:
    """Mark runs, to find them again with the query "starred"."""
    _edit(references, {"starred": True}, format_, store, query=query)


@click.command()
@_runs
@_query
@shared_options
def unstar(
    references: tuple[str, ...], query: str | None, format_: str, store: str | None
) -> None:
    """Take the mark of runs away."""
    _edit(references, {"starred": False}, format_, store, query=query)


@click.command(
    epilog=examples(
        "mlops-nb archive 7f3a",
        "mlops-nb archive --query \"status = 'failed' and started_at < -30d\"",
    )
)
@_runs
@_query
@shared_options
def archive(
    references: tuple[str, ...], query: str | None, format_: str, store: str | None
) -> None:
    """Put runs away: out of lists, names, @-1, @best and comparisons, unless asked for."""
    _edit(references, {"archived": True}, format_, store, query=query)


@click.command()
@_runs
@_query
@shared_options
def unarchive(
    references: tuple[str, ...], query: str | None, format_: str, store: str | None
) -> None:
    """Take runs out of the archive; see them with: mlops-nb runs archived."""
    _edit(references, {"archived": False}, format_, store, query=query)


@click.command(epilog=examples("mlops-nb delete 7f3a", "mlops-nb delete --query archived"))
@_runs
@_query
@shared_options
def delete(
    references: tuple[str, ...], query: str | None, format_: str, store: str | None
) -> None:
    """Delete runs: nothing shows them any more; "undelete" brings them back."""
    _edit(references, {"deleted": True}, format_, store, query=query)


@click.command()
@click.argument("references", metavar="RUN...", nargs=-1, required=True)
@shared_options
def undelete(references: tuple[str, ...], format_: str, store: str | None) -> None:
    """Bring deleted runs back, with all they had."""
    _edit(references, {"deleted": False}, format_, store)


def _edit(
    references: Sequence[str],
    changes: Mapping[str, Json],
    format_: str,
    store: str | None,
    *,
    query: str | None = None,
    since: int | None = None,
) -> None:
    from mlops_nb.display.editing import view_edits

    if not references and query is None:
        raise click.UsageError("Give a RUN, or --query.")
    with open_store(store) as opened:
        view = view_edits(opened, references, changes, query=query, since=since, place="shell")
    write_view(view, format_)


COMMANDS: tuple[click.Command, ...] = (
    rename,
    note,
    tag,
    untag,
    star,
    unstar,
    archive,
    unarchive,
    delete,
    undelete,
)
