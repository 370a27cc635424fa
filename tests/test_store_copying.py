"""A whole store in another place: all of it, once, however often it is copied."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
from typing import TYPE_CHECKING

import pytest
from events import SECOND, T0, A, B, C, execution_ended, metric, run_started, session_started
from store_contents import (
    blob_files,
    cell_events,
    end_session,
    full_store,
    run_events,
    session_events,
    tables,
)

from mlops_nb.errors import StoreError, StoreNotFound
from mlops_nb.model import ArtifactLogged, EnvironmentSeen, RunChanged, TagSet
from mlops_nb.store import Store, care
from mlops_nb.store.schema import metadata
from mlops_nb.store.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_settings")


@pytest.fixture
def folder(tmp_path) -> Path:
    with full_store(tmp_path / "a"):
        return tmp_path / "a"


# --- everything ---------------------------------------------------------------------------------


def test_the_store_of_these_tests_has_something_in_every_table(folder):
    there = {name for name, rows in tables(folder).items() if rows}
    assert there == set(metadata.tables) - {"byte_rows"}, "which only a server has"


def test_every_row_and_every_byte_is_copied(folder, tmp_path):
    report = care.copy(folder, tmp_path / "b")
    assert report.findings == []
    assert tables(tmp_path / "b") == tables(folder)
    assert blob_files(tmp_path / "b") == blob_files(folder)
    assert report.counts["runs"] == {"new": 2, "same": 0, "updated": 0, "kept": 0}
    assert len(report.blobs.copied) == len(blob_files(folder))
    with_rows = {name for name, rows in tables(folder).items() if rows} - {"meta", "spools"}
    assert set(report.digests) == with_rows


def test_the_copy_is_private(folder, tmp_path):
    before = os.umask(0)
    try:
        care.copy(folder, tmp_path / "b")
    finally:
        os.umask(before)
    paths = [tmp_path / "b", *(tmp_path / "b").rglob("*")]
    assert [str(path) for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_the_source_is_not_changed(folder, tmp_path):
    before = tables(folder), blob_files(folder)
    care.copy(folder, tmp_path / "b")
    assert (tables(folder), blob_files(folder)) == before


def test_a_copy_can_be_read_as_the_store_itself(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    with Store.open(folder) as a, Store.open(tmp_path / "b") as b:
        assert a.runs() == b.runs()
        assert list(a.series(A, "loss").values) == list(b.series(A, "loss").values)
        assert a.executions(["e1", "e2"]) == b.executions(["e1", "e2"])
        for execution in a.executions(["e1", "e2"]):
            for output in execution.outputs:
                assert a.read_blob(output.digest) == b.read_blob(output.digest)


def test_what_waits_in_a_spool_is_copied_too(folder, tmp_path):
    spool = Spool.create(folder / "spool", "s9")
    spool.append(session_started("s9"))
    spool.append(run_started(C, session="s9"))
    spool.append_metric(C, "auc", 0.7, None, T0)
    report = care.copy(folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as copied:
        assert copied.get_run(C).metrics["auc"].value == 0.7
    assert report.still_writing == ("s9",)
    spool.close()


# --- again --------------------------------------------------------------------------------------


def test_copying_again_changes_nothing(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    before = tables(tmp_path / "b"), blob_files(tmp_path / "b")
    report = care.copy(folder, tmp_path / "b")
    assert (tables(tmp_path / "b"), blob_files(tmp_path / "b")) == before
    assert report.counts["runs"] == {"new": 0, "same": 2, "updated": 0, "kept": 0}
    assert report.blobs.copied == []
    assert report.findings == []


def test_copying_again_adds_what_is_new(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    with Store.open(folder) as store:
        store.apply([*cell_events("e3", 3, text=b"third"), *run_events(C, "e3", data="xxh3:cc")])
    report = care.copy(folder, tmp_path / "b")
    assert report.counts["runs"] == {"new": 1, "same": 2, "updated": 0, "kept": 0}
    assert tables(tmp_path / "b") == tables(folder)


def test_what_had_not_ended_is_brought_up_to_date(tmp_path):
    with Store.open(tmp_path / "a", create=True) as store:
        store.apply([*session_events(), *cell_events("e1", is_ended=False), run_started(A)])
        store.apply([metric(A, "loss", 1.0), metric(A, "loss", 0.5, at_ns=T0 + 1)])
        care.copy(tmp_path / "a", tmp_path / "b")
        store.apply([execution_ended("e1"), metric(A, "loss", 0.25, at_ns=T0 + 2)])
        store.apply([RunChanged(A, T0 + SECOND, {"status": "finished"}), TagSet(A, "x", "y", T0)])
        end_session(store)
    report = care.copy(tmp_path / "a", tmp_path / "b")
    assert report.counts["runs"]["updated"] == 1
    assert report.counts["executions"]["updated"] == 1
    assert tables(tmp_path / "b") == tables(tmp_path / "a")
    with Store.open(tmp_path / "b") as copied:
        assert list(copied.series(A, "loss").values) == [1.0, 0.5, 0.25]
        assert [copied.read_blob(o.digest) for o in copied.executions(["e1"])[0].outputs] == [
            b"out",
            b"printed out",
        ]


def test_a_copy_that_took_a_session_for_lost_learns_that_it_was_not(tmp_path):
    with Store.open(tmp_path / "a", create=True) as store:
        store.apply([*session_events(), run_started(A)])
        care.copy(tmp_path / "a", tmp_path / "b")
        with Store.open(tmp_path / "b") as copied:
            copied.mark_lost("s1", T0 + 1)
            assert copied.get_run(A).status == "lost"
        end_session(store)
    report = care.copy(tmp_path / "a", tmp_path / "b")
    assert report.findings == []
    assert tables(tmp_path / "b") == tables(tmp_path / "a")


def test_what_the_target_has_beside_it_stays(folder, tmp_path):
    with Store.open(tmp_path / "b", create=True) as store:
        store.apply([session_started("other"), run_started(C, session="other")])
        before = store.get_run(C)
    care.copy(folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as store:
        assert store.get_run(C) == before
        assert len(store.runs()) == 3


def test_what_went_on_in_the_target_stays(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as store:
        store.edit_runs([A], {"name": "winner"}, by="bob")
        store.apply([metric(B, "auc", 0.95, at_ns=T0 + 5 * SECOND)])
    before = tables(tmp_path / "b")
    report = care.copy(folder, tmp_path / "b")
    assert report.counts["runs"] == {"new": 0, "same": 0, "updated": 0, "kept": 2}
    assert tables(tmp_path / "b") == before


def test_edits_in_the_target_survive_what_the_source_adds(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as store:
        store.edit_runs([A], {"name": "winner", "tags.seen": "yes"}, by="bob")
    with Store.open(folder) as store:
        store.apply([metric(A, "auc", 0.99, at_ns=T0 + 5 * SECOND)])
    assert care.copy(folder, tmp_path / "b").findings == []
    with Store.open(tmp_path / "b") as store:
        run = store.get_run(A)
        assert (run.name, run.metrics["auc"].value, run.tags["seen"]) == ("winner", 0.99, "yes")
        assert [edit.field for edit in store.edits_of(A)][-2:] == ["name", "tags.seen"]


def test_edits_in_the_source_are_copied(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    with Store.open(folder) as store:
        store.edit_runs([A], {"name": "winner", "archived": True}, by="ann")
    assert care.copy(folder, tmp_path / "b").counts["runs"]["updated"] == 1
    assert tables(tmp_path / "b") == tables(folder)


def test_a_run_that_was_removed_for_good_does_not_come_back(folder, tmp_path):
    care.copy(folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as store:
        store.edit_runs([A], {"deleted": True})
        care.collect_garbage(store, is_done=True, keep_s=0)
    before = tables(tmp_path / "b")["runs"]
    care.copy(folder, tmp_path / "b")
    assert tables(tmp_path / "b")["runs"] == before


def test_what_was_found_out_of_an_environment_is_united(folder, tmp_path):
    digest = "sha256:" + "e" * 64
    content = {"python": "3.11", "packages": {"numpy": "2.0"}}
    care.copy(folder, tmp_path / "b")
    for place, name in ((folder, "pandas"), (tmp_path / "b", "scipy")):
        with Store.open(place) as store:
            details = {"imported": {name: "1"}}
            store.apply([EnvironmentSeen(digest, {**content, "details": details})])
    care.copy(folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as store:
        found = store.environment(digest).content
    assert found["details"]["imported"] == {"pandas": "1", "scipy": "1"}
    assert found["packages"] == {"numpy": "2.0"}


# --- between folders and servers ----------------------------------------------------------------


def test_a_store_comes_back_from_a_server_as_it_was(folder, server_store, tmp_path):
    there = care.copy(folder, server_store)
    back = care.copy(server_store, tmp_path / "b")
    assert there.findings == back.findings == []
    assert there.digests == back.digests
    assert tables(tmp_path / "b") == tables(folder)
    assert blob_files(tmp_path / "b") == blob_files(folder)
    assert care.copy(folder, server_store).counts["runs"]["same"] == 2


def test_an_empty_database_becomes_the_store_that_is_copied(folder, empty_database):
    assert care.copy(folder, empty_database).findings == []
    with Store.open(empty_database) as store:
        assert len(store.runs()) == 2


def test_keys_of_any_length_and_case_are_the_same_on_a_server(tmp_path, server_store):
    keys = ["C", "auc", "Zeta", "äther", "_x", "a" * 3000, "a" * 2999 + "b"]
    with Store.open(tmp_path / "a", create=True) as store:
        store.apply([*session_events(), run_started(A), *(metric(A, key, 0.5) for key in keys)])
    assert care.copy(tmp_path / "a", server_store).findings == []
    with Store.open(server_store) as store:
        assert len(store.get_run(A).metrics) == len(keys)
    assert care.copy(tmp_path / "a", server_store).counts["runs"]["same"] == 1


def test_a_server_gets_no_character_that_it_cannot_keep(tmp_path, server_store):
    with Store.open(tmp_path / "a", create=True) as store:
        store.apply([run_started(A, name="a\0b"), *cell_events("e1", source="x = '\0'")])
    report = care.copy(tmp_path / "a", server_store)
    assert report.findings == []
    with Store.open(server_store) as store:
        assert store.get_run(A).name == "a\\x00b"
    assert care.copy(tmp_path / "a", server_store).counts["runs"]["same"] == 1


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([run_started(A, session="another")], id="another session"),
        pytest.param([run_started(A, at_ns=T0 + 1)], id="another time"),
        pytest.param(
            [
                *run_events(A, "e1", artifact=b"no such figure"),
            ],
            id="another figure",
        ),
    ],
)
def test_another_run_under_the_same_id_is_refused_and_nothing_is_copied(tmp_path, other):
    with Store.open(tmp_path / "a", create=True) as store:
        store.apply([*session_events(), *cell_events("e1"), *run_events(A, "e1")])
        store.apply([run_started(C)])
    with Store.open(tmp_path / "b", create=True) as store:
        store.apply(other)
    before = tables(tmp_path / "b"), blob_files(tmp_path / "b")
    with pytest.raises(StoreError, match=r"something else under the same id: run a{8} \(churn\)"):
        care.copy(tmp_path / "a", tmp_path / "b")
    assert (tables(tmp_path / "b"), blob_files(tmp_path / "b")) == before


def test_another_cell_under_the_same_id_is_refused(tmp_path):
    for name, source in (("a", "x = 1"), ("b", "x = 2")):
        with Store.open(tmp_path / name, create=True) as store:
            store.apply([*session_events(), *cell_events("e1", source=source)])
    with pytest.raises(StoreError, match="execution e1"):
        care.copy(tmp_path / "a", tmp_path / "b")


def test_a_store_is_not_copied_into_itself(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    for target in (folder, tmp_path / "link", folder / ".." / "a"):
        with pytest.raises(StoreError, match="this is the store that was to be copied"):
            care.copy(folder, target)


def test_what_is_no_store_is_not_copied(tmp_path):
    with pytest.raises(StoreNotFound):
        care.copy(tmp_path / "nothing", tmp_path / "b")
    assert not (tmp_path / "b").exists()


# --- bytes --------------------------------------------------------------------------------------


def some_blob(folder: Path) -> Path:
    return next(path for path in sorted((folder / "blobs").rglob("*")) if path.is_file())


def test_damaged_bytes_are_not_copied_and_said(folder, tmp_path):
    damaged = some_blob(folder)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    report = care.copy(folder, tmp_path / "b")
    assert [finding.kind for finding in report.findings] == ["blob-damaged"]
    name = str(damaged.relative_to(folder / "blobs"))
    assert set(blob_files(folder)) - set(blob_files(tmp_path / "b")) == {name}
    assert len(tables(tmp_path / "b")["runs"]) == 2


def test_bytes_that_are_gone_are_said_and_come_back_from_another_copy(folder, tmp_path):
    care.copy(folder, tmp_path / "backup")
    gone = some_blob(folder)
    gone.unlink()
    report = care.copy(folder, tmp_path / "b")
    assert [finding.kind for finding in report.findings] == ["blob-missing"]
    assert gone.name in report.findings[0].examples[0]
    assert care.copy(tmp_path / "backup", tmp_path / "b").findings == []
    assert care.copy(folder, tmp_path / "b").findings == []
    assert blob_files(tmp_path / "b") == blob_files(tmp_path / "backup")


@pytest.mark.parametrize("content", [b"", b"x"], ids=["cut short", "changed"])
def test_bytes_that_are_damaged_in_the_target_are_repaired(folder, tmp_path, content):
    care.copy(folder, tmp_path / "b")
    damaged = some_blob(tmp_path / "b")
    damaged.write_bytes(content * damaged.stat().st_size)
    report = care.copy(folder, tmp_path / "b")
    assert report.findings == []
    assert blob_files(tmp_path / "b") == blob_files(folder)


# --- while others write, and when it is killed --------------------------------------------------


def _write_runs(folder, worker, start, stop):
    start.wait()
    with Store.open(folder) as store:
        number = 0
        while not stop.is_set():
            run = f"{worker:08x}{number:08x}"
            store.apply(
                [
                    session_started(f"w{worker}"),
                    run_started(run, session=f"w{worker}"),
                    *(metric(run, "m", float(i), at_ns=T0 + i) for i in range(20)),
                    ArtifactLogged(run, "a", "file", "x", T0, f"{run}".encode()),
                ]
            )
            number += 1


@pytest.fixture
def eight_writers(folder):
    """Eight processes that write runs, each whole in one transaction, until the test ends."""
    context = multiprocessing.get_context("fork")
    start, stop = context.Barrier(9), context.Event()
    workers = [
        context.Process(target=_write_runs, args=(folder, number, start, stop))
        for number in range(8)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    yield workers
    stop.set()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 8


def test_a_store_is_copied_whole_while_eight_processes_write_to_it(
    folder, tmp_path, eight_writers
):
    report = care.copy(folder, tmp_path / "b")
    assert report.findings == []
    with Store.open(tmp_path / "b") as store:
        runs = store.runs()
        assert len(runs) >= 2
        for run in runs:
            if run.id not in {A, B}:
                assert run.metrics["m"].count == 20
                assert store.read_blob(run.artifacts[0].digest) == run.id.encode()


def test_a_store_in_use_is_whole_to_a_check(folder, eight_writers):
    for _ in range(3):
        findings = care.check(folder).findings
        # The owners of these sessions are made up, and not there.
        assert [f for f in findings if f.kind != "session-dead"] == []


def test_a_store_can_be_written_to_by_eight_processes_while_it_is_copied_into(
    folder, tmp_path, eight_writers
):
    with full_store(tmp_path / "other"):
        pass
    assert care.copy(tmp_path / "other", folder).findings == []


def test_a_copy_that_was_killed_is_finished_by_the_next_one(tmp_path):
    with Store.open(tmp_path / "a", create=True) as store:
        store.apply([*session_events(), *cell_events("e1")])
        for number in range(300):
            store.apply(run_events(f"{number:016x}", "e1", artifact=b"%d" % number))
    for after_s in (0.05, 0.15, 0.3, 0.5):
        child = os.fork()
        if not child:
            try:
                care.copy(tmp_path / "a", tmp_path / "b")
            finally:
                os._exit(0)
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    report = care.copy(tmp_path / "a", tmp_path / "b")
    assert report.findings == []
    assert tables(tmp_path / "b") == tables(tmp_path / "a")
    drafts = [path for path in (tmp_path / "b" / "blobs").rglob(".*") if path.is_file()]
    for path in drafts:
        path.unlink()
    assert blob_files(tmp_path / "b") == blob_files(tmp_path / "a")


def test_a_store_that_may_only_be_read_can_be_copied(folder, tmp_path, monkeypatch):
    from mlops_nb.store import connect

    monkeypatch.setattr(connect, "can_write", lambda path: path != folder)
    assert care.copy(folder, tmp_path / "b").findings == []
    assert tables(tmp_path / "b") == tables(folder)


def test_what_is_copied_is_told(folder, tmp_path):
    told = []
    care.copy(folder, tmp_path / "b", on_progress=lambda *step: told.append(step))
    assert dict.fromkeys(what for what, _, _ in told) == dict.fromkeys(
        ("compare", "copy bytes", "check bytes", "copy rows", "check rows")
    )
    for what, done, total in told:
        assert 0 <= done <= total, what
