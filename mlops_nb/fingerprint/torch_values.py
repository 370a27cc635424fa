"""torch: tensors in the processor's memory, and modules by class, settings and parameters.

Whether a module is training, what gradients there are and which tensors want one is left out:
a prediction changes them. A tensor on another device is opaque, because it would have to be
copied and the device waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlops_nb.fingerprint.instances import (
    attributes_of,
    has_base,
    is_own,
    read_instance,
)
from mlops_nb.fingerprint.numpy_values import array_digest, rows_per_chunk
from mlops_nb.fingerprint.plain import class_path
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
    from collections.abc import Callable

    from mlops_nb.fingerprint.scheme import Pass

_MODULE = "torch.nn.modules.module.Module"
_TENSORS = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}
_BRAIN_QUIET_NAN, _BRAIN_INFINITY, _BRAIN_MAGNITUDE = 0x7FC0, 0x7F80, 0x7FFF
_OWN_PARTS = ("_parameters", "_buffers", "_modules")
# What every module has beside its parts; hooks are somebody's code and run with the cell's.
_BOOKKEEPING = set(vars(torch.nn.Module())) - set(_OWN_PARTS)


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a tensor or a module."""
    if _is_tensor(cls):
        return _read_tensor(value, cls, tracker)
    return read_instance(value, cls, tracker, encode)


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a tensor, a module or a setting inside a container."""
    if _is_tensor(cls):
        found = _read_tensor(value, cls, tracker)
        return tracker.encoder.composite(found.kind, [digest_inside(found)])
    if has_base(cls, _MODULE):
        return _encode_module(value, cls, tracker)
    if is_own(cls, "torch") and cls in _SETTINGS:
        return tracker.encoder.composite(class_path(cls), _SETTINGS[cls](value))
    raise OpaqueValueError(class_path(cls))


def _is_tensor(cls: type) -> bool:
    return class_path(cls) in _TENSORS and is_own(cls, "torch")


# --- tensors ----------------------------------------------------------------------------------


def _read_tensor(value: torch.Tensor, cls: type, tracker: Pass) -> Fingerprint:
    kind, shape = class_path(cls), tuple(value.shape)
    rows = shape[0] if shape else None
    layout = "" if value.layout is torch.strided else f" {value.layout}"
    schema = schema_digest(kind, [f"{value.dtype}{layout}", str(shape[1:])])
    if value.device.type != "cpu":
        return Fingerprint(kind, "", schema, "opaque", rows, shape)
    chunks: list[bytes] = []
    chunk_rows = 1
    try:
        with torch.no_grad():
            if value.layout is torch.strided:
                digest, chunks, chunk_rows = _dense_digest(value.detach(), tracker)
            else:
                digest = _sparse_digest(value.detach(), tracker)
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget", rows, shape)
    return Fingerprint(
        kind,
        as_text(digest_of(kind.encode(), b"\0", digest)),
        schema,
        rows=rows,
        shape=shape,
        chunks=tuple([chunk.hex() for chunk in chunks]),
        chunk_rows=chunk_rows,
    )


def _dense_digest(tensor: torch.Tensor, tracker: Pass) -> tuple[bytes, list[bytes], int]:
    if tensor.is_quantized:
        raise OpaqueValueError(str(tensor.dtype))
    # Conjugated and negated lazily: NumPy sees only what is in memory.
    tensor = tensor.resolve_conj().resolve_neg()
    if tensor.dtype is torch.bfloat16:
        return _brain_digest(tensor, tracker)
    name = ""
    if tensor.dtype not in _SHARED_WITH_NUMPY:
        name, tensor = str(tensor.dtype), _as_bits(tensor)
    array = tensor.numpy()
    digest, chunks, _ = array_digest(array, tracker)
    digest = digest_of(name.encode(), b"\0", digest) if name else digest
    return digest, chunks, rows_per_chunk(array)


def _as_bits(tensor: torch.Tensor) -> torch.Tensor:
    """View numbers of a kind that NumPy has not as unsigned integers of their width."""
    if tensor.dtype is torch.complex32:
        return torch.view_as_real(tensor)
    if tensor.element_size() != 1:
        raise OpaqueValueError(str(tensor.dtype))
    return tensor.view(torch.uint8)


def _brain_digest(tensor: torch.Tensor, tracker: Pass) -> tuple[bytes, list[bytes], int]:
    """Digest bfloat16, any NaN as the quiet one."""
    array = tensor.view(torch.int16).numpy().view(np.uint16)
    step = rows_per_chunk(array)
    tracker.take(array.nbytes)
    rows = array if array.ndim else array[np.newaxis]
    chunks = []
    for start in range(0, len(rows) if array.size else 0, step):
        piece = np.ascontiguousarray(rows[start : start + step])
        missing = (piece & _BRAIN_MAGNITUDE) > _BRAIN_INFINITY
        if missing.any():
            piece = np.where(missing, np.uint16(_BRAIN_QUIET_NAN), piece)
        chunks.append(digest_of(b"-", piece))
    head = b"array\0bfloat16\0%b\0" % str(array.shape).encode()
    return digest_of(head, b"".join(chunks)), chunks, step


def _sparse_digest(tensor: torch.Tensor, tracker: Pass) -> bytes:
    """Digest a sparse tensor by its indices and values; order and splitting do not count."""
    layout = tensor.layout
    if layout is torch.sparse_coo:
        tensor = tensor.coalesce()
        parts = [tensor.indices(), tensor.values()]
    elif layout in {torch.sparse_csr, torch.sparse_bsr}:
        parts = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    elif layout in {torch.sparse_csc, torch.sparse_bsc}:
        parts = [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    else:
        raise OpaqueValueError(str(layout))
    digests = [_dense_digest(part, tracker)[0] for part in parts]
    return digest_of(f"{layout}\0{tuple(tensor.shape)}\0".encode(), *digests)


# --- modules ----------------------------------------------------------------------------------


def _encode_module(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode the class, the settings, and the parts in their order."""
    encoder = tracker.encoder

    def content() -> bytes:
        found = attributes_of(value, cls)
        parts = [list(found[name].items()) for name in _OWN_PARTS]
        is_library = is_own(cls, "torch")
        settings = {
            name: one
            for name, one in found.items()
            # A module of torch itself keeps only what follows from the rest in such names.
            if name not in _BOOKKEEPING
            and name not in _OWN_PARTS
            and not (is_library and name.startswith("_"))
        }
        return encoder.composite(f"module {class_path(cls)}", [settings, *parts])

    return encoder.container(value, content)


_SHARED_WITH_NUMPY = {
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
    *(getattr(torch, f"uint{bits}") for bits in (16, 32, 64) if hasattr(torch, f"uint{bits}")),
}

_SETTINGS: dict[type, Callable[[Any], list[object]]] = {
    torch.dtype: lambda value: [str(value)],
    torch.device: lambda value: [str(value)],
    torch.layout: lambda value: [str(value)],
    torch.memory_format: lambda value: [str(value)],
    torch.Size: list,
}
