"""Which format is for which value, by its type, and how each is written and read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.packaging.places import Place

Detail = dict[str, Any]

UNSAFE = frozenset({"pickle", "joblib"})
"""Formats that can run code when they are loaded."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes
    ----------
    name
        As in `Packed.format`.
    reader
        Which of the readers of that format, where it has several.
    write
        Raises `Unfit` for a value that it cannot give back.
    """

    name: str
    reader: str
    write: Callable[[Any, Place], Detail]


def formats_for(value: object) -> Iterator[Format]:
    """Give the formats to try for a value, the best first; a pickle is none of them."""
    libraries = {cls.__module__.partition(".")[0] for cls in type(value).__mro__}
    loaded = {library for library in libraries if library in sys.modules}
    if "pandas" in loaded:
        from mlops_nb.packaging import frames

        if frames.fits(value):
            yield Format("parquet", "pandas", frames.write)
    if "numpy" in loaded or "scipy" in loaded:
        yield from _of_arrays(value)
    if "pyarrow" in loaded:
        from mlops_nb.packaging import tables

        yield Format("arrow", "pyarrow", tables.write_arrow)
    if "polars" in loaded:
        from mlops_nb.packaging import tables

        yield Format("arrow", "polars", tables.write_polars)
    yield from _of_models(value)
    yield Format("json", "plain", _write_json)


def _of_arrays(value: object) -> Iterator[Format]:
    from mlops_nb.packaging import arrays

    if arrays.is_sparse(value):
        yield Format("npz", "sparse", arrays.write_sparse)
    elif isinstance(value, sys.modules["numpy"].ndarray):
        yield Format("npy", "array", arrays.write)


def _of_models(value: object) -> Iterator[Format]:
    from mlops_nb.packaging import models

    if models.is_xgboost(value):
        yield Format("xgboost", "booster", models.write_xgboost)
    elif models.is_lightgbm(value):
        yield Format("lightgbm", "booster", models.write_lightgbm)
    elif models.is_tensors(value):
        yield Format("torch", "tensors", models.write_torch)
    elif models.is_estimator(value):
        yield Format("skops", "estimator", models.write_skops)


def _write_json(value: object, place: Place) -> Detail:
    from mlops_nb.packaging import plain

    data = plain.dumps(value)
    place.file("value.json").write_bytes(data)
    # Inside of a text the quotes would be escaped.
    return {"imports": True} if b'"$":"enum"' in data else {}


def read_format(
    name: str, reader: str, place: Place, detail: Detail, *, is_trusted: bool
) -> object:
    """Read a value in any format but a pickle.

    Raises
    ------
    ValueError
        There is no such format.
    plain.ImportNotAllowed
        The value names a class of a module, and nobody trusted has signed it.
    """
    if name == "json":
        import json

        from mlops_nb.packaging import plain

        document = json.loads(place.file("value.json").read_bytes())
        return plain.decode(document, may_import=is_trusted)
    readers = {**_readers(name), **_model_readers(name)}
    if (name, reader) not in readers:
        raise ValueError(f"there is no format {name} of {reader}")
    return readers[name, reader](place, detail)


_Readers = dict[tuple[str, str], "Callable[[Place, Detail], object]"]


def _readers(name: str) -> _Readers:
    if name == "parquet":
        from mlops_nb.packaging import frames

        return {("parquet", "pandas"): frames.read}
    if name in {"npy", "npz"}:
        from mlops_nb.packaging import arrays

        return {("npy", "array"): arrays.read, ("npz", "sparse"): arrays.read_sparse}
    if name == "arrow":
        from mlops_nb.packaging import tables

        return {("arrow", "pyarrow"): tables.read_arrow, ("arrow", "polars"): tables.read_polars}
    return {}


def _model_readers(name: str) -> _Readers:
    from mlops_nb.packaging import models

    found: _Readers = {
        ("skops", "estimator"): models.read_skops,
        ("joblib", "estimator"): models.read_joblib,
        ("xgboost", "booster"): models.read_xgboost,
        ("lightgbm", "booster"): models.read_lightgbm,
        ("torch", "tensors"): models.read_torch,
    }
    return {key: read for key, read in found.items() if key[0] == name}


__all__ = ["UNSAFE", "Format", "formats_for", "read_format"]
