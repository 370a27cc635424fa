"""What can be read in a store: runs and what they have, executions, environments, bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_nb import model
from mlops_nb.store import edits, locate, schema, server
from mlops_nb.store.intake import streams
from mlops_nb.store.pipelines.reader import PipelineReader
from mlops_nb.store.reading import curves, dataframes, pages, queries, records, references
from mlops_nb.store.reading.found import FoundRuns
from mlops_nb.store.spool.homes import state_folder
from mlops_nb.store.spool.segments import SpoolPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import pandas as pd
    from sqlalchemy import Connection

T = TypeVar("T")


class StoreReader(PipelineReader):
    """The reading half of a store; see `store.Store`."""

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

    def edits_of(self, run: str) -> list[model.RunEdit]:
        """Read what people changed of a run (by its full id) after the fact, in order."""
        with self._reading() as connection:
            return edits.history(connection, run)

    def latest_of_groups(self, limit: int = 500, *, archived: bool = False) -> list[model.Run]:
        """List the latest attempt of each group, newest first; archived ones too if asked for."""
        statement = queries.latest_of_groups(limit, archived=archived)
        with self._reading() as connection:
            rows = list(connection.execute(statement).mappings())
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
