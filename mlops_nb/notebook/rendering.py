"""Values as Python source that gives exactly these values again.

What a value needs from outside its own literals comes from modules that are imported under names
of ours, builtins included: a notebook may have a parameter called ``set``. The names are deleted
at the end of the source, so that a cell made of it binds the parameters and nothing else.
"""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import enum
import fractions
import keyword
import math
import pathlib
import sys
import uuid
import zoneinfo
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import CannotRender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ARRAY_LIMIT = 10_000
"""Elements of an array that may stand in a cell."""

_DIGITS_LIMIT = 4_000
_DEPTH_LIMIT = 60
_PREFIX = "_mlops_nb_"
_SHOWN_LIMIT = 60


def render_parameters(values: Mapping[str, object]) -> str:
    r"""Write Python source that gives names exactly these values.

    Parameters
    ----------
    values
        By name. Plain literals; float (``nan``, ``inf``), complex, bytes, range, slice; tuple,
        list, set, frozenset, dict with keys of any of these; dates and times with zones, Path,
        Decimal, Fraction, UUID; members of an Enum and named tuples of an importable class; NumPy
        scalars, dtypes and arrays of up to 10,000 elements.

    Returns
    -------
    str
        One statement a value, in the order given, after the imports that they need.

    Raises
    ------
    CannotRender
        A name is none, or a value would not come back the same.

    Examples
    --------
    >>> print(render_parameters({"depth": 3, "shape": (2, 3)}), end="")
    depth = 3
    shape = (2, 3)
    >>> from datetime import date
    >>> print(render_parameters({"day": date(2026, 11, 21)}), end="")
    import datetime as _mlops_nb_datetime
    day = _mlops_nb_datetime.date(2026, 11, 21)
    del _mlops_nb_datetime
    """
    source = _Source(values)
    lines = [source.statement(name, value) for name, value in values.items()]
    text = "".join(f"{line}\n" for line in source.around(lines))
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CannotRender(
            ", ".join(values), "values", f"Python does not read it: {error}"
        ) from None
    return text


def is_name(text: object) -> bool:
    """Whether a text can be the name of a parameter.

    Examples
    --------
    >>> is_name("learning_rate"), is_name("class"), is_name("learning-rate")
    (True, False, False)
    """
    is_usual = isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)
    return is_usual and text != "__debug__"


def is_plain_literal(value: object) -> bool:
    """Whether a value is one that JSON has: every notebook tool writes it right.

    Examples
    --------
    >>> is_plain_literal({"rates": [0.1, None]})
    True
    >>> is_plain_literal((1, 2))
    False
    """
    return _is_plain(value, 0)


def _is_plain(value: object, depth: int) -> bool:
    cls = type(value)
    if depth > _DEPTH_LIMIT:
        return False
    if cls is list:
        return all(_is_plain(item, depth + 1) for item in value)  # type: ignore[attr-defined]
    if cls is dict:
        return all(type(k) is str and _is_plain(v, depth + 1) for k, v in value.items())  # type: ignore[attr-defined]
    if cls is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    if cls is int:
        return value.bit_length() < 3 * _DIGITS_LIMIT  # type: ignore[attr-defined,no-any-return]
    return value is None or cls in {bool, str}


