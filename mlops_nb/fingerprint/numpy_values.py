"""NumPy arrays and scalars.

The digest is of the logical content in C order, whatever the memory looks like: strided,
transposed, foreign-endian, read-only or mapped from a file.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128

from mlops_nb.fingerprint.fixed_width import as_bytes, canonical, is_number, logical_type, native
from mlops_nb.fingerprint.plain import attribute_of, class_path, instance_dict
from mlops_nb.fingerprint.scheme import (
    CHUNK_BYTES,
    ROWS,
    OpaqueValueError,
    OverBudgetError,
    as_text,
    digest_of,
    quoted,
    schema_digest,
)
from mlops_nb.model import ColumnFingerprint, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass

BAND_BYTES = 33_554_432
"""Most memory that is gathered at once from an array that is not in C order."""

_LEAST_BAND_BYTES = 4_194_304
# Measured widths of arrays in column order at which another way of turning them is faster.
_NARROW, _FEW, _BROAD, _MANY = 8, 30, 256, 2_048
_TILE = 64
# From so many columns at once a processor still reads ahead.
_BESIDE = 16
_CACHE_LINE, _PAGE, _SHARED_BY = 64, 4_096, 4
_SINGLE, _DOUBLE = 4, 8
# NumPy counts the bytes of a record in 32 bits.
_LONGEST_RECORD = 2**31 - 1
_PLAIN_KINDS = "biufcmMSUV"
# Read as plain arrays: what they add is how they are shown, multiplied or kept.
_PLAIN_CLASSES = {"ndarray", "memmap", "recarray"}


def read(value: object, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint an array or a scalar; raises `OpaqueValueError` for anything else."""
    if issubclass(cls, np.ndarray):
        return _read_array(value, cls, tracker)
    kind = _scalar_kind(value, cls) if _is_scalar(cls) else class_path(cls)
    digest = digest_of(kind.encode(), b"\0", encode(value, cls, tracker))
    return Fingerprint(kind, as_text(digest), schema_digest(kind, ()))


def encode(value: object, cls: type, tracker: Pass) -> bytes:
    """Encode a value inside a container."""
    if _is_scalar(cls):
        return _encode_scalar(value, cls, tracker)
    if cls is np.ufunc:
        return tracker.encoder.composite("numpy.ufunc", [value.__name__])  # type: ignore[attr-defined]
    if issubclass(cls, np.dtype):
        return tracker.encoder.composite("numpy.dtype", [np.dtype(value).descr])  # type: ignore[call-overload]
    if issubclass(cls, np.ndarray):
        found = _read_array(value, cls, tracker)
        if not found.digest:
            raise OverBudgetError
        return tracker.encoder.composite(found.kind, [found.digest])
    name = class_path(cls)
    if cls is type(np.mean) and cls is not FunctionType:
        return tracker.encoder.composite("function", _dispatched(value))
    if attribute_of(name) is cls and name in _RARE:
        return tracker.encoder.composite(name, _RARE[name](value))
    raise OpaqueValueError(name)


def _dispatched(value: Any) -> list[object]:
    """Name a function of NumPy that other libraries may take over."""
    module, name = value.__module__, value.__qualname__
    if attribute_of(f"{module}.{name}") is not value:
        raise OpaqueValueError
    return [module, name]


def _legacy_state(value: Any) -> list[object]:
    # The generator that all share goes on with every draw of anybody.
    if value is np.random.mtrand._rand:  # noqa: SLF001
        return ["shared"]
    return [value.get_state(legacy=False)]


def _generator_state(value: Any) -> list[object]:
    bits = value.bit_generator
    name = class_path(type(bits))
    if not name.startswith("numpy.") or attribute_of(name) is not type(bits):
        raise OpaqueValueError(name)
    return [bits.state]


_RARE: dict[str, Any] = {
    "numpy.random.mtrand.RandomState": _legacy_state,
    "numpy.random._generator.Generator": _generator_state,
    "numpy.random._mt19937.MT19937": lambda value: [value.state],
    "numpy.random._pcg64.PCG64": lambda value: [value.state],
}


