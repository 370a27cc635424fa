"""Why a run is different, where something came from, what it ran on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import session as sessions
from mlops_nb.api.current import open_store
from mlops_nb.errors import BadValue

if TYPE_CHECKING:
    from mlops_nb.display import View
    from mlops_nb.display.difference import DifferenceView
    from mlops_nb.display.lineage import LineageView
    from mlops_nb.environment.lock import LockKind


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


def env(
    action: str = "show",
    *names: str,
    output: str | Path | None = None,
    kind: LockKind | None = None,
    offline: bool = False,
    all_packages: bool = False,
    force: bool = False,
) -> View:
    """Show what this process or a run ran on, what differs, or write a lock of it.

    Parameters
    ----------
    action
        ``"show"``, ``"diff"`` or ``"lock"``.
    *names
        For ``"show"`` and ``"lock"`` a run, else it is about this process; for ``"diff"`` a run,
        compared with this process, or two runs.
    output
        For ``"lock"``: the file, or a folder for one with the usual name.
    kind
        For ``"lock"``: ``"pylock"`` (a ``pylock.toml``) or ``"requirements"`` with hashes.
    offline
        For ``"lock"``: ask no package index; a list of versions without hashes.
    all_packages
        For ``"lock"``: all that is installed, not only what was imported and what that needs.
    force
        For ``"lock"``: overwrite a file that mlops_nb has not written.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadValue
        There are too many names, or it was not recorded what the run ran on.
    LockFailed
        No lock could be written.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.env().document()["python"]["implementation"]
    'cpython'
    """
    most = 2 if action == "diff" else 1
    if len(names) > most:
        problem = f"of {len(names)} is too many for {action}, which takes {most}"
        raise BadValue("list of runs", problem, "A file is given by --output")
    if action == "diff":
        return _environment_difference(*names)
    if action == "lock":
        return _lock(
            names[0] if names else None,
            output=output,
            kind=kind,
            offline=offline,
            all_packages=all_packages,
            overwrite=force,
        )
    if names:
        from mlops_nb.display.identity import view_environment

        with open_store() as store:
            return view_environment(store, names[0])
    return _here()


def _environment_difference(a: str = "@-1", b: str | None = None) -> View:
    from mlops_nb.display.identity import view_environment_difference
    from mlops_nb.environment import read_environment

    with open_store() as store:
        return view_environment_difference(store, a, b, now=read_environment())


def _lock(reference: str | None, **options: Any) -> View:
    from mlops_nb.display.asking import lock_environment
    from mlops_nb.display.identity import environment_of

    if reference is None:
        return lock_environment(None, **options)
    with open_store() as store:
        found = environment_of(store, store.get_run(reference))
    return lock_environment(found, **options)


def _here() -> View:
    from mlops_nb.display.environment import EnvironmentView
    from mlops_nb.environment import git_state, read_environment, read_imports

    here = read_environment()
    content = {**here.content, "details": read_imports(here)}
    return EnvironmentView(replace(here, content=content), git_state(Path.cwd()))
