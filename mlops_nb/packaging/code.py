"""Code of the notebook: which functions and classes are its own, what they are, their text.

A digest of code leaves out where it stands, so that a comment above it changes nothing.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import sys
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NO_CODE = frozenset(
    # The last one comes with the first pickle of an instance.
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__"),
        *("__firstlineno__", "__static_attributes__", "__slotnames__"),
    }
)


def is_importable(value: Any) -> bool:
    """Tell whether a function or class is what a module other than the notebook has.

    Examples
    --------
    >>> is_importable(linecache.getline), is_importable(lambda: 0)
    (True, False)
    """
    module = getattr(value, "__module__", None)
    path = getattr(value, "__qualname__", None)
    if type(module) is not str or type(path) is not str or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    if found is None:
        return False
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is value


def is_dispatcher(function: FunctionType) -> bool:
    """Tell whether `functools.singledispatch` has made a function.

    Examples
    --------
    >>> is_dispatcher(functools.singledispatch(print))
    True
    """
    return function.__code__ is _DISPATCHER


_made: Any = functools.singledispatch(print)
_DISPATCHER = _made.__code__


def code_digest(code: CodeType) -> str:
    r"""Digest what code does, without where it stands.

    Examples
    --------
    >>> one, two = compile("x = 1", "a", "exec"), compile("\n# why\nx = 1", "b", "exec")
    >>> code_digest(one) == code_digest(two)
    True
    """
    hasher = hashlib.sha256()
    _add_code(hasher, code)
    return hasher.hexdigest()


def _add_code(hasher: Any, code: CodeType) -> None:
    numbers = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_name,
    )
    hasher.update(repr(numbers).encode("utf-8", "surrogatepass"))
    hasher.update(code.co_code)
    hasher.update(getattr(code, "co_exceptiontable", b""))
    for constant in code.co_consts:
        _add_constant(hasher, constant)


def _add_constant(hasher: Any, constant: object) -> None:
    if isinstance(constant, CodeType):
        hasher.update(b"code")
        _add_code(hasher, constant)
    elif isinstance(constant, frozenset):
        # Their order differs between processes.
        hasher.update(repr(sorted(map(repr, constant))).encode("utf-8", "surrogatepass"))
    elif isinstance(constant, tuple):
        hasher.update(b"(%d" % len(constant))
        for one in constant:
            _add_constant(hasher, one)
    else:
        text = f"{type(constant).__name__} {constant!r};"
        hasher.update(text.encode("utf-8", "surrogatepass"))


def class_code(cls: type) -> str:
    """Digest the code of a class of the notebook: bases, names and methods, no other attributes.

    Two classes with one digest behave the same but for the data that they hold.
    """
    hasher = hashlib.sha256()
    _add_class(hasher, cls)
    return hasher.hexdigest()


def _add_class(hasher: Any, cls: type) -> None:
    bases = [f"{base.__module__}.{base.__qualname__}" for base in cls.__bases__]
    hasher.update(repr((cls.__qualname__, bases, type(cls).__qualname__)).encode())
    for name, value in sorted(vars(cls).items()):
        if name in _NO_CODE or name.startswith(("_abc_", "_flag_", "_member", "_value2")):
            continue
        hasher.update(repr((name, type(value).__qualname__)).encode("utf-8", "surrogatepass"))
        for function in functions_in(value):
            _add_code(hasher, function.__code__)
        if isinstance(value, type) and value.__qualname__ == f"{cls.__qualname__}.{name}":
            _add_class(hasher, value)


def functions_in(value: Any) -> list[FunctionType]:
    """List the functions that an attribute of a class is made of."""
    parts = [value]
    for name in ("__func__", "fget", "fset", "fdel", "__wrapped__", "func"):
        found = getattr(value, name, None)
        if found is not None:
            parts.append(found)
    return [part for part in parts if isinstance(part, FunctionType)]


# --- text -------------------------------------------------------------------------------------


def text_of(code: CodeType) -> list[str] | None:
    """Return the lines of a piece of code as they stand in its cell, secrets replaced."""
    lines = linecache.getlines(code.co_filename)
    first, last = code.co_firstlineno, _last_line(code)
    if not lines or last > len(lines):
        return None
    from mlops_nb.redact import redact

    clean = redact("".join(lines[first - 1 : last])).splitlines(keepends=True)
    return clean if len(clean) == last - first + 1 else None


def _last_line(code: CodeType) -> int:
    numbers = [line for *_, line in code.co_lines() if line is not None]
    inner = [_last_line(one) for one in code.co_consts if isinstance(one, CodeType)]
    return max([code.co_firstlineno, *numbers, *inner])


def put_text(filename: str, first: int, lines: list[str]) -> None:
    """Let tracebacks and `inspect.getsource` find text that came with a function.

    What is known of that file already stays as it is: only missing lines are filled in.
    """
    if not lines or not _is_of_a_cell(filename):
        return
    known = linecache.cache.get(filename)
    if known is not None and len(known) != 1 and known[1] is not None:
        return  # a real file
    have = linecache.getlines(filename)
    need = first - 1 + len(lines)
    whole = [*have, *["\n"] * (need - len(have))]
    for place, line in enumerate(lines, first - 1):
        if whole[place] in {"\n", ""}:
            whole[place] = line
    linecache.cache[filename] = (sum(map(len, whole)), None, whole, filename)


def _is_of_a_cell(filename: str) -> bool:
    """Tell a name that IPython made up from the path of a file."""
    import os

    return not os.path.exists(filename)  # noqa: PTH110  # most names are no paths


def own_names(namespace: Mapping[str, object]) -> Iterator[str]:
    """Give the names that a notebook has bound: no modules, nothing of IPython's own."""
    for name, value in list(namespace.items()):
        if not name.startswith("_") and name not in _OF_IPYTHON and not _is_module(value):
            yield name


_OF_IPYTHON = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})


def _is_module(value: object) -> bool:
    return isinstance(value, ModuleType)


__all__ = [
    "class_code",
    "code_digest",
    "functions_in",
    "is_dispatcher",
    "is_importable",
    "own_names",
    "put_text",
    "text_of",
]
