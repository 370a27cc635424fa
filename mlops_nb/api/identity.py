"""Why a run is different, where something came from, what it ran on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import session as sessions
from mlops_nb.api.current import open_store

if TYPE_CHECKING:
    from mlops_nb.display import View
    from mlops_nb.display.difference import DifferenceView
    from mlops_nb.display.lineage import LineageView


def diff(a: str, b: str = "@-1") -> DifferenceView:
    """Say why one run is different from another, the most likely cause first.

    Parameters
    ----------
    a, b
        As in `show`; differences are said of `b`.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.diff("@-2", "@-1")  # doctest: +SKIP
    """
    from mlops_nb.display.identity import view_difference

    with open_store() as store:
        return view_difference(store, a, b)


def lineage(what: str, *, downstream: bool = False) -> LineageView:
    """Draw where something came from, or what came of it.

    Parameters
    ----------
    what
        A run, a file's path, a model's name, a metric, or a variable of the notebook; where one
        name is several of these, ``"model:NAME"`` says which.
    downstream
        Look at what came of it.

    Raises
    ------
    BadValue
        Nothing has this name.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.lineage("auc")  # doctest: +SKIP
    """
    from mlops_nb.display.identity import view_lineage

    session = sessions.active()
    with open_store() as store:
        return view_lineage(
            store,
            what,
            session=None if session is None else session.id,
            is_downstream=downstream,
        )


def environment(action: str = "show", *names: str) -> View:
    """Show what this process runs on, what differs from a run's, or write a lock of it.

    Parameters
    ----------
    action
        ``"show"``, ``"diff"`` or ``"lock"``.
    *names
        For ``"diff"`` a run, compared with this process, or two runs; for ``"lock"`` the file.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    LockFailed
        No lock could be written.

    Examples
    --------
    >>> from mlops_nb.api import environment
    >>> environment().document()["python"]["implementation"]
    'cpython'
    """
    from mlops_nb.environment import git_state, read_environment

    if action == "lock":
        from mlops_nb.display.asking import lock_environment

        return lock_environment(names[0] if names else None)
    if action == "diff":
        from mlops_nb.display.identity import view_environment_difference

        first, second = (*names, None, None)[:2]
        with open_store() as store:
            return view_environment_difference(
                store, first or "@-1", second, now=read_environment()
            )
    from mlops_nb.display.environment import EnvironmentView

    return EnvironmentView(read_environment(), git_state(Path.cwd()))
