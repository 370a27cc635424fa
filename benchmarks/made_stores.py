"""Stores with years of runs in them, made in seconds.

`write_rows` puts rows straight into a store's tables; `events_of` gives the events that lead to
the same rows by the way that a kernel's events take. A test holds the one against the other, so
that what is measured on a made store is true of one that was lived in.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlops_nb import model
from mlops_nb.source import code_digest
from mlops_nb.store import Store
from mlops_nb.store.reading.queries import source_digest
from mlops_nb.store.reading.series import CHUNK_POINTS, Points, pack, spans_as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN_NS = 1_700_000_000_000_000_000
BETWEEN_RUNS_NS = 17 * 60 * 10**9
SECOND_NS = 10**9
RUNS_OF_A_SESSION = 25
PARAMS, METRICS = 20, 10
NOTEBOOKS = ("churn.ipynb", "demand.ipynb", "prices.ipynb", "fraud.ipynb")
ESTIMATORS = ("LogisticRegression", "RandomForestClassifier", "SVC", "HistGradientBoosting")
STAGES, TEAMS = ("dev", "dev", "dev", "test", "prod"), ("north", "south", "east")
SOURCE = "model.fit(X, y)\nscore = model.score(X_test, y_test)"


class MadeRun(NamedTuple):
    """What is special about one run."""

    id: str
    number: int
    session: str
    execution: str
    name: str
    notebook: str
    group: str
    attempt: int
    at_ns: int
    params: dict[str, object]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def ended_ns(self) -> int:
        return self.at_ns + (1 + self.number % 90) * SECOND_NS

    @property
    def session_ended_ns(self) -> int:
        """When a session with all its runs ends; of its first run or its last one."""
        rest = RUNS_OF_A_SESSION - 1 - self.number % RUNS_OF_A_SESSION
        return self.at_ns + rest * BETWEEN_RUNS_NS + 100 * SECOND_NS


def made_runs(count: int) -> Iterator[MadeRun]:
    """Give the runs of a store, the same ones each time.

    Parameters
    ----------
    count
        How many; a smaller store holds the first ones of a larger.
    """
    dice = random.Random(20_261_121)
    attempts: dict[str, int] = {}
    for number in range(count):
        notebook = NOTEBOOKS[number // RUNS_OF_A_SESSION % len(NOTEBOOKS)]
        group = f"{notebook}:{number % 7}"
        attempts[group] = attempts.get(group, 0) + 1
        yield MadeRun(
            id=f"{dice.getrandbits(64):016x}",
            number=number,
            session=f"{number // RUNS_OF_A_SESSION:024x}",
            execution=f"{BEGIN_NS // 1000 + number:014x}{number:010x}",
            name=f"{notebook.partition('.')[0]} {number % 7}",
            notebook=notebook,
            group=group,
            attempt=attempts[group],
            at_ns=BEGIN_NS + number * BETWEEN_RUNS_NS,
            params=_params(dice),
            metrics=_metrics(dice),
            tags={"stage": dice.choice(STAGES), "team": dice.choice(TEAMS)},
        )


def _params(dice: random.Random) -> dict[str, object]:
    """Twenty, as an estimator in a pipeline has them."""
    named: dict[str, object] = {
        "estimator": dice.choice(ESTIMATORS),
        "lr": 10 ** dice.uniform(-5, 0),
        "depth": dice.randint(1, 16),
        "leaves": 2 ** dice.randint(1, 10),
        "penalty": dice.choice(("l1", "l2", "elasticnet")),
        "warm_start": dice.random() < 0.5,
        "class_weight": None if dice.random() < 0.7 else "balanced",
        "seed": dice.randint(0, 2**31),
    }
    rest = PARAMS - len(named)
    return {**named, **{f"clf__{i:02}": round(dice.random(), 6) for i in range(rest)}}


def _metrics(dice: random.Random) -> dict[str, float]:
    auc = 1 - dice.random() ** 2 / 2
    others = {f"fold_{i}.auc": auc + dice.uniform(-0.05, 0.05) for i in range(METRICS - 3)}
    return {"auc": auc, "log_loss": dice.expovariate(2), "rows": 1000.0, **others}


# --- by the way that a kernel's events take ---------------------------------------------------


def events_of(runs: Iterator[MadeRun]) -> Iterator[model.Event]:
    """Give the events that those runs leave on a spool."""
    for run in runs:
        at_ns, order = run.at_ns, run.number % RUNS_OF_A_SESSION + 1
        if order == 1:
            yield model.SessionStarted(
                run.session, at_ns, "desk", 4242, "3.11.2", {"pid": 4242}, run.notebook
            )
        yield model.ExecutionStarted(run.execution, run.session, order, at_ns, SOURCE, "")
        yield model.RunStarted(
            run.id,
            at_ns,
            run.name,
            "interactive",
            session=run.session,
            group=run.group,
            notebook=run.notebook,
            execution=run.execution,
        )
        yield model.RunExecuted(run.id, run.execution, "body")
        for key, value in run.params.items():
            yield model.ParamLogged(run.id, key, value, at_ns, run.execution)
        for name, number in run.metrics.items():
            yield model.MetricLogged(run.id, name, number, None, at_ns, run.execution, "object")
        for label, text in run.tags.items():
            yield model.TagSet(run.id, label, text, at_ns)
        yield model.ExecutionEnded(run.execution, run.ended_ns, "ok", 1.0, 0.9)
        changes = {"status": "finished", "ended_at_ns": run.ended_ns, "busy_s": 1.0}
        yield model.RunChanged(run.id, run.ended_ns, changes)
        if order == RUNS_OF_A_SESSION:
            yield model.SessionEnded(run.session, run.session_ended_ns)


# --- straight into the tables -----------------------------------------------------------------


def write_rows(folder: Path, count: int) -> None:
    """Make a store of `count` runs in a folder that has none.

    Parameters
    ----------
    folder
        Of the store, as `Store.open` takes it.
    count
        Number of runs; 100,000 of them take about half a minute and 1 GB.
    """
    Store.open(folder, create=True).close()
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        # An index is made several times faster from all rows than with each of them.
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
        indexes = [(name, sql) for name, sql in found if sql is not None]
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        connection.execute("BEGIN")
        _write_sources(connection)
        runs: list[MadeRun] = []
        for run in made_runs(count):
            runs.append(run)
            if len(runs) == 1000:
                _write_runs(connection, runs, count)
                runs.clear()
        _write_runs(connection, runs, count)
        for _, sql in indexes:
            connection.execute(sql)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _write_sources(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO sources VALUES (?, ?)", (source_digest(SOURCE), SOURCE))


def _write_runs(connection: sqlite3.Connection, runs: list[MadeRun], count: int) -> None:
    code = code_digest(SOURCE)
    starts = [run for run in runs if run.number % RUNS_OF_A_SESSION == 0]
    rows = {
        "sessions": (_session_row(run, count) for run in starts),
        "executions": (_execution_row(run, code) for run in runs),
        "runs": (_run_row(run) for run in runs),
        "run_executions": (
            {"run": run.id, "execution": run.execution, "role": "body"} for run in runs
        ),
        "params": (_param_row(run, *param) for run in runs for param in run.params.items()),
        "metrics": (_metric_row(run, *metric) for run in runs for metric in run.metrics.items()),
        "tags": (
            {"run": run.id, "key": key, "value": value, "at": run.at_ns}
            for run in runs
            for key, value in run.tags.items()
        ),
    }
    for table, found in rows.items():
        _insert(connection, table, found)


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[dict[str, object]]) -> None:
    first = next(rows, None)
    if first is None:
        return
    names = ", ".join(f'"{name}"' for name in first)
    places = ", ".join(f":{name}" for name in first)
    statement = f'INSERT INTO "{table}" ({names}) VALUES ({places})'
    connection.execute(statement, first)
    connection.executemany(statement, rows)


def _session_row(run: MadeRun, count: int) -> dict[str, object]:
    has_ended = run.number + RUNS_OF_A_SESSION <= count
    return {
        "id": run.session,
        "started_at": run.at_ns,
        "ended_at": run.session_ended_ns if has_ended else None,
        "notebook": run.notebook,
        "notebook_assurance": "unknown",
        "python": "3.11.2",
        "host": "desk",
        "pid": 4242,
        "owner": '{"pid":4242}',
    }


def _execution_row(run: MadeRun, code: str) -> dict[str, object]:
    return {
        "id": run.execution,
        "session": run.session,
        "position": run.number % RUNS_OF_A_SESSION + 1,
        "status": "ok",
        "source": source_digest(SOURCE),
        "code_digest": code,
        "started_at": run.at_ns,
        "ended_at": run.ended_ns,
        "duration_s": 1.0,
        "cpu_s": 0.9,
        **dict.fromkeys(("reads", "binds", "mutates", "deletes", "flags"), "[]"),
        "is_inferred": 0,
    }


def _run_row(run: MadeRun) -> dict[str, object]:
    return {
        "id": run.id,
        "name": run.name,
        "status": "finished",
        "kind": "interactive",
        "experiment": "",
        "group_key": run.group,
        "attempt": run.attempt,
        "notebook": run.notebook,
        "session": run.session,
        "execution": run.execution,
        "started_at": run.at_ns,
        "ended_at": run.ended_ns,
        "last_at": run.ended_ns,
        "busy_s": 1.0,
    }


def _param_row(run: MadeRun, key: str, value: object) -> dict[str, object]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = "true" if value is True else "false" if value is False else value
    return {
        "run": run.id,
        "key": key,
        "version": 1,
        "value": None if value is None else json.dumps(value),
        "number": float(value) if is_number else None,
        "word": None if is_number else text,
        "is_default": 0,
        "at": run.at_ns,
        "execution": run.execution,
    }


def _metric_row(run: MadeRun, key: str, value: float) -> dict[str, object]:
    return {
        "run": run.id,
        "key": key,
        "value": value,
        "at": run.at_ns,
        "count": 1,
        "minimum": value,
        "maximum": value,
        "binding": "object",
        "execution": run.execution,
    }


# --- long series ------------------------------------------------------------------------------


def made_points(count: int) -> Points:
    """Give a series as a training loop logs it: steps from 0, a noisy loss, uneven times."""
    dice = random.Random(count)
    points = Points()
    origin = ("0" * 24, "explicit", None, False)
    at_ns = BEGIN_NS
    for step in range(count):
        at_ns += 900_000 + dice.getrandbits(18)
        points.add(step, 2 / (1 + step / 1000) + dice.random() / 10, at_ns, origin)
    return points


def write_series(folder: Path, run: str, key: str, points: Points) -> None:
    """Give a run of a store a series, in full chunks as a long life leaves them."""
    values = points.values
    metric = {
        "run": run,
        "key": key,
        "value": values[-1],
        "step": points.steps[-1],
        "at": points.at_ns[-1],
        "count": len(points),
        "minimum": min(values),
        "maximum": max(values),
        "binding": "explicit",
    }
    chunks = (
        {
            "run": run,
            "key": key,
            "seq": number,
            "count": len(piece),
            "spans": json.dumps(spans_as_json(piece)),
            "data": pack(piece),
        }
        for number, piece in enumerate(points.split(CHUNK_POINTS))
    )
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        _insert(connection, "metrics", iter([metric]))
        _insert(connection, "metric_chunks", chunks)


def main(arguments: list[str]) -> int:
    """Make a store: number of runs, and its folder."""
    count = int(arguments[0]) if arguments else 100_000
    folder = Path(arguments[1] if len(arguments) > 1 else tempfile.mkdtemp()) / ".mlops"
    begin = time.perf_counter()
    write_rows(folder, count)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {count:,} runs, {size / 1e6:,.0f} MB, {time.perf_counter() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
