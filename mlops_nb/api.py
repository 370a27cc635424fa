"""The Python functions of the notebook: the same verbs as the magics."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, overload

from mlops_nb import session as sessions
from mlops_nb.config import load_settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from mlops_nb.display import ComparisonView, RunsView, RunView, View
    from mlops_nb.display.difference import DifferenceView
    from mlops_nb.display.lineage import LineageView
    from mlops_nb.display.replay import ReplayView, RestoredView
    from mlops_nb.replay import Watcher
    from mlops_nb.session import Session
    from mlops_nb.store import Store
    from mlops_nb.tracking import LiveRun

P = ParamSpec("P")
R = TypeVar("R")


def _session() -> Session:
    """The session of this process; a first call in a script or notebook begins one."""
    session = sessions.active()
    return session if session is not None else sessions.start_session(_shell())


def _shell() -> object:
    import sys

    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


# --- runs -------------------------------------------------------------------------------------


def run(
    name: str | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, object] | None = None,
) -> LiveRun:
    """Open a run.

    Use it as a context manager, or call `end` on it. A run that was never ended is ended as
    ``superseded`` when its cell opens it again.

    Parameters
    ----------
    name
        Names the run and its group of attempts; the notebook's name if left out.
    tags, params
        Written at once.

    Returns
    -------
    LiveRun
        Its ``log_*`` methods always write to this run.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> with mn.run("baseline", params={"depth": 3}) as r:  # doctest: +SKIP
    ...     r.log_metric("accuracy", 0.93)
    """
    tracker = _session().tracker
    opened = tracker.open(name, kind="interactive", tags=tags or {})
    opened.log_params(params or {})
    return opened


@overload
def track(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def track(
    function: None = None, /, *, name: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def track(function: object = None, /, *, name: str | None = None) -> object:
    """Make every call of a function a run: arguments are parameters, a returned mapping metrics.

    Parameters
    ----------
    function
        What to track; left out when `name` is given.
    name
        Of the runs; the function's name if left out.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> @mn.track
    ... def train(depth=3):
    ...     return {"accuracy": 0.93}
    >>> train(depth=4)  # doctest: +SKIP
    {'accuracy': 0.93}
    """
    if not callable(function):
        return functools.partial(_tracked, name=name)
    return _tracked(function, name=name)


def _tracked(function: Callable[P, R], *, name: str | None) -> Callable[P, R]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        with run(name or function.__name__, params=bound.arguments) as opened:
            result = function(*args, **kwargs)
            if isinstance(result, Mapping):
                opened.log(result)
            return result

    return tracked


# --- logging ----------------------------------------------------------------------------------


def log(
    data: Mapping[str, object] | None = None, /, *, step: int | None = None, **values: object
) -> None:
    """Log to the current run: numbers as metrics, figures as artifacts, the rest as parameters.

    Parameters
    ----------
    data
        What to log, by name.
    step
        Of the metrics; counts up per name if left out.
    **values
        More of `data`, as keywords.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.log({"loss": 0.3, "optimizer": "adam"}, step=1)  # doctest: +SKIP
    """
    _session().tracker.log({**(data or {}), **values}, step=step)


def log_metric(key: str, value: float, step: int | None = None) -> None:
    """Log one value of a metric to the current run.

    Parameters
    ----------
    key, value
        Its name and number (NumPy and torch scalars too).
    step
        Counts up per name if left out.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> for loss in (0.9, 0.5, 0.3):  # doctest: +SKIP
    ...     mn.log_metric("loss", loss)
    """
    session = sessions._active or _session()  # noqa: SLF001  # the hot path: one attribute, no call
    session.tracker.log_metric(key, value, step)


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log several metrics at one step.

    Parameters
    ----------
    metrics
        Numbers by name.
    step
        Counts up per name if left out.
    """
    for key, value in metrics.items():
        log_metric(key, value, step)


def log_param(key: str, value: object) -> None:
    """Log a parameter to the current run; another value is kept as a new version of it.

    Parameters
    ----------
    key, value
        Its name and value; what JSON cannot hold is kept as a short text.
    """
    _session().tracker.log_param(key, value)


def log_params(params: Mapping[str, object]) -> None:
    """Log several parameters.

    Parameters
    ----------
    params
        Values by name.
    """
    for key, value in params.items():
        log_param(key, value)


def set_tag(key: str, value: str = "true") -> None:
    """Set a tag of the current run.

    Parameters
    ----------
    key, value
        Runs are found by them: ``tag:stage=prod``, or ``tag:stage`` whatever the value.
    """
    _session().tracker.set_tag(key, value)


def log_artifact(path: str | Path, name: str | None = None, kind: str = "file") -> None:
    """Keep a copy of a file, as it is now, with the current run.

    Parameters
    ----------
    path
        Of the file.
    name
        What it is called in the run; its own name if left out.
    kind
        Its role: ``"model"``, ``"table"``, ``"log"``, …

    Raises
    ------
    ArtifactUnreadable
        There is no such file, or it cannot be read.
    """
    _session().tracker.log_artifact(path, name=name, kind=kind)


