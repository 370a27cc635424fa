"""Which functions read and write files, and how each names what it is about."""

from __future__ import annotations

import io
import os
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from mlops_nb.record import record
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mlops_nb.capture.files.uses import Mode
    from mlops_nb.model import Json

    Detail: TypeAlias = dict[str, Json]
    Described: TypeAlias = Iterator[tuple[str, Mode, Detail]]
    Arguments: TypeAlias = Mapping[str, object]
    Describe: TypeAlias = "Callable[[Follow, Sequence[object], Arguments, object], Described]"

_LONGEST_TEXT = 10_000
_MOST_ITEMS = 1_000

# Under these names the functions below take what they are about.
_PLACES = (
    "filepath_or_buffer",
    "path_or_buf",
    "path_or_buffer",
    "path",
    "paths",
    "source",
    "file",
    "io",
    "fname",
    "filename",
    "where",
    "root_path",
    "base_dir",
    "dest",
    "input_file",
    "output_file",
    "excel_writer",
    "workbook",
    "buf",
    "sink",
    "path_or_paths",
    "database",
    "file_glob",
    "path_or_buffer_",
    "f",
)
_DETAILS = {
    "columns": "columns",
    "usecols": "columns",
    "filters": "filters",
    "filter": "filters",
    "nrows": "rows",
    "n_rows": "rows",
    "sheet_name": "sheet",
    "sheet_id": "sheet",
    "key": "key",
    "partition_cols": "partitions",
    "partitioning": "partitions",
    "mmap_mode": "mmap_mode",
}


@record
class Follow:
    """One function that is followed.

    Attributes
    ----------
    name
        Inside its module, dotted for a method.
    called
        What it is told as.
    mode
        ``r`` or ``w``.
    position
        Of the argument that names the file.
    describe
        Gives place, mode and detail of a call.
    package
        Whose own calls do not count.
    is_user_only
        Whether only calls from the user's own code count.
    is_last_resort
        Followed only where the operating system tells nothing.
    """

    name: str
    called: str
    mode: Mode
    position: int
    describe: Describe
    package: str
    is_user_only: bool = False
    is_last_resort: bool = False


# --- what a call is about ---------------------------------------------------------------------


def by_argument(
    one: Follow, args: Sequence[object], kwargs: Arguments, _answer: object
) -> Described:
    """The usual case: one argument is a path, a URL, a list of them, or an open file."""
    detail = _detail(one, kwargs)
    prefix = _file_system(kwargs.get("filesystem"))
    for place in places_of(_argument(one, args, kwargs)):
        yield prefix + place, one.mode, detail


def by_open(one: Follow, args: Sequence[object], kwargs: Arguments, _answer: object) -> Described:
    """``open``: the mode says what is done."""
    given = args[one.position + 1] if len(args) > one.position + 1 else kwargs.get("mode", "r")
    text = given if type(given) is str else "r"
    for place in places_of(_argument(one, args, kwargs)):
        if "r" in text or "+" in text:
            yield place, "r", {"function": one.called}
        if not set(text).isdisjoint("wax+"):
            yield place, "w", {"function": one.called}


def by_sql(one: Follow, args: Sequence[object], kwargs: Arguments, _answer: object) -> Described:
    """A query and a connection: the database is what is read."""
    query = _given(args, kwargs, one.position, ("sql", "query", "table_name", "name"))
    connection = _given(args, kwargs, one.position + 1, ("con", "connection", "uri"))
    detail = _detail(one, kwargs)
    if type(query) is str:
        detail["sql"] = redact(query[:_LONGEST_TEXT])
    for place in databases_of(connection):
        yield place, one.mode, detail


def by_database(
    one: Follow, args: Sequence[object], kwargs: Arguments, _answer: object
) -> Described:
    """A database that is opened: a file unless it is in memory."""
    for place in places_of(_argument(one, args, kwargs)):
        if place.startswith("file:"):
            place = unquote(urlsplit(place).path)  # noqa: PLW2901  # a URI with options
        if place and not place.startswith(":"):
            yield place, one.mode, {"function": one.called}


def _argument(one: Follow, args: Sequence[object], kwargs: Arguments) -> object:
    return _given(args, kwargs, one.position, _PLACES)


def _given(
    args: Sequence[object], kwargs: Arguments, position: int, names: Iterable[str]
) -> object:
    if len(args) > position:
        return args[position]
    return next((kwargs[name] for name in names if name in kwargs), None)


def places_of(value: object) -> Iterator[str]:
    """Give the paths and URLs in an argument.

    Examples
    --------
    >>> list(places_of([PurePath("a.csv"), "https://example.org/b.csv", 3]))
    ['a.csv', 'https://example.org/b.csv']
    """
    if type(value) in {list, tuple, set, frozenset}:
        for item in islice(value, _MOST_ITEMS):  # type: ignore[call-overload]
            yield from places_of(item)
        return
    text = _text_of(value)
    if text is None or not 0 < len(text) <= _LONGEST_TEXT or "\n" in text or "\0" in text:
        return
    # A chain of file systems names the last one's place first.
    text = text.split("::")[0] if "://" in text else text
    if text.startswith("file://"):
        yield unquote(urlsplit(text).path)
    elif not text.startswith(("data:", "blob:")):
        yield text


