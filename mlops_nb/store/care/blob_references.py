"""Which bytes of a store its rows need."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import cast, inspect, or_, select, table, type_coerce, types
from sqlalchemy import column as any_column

from mlops_nb.store.blobs.local_files import is_address
from mlops_nb.store.intake.streams import OPEN
from mlops_nb.store.pipelines.tables import cached_steps, step_runs
from mlops_nb.store.schema import artifacts, outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from sqlalchemy import ColumnClause, ColumnElement, Connection

# Columns whose addresses `named_blobs` knows, and those with digests that are of no bytes.
_KNOWN: Mapping[str, frozenset[str]] = {
    outputs.name: frozenset({"digest"}),
    artifacts.name: frozenset({"digest"}),
    step_runs.name: frozenset({"notebook", "key", "parts"}),
    cached_steps.name: frozenset({"notebook", "key", "parts", "units", "files"}),
}
_ADDRESS = re.compile(r"sha256:([0-9a-f]{64})")
_ROWS_AT_ONCE = 500


def named_blobs(connection: Connection) -> Iterator[tuple[str, str, str, int]]:
    """Read what rows name: table, owner (an execution or a run), digest, size in bytes.

    What is no address of bytes comes too; streams that are still written to have none yet. Of an
    executed notebook the size is not known: -1.
    """
    wanted = (
        (outputs, outputs.c.execution, outputs.c.size_bytes),
        (artifacts, artifacts.c.run, artifacts.c.size_bytes),
    )
    for place, owner, size in wanted:
        rows = connection.execute(
            select(owner, place.c.digest, size).where(place.c.digest != ""),
            execution_options={"yield_per": _ROWS_AT_ONCE},
        )
        for owner_, digest, size_bytes in rows:
            if not str(digest).startswith(OPEN):
                yield place.name, str(owner_), str(digest), size_bytes
    yield from _named_by_steps(connection)


def _named_by_steps(connection: Connection) -> Iterator[tuple[str, str, str, int]]:
    """Read what results of steps name: values, files and executed notebooks."""
    for table_, owner in ((step_runs, step_runs.c.pipeline_run), (cached_steps, _MADE_BY)):
        rows = select(owner, table_.c.notebook).where(table_.c.notebook != "")
        for owner_, digest in connection.execute(rows, execution_options=_STREAMED):
            yield table_.name, str(owner_), str(digest), -1
    wanted = select(_MADE_BY, _as_text("units"), _as_text("files"))
    for owner_, units, files in connection.execute(wanted, execution_options=_STREAMED):
        for digest, size_bytes in (*_in_units(_read(units)), *_in_files(_read(files))):
            yield cached_steps.name, str(owner_), digest, size_bytes


_MADE_BY = cached_steps.c.made_by
_STREAMED = {"yield_per": _ROWS_AT_ONCE}


def _as_text(name: str) -> ColumnElement[Any]:
    """Take a column as it lies there: a store from elsewhere may hold anything."""
    return type_coerce(cached_steps.c[name], types.NullType())


def _read(text: object) -> Any:
    try:
        return json.loads(text if isinstance(text, str | bytes) else "null")
    except (ValueError, RecursionError):
        return None


def _in_units(units: Any) -> Iterator[tuple[str, int]]:
    """Give address and size of each file of units; what has another form is no unit."""
    for unit in units if isinstance(units, list) else ():
        files = unit.get("files") if isinstance(unit, dict) else None
        for file in files if isinstance(files, list) else ():
            match file:
                case [str(), str() as digest, int() as size_bytes]:
                    yield digest, size_bytes


def _in_files(files: Any) -> Iterator[tuple[str, int]]:
    for file in files.values() if isinstance(files, dict) else ():
        match file:
            case {"digest": str() as digest, "size_bytes": int() as size_bytes}:
                yield digest, size_bytes


def hexes_in(digest: str) -> str | None:
    """Give the digits of an address; None for what is none."""
    hexes = digest.removeprefix("sha256:")
    return hexes if hexes != digest and is_address(hexes) else None


def mentioned(connection: Connection, candidates: AbstractSet[str]) -> set[str]:
    """Find which of these bytes are named anywhere else: in any text of any table.

    A table that a later version adds, or one row's details, may need bytes by a name that this
    version does not know.
    """
    found: set[str] = set()
    if not candidates:
        return found
    for text in _texts_with_addresses(connection):
        found.update(hexes for hexes in _ADDRESS.findall(text) if hexes in candidates)
    return found


def _texts_with_addresses(connection: Connection) -> Iterator[str]:
    inspector = inspect(connection)
    for name in inspector.get_table_names():
        known = _KNOWN.get(name, frozenset())
        columns: list[ColumnClause[str]] = [
            any_column(each["name"])
            for each in inspector.get_columns(name)
            if _may_hold_text(each["type"]) and each["name"] not in known
        ]
        if not columns:
            continue
        there = table(name, *columns)
        wanted = select(*there.columns).where(
            or_(*(cast(part, types.String).like("%sha256:%") for part in there.columns))
        )
        for row in connection.execute(wanted, execution_options={"yield_per": _ROWS_AT_ONCE}):
            yield from (str(value) for value in row if value is not None)


def _may_hold_text(kind: object) -> bool:
    return isinstance(kind, (types.String, types.JSON, types.NullType))
