"""`Store`: records in, records out. No session, row or SQL leaves it."""

from __future__ import annotations

import os
import struct
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError

from mlops_nb import model
from mlops_nb.errors import MlopsNbError, StoreNotFound, StoreUnwritable
from mlops_nb.redact import redact_file
from mlops_nb.store import (
    connect,
    curves,
    dataframes,
    edits,
    endings,
    locate,
    moves,
    pages,
    queries,
    records,
    references,
    schema,
    server,
    streams,
    upgrade,
)
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.byte_rows import ByteRows
from mlops_nb.store.fold import Fold
from mlops_nb.store.found import FoundRuns
from mlops_nb.store.homes import state_folder
from mlops_nb.store.parts import StoreParts
from mlops_nb.store.segments import SpoolPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import pandas as pd
    from sqlalchemy import Connection, Engine

_DRAIN_TIMEOUT_S = 10.0

T = TypeVar("T")


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
        try:
            return cls._open_folder(Path(location), create=create)
        except StoreUnwritable:
            # SQLite opens with files of its own beside it, for which a full disk has no room.
            if not (Path(location) / locate.DATABASE).is_file():
                raise
            with connect.our_words(str(location)):
                return cls._open_to_read(Path(location))

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
        # Bytes go where MLOPS_NB_BLOBS says, which all who share the store must set alike, else
        # into the database too.
        root = os.environ.get("MLOPS_NB_BLOBS")
        try:
            with connect.our_words(location):
                upgrade.check_server(engine, location)
                with engine.connect() as connection:
                    is_read_only = not server.may_write(connection)
        except BaseException:
            engine.dispose()
            raise
        blobs = Blobs(root) if root else Blobs(location, ByteRows(engine, location))
        return cls(engine, blobs, location=location, folder=None, is_read_only=is_read_only)

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
        return connect.again(lambda: self._take_in(batch, stored, spool_position, after))

    def _take_in(
        self,
        batch: Sequence[model.Event],
        stored: Mapping[int, tuple[str, int]],
        spool_position: SpoolPosition | None,
        after: tuple[int, int] | None,
    ) -> bool:
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
        if self.is_read_only:
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
        archived: bool = False,
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
        archived
            Whether archived runs are listed too; so they are if the query asks about ``archived``.

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
            only = None if refs is None else [references.resolve(connection, r) for r in refs]
            asked = pages.choice(parsed, only=only, children=children, archived=archived)
            limit = parsed.limit if limit is None else limit
            found = pages.find_ids(connection, asked, limit=limit, offset=offset)
            return records.load_ids(connection, found)

    def find_runs(
        self,
        query: str | None = None,
        *,
        order_by: str | None = None,
        limit: int | None = None,
        children: bool = True,
        archived: bool = False,
    ) -> FoundRuns:
        """Find runs as `runs` does, and read what they hold when it is looked at.

        Parameters
        ----------
        query, order_by, limit, children, archived
            As in `runs`.

        Returns
        -------
        FoundRuns
            The ids, the runs, and with ``df`` a DataFrame of them. It opens the store again, and
            closes it, when it has to.

        Raises
        ------
        BadQuery
            `query` or `order_by` cannot be understood.
        """
        from mlops_nb.expressions import parse_query

        parsed = parse_query(query or "", order_by=order_by)
        asked = pages.choice(parsed, children=children, archived=archived)
        limit = parsed.limit if limit is None else limit
        with self._reading() as connection:
            ids = pages.find_ids(connection, asked, limit=limit)
        return FoundRuns(
            ids,
            load=lambda: self._briefly(lambda connection: records.load_ids(connection, ids)),
            frame=lambda: self._briefly(
                lambda connection: dataframes.frame_of(connection, asked, ids, limit)
            ),
            count=lambda: self._briefly(
                lambda connection: pages.count_from(connection, asked, ids, limit)
            ),
        )

    def _briefly(self, read: Callable[[Connection], T]) -> T:
        with self, self._reading() as connection:
            return read(connection)

    def frame(
        self,
        query: str | None = None,
        *,
        order_by: str | None = None,
        limit: int | None = None,
        children: bool = True,
        archived: bool = False,
    ) -> pd.DataFrame:
        """Read runs as a pandas DataFrame, many times faster than one by one.

        Parameters
        ----------
        query, order_by, limit, children, archived
            As in `runs`.

        Returns
        -------
        pandas.DataFrame
            One row per run, indexed by the full id, in the order of `runs`: ``name``,
            ``status``, ``kind``, ``experiment``, ``attempt``, ``parent``, ``notebook``,
            ``started_at`` (UTC), ``busy_s`` and ``duration_s`` (seconds), then ``params.NAME``,
            ``metrics.NAME`` (the last value) and ``tags.NAME``, each sorted by name; None or NaN
            where a run does not have it.

        Raises
        ------
        BadQuery
            `query` or `order_by` cannot be understood.
        MissingExtra
            pandas is not installed.
        """
        from mlops_nb.expressions import parse_query

        parsed = parse_query(query or "", order_by=order_by)
        asked = pages.choice(parsed, children=children, archived=archived)
        limit = parsed.limit if limit is None else limit
        with self._reading() as connection:
            ids = pages.find_ids(connection, asked, limit=limit)
            return dataframes.frame_of(connection, asked, ids, limit)

    def count_runs(
        self, query: str | None = None, *, children: bool = True, archived: bool = False
    ) -> int:
        """Count the runs that a query finds, whatever its limit; as `runs` does.

        Raises
        ------
        BadQuery
            `query` cannot be understood.
        """
        from mlops_nb.expressions import parse_query

        with self._reading() as connection:
            asked = pages.choice(parse_query(query or ""), children=children, archived=archived)
            return pages.count(connection, asked)

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
            return records.load_ids(connection, [id_])[0]

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
            return records.load_ids(connection, [id_])[0]

    def edit_runs(
        self,
        refs: Sequence[str],
        changes: Mapping[str, model.Json],
        *,
        since: int | None = None,
        by: str | None = None,
    ) -> list[model.RunEdit]:
        """Change what people may change of runs after the fact, all of them or none.

        Parameters
        ----------
        refs
            As `get_run` takes them; to undelete, ids or names of deleted runs.
        changes
            New values by field: ``name`` (empty: as recorded), ``note`` (empty: none), ``note+``
            (written below what is there), ``starred``, ``archived``, ``deleted``, ``tags.KEY``
            (None: none).
        since
            The revision that was seen: refused if somebody changed the same field after it.
        by
            Who changes it; the user of this process if left out.

        Returns
        -------
        list of RunEdit
            What changed; what was so already is not in it.

        Raises
        ------
        RunNotFound
            One of `refs` names no run.
        EditRefused
            A value cannot be used.
        EditConflict
            Somebody else changed the same field after `since`.
        """
        with self._writing() as connection:
            return edits.edit_runs(connection, refs, changes, since=since, by=by)

    def edits_of(self, run: str) -> list[model.RunEdit]:
        """Read what people changed of a run (by its full id) after the fact, in order."""
        with self._reading() as connection:
            return edits.history(connection, run)

    def latest_of_groups(self, limit: int = 500) -> list[model.Run]:
        """List the latest attempt of each group, newest first."""
        with self._reading() as connection:
            rows = list(connection.execute(queries.latest_of_groups(limit)).mappings())
            return records.load_runs(connection, rows)

    def series(self, run: str, key: str, *, points: int | None = None) -> model.MetricSeries:
        """Read all values of a metric of a run, as NumPy arrays; empty if it has none.

        Parameters
        ----------
        run
            Its full id.
        key
            The metric's name.
        points
            At most so many, 3 or more, chosen so that a picture keeps its shape (largest
            triangle three buckets); all if left out.

        Raises
        ------
        MissingExtra
            `points` is given, the series is longer, and tsdownsample is not installed.
        """
        with self._reading() as connection:
            return curves.read_series(connection, run, key, points=points)

    def curves(
        self, wanted: Collection[tuple[str, str]], *, points: int = 1000
    ) -> dict[tuple[str, str], Sequence[float]]:
        """Read the values of several series at once, by full run id and metric.

        Parameters
        ----------
        wanted
            Pairs of a run's full id and a metric's name; one with no values has an empty curve.
        points
            Long series come in so many, as those of `series`; short ones whole.
        """
        with self._reading() as connection:
            return curves.read_curves(connection, wanted, points)

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

    def environments(self, digests: Collection[str]) -> dict[str, model.Environment]:
        """Read environments by their digests; those that are not there are left out."""
        with self._reading() as connection:
            return records.load_environments(connection, digests)

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
            size = server.size_of(connection) if self.folder is None else _size_of(self.folder)
            written_by = connection.execute(queries.written_by()).scalar()
        return {
            "location": self.location,
            "schema": schema.SCHEMA,
            "written_by": written_by,
            "is_read_only": self.is_read_only,
            **counts,
            "lost_runs": lost,
            "journal_mode": journal,
            "size_bytes": size,
            "spools": _spools_in(locate.spool_root(self.location, state_folder())),
        }

    @contextmanager
    def inside(self) -> Iterator[StoreParts]:
        """Give tables and bytes to those who care for the whole store; see `store.care`."""
        engine = self._engine
        if self.folder is None:  # which ends what takes too long, and this may take long
            url = engine.url.render_as_string(hide_password=False)
            engine = connect.server_engine(url, is_patient=True)
        patient = Store(
            engine,
            self._blobs,
            location=self.location,
            folder=self.folder,
            is_read_only=self.is_read_only,
        )
        try:
            yield StoreParts(
                self.location,
                self.folder,
                self._blobs,
                patient._reading,
                patient._writing,
                locate.spool_root(self.location, state_folder()),
            )
        finally:
            if engine is not self._engine:
                engine.dispose()

    # --- transactions ---------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._survive_fork()
        try:
            with connect.our_words(self.location), self._engine.connect() as connection:
                yield connection
        except MlopsNbError:
            raise
        except (DBAPIError, ValueError, LookupError, struct.error) as error:
            # What is there is not what was written.
            raise connect.damaged(self.location, error) from error

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


def _spools_in(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