def _text_of(value: object) -> str | None:
    # By `type`, because `isinstance` asks an object for its ``__class__``.
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, bytes):
        return os.fsdecode(bytes.__bytes__(value))  # type: ignore[arg-type]
    if issubclass(kind, PurePath):
        return PurePath.__str__(value)
    if issubclass(kind, io.IOBase):
        name = getattr(value, "name", None)
        return name if type(name) is str and os.path.exists(name) else None  # noqa: PTH110
    if "fsspec" in _packages(kind):
        full_name = getattr(value, "full_name", None)
        return full_name if type(full_name) is str else None
    return None


def _packages(kind: type) -> set[str]:
    return {str(base.__module__).partition(".")[0] for base in kind.__mro__}


def _file_system(value: object) -> str:
    """What a path on a file system that is not this machine's begins with."""
    if value is None or _packages(type(value)).isdisjoint({"pyarrow", "fsspec"}):
        return ""
    name: Any = getattr(value, "type_name", None) or getattr(value, "protocol", None)
    name = name[0] if isinstance(name, tuple) and name else name
    is_local = not isinstance(name, str) or name in {"local", "file", "subtree", "py"}
    return "" if is_local else f"{name}://"


def databases_of(connection: object) -> Iterator[str]:
    """Give the database behind a connection: its file, or its URL without a password."""
    if type(connection) is str:
        yield from _database_places(connection)
        return
    package = type(connection).__module__.partition(".")[0]
    if package == "sqlalchemy":
        engine: Any = getattr(connection, "engine", None)
        if engine is not None:
            yield from _database_places(engine.url.render_as_string(hide_password=True))
    elif package == "sqlite3":
        yield from _sqlite_files(connection)


def _database_places(url: str) -> Iterator[str]:
    scheme, separator, rest = url.partition("://")
    if separator and scheme.startswith(("sqlite", "duckdb")):
        path = rest.removeprefix("/").partition("?")[0]
        if path and not path.startswith(":"):
            yield path
    elif separator:
        yield url


def _sqlite_files(connection: Any) -> Iterator[str]:
    """Ask a connection for its files; it changes nothing and begins no transaction."""
    import sqlite3

    if type(connection) is not sqlite3.Connection:
        return
    try:
        cursor = connection.cursor()
        cursor.row_factory = None
        rows = cursor.execute("PRAGMA database_list").fetchall()
    except sqlite3.Error:
        return
    for _, _, file in rows:
        if isinstance(file, str) and file:
            yield file


# --- what else is known -----------------------------------------------------------------------


def _detail(one: Follow, kwargs: Arguments) -> Detail:
    detail: Detail = {"function": one.called}
    for name, key in _DETAILS.items():
        value = kwargs.get(name)
        plain = None if value is None else _plain(value)
        if plain is not None:
            detail[key] = plain
    return detail


def _plain(value: object, depth: int = 3) -> Json:
    """A value as JSON, if it is made of plain things; nothing of an unknown class is called."""
    kind = type(value)
    if kind in {bool, int, float}:
        return value
    if kind is str:
        return redact(str(value)[:_LONGEST_TEXT])
    if kind in {list, tuple, set, frozenset, range} and depth:
        some = islice(value, _MOST_ITEMS)  # type: ignore[call-overload]
        items = [_plain(item, depth - 1) for item in some]
        return items if None not in items else None
    if kind.__module__.partition(".")[0] in {"pyarrow", "polars", "datetime"}:
        return redact(str(value)[:_LONGEST_TEXT])
    return None


# --- the lists --------------------------------------------------------------------------------


def _all(  # a table
    package: str,
    prefix: str,
    names: str,
    mode: Mode,
    position: int,
    describe: Describe = by_argument,
    *,
    inside: str = "",
) -> list[Follow]:
    inside = f"{inside}." if inside else ""
    return [
        Follow(inside + name, f"{prefix}.{inside}{name}", mode, position, describe, package)
        for name in names.split()
    ]


def _user(name: str, mode: Mode, position: int, describe: Describe, **given: Any) -> Follow:
    called = "open" if name.endswith("open") and "." not in name else f"pathlib.{name}"
    return Follow(name, called, mode, position, describe, "builtins", is_user_only=True, **given)


_DUCKDB_READS = "read_csv read_csv_auto read_json read_parquet from_csv_auto from_parquet"

