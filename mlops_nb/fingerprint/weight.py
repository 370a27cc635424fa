"""How much there is to read in a value, before it is read: a quick guess in bytes."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.plain import class_module
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
    attributes = getattr(value, "__dict__", None) if class_module(cls) != "builtins" else None
    if type(attributes) is not dict or not depth:
        return OBJECT_BYTES
    return sum(_weight(one, depth - 1) for one in islice(attributes.values(), _LOOKED_AT))


def _of_some(count: int, some: list[object], depth: int) -> int:
    if not some or not depth:
        return count * OBJECT_BYTES
    total = sum(max(OBJECT_BYTES, _weight(one, depth - 1)) for one in some)
    return total * count // len(some)


def _of_array(value: Any) -> int:
    import numpy as np

    if not isinstance(value, np.ndarray):
        return OBJECT_BYTES
    view = np.ndarray.view(value, np.ndarray)
    return int(view.size * OBJECT_BYTES if view.dtype.hasobject else view.nbytes)


def _of_pandas(value: Any) -> int:
    attributes = getattr(value, "__dict__", None)
    manager = attributes.get("_mgr") if type(attributes) is dict else None
    if manager is None:
        return int(getattr(value, "nbytes", OBJECT_BYTES))
    parts = [block.values for block in manager.blocks]
    return sum(
        _of_array(part) if class_module(type(part)) == "numpy" else int(part.nbytes)
        for part in parts
    )


def _of_arrow(value: Any) -> int:
    return int(getattr(value, "nbytes", OBJECT_BYTES))


def _of_polars(value: Any) -> int:
    return int(value.estimated_size()) if hasattr(value, "estimated_size") else OBJECT_BYTES


def _of_tensor(value: Any) -> int:
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        return int(value.numel() * value.element_size())
    if isinstance(value, torch.nn.Module):
        return sum(_of_tensor(one) for one in value.parameters())
    return OBJECT_BYTES


def _of_sparse(value: Any) -> int:
    parts = [getattr(value, name, None) for name in ("data", "indices", "indptr", "row", "col")]
    return sum(_of_array(part) for part in parts if class_module(type(part)) == "numpy")


_WEIGHTS: dict[str, Callable[[Any], int]] = {
    "numpy": _of_array,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_arrow,
    "scipy": _of_sparse,
    "torch": _of_tensor,
}
