"""Rows as they lie in the tables: streamed, checked, and the same on every database.

A store may come from somebody else, and SQLite keeps any value in any column. So rows are read
without turning them into anything, and each value is looked at before it goes anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgpack
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    LargeBinary,
    MetaData,
    Table,
    select,
    type_coerce,
)
from sqlalchemy import Integer as AnyInteger
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType

from mlops_nb.store import schema
from mlops_nb.store.blobs.local_files import is_address
from mlops_nb.store.intake.streams import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Dialect

Row: TypeAlias = tuple[Any, ...]

_ROWS_AT_ONCE = 200
_ID = re.compile(r"\w[\w.:+-]{0,199}", re.ASCII)
_LARGEST = 2**63
# A shorter text fits into every index of a server, whatever its letters.
_SHORT = 200
_SERVER: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
# Who these tables say they belong to; an id may become the name of a file.
_IDS = {
    "runs": ("id",),
    "sessions": ("id",),
    "executions": ("id", "session"),
    "spools": ("id",),
    "step_runs": ("pipeline_run",),
    "cached_steps": ("made_by",),
    "schedules": ("id",),
}
_OURS = ("run", "execution")
_ADDRESSES = {
    "outputs": "digest",
    "artifacts": "digest",
    "step_runs": "notebook",
    "cached_steps": "notebook",
}


class BadRow(ValueError):
    """A row holds what its table does not allow."""


@dataclass(frozen=True)
class Shape:
    """One table as rows of plain values.

    Attributes
    ----------
    table
        As in the schema.
    plain
        The same to write to, JSON as the text that it is.
    names, key
        All columns, and those of the primary key.
    """

    table: Table
    plain: Table
    names: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the table."""
        return self.table.name

    def key_of(self, row: Row) -> Row:
        """Give the values of the primary key."""
        return tuple(row[self.names.index(name)] for name in self.key)

    def named(self, row: Row) -> dict[str, Any]:
        """Give a row with the names of its columns."""
        return dict(zip(self.names, row, strict=True))

    def checked(self, row: Row, *, for_server: bool = False) -> Row:
        """Give a row as every database has it.

        Raises
        ------
        BadRow
            A value is not of the kind that its column has.
        """
        name, kinds = self.table.name, tuple(map(type, row))
        todo = _todo.get((name, kinds))
        if todo is None:
            todo = _todo[name, kinds] = _checks_of(name, kinds)
        values = row
        if todo:
            made = list(row)
            for place, check in todo:
                made[place] = check(row[place])
            values = tuple(made)
        return tuple(map(_on_server, self.table.columns, values)) if for_server else values


@cache
def shape_of(name: str) -> Shape:
    """Give the shape of a table of the schema."""
    table = schema.metadata.tables[name]
    columns = [
        Column(
            column.name,
            schema.Text() if isinstance(column.type, schema.JsonText) else column.type,
            primary_key=column.primary_key,
            autoincrement=False,
            nullable=column.nullable,
        )
        for column in table.columns
    ]
    plain = Table(name, MetaData(), *columns)
    names = tuple(column.name for column in table.columns)
    return Shape(table, plain, names, tuple(column.name for column in table.primary_key.columns))


NOT_ROWS = frozenset({"meta", "byte_rows"})
"""Tables that are no records: what a store says of itself, and where a server keeps bytes."""


def _tables_by(owner: str, other: str = "") -> tuple[str, ...]:
    keys = {t.name: {c.name for c in t.primary_key.columns} for t in schema.metadata.sorted_tables}
    return tuple(name for name, key in keys.items() if owner in key and other not in key)


RUN_PARTS = _tables_by("run")
"""Tables with what a run has, by their column ``run``."""
PIECES = schema.stream_pieces.name
EXECUTION_PARTS = (*_tables_by("execution", other="run"), PIECES)
"""Tables with what an execution has, by their column ``execution``."""
OTHERS = tuple(
    table.name
    for table in schema.metadata.sorted_tables
    if table.name
    not in {*RUN_PARTS, *EXECUTION_PARTS, "runs", "executions", "sessions", "spools", *NOT_ROWS}
)
"""Tables of contents, each row under the digest of what it is, and those of `CHANGING`."""
CHANGING = frozenset(table.name for table in schema.PIPELINE_TABLES)
"""Tables whose rows change: of two states the one with the later ``changed_at`` counts."""


def read_rows(
    connection: Connection,
    name: str,
    column: str | None = None,
    ids: Sequence[str] = (),
    *,
    backwards: bool = False,
) -> Iterator[Row]:
    """Read a table in the order of its key, a few rows at a time, as the database has them.

    Parameters
    ----------
    connection
        From `parts.snapshot`.
    name
        Of the table.
    column, ids
        Only the rows in which this column has one of these values.
    backwards
        Whether the last one comes first.
    """
    shape = shape_of(name)
    columns = shape.table.columns
    wanted = select(*(type_coerce(c, NullType()).label(c.name) for c in columns))
    if column is not None:
        wanted = wanted.where(columns[column].in_(ids))
    keys: list[Any] = [columns[part] for part in shape.key]
    if connection.dialect.name == "postgresql":
        # Whatever the collation of the database: both stores have to give one order.
        keys = [key.collate("C") if isinstance(key.type, schema.Text) else key for key in keys]
    wanted = wanted.order_by(*(key.desc() for key in keys) if backwards else keys)
    options = {"yield_per": _ROWS_AT_ONCE}
    for row in connection.execute(wanted, execution_options=options):
        yield tuple(row)