LISTS: Mapping[str, Sequence[Follow]] = {
    "pandas": (
        *_all(
            "pandas",
            "pandas",
            "read_csv read_table read_fwf read_excel read_json read_html read_xml read_parquet "
            "read_feather read_orc read_pickle read_hdf read_sas read_spss read_stata",
            "r",
            0,
        ),
        *_all("pandas", "pandas", "read_sql read_sql_query read_sql_table", "r", 0, by_sql),
        *_all("pandas", "pandas", "__init__", "r", 1, inside="ExcelFile"),
        *_all("pandas", "pandas", "__init__", "r", 1, inside="HDFStore"),
        *_all(
            "pandas",
            "pandas",
            "to_csv to_excel to_json to_xml to_html to_latex to_markdown to_string to_parquet "
            "to_feather to_orc to_pickle to_hdf to_stata",
            "w",
            1,
            inside="DataFrame",
        ),
        *_all("pandas", "pandas", "to_sql", "w", 1, by_sql, inside="DataFrame"),
    ),
    "pyarrow": _all("pyarrow", "pyarrow", "memory_map input_stream", "r", 0),
    "pyarrow.parquet": (
        *_all(
            "pyarrow",
            "pyarrow.parquet",
            "read_table read_pandas read_metadata read_schema",
            "r",
            0,
        ),
        *_all("pyarrow", "pyarrow.parquet", "__init__", "r", 1, inside="ParquetFile"),
        *_all("pyarrow", "pyarrow.parquet", "write_table write_to_dataset", "w", 1),
        *_all("pyarrow", "pyarrow.parquet", "__init__", "w", 1, inside="ParquetWriter"),
    ),
    "pyarrow.csv": (
        *_all("pyarrow", "pyarrow.csv", "read_csv open_csv", "r", 0),
        *_all("pyarrow", "pyarrow.csv", "write_csv", "w", 1),
    ),
    "pyarrow.json": _all("pyarrow", "pyarrow.json", "read_json open_json", "r", 0),
    "pyarrow.feather": (
        *_all("pyarrow", "pyarrow.feather", "read_table read_feather", "r", 0),
        *_all("pyarrow", "pyarrow.feather", "write_feather", "w", 1),
    ),
    "pyarrow.dataset": (
        *_all("pyarrow", "pyarrow.dataset", "dataset parquet_dataset", "r", 0),
        *_all("pyarrow", "pyarrow.dataset", "write_dataset", "w", 1),
    ),
    "pyarrow.ipc": (
        *_all("pyarrow", "pyarrow.ipc", "open_file open_stream", "r", 0),
        *_all("pyarrow", "pyarrow.ipc", "new_file new_stream", "w", 0),
    ),
    "polars": (
        *_all(
            "polars",
            "polars",
            "read_avro read_csv read_csv_batched read_excel read_ods read_ipc read_ipc_stream "
            "read_json read_ndjson read_lines read_parquet read_delta scan_csv scan_ipc "
            "scan_ndjson scan_lines scan_parquet scan_delta scan_iceberg",
            "r",
            0,
        ),
        *_all("polars", "polars", "read_database read_database_uri", "r", 0, by_sql),
        *_all(
            "polars",
            "polars",
            "write_avro write_csv write_excel write_ipc write_ipc_stream write_json "
            "write_ndjson write_parquet write_delta",
            "w",
            1,
            inside="DataFrame",
        ),
        *_all("polars", "polars", "write_database", "w", 1, by_sql, inside="DataFrame"),
        *_all(
            "polars",
            "polars",
            "sink_csv sink_ipc sink_ndjson sink_parquet sink_delta",
            "w",
            1,
            inside="LazyFrame",
        ),
    ),
    # Not what takes SQL: DuckDB looks for tables among the variables of the frame that calls it,
    # and ours would be that frame. The SQL is found in the source; see `mentioned`.
    "duckdb": (
        *_all("duckdb", "duckdb", "connect", "r", 0, by_database),
        *_all("duckdb", "duckdb", _DUCKDB_READS, "r", 0),
        *_all("duckdb", "duckdb", _DUCKDB_READS, "r", 1, inside="DuckDBPyConnection"),
        *_all(
            "duckdb",
            "duckdb",
            "to_csv to_parquet write_csv write_parquet",
            "w",
            1,
            inside="DuckDBPyRelation",
        ),
    ),
    "joblib": (
        *_all("joblib", "joblib", "load", "r", 0),
        *_all("joblib", "joblib", "dump", "w", 1),
    ),
    "numpy": (
        *_all("numpy", "numpy", "load loadtxt genfromtxt", "r", 0),
        *_all("numpy", "numpy", "save savez savez_compressed savetxt", "w", 0),
    ),
    "sqlite3": _all("sqlite3", "sqlite3", "connect", "r", 0, by_database),
    "pathlib": (
        _user("Path.open", "r", 0, by_open),
        _user("Path.read_text", "r", 0, by_argument),
        _user("Path.read_bytes", "r", 0, by_argument),
        _user("Path.write_text", "w", 0, by_argument),
        _user("Path.write_bytes", "w", 0, by_argument),
    ),
    # What a notebook finds under the name ``open``.
    "IPython.core.interactiveshell": (_user("_modified_open", "r", 0, by_open),),
    # Changed only where nothing else tells: `open` is no longer `io.open` then.
    "builtins": (_user("open", "r", 0, by_open, is_last_resort=True),),
}
