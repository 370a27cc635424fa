"""Samples of large values: less than a proof, more than nothing.

A sample is the first and the last rows and runs between them, at places that depend on the
number of rows alone. Two samples that differ show that two values of one shape differ; two that
are equal show nothing, which is why their digests are marked apart.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.plain import class_module, is_real
from mlops_nb.fingerprint.scheme import (
    FAILURES,
    PREFIX,
    OverBudgetError,
    Pass,
    as_text,
    digest_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.model import Fingerprint

SAMPLE_PREFIX = "nbfp1-sample:"
"""Begins the digest of a sample, so that it is never equal to one of a whole value."""

_VALUES = 131_072
_MOST_ROWS, _LEAST_ROWS = 16_384, 128
_BUDGET_BYTES = 16_000_000
_MOST_RUNS, _LEAST_RUNS = 16, 4
_PIECES = 2_048


def runs_of(rows: int, columns: int) -> list[tuple[int, int]]:
    """Choose the runs of rows of a sample, as first row and number of rows.

    They depend on nothing but the shape, so that samples of equal shapes can be compared.

    Examples
    --------
    >>> runs_of(10, 1)
    [(0, 10)]
    >>> runs_of(10**9, 1) == runs_of(10**9, 1)
    True
    """
    wanted = min(_MOST_ROWS, max(_LEAST_ROWS, _VALUES // max(1, columns)))
    if rows <= wanted:
        return [(0, rows)]
    count = min(_MOST_RUNS, max(_LEAST_RUNS, _PIECES // max(1, columns)))
    length = wanted // count
    draw = random.Random(rows)  # noqa: S311  the same places for everybody
    stratum = (rows - 2 * length) / (count - 2)
    starts = [
        min(length + int((i + draw.random()) * stratum), rows - 2 * length)
        for i in range(count - 2)
    ]
    return [(0, length), *((start, length) for start in starts), (rows - length, length)]


def sampled(value: object) -> Fingerprint | None:
    """Fingerprint a sample of a table, array or tensor; None for what has no rows to choose.

    Returns
    -------
    Fingerprint or None
        With the assurance ``sampled``, the digest marked by `SAMPLE_PREFIX`, the kind of the
        value and nothing of its columns.

    Examples
    --------
    >>> import numpy as np
    >>> sampled(np.zeros(10**7)).digest == sampled(np.ones(10**7)).digest
    False
    """
    from mlops_nb.fingerprint import read_value

    try:
        part, shape = _part_of(value)
        if part is None:
            return None
        found = read_value(part, Pass(_BUDGET_BYTES))
    except (*FAILURES, OverBudgetError):
        return None
    if not found.digest:
        return None
    head = f"sample\0{found.kind}\0{shape}\0".encode()
    digest = digest_of(head, bytes.fromhex(found.digest.removeprefix(PREFIX)))
    return replace(
        found,
        digest=as_text(digest).replace(PREFIX, SAMPLE_PREFIX, 1),
        schema_digest="",
        assurance="sampled",
        rows=shape[0] if shape else None,
        shape=shape,
        columns={},
        index=(),
        chunks=(),
    )


def _part_of(value: object) -> tuple[Any, tuple[int, ...]]:
    """Cut a sample out of a value; None for one of a class that is not exactly known."""
    cls = type(value)
    library = class_module(cls).partition(".")[0]
    if library == "builtins":
        return _of_sequence(value)
    cut = _CUTS.get(library)
    if cut is None or library not in sys.modules:
        return None, ()
    if not is_real(cls):
        return None, ()
    return cut(value)


def _of_sequence(value: Any) -> tuple[Any, tuple[int, ...]]:
    if type(value) is not list and type(value) is not tuple:
        return None, ()
    found: list[object] = []
    for start, length in runs_of(len(value), 1):
        found += value[start : start + length]
    return found, (len(value),)


def _of_array(value: Any) -> tuple[Any, tuple[int, ...]]:
    import numpy as np

    from mlops_nb.fingerprint.numpy_values import _refuse_short_file

    if type(value) not in {np.ndarray, np.memmap} or not value.ndim:
        return None, ()
    _refuse_short_file(value)
    value = np.ndarray.view(value, np.ndarray)
    places = _places(value.size)
    if value.flags.c_contiguous:
        return value.reshape(-1)[places], value.shape
    return value[np.unravel_index(places, value.shape)], value.shape


def _places(size: int) -> Any:
    import numpy as np

    runs = runs_of(size, 8)
    return np.concatenate([np.arange(start, start + length) for start, length in runs])


def _of_pandas(value: Any) -> tuple[Any, tuple[int, ...]]:
    import pandas as pd

    if type(value) is not pd.DataFrame and type(value) is not pd.Series:
        return None, ()
    shape: tuple[int, ...] = value.shape
    runs = runs_of(shape[0], shape[1] if len(shape) > 1 else 1)
    parts: list[Any] = [value.iloc[i : i + n] for i, n in runs]
    return (parts[0] if len(parts) == 1 else pd.concat(parts)), shape


def _of_arrow(value: Any) -> tuple[Any, tuple[int, ...]]:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        shape = (value.num_rows, value.num_columns)
        parts = [value.slice(start, length) for start, length in runs_of(*shape)]
        return pa.concat_tables(parts), shape
    if isinstance(value, pa.Array):
        value = pa.chunked_array([value])
    if not isinstance(value, pa.ChunkedArray):
        return None, ()
    chunks = [one for i, n in runs_of(len(value), 1) for one in value.slice(i, n).chunks]
    return pa.chunked_array(chunks, value.type), (len(value),)


def _of_polars(value: Any) -> tuple[Any, tuple[int, ...]]:
    import polars as pl

    if not isinstance(value, pl.DataFrame | pl.Series):
        return None, ()
    shape = value.shape
    columns = shape[1] if len(shape) > 1 else 1
    parts: list[Any] = [value.slice(i, n) for i, n in runs_of(shape[0], columns)]
    return pl.concat(parts), shape


def _of_tensor(value: Any) -> tuple[Any, tuple[int, ...]]:
    torch = sys.modules["torch"]
    if type(value) is not torch.Tensor or value.device.type != "cpu" or not value.is_contiguous():
        return None, ()
    places = torch.from_numpy(_places(value.numel()))
    return value.detach().reshape(-1)[places], tuple(value.shape)


_CUTS: dict[str, Callable[[Any], tuple[Any, tuple[int, ...]]]] = {
    "numpy": _of_array,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_arrow,
    "torch": _of_tensor,
}
