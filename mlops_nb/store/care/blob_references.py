"""Which bytes of a store its rows need."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import cast, inspect, or_, select, table, types
from sqlalchemy import column as any_column

from mlops_nb.store.blobs.local_files import is_address
from mlops_nb.store.intake.streams import OPEN
from mlops_nb.store.schema import artifacts, outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from sqlalchemy import ColumnClause, Connection

_ADDRESS = re.compile(r"sha256:([0-9a-f]{64})")
_ROWS_AT_ONCE = 500


def named_blobs(connection: Connection) -> Iterator[tuple[str, str, str, int]]:
    """Read what rows name: table, owner (an execution or a run), digest, size in bytes.

    What is no address of bytes comes too; streams that are still written to have none yet.
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
        known = {"digest"} if name in {outputs.name, artifacts.name} else set()
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
