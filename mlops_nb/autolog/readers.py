"""Functions that read and write files, followed: they alone know URLs, SQL, columns, filters.

A function written in Python gets other code (`Redirection`), so that everybody who holds it holds
what is followed. One written in C cannot; its place in the module or class is taken by a function
that calls it, and given back.

Only outermost calls count, and none that a library makes of itself. `open` counts only where the
user's own code calls it: a cell, or a module that is not installed.
"""

from __future__ import annotations

import functools
import operator
import os
import sys
import threading
import time
import weakref
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.autolog.imports import ImportWatch
from mlops_nb.autolog.reader_list import LISTS, Follow
from mlops_nb.autolog.redirection import Redirection
from mlops_nb.capture.files.alarm import is_installed
from mlops_nb.capture.files.quiet import working_directory
from mlops_nb.capture.files.uses import Told
from mlops_nb.capture.files.watch import FACET, FileWatch
from mlops_nb.capture.guard import guard, is_off
from mlops_nb.fingerprint.scheme import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import FrameType, ModuleType

    from mlops_nb.capture.files.watch import Audience
    from mlops_nb.model import FileSeen

    Function: TypeAlias = Callable[..., object]


def watch_files(
    roots: Iterable[str | Path], emit: Callable[[FileSeen], None], **settings: Any
) -> FileWatch:
    """Make a `FileWatch` with all its layers; it is not started yet.

    Parameters
    ----------
    roots, emit, **settings
        As `FileWatch` takes them.

    Examples
    --------
    >>> watch_files(["."], print).coverage.startswith("adapters")
    True
    """
    return FileWatch(roots, emit, readers=Readers(), **settings)


_CALLER = 2
"""Frames between the one that calls and the one that tells: other code, or a stand-in."""


class Readers:
    """Follows the functions of `reader_list.LISTS`, as soon as their library is there."""

    def __init__(self) -> None:
        self._audience: Audience | None = None
        self._watch = ImportWatch([one for one in LISTS if one != "builtins"], self._imported)
        self._undo: dict[object, Callable[[], None]] = {}
        self._done: dict[str, ModuleType] = {}
        self._module_count = 0
        self._is_alone = False
        self._lock = threading.RLock()
        self._inside = threading.local()
        _all_readers.add(self)

    # --- on and off ---------------------------------------------------------------------------

    def start(self, audience: Audience, *, is_alone: bool = False) -> None:
        """Tell of calls from now on; alone also of every `open` of the user's modules."""
        self._audience = audience
        self._is_alone = is_alone
        self._watch.start()
        self.refresh()

    def stop(self) -> None:
        """Leave every function as it was."""
        self.fall_silent()
        self._watch.stop()
        with self._lock:
            for undo in self._undo.values():
                with guard(FACET):
                    undo()
            self._undo.clear()
            self._done.clear()

    def fall_silent(self) -> None:
        """Let every call pass."""
        self._audience = None

    def refresh(self) -> None:
        """Follow what was imported without being noticed."""
        if len(sys.modules) == self._module_count:
            return
        self._module_count = len(sys.modules)
        for name in LISTS:
            module = sys.modules.get(name)
            if module is not None and self._done.get(name) is not module and _is_whole(module):
                self._imported(module)

    def _imported(self, module: ModuleType) -> None:
        name = module.__name__
        with self._lock:
            if self._audience is None:
                return
            self._done[name] = module
            for one in LISTS.get(name, ()):
                if one.is_last_resort and not self._is_alone:
                    continue
                with guard(FACET):
                    self._follow(module, one)

    def _follow(self, module: ModuleType, one: Follow) -> None:
        owner: object = module
        *path, name = one.name.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        function = getattr(owner, name, None)
        # NumPy's dispatchers are written in C, and hold the function that does the work.
        function = getattr(function, "_implementation", function)
        if function is None or function in self._undo:
            return
        if isinstance(function, FunctionType):
            make = functools.partial(self._redirected, one=one)
            self._undo[function] = Redirection(function, make).undo
        elif callable(function):
            stand_in = StandIn(function, self._followed(function, one))
            self._undo[function] = _exchange(owner, name, stand_in)

    # --- a call -------------------------------------------------------------------------------

    def _redirected(self, original: FunctionType, one: Follow) -> Function:
        """Make what a redirected function calls; its frame passes for one of the library's.

        Libraries look for the frame that a warning is about: the first one outside of their files.
        """
        function = self._followed(original, one)
        code = function.__code__.replace(co_filename=original.__code__.co_filename)
        made = FunctionType(code, globals(), original.__name__, closure=function.__closure__)
        made.__kwdefaults__ = function.__kwdefaults__
        return made

    def _followed(self, original: Function, one: Follow) -> FunctionType:
        def followed(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if (
                self._audience is None
                or getattr(self._inside, "is_inside", False)
                or not _counts(sys._getframe(_CALLER), one)  # noqa: SLF001  # who calls
                or is_off(FACET)
            ):
                return original(*args, **kwargs)
            self._inside.is_inside = True
            is_wanted = None
            try:
                with guard(FACET):
                    is_wanted = self._audience.reader_starts()
                started_ns = time.time_ns()
                answer = original(*args, **kwargs)
            finally:
                self._inside.is_inside = False
            if is_wanted:
                with guard(FACET):
                    self._tell(one, args, kwargs, answer, started_ns, sys._getframe(_CALLER))  # noqa: SLF001
            return answer

        return followed  # type: ignore[return-value]  # a function

    def _tell(
        self,
        one: Follow,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        answer: object,
        started_ns: int,
        frame: FrameType,
    ) -> None:
        audience = self._audience
        if audience is None:
            return
        cwd, ended_ns = working_directory(), time.time_ns()
        try:
            described = list(one.describe(one, args, kwargs, answer))
        except FAILURES:
            # An argument that is not what it seems to be; the reader itself could cope with it.
            return
        for place, mode, detail in described:
            if is_installed(place) and not _is_user(frame):
                continue  # a library's own data
            audience.reader_told(Told(place, mode, detail, cwd, started_ns, ended_ns))


_all_readers: weakref.WeakSet[Readers] = weakref.WeakSet()


def _silence_all() -> None:
    for readers in list(_all_readers):
        readers.fall_silent()


# A worker process that was forked from the kernel reports to nobody.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_silence_all)


def _is_whole(module: ModuleType) -> bool:
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)


