"""Runs with a beginning and an end of one's own: `run` and `track`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ParamSpec, TypeVar, overload

from mlops_nb.api.current import current_session

if TYPE_CHECKING:
    from mlops_nb.tracking import LiveRun

P = ParamSpec("P")
R = TypeVar("R")


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
    tracker = current_session().tracker
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
