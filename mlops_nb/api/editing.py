"""Changing runs after the fact: names, notes, tags, stars, and putting runs away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.api.current import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.display.editing import EditsView
    from mlops_nb.model import Json


def rename(reference: str, name: str, *, since: int | None = None) -> EditsView:
    """Give a run another name.

    Parameters
    ----------
    reference
        As in `show`.
    name
        One line; empty gives back the one it was recorded with.
    since
        The run's `revision` when it was looked at: refused if somebody renamed it after that.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    EditRefused
        It cannot be a name.
    EditConflict
        Somebody renamed the run after `since`.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.rename("@-1", "baseline")  # doctest: +SKIP
    run 7f3a  churn   name churn → baseline
    """
    return _edited((reference,), {"name": name}, since=since)


def note(
    reference: str, text: str, *, append: bool = False, since: int | None = None
) -> EditsView:
    """Write a note on a run.

    Parameters
    ----------
    reference
        As in `show`.
    text
        Markdown, in place of the note that is there; empty takes it away.
    append
        Whether it is written below the note that is there.
    since
        The run's `revision` when it was looked at: refused if somebody changed the note after.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    EditRefused
        It is too long.
    EditConflict
        Somebody changed the note after `since`.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.note("@best:auc", "Leaks the label; do **not** use.")  # doctest: +SKIP
    """
    return _edited((reference,), {"note+" if append else "note": text}, since=since)


def tag(reference: str, key: str, value: str = "true", *, since: int | None = None) -> EditsView:
    """Set a tag of any run; `set_tag` sets one of the current run.

    Parameters
    ----------
    reference
        As in `show`.
    key, value
        Runs are found by them: ``tag:stage=prod``, or ``tag:stage`` whatever the value.
    since
        The run's `revision` when it was looked at: refused if somebody changed the tag after.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    EditRefused
        It cannot be a tag.
    EditConflict
        Somebody changed this tag after `since`.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.tag("@best:auc", "stage", "prod")  # doctest: +SKIP
    """
    return _edited((reference,), {f"tags.{key}": str(value)}, since=since)


def untag(reference: str, key: str, *, since: int | None = None) -> EditsView:
    """Take a tag away from a run.

    Parameters
    ----------
    reference
        As in `show`.
    key
        Of the tag.
    since
        The run's `revision` when it was looked at: refused if somebody changed the tag after.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    EditConflict
        Somebody changed this tag after `since`.
    """
    return _edited((reference,), {f"tags.{key}": None}, since=since)


def star(*references: str) -> EditsView:
    """Mark runs, to find them with the query ``starred``.

    Parameters
    ----------
    *references
        As in `show`.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    """
    return _edited(references, {"starred": True})


def unstar(*references: str) -> EditsView:
    """Take the mark of runs away.

    Parameters
    ----------
    *references
        As in `show`.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    """
    return _edited(references, {"starred": False})


def archive(*references: str, query: str | None = None) -> EditsView:
    """Put runs away: out of lists, names, ``@-1``, ``@best`` and comparisons, unless asked for.

    Parameters
    ----------
    *references
        As in `show`. The runs inside of a run go with it.
    query
        Also all that match, as in `runs`.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadQuery
        The query does not fit.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.archive(query="status = 'failed' and started_at < -30d")  # doctest: +SKIP
    """
    return _edited(references, {"archived": True}, query=query)


def unarchive(*references: str, query: str | None = None) -> EditsView:
    """Take runs out of the archive.

    Parameters
    ----------
    *references
        Id of an archived run, the beginning of it, or its name (then the last one archived).
    query
        Also all archived ones that match.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadQuery
        The query does not fit.
    """
    return _edited(references, {"archived": False}, query=query)


def delete(*references: str, query: str | None = None) -> EditsView:
    """Delete runs: nothing shows them any more, and `undelete` brings them back.

    What they held leaves the disk when the store's garbage is collected.

    Parameters
    ----------
    *references
        As in `show`. The runs inside of a run go with it.
    query
        Also all that match, as in `runs`.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadQuery
        The query does not fit.
    """
    return _edited(references, {"deleted": True}, query=query)


def undelete(*references: str) -> EditsView:
    """Bring deleted runs back, with all they had.

    Parameters
    ----------
    *references
        Id of a deleted run, the beginning of it, or its name (then the last one deleted).

    Raises
    ------
    RunNotFound
        No deleted run matches.
    EditRefused
        What it held was removed already.
    """
    return _edited(references, {"deleted": False})


def _edited(
    references: Sequence[str],
    changes: Mapping[str, Json],
    *,
    query: str | None = None,
    since: int | None = None,
) -> EditsView:
    from mlops_nb.display.editing import view_edits

    with open_store() as store:
        return view_edits(store, references, changes, query=query, since=since)
