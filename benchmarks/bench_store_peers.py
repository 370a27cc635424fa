"""What others need for what the store does, in one run with ours.

Each peer has a process of its own in ``.venv-bench``, offline, in a folder of its own, and ours
does the same work in the same process, just before it. Where runs are looked at, both look at as
many, and CPU time counts. Sizes are small, because some peers need seconds for what takes us
milliseconds; they are said. A peer that is not installed, or that fails, is named, and has no
numbers.

Run: python benchmarks/bench_store_peers.py
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = Path(__file__).parent.parent / ".venv-bench" / "bin" / "python"
_LONGEST_S = 240
_PARAMS = {f"p{i}": i / 7 for i in range(10)}
_METRICS = {f"m{i}": i / 3 for i in range(5)}
_TAGS = {"stage": "dev", "team": "north"}
_LIMIT = 0.5
_BEST = f"metrics.auc > {_LIMIT} and params.lr > 0.001 and params.depth <= 8"
_OUR_CALLS, _OUR_RUNS = 20_000, 100


def measure() -> list[Measurement]:
    """Measure all peers; in each row, how many times longer than ours a peer takes."""
    rows, absent = [], []
    for name in PEERS:
        try:
            rows += [_row(name, *result) for result in _answer(name)]
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            absent.append(f"{name} ({_reason(error)})")
    note = "; ".join(absent) or "all are here"
    return [*rows, Measurement("peers without numbers", len(absent), len(PEERS), "", note=note)]


def _row(peer: str, what: str, ours_s: float, theirs_s: float) -> Measurement:
    note = f"{_spoken(theirs_s)} against our {_spoken(ours_s)}"
    return Measurement(f"{peer}: {what}", theirs_s / ours_s, 1, more_is_better=True, note=note)


def _spoken(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return text.strip().splitlines()[-1][:100] if text.strip() else type(error).__name__


def _answer(name: str) -> list[tuple[str, float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [PYTHON, Path(__file__).resolve(), name],
            check=True,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            cwd=folder,
            env={**os.environ, **_OFFLINE, "HOME": folder, "TRACKIO_DIR": f"{folder}/trackio"},
        )
    return json.loads(done.stdout.splitlines()[-1])


_OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
}


# --- ours -------------------------------------------------------------------------------------


class Ours:
    """What every peer is held against."""

    def __init__(self) -> None:
        import mlops_nb

        self._mn = mlops_nb

    def seconds_a_call(self) -> float:
        with self._mn.run("calls"):
            return _per_call(lambda step: self._mn.log_metric("loss", 0.5, step), _OUR_CALLS)

    def seconds_a_run(self) -> float:
        def one(_: int) -> None:
            with self._mn.run("run", tags=_TAGS):
                self._mn.log_params(_PARAMS)
                self._mn.log_metrics(_METRICS)

        one(0)
        return _per_call(one, _OUR_RUNS)

    def seconds_for_best(self, runs: int) -> float:
        self._made(runs)
        query = f"{_BEST} order by metrics.auc desc"
        return _fastest(lambda: self._mn.runs(query, limit=50).df)

    def seconds_for_all(self, runs: int) -> float:
        self._made(runs)
        return _fastest(lambda: self._mn.runs(limit=None).df)

    def seconds_for_series(self, points: int) -> float:
        from made_stores import made_points, write_series

        from mlops_nb.store import Store

        folder = self._made(1)
        with Store.open(folder) as store:
            run = store.get_run("@-1").id
            if not len(store.series(run, "loss").steps):
                write_series(folder, run, "loss", made_points(points))
            return _fastest(lambda: store.series(run, "loss"))

    def _made(self, runs: int) -> Path:
        from made_stores import write_rows

        folder = Path.cwd() / f"ours of {runs}"
        if not folder.exists():
            write_rows(folder, runs)
        os.environ["MLOPS_NB_STORE"] = str(folder)
        return folder


def _per_call(call: Callable[[int], object], count: int) -> float:
    begin = time.perf_counter()
    for number in range(count):
        call(number)
    return (time.perf_counter() - begin) / count


def _fastest(action: Callable[[], object], rounds: int = 3) -> float:
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        action()
        best = min(best, time.process_time() - begin)
    return best


# --- peers ------------------------------------------------------------------------------------


class Mlflow:
    """MLflow on its local SQLite store."""

    calls, runs, found, points = 100, 5, 100, 10_000

    def __init__(self) -> None:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{Path.cwd()}/mlflow.db")
        self._mlflow = mlflow

    def seconds_a_call(self) -> float:
        with self._mlflow.start_run():
            self._mlflow.log_metric("warm", 1)
            log = self._mlflow.log_metric
            return _per_call(lambda step: log("loss", 0.5, step=step), self.calls)

    def seconds_a_run(self) -> float:
        def one(_: int) -> None:
            with self._mlflow.start_run(tags=_TAGS):
                self._mlflow.log_params(_PARAMS)
                self._mlflow.log_metrics(_METRICS)

        return _per_call(one, self.runs)

    def seconds_for_best(self) -> float:
        self._fill()
        # Its parameters are texts, which only an equality can ask for.
        return _fastest(
            lambda: self._mlflow.search_runs(
                experiment_names=["many"],
                filter_string=f"metrics.auc > {_LIMIT} and params.depth != '9' "
                "and params.penalty != 'none'",
                order_by=["metrics.auc DESC"],
                max_results=50,
            )
        )

    def seconds_for_all(self) -> float:
        self._fill()
        return _fastest(
            lambda: self._mlflow.search_runs(experiment_names=["many"], max_results=50_000)
        )

    def _fill(self) -> None:
        from made_stores import made_runs
        from mlflow.entities import Metric, Param, RunTag

        client = self._mlflow.MlflowClient()
        if client.get_experiment_by_name("many") is not None:
            return
        experiment = client.create_experiment("many")
        for run in made_runs(self.found):
            created = client.create_run(experiment).info.run_id
            client.log_batch(
                created,
                [Metric(k, v, run.at_ns // 10**6, 0) for k, v in run.metrics.items()],
                [Param(k, str(v)) for k, v in run.params.items()],
                [RunTag(k, v) for k, v in run.tags.items()],
            )

    def seconds_for_series(self) -> float:
        from mlflow.entities import Metric

        client = self._mlflow.MlflowClient()
        run = client.create_run("0").info.run_id
        for begin in range(0, self.points, 1000):
            points = range(begin, begin + 1000)
            client.log_batch(run, [Metric("loss", 1 / (i + 1), i, i) for i in points])
        return _fastest(lambda: client.get_metric_history(run, "loss"))


class Trackio:
    """Trackio on its local SQLite store."""

    calls, runs = 5_000, 5

    def __init__(self) -> None:
        import trackio

        self._trackio = trackio

    def seconds_a_call(self) -> float:
        self._trackio.init(project="calls", auto_log_gpu=False)
        try:
            return _per_call(lambda step: self._trackio.log({"loss": 0.5}, step=step), self.calls)
        finally:
            self._trackio.finish()

    def seconds_a_run(self) -> float:
        def one(_: int) -> None:
            self._trackio.init(project="runs", config={**_PARAMS, **_TAGS}, auto_log_gpu=False)
            self._trackio.log(_METRICS)
            self._trackio.finish()

        return _per_call(one, self.runs)


class Wandb:
    """W&B, offline."""

    calls, runs = 2_000, 2

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb

    def seconds_a_call(self) -> float:
        with self._begun() as run:
            return _per_call(lambda step: run.log({"loss": 0.5}, step=step), self.calls)

    def seconds_a_run(self) -> float:
        def one(_: int) -> None:
            with self._begun() as run:
                run.log(_METRICS)

        return _per_call(one, self.runs)

    def _begun(self):
        settings = self._wandb.Settings(console="off")
        tags = [f"{key}={value}" for key, value in _TAGS.items()]
        return self._wandb.init(project="p", config=_PARAMS, tags=tags, settings=settings)


class Aim:
    """Aim on its local repository."""

    calls, runs = 2_000, 2

    def __init__(self) -> None:
        import aim

        self._aim = aim

    def seconds_a_call(self) -> float:
        run = self._begun()
        try:
            return _per_call(lambda step: run.track(0.5, name="loss", step=step), self.calls)
        finally:
            run.close()

    def seconds_a_run(self) -> float:
        def one(_: int) -> None:
            run = self._begun()
            run["hparams"] = _PARAMS
            for key, value in _METRICS.items():
                run.track(value, name=key)
            for tag in _TAGS.values():
                run.add_tag(tag)
            run.close()

        return _per_call(one, self.runs)

    def _begun(self):
        return self._aim.Run(
            repo=str(Path.cwd()),
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )


class SklearnEvaluation:
    """sklearn-evaluation's tracker: one JSON column in SQLite."""

    found: ClassVar[int] = 10_000

    def __init__(self) -> None:
        from sklearn_evaluation import SQLiteTracker

        self._tracker = SQLiteTracker("experiments.db")

    def seconds_for_best(self) -> float:
        self._fill()
        names = "uuid, " + ", ".join(
            f"""json_extract(parameters, '$."{name}"') AS "{name}" """ for name in self._names
        )
        where = f"auc > {_LIMIT} AND lr > 0.001 AND depth <= 8 ORDER BY auc DESC LIMIT 50"
        return _fastest(
            lambda: self._tracker.query(f"SELECT {names} FROM experiments WHERE {where}")
        )

    def seconds_for_all(self) -> float:
        self._fill()
        return _fastest(lambda: self._tracker.recent(self.found, normalize=True))

    def _fill(self) -> None:
        from made_stores import made_runs

        if len(self._tracker):
            return
        self._tracker.insert("first", {})
        with contextlib.closing(sqlite3.connect("experiments.db")) as connection, connection:
            connection.execute("DELETE FROM experiments")
            for run in made_runs(self.found):
                values = {**run.params, **run.metrics, **run.tags}
                self._names = list(values)
                # As its own insert writes them, without the 16 ms that each of those takes.
                row = (str(uuid.UUID(run.id * 2)), json.dumps(values))
                connection.execute("INSERT INTO experiments (uuid, parameters) VALUES (?, ?)", row)


