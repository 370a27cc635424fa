"""Tables of pyarrow, and frames and series of Polars, as Arrow's own file format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint import fingerprint
from mlops_nb.packaging.fitting import Unfit, unequal

if TYPE_CHECKING:
    from mlops_nb.packaging.places import Place

_FILE = "value.arrow"
_SMALL_ROWS = 1_000


def write_arrow(value: Any, place: Place) -> dict[str, Any]:
    """Write a table, record batch or array.

    Raises
    ------
    Unfit
        It is something else of Arrow's, or Arrow cannot write it.
    """
    import pyarrow as pa

    kind = type(value).__name__
    if isinstance(value, pa.Table):
        table = value
    elif isinstance(value, pa.RecordBatch):
        table = pa.Table.from_batches([value])
    elif isinstance(value, pa.ChunkedArray):
        table = pa.table([value], names=["value"])
    elif isinstance(value, pa.Array):
        kind, table = "Array", pa.table([value], names=["value"])
    else:
        raise Unfit(f"{type(value).__qualname__} is no table")
    if any(isinstance(field.type, pa.BaseExtensionType) for field in table.schema):
        raise Unfit("it has a type of an extension")
    try:
        path = str(place.file(_FILE))
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    except pa.ArrowException as error:
        raise Unfit(f"Arrow cannot write it ({error})") from None
    if not _arrow_of(kind, _read_table(place)).equals(value):
        raise unequal("the table")
    return {"kind": kind}


def read_arrow(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write_arrow` wrote; its memory is the file's."""
    return _arrow_of(detail["kind"], _read_table(place))


def _read_table(place: Place) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(place.file(_FILE)), "rb") as source:
        return pa.ipc.open_file(source).read_all()


def _arrow_of(kind: str, table: Any) -> Any:
    import pyarrow as pa

    if kind == "Table":
        return table
    if kind == "ChunkedArray":
        return table.column(0)
    if kind == "Array":
        chunks = table.column(0).chunks
        return chunks[0] if len(chunks) == 1 else pa.array([], table.schema.field(0).type)
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def write_polars(value: Any, place: Place) -> dict[str, Any]:
    """Write a frame or series of Polars.

    Raises
    ------
    Unfit
        It is something else, or holds objects of Python.
    """
    import polars as pl

    if type(value) not in {pl.DataFrame, pl.Series}:
        raise Unfit(f"{type(value).__qualname__} is neither a frame nor a series of Polars")
    is_series = isinstance(value, pl.Series)
    frame = value.to_frame() if is_series else value
    try:
        frame.write_ipc(place.file(_FILE), compression="uncompressed")
    except pl.exceptions.PolarsError as error:
        raise Unfit(f"Polars cannot write it ({error})") from None
    sample = frame.head(_SMALL_ROWS)
    back = _read_polars(place)
    if back.schema != frame.schema or back.shape != frame.shape:
        raise unequal("the frame")
    if fingerprint(sample).digest != fingerprint(back.head(_SMALL_ROWS)).digest:
        raise unequal("the frame")
    return {"kind": "Series" if is_series else "DataFrame"}


def read_polars(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write_polars` wrote."""
    frame = _read_polars(place)
    return frame.to_series(0) if detail["kind"] == "Series" else frame


def _read_polars(place: Place) -> Any:
    import polars as pl

    return pl.read_ipc(place.file(_FILE))


__all__ = ["read_arrow", "read_polars", "write_arrow", "write_polars"]
