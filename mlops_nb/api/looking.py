"""Looking at runs: `runs`, `show` and `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb import session as sessions
from mlops_nb.api.current import open_store

if TYPE_CHECKING:
    from mlops_nb.display import ComparisonView, RunsView, RunView


def runs(query: str | None = None, *, limit: int | None = 50, archived: bool = False) -> RunsView:
    """List runs, newest first.

    Parameters
    ----------
    query
        ``"params.lr > 0.01 and metrics.auc >= 0.9 and status = 'finished'"``.
    limit
        Most rows; None for all.
    archived
        Whether archived runs are listed too; so they are if the query asks about ``archived``.

    Returns
    -------
    RunsView
        The list, with ``df`` as a pandas DataFrame. Which runs they are is read at once, and
        what they hold when it is looked at.

    Raises
    ------
    BadQuery
        With the place in the text that does not fit.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.runs("metrics.accuracy > 0.9")  # doctest: +SKIP
    >>> everything = mn.runs(limit=None).df  # doctest: +SKIP
    """
    from mlops_nb.display import RunsView

    with open_store() as store:
        found = store.find_runs(query, limit=limit, archived=archived)
        left_out = 0 if found or query else store.count_runs("archived")
    return RunsView(found, query=query, archived=left_out)


def show(reference: str = "@-1", *, sections: tuple[str, ...] = ()) -> RunView:
    """Show everything that is kept of one run.

    Parameters
    ----------
    reference
        Id, unique beginning of one, name, ``@-1``, ``@best:METRIC``, ``tag:NAME``.
    sections
        Only these: ``data``, ``env``, ``resources``, ``errors``.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    """
    from mlops_nb.display import view_run

    with open_store() as store:
        return view_run(store, store.get_run(reference), sections=sections)


def compare(
    *references: str,
    query: str | None = None,
    baseline: str | None = None,
    sort_by: str | None = None,
    all_params: bool = False,
    limit: int = 50,
) -> ComparisonView:
    """Compare runs: what differs, what came out, which is best.

    Parameters
    ----------
    *references
        Runs; this notebook's newest if left out.
    query
        Selects runs, as in `runs`.
    baseline
        Run that differences are counted from; the best one if left out.
    sort_by
        Metric to sort by; the first that all have if left out.
    all_params
        Show also the parameters in which they agree.
    limit
        Most runs, where none are named.

    Raises
    ------
    RunNotFound, BadQuery
        A reference or the query does not fit.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.compare(sort_by="auc").df  # doctest: +SKIP
    """
    from mlops_nb.display import view_comparison

    session = sessions.active()
    notebook = str(session.notebook) if session is not None and session.notebook else None
    with open_store() as store:
        return view_comparison(
            store,
            references,
            query=query,
            notebook=notebook if not (references or query) else None,
            baseline=baseline,
            sort_by=sort_by,
            all_params=all_params,
            limit=limit,
        )
