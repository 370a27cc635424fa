"""Fingerprints as documents: what the store keeps, and back."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.documents import plain
from mlops_nb.fingerprint.scheme import ROWS
from mlops_nb.model import ColumnFingerprint, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, Any]

_HEX_DIGITS = 32
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FIELDS = {field.name for field in fields(Fingerprint)}
_COLUMN_FIELDS = {field.name for field in fields(ColumnFingerprint)}
_BOUNDS = ("minimum", "maximum", "mean")


def fingerprint_document(found: Fingerprint) -> Document:
    """Write a fingerprint with its columns, chunks and statistics, for JSON or msgpack.

    What is empty is left out, and the digests of chunks stand in one text, because a frame of
    a gigabyte has two thousand of them.

    Examples
    --------
    >>> fingerprint_document(Fingerprint("numpy.ndarray", "nbfp1:0a", rows=2, shape=(2,)))
    {'kind': 'numpy.ndarray', 'digest': 'nbfp1:0a', 'assurance': 'exact', 'rows': 2, 'shape': [2]}
    """
    document: Document = {
        "kind": plain(found.kind),
        "digest": found.digest,
        "schema_digest": found.schema_digest,
        "assurance": found.assurance,
        "rows": found.rows,
        "shape": list(found.shape),
        "size_bytes": found.size_bytes or None,
        "cost_ns": found.cost_ns or None,
        "columns": [_column_document(column) for column in found.columns.values()],
        "index": [_column_document(level) for level in found.index],
        "chunks": "".join(found.chunks),
        "chunk_rows": found.chunk_rows if found.chunk_rows != ROWS else None,
    }
    return _filled(document)


def fingerprint_from_document(document: Mapping[str, Any]) -> Fingerprint:
    """Read what `fingerprint_document` wrote; what is missing has its default.

    Examples
    --------
    >>> found = Fingerprint("numpy.ndarray", "nbfp1:0a", rows=2, shape=(2,))
    >>> fingerprint_from_document(fingerprint_document(found)) == found
    True
    """
    given = dict(document)
    columns = [_column(one) for one in given.pop("columns", ())]
    known = {name: value for name, value in given.items() if name in _FIELDS}
    return Fingerprint(
        **known
        | {
            "digest": given.get("digest", ""),
            "shape": tuple(given.get("shape", ())),
            "columns": {column.name: column for column in columns},
            "index": tuple(_column(one) for one in given.get("index", ())),
            "chunks": _chunks(given.get("chunks", "")),
        }
    )


def without_statistics(found: Fingerprint) -> Fingerprint:
    """Leave out what holds values of the data: bounds and means of columns and row labels.

    Digests stay, and how many values there are and are missing. The bounds of row labels that
    count from 0 stay too: they say no more than the number of rows.

    Examples
    --------
    >>> age = ColumnFingerprint("age", "int64", "0a", (), 3, 1, 18, 99, 40.5)
    >>> without_statistics(Fingerprint("pandas.DataFrame", "", columns={"age": age})).columns
    {'age': ColumnFingerprint(name='age', type='int64', digest='0a', chunks=(), count=3, nulls=1, \
minimum=None, maximum=None, mean=None)}
    """
    columns = {name: _without_bounds(column) for name, column in found.columns.items()}
    index = tuple(
        level if level.type == "range" and level.minimum == 0 else _without_bounds(level)
        for level in found.index
    )
    return replace(found, columns=columns, index=index)


def _without_bounds(column: ColumnFingerprint) -> ColumnFingerprint:
    return replace(column, minimum=None, maximum=None, mean=None)


def _column_document(column: ColumnFingerprint) -> Document:
    name = plain(column.name)
    return {"name": name} | _filled(
        {
            "type": plain(column.type),
            "digest": column.digest,
            "chunks": "".join(column.chunks),
            "count": column.count or None,
            "nulls": column.nulls or None,
            "minimum": plain(column.minimum),
            "maximum": plain(column.maximum),
            "mean": plain(column.mean),
        }
    )


def _column(document: Mapping[str, Any]) -> ColumnFingerprint:
    known = {k: v for k, v in document.items() if k in _COLUMN_FIELDS}
    for name in _BOUNDS:
        # No column of texts has bounds, so a name of a number is one.
        if type(known.get(name)) is str:
            known[name] = _NOT_FINITE.get(known[name], known[name])
    defaults = {"type": "", "digest": ""}
    return ColumnFingerprint(**defaults | known | {"chunks": _chunks(known.get("chunks", ""))})


def _filled(document: Document) -> Document:
    return {k: v for k, v in document.items() if v not in (None, "", [])}


def _chunks(joined: str) -> tuple[str, ...]:
    return tuple(joined[i : i + _HEX_DIGITS] for i in range(0, len(joined), _HEX_DIGITS))
