"""`Store`: records in, records out. No session, row or SQL leaves it."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import model
from mlops_nb.errors import StoreError, StoreNotFound, StoreUnwritable
from mlops_nb.redact import redact_file
from mlops_nb.store import (
    connect,
    endings,
    locate,
    moves,
    queries,
    records,
    references,
    schema,
    streams,
    upgrade,
)
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.fold import Fold
from mlops_nb.store.metric_fold import only_point, read_points
from mlops_nb.store.segments import SpoolPosition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from sqlalchemy import Connection, Engine

_DRAIN_TIMEOUT_S = 10.0


class Store:
    """The one place where runs, executions and their bytes are.

    Open one with `Store.open`, in a ``with`` statement. It may be used by several threads, and
    after a fork.

    Attributes
    ----------
    location
        Folder or URL of the store, without credentials.
    folder
        The folder, None for a server.
    is_read_only
        Whether this process may only read it; then what would change it raises
        `StoreUnwritable`.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: Blobs,
        *,
        location: str,
        folder: Path | None,
        is_read_only: bool,
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._pid = os.getpid()
        self.location = location
        self.folder = folder
        self.is_read_only = is_read_only

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False) -> Store:
        """Open a store.

        Parameters
        ----------
        location
            Path of a store's folder, or URL of a server.
        create
            Whether it is made if it is not there.

        Raises
        ------
        StoreNotFound
            It is not there, and `create` is false.
        StoreTooNew
            A newer version of this package wrote it; nothing was changed.
        StoreUnwritable
            It is not there and cannot be made.
        StoreError
            It is damaged, busy, or something else.
        """
        if "://" in str(location):
            return cls._open_server(str(location))
        return cls._open_folder(Path(location), create=create)

    @classmethod
    def _open_folder(cls, folder: Path, *, create: bool) -> Store:
        database = folder / locate.DATABASE
        if not database.is_file() and not create and not _awaits_database(folder):
            raise StoreNotFound(str(folder))
        with connect.our_words(str(folder)):
            if not connect.can_write(folder) and folder.is_dir():
                return cls._open_to_read(folder)
            locate.prepare(folder)
            _make_private(folder)
            engine = connect.file_engine(database, read_only=False)
            try:
                upgrade.make_current(engine, str(folder), database)
            except BaseException:
                engine.dispose()
                raise
        blobs = Blobs(str(folder / locate.BLOBS))
        return cls(engine, blobs, location=str(folder), folder=folder, is_read_only=False)

    @classmethod
    def _open_to_read(cls, folder: Path) -> Store:
        database = folder / locate.DATABASE
        if not database.is_file():
            problem = "the folder may not be written, and there is nothing in it yet"
            remedy = "Make it writable, or choose another one with --store PATH"
            raise StoreUnwritable(str(folder), problem, f"{remedy}.")
        engine = connect.file_engine(database, read_only=True)
        try:
            upgrade.check_current(engine, str(folder))
        except BaseException:
            engine.dispose()
            raise
        blobs = Blobs(str(folder / locate.BLOBS))
        return cls(engine, blobs, location=str(folder), folder=folder, is_read_only=True)

    @classmethod
    def _open_server(cls, url: str) -> Store:
        location = connect.location_of(url)
        engine = connect.server_engine(url)
        # Bytes go where MLOPS_NB_BLOBS says, which all who share the store must set alike.
        root = os.environ.get("MLOPS_NB_BLOBS")
        if not root:
            problem = "a store on a server needs a place for bytes"
            raise StoreError(location, problem, "Set MLOPS_NB_BLOBS to a shared folder or URL.")
        with connect.our_words(location):
            upgrade.make_current(engine, location, None)
        return cls(engine, Blobs(root), location=location, folder=None, is_read_only=False)

    def close(self) -> None:
        """Close all connections; the store can be used again."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- writing ------------------------------------------------------------------------------

    def apply(
        self,
        events: Iterable[model.Event],
        *,
        spool_position: SpoolPosition | None = None,
        after: tuple[int, int] | None = None,
        staging: Path | None = None,
    ) -> bool:
        """Take in events, in one transaction: all or none.

        Parameters
        ----------
        events
            In the order in which they happened.
        spool_position
            Where the spool stands after the last of them. Kept with them, so that no event is
            taken in twice.
        after
            Segment and offset where they began; None takes them in whatever came before.
        staging
            The folder of files named by `ArtifactLogged.staged`.

        Returns
        -------
        bool
            False if nothing was changed, because the spool had been taken in further, or not as
            far as `after`.

        Raises
        ------
        StoreUnwritable
            The store may only be read, or its disk is full.
        StoreError
            It is damaged, or busy for too long. Any other error is about one of the events.
        """
        batch = list(events)
        self._require_writable()
        stored = self._put_bytes(batch, staging or Path())
        with self._writing() as connection:
            if spool_position is not None and not _advance(connection, spool_position, after):
                return False
            for part in _parts(batch):
                if isinstance(part, model.FitMoved):
                    moves.move_fit(connection, part)
                    continue
                fold = Fold(connection, self._blobs, stored)
                fold.take(part)
                for session, at_ns in fold.write():
                    endings.end_session(connection, self._blobs, session, at_ns)
        return True

    def _put_bytes(
        self, events: Sequence[model.Event], staging: Path
    ) -> Mapping[int, tuple[str, int]]:
        """Store the bytes of events before their rows, outside of the transaction."""
        stored = {}
        for event in events:
            if not isinstance(event, model.OutputSeen | model.ArtifactLogged):
                continue
            if isinstance(event, model.OutputSeen) and event.kind == "stream":
                continue  # its pieces become one when the execution has ended
            if event.data is not None:
                stored[id(event)] = (self._blobs.put(event.data), len(event.data))
            elif isinstance(event, model.ArtifactLogged) and event.staged is not None:
                try:
                    stored[id(event)] = self._put_staged(staging / event.staged, event.mime)
                except FileNotFoundError:  # the artifact is listed, without bytes
                    continue
        return stored

    def _put_staged(self, file: Path, mime: str) -> tuple[str, int]:
        """Store the bytes of a file, without the secrets in it if it is one of text."""
        clean = redact_file(file, mime)
        return (
            self._blobs.put_file(file) if clean is None else (self._blobs.put(clean), len(clean))
        )

    def mark_lost(self, session: str, at_ns: int | None = None) -> int:
        """Mark what a session left open whose process is gone; gives the number of runs."""
        with self._writing() as connection:
            at_ns = at_ns or time.time_ns()
            return endings.mark_lost(connection, self._blobs, session, at_ns)

    def end_session(self, session: str, at_ns: int | None = None) -> int:
        """End a session that ended in good order; gives the number of runs that it ended."""
        with self._writing() as connection:
            at_ns = at_ns or time.time_ns()
            return endings.end_session(connection, self._blobs, session, at_ns)

    def refresh(self) -> int:
        """Take in what waits in spools of this host; gives the number of events."""
        if self.is_read_only or self.folder is None:
            return 0
        from mlops_nb.store.drain import drain

        return drain(self, timeout_s=_DRAIN_TIMEOUT_S)

    def make_durable(self) -> None:
        """Wait until everything taken in so far is on the disk."""
        self._blobs.make_durable()
        if self.folder is None:
            return
        with connect.our_words(self.location), self._engine.connect() as connection:
            connect.sync(connection)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- spools -------------------------------------------------------------------------------

    def spool_position(self, spool: str) -> SpoolPosition | None:
        """Say how far a spool has been taken in; None if nothing of it has."""
        with self._reading() as connection:
            row = connection.execute(queries.spool_position(spool)).first()
        return None if row is None else SpoolPosition(spool, row.segment, row.offset)

    def unended_sessions(self) -> list[tuple[str, Mapping[str, Any]]]:
        """List the sessions that neither ended nor were lost, with their owners."""
        with self._reading() as connection:
            rows = connection.execute(queries.unended_sessions()).all()
        return [(row.id, row.owner or {}) for row in rows]

    # --- runs ---------------------------------------------------------------------------------

    def runs(
        self,
        query: str | None = None,
        *,
        refs: Sequence[str] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        children: bool = True,
    ) -> list[model.Run]:
        """List runs, newest first unless the query or `order_by` says otherwise.

        Parameters
        ----------
        query
            As ``"params.lr > 0.01 and metrics.auc >= 0.9 order by metrics.auc desc limit 20"``.
        refs
            Only these, in this order, as `get_run` takes them.
        order_by
            As after ``order by`` in a query; wins over it.
        limit
            At most so many; wins over that of the query.
        offset
            How many to leave out at the beginning.
        children
            Whether runs inside of runs are listed too.

        Raises
        ------
        BadQuery
            `query` or `order_by` cannot be understood.
        RunNotFound
            One of `refs` names no run.
        """
        from mlops_nb.expressions import parse_query

        parsed = parse_query(query or "", order_by=order_by)
        with self._reading() as connection:
            ids = None if refs is None else [references.resolve(connection, r) for r in refs]
            statement = queries.runs_page(
                parsed, ids=ids, limit=limit, offset=offset, children=children
            )
            rows = list(connection.execute(statement).mappings())
            if ids is not None and not parsed.order_by:
                rows.sort(key=lambda row: ids.index(row["id"]))
            return records.load_runs(connection, rows)

    def count_runs(self, query: str | None = None, *, children: bool = True) -> int:
        """Count the runs that a query finds, whatever its limit.

        Raises
        ------
        BadQuery
            `query` cannot be understood.
        """
        from mlops_nb.expressions import parse_query

        with self._reading() as connection:
            statement = queries.runs_count(parse_query(query or ""), children=children)
            return int(connection.scalar(statement) or 0)

    def get_run(self, ref: str) -> model.Run:
        """Get one run.

        Parameters
        ----------
        ref
            Its id, a prefix of that of 4 characters or more, its name (then the newest one),
            ``@-1`` (the newest run), ``@-2``…, ``@best:METRIC``, ``tag:NAME`` or
            ``tag:NAME=VALUE`` (the newest run with it).

        Raises
        ------
        RunNotFound
            There is none; `AmbiguousReference` if a prefix fits several.
        """
        with self._reading() as connection:
            id_ = references.resolve(connection, ref)
            rows = list(connection.execute(queries.rows_of(schema.runs, "id", [id_])).mappings())
            return records.load_runs(connection, rows)[0]

    def find_run(self, ref: str) -> model.Run | None:
        """Find one run as `get_run` does; None if there is none.

        Raises
        ------
        AmbiguousReference
            `ref` is a prefix that fits several.
        """
        with self._reading() as connection:
            id_ = references.find(connection, ref)
            if id_ is None:
                return None
            rows = list(connection.execute(queries.rows_of(schema.runs, "id", [id_])).mappings())
            return records.load_runs(connection, rows)[0]

    def latest_of_groups(self, limit: int = 500) -> list[model.Run]:
        """List the latest attempt of each group, newest first."""
        with self._reading() as connection:
            rows = list(connection.execute(queries.latest_of_groups(limit)).mappings())
            return records.load_runs(connection, rows)

    def series(self, run: str, key: str) -> model.MetricSeries:
        """Read all values of a metric of a run (by its full id); empty if it has none."""
        with self._reading() as connection:
            points = read_points(connection, run, key)
            row = connection.execute(queries.metric(run, key)).mappings().first()
        if row is not None and row["count"] == 1:
            points = only_point(row)
        return model.MetricSeries(key, points.steps, points.values, points.at_ns)

    def param_history(self, run: str, key: str) -> list[model.Param]:
        """Read all values of a parameter of a run (by its full id), in order."""
        with self._reading() as connection:
            rows = list(connection.execute(queries.param_history(run, key)).mappings())
            rows += connection.execute(queries.param(run, key)).mappings()
        return [records.param(row) for row in rows]

    # --- executions, environments, bytes --------------------------------------------------------

    def executions(self, ids: Sequence[str]) -> list[model.Execution]:
        """Read executions with their outputs, in the order given; unknown ids are left out."""
        with self._reading() as connection:
            found = {e.id: e for e in records.load_executions(connection, "id", ids)}
        return [found[id_] for id_ in ids if id_ in found]

    def session_executions(self, session: str) -> list[model.Execution]:
        """Read all executions of a session, in the order they ran."""
        with self._reading() as connection:
            return records.load_executions(connection, "session", [session])

    def session(self, id_: str) -> model.Session | None:
        """Read a session; None if there is none with this id."""
        with self._reading() as connection:
            statement = queries.rows_of(schema.sessions, "id", [id_])
            row = connection.execute(statement).mappings().first()
        return None if row is None else records.session(row)

    def session_facts(self, id_: str) -> Mapping[str, model.Json]:
        """Read what else was told of a session; empty for one that is not known."""
        with self._reading() as connection:
            statement = queries.rows_of(schema.sessions, "id", [id_])
            row = connection.execute(statement).mappings().first()
        return (None if row is None else row["facts"]) or {}

    def environment(self, digest: str) -> model.Environment | None:
        """Read an environment; None if there is none with this digest."""
        with self._reading() as connection:
            statement = queries.rows_of(schema.environments, "digest", [digest])
            row = connection.execute(statement).mappings().first()
        return None if row is None else model.Environment(row["digest"], row["content"])

    def file_uses(self, uri: str) -> list[tuple[str, model.FileUse]]:
        """Read which executions used a file, by absolute path or URL, the latest first."""
        with self._reading() as connection:
            rows = connection.execute(queries.file_uses(uri)).mappings().all()
        return [(row["execution"], records.file_use(row)) for row in rows]

    def fingerprint_content(
        self, digest: str, schema_digest: str = ""
    ) -> Mapping[str, model.Json] | None:
        """Read columns, chunks and statistics of a fingerprint; None if they were not kept."""
        with self._reading() as connection:
            found: Mapping[str, model.Json] | None = connection.scalar(
                queries.fingerprint(digest, schema_digest)
            )
        return found

    def read_blob(self, digest: str) -> bytes:
        """Read the bytes of an output or artifact.

        Raises
        ------
        StoreError
            There are none with this digest, or they were changed.
        """
        if digest.startswith(streams.OPEN):
            with self._reading() as connection:
                return streams.read_open(connection, digest)
        return self._blobs.read(digest)

    # --- about the store ------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Say where and how large the store is, what it holds, and what went wrong."""
        with self._reading() as connection:
            counts = {name: connection.scalar(q) for name, q in queries.counts().items()}
            lost = connection.scalar(queries.lost_runs())
            journal = None
            if self.folder is not None:
                journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            written_by = connection.execute(queries.written_by()).scalar()
        return {
            "location": self.location,
            "schema": schema.SCHEMA,
            "written_by": written_by,
            "is_read_only": self.is_read_only,
            **counts,
            "lost_runs": lost,
            "journal_mode": journal,
            "size_bytes": 0 if self.folder is None else _size_of(self.folder),
            "spools": [] if self.folder is None else _spools_in(self.folder),
        }

    # --- transactions ---------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._survive_fork()
        with connect.our_words(self.location), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._require_writable()
        self._survive_fork()
        engine = self._engine.execution_options(is_write=True)
        with connect.our_words(self.location), engine.begin() as connection:
            yield connection

    def _require_writable(self) -> None:
        if self.is_read_only:
            remedy = "Choose another one with --store PATH, or make it writable"
            raise StoreUnwritable(self.location, "this store may only be read", f"{remedy}.")

    def _survive_fork(self) -> None:
        """Leave connections to the process that opened them."""
        if self._pid != os.getpid():
            self._engine.dispose(close=False)
            self._pid = os.getpid()