def packed(row: Row) -> bytes:
    """Give the canonical bytes of a checked row."""
    return bytes(msgpack.packb(row, use_bin_type=True, unicode_errors="surrogatepass"))


def weight_of(row: Row) -> int:
    """Say about how many bytes a row takes."""
    return sum(len(value) for value in row if isinstance(value, (str, bytes)))


class Digests:
    """The SHA-256 of the rows of each table, in the order in which they come."""

    def __init__(self) -> None:
        self._of: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, row: Row) -> None:
        """Take in a checked row."""
        if name not in self._of:
            self._of[name] = hashlib.sha256()
            self.counts[name] = 0
        self._of[name].update(packed(row))
        self.counts[name] += 1

    def result(self) -> dict[str, str]:
        """Give ``sha256:…`` by table."""
        return {name: f"sha256:{digest.hexdigest()}" for name, digest in sorted(self._of.items())}


# --- one value ----------------------------------------------------------------------------------


_Check: TypeAlias = "Callable[[Any], Any]"
# Most rows of a table have values of the same types, of which few have to be looked at.
_todo: dict[tuple[str, tuple[type, ...]], list[tuple[int, _Check]]] = {}


def _checks_of(name: str, kinds: tuple[type, ...]) -> list[tuple[int, _Check]]:
    """List what has to be looked at in a row whose values have these types."""
    columns = schema.metadata.tables[name].columns
    return [
        (place, _check_of(name, column))
        for place, (column, kind) in enumerate(zip(columns, kinds, strict=True))
        if not _is_fine(name, column, kind)
    ]


def _is_fine(table: str, column: Column[Any], kind: type) -> bool:
    """Say whether any value of a type may stand in a column."""
    if kind is type(None):
        return bool(column.nullable)
    if _is_id(table, column) or _ADDRESSES.get(table) == column.name:
        return False
    plain = {schema.Text: str, Double: float, LargeBinary: bytes, BigInteger: int, Boolean: bool}
    return kind is plain.get(type(column.type))


def _is_id(table: str, column: Column[Any]) -> bool:
    is_owner = column.name in _OURS and column.primary_key
    return column.name in _IDS.get(table, ()) or is_owner


def _check_of(table: str, column: Column[Any]) -> _Check:
    check = _by_type(column.type)
    place = f"{table}.{column.name}"
    is_id = _is_id(table, column)

    def checked(value: Any) -> Any:
        if value is None:
            if not column.nullable:
                raise BadRow(f"{place} is empty")
            return None
        try:
            clean = check(value)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadRow(f"{place} holds {_said(value)}") from error
        if is_id and not _ID.fullmatch(clean):
            raise BadRow(f"{place} is {_said(clean)}, which is no id")
        if _ADDRESSES.get(table) == column.name:
            _require_address(place, clean)
        return clean

    return checked


def _require_address(place: str, digest: str) -> None:
    """Refuse a digest that would be no address of bytes, and could become another path."""
    hexes = digest.removeprefix("sha256:")
    if digest and not digest.startswith(OPEN) and not (hexes != digest and is_address(hexes)):
        raise BadRow(f"{place} is {_said(digest)}, which is no address of bytes")


def _by_type(kind: Any) -> Callable[[Any], Any]:
    if isinstance(kind, schema.JsonText):
        return _json
    if isinstance(kind, schema.Text):
        return _text
    if isinstance(kind, Boolean):
        return _flag
    if isinstance(kind, Double):
        return _number
    if isinstance(kind, LargeBinary):
        return _binary
    assert isinstance(kind, (AnyInteger, BigInteger))  # noqa: S101 - the schema has no other
    return _integer


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _json(value: object) -> str:
    text = _text(value)
    json.loads(text)
    return text


def _flag(value: object) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -_LARGEST <= value < _LARGEST:
        raise TypeError
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError
    return float(value)


def _binary(value: object) -> bytes:
    if not isinstance(value, (bytes, memoryview)):
        raise TypeError
    return bytes(value)


def _said(value: object) -> str:
    text = repr(value[:40] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004


def _on_server(column: Column[Any], value: Any) -> Any:
    """Give a text as a server keeps it: without NUL, and a long key with a digest as its end."""
    if not isinstance(value, str) or (len(value) < _SHORT and "\0" not in value):
        return value
    kind: Any = column.type if isinstance(column.type, schema.Text) else schema.Text()
    return kind.process_bind_param(value, _SERVER)


def sound_rows(
    name: str, rows: Iterable[Row], problems: Callable[[str], None], *, for_server: bool
) -> Iterator[Row]:
    """Give the rows that are as they should be; the others are told and left out."""
    shape = shape_of(name)
    for row in rows:
        try:
            clean = shape.checked(row, for_server=for_server)
        except BadRow as problem:
            problems(str(problem))
            continue
        yield clean
