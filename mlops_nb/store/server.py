"""Connections to a PostgreSQL server, none of which waits for ever.

A server may be away, be there and not answer, or lock us out for a while. The server itself ends
what takes too long, and where it does not even do that, the connection is given up from here.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mlops_nb.errors import MissingExtra, StoreError, StoreUnwritable
from mlops_nb.store.address import DRIVER, location_of, read_address

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar

    from sqlalchemy import URL, Connection, Engine

    Given = TypeVar("Given")

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 20
STATEMENT_TIMEOUT_S = 30
# What a server that still works would have ended by itself.
ANSWER_TIMEOUT_S = STATEMENT_TIMEOUT_S + 5
# The write lock of a database, where a SQLite file has one of its own; any number that is ours.
WRITE_LOCK = 0x6D6C6F7073

_RETRIES = 4
_RETRY_PAUSE_S = 0.05
_SETTINGS = {
    "statement_timeout": STATEMENT_TIMEOUT_S,
    "lock_timeout": LOCK_TIMEOUT_S,
    # A writer that is suspended in the middle would keep all others out for ever.
    "idle_in_transaction_session_timeout": 300,
}
_CONNECT = {
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": str(1000 * ANSWER_TIMEOUT_S),
    "application_name": "mlops_nb",
    "client_encoding": "utf8",
}

_CONFLICTS = {"40001", "40P01"}
_FORBIDDEN = {"25006", "42501"}
_FULL = {"53100"}
_TOO_SLOW = {"57014", "55P03"}
_OTHER_TABLES = {"42P01", "42703"}
# Classes of errors that are about one value or one row, not about the server.
_ABOUT_A_VALUE = ("21", "22", "23", "42", "54")


class Conflict(StoreError):
    """Two transactions got in each other's way; one of them has to be done again."""


def server_engine(url: str, *, is_patient: bool = False) -> Engine:
    """Make an engine for a database server; nothing is opened yet.

    Parameters
    ----------
    url
        With whatever opens it.
    is_patient
        Whether a statement may take as long as it takes.

    Raises
    ------
    StoreError
        The URL cannot be read, or names something else.
    MissingExtra
        The driver is not installed.
    """
    location = location_of(url)
    _check(url, location)
    parts = make_url(url)
    try:
        connection_class = _connection_class()
        _check_options(parts, location)
        engine = create_engine(
            parts.set(drivername=DRIVER),
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=2,
            connect_args={k: v for k, v in _CONNECT.items() if k not in parts.query},
        )
    except ModuleNotFoundError:
        raise MissingExtra("A store on PostgreSQL", "mlops-nb[postgres]") from None

    def connect(*arguments: Any) -> object:
        _, _, positional, named = arguments
        opened = connection_class.connect(*positional, **named)
        opened.patience_s = None if is_patient else ANSWER_TIMEOUT_S
        settings = dict.fromkeys(_SETTINGS, 0) if is_patient else _SETTINGS
        opened.autocommit = True
        opened.execute("; ".join(f"SET {k} = '{v}s'" for k, v in settings.items()))
        opened.autocommit = False
        return opened

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", _begin)
    return engine


def _check(url: str, location: str) -> None:
    """Refuse what would fail later on with a part of the password in its message."""
    address = read_address(url)
    if address is None or not address.is_ours:
        remedy = "Give a folder, or postgresql+psycopg://HOST/NAME."
        raise StoreError(location, "this is no address of a database for a store", remedy)
    if not address.is_clean:
        remedy = "Write @ as %40, / as %2F, : as %3A, ? as %3F and % as %25 in its password."
        raise StoreError(location, "this address of a database cannot be read", remedy)
    if not address.names_database:
        remedy = "Give its name too: postgresql+psycopg://HOST/NAME."
        raise StoreError(location, "the address does not say which database", remedy)


def _check_options(parts: URL, location: str) -> None:
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo(**{name: str(value) for name, value in parts.query.items()})
    except ProgrammingError as error:
        problem = f"this address of a database cannot be read ({_first_line(error)})"
        remedy = "Options are those of libpq, as in ?sslmode=require."
        raise StoreError(location, problem, remedy) from None


