"""Calls of a library told to a listener, while the library looks and behaves as before.

A method is watched by a descriptor in its class (`MethodPatch`), a function by other code in the
same function object (`Redirection`).
"""

from __future__ import annotations

import inspect
import operator
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from mlops_nb.autolog.redirection import Redirection
from mlops_nb.capture.guard import guard, is_off

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

Kind: TypeAlias = Literal["fit", "predict", "transform", "score", "validate", "metric"]

_LIBRARIES = ("sklearn", "mlops_nb", "joblib")
_FACET = "autolog"


@dataclass(slots=True, eq=False)
class Call:
    """One outermost call of a watched method or function.

    Attributes
    ----------
    kind
        What such a call does.
    function
        Its name, as ``"predict_proba"``.
    receiver
        The estimator, None for a function.
    args, kwargs
        As given, without the receiver.
    frame
        See `user_frame`.
    started_ns
        Nanoseconds since the epoch.
    original
        What the caller meant to call; takes the receiver first.
    """

    kind: Kind
    function: str
    receiver: object | None
    args: tuple[object, ...]
    kwargs: dict[str, object]
    frame: FrameType | None = None
    started_ns: int = 0
    original: Callable[..., object] | None = None
    _arguments: dict[str, object] | None = field(default=None, repr=False)

    def arguments(self) -> dict[str, object]:
        """Give the arguments by the names of the original's parameters; {} if they do not bind.

        What went into ``**kwargs`` of the original stands beside the others.
        """
        if self._arguments is None:
            self._arguments = self._bind()
        return self._arguments

    def _bind(self) -> dict[str, object]:
        if self.original is None:
            return {}
        receiver = () if self.receiver is None else (self.receiver,)
        try:
            signature = inspect.signature(self.original)
            bound = signature.bind(*receiver, *self.args, **self.kwargs).arguments
        except (TypeError, ValueError):
            return {}
        named: dict[str, object] = {}
        for position, parameter in enumerate(signature.parameters.values()):
            if parameter.name not in bound:
                continue
            value = bound[parameter.name]
            takes_rest = parameter.kind is parameter.VAR_POSITIONAL
            if position == 0 and receiver and not takes_rest:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                named = {**value, **named}
            else:
                named[parameter.name] = value[1:] if takes_rest and position == 0 else value
        return named

    def user_frame(self) -> FrameType | None:
        """Find the frame that called: the first one outside of scikit-learn, joblib and us.

        Ask while the call is under way, that is in a listener's method.
        """
        if self.frame is None:
            frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # the way to the stack
            while frame is not None and frame.f_code is not _observe.__code__:
                frame = frame.f_back
            while frame is not None and _is_library(frame.f_globals.get("__name__")):
                frame = frame.f_back
            self.frame = frame
        return self.frame


class Listener(Protocol):
    """Is told of the outermost calls; nothing it calls itself is watched meanwhile."""

    def call_started(self, call: Call) -> None:
        """Before the original runs."""

    def call_ended(self, call: Call, result: object) -> None:
        """After the original returned `result`."""

    def call_failed(self, call: Call, error: BaseException) -> None:
        """After the original raised `error`, which goes on to the caller."""


# --- who listens, and who is inside -----------------------------------------------------------

# Outermost calls under way in this process, each with its thread. As long as anything is in it,
# calls pass straight through: one test serves inner calls, the time before and after watching,
# and forked children. A dictionary and not a counter, because its single operations are atomic.
_inside: dict[object, int] = {}
_NOBODY_LISTENS = "nobody listens"
_inside[_NOBODY_LISTENS] = 0
_listeners: list[Listener] = []


def start_telling(listener: Listener) -> None:
    """Tell `listener` from now on, instead of an earlier one."""
    _listeners[:] = [listener]
    _inside.pop(_NOBODY_LISTENS, None)


def stop_telling() -> None:
    """Let every call pass, also those of bound methods that somebody kept."""
    _inside[_NOBODY_LISTENS] = 0
    _listeners.clear()


def forget_interrupted_calls() -> None:
    """Forget this thread's calls: at the start of a cell none of them can be under way.

    An interrupt can hit between the end of a call and its removal.
    """
    thread = threading.get_ident()
    for call, owner in list(_inside.items()):
        if owner == thread:
            _inside.pop(call, None)


# A worker process that was forked from the kernel reports to nobody.
os.register_at_fork(after_in_child=stop_telling)


