"""Other code in the same function object.

A function object is not exchanged for another one: whoever has imported it, under whatever name,
or keeps it in a list of metrics, a scorer or a default argument, holds what is redirected; it is
pickled by reference as ever, and nothing but its code has to be put back.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Redirection:
    """Lets a function call something else with all its arguments, until undone.

    Parameters
    ----------
    function
        Stays the same object.
    target
        Is given another function that does what this one did, and gives what is called instead.
    """

    def __init__(
        self, function: FunctionType, target: Callable[[FunctionType], Callable[..., object]]
    ) -> None:
        self._function = function
        self._code = function.__code__
        self._redirecting = _redirecting_code(self._code, target(_copy_function(function)))
        # The new code takes anything; what has ``__wrapped__`` is described by that.
        self._gives_signature = not hasattr(function, "__wrapped__")
        if self._gives_signature:
            function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        function.__code__ = self._redirecting

    @property
    def is_in_place(self) -> bool:
        """Whether nobody has given the function other code since."""
        return self._function.__code__ is self._redirecting

    def undo(self) -> None:
        """Put the old code back, unless somebody else has replaced ours."""
        if self._gives_signature:
            vars(self._function).pop("__signature__", None)
        if self.is_in_place:
            self._function.__code__ = self._code


def _copy_function(function: FunctionType) -> FunctionType:
    """Make a function of the same code, cells, defaults and attributes."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    copy.__annotations__ = function.__annotations__
    copy.__dict__.update(function.__dict__)
    return copy


_PLACE = "mlops_nb: what is called instead"


def _redirecting_code(code: CodeType, target: object) -> CodeType:
    """Make code that only calls `target`, at the place where the function stands."""
    template = _template(code.co_freevars)
    constants = tuple(target if value == _PLACE else value for value in template.co_consts)
    return template.replace(
        co_consts=constants,
        co_varnames=_names_like(code, template),
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_filename=code.co_filename,
        co_firstlineno=code.co_firstlineno,
    )


def _names_like(code: CodeType, template: CodeType) -> tuple[str, ...]:
    """Name ``*args`` and ``**kwargs`` as the old code did, if it had just these."""
    takes_anything = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    if (
        code.co_argcount
        or code.co_kwonlyargcount
        or code.co_flags & takes_anything != takes_anything
    ):
        return template.co_varnames
    return (*code.co_varnames[:2], *template.co_varnames[2:])


@cache
def _template(cells: tuple[str, ...]) -> CodeType:
    """Compile the redirection for functions that close over variables of these names.

    A function takes only code with as many free variables as it has cells: naming them after the
    ``return`` makes them free, and no instruction is made of it.
    """
    names = "".join(f"; {name}" for name in cells)
    source = (
        f"def make({', '.join(cells)}):\n"
        " def redirect(*_mlops_args, **_mlops_kwargs):"
        f" _mlops_call = {_PLACE!r}; __tracebackhide__ = True;"
        f" return _mlops_call(*_mlops_args, **_mlops_kwargs){names}\n"
        " return redirect"
    )
    scope: dict[str, Callable[..., FunctionType]] = {}
    exec(compile(source, __file__, "exec"), scope)  # noqa: S102  # names of variables, by the compiler itself
    return scope["make"](*cells).__code__
