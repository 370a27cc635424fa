"""Whether a store's tables are the ones we know, and bringing them up to date.

What is current is told by one row, so that opening a store costs one statement; Alembic is only
imported for a store that an older version wrote.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, select, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from mlops_nb.errors import StoreError, StoreTooNew
from mlops_nb.store.connect import BUSY_TIMEOUT_S, is_on_network
from mlops_nb.store.schema import SCHEMA, meta, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"


def make_current(engine: Engine, location: str, database: Path | None) -> None:
    """Make the tables if there are none, or upgrade them if they are older.

    Raises
    ------
    StoreTooNew
        A newer version of this package wrote the store.
    StoreError
        The database holds something else.
    """
    if _is_current(engine, location):
        return
    with _only_one(database):
        _make_current(engine, location, database)


def check_current(engine: Engine, location: str) -> None:
    """Check the tables of a store that may only be read.

    Raises
    ------
    StoreTooNew
        A newer version of this package wrote the store.
    StoreError
        The tables are older, or not ours.
    """
    if not _is_current(engine, location):
        problem = f"its tables are not of schema {SCHEMA}, and it may only be read"
        raise StoreError(location, problem, "Ask its owner to open it with this version.")


def _is_current(engine: Engine, location: str) -> bool:
    with engine.connect() as connection:
        found = _version(connection)
    if found is None:
        return False
    schema, written_by = found
    if schema > SCHEMA:
        raise StoreTooNew(location, written_by, str(schema), str(SCHEMA))
    return schema == SCHEMA


def _version(connection: Connection) -> tuple[int, str] | None:
    """Read the schema and its writer; None if there is no such table or row."""
    try:
        row = connection.execute(select(meta.c.schema, meta.c.written_by)).first()
    except (OperationalError, ProgrammingError) as error:
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code != sqlite3.SQLITE_ERROR:  # that one says: no such table
            raise
        return None
    return None if row is None else (row.schema, row.written_by)


def _make_current(engine: Engine, location: str, database: Path | None) -> None:
    with engine.connect() as connection:
        found = _version(connection)
    with engine.connect() as connection:  # a server ends a transaction at its first error
        tables = set(inspect(connection).get_table_names())
    if found is not None and found[0] == SCHEMA:
        return  # another process was faster
    if found is None and tables and tables.isdisjoint(metadata.tables):
        problem = "it is a database of something else"
        raise StoreError(location, problem, "Give another folder with --store PATH.")
    if database is not None:
        _choose_journal(engine, database)
    writing = engine.execution_options(is_write=True)
    if found is None and not tables:
        with writing.begin() as connection:
            _create(connection)
        return
    if database is not None:
        _back_up(database, found[0] if found else 0)
    with writing.begin() as connection:
        _migrate(connection, found[0] if found else None)


def _create(connection: Connection) -> None:
    from mlops_nb import __version__

    if not inspect(connection).has_table(meta.name):
        metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(meta), {"schema": SCHEMA, "written_by": __version__})


def _migrate(connection: Connection, schema: int | None) -> None:
    """Run the migrations that are missing, in the transaction of the caller."""
    from alembic.command import stamp, upgrade
    from alembic.config import Config

    from mlops_nb import __version__

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if schema is not None:
        # Stores are made without Alembic, which therefore does not know where this one stands.
        stamp(config, f"{schema:04d}")
    upgrade(config, "head")
    told = connection.execute(update(meta).values(schema=SCHEMA, written_by=__version__))
    if not told.rowcount:
        connection.execute(insert(meta), {"schema": SCHEMA, "written_by": __version__})


# --- the file ---------------------------------------------------------------------------------


def _choose_journal(engine: Engine, database: Path) -> None:
    """Write ahead, except where processes on several hosts cannot share memory."""
    mode = "TRUNCATE" if is_on_network(database.parent.resolve()) else "WAL"
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - `database` is a SQLite file
        raw.execute(f"PRAGMA journal_mode={mode}")


def _back_up(database: Path, schema: int) -> None:
    """Copy the database, what is in its journal included, before anything is changed."""
    target = database.with_name(f"{database.name}.schema-{schema}.backup")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    source, copy = sqlite3.connect(database), sqlite3.connect(part)
    try:
        source.backup(copy)
    finally:
        source.close()
        copy.close()
    shutil.move(part, target)


@contextmanager
def _only_one(database: Path | None) -> Iterator[None]:
    """Let one process of this host at a time make or change tables."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows; the transaction's own lock has to do
        yield
        return
    if database is None:
        yield
        return
    with open(database.with_name("store.lock"), "a", opener=_private) as lock:
        _wait_for(lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB))
        yield


def _private(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o600)


def _wait_for(attempt: object) -> None:
    import time

    ends_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            attempt()  # type: ignore[operator]
        except BlockingIOError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.02)
        else:
            return
