"""The store as files: whose, how safe, shared by processes, and what goes wrong."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from events import (
    T0,
    A,
    B,
    C,
    execution_started,
    metric,
    run_started,
    session_started,
)

from mlops_nb.errors import (
    StoreError,
    StoreNotFound,
    StoreTooNew,
    StoreUnwritable,
)
from mlops_nb.model import (
    ArtifactLogged,
    RunChanged,
    TagSet,
)
from mlops_nb.store import Store
from mlops_nb.store.spool.segments import SpoolPosition


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as opened:
        yield opened


@pytest.fixture
def any_store(store_location):
    with Store.open(store_location, create=True) as opened:
        yield opened


# --- exactly once -------------------------------------------------------------------------------


def test_a_batch_of_a_spool_is_taken_in_once(any_store):
    events = [run_started(A), metric(A, "m", 1.0), metric(A, "m", 2.0)]
    there = SpoolPosition("spool", 0, 100)
    assert any_store.spool_position("spool") is None
    assert any_store.apply(events, spool_position=there)
    assert not any_store.apply(events, spool_position=there)
    assert not any_store.apply(events, spool_position=SpoolPosition("spool", 0, 50))
    assert any_store.spool_position("spool") == there
    assert any_store.apply([metric(A, "m", 3.0)], spool_position=SpoolPosition("spool", 1, 10))
    assert list(any_store.series(A, "m").values) == [1.0, 2.0, 3.0]


def test_a_batch_that_begins_elsewhere_is_not_taken_in(any_store):
    begin, end = (0, 100), SpoolPosition("spool", 0, 200)
    assert not any_store.apply([run_started(A)], spool_position=end, after=begin)
    assert any_store.runs() == []
    assert any_store.apply([], spool_position=SpoolPosition("spool", 0, 100), after=(0, 0))
    assert any_store.apply([run_started(A)], spool_position=end, after=begin)


def test_a_batch_that_cannot_be_stored_leaves_nothing_and_no_position(any_store):
    bad = RunChanged(A, T0, {"name": None})
    with pytest.raises(Exception, match=r"(?i)not.null") as caught:
        any_store.apply([run_started(A), bad], spool_position=SpoolPosition("spool", 0, 1))
    assert not isinstance(caught.value, StoreError)
    assert any_store.runs() == []
    assert any_store.spool_position("spool") is None


# --- files ------------------------------------------------------------------------------------


def test_everything_in_a_store_is_private(tmp_path):
    before = os.umask(0)
    try:
        with Store.open(tmp_path / ".mlops", create=True) as store:
            store.apply([run_started(A), ArtifactLogged(A, "a", "file", "m", T0, b"x")])
            paths = [store.folder, *store.folder.rglob("*")]
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in paths}
    finally:
        os.umask(before)
    assert {"store.db", "store.db-wal", "store.db-shm", ".gitignore", "blobs"} <= set(modes)
    wrong = {str(p): oct(modes[p.name]) for p in paths if p.exists() and modes[p.name] & 0o077}
    assert wrong == {}


def test_a_store_writes_ahead_and_is_hidden_from_git(store):
    assert store.info()["journal_mode"] == "wal"
    assert (store.folder / ".gitignore").read_text() == "*\n"


def test_info_says_what_is_there(store):
    store.apply([session_started(), execution_started("e1"), run_started(A), metric(A, "m", 1.0)])
    info = store.info()
    assert info["location"] == str(store.folder)
    assert (info["runs"], info["executions"], info["sessions"], info["lost_runs"]) == (1, 1, 1, 0)
    assert info["size_bytes"] >= (store.folder / "store.db").stat().st_size
    json.dumps(info)


def test_a_store_is_not_made_by_reading(tmp_path):
    for location in (tmp_path / "nothing", tmp_path / "nothing" / ".mlops", tmp_path):
        with pytest.raises(StoreNotFound, match="No store at"):
            Store.open(location)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_only_a_kernel_has_written_to_is_a_store(tmp_path):
    (tmp_path / ".mlops" / "spool").mkdir(parents=True)
    with Store.open(tmp_path / ".mlops") as store:
        assert store.runs() == []


def test_a_store_that_is_used_by_several_threads_loses_nothing(store):
    store.apply([run_started(A)])

    def work(number):
        for step in range(20):
            store.apply([metric(A, f"m{number}", float(step))])
            store.get_run(A)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {m.count for m in store.get_run(A).metrics.values()} == {20}


def _write_runs(folder, worker, barrier):
    barrier.wait()
    with Store.open(folder, create=True) as store:
        for number in range(10):
            run = f"{worker:08x}{number:08x}"
            store.apply(
                [
                    run_started(run, group="shared"),
                    *(metric(run, "m", float(i)) for i in range(50)),
                ],
                spool_position=SpoolPosition(f"spool-{worker}", 0, number + 1),
            )


def test_eight_processes_write_at_once_and_nothing_is_lost(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    folder = tmp_path / ".mlops"
    workers = [
        context.Process(target=_write_runs, args=(folder, number, barrier)) for number in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    with Store.open(folder) as store:
        runs = store.runs()
        assert sorted(run.attempt for run in runs) == list(range(1, 81))
        assert all(run.metrics["m"].count == 50 for run in runs)
        assert all(store.spool_position(f"spool-{n}").offset == 10 for n in range(8))


def test_a_store_can_be_used_after_a_fork(store):
    store.apply([run_started(A)])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.apply([run_started(B)])
            code = 0 if len(store.runs()) == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.apply([run_started(C)])
    assert len(store.runs()) == 3


# --- what goes wrong --------------------------------------------------------------------------


def test_a_store_of_a_newer_version_is_not_touched(store):
    store.close()
    with sqlite3.connect(store.folder / "store.db") as connection:
        connection.execute("UPDATE meta SET schema = 12, written_by = '0.4'")
    connection.close()
    before = (store.folder / "store.db").read_bytes()
    with pytest.raises(StoreTooNew, match=r"mlops-nb 0\.4 \(schema 12\)") as caught:
        Store.open(store.folder)
    assert "Nothing was changed" in str(caught.value)
    assert (store.folder / "store.db").read_bytes() == before


def test_a_file_that_is_no_database_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "store.db").write_bytes(b"not a database, but long enough\n" * 200)
    with pytest.raises(StoreError, match="move the file away"):
        Store.open(tmp_path / ".mlops")


def test_a_damaged_database_is_an_error_with_a_remedy(store):
    store.apply([run_started(f"{n:016x}") for n in range(500)])
    store.close()
    file = store.folder / "store.db"
    data = bytearray(file.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    file.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"), Store.open(store.folder) as broken:
        broken.runs()


def test_a_database_of_something_else_is_left_alone(tmp_path):
    (tmp_path / ".mlops").mkdir()
    with sqlite3.connect(tmp_path / ".mlops" / "store.db") as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    with pytest.raises(StoreError, match="something else"):
        Store.open(tmp_path / ".mlops")


def test_a_database_that_somebody_keeps_locked_says_so(store, monkeypatch):
    from mlops_nb.store import connect

    monkeypatch.setitem(connect._OPTIONS, "timeout", 0.05)
    other = sqlite3.connect(store.folder / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._engine.dispose()
    with pytest.raises(StoreError, match="locked"):
        store.apply([run_started(A)])
    assert store.runs() == []
    other.execute("ROLLBACK")
    other.close()
    assert store.apply([run_started(A)])


def test_a_full_disk_is_unwritable_and_loses_nothing(store):
    store.apply([run_started(A)])
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        raw = connection.connection.driver_connection
        raw.execute(f"PRAGMA max_page_count = {pages}")
    many = [run_started(f"{n:016x}", name="x" * 1000) for n in range(3000)]
    with pytest.raises(StoreUnwritable, match="full"):
        store.apply(many)
    assert [run.id for run in store.runs()] == [A]


AS_NOBODY = """
    import os, sys
    from pathlib import Path
    from mlops_nb.model import RunStarted
    from mlops_nb.errors import StoreUnwritable
    from mlops_nb.store import Store

    def read(folder):
        with Store.open(folder) as store:
            print(store.is_read_only, [r.name for r in store.runs("name like 'ch%'")],
                  store.read_blob(store.runs()[0].artifacts[0].digest), store.refresh())
            if store.is_read_only:
                try:
                    store.apply([RunStarted("b" * 16, 0, "x", "cell")])
                except StoreUnwritable as error:
                    print(error)

    read(sys.argv[1])  # loads all that is loaded on use, while it may be read
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    read(sys.argv[2])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("waits", [False, True], ids=["at rest", "records in the journal"])
def test_who_may_only_read_can_read(store, tmp_path_factory, waits):
    store.apply([run_started(A), ArtifactLogged(A, "a", "file", "m", T0, b"bytes")])
    public = Path("/tmp") / f"mlops-nb-test-{os.urandom(4).hex()}"  # noqa: S108 - others must get in
    if waits:
        shutil.copytree(store.folder, public)
        (public / "store.db-shm").unlink()
    store.close()
    if not waits:
        shutil.copytree(store.folder, public)
    try:
        for path in [public, *public.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert (public / "store.db-wal").exists() == waits
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(AS_NOBODY), str(store.folder), str(public)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(public)
    assert done.stderr == ""
    _, ours, refused = done.stdout.splitlines()
    assert ours == "True ['churn'] b'bytes' 0"
    assert "may only be read" in refused


MANY_READERS = """
import os, sys
from mlops_nb.store import Store
from mlops_nb.model import TagSet
with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    sys.stdin.readline()
    store.make_durable()
    print("durable", flush=True)
    sys.stdin.readline()
    store.apply([TagSet(sys.argv[2], "by", "child", 5)])
    paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    names = [os.readlink(path) for path in paths if os.path.lexists(path)]
    print(any(name.endswith("store.db-wal (deleted)") for name in names), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_making_it_durable_keeps_the_locks_that_others_respect(tmp_path):
    folder = tmp_path / ".mlops"
    with Store.open(folder, create=True) as store:
        store.apply([run_started(A)])
    command = [sys.executable, "-c", MANY_READERS, str(folder), A]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline() == "open\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "durable\n"
        # The last one to leave removes the log, unless it sees that somebody is still there.
        with Store.open(folder) as other:
            other.apply([TagSet(A, "by", "other", 4)])
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "False\n"
    with Store.open(folder) as store:
        assert store.get_run(A).tags == {"by": "child"}