class _Source:
    """Statements, and the modules that they need."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._names = frozenset(values)
        self._modules: dict[str, str] = {}
        self._name = ""
        self._within: list[int] = []

    def around(self, lines: list[str]) -> Iterable[str]:
        """Put the imports before the statements, and take their names away after them."""
        imports = [f"import {module} as {name}" for module, name in self._modules.items()]
        if not imports:
            return lines
        return [*imports, *lines, f"del {', '.join(self._modules.values())}"]

    def statement(self, name: str, value: object) -> str:
        """Write one assignment."""
        self._name = name
        if not is_name(name):
            raise CannotRender(str(name), type(value).__name__, "its name is no Python name")
        return f"{name} = {self.text(value)}"

    def text(self, value: object) -> str:
        """Write one value as an expression."""
        writer = _writer(value)
        if writer is None:
            raise self.refused(value, _why_not(value))
        if len(self._within) > _DEPTH_LIMIT:
            raise self.refused(value, f"it is nested more than {_DEPTH_LIMIT} deep")
        if id(value) in self._within:
            raise self.refused(value, "it contains itself")
        self._within.append(id(value))
        try:
            return writer(self, value)
        finally:
            self._within.pop()

    def listed(self, values: Iterable[object]) -> str:
        """Write several values with commas between them."""
        return ", ".join(self.text(value) for value in values)

    def module(self, name: str) -> str:
        """Name a module as the source knows it."""
        if name not in self._modules:
            alias = _PREFIX + name.replace(".", "_")
            while alias in self._names or alias in self._modules.values():
                alias += "_"
            self._modules[name] = alias
        return self._modules[name]

    def builtin(self, name: str) -> str:
        """Name a builtin so that nothing a notebook binds can stand before it."""
        return f"{self.module('builtins')}.{name}"

    def of_class(self, cls: type) -> str:
        """Name a class that can be imported."""
        found: object = sys.modules.get(cls.__module__)
        for part in cls.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is not cls or cls.__module__ == "__main__":
            problem = f"its class {cls.__qualname__} cannot be imported from {cls.__module__}"
            raise CannotRender(self._name, cls.__name__, problem)
        return f"{self.module(cls.__module__)}.{cls.__qualname__}"

    def refused(self, value: object, why: str) -> CannotRender:
        """Make the error for a value of the statement that is being written."""
        return CannotRender(self._name, type(value).__name__, why)


def _why_not(value: object) -> str:
    root = type(value).__module__.partition(".")[0]
    if root in {"pandas", "polars", "pyarrow"}:
        return "a table does not stand in a cell"
    if callable(value):
        return "code does not travel as a value"
    for base in (bool, int, float, str, bytes, list, dict, set, tuple):
        if isinstance(value, base):
            return f"its class is not {base.__name__} itself, and more than its content may count"
    return "there is no source that gives it exactly"


# --- one writer a type --------------------------------------------------------------------------


def _writer(value: object) -> Callable[[_Source, Any], str] | None:
    cls = type(value)
    if cls in _WRITERS:
        return _WRITERS[cls]
    if isinstance(value, enum.Enum):
        return _enum
    if isinstance(value, pathlib.PurePath) and cls.__module__.partition(".")[0] == "pathlib":
        return _path
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return _named_tuple
    if cls.__module__.partition(".")[0] == "numpy":
        from mlops_nb.notebook.rendering_arrays import array_writer

        return array_writer(value)
    return None


def _repr(_source: _Source, value: object) -> str:
    return repr(value)


def _int(_source: _Source, value: int) -> str:
    # Python reads and writes very long numbers in powers of two only.
    return repr(value) if value.bit_length() < 3 * _DIGITS_LIMIT else hex(value)


def _float(source: _Source, value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    if math.isnan(value):
        sign = "-" if math.copysign(1.0, value) < 0 else ""
        return f"{sign}{source.builtin('float')}('nan')"
    return f"{source.builtin('float')}({str(value)!r})"


def _complex(source: _Source, value: complex) -> str:
    # As a sum it would lose the sign of a zero.
    return f"{source.builtin('complex')}({source.listed((value.real, value.imag))})"


def _tuple(source: _Source, value: tuple[object, ...]) -> str:
    return f"({source.listed(value)}{',' if len(value) == 1 else ''})"


def _named_tuple(source: _Source, value: tuple[object, ...]) -> str:
    cls = type(value)
    given = getattr(cls, "_make", None)
    if given is None or type(given(value)) is not cls or given(value) != value:
        raise source.refused(value, "its class does not take its fields back")
    return f"{source.of_class(cls)}._make({_tuple(source, value)})"


def _list(source: _Source, value: list[object]) -> str:
    return f"[{source.listed(value)}]"


def _set(source: _Source, value: set[object] | frozenset[object]) -> str:
    texts = sorted(source.text(item) for item in value)
    shown = f"{{{', '.join(texts)}}}" if texts else "{*()}"
    return shown if type(value) is set else f"{source.builtin('frozenset')}({shown})"


def _dict(source: _Source, value: dict[object, object]) -> str:
    pairs = (f"{source.text(key)}: {source.text(item)}" for key, item in value.items())
    return f"{{{', '.join(pairs)}}}"


def _bytearray(source: _Source, value: bytearray) -> str:
    return f"{source.builtin('bytearray')}({bytes(value)!r})"


def _range(source: _Source, value: range) -> str:
    return f"{source.builtin('range')}({source.listed((value.start, value.stop, value.step))})"


def _slice(source: _Source, value: slice) -> str:
    return f"{source.builtin('slice')}({source.listed((value.start, value.stop, value.step))})"


def _enum(source: _Source, value: enum.Enum) -> str:
    cls = source.of_class(type(value))
    name = value._name_
    if name is not None and name.isidentifier() and getattr(type(value), name, None) is value:
        return f"{cls}.{name}"
    if type(value)(value.value) is value:
        return f"{cls}({source.text(value.value)})"
    raise source.refused(value, "its class does not give it back by name or value")


def _path(source: _Source, value: pathlib.PurePath) -> str:
    is_usual = type(value) is type(pathlib.Path())
    name = "Path" if is_usual else type(value).__name__
    return f"{source.module('pathlib')}.{name}({str(value)!r})"


def _date(source: _Source, value: dt.date) -> str:
    return f"{source.module('datetime')}.date({value.year}, {value.month}, {value.day})"


def _time(source: _Source, value: dt.time) -> str:
    parts = [value.hour, value.minute, value.second, value.microsecond]
    return f"{source.module('datetime')}.time({_clock(source, value, parts)})"


def _datetime(source: _Source, value: dt.datetime) -> str:
    parts = [value.year, value.month, value.day, value.hour, value.minute]
    parts += [value.second, value.microsecond]
    return f"{source.module('datetime')}.datetime({_clock(source, value, parts)})"


def _clock(source: _Source, value: dt.time | dt.datetime, parts: list[int]) -> str:
    needed = 3 if isinstance(value, dt.datetime) else 0
    while len(parts) > needed + 2 and not parts[-1]:
        parts.pop()
    texts = [str(part) for part in parts]
    if value.tzinfo is not None:
        texts.append(f"tzinfo={source.text(value.tzinfo)}")
    if value.fold:
        texts.append("fold=1")
    return ", ".join(texts)


def _timedelta(source: _Source, value: dt.timedelta) -> str:
    given = {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}
    texts = [f"{unit}={number}" for unit, number in given.items() if number]
    return f"{source.module('datetime')}.timedelta({', '.join(texts)})"


def _timezone(source: _Source, value: dt.timezone) -> str:
    module = source.module("datetime")
    if value is dt.timezone.utc:
        return f"{module}.timezone.utc"
    # The arguments as they were given: a name only if there was one.
    arguments: Any = value.__getinitargs__()  # type: ignore[attr-defined]
    return f"{module}.timezone({source.listed(arguments)})"


def _zone(source: _Source, value: zoneinfo.ZoneInfo) -> str:
    if value.key is None or zoneinfo.ZoneInfo(value.key) is not value:
        raise source.refused(value, "this time zone cannot be found by its name")
    return f"{source.module('zoneinfo')}.ZoneInfo({value.key!r})"


def _decimal(source: _Source, value: decimal.Decimal) -> str:
    return f"{source.module('decimal')}.Decimal({str(value)!r})"


def _fraction(source: _Source, value: fractions.Fraction) -> str:
    parts = source.listed((value.numerator, value.denominator))
    return f"{source.module('fractions')}.Fraction({parts})"


def _uuid(source: _Source, value: uuid.UUID) -> str:
    return f"{source.module('uuid')}.UUID({str(value)!r})"


_WRITERS: dict[type, Callable[[_Source, Any], str]] = {
    type(None): _repr,
    bool: _repr,
    str: _repr,
    bytes: _repr,
    type(...): lambda _source, _value: "...",
    int: _int,
    float: _float,
    complex: _complex,
    tuple: _tuple,
    list: _list,
    set: _set,
    frozenset: _set,
    dict: _dict,
    bytearray: _bytearray,
    range: _range,
    slice: _slice,
    dt.date: _date,
    dt.time: _time,
    dt.datetime: _datetime,
    dt.timedelta: _timedelta,
    dt.timezone: _timezone,
    zoneinfo.ZoneInfo: _zone,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
}
