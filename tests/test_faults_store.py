"""Rules of a damaged store, and of two versions of this package on one store."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.command import upgrade as migrate
from alembic.config import Config
from test_drain import logged_steps

from mlops_nb import model
from mlops_nb.errors import MlopsNbError, RunNotFound, StoreError, StoreTooNew
from mlops_nb.store import Store, connect, upgrade
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.schema import SCHEMA

pytest_plugins = ["fault_fixtures"]

AT_NS = 1_700_000_000_000_000_000
KINDS = ("zeros", "noise", "bits", "content")
PAGE_BYTES = 4096
RUNS = [f"{number:016x}" for number in range(30)]


def events_of(number, run):
    execution, at_ns = f"e{number}", AT_NS + number
    return [
        model.ExecutionStarted(execution, "s", number, at_ns, f"x = {number}\n" * 30, "xxh3:0"),
        model.RunStarted(run, at_ns, f"run{number}", "interactive", session="s", group="g"),
        model.RunExecuted(run, execution, "body"),
        model.ParamLogged(run, "C", {"a": [1, 2, 3]}, at_ns),
        model.TagSet(run, "note", "word " * 10, at_ns),
        model.OutputSeen(execution, 0, "stream", "stdout", "text/plain", b"hello", 5),
        *[model.MetricLogged(run, "loss", step / 7, step, at_ns + step) for step in range(300)],
        model.ExecutionEnded(execution, at_ns + 400, "ok", 1.0, 1.0),
        model.RunChanged(run, at_ns + 500, {"status": "finished"}),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store that is not to be written to: copies of it are damaged."""
    folder = tmp_path_factory.mktemp("whole") / ".mlops"
    with Store.open(folder, create=True) as store:
        store.apply([model.SessionStarted("s", AT_NS, "host", 1, "3.11", {})])
        for number, run in enumerate(RUNS):
            store.apply(events_of(number, run))
        store.end_session("s")
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / ".mlops"))


@pytest.fixture
def chance():
    return random.Random(1)  # noqa: S311 - no secret


# --- a damaged page -------------------------------------------------------------------------------


def pages_of(folder, table):
    """Number the pages of a table from 0."""
    with sqlite3.connect(folder / "store.db") as connection:
        try:
            rows = connection.execute(
                "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", [table]
            )
            pages = [row[0] - 1 for row in rows]
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite does not say where its pages are: {error}")
    connection.close()
    return pages


def damage(folder, page, chance, kind):
    """Damage a page as disks do."""
    data = bytearray((folder / "store.db").read_bytes())
    start = page * PAGE_BYTES
    if kind == "zeros":
        data[start : start + PAGE_BYTES] = bytes(PAGE_BYTES)
    elif kind == "noise":
        data[start : start + PAGE_BYTES] = chance.randbytes(PAGE_BYTES)
    elif kind == "bits":
        for _ in range(12):
            data[start + chance.randrange(PAGE_BYTES)] ^= 1 << chance.randrange(8)
    else:
        place = start + chance.randrange(PAGE_BYTES - 64)
        data[place : place + 64] = chance.randbytes(64)
    (folder / "store.db").write_bytes(data)


def questions(store):
    """All that may be asked of a store."""
    run = RUNS[7]
    return [
        store.runs,
        lambda: store.runs("metrics.loss > 3 and params.C != 1 order by metrics.loss"),
        store.count_runs,
        lambda: store.get_run("run7"),
        lambda: store.find_run("@-1"),
        lambda: store.series(run, "loss"),
        lambda: store.session_executions("s"),
        lambda: store.param_history(run, "C"),
        store.latest_of_groups,
        store.info,
        store.refresh,
        lambda: store.apply([model.MetricLogged(run, "loss", 1.0, 301, AT_NS)]),
    ]


