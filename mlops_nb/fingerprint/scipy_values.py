"""SciPy's sparse matrices and arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from mlops_nb.fingerprint.instances import attributes_of, encode_attributes, is_own
from mlops_nb.fingerprint.numpy_values import array_digest
from mlops_nb.fingerprint.plain import attribute_of, class_path
from mlops_nb.fingerprint.scheme import (
    OpaqueValueError,
    OverBudgetError,
    as_text,
    digest_inside,
    digest_of,
    schema_digest,
)
from mlops_nb.model import Fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass

_INT32_MAX = 2**31 - 1


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a sparse matrix; order and splitting of its entries do not count."""
    name = class_path(cls)
    if attribute_of(name) is not cls or not sparse.issparse(value):
        raise OpaqueValueError(name)
    kind, shape = f"scipy.{cls.__name__}", tuple(map(int, value.shape))
    schema = schema_digest(kind, [str(value.dtype)])
    try:
        digest = _digest(kind, shape, value, tracker)
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget", shape[0], shape)
    return Fingerprint(kind, as_text(digest), schema, rows=shape[0], shape=shape)


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a sparse matrix inside a container."""
    if not sparse.issparse(value):
        return _encode_other(value, cls, tracker)
    found = read(value, cls, tracker)
    return tracker.encoder.composite(found.kind, [digest_inside(found)])


def _encode_other(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a distribution with its parameters, a spline, or another object of attributes."""
    if not is_own(cls, "scipy"):
        raise OpaqueValueError(class_path(cls))
    attributes = attributes_of(value, cls)
    if "dist" in attributes and "kwds" in attributes:
        dist = attributes["dist"]
        if not is_own(type(dist), "scipy"):
            raise OpaqueValueError(class_path(type(dist)))
        content = [class_path(type(dist)), dist.name, attributes["args"], attributes["kwds"]]
        return tracker.encoder.composite("scipy distribution", content)
    return encode_attributes(value, cls, tracker, lambda: attributes)


def _digest(kind: str, shape: tuple[int, ...], value: Any, tracker: Pass) -> bytes:
    rows = value if value.format in {"csr", "csc"} else value.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    starts = _narrowed(rows.indptr, rows.nnz)
    places = _narrowed(rows.indices, max(shape))
    digests = [array_digest(part, tracker)[0] for part in (starts, places, rows.data)]
    return digest_of(f"{kind}\0{shape}\0".encode(), *digests)


def _narrowed(indices: NDArray[Any], largest: int) -> NDArray[Any]:
    """Write indices in the width that their size asks for; SciPy chooses by how it got them."""
    return indices.astype(np.int32 if largest <= _INT32_MAX else np.int64, copy=False)
