"""User's values -> what is stored of them: numbers, JSON, pictures, tables."""

from __future__ import annotations

import io
import json
import math
import mimetypes
import numbers
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadValue
from mlops_nb.record import record
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from mlops_nb.model import Json

TEXT_LIMIT = 2_000
"""Characters of a parameter's text that are kept."""

_DEPTH_LIMIT = 4
_ITEMS_LIMIT = 200


@record
class Encoded:
    """A value as a metric, as an artifact ``(kind, mime, bytes)``, or as a parameter."""

    metric: float | None = None
    artifact: tuple[str, str, bytes] | None = None
    param: Json = None


def encode_value(value: object) -> Encoded:
    """Decide what a value given to `mlops_nb.log` is.

    Examples
    --------
    >>> encode_value(0.5).metric
    0.5
    >>> encode_value("adam").param
    'adam'
    """
    number = as_number(value)
    if number is not None:
        return Encoded(metric=number)
    if _is_figure(value):
        return Encoded(artifact=("figure", "image/png", figure_png(value)))
    if _root(value) in {"pandas", "polars"} and hasattr(value, "columns"):
        return Encoded(artifact=("table", "application/json", encode_table(value)))
    return Encoded(param=as_json(value))


def as_number(value: object) -> float | None:
    """Read a number, a NumPy scalar or a zero-dimensional array or tensor; None for others."""
    cls = type(value)
    if cls is bool:
        return None
    try:
        if inherits(cls, float):
            return float.__float__(value)  # type: ignore[arg-type]
        if inherits(cls, int):
            return float(int.__int__(value))  # type: ignore[arg-type]
    except OverflowError:
        return None
    if is_of_the_notebook(cls):
        return None
    if issubclass(cls, numbers.Real):
        return float(value)  # type: ignore[arg-type]
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        item = value.item()  # type: ignore[attr-defined]
        return float(item) if isinstance(item, int | float) and type(item) is not bool else None
    return None


def as_json(value: object, _depth: int = 0) -> Json:
    """Turn a value into JSON: scalars as they are, others as a short type name.

    Classes of the notebook have no say in it: their methods may raise, or never end.

    Examples
    --------
    >>> as_json({"lr": 0.1, "layers": (3, 4)})
    {'lr': 0.1, 'layers': [3, 4]}
    """
    cls = type(value)
    if value is None or cls is bool or inherits(cls, int):
        return value if value is None or cls is bool else int.__int__(value)  # type: ignore[arg-type]
    if inherits(cls, float):
        found = float.__float__(value)  # type: ignore[arg-type]
        return found if math.isfinite(found) else str(found)
    if inherits(cls, str):
        text = str.__str__(value)
        return redact(text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "…")
    if _module(cls) == "numpy" and issubclass(cls, sys.modules["numpy"].bool_):
        return bool(value)
    number = as_number(value)
    if number is not None:
        return int(number) if issubclass(cls, numbers.Integral) else as_json(number)
    if _depth < _DEPTH_LIMIT:
        if any(cls is one for one in _SEQUENCES):
            return [as_json(item, _depth + 1) for item in list(value)[:_ITEMS_LIMIT]]  # type: ignore[call-overload]
        items = _items(value, cls)
        if items is not None:
            return {_key(key): as_json(item, _depth + 1) for key, item in items[:_ITEMS_LIMIT]}
    return _short_name(value) if is_of_the_notebook(cls) else _name(value)


_SEQUENCES = (list, tuple, set, frozenset, range)
_OF_STANDARD_LIBRARY = frozenset({"pathlib", "datetime", "decimal", "fractions", "uuid"})


def inherits(cls: type, *bases: type) -> bool:
    """Tell whether a class inherits from one of others, whatever it says itself."""
    mro = type.__dict__["__mro__"].__get__(cls)
    return any(one is base for base in bases for one in mro)


def is_of_the_notebook(cls: type) -> bool:
    """Tell whether a class was made in a cell: its methods may do anything."""
    return _module(cls).partition(".")[0] == "__main__"


def _module(cls: type) -> str:
    found = type.__dict__["__module__"].__get__(cls)
    return found if type(found) is str else ""


def _items(value: Any, cls: type) -> list[tuple[object, object]] | None:
    """List what is in a mapping; None for anything else."""
    if inherits(cls, dict):
        return list(dict.items(value))
    is_mapping = not is_of_the_notebook(cls) and issubclass(cls, Mapping)
    return list(value.items()) if is_mapping else None


def _key(key: object) -> str:
    return str(key) if type(key) in {int, float, bool, tuple, type(None)} else str(as_json(key))


def _name(value: object) -> str:
    """Name a class or a function, else give a short name."""
    if inherits(type(value), type):
        return str(type.__dict__["__name__"].__get__(value))
    named = getattr(value, "__name__", None) if callable(value) else None
    return named if type(named) is str else _short_name(value)


def _short_name(value: object) -> str:
    cls = type(value)
    module, name = _module(cls), type.__dict__["__name__"].__get__(cls)
    if module in _OF_STANDARD_LIBRARY and getattr(sys.modules.get(module), name, None) is cls:
        return redact(str(value))
    return str(name)


def _is_figure(value: object) -> bool:
    return _root(value) == "matplotlib" and hasattr(value, "savefig")


def _root(value: object) -> str:
    return _module(type(value)).partition(".")[0]


def figure_png(figure: object = None) -> bytes:
    """Draw a matplotlib figure as PNG; None takes the current one.

    Raises
    ------
    BadValue
        It is no figure.
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.gcf()
    figure = getattr(figure, "figure", figure)
    if not _is_figure(figure):
        raise BadValue(type(figure).__name__, "is no matplotlib figure", "Give a Figure or Axes")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")  # type: ignore[attr-defined]
    return buffer.getvalue()


def encode_table(rows: object) -> bytes:
    """Write a DataFrame or a sequence of mappings as JSON: ``{"columns": […], "rows": [[…]]}``.

    Raises
    ------
    BadValue
        It is neither.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        columns = [str(name) for name in rows.columns]
        values = rows.to_numpy().tolist() if hasattr(rows, "to_numpy") else []
    elif isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        columns = [str(key) for key in dict.fromkeys(key for row in rows for key in row)]
        values = [[row.get(column) for column in columns] for row in rows]
    else:
        name = type(rows).__name__
        raise BadValue(name, "is no table", "Give a DataFrame or a list of dictionaries")
    table = {"columns": columns, "rows": [[as_json(cell) for cell in row] for row in values]}
    return json.dumps(table, ensure_ascii=False).encode()


def is_plain(value: object, _depth: int = 0) -> bool:
    """Whether a value reads well as a parameter, rather than being code or a large object."""
    cls = type(value)
    if inherits(cls, list, tuple, set, frozenset, dict):
        if _depth > _DEPTH_LIMIT or not any(cls is one for one in (*_SEQUENCES, dict)):
            return False
        inside: Any = dict.values(value) if cls is dict else value  # type: ignore[arg-type]
        return all(is_plain(item, _depth + 1) for item in inside)
    if value is None or inherits(cls, int, float, str):
        return True
    return _short_name(value) != str(type.__dict__["__name__"].__get__(cls))


def guess_mime(name: str) -> str:
    """MIME type by file name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
