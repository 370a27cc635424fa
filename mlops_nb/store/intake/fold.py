"""Events of one batch, folded into rows.

Rows that the events speak of are read first, changed in memory in the order of the events, and
written with one statement a table. Whoever folds holds the store's write lock, so nothing read
here can change before it is written. An event about something unknown makes a placeholder, which
what comes later fills in: spools of several processes are drained in any order.
"""

from __future__ import annotations

from functools import cache, singledispatchmethod
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb import model
from mlops_nb.expressions import comparable
from mlops_nb.source import code_digest
from mlops_nb.store import edits, schema
from mlops_nb.store.intake.metric_fold import MetricFold
from mlops_nb.store.intake.streams import StreamFold
from mlops_nb.store.reading import queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from mlops_nb.store.blobs import Blobs

Row: TypeAlias = dict[str, Any]
StoredBytes: TypeAlias = "Mapping[int, tuple[str, int]]"
"""Address and size of the bytes of an event, by `id` of the event."""

_RUN_COLUMNS = frozenset(c.name for c in schema.runs.columns) - {"id", "attempt", "last_at"}
_RUN_COLUMNS -= edits.COLUMNS  # those belong to people
_RENAMED = {"group": "group_key", "started_at_ns": "started_at", "ended_at_ns": "ended_at"}
# What a session says more than once, each time of what is lost since.
_LOSSES = frozenset({"records_lost", "torn_bytes"})
_SESSION_COLUMNS = frozenset(
    {"notebook", "notebook_assurance", "python", "environment", "host", "pid", "owner"}
)
# Columns that must not be NULL, and what stands for a fact that nobody told.
_UNTOLD: Row = {
    "name": "",
    "status": "running",
    "kind": "interactive",
    "experiment": "",
    "group_key": "",
    "attempt": 0,
}
_EMPTY_RUN: Row = {c.name: _UNTOLD.get(c.name) for c in schema.runs.columns}


