"""Where the steps of a pipeline run: a protocol, and its lookup by entry point.

An engine runs jobs, each a call of one function in a process of its own. It knows nothing of
pipelines: what is run, and what comes of it, are names and plain values.
"""

from __future__ import annotations

from dataclasses import field
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias

from mlops_nb.errors import MlopsNbError
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from mlops_nb.model import Json

__all__ = ["Ended", "Engine", "Job", "NoSuchEngine", "Problem", "Said", "open_engine"]

GROUP = "mlops_nb.engines"
# Looked up without a search through everything that is installed.
_OWN = {"local": "mlops_nb.engines.local:LocalEngine"}

Problem: TypeAlias = Literal["", "error", "timeout", "cancelled", "killed"]


@record
class Job:
    """One call of a function in a process of its own.

    Attributes
    ----------
    name
        Of this job among those of one engine.
    function
        As ``package.module:function``; it is called with `told` and a function that sends a
        mapping to whoever waits, and gives back a mapping. All of plain values.
    environment
        All variables of the process.
    folder
        Where it runs.
    timeout_s
        After which it is asked to end, and then killed with everything it has started.
    log
        A file for what the process writes that no notebook takes; empty: nowhere.
    spared
        Words in the command line of processes that may outlive the job.
    mark
        As ``NAME=value``: what has it in its environment is the job's, whoever has started it.
    """

    name: str
    function: str
    told: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."
    timeout_s: float | None = None
    log: str = ""
    spared: tuple[str, ...] = ()
    mark: str = ""


@record
class Said:
    """What a job has sent while it runs."""

    job: str
    content: Mapping[str, Json]


@record
class Ended:
    """A job is over, and nothing that it started is left.

    Attributes
    ----------
    content
        What the function gave back; None if it did not come to its end.
    problem
        ``error``: the function raised; ``timeout``, ``cancelled``: as it was told; ``killed``:
        its process ended by itself, or somebody else ended it.
    error
        ``{"type", "message"}`` of what it raised, or how the process ended.
    """

    job: str
    content: Mapping[str, Json] | None
    problem: Problem = ""
    error: Mapping[str, Json] = field(default_factory=dict)
    pid: int = 0


class Engine(Protocol):
    """Runs jobs, each in a process of its own; used in a ``with`` statement."""

    def start(self, job: Job) -> None:
        """Begin a job; it is not waited for."""

    def wait(self, timeout_s: float | None = None) -> Sequence[Said | Ended]:
        """Give what jobs have told since the last call; empty if nothing came in time."""

    def preload(self, names: Sequence[str]) -> None:
        """Say which modules later jobs will need, too; an engine may load them ahead."""

    def cancel(self, name: str) -> None:
        """Ask a job to end, and kill it with all it has started if it takes no notice."""

    def close(self) -> None:
        """End everything that still runs."""

    def __enter__(self) -> Self:
        """Begin to use it."""

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""


class NoSuchEngine(MlopsNbError, LookupError):
    """No engine has this name; `known` are those that are installed."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(name, known)
        self.name, self.known = name, known

    def __str__(self) -> str:
        return f'There is no engine "{self.name}". There are: {", ".join(self.known)}.'


def open_engine(name: str, *, preload: Sequence[str] = ()) -> Engine:
    """Make an engine by its name; nothing is started yet.

    Parameters
    ----------
    name
        ``local``, the name of an entry point in the group ``mlops_nb.engines``, or such a name
        and where it is, as ``dask://HOST:PORT``.
    preload
        Modules that jobs will need; an engine may load them ahead.

    Raises
    ------
    NoSuchEngine
        None is installed by this name.

    Examples
    --------
    >>> with open_engine("local") as engine:
    ...     engine.start(Job("now", "mlops_nb.engines.local:echo", {"value": 7}))
    ...     [ended] = engine.wait(30)
    >>> ended.content
    {'value': 7}
    """
    scheme, _, place = name.partition("://")
    make = _maker(scheme)
    made: Engine = make(preload=preload, place=place) if place else make(preload=preload)
    return made


def _maker(name: str) -> type:
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        own: type = getattr(import_module(module), attribute)
        return own
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise NoSuchEngine(name, tuple(sorted({*_OWN, *found})))
    loaded: type = found[name].load()
    return loaded
