"""`Store`: records in, records out. No session, row or SQL leaves it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import model
from mlops_nb.redact import redact_file
from mlops_nb.store import connect, edits, schema
from mlops_nb.store.intake import endings, moves
from mlops_nb.store.intake.fold import Fold
from mlops_nb.store.pipelines.writer import PipelineWriter
from mlops_nb.store.reader import StoreReader
from mlops_nb.store.reading import queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from mlops_nb.store.spool.segments import SpoolPosition

_DRAIN_TIMEOUT_S = 10.0


class Store(PipelineWriter, StoreReader):
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
        from mlops_nb.store.intake.drain import drain

        return drain(self, timeout_s=_DRAIN_TIMEOUT_S)

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