def _is_scalar(cls: type) -> bool:
    return issubclass(cls, np.generic) and attribute_of(class_path(cls)) is cls


def _scalar_kind(value: Any, cls: type) -> str:
    # NumPy renames its scalar classes from version to version, not its dtypes.
    dtype = value.dtype
    return f"numpy.{dtype.name if dtype.kind in 'biufcmM' else cls.__name__}"


def _encode_scalar(value: Any, cls: type, tracker: Pass) -> bytes:
    array = np.asarray(value)
    if array.dtype.kind == "O":
        raise OpaqueValueError(class_path(cls))
    if is_number(array.dtype):
        octets = canonical(array.reshape(1), tracker).tobytes()
        return tracker.encoder.composite("numpy", [array.dtype.name, octets])
    digest, _, _ = array_digest(array, tracker)
    return tracker.encoder.composite(_scalar_kind(value, cls), [digest])


def _read_array(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    kind = "numpy.ndarray"
    if cls is np.ma.MaskedArray:
        # NumPy moved it from one module to another.
        kind = "numpy.ma.MaskedArray"
    elif cls is not np.ndarray and not _is_plain(cls):
        kind = class_path(cls)
    # The base class's own view: nothing that a subclass overrides is called.
    array = np.ndarray.view(value, np.ndarray)
    schema = schema_digest(kind, [_description(array.dtype), str(array.shape[1:])])
    rows = array.shape[0] if array.ndim else None
    try:
        if cls is np.ma.MaskedArray:
            digest, chunks, columns = _masked_digest(value, array, tracker)
        else:
            digest, chunks, columns = array_digest(array, tracker)
        if kind != "numpy.ndarray":
            digest = digest_of(kind.encode(), _subclass_content(value, cls, tracker), digest)
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget", rows, array.shape)
    return Fingerprint(
        kind,
        as_text(digest),
        schema,
        rows=rows,
        shape=array.shape,
        columns=columns,
        chunks=tuple([chunk.hex() for chunk in chunks]),
        chunk_rows=rows_per_chunk(array),
    )


def _description(dtype: np.dtype[Any]) -> str:
    # As NumPy writes it, which takes as long as to hash a small array.
    return f"[('', {dtype.str!r})]" if dtype.names is None else str(dtype.descr)


def _is_plain(cls: type) -> bool:
    name = class_path(cls)
    return name.rpartition(".")[2] in _PLAIN_CLASSES and (
        name.partition(".")[0] == "numpy" and attribute_of(name) is cls
    )


def _subclass_content(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode what a subclass keeps beside the numbers."""
    if cls is np.ma.MaskedArray:
        return b""
    attributes = instance_dict(value)
    if attributes is None:
        raise OpaqueValueError
    return tracker.encoder.encode(attributes)


def _masked_digest(
    value: Any, array: NDArray[Any], tracker: Pass
) -> tuple[bytes, list[bytes], dict[str, ColumnFingerprint]]:
    mask = np.ma.getmaskarray(value)
    shown = np.where(mask, np.zeros((), array.dtype), array)
    digest = digest_of(array_digest(mask, tracker)[0], array_digest(shown, tracker)[0])
    return digest, [], {}


def array_digest(
    array: NDArray[Any], tracker: Pass
) -> tuple[bytes, list[bytes], dict[str, ColumnFingerprint]]:
    """Digest a true ndarray.

    Returns
    -------
    tuple
        The digest, those of its chunks, and by name the fields of a structured one.
    """
    _refuse_short_file(array)
    if array.dtype.names is not None:
        digest, columns = _fields_digest(array, tracker)
        return digest, [], columns
    type_ = _type_of(array.dtype)
    with np.errstate(all="ignore"):
        if type_ in {"object", "string"}:
            chunks = _object_chunks(array, tracker)
        else:
            tracker.take(array.size * array.itemsize)
            chunks = list(_fixed_chunks(array, tracker))
    head = b"array\0%b\0%b\0" % (type_.encode(), str(array.shape).encode())
    return digest_of(head, b"".join(chunks)), chunks, {}


def _type_of(dtype: np.dtype[Any]) -> str:
    if dtype.kind in _PLAIN_KINDS:
        return logical_type(dtype)
    if dtype.kind in "OT":
        return "object" if dtype.kind == "O" else "string"
    raise OpaqueValueError


def rows_per_chunk(array: NDArray[Any]) -> int:
    """Return how many rows of the first axis one chunk has; it depends on the row alone."""
    row_bytes = array.itemsize * math.prod(array.shape[1:])
    return max(1, CHUNK_BYTES // max(1, row_bytes))


def _refuse_short_file(array: NDArray[Any]) -> None:
    """Refuse a mapped file that was cut: touching the missing part would kill the process."""
    base: Any = array
    mapped = None
    while isinstance(base, np.ndarray):
        # A slice says the offset of what it was cut from, so the outermost one is asked.
        mapped = base if type(base) is np.memmap else mapped
        base = base.base
    if mapped is not None and mapped.filename is not None:
        needed = mapped.offset + mapped.nbytes
        if Path(mapped.filename).stat().st_size < needed:
            raise OpaqueValueError


def _fields_digest(
    array: NDArray[Any], tracker: Pass
) -> tuple[bytes, dict[str, ColumnFingerprint]]:
    columns: dict[str, ColumnFingerprint] = {}
    parts = [b"fields\0%b\0" % str(array.shape).encode()]
    rows = array.shape[0] if array.ndim else 1
    for name in array.dtype.names or ():
        values = array[name]
        digest, chunks, _ = array_digest(values, tracker)
        parts += (quoted(name).encode(), b"\0", digest)
        type_ = "struct" if values.dtype.names else _type_of(values.dtype)
        hexes = tuple(chunk.hex() for chunk in chunks)
        columns[name] = ColumnFingerprint(name, type_, digest.hex(), hexes, rows)
    return digest_of(*parts), columns


def _object_chunks(array: NDArray[Any], tracker: Pass) -> list[bytes]:
    flat = array.reshape(-1)
    per_chunk = rows_per_chunk(array) * math.prod(array.shape[1:])
    tracker.take(8 * flat.size)
    chunks = []
    for start in range(0, flat.size, max(1, per_chunk)):
        hasher = xxh3_128()
        for first in range(start, min(start + per_chunk, flat.size), ROWS):
            last = min(first + ROWS, start + per_chunk)
            hasher.update(tracker.encoder.objects(flat[first:last].tolist()))
        chunks.append(hasher.digest())
    return chunks


def _fixed_chunks(array: NDArray[Any], tracker: Pass) -> Iterator[bytes]:
    """Digest chunks of whole rows, each in pieces that fit the cache."""
    if not array.size:
        return
    rows = rows_per_chunk(array)
    row_size = math.prod(array.shape[1:])
    if array.flags.c_contiguous:
        yield from _flat_chunks(array.reshape(-1), rows * row_size, tracker)
        return
    if _is_transposed(array) and _FEW < array.shape[1] <= _MANY and _is_simple(array.dtype):
        for chunk in _turned(array, rows, tracker):
            tracker.step()
            yield digest_of(b"-", as_bytes(chunk))
        return
    records = _records(array) if _is_transposed(array) and array.shape[1] <= _NARROW else None
    if records is None:
        bands = _bands(array, rows, tracker)
    else:
        bands = _record_bands(array, records, rows, tracker)
    for band in bands:
        if band.flags.c_contiguous:
            yield from _flat_chunks(band.reshape(-1), rows * row_size, tracker)
        else:
            hasher: Any = xxh3_128(b"-")
            for piece in _gathered(band):
                tracker.step()
                hasher.update(as_bytes(canonical(native(piece), tracker)))
            yield hasher.digest()


def _flat_chunks(flat: NDArray[Any], step: int, tracker: Pass) -> Iterator[bytes]:
    octets, size = as_bytes(flat), flat.itemsize
    is_raw = flat.dtype.isnative and flat.dtype.kind not in "fc"
    is_float = flat.dtype.isnative and flat.dtype.kind == "f" and size <= _DOUBLE
    piece_size = max(1, CHUNK_BYTES // size)
    for start in range(0, len(flat), step):
        tracker.step()
        hasher: Any = xxh3_128(b"-")
        stop = min(start + step, len(flat))
        for first in range(start, stop, piece_size):
            last = min(first + piece_size, stop)
            # NaN makes the minimum NaN, which differs from itself: the cheapest question.
            if is_raw or (is_float and (low := np.minimum.reduce(flat[first:last])) == low):
                hasher.update(octets[first * size : last * size])
            else:
                hasher.update(as_bytes(canonical(native(flat[first:last]), tracker)))
        yield hasher.digest()


def _bands(array: NDArray[Any], rows: int, tracker: Pass) -> Iterator[NDArray[Any]]:
    """Gather whole chunks of a strided array in C order, as many as the memory allows."""
    row_bytes = array.itemsize * math.prod(array.shape[1:])
    if row_bytes > BAND_BYTES:
        yield from (array[i : i + 1] for i in range(len(array)))
        return
    width = array.shape[1] if _is_transposed(array) else 0
    # Very many columns need a band of many rows to use what each access to memory brings.
    size = BAND_BYTES if width > _MANY else _LEAST_BAND_BYTES if width else CHUNK_BYTES
    step = max(1, size // (rows * row_bytes)) * rows
    for start in range(0, len(array), step):
        part = array[start : start + step]
        band = _lent(part, tracker)
        _gather(part, band)
        yield band


def _records(array: NDArray[Any]) -> NDArray[Any] | None:
    """See each row of an array in column order as a record whose fields lie a column apart.

    NumPy copies records field by field, 128 at a time: so each column is read in long runs, and
    the rows are still in the cache when the next column comes to them. To copy whole columns or
    single rows takes up to twice as long. None where there can be no such records.
    """
    width = array.shape[1]
    step, pitch = array.strides
    size = pitch * (width - 1) + array.itemsize
    if step <= 0 or pitch < array.itemsize or size > _LONGEST_RECORD:
        return None
    dtype = np.dtype(
        {
            "names": [f"f{i}" for i in range(width)],
            "formats": [array.dtype] * width,
            "offsets": [i * pitch for i in range(width)],
            "itemsize": size,
        }
    )
    return np.asarray(_Memory(array, size)).view(dtype)


def _record_bands(
    array: NDArray[Any], records: NDArray[Any], rows: int, tracker: Pass
) -> Iterator[NDArray[Any]]:
    """Gather whole chunks in C order, out of the records of an array."""
    step = max(1, _LEAST_BAND_BYTES // (rows * array.shape[1] * array.itemsize)) * rows
    band = _lent(array[:step], tracker)
    fields = [(name, array.dtype) for name in records.dtype.names or ()]
    gathered = band.reshape(-1).view(fields)
    for start in range(0, len(array), step):
        part = records[start : start + step]
        np.copyto(gathered[: len(part)], part)
        yield band[: len(part)]


class _Memory:
    """The memory of an array as items of another size, which overlap."""

    def __init__(self, array: NDArray[Any], size: int) -> None:
        self.array = array
        self.__array_interface__ = {
            "version": 3,
            "typestr": f"|V{size}",
            "shape": array.shape[:1],
            "strides": array.strides[:1],
            "data": (array.__array_interface__["data"][0], True),
        }


def _is_transposed(array: NDArray[Any]) -> bool:
    return array.ndim == 2 and abs(array.strides[0]) < abs(array.strides[1])  # noqa: PLR2004


def _is_simple(dtype: np.dtype[Any]) -> bool:
    return (
        dtype.isnative and (dtype.kind != "f" or dtype.itemsize <= _DOUBLE) and dtype.kind != "c"
    )


def _turned(array: NDArray[Any], rows: int, tracker: Pass) -> Iterator[NDArray[Any]]:
    """Turn an array with long columns into rows, one canonical chunk after the other.

    Memory is read fast only in long runs, and turned fast only in the cache: so long pieces of
    all columns are asked for NaN first, or copied next to each other, and chunks are turned out
    of what that left in the cache.
    """
    width = array.shape[1]
    size = _LEAST_BAND_BYTES if width <= _BROAD else 2 * _LEAST_BAND_BYTES
    step = max(1, size // (rows * width * array.itemsize)) * rows
    is_apart = array.dtype.kind == "f" and _lie_apart(array)
    for start in range(0, len(array), step):
        columns = array[start : start + step].T
        if not is_apart or _may_hold_nan(columns):
            columns = _canonical_beside(columns, step, tracker)
        for first in range(0, columns.shape[1], rows):
            turned = columns[:, first : first + rows].T
            band = _lent(turned, tracker, slot=2)
            np.copyto(band, turned)
            yield band


def _lie_apart(array: NDArray[Any]) -> bool:
    """Tell whether columns can be in the cache together, wherever they lie in memory."""
    step, pitch = array.strides
    # Each place of a page has a few places in the cache, for which columns compete.
    places = _PAGE // max(_CACHE_LINE, math.gcd(pitch, _PAGE))
    return step == array.itemsize >= _SINGLE and array.shape[1] <= _SHARED_BY * places


def _may_hold_nan(columns: NDArray[Any]) -> bool:
    """Ask for NaN, two columns at a time, as the processor reads two runs faster than one."""
    half = len(columns) // 2
    products = np.einsum("ij,ij->i", columns[:half], columns[half : 2 * half])
    return bool(np.isnan(products).any() or np.isnan(np.minimum.reduce(columns[-1])))


def _canonical_beside(columns: NDArray[Any], step: int, tracker: Pass) -> NDArray[Any]:
    """Copy columns next to each other."""
    # Columns a power of two apart would all compete for the same places of the cache.
    pitch = step + _CACHE_LINE // columns.itemsize
    memory = tracker.scratch(pitch * len(columns) * columns.itemsize, slot=1)
    beside = np.frombuffer(memory, columns.dtype, pitch * len(columns)).reshape(-1, pitch)
    copied = beside[:, : columns.shape[1]]
    np.copyto(copied, columns)
    if columns.dtype.kind == "f":
        _quieten(copied)
    return copied


def _quieten(columns: NDArray[Any]) -> None:
    """Make every NaN the same, in place; asked of columns, as rows are in the cache only once."""
    lows = np.minimum.reduce(columns, axis=1)
    for place in np.flatnonzero(np.isnan(lows)):
        np.copyto(columns[place], np.nan, where=np.isnan(columns[place]))


def _lent(part: NDArray[Any], tracker: Pass, *, slot: int = 1) -> NDArray[Any]:
    memory = tracker.scratch(part.size * part.itemsize, slot=slot)
    octets = np.frombuffer(memory, np.uint8, part.size * part.itemsize)
    return octets.view(part.dtype).reshape(part.shape)


def _gather(part: NDArray[Any], band: NDArray[Any]) -> None:
    if part.ndim <= 1 or part.strides[0] >= part.strides[-1]:
        np.copyto(band, part)
        return
    width = part.shape[-1]
    # NumPy copies along the last axis, so a tile is a run of columns.
    tiles = -(-width // (_BESIDE if width <= _FEW else _TILE))
    size = -(-width // tiles)
    for first in range(0, width, size):
        np.copyto(band[..., first : first + size], part[..., first : first + size])


def _gathered(row: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut one huge row in pieces, in C order."""
    if row.ndim > 1 and row.size > ROWS:
        for one in row:
            yield from _gathered(one)
    elif row.ndim == 1:
        for start in range(0, len(row), ROWS):
            yield np.ascontiguousarray(row[start : start + ROWS])
    else:
        yield np.ascontiguousarray(row).reshape(-1)