def troubles_of(folder):
    """Ask everything; gives our own errors, and lets no other pass."""
    found = []
    try:
        with Store.open(folder) as store:
            for ask in questions(store):
                try:
                    ask()
                except MlopsNbError as error:
                    found.append(error)
    except MlopsNbError as error:
        found.append(error)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_page_is_told_in_our_words_wherever_it_is(whole, tmp_path, chance, kind):
    count = (whole / "store.db").stat().st_size // PAGE_BYTES
    troubles = []
    for page in range(KINDS.index(kind) % 2, count, 2):
        folder = Path(shutil.copytree(whole, tmp_path / str(page)))
        damage(folder, page, chance, kind)
        troubles += troubles_of(folder)
        shutil.rmtree(folder)
    # Of a name that was damaged it is true that there is no such run.
    troubles = [error for error in troubles if not isinstance(error, RunNotFound)]
    assert troubles
    for error in troubles:
        assert isinstance(error, StoreError), error
        assert "damaged" in str(error), error
        assert "backup" in str(error)


def test_beside_a_damaged_page_the_other_runs_can_be_read(folder, chance):
    pages = pages_of(folder, "metric_chunks")
    damage(folder, pages[len(pages) // 2], chance, "zeros")
    with Store.open(folder) as store:
        assert [run.name for run in store.runs()] == [f"run{n}" for n in range(29, -1, -1)]
        readable = 0
        for run in RUNS:
            try:
                assert list(store.series(run, "loss").steps) == list(range(300))
            except StoreError:
                continue
            readable += 1
    assert len(RUNS) / 2 <= readable < len(RUNS)


def test_the_command_line_says_what_is_damaged_and_what_to_do(folder, chance):
    damage(folder, 0, chance, "noise")
    command = [sys.executable, "-m", "mlops_nb", "runs", "--store", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert str(folder) in done.stderr
    assert "damaged" in done.stderr
    assert "backup" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_waits_for_a_damaged_store_stays_until_it_was_replaced(
    whole, folder, tmp_path, nursery, chance
):
    nursery.wait(nursery.start("abandon", tmp_path, session="t", points=100))
    spool = folder / "spool" / "t"
    for page in pages_of(folder, "runs"):
        damage(folder, page, chance, "zeros")
    with Store.open(folder) as store:
        for _ in range(2):
            drain(store, state_dir=nursery.state)
    assert list(spool.glob("*.segment"))
    shutil.copy(whole / "store.db", folder / "store.db")
    with Store.open(folder) as store:
        drain(store, state_dir=nursery.state)
        assert logged_steps(store, f"{'t':0>16}") == list(range(100))
        assert not spool.exists()
        assert not (folder / "rejected").exists()


# --- two versions ---------------------------------------------------------------------------------


def digests(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def set_schema(folder, schema, written_by):
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute("UPDATE meta SET schema = ?, written_by = ?", [schema, written_by])
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def schema_of(database):
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT schema FROM meta").fetchone()[0]
    connection.close()
    return found


def test_an_older_version_refuses_the_store_of_a_newer_one_and_changes_nothing(folder):
    set_schema(folder, 99, "9.9.0")
    before = digests(folder)
    with pytest.raises(StoreTooNew) as told:
        Store.open(folder)
    for words in (str(folder), "mlops-nb 9.9.0", "schema 99", "pip install -U mlops-nb"):
        assert words in str(told.value)
    assert digests(folder) == before


def test_a_kernel_of_the_older_version_goes_on_and_its_records_wait(folder, tmp_path, nursery):
    set_schema(folder, 99, "9.9.0")
    before = (folder / "store.db").read_bytes()
    body = "import mlops_nb as mn\nwith mn.run('new') as run:\n    run.log_metric('auc', 0.9)\n"
    nursery.run("track", tmp_path, body=f"{body}---\n%mlops_track --off")
    (about,) = (folder / "spool").glob("*/about.json")
    spool = json.loads(about.read_text())["spool"]
    drainer = nursery.start("drain_for", tmp_path, spool=spool)
    assert nursery.wait(drainer) == 0
    assert "pip install -U mlops-nb" in Path(f"{tmp_path}.log").read_text()
    assert (folder / "store.db").read_bytes() == before
    set_schema(folder, SCHEMA, "0.1")
    with Store.open(folder) as store:
        drain(store, state_dir=nursery.state)
        assert store.get_run("new").metrics["auc"].value == 0.9
        assert store.get_run("new").status == "finished"


def store_of_schema(folder, schema):
    """Make a store as that version of this package did, with a run in it."""
    folder.mkdir(mode=0o700)
    engine = connect.file_engine(folder / "store.db", read_only=False)
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    with engine.execution_options(is_write=True).begin() as connection:
        config.attributes["connection"] = connection
        migrate(config, f"{schema:04d}")
    engine.dispose()
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute("DROP TABLE alembic_version")
        insert(connection, "meta", schema=schema, written_by="0.0")
        names = {"id": RUNS[0], "name": "old", "kind": "interactive", "status": "finished"}
        insert(connection, "runs", **names, started_at=AT_NS, last_at=AT_NS, ended_at=AT_NS)
        values = {"value": 0.75, "minimum": 0.75, "maximum": 0.75, "count": 1, "at": AT_NS}
        insert(connection, "metrics", run=RUNS[0], key="auc", binding="explicit", **values)
        connection.commit()
    connection.close()


def insert(connection, table, **given):
    """Insert a row; what must be given and is not, is empty."""
    columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    empty = {"TEXT": "", "BIGINT": 0, "INTEGER": 0, "FLOAT": 0.0, "BOOLEAN": 0, "JSON": "null"}
    row = {
        name: given.get(name, empty.get(kind.partition("(")[0], ""))
        for _, name, kind, is_required, default, _ in columns
        if name in given or (is_required and default is None)
    }
    places = ", ".join("?" * len(row))
    names = ", ".join(f'"{name}"' for name in row)
    text = f'INSERT INTO "{table}" ({names}) VALUES ({places})'  # noqa: S608 - names of our own
    connection.execute(text, list(row.values()))


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_the_store_of_an_older_version_is_brought_forward_after_a_backup(tmp_path, schema):
    folder = tmp_path / ".mlops"
    store_of_schema(folder, schema)
    with Store.open(folder) as store:
        run = store.get_run("old")
        assert (run.id, run.status, run.metrics["auc"].value) == (RUNS[0], "finished", 0.75)
        store.apply(events_of(1, RUNS[1]))
        assert store.count_runs() == 2
    assert schema_of(folder / "store.db") == SCHEMA
    backup = folder / f"store.db.schema-{schema}.backup"
    assert schema_of(backup) == schema
    assert backup.stat().st_mode & 0o077 == 0


def test_many_processes_that_open_an_older_store_at_once_upgrade_it_once(tmp_path, nursery):
    folder = tmp_path / ".mlops"
    store_of_schema(folder, 1)
    readers = [nursery.start("look", tmp_path) for _ in range(6)]
    assert [nursery.wait(reader) for reader in readers] == [0] * 6
    with Store.open(folder) as store:
        assert [run.name for run in store.runs()] == ["old"]
    assert schema_of(folder / "store.db.schema-1.backup") == 1


def test_a_process_killed_in_the_middle_of_an_upgrade_leaves_a_store_that_opens(
    tmp_path, nursery, chance
):
    store_of_schema(tmp_path / "old", 1)
    for number in range(8):
        place = tmp_path / str(number)
        place.mkdir()
        shutil.copytree(tmp_path / "old", place / ".mlops")
        reader = nursery.start("look", place)
        time.sleep(chance.uniform(0.0, 0.25))
        os.kill(reader, 9)
        nursery.wait(reader)
        with Store.open(place / ".mlops") as store:
            assert [run.name for run in store.runs()] == ["old"]
        assert schema_of(place / ".mlops" / "store.db") == SCHEMA