class Fold:
    """The rows that a batch of events speaks of; `take` them all, then `write`."""

    def __init__(self, connection: Connection, blobs: Blobs, stored: StoredBytes) -> None:
        self._connection = connection
        self._stored = stored
        self._metrics = MetricFold(connection)
        self._streams = StreamFold(connection, blobs)
        self._runs: dict[str, Row] = {}
        self._touched: dict[str, None] = {}
        self._attempts: dict[str, int] = {}
        self._executions: dict[str, Row] = {}
        self._params: dict[tuple[str, str], Row] = {}
        self._new_params: dict[tuple[str, str], None] = {}
        self._rows: dict[str, dict[tuple[object, ...], Row]] = {}
        self._needs: dict[tuple[str, str], Row] = {}
        self._sources: dict[str, Row] = {}
        self._environments: dict[str, Row] = {}
        self._ended_sessions: list[tuple[str, int]] = []

    def take(self, events: Sequence[model.Event]) -> None:
        """Read what the events speak of and fold them in, in order."""
        self._prefetch(events)
        add_metric = self._metrics.add
        for event in events:
            if type(event) is model.MetricLogged:
                add_metric(event)
            else:
                self._fold(event)

    def write(self) -> list[tuple[str, int]]:
        """Write all rows; gives the sessions that ended, with the time."""
        for run, at_ns in self._metrics.last_times():
            self._touch(run, at_ns)
        self._metrics.write()
        touched = [self._runs[run] for run in self._touched]
        for row in touched:
            if row["ended_at"] is not None:  # the clock may have been set back meanwhile
                row["ended_at"] = max(row["ended_at"], row["started_at"])
        self._put(schema.runs, touched)
        self._put(schema.executions, [row for row in self._executions.values() if row.pop("_new")])
        self._put(schema.params, [self._params[key] for key in self._new_params])
        for name, rows in self._rows.items():
            self._put(schema.metadata.tables[name], list(rows.values()))
        needs = self._needs.values()
        self._put_new(schema.run_executions, [row for row in needs if row["role"] != "body"])
        self._put(schema.run_executions, [row for row in needs if row["role"] == "body"])
        self._put_new(schema.sources, list(self._sources.values()))
        self._put_new(schema.environments, list(self._environments.values()))
        self._streams.write()
        return self._ended_sessions

    # --- reading what is there ----------------------------------------------------------------

    def _prefetch(self, events: Iterable[model.Event]) -> None:
        runs, executions, groups, with_params = set(), set(), set(), set()
        for event in events:
            kind = type(event)
            if kind is model.MetricLogged:  # nearly all events of a training are these
                runs.add(event.run)  # type: ignore[union-attr]
                continue
            if kind in _OF_A_RUN:
                runs.add(event.run)  # type: ignore[union-attr]
            if isinstance(event, model.RunStarted):
                runs.update((event.id, event.parent or event.id))
                groups.add(event.group)
            elif isinstance(event, model.RunChanged):
                runs.update((event.id, event.changes.get("parent") or event.id))
                groups.add(str(event.changes.get("group") or ""))
            elif isinstance(event, model.ParamLogged):
                with_params.add(event.run)
            elif isinstance(event, model.ExecutionStarted | model.ExecutionEnded):
                executions.add(event.id)
            elif isinstance(event, model.OutputSeen):
                executions.add(event.execution)
        self._runs = {row["id"]: row for row in self._read(schema.runs, "id", runs)}
        found = self._read(schema.executions, "id", executions)
        self._executions = {row["id"]: {**row, "_new": False} for row in found}
        found = self._read(schema.params, "run", with_params)
        self._params = {(row["run"], row["key"]): row for row in found}
        self._metrics.prefetch(runs)
        groups.discard("")
        groups.update(row["group_key"] for row in self._runs.values())
        for chunk in queries.in_chunks(groups):
            rows = self._connection.execute(queries.latest_attempts(chunk))
            self._attempts.update((row[0], row[1]) for row in rows)

    def _read(self, table: Table, column: str, ids: Iterable[str]) -> Iterator[Row]:
        for chunk in queries.in_chunks(ids):
            rows = self._connection.execute(queries.rows_of(table, column, chunk))
            yield from (dict(row) for row in rows.mappings())

    def _put(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            self._connection.execute(queries.upsert(table, self._connection.dialect.name), rows)

    def _put_new(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows that are not there; those that are stay as they were."""
        if rows:
            insert = queries.insert_new(table, self._connection.dialect.name)
            self._connection.execute(insert, rows)

    def _later(self, table: Table, row: Row) -> None:
        """Keep a row for `write`; the last one with a key wins."""
        key = tuple(row[column.name] for column in table.primary_key)
        self._rows.setdefault(table.name, {})[key] = row

    @singledispatchmethod
    def _fold(self, event: object) -> None:
        """Fold in one event."""
        msg = f"no store keeps a {type(event).__name__}"
        raise TypeError(msg)

    # --- sessions -----------------------------------------------------------------------------

    @_fold.register(model.SessionStarted)
    def _session_started(self, event: model.SessionStarted) -> None:
        row = {c: getattr(event, c) for c in _SESSION_COLUMNS}
        row.update(id=event.id, started_at=event.at_ns, owner=dict(event.owner))
        self._put_new(schema.sessions, [row])

    @_fold.register(model.SessionChanged)
    def _session_changed(self, event: model.SessionChanged) -> None:
        changes = {k: v for k, v in event.changes.items() if k in _SESSION_COLUMNS}
        facts = {k: v for k, v in event.changes.items() if k not in _SESSION_COLUMNS}
        row = next(self._read(schema.sessions, "id", [event.id]), None)
        if row is None:
            return
        if facts:
            known = row["facts"] or {}
            facts.update({k: known.get(k, 0) + facts[k] for k in _LOSSES if k in facts})
            changes["facts"] = {**known, **facts}
        if changes:
            self._connection.execute(queries.change(schema.sessions, event.id), changes)
        self._tell_runs(event, changes)

    def _tell_runs(self, event: model.SessionChanged, changes: Row) -> None:
        """Hand on what runs of the session take from it."""
        for column in ("notebook", "environment"):
            if changes.get(column) is None:
                continue
            statement = queries.fill_runs_of_session(event.id, column, changes[column])
            self._connection.execute(statement)
            for row in self._runs.values():
                if row["session"] == event.id and row[column] is None:
                    row[column] = changes[column]
        for name in _LOSSES & event.changes.keys():
            for run in self._running_of(event.id):
                total = str(self._lost_before(run, name) + event.changes[name])
                self._tag_set(model.TagSet(run, name, total, event.at_ns))

    def _lost_before(self, run: str, name: str) -> int:
        """Read what a run was told of earlier losses."""
        told = self._rows.get("tags", {}).get((run, name))
        tags = [told] if told else self._read(schema.tags, "run", [run])
        return sum(int(row["value"]) for row in tags if row["key"] == name)

    def _running_of(self, session: str) -> list[str]:
        """List the runs of a session that have not ended, here or in the store."""
        found = self._connection.execute(queries.running_runs(session)).mappings().all()
        for row in found:
            self._runs.setdefault(row["id"], dict(row))
        theirs = [id_ for id_, row in self._runs.items() if row["session"] == session]
        both = dict.fromkeys([*theirs, *(row["id"] for row in found)])
        return [id_ for id_ in both if self._runs[id_]["status"] == "running"]

    @_fold.register(model.SessionEnded)
    def _session_ended(self, event: model.SessionEnded) -> None:
        self._ended_sessions.append((event.id, event.at_ns))

    @_fold.register(model.EnvironmentSeen)
    def _environment_seen(self, event: model.EnvironmentSeen) -> None:
        row = {"digest": event.digest, "content": dict(event.content)}
        if "details" in event.content:  # read later, in the background, for the same digest
            self._later(schema.environments, row)
        else:
            self._environments[event.digest] = row

    # --- executions ---------------------------------------------------------------------------

    @_fold.register(model.ExecutionStarted)
    def _execution_started(self, event: model.ExecutionStarted) -> None:
        row = self._executions.get(event.id) or dict.fromkeys(schema.executions.columns.keys())
        row.update(
            id=event.id,
            session=event.session,
            position=event.order,
            status=row["status"] or "running",
            source=self._keep_source(event.source),
            transformed=event.transformed and self._keep_source(event.transformed),
            code_digest=event.code_digest or code_digest(event.transformed or event.source),
            started_at=event.at_ns,
            parent=event.parent,
            cell_id=event.cell_id,
            cell_index=event.cell_index,
            execution_count=event.execution_count or row["execution_count"],
            flags=_merged(event.flags, row["flags"]),
            is_inferred=event.is_inferred,
            _new=True,
        )
        self._executions[event.id] = row

    @_fold.register(model.ExecutionEnded)
    def _execution_ended(self, event: model.ExecutionEnded) -> None:
        row = self._executions.get(event.id)
        self._streams.end(event.id)
        if row is None:
            return
        for name in ("status", "duration_s", "cpu_s"):
            row[name] = getattr(event, name)
        for name in ("reads", "binds", "mutates", "deletes"):
            row[name] = list(getattr(event, name))
        row["error"] = None if event.error is None else dict(event.error)
        row["flags"] = _merged(row["flags"], event.flags)
        row["ended_at"] = max(event.at_ns, row["started_at"])
        row["execution_count"] = event.execution_count or row["execution_count"]
        row["_new"] = True

    @_fold.register(model.OutputSeen)
    def _output_seen(self, event: model.OutputSeen) -> None:
        if event.kind == "stream":
            execution = self._executions.get(event.execution)
            has_ended = execution is not None and execution["status"] != "running"
            self._streams.add(event, has_ended=has_ended)
            return
        digest, size = self._stored.get(id(event), ("", 0))
        row = {
            "execution": event.execution,
            "position": event.position,
            "mime": event.mime,
            "kind": event.kind,
            "name": event.name,
            "size_bytes": max(event.size_bytes, size),
            "digest": digest,
            "is_cut": event.is_cut,
        }
        self._later(schema.outputs, row)

    def _keep_source(self, text: str) -> str:
        digest = queries.source_digest(text)
        self._sources[digest] = {"digest": digest, "text": text}
        return digest

    # --- runs ---------------------------------------------------------------------------------

    def _run(self, run: str, at_ns: int) -> Row:
        """Give the row of a run, a placeholder if it is not known yet."""
        row = self._runs.get(run)
        if row is None:
            row = {**_EMPTY_RUN, "id": run, "started_at": at_ns, "last_at": at_ns}
            row["facts"] = {"told": []}
            self._runs[run] = row
        return row

    def _touch(self, run: str, at_ns: int) -> Row:
        row = self._run(run, at_ns)
        row["last_at"] = max(row["last_at"], at_ns)
        self._touched[run] = None
        return row

    @_fold.register(model.RunStarted)
    def _run_started(self, event: model.RunStarted) -> None:
        row = self._touch(event.id, event.at_ns)
        facts = row["facts"] or {}
        if "told" not in facts:
            return  # the same run twice: the first one counts
        told = facts.pop("told")
        row["facts"] = facts or None
        row["started_at"] = event.at_ns
        for name in _STARTED:
            column = _RENAMED.get(name, name)
            if column not in told:
                row[edits.column_for(row, column)] = getattr(event, name)
        edits.follow_parent(row, self._runs.get(event.parent or ""))
        if row["parent"] is None and not row["attempt"]:
            self._number(row)

    @_fold.register(model.RunChanged)
    def _run_changed(self, event: model.RunChanged) -> None:
        row = self._touch(event.id, event.at_ns)
        changes = {_RENAMED.get(k, k): v for k, v in event.changes.items()}
        unknown = {k: v for k, v in changes.items() if k not in _RUN_COLUMNS}
        parent, group = changes.get("parent"), changes.get("group_key")
        had_group = row["group_key"]
        known = {k: v for k, v in changes.items() if k in _RUN_COLUMNS}
        row.update({edits.column_for(row, k): v for k, v in known.items()})
        facts = row["facts"] or {}
        if "told" in facts:
            unknown["told"] = [*facts["told"], *changes]
        if unknown:
            row["facts"] = {**facts, **unknown}
        if parent is not None:
            above = self._touch(str(parent), event.at_ns)
            self._hand_attempt(row, above)
            edits.follow_parent(row, above)
        elif group is not None and group != had_group and row["parent"] is None:
            self._number(row)

    def _number(self, row: Row) -> None:
        """Give a run the next attempt number of its group."""
        group = row["group_key"]
        row["attempt"] = self._attempts.get(group, 0) + 1 if group else 0
        self._attempts[group] = max(row["attempt"], self._attempts.get(group, 0))

    def _hand_attempt(self, child: Row, parent: Row) -> None:
        """Let a run that became a child leave its attempt to its parent.

        The parent, made later, may have taken the next number of the same group: then there
        would be a gap, so it takes the lower one.
        """
        given = child["attempt"]
        child["attempt"] = 0
        if not given:
            return
        group, taken = child["group_key"], parent["attempt"]
        if taken == 0 or parent["group_key"] == group:
            parent["attempt"] = min(given, taken or given)
            if taken > given and self._attempts.get(group) == taken:
                self._attempts[group] = taken - 1

    @_fold.register(model.RunExecuted)
    def _run_executed(self, event: model.RunExecuted) -> None:
        for execution in (event.execution, *event.also):
            row = {"run": event.run, "execution": execution, "role": event.role}
            known = self._needs.setdefault((event.run, execution), row)
            if event.role == "body":  # what a run's body needs is never only its set-up
                known["role"] = "body"

    # --- evidence -----------------------------------------------------------------------------

    @_fold.register(model.ParamLogged)
    def _param_logged(self, event: model.ParamLogged) -> None:
        self._touch(event.run, event.at_ns)
        key = (event.run, event.key)
        before = self._params.get(key)
        version = 1
        if before is not None:
            if schema.dump_json(before["value"]) == schema.dump_json(event.value):
                return
            version = before["version"] + 1
            kept = {name: before[name] for name in _names(schema.param_versions)}
            self._later(schema.param_versions, kept)
        self._params[key] = param_row(event, version)
        self._new_params[key] = None

    @_fold.register(model.TagSet)
    def _tag_set(self, event: model.TagSet) -> None:
        run = self._touch(event.run, event.at_ns)
        key = (event.run, event.key)
        if run["revision"] and edits.is_edited(self._connection, event.run, f"tags.{event.key}"):
            return  # what a person says of a run stands
        if event.value is None:
            self._rows.get("tags", {}).pop(key, None)
            self._connection.execute(queries.remove_tag(*key))
            return
        row = {"run": event.run, "key": event.key, "value": event.value, "at": event.at_ns}
        self._later(schema.tags, row)

    @_fold.register(model.DataUsed)
    def _data_used(self, event: model.DataUsed) -> None:
        self._touch(event.run, event.at_ns)
        row = _columns_of(event, schema.data_uses)
        row["fit"] = event.fit or ""
        row["column_digests"] = dict(event.column_digests)
        if event.digest:
            self._forget_pending(row)
        self._later(schema.data_uses, row)

    def _forget_pending(self, row: Row) -> None:
        """Take away what was told of the same value before it was hashed."""
        keys = [row["run"], row["role"], row["name"], "", row["fit"]]
        self._rows.get("data_uses", {}).pop(tuple(keys), None)
        self._connection.execute(queries.remove_pending_data(row))

    @_fold.register(model.FingerprintSeen)
    def _fingerprint_seen(self, event: model.FingerprintSeen) -> None:
        row = {
            "digest": event.digest,
            "schema_digest": event.schema_digest,
            "content": dict(event.content),
        }
        self._later(schema.fingerprints, row)

    @_fold.register(model.FileSeen)
    def _file_seen(self, event: model.FileSeen) -> None:
        self._later(schema.files, _columns_of(event, schema.files))

    @_fold.register(model.ModelFitted)
    def _model_fitted(self, event: model.ModelFitted) -> None:
        self._touch(event.run, event.at_ns)
        self._later(schema.models, _columns_of(event, schema.models))

    @_fold.register(model.ArtifactLogged)
    def _artifact_logged(self, event: model.ArtifactLogged) -> None:
        self._touch(event.run, event.at_ns)
        row = _columns_of(event, schema.artifacts)
        known = (event.digest, event.size_bytes)
        row["digest"], row["size_bytes"] = self._stored.get(id(event), known)
        self._later(schema.artifacts, row)


def param_row(event: model.ParamLogged, version: int) -> Row:
    """Make the row of the latest version of a parameter."""
    row = _columns_of(event, schema.params)
    return {**row, "version": version, **queryable(event.value)}


def queryable(value: object) -> Row:
    """Give a parameter's value as queries see it."""
    side = comparable(value)
    is_word = isinstance(side, str)
    return {"number": None if is_word else side, "word": side if is_word else None}


def _columns_of(event: object, table: Table) -> Row:
    """Take what an event and a table both have."""
    row = {name: getattr(event, name, None) for name in _names(table)}
    row["at"] = event.at_ns  # type: ignore[attr-defined]
    return row


@cache
def _names(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns)


def _merged(first: Iterable[str] | None, second: Iterable[str] | None) -> list[str]:
    return list(dict.fromkeys([*(first or ()), *(second or ())]))


_STARTED = (
    "name",
    "kind",
    "session",
    "experiment",
    "group",
    "parent",
    "child",
    "notebook",
    "environment",
    "execution",
)
_OF_A_RUN = frozenset(
    {
        model.RunExecuted,
        model.ParamLogged,
        model.MetricLogged,
        model.TagSet,
        model.DataUsed,
        model.ModelFitted,
        model.ArtifactLogged,
    }
)
