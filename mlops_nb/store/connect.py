"""Connections to a store's database, and its errors in our words."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import zlib
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.store.address import location_of
from mlops_nb.store.server import again, in_our_words, server_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

__all__ = [
    "BUSY_TIMEOUT_S",
    "again",
    "can_write",
    "file_engine",
    "is_on_network",
    "location_of",
    "our_words",
    "server_engine",
    "sync",
]

BUSY_TIMEOUT_S = 30
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs")

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNWRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_CANTOPEN,
}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def file_engine(database: Path, *, read_only: bool) -> Engine:
    """Make an engine for a SQLite file; nothing is opened yet."""
    connect = _read_only(database) if read_only else _read_write(database)
    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=2, hide_parameters=True
    )
    event.listen(engine, "begin", _begin_file)
    return engine


def sync(connection: Connection) -> None:
    """Wait until all that was committed to a SQLite file is on the disk, by one commit that does.

    Never by a descriptor of our own: closing one lets go of every lock that this process has on
    the file, SQLite's among them, and another process may then delete the log that is in use.
    """
    raw = connection.connection.driver_connection
    raw.execute("PRAGMA synchronous=FULL")  # type: ignore[union-attr]
    try:
        raw.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]
        raw.execute("UPDATE meta SET schema = schema")  # type: ignore[union-attr]
        raw.execute("COMMIT")  # type: ignore[union-attr]
    finally:
        raw.execute("PRAGMA synchronous=NORMAL")  # type: ignore[union-attr]


def is_on_network(folder: Path, mounts: str | None = None) -> bool:
    """Say whether a folder is on a network file system, where WAL does not work."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    place, kind = "", ""
    for line in mounts.splitlines():
        _, point, type_, *_ = (*line.split(" "), "", "", "")
        point = point.replace("\\040", " ")
        is_above = folder.is_relative_to(point) if point else False
        if is_above and len(point) >= len(place):
            place, kind = point, type_
    return kind.startswith(_NETWORK)


@contextmanager
def our_words(location: str) -> Iterator[None]:
    """Turn what a database says about itself into errors that say what to do.

    Errors about one value or statement pass as they are.
    """
    try:
        yield
    except SQLAlchemyError as error:
        of_file = _as_ours(location, error.orig) if isinstance(error, DBAPIError) else None
        ours = of_file or (in_our_words(location, error) if "://" in location else None)
        if ours is None:
            raise
        raise ours from None
    except sqlite3.Error as error:
        ours = _as_ours(location, error)
        if ours is None:
            raise
        raise ours from None
    except (UnicodeDecodeError, JSONDecodeError, zlib.error) as error:
        raise damaged(location, error) from error


def damaged(location: str, error: BaseException) -> StoreError:
    """Say that the database holds what cannot be read."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    remedy = (
        "Put a backup in its place, or move the file away to start a new store; runs that are "
        "not affected can still be read one by one, and so can the bytes in blobs/."
    )
    return StoreError(location, f"store.db is damaged or is no SQLite file ({text})", remedy)


def _as_ours(location: str, error: BaseException | None) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Of Python's own making: the bytes of a text are none.
        if isinstance(error, sqlite3.Error) and "Could not decode" in str(error):
            return damaged(location, error)
        return None
    primary, text = code & 0xFF, str(error)
    if primary in _BUSY:
        problem = f"another process has kept it locked for {BUSY_TIMEOUT_S} s"
        return StoreError(location, problem, "Try again, or see who: mlops-nb doctor.")
    if primary in _UNWRITABLE:
        remedy = "Free some space or make its folder writable; nothing that was kept is lost."
        return StoreUnwritable(location, f"it cannot be written ({text})", remedy)
    return damaged(location, error) if primary in _BROKEN and error is not None else None


# --- SQLite -----------------------------------------------------------------------------------


def _read_write(database: Path) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        return _set_up(sqlite3.connect(database, **_OPTIONS))

    return connect


def _read_only(database: Path) -> Callable[[], sqlite3.Connection]:
    """Open what may not be written.

    A database in WAL mode needs its -shm file, which SQLite makes if it may. Where it may not,
    the file can be read as it is if nothing waits in its -wal, and else a copy of both.
    """

    def connect() -> sqlite3.Connection:
        uri = database.absolute().as_uri()
        try:
            return _checked(sqlite3.connect(f"{uri}?mode=ro", uri=True, **_OPTIONS))
        except sqlite3.OperationalError:
            wal = database.with_name(f"{database.name}-wal")
            if not wal.is_file() or not wal.stat().st_size:
                options = "mode=ro&immutable=1"
                return _checked(sqlite3.connect(f"{uri}?{options}", uri=True, **_OPTIONS))
            return _copied(database, wal)

    return connect


def _copied(database: Path, wal: Path) -> sqlite3.Connection:
    with tempfile.TemporaryDirectory(prefix="mlops_nb-") as folder:
        copy = Path(folder) / database.name
        shutil.copyfile(database, copy)
        shutil.copyfile(wal, copy.with_name(wal.name))
        connection = sqlite3.connect(":memory:", **_OPTIONS)
        with sqlite3.connect(copy) as source:
            source.backup(connection)
        source.close()
    return _checked(connection)


def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


_OPTIONS: dict[str, Any] = {
    "timeout": BUSY_TIMEOUT_S,
    "isolation_level": None,  # transactions begin when we say so
    "check_same_thread": False,  # the pool gives a connection to one thread at a time
}


def _set_up(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA synchronous=NORMAL")
    # A file that somebody else made must not run functions through its views and triggers.
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _begin_file(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    # A transaction that would only later want to write could not wait for the lock.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def can_write(folder: Path) -> bool:
    """Say whether this process may write into a folder, and its database if there is one."""
    database = folder / "store.db"
    return os.access(folder, os.W_OK | os.X_OK) and (
        not database.exists() or os.access(database, os.W_OK)
    )