def _parts(events: Sequence[model.Event]) -> Iterator[Any]:
    """Cut a batch where a fit moves: rows written before must be there to be moved."""
    start = 0
    for index, event in enumerate(events):
        if isinstance(event, model.FitMoved):
            if start < index:
                yield events[start:index]
            yield event
            start = index + 1
    if start < len(events):
        yield events[start:]


def _advance(connection: Connection, to: SpoolPosition, after: tuple[int, int] | None) -> bool:
    """Move the position of a spool; False if it is not where the batch begins."""
    row = connection.execute(queries.spool_position(to.spool)).first()
    at = (0, 0) if row is None else (row.segment, row.offset)
    if (row is not None and at >= (to.segment, to.offset)) or (after is not None and at != after):
        return False
    values = {"id": to.spool, "segment": to.segment, "offset": to.offset}
    connection.execute(queries.upsert(schema.spools, connection.dialect.name), [values])
    return True


def _awaits_database(folder: Path) -> bool:
    """Say whether a kernel has made the store's folder, and nobody has drained its spool yet."""
    return folder.is_dir() and (folder.name == locate.FOLDER or locate.is_store(folder))


def _make_private(folder: Path) -> None:
    """Make the files before SQLite and fsspec do, who would let others read them."""
    (folder / locate.BLOBS).mkdir(mode=0o700, exist_ok=True)
    (folder / locate.DATABASE).touch(mode=0o600, exist_ok=True)


def _size_of(folder: Path) -> int:
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += Path(path, name).lstat().st_size
            except FileNotFoundError:  # a spool that was just drained
                continue
    return size


def _spools_in(folder: Path) -> list[str]:
    root = folder / locate.SPOOL
    return sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
