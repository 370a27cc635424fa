"""Text that an execution writes to its streams.

A stream comes in pieces while its cell runs. They are kept as rows, so that adding one is cheap
and what was written can be read meanwhile, and become one blob when the execution has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.errors import StoreError
from mlops_nb.redact import redact_bytes
from mlops_nb.store import schema
from mlops_nb.store.reading import queries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from mlops_nb.model import OutputSeen
    from mlops_nb.store.blobs import Blobs

Key: TypeAlias = tuple[str, int, str]
"""Execution, position and MIME type of an output."""
Row: TypeAlias = dict[str, Any]
OPEN = "stream:"
"""What stands for the algorithm in the digest of a stream that is still written to."""


class StreamFold:
    """The streams that a batch speaks of."""

    def __init__(self, connection: Connection, blobs: Blobs) -> None:
        self._connection = connection
        self._blobs = blobs
        self._new: dict[Key, list[OutputSeen]] = {}
        self._ended: dict[str, None] = {}

    def add(self, event: OutputSeen, *, has_ended: bool) -> None:
        """Fold in one piece."""
        self._new.setdefault((event.execution, event.position, event.mime), []).append(event)
        if has_ended:  # a thread still prints: what is there is joined again
            self.end(event.execution)

    def end(self, execution: str) -> None:
        """Note that an execution has ended."""
        self._ended[execution] = None

    def write(self) -> None:
        """Write new pieces, and join those of executions that ended."""
        known = self._rows_of({*self._ended, *(key[0] for key in self._new)})
        rows: list[Row] = []
        pieces: list[Row] = []
        for key in {**known, **self._new}:
            before = known.get(key)
            row = self._grown(key, before)
            added = b"".join(event.data for event in self._new.get(key, ()))
            if key[0] in self._ended:
                # A secret may be in two pieces, of which neither tells.
                joined = redact_bytes(self._kept(key, before) + added, key[2])
                row["digest"] = self._blobs.put(joined)
            elif added:
                data = redact_bytes(added, key[2])
                pieces.append({**dict(zip(_KEY, key, strict=True)), "data": data})
            rows.append(row)
        if pieces:
            self._connection.execute(schema.stream_pieces.insert(), pieces)
        if rows:
            name = self._connection.dialect.name
            self._connection.execute(queries.upsert(schema.outputs, name), rows)
        for execution in {key[0] for key in known} & set(self._ended):
            self._connection.execute(queries.remove_pieces(execution))

    def _rows_of(self, executions: Iterable[str]) -> dict[Key, Row]:
        """Read the streams that change: those with new pieces, and open ones that ended."""
        found: dict[Key, Row] = {}
        for chunk in queries.in_chunks(executions):
            rows = self._connection.execute(queries.rows_of(schema.outputs, "execution", chunk))
            for row in rows.mappings():
                key = (row["execution"], row["position"], row["mime"])
                is_open = row["digest"].startswith(OPEN)
                if key in self._new or (is_open and key[0] in self._ended):
                    found[key] = dict(row)
        return found

    def _grown(self, key: Key, before: Row | None) -> Row:
        events = self._new.get(key, [])
        row = dict(before or _empty(key, events[0]))
        row["size_bytes"] += sum(event.size_bytes for event in events)
        row["is_cut"] = row["is_cut"] or any(event.is_cut for event in events)
        return row

    def _kept(self, key: Key, before: Row | None) -> bytes:
        """Read what is there of a stream already."""
        if before is None:
            return b""
        joined = b""
        if not before["digest"].startswith(OPEN):
            try:
                joined = self._blobs.read(before["digest"])
            except StoreError:  # the beginning is lost; that must not hold up what came later
                joined = b""
        return joined + read_pieces(self._connection, key)


def _empty(key: Key, event: OutputSeen) -> Row:
    row: Row = dict(zip(_KEY, key, strict=True))
    row.update(kind=event.kind, name=event.name, size_bytes=0, is_cut=False)
    return {**row, "digest": open_digest(key)}


_KEY = ("execution", "position", "mime")


def open_digest(key: Key) -> str:
    """Name a stream that is still written to."""
    execution, position, mime = key
    return f"{OPEN}{execution}/{position}/{mime}"


def read_open(connection: Connection, digest: str) -> bytes:
    """Read what there is of a stream that is still written to."""
    execution, position, mime = digest.removeprefix(OPEN).split("/", 2)
    return redact_bytes(read_pieces(connection, (execution, int(position), mime)), mime)


def read_pieces(connection: Connection, key: Key) -> bytes:
    """Join the pieces of a stream."""
    return b"".join(connection.scalars(queries.pieces_of(*key)))
