"""Whether a store's tables are the ones we know, and bringing them up to date.

What is current is told by one row, so that opening a store costs one statement; Alembic is only
imported for a store that an older version wrote. A file is upgraded by whoever opens it first; a
server, which a team shares, only when somebody asks for it.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, select, text, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from mlops_nb.errors import StoreError, StoreTooNew
from mlops_nb.store.connect import (
    BUSY_TIMEOUT_S,
    is_on_network,
    location_of,
    our_words,
    server_engine,
)
from mlops_nb.store.schema import SCHEMA, meta, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade_store(location: str | Path) -> tuple[int, int]:
    """Bring the tables of a store up to date, in one transaction; a folder's after a backup.

    Parameters
    ----------
    location
        Path of the store's folder, or URL of a server.

    Returns
    -------
    tuple of int
        Number of the schema before, 0 for an empty database, and after.

    Raises
    ------
    StoreNotFound
        There is no such folder.
    StoreTooNew
        A newer version of this package wrote the store.
    StoreError
        The database holds something else, cannot be reached, or is in use for too long.

    Examples
    --------
    >>> import tempfile
    >>> from mlops_nb.store import Store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store.open(folder, create=True).close()
    ...     before, after = upgrade_store(folder)
    >>> before == after
    True
    """
    if "://" in str(location):
        return _upgrade_server(str(location))
    from mlops_nb.store.database import Store

    before = _schema_of_file(Path(location) / "store.db")
    with Store.open(location) as store:
        return before, int(store.info()["schema"])


def _upgrade_server(url: str) -> tuple[int, int]:
    location = location_of(url)
    engine = server_engine(url, is_patient=True)
    try:
        with our_words(location):
            return _upgraded(engine, location)
    finally:
        engine.dispose()


def _upgraded(engine: Engine, location: str) -> tuple[int, int]:
    with engine.connect() as connection:
        is_empty = _version(connection) is None
    if is_empty:
        make_ready(engine, location)
        return 0, SCHEMA
    # The lock of all writers is held until the end, so two who upgrade at once do it once.
    with engine.execution_options(is_write=True).begin() as connection:
        before, written_by = _version(connection) or (0, "")
        if before > SCHEMA:
            raise StoreTooNew(location, written_by, str(before), str(SCHEMA))
        if before < SCHEMA:
            _migrate(connection, before)
    return before, SCHEMA


def _schema_of_file(database: Path) -> int:
    """Read the schema of a file before it is opened for good; 0 if there is none."""
    if not database.is_file():
        return 0
    connection = sqlite3.connect(database)
    try:
        row = connection.execute("SELECT schema FROM meta").fetchone()
    except sqlite3.Error:  # what is wrong with it is said by whoever opens it
        row = None
    finally:
        connection.close()
    return int(row[0]) if row else 0


def make_ready(engine: Engine, location: str) -> None:
    """Make the tables of a store on a server if its database is empty.

    Raises
    ------
    StoreError
        The database holds something else.
    """
    with engine.connect() as connection:
        if _version(connection) is not None:
            return
        tables = set(inspect(connection).get_table_names())
        encoding = connection.scalar(text("SHOW server_encoding"))
    if tables and meta.name not in tables:
        remedy = "Give the store a database or a schema (?options=-csearch_path%3DNAME) of its own"
        raise StoreError(location, "its database holds something else", f"{remedy}.")
    if encoding != "UTF8":
        remedy = "Make a database for it with ENCODING 'UTF8'."
        raise StoreError(location, f"its database keeps text as {encoding}", remedy)
    with engine.execution_options(is_write=True).begin() as connection:
        _create(connection)


def check_server(engine: Engine, location: str) -> None:
    """Check the tables on a server; those of an empty database are made.

    Raises
    ------
    StoreTooNew
        A version of this package that is newer by more than one step wrote the store.
    StoreError
        It is older, or the database holds something else.
    """
    with engine.connect() as connection:
        found = _version(connection)
    if found is None:
        make_ready(engine, location)
        with engine.connect() as connection:
            found = _version(connection)
    schema, written_by = found or (0, "")
    if schema < SCHEMA:
        problem = f"its tables are of schema {schema}, and this version needs {SCHEMA}"
        remedy = "Once for all who use it: mlops-nb store upgrade."
        raise StoreError(location, problem, remedy)
    if schema > SCHEMA and not (schema == SCHEMA + 1 and _has_only_more(engine)):
        raise StoreTooNew(location, written_by, str(schema), str(SCHEMA))


def _has_only_more(engine: Engine) -> bool:
    """Whether all our tables are there, and whatever more there is need not be written."""
    with engine.connect() as connection:
        there = inspect(connection)
        tables = set(there.get_table_names())
        for table in metadata.sorted_tables:
            if table.name not in tables:
                return False
            columns = {column["name"]: column for column in there.get_columns(table.name)}
            if not set(table.columns.keys()) <= columns.keys():
                return False
            keys = there.get_pk_constraint(table.name)["constrained_columns"]
            if set(keys) != {column.name for column in table.primary_key}:
                return False
            more = columns.keys() - set(table.columns.keys())
            if any(not columns[n]["nullable"] and columns[n]["default"] is None for n in more):
                return False
    return True


def make_current(engine: Engine, location: str, database: Path) -> None:
    """Make the tables of a file if there are none, or upgrade them if they are older.

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
    if connection.dialect.name == "postgresql" and not inspect(connection).has_table(meta.name):
        return None  # asked first: a server ends a transaction at its first error
    try:
        row = connection.execute(select(meta.c.schema, meta.c.written_by)).first()
    except (OperationalError, ProgrammingError) as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code != sqlite3.SQLITE_ERROR:  # that one says: no such table
            raise
        return None
    return None if row is None else (row.schema, row.written_by)


def _make_current(engine: Engine, location: str, database: Path) -> None:
    with engine.connect() as connection:
        found = _version(connection)
        tables = set(inspect(connection).get_table_names())
    if found is not None and found[0] == SCHEMA:
        return  # another process was faster
    if found is None and tables and tables.isdisjoint(metadata.tables):
        problem = "it is a database of something else"
        raise StoreError(location, problem, "Give another folder with --store PATH.")
    _choose_journal(engine, database)
    writing = engine.execution_options(is_write=True)
    if found is None and not tables:
        with writing.begin() as connection:
            _create(connection)
        return
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
    if schema:
        # Stores are made without Alembic, which therefore does not know where this one stands.
        stamp(config, f"{schema:04d}")
    upgrade(config, "head")
    _order_by_code_point(connection)
    told = connection.execute(update(meta).values(schema=SCHEMA, written_by=__version__))
    if not told.rowcount:
        connection.execute(insert(meta), {"schema": SCHEMA, "written_by": __version__})


def _order_by_code_point(connection: Connection) -> None:
    """Let text that a migration has added be sorted as everywhere in a store, and as SQLite does.

    The order and the cases of a server's own language differ from server to server.
    """
    if connection.dialect.name != "postgresql":
        return
    asked = text(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND data_type = 'character varying'"
        " AND collation_name IS DISTINCT FROM 'C'"
    )
    quote = connection.dialect.identifier_preparer.quote
    for table, column in connection.execute(asked).all():
        if table in metadata.tables:
            kind = 'TYPE varchar COLLATE "C"'
            statement = f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)} {kind}"
            connection.exec_driver_sql(statement)


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
def _only_one(database: Path) -> Iterator[None]:
    """Let one process of this host at a time make or change tables."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows; the transaction's own lock has to do
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