def _begin(connection: Connection) -> None:
    """Begin to write under the one lock of all writers, or to read what was there at one time."""
    from psycopg import IsolationLevel

    options = connection.get_execution_options()
    is_write = options.get("is_write", False)
    raw: Any = connection.connection.driver_connection
    raw.read_only = not is_write
    # A writer must see what was committed while it waited for the lock.
    raw.isolation_level = (
        IsolationLevel.READ_COMMITTED if is_write else IsolationLevel.REPEATABLE_READ
    )
    if is_write and options.get("is_alone", True):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


@cache
def _connection_class() -> Any:
    """Make the class of our connections, which give up a server that does not answer."""
    import psycopg

    class PatientConnection(psycopg.Connection[Any]):
        """A connection that waits no longer than `patience_s` for any one answer."""

        patience_s: float | None = None

        def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
            if self.patience_s is None:
                return super().wait(gen, *arguments, **named)
            steps = _until(gen, self.patience_s)
            try:
                return super().wait(steps, *arguments, **named)
            except psycopg.OperationalError as error:
                if str(error).startswith(_NO_ANSWER):
                    self.pgconn.finish()  # else a rollback would wait for the next answer
                raise

    return PatientConnection


_NO_ANSWER = "it gave no answer"


def _until(steps: Generator[Any, Any, Any], patience_s: float) -> Generator[Any, Any, Any]:
    """Take the steps of psycopg's protocol, which are told when nothing came, up to a time."""
    from psycopg import OperationalError

    deadline = time.monotonic() + patience_s
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if ready == 0 and time.monotonic() > deadline:
                raise OperationalError(f"{_NO_ANSWER} for {patience_s:g} s")
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value


def again(attempt: Callable[[], Given]) -> Given:
    """Do a transaction, and do it again where another one got in its way.

    Examples
    --------
    >>> again(lambda: 3)
    3
    """
    for retry in range(_RETRIES):
        try:
            return attempt()
        except Conflict:
            time.sleep(_RETRY_PAUSE_S * 2**retry)
    return attempt()


def may_write(connection: Connection) -> bool:
    """Say whether this user may write here: not on a copy that follows another server."""
    asked = text(
        "SELECT NOT pg_is_in_recovery()"
        " AND NOT current_setting('default_transaction_read_only')::boolean"
        " AND has_table_privilege('runs', 'INSERT')"
    )
    return bool(connection.scalar(asked))


def size_of(connection: Connection) -> int:
    """Say how many bytes the database has on its server's disk."""
    return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def in_our_words(location: str, error: SQLAlchemyError) -> StoreError | None:
    """Say what is wrong with a server; None for an error about one value or row."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    state, said = getattr(error.orig, "sqlstate", None), _first_line(error.orig)
    if state in _CONFLICTS:
        return Conflict(location, f"another writer was faster ({said})", "Try again.")
    if state in _FORBIDDEN:
        remedy = "Ask who looks after it for the right to; reading may still work."
        return StoreUnwritable(location, f"you may not write to it ({said})", remedy)
    if state in _FULL:
        remedy = "Ask who looks after it for more room; nothing that was kept is lost."
        return StoreUnwritable(location, f"its disk is full ({said})", remedy)
    if state in _TOO_SLOW:
        remedy = "Try again; if it stays so, ask who looks after it what it is busy with."
        return StoreError(location, f"its server took too long ({said})", remedy)
    if state in _OTHER_TABLES:
        remedy = "If this version is newer than the store: mlops-nb store upgrade."
        return StoreError(location, f"its tables are not as they should be ({said})", remedy)
    if state is not None and state.startswith(_ABOUT_A_VALUE):
        return None
    if state is None and not _is_of_connection(error.orig):
        return None
    remedy = "Check that it runs and that you may use it; what you record waits until then."
    return StoreError(location, f"its server cannot be used ({said})", remedy)


def _is_of_connection(error: BaseException) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"OperationalError", "InterfaceError", "InternalError"})


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # Who tried is no business of those who read the message.
    return lines[0].partition(' for user "')[0]
