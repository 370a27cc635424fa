"""Stores with something in every table, for tests that copy, check and collect them."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from pathlib import Path

from events import (
    SECOND,
    T0,
    A,
    B,
    execution_ended,
    execution_started,
    metric,
    piece,
    run_started,
    session_started,
)

from mlops_nb.model import (
    ArtifactLogged,
    DataUsed,
    EnvironmentSeen,
    FileSeen,
    FingerprintSeen,
    ModelFitted,
    OutputSeen,
    ParamLogged,
    RunChanged,
    RunExecuted,
    SessionChanged,
    SessionEnded,
    TagSet,
)
from mlops_nb.model.pipelines import (
    CachedStep,
    Fact,
    Packed,
    PackedFile,
    Schedule,
    SplitProof,
    StepRun,
)
from mlops_nb.store import Store
from mlops_nb.store.spool.segments import SpoolPosition

ENVIRONMENT = "sha256:" + "e" * 64
VALUE = b"\x93NUMPY values"
FIGURE = b"\x89PNG figure " * 50


def session_events(session="s1"):
    return [
        EnvironmentSeen(ENVIRONMENT, {"python": "3.11", "packages": {"numpy": "2.0"}}),
        session_started(session),
        SessionChanged(session, T0, {"environment": ENVIRONMENT}),
    ]


def cell_events(id_, order=1, *, session="s1", text=b"out", is_ended=True, source=None):
    started = execution_started(id_, order, session=session, source=source)
    outputs = [
        OutputSeen(id_, 0, "result", "", "text/plain", text, len(text)),
        piece(b"printed " + text, id_, 1),
    ]
    file = FileSeen(id_, "/data/train.csv", "r", "seen", T0, digest="xxh3:11", assurance="exact")
    return [started, *outputs, file, *([execution_ended(id_)] if is_ended else [])]


def run_events(run, execution, *, session="s1", data="xxh3:aa", artifact=FIGURE, **facts):
    return [
        run_started(run, session=session, environment=ENVIRONMENT, execution=execution, **facts),
        RunExecuted(run, execution, "body"),
        ParamLogged(run, "C", 1.0, T0, execution=execution),
        ParamLogged(run, "C", 0.5, T0 + 1, execution=execution),
        ParamLogged(run, "solver", "lbfgs", T0, execution=execution),
        metric(run, "auc", 0.9, execution=execution),
        *(metric(run, "loss", 1.0 / (step + 1), step, at_ns=T0 + step) for step in range(100)),
        TagSet(run, "stage", "prod", T0),
        DataUsed(run, "X", "train", "pandas.DataFrame", data, "exact", T0, schema_digest="s"),
        FingerprintSeen(data, "s", {"columns": {"age": {"mean": 3.5}}}),
        ModelFitted(run, "fit1", "model", "LogisticRegression", T0),
        ArtifactLogged(run, "roc", "figure", "image/png", T0, artifact),
        RunChanged(run, T0 + SECOND, {"status": "finished", "ended_at_ns": T0 + SECOND}),
    ]


def fill(store: Store) -> Store:
    """Put something into every table: two runs, an open stream, an edit, a spool's position."""
    store.apply(
        [
            *session_events(),
            *cell_events("e1"),
            *run_events(A, "e1"),
            *cell_events("e2", 2, text=b"second", is_ended=False),
            *run_events(B, "e2", data="xxh3:bb", artifact=b"other"),
        ],
        spool_position=SpoolPosition("spool-1", 2, 400),
    )
    store.edit_runs([A], {"note": "the best one", "tags.owner": "ann"}, by="ann")
    fill_pipelines(store)
    return store


def kept_value(store: Store, name: str, data: bytes = VALUE) -> Packed:
    """A unit with one value whose bytes are in a store."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "0.bin")
        path.write_bytes(data)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        unit = Packed((name,), "npy", (PackedFile(path.name, digest, len(data)),), f"nbfp1:{name}")
        store.put_values(unit, Path(folder))
    return unit


def fill_pipelines(store: Store) -> None:
    """Put something into every table of pipelines."""
    unit = kept_value(store, "model")
    store.save_cached(CachedStep("sha256:k1", "churn", "train", A, T0, {"source": []}, (unit,)))
    store.record_step(StepRun("p1", "train", "done", run=A, key="sha256:k1", ended_at_ns=T0))
    store.save_proof(SplitProof("churn", "sha256:s1", "equal", T0))
    store.save_facts("churn", [Fact("train", "mutates", ("frame",), "xxh3:1", "in cell 4")])
    store.save_schedule(Schedule("c1", "nightly", "0 6 * * *", "UTC", "/srv/churn"))
    assert store.claim_firing("c1", T0, {"host": "elsewhere"}, 60)
    assert store.finish_firing("c1", T0, {"host": "elsewhere"})


def full_store(folder: Path) -> Store:
    """A new store with something in every table."""
    return fill(Store.open(folder, create=True))


def end_session(store: Store, session="s1") -> None:
    store.apply([SessionEnded(session, T0 + 10 * SECOND)])


def tables(location: Path) -> dict[str, list[tuple]]:
    """All rows of a store in a folder, table by table, as they lie there."""
    connection = sqlite3.connect(location / "store.db")
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith(("sqlite_", "alembic"))
    ]
    found = {}
    for name in names:
        rows = connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - a name of ours
        if name == "stream_pieces":
            rows = [row[1:] for row in rows]
        found[name] = sorted(rows, key=repr)
    connection.close()
    return found


def blob_files(location: Path) -> dict[str, bytes]:
    """All files of a store's bytes, by their place."""
    root = location / "blobs"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def change_rows(location: Path, statement: str, *values: object) -> None:
    """Change a database behind the store's back."""
    connection = sqlite3.connect(location / "store.db")
    connection.execute(statement, values)
    connection.commit()
    connection.close()
