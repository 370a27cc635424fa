"""How much there is to read in a value, before it is read: a quick guess in bytes."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.plain import class_module, instance_dict, is_real
from mlops_nb.fingerprint.scheme import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable

OBJECT_BYTES = 80
"""What an object costs in bytes of an array that would take as long."""

_DEPTH = 3
_LOOKED_AT = 100


def weight_of(value: object) -> int:
    """Guess how many bytes a hash would have to read.

    No code of a user's class is run. What holds others is judged by some of them.

    Examples
    --------
    >>> import numpy as np
    >>> weight_of(np.zeros(1000)), weight_of("text"), weight_of([1] * 1000)
    (8000, 4, 80000)
    """
    try:
        return _weight(value, _DEPTH)
    except FAILURES:
        return 0


def _weight(value: Any, depth: int) -> int:
    cls = type(value)
    if cls is str or cls is bytes or cls is bytearray:
        return len(value)
    if any(cls is one for one in (list, tuple, set, frozenset)):
        return _of_some(len(value), list(islice(value, _LOOKED_AT)), depth)
    if cls is dict:
        return _of_some(len(value), list(islice(value.values(), _LOOKED_AT)), depth)
    library = class_module(cls).partition(".")[0]
    weigh = _WEIGHTS.get(library)
    if weigh is not None and library in sys.modules:
        return weigh(value)
    attributes = instance_dict(value)
    if attributes is None or not depth:
        return OBJECT_BYTES
    return sum(_weight(one, depth - 1) for one in islice(attributes.values(), _LOOKED_AT))


def _of_some(count: int, some: list[object], depth: int) -> int:
    if not some or not depth:
        return count * OBJECT_BYTES
    total = sum(max(OBJECT_BYTES, _weight(one, depth - 1)) for one in some)
    return total * count // len(some)


def _of_array(value: Any) -> int:
    import numpy as np

    if not issubclass(type(value), np.ndarray):
        return OBJECT_BYTES
    view = np.ndarray.view(value, np.ndarray)
    return int(view.size * OBJECT_BYTES if view.dtype.hasobject else view.nbytes)


def _of_pandas(value: Any) -> int:
    manager = (instance_dict(value) or {}).get("_mgr")
    if manager is None:
        return int(value.nbytes) if is_real(type(value)) else OBJECT_BYTES
    return sum(_of_block(block.values) for block in manager.blocks)


def _of_block(values: Any) -> int:
    if class_module(type(values)) == "numpy":
        return _of_array(values)
    return int(values.nbytes) if is_real(type(values)) else OBJECT_BYTES * len(values)


def _of_arrow(value: Any) -> int:
    return int(getattr(value, "nbytes", OBJECT_BYTES)) if is_real(type(value)) else OBJECT_BYTES


def _of_polars(value: Any) -> int:
    is_table = is_real(type(value)) and hasattr(value, "estimated_size")
    return int(value.estimated_size()) if is_table else OBJECT_BYTES


def _of_tensor(value: Any) -> int:
    torch = sys.modules["torch"]
    if issubclass(type(value), torch.nn.Module):
        attributes = instance_dict(value) or {}
        parts = [attributes.get(name) for name in ("_parameters", "_buffers", "_modules")]
        return sum(_of_tensor(x) for part in parts if type(part) is dict for x in part.values())
    if not is_real(type(value)) or not issubclass(type(value), torch.Tensor):
        return OBJECT_BYTES
    return int(value.numel() * value.element_size())


def _of_sparse(value: Any) -> int:
    attributes = instance_dict(value) or {}
    parts = [attributes.get(name) for name in ("data", "indices", "indptr", "row", "col")]
    return sum(_of_array(part) for part in parts if class_module(type(part)) == "numpy")


_WEIGHTS: dict[str, Callable[[Any], int]] = {
    "numpy": _of_array,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_arrow,
    "scipy": _of_sparse,
    "torch": _of_tensor,
}
