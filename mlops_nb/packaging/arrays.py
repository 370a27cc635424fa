"""NumPy arrays as ``.npy``, sparse matrices of SciPy as ``.npz``: nothing in them is a pickle."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_nb.packaging.fitting import Unfit, unequal

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.packaging.places import Place

MAPPED_BYTES = 1 << 20
"""Arrays from this size on are mapped from their file and copied page by page when written to."""

_SPARSE = ("csr", "csc", "bsr", "coo", "dia")
_PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "row", "col"),
    "dia": ("data", "offsets"),
}
_FLAGS = ("has_sorted_indices", "has_canonical_format")


def write(array: Any, place: Place) -> dict[str, Any]:
    """Write an array with its order of memory.

    Raises
    ------
    Unfit
        It holds objects, or is of a class of its own.
    """
    if type(array) is not np.ndarray:
        raise Unfit(f"{type(array).__qualname__} is a class of its own")
    _check_type(array.dtype)
    # The axis along which memory runs last is written last, so that the bytes are in one piece.
    strides = [abs(stride) for stride in array.strides]
    axes = sorted(range(array.ndim), key=lambda axis: (-strides[axis], axis))
    if array.flags.c_contiguous:
        axes = list(range(array.ndim))
    with place.file("value.npy").open("wb") as file:
        np.lib.format.write_array(file, array.transpose(axes), allow_pickle=False)
    return {"axes": axes, "writeable": bool(array.flags.writeable)}


def read(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write` wrote."""
    array = _load(place.file("value.npy"))
    axes = list(detail["axes"])
    array = array.transpose([axes.index(axis) for axis in range(len(axes))])
    if not detail["writeable"]:
        array.flags.writeable = False
    return array


def _load(path: Path) -> Any:
    if path.stat().st_size < MAPPED_BYTES:
        return np.load(path, allow_pickle=False)
    # A plain array to the user: what is written to it stays in this process.
    return np.load(path, mmap_mode="c", allow_pickle=False).view(np.ndarray)


def _check_type(dtype: np.dtype[Any]) -> None:
    if dtype.hasobject or dtype.kind not in "biufcmMSUV":
        raise Unfit(f"an array of type {dtype} holds more than numbers")
    if dtype.metadata:
        raise unequal("the type's metadata")
    back = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype))
    if (
        back != dtype
        or back.isalignedstruct != dtype.isalignedstruct
        or _titles(back) != _titles(dtype)
    ):
        raise unequal(f"the type {dtype}")


def _titles(dtype: np.dtype[Any]) -> list[object]:
    return [field[2:] for field in (dtype.fields or {}).values()]


# --- sparse -----------------------------------------------------------------------------------


def is_sparse(value: object) -> bool:
    """Tell whether a value is a sparse matrix or array of SciPy itself."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and sparse.issparse(value)


def write_sparse(value: Any, place: Place) -> dict[str, Any]:
    """Write a sparse matrix or array by its parts.

    Raises
    ------
    Unfit
        It is of another kind, or would not come back as it is.
    """
    from scipy import sparse

    kind, cls = value.format, type(value)
    if kind not in _SPARSE or getattr(sparse, cls.__name__, None) is not cls:
        raise Unfit(f"{cls.__qualname__} has no exact form")
    parts = {name: np.asarray(part) for name, part in _parts_of(value).items()}
    for part in parts.values():
        _check_type(part.dtype)
    with place.file("value.npz").open("wb") as file:
        np.savez(file, **parts)  # type: ignore[arg-type]
    flags = {name: bool(getattr(value, name)) for name in _FLAGS if hasattr(value, name)}
    return {"class": cls.__name__, "shape": [int(side) for side in value.shape], "flags": flags}


def read_sparse(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write_sparse` wrote."""
    from scipy import sparse

    name = detail["class"]
    if name.rpartition("_")[0] not in _SPARSE:
        raise ValueError(f"no sparse matrix is a {name}")
    cls = getattr(sparse, name)
    with np.load(place.file("value.npz"), allow_pickle=False) as parts:
        found = {part: parts[part] for part in parts.files}
    shape = tuple(detail["shape"])
    data = found.pop("data")
    if name.startswith("coo"):
        coordinates = tuple(found[part] for part in sorted(found))
        made = cls((data, coordinates), shape=shape, copy=False)
    else:
        made = cls(
            (data, *(found[part] for part in _PARTS[name[:3]][1:])), shape=shape, copy=False
        )
    for flag, is_set in detail["flags"].items():
        setattr(made, flag, is_set)
    return made


def _parts_of(value: Any) -> dict[str, Any]:
    if value.format == "coo":
        axes = {f"axis {place}": axis for place, axis in enumerate(value.coords)}
        return {"data": value.data, **axes}
    return {name: getattr(value, name) for name in _PARTS[value.format]}


__all__ = ["is_sparse", "read", "read_sparse", "write", "write_sparse"]
