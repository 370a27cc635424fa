"""User's values -> what is stored of them: numbers, JSON, pictures, tables."""

from __future__ import annotations

import io
import json
import math
import mimetypes
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Real):
        return float(value)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        item = value.item()  # type: ignore[attr-defined]
        return float(item) if isinstance(item, int | float) and type(item) is not bool else None
    return None


def as_json(value: object, _depth: int = 0) -> Json:
    """Turn a value into JSON: scalars as they are, others as a short type name.

    Examples
    --------
    >>> as_json({"lr": 0.1, "layers": (3, 4)})
    {'lr': 0.1, 'layers': [3, 4]}
    """
    if value is None or isinstance(value, bool | int):
        return value if type(value) in {type(None), bool, int} else int(value)  # type: ignore[arg-type]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        return redact(value if len(value) <= TEXT_LIMIT else value[:TEXT_LIMIT] + "…")
    number = as_number(value)
    if number is not None:
        return int(number) if isinstance(value, numbers.Integral) else as_json(number)
    if _depth < _DEPTH_LIMIT and type(value) in {list, tuple, set, frozenset, range}:
        return [as_json(item, _depth + 1) for item in list(value)[:_ITEMS_LIMIT]]  # type: ignore[call-overload]
    if _depth < _DEPTH_LIMIT and isinstance(value, Mapping):
        items = list(value.items())[:_ITEMS_LIMIT]
        return {str(key): as_json(item, _depth + 1) for key, item in items}
    if isinstance(value, type) or callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    return _short_name(value)


def _short_name(value: object) -> str:
    if type(value).__module__ in {"pathlib", "datetime", "decimal", "fractions", "uuid"}:
        return redact(str(value))
    return type(value).__name__


def _is_figure(value: object) -> bool:
    return _root(value) == "matplotlib" and hasattr(value, "savefig")


def _root(value: object) -> str:
    return type(value).__module__.partition(".")[0]


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


def is_plain(value: object) -> bool:
    """Whether a value reads well as a parameter, rather than being code or a large object."""
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(is_plain(item) for item in value.values())
    return (
        value is None
        or isinstance(value, bool | int | float | str)
        or _short_name(value) != type(value).__name__
    )


def guess_mime(name: str) -> str:
    """MIME type by file name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