def _observe(observed: Observed, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Call the original once, outside of the guard, and tell about it."""
    __tracebackhide__ = True
    function, listener = observed.__wrapped__, next(iter(_listeners), None)
    if listener is None or is_off(_FACET):
        return function(*args, **kwargs)
    call = observed.call(args, kwargs)
    try:
        _inside[call] = threading.get_ident()
        with _guarded:
            listener.call_started(call)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            with _guarded:
                listener.call_failed(call, error)
            raise
        with _guarded:
            listener.call_ended(call, result)
        return result
    finally:
        _inside.pop(call, None)


_guarded = guard(_FACET)


def _is_library(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _LIBRARIES


# --- what stands in for a function or a method ------------------------------------------------

_only = operator.itemgetter(0)
"""Unpickles to what it was given: ``_only((x,))`` is x, and knows nothing of us."""


class Observed:
    """Callable that stands in for a function: tells the listener, then is as the function was.

    Parameters
    ----------
    function
        Is called in the end.
    name, kind
        What it is called by, which is not always its ``__name__``, and what such a call does.
    is_method
        Whether the first argument is the receiver.
    pickled_as
        What a pickle of this holds; by default `function`.
    """

    def __init__(
        self,
        function: Callable[..., object],
        name: str,
        kind: Kind,
        *,
        is_method: bool,
        pickled_as: object = None,
    ) -> None:
        self.__wrapped__ = function
        # These two exist on every object, so `__getattr__` is never asked for them.
        self.__module__ = getattr(function, "__module__", "")
        self.__doc__ = getattr(function, "__doc__", None)
        self._mlops_name = name
        self._mlops_kind: Kind = kind
        self._mlops_is_method = is_method
        self._mlops_pickled_as = function if pickled_as is None else pickled_as

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Call the function; tell about it unless this is inside of another call."""
        __tracebackhide__ = True
        if _inside:
            return self.__wrapped__(*args, **kwargs)
        return _observe(self, args, kwargs)

    def __getattr__(self, name: str) -> object:
        # `inspect` takes what has ``__code__`` and ``__defaults__`` for a function: so do we.
        return getattr(self.__wrapped__, name)

    def __reduce__(self) -> tuple[object, ...]:
        return _only, ((self._mlops_pickled_as,),)

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        """Describe a call of this."""
        function = self.__wrapped__
        receiver, rest = (args[0], args[1:]) if self._mlops_is_method else (None, args)
        return Call(
            self._mlops_kind,
            self._mlops_name,
            receiver,
            rest,
            kwargs,
            started_ns=time.time_ns(),
            original=function,
        )


class MethodPatch:
    """Stands in for a function in a class's own ``__dict__``.

    The class gives the original when asked, so metadata routing, documentation and ``super()``
    in a subclass see what they saw before; an instance gives a bound method that tells.

    Parameters
    ----------
    original
        A function, or another descriptor such as that of ``available_if``, which keeps the say
        over whether there is such a method.
    name, kind
        Its name in the class, and what a call of it does.
    """

    __slots__ = ("_observed", "kind", "name", "original")

    def __init__(self, original: object, name: str, kind: Kind) -> None:
        self.original = original
        self.name = name
        self.kind: Kind = kind
        self._observed: Observed | None = None

    def __get__(self, instance: object, owner: type | None = None) -> object:
        bound = self.original.__get__(instance, owner)  # type: ignore[attr-defined]  # has one
        if instance is None or _inside or type(bound) is not MethodType:
            return bound
        observed = self._observed
        if observed is None or observed.__wrapped__ is not bound.__func__:
            observed = Observed(bound.__func__, self.name, self.kind, is_method=True)
            self._observed = observed
        return MethodType(observed, bound.__self__)

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Call the original, as its place in the class's ``__dict__`` could be called before."""
        return self.original(*args, **kwargs)  # type: ignore[operator]  # as it was

    def __getattr__(self, name: str) -> object:
        return getattr(self.original, name)

    def __reduce__(self) -> tuple[object, ...]:
        # A class defined in a notebook is pickled by value, and loaded where we are not.
        return _only, ((self.original,),)


def patch_methods(owner: type, methods: Mapping[str, Kind]) -> bool:
    """Watch the methods of these names that a class itself defines; say whether it has any."""
    own, has_any = vars(owner), False
    for name in methods.keys() & own.keys():
        attribute = own[name]
        if isinstance(attribute, MethodPatch):
            has_any = True
        elif _binds_like_a_function(attribute):
            setattr(owner, name, MethodPatch(attribute, name, methods[name]))
            has_any = True
    return has_any


def restore_methods(owner: type) -> None:
    """Put back what `patch_methods` replaced, where nobody else has replaced it since."""
    for name, attribute in list(vars(owner).items()):
        if isinstance(attribute, MethodPatch):
            setattr(owner, name, attribute.original)


def _binds_like_a_function(attribute: object) -> bool:
    if isinstance(attribute, FunctionType):
        return True
    if isinstance(attribute, property | staticmethod | classmethod | type):
        return False
    # Properties of any kind have ``__set__``, and take precedence over what an instance holds.
    return hasattr(type(attribute), "__get__") and not hasattr(type(attribute), "__set__")


def watch_function(function: FunctionType, kind: Kind) -> Redirection:
    """Let a function tell the listener; the function object stays the same."""

    def observed(original: FunctionType) -> Observed:
        return Observed(original, function.__name__, kind, is_method=False, pickled_as=function)

    return Redirection(function, observed)