def log_figure(figure: object = None, name: str = "figure") -> None:
    """Keep a matplotlib figure with the current run.

    Parameters
    ----------
    figure
        The current one if left out.
    name
        What it is called in the run.
    """
    _session().tracker.log_figure(figure, name=name)


def log_table(rows: object, name: str = "table") -> None:
    """Keep a table with the current run.

    Parameters
    ----------
    rows
        A DataFrame or a list of dictionaries.
    name
        What it is called in the run.
    """
    _session().tracker.log_table(rows, name=name)


# --- looking ----------------------------------------------------------------------------------


def open_store(location: str | Path | None = None) -> Store:
    """Open the store of this notebook, with everything logged so far in it.

    Parameters
    ----------
    location
        Its folder; found by walking up from here if left out.

    Raises
    ------
    StoreNotFound
        There is none yet.
    """
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.store import Store
    from mlops_nb.store.locate import find

    session = sessions.active()
    if location is None and session is not None:
        location = session.location
    if location is None:
        location = find(Path.cwd(), load_settings(Path.cwd()))
    if location is None:
        raise StoreNotFound(str(Path.cwd()))
    store = Store.open(location, create=session is not None)
    store.refresh()
    return store


def runs(query: str | None = None, *, limit: int | None = 50) -> RunsView:
    """List runs, newest first.

    Parameters
    ----------
    query
        ``"params.lr > 0.01 and metrics.auc >= 0.9 and status = 'finished'"``.
    limit
        Most rows.

    Raises
    ------
    BadQuery
        With the place in the text that does not fit.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.runs("metrics.accuracy > 0.9")  # doctest: +SKIP
    """
    from mlops_nb.display import RunsView

    with open_store() as store:
        found = tuple(store.runs(query, limit=limit))
        return RunsView(found, total=store.count_runs(query), query=query)


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


# --- why, and where from ------------------------------------------------------------------------


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


# --- again ------------------------------------------------------------------------------------


def restore(
    reference: str = "@-1",
    path: str | Path | None = None,
    *,
    outputs: bool = False,
    force: bool = False,
) -> NotebookNode:
    """Get the recorded cells of a run back as a notebook, in the order in which they ran.

    Parameters
    ----------
    reference
        As in `show`.
    path
        Where to write it; only given back if left out.
    outputs
        Whether the cells carry what they showed.
    force
        Whether a file that is there is overwritten.

    Returns
    -------
    nbformat.NotebookNode
        Secrets in it stay ``⟨secret:NAME⟩``.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadNotebook
        No cell of the run is recorded, or there is a file already.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.restore("@best:auc", "best.ipynb")  # doctest: +SKIP
    """
    from mlops_nb.replay import choose, write_restored
    from mlops_nb.replay import restore as restored

    with open_store() as store:
        notebook = restored(store, choose(store, reference), outputs=outputs)
    if path is not None:
        write_restored(notebook, Path(path), force=force)
    return notebook


def restore_to(
    reference: str, path: str | Path | None, *, outputs: bool, force: bool
) -> RestoredView:
    """Write the cells of a run as `restore` does, and say where; the magic's half of it."""
    from mlops_nb.display.replay import RestoredView
    from mlops_nb.replay import choose, default_name, write_restored
    from mlops_nb.replay import restore as restored

    with open_store() as store:
        run = choose(store, reference)
        notebook = restored(store, run, outputs=outputs)
    written = write_restored(notebook, Path(path or default_name(run)), force=force)
    return RestoredView(run, written, len(notebook.metadata.mlops_nb.executions))


def replay(
    reference: str = "@-1",
    *,
    trust: bool = False,
    output: str | Path | None = None,
    folder: str | Path | None = None,
    watcher: Watcher | None = None,
) -> ReplayView:
    """Run a run's cells again in a fresh kernel, and compare all data and metrics.

    Parameters
    ----------
    reference
        As in `show`.
    trust
        Whether cells that you may not have recorded are run.
    output
        The executed notebook; in the store if left out.
    folder
        Where the cells run; the notebook's folder if left out.
    watcher
        Is told of the progress, and asked where `trust` is not given.

    Returns
    -------
    ReplayView
        Its `outcome` is one of ``verified``, ``verified-close``, ``differs``, ``needs-secret``,
        ``not-replayable``; its `replay` has all that was compared.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    NotTrusted
        Someone else recorded it, and `trust` is not given.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.replay("@best:auc").outcome  # doctest: +SKIP
    'verified'
    """
    from mlops_nb.display.replay import ReplayView
    from mlops_nb.replay import choose
    from mlops_nb.replay import replay as replayed

    with open_store() as store:
        found = replayed(
            store,
            choose(store, reference),
            trust=trust,
            output=None if output is None else Path(output),
            folder=None if folder is None else Path(folder),
            watcher=watcher,
        )
    return ReplayView(found)