PEERS = {
    "MLflow": Mlflow,
    "Trackio": Trackio,
    "W&B offline": Wandb,
    "Aim": Aim,
    "sklearn-evaluation": SklearnEvaluation,
}


def compare(name: str) -> list[tuple[str, float, float]]:
    """Measure what a peer can do, ours just before it, in the current folder."""
    ours, peer = Ours(), PEERS[name]()
    rows = []
    # Looking comes first: once our session has begun, it is its own store that we look at.
    if hasattr(peer, "seconds_for_best"):
        what = f"best 50 of {peer.found:,} runs as a DataFrame"
        rows.append((what, ours.seconds_for_best(peer.found), peer.seconds_for_best()))
        what = f"all {peer.found:,} runs as a DataFrame"
        rows.append((what, ours.seconds_for_all(peer.found), peer.seconds_for_all()))
    if hasattr(peer, "seconds_for_series"):
        what = f"a series of {peer.points:,} points, read"
        rows.append((what, ours.seconds_for_series(peer.points), peer.seconds_for_series()))
    os.environ["MLOPS_NB_STORE"] = str(Path.cwd() / "ours")
    if hasattr(peer, "seconds_a_call"):
        what = f"a logged point, {peer.calls:,} calls"
        rows.append((what, ours.seconds_a_call(), peer.seconds_a_call()))
    if hasattr(peer, "seconds_a_run"):
        what = f"start, log and end a run, {peer.runs:,} of them"
        rows.append((what, ours.seconds_a_run(), peer.seconds_a_run()))
    return rows


if __name__ == "__main__":
    if len(sys.argv) == 2:
        # Some peers talk on standard output; the answer is its last line.
        with contextlib.redirect_stdout(sys.stderr):
            answer = compare(sys.argv[1])
        sys.stdout.write("\n" + json.dumps(answer) + "\n")
    else:
        for row in measure():
            print(f"{row.name:60} {row.value:10.1f} {row.unit}  {row.note}")
