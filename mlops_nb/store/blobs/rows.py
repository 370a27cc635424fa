"""Bytes as rows of a server's own database: a team's store by one setting.

A part of a blob is a row, all parts come in one transaction, and none is ever changed.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from mlops_nb.errors import StoreError
from mlops_nb.store import connect
from mlops_nb.store.blobs.local_files import Kept, Stray
from mlops_nb.store.reading import queries
from mlops_nb.store.schema import byte_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

_PART_BYTES = 4 * 1024 * 1024
_IN_MEMORY_BYTES = 16 * 1024 * 1024


class ByteRows:
    """Bytes in the table ``byte_rows``, by the SHA-256 of what they are.

    Parameters
    ----------
    engine
        Of the server's database.
    location
        The server, without what opens it.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        self._engine, self._location = engine, location

    def write(self, hexes: str, data: bytes) -> None:
        """Write bytes, unless they are there."""
        parts = [data[at : at + _PART_BYTES] for at in range(0, len(data) or 1, _PART_BYTES)]
        with self._writing() as connection:
            if not _touch(connection, hexes):
                _insert(connection, hexes, parts, len(data))

    def copy(self, hexes: str, file: Path, size_bytes: int) -> None:
        """Write the bytes of a file, unless they are there."""
        with self._writing() as connection:
            if not _touch(connection, hexes):
                with file.open("rb") as source:
                    _insert(connection, hexes, _parts_of(source), size_bytes)

    def take(self, hexes: str, chunks: Iterable[bytes]) -> None:
        """Write bytes that come in pieces, in place of what may be there.

        Raises
        ------
        StoreError
            They are not what their address says; then nothing was changed.
        """
        sha256 = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as draft:
            for chunk in chunks:
                sha256.update(chunk)
                draft.write(chunk)
            if sha256.hexdigest() != hexes:
                problem = f"the bytes for sha256:{hexes} were changed"
                raise StoreError(self._location, problem, "Nothing was written; try again.")
            size = draft.tell()
            draft.seek(0)
            with self._writing() as connection:
                connection.execute(delete(byte_rows).where(byte_rows.c.hexes == hexes))
                _insert(connection, hexes, _parts_of(draft), size)

    def read(self, hexes: str) -> bytes:
        """Read bytes, whatever they are."""
        return b"".join(self.chunks(hexes))

    def chunks(self, hexes: str, size_bytes: int | None = None) -> Iterator[bytes]:  # noqa: ARG002
        """Read bytes part by part.

        Raises
        ------
        FileNotFoundError
            There are none.
        """
        chosen = select(byte_rows.c.data)
        part = 0
        while True:
            with connect.our_words(self._location), self._engine.connect() as connection:
                here = chosen.where(byte_rows.c.hexes == hexes, byte_rows.c.part == part)
                data = connection.scalar(here)
            if data is None:
                break
            yield bytes(data)
            part += 1
        if not part:
            raise FileNotFoundError(hexes)

    def has(self, hexes: str) -> bool:
        """Say whether there are bytes."""
        with connect.our_words(self._location), self._engine.connect() as connection:
            found = connection.scalar(
                select(func.count()).where(byte_rows.c.hexes == hexes, byte_rows.c.part == 0)
            )
        return bool(found)

    def everything(self) -> Iterator[Kept | Stray]:
        """List what is there, in the order of the addresses."""
        columns = byte_rows.c.hexes, byte_rows.c.size_bytes, byte_rows.c.put_at
        after = ""
        while True:
            page = select(*columns).where(byte_rows.c.part == 0, byte_rows.c.hexes > after)
            with connect.our_words(self._location), self._engine.connect() as connection:
                rows = connection.execute(page.order_by(byte_rows.c.hexes).limit(10_000)).all()
            if not rows:
                return
            for row in rows:
                yield Kept(row.hexes, row.size_bytes, row.put_at / 1e9)
            after = rows[-1].hexes

    def remove(self, hexes: str, before_s: float) -> bool:
        """Remove bytes that nobody has put since a time; False if somebody did, or none are."""
        old = byte_rows.c.hexes == hexes, byte_rows.c.put_at < int(before_s * 1e9)
        with self._writing() as connection:
            return connection.execute(delete(byte_rows).where(*old)).rowcount > 0

    def sync(self) -> None:
        """Do nothing: what a server has committed is durable."""

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        # Bytes are put while a writer has the lock of all writers, and need none.
        engine = self._engine.execution_options(is_write=True, is_alone=False)
        with connect.our_words(self._location), engine.begin() as connection:
            yield connection


def _touch(connection: Connection, hexes: str) -> bool:
    """Say that bytes are wanted now, so that nobody collects them; False if there are none."""
    wanted = update(byte_rows).where(byte_rows.c.hexes == hexes).values(put_at=time.time_ns())
    return connection.execute(wanted).rowcount > 0


def _insert(connection: Connection, hexes: str, parts: Iterable[bytes], size_bytes: int) -> None:
    statement = queries.insert_new(byte_rows, connection.dialect.name)
    now = time.time_ns()
    for number, data in enumerate(parts):
        row = {"hexes": hexes, "part": number, "data": data}
        connection.execute(statement, [{**row, "size_bytes": size_bytes, "put_at": now}])


def _parts_of(source: IO[bytes]) -> Iterator[bytes]:
    """Give a file part by part; one part for an empty one."""
    part = source.read(_PART_BYTES)
    yield part
    while part := source.read(_PART_BYTES):
        yield part