_only = operator.itemgetter(0)


class StandIn:
    """Stands in the place of a function written in C.

    Parameters
    ----------
    function
        What it stands in for, and what a pickle of it holds.
    followed
        What is called instead.
    """

    def __init__(self, function: Function, followed: Function) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._followed = followed

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Call the function, and tell of it."""
        __tracebackhide__ = True
        return self._followed(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> object:
        if name in {"_function", "_followed"}:
            raise AttributeError(name)
        return getattr(self._function, name)

    def __reduce__(self) -> tuple[object, ...]:
        # Where it is loaded there may be nobody to tell.
        return _only, ((self._function,),)


def _exchange(owner: object, name: str, stand_in: StandIn) -> Callable[[], None]:
    """Put a stand-in in its place; returns what gives that back."""
    original = vars(owner)[name] if name in vars(owner) else getattr(owner, name)
    setattr(owner, name, stand_in)

    def undo() -> None:
        if vars(owner).get(name) is stand_in:
            setattr(owner, name, original)

    return undo


# --- who calls --------------------------------------------------------------------------------

_user_files: dict[str, bool] = {}


def _is_user(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "__main__" or _is_user_file(frame.f_code.co_filename)


def _counts(frame: FrameType, one: Follow) -> bool:
    """Whether a call from this frame counts: not a library's of itself, not one of ours."""
    caller = frame.f_globals.get("__name__")
    if caller == "__main__":
        return True
    if type(caller) is not str:
        return not one.is_user_only
    package = caller.partition(".")[0]
    if package in {one.package, "mlops_nb"}:
        return False
    return not one.is_user_only or _is_user_file(frame.f_code.co_filename)


def _is_user_file(name: str) -> bool:
    known = _user_files.get(name)
    if known is None:
        is_file = not name.startswith("<") and os.path.isabs(name)  # noqa: PTH117
        known = is_file and not is_installed(os.path.realpath(name))
        _user_files[name] = known
    return known
