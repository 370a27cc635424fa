"""What goes from a store, and what never does."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from events import T0, A, B, C, execution_started, metric, run_started, session_started
from store_contents import (
    FIGURE,
    blob_files,
    cell_events,
    change_rows,
    end_session,
    full_store,
    run_events,
    session_events,
    tables,
)

from mlops_nb.model import FileSeen, OutputSeen, RunExecuted
from mlops_nb.store import Store, care
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.spool.homes import fallback_root, state_folder

pytestmark = pytest.mark.usefixtures("own_settings")

DAY_S = 86400


@pytest.fixture
def store(tmp_path):
    with full_store(tmp_path / ".mlops") as opened:
        end_session(opened)
        yield opened


def make_old(folder: Path, days: float = 3) -> None:
    """Let all files of a store have been written some days ago."""
    at = time.time() - days * DAY_S
    for path in folder.rglob("*"):
        if path.name not in {"store.db", "store.db-wal", "store.db-shm"}:
            os.utime(path, (at, at))


def collected(store, **options):
    return care.collect_garbage(store, is_done=True, **{"keep_s": 0, **options})


# --- nothing by itself --------------------------------------------------------------------------


def test_of_a_store_in_use_nothing_goes(store):
    make_old(store.folder)
    before = tables(store.folder), blob_files(store.folder)
    assert collected(store).is_empty
    assert (tables(store.folder), blob_files(store.folder)) == before


def test_nothing_goes_before_somebody_says_so(store):
    store._blobs.put(b"garbage")
    store.edit_runs([A], {"deleted": True})
    make_old(store.folder)
    before = tables(store.folder), blob_files(store.folder)
    found = care.collect_garbage(store, keep_s=0)
    assert (tables(store.folder), blob_files(store.folder)) == before
    assert found.runs == [A]
    assert not found.is_done
    done = collected(store)
    assert done.is_done
    for name in ("runs", "executions", "sources", "fingerprints", "blobs", "size_bytes"):
        assert getattr(done, name) == getattr(found, name), name
    assert care.collect_garbage(store, keep_s=0).is_empty


# --- bytes --------------------------------------------------------------------------------------


def test_old_bytes_that_nothing_refers_to_go(store):
    digest = store._blobs.put(b"garbage")
    make_old(store.folder)
    found = collected(store)
    assert [f"sha256:{each.hexes}" for each in found.blobs] == [digest]
    assert found.size_bytes == len(b"garbage")
    assert not store._blobs.has(digest)
    assert care.check(store.folder).findings == []


def test_young_bytes_stay_for_their_rows_may_come(store):
    digest = store._blobs.put(b"a drainer puts bytes first")
    found = collected(store)
    assert (found.blobs, found.too_young) == ([], 1)
    assert store._blobs.has(digest)


def test_old_bytes_that_are_put_again_are_young_again(store):
    digest = store._blobs.put(b"garbage, and then not")
    make_old(store.folder)
    store._blobs.put(b"garbage, and then not")
    assert collected(store).blobs == []
    assert store._blobs.has(digest)


def test_bytes_that_are_put_again_while_they_are_removed_are_there_afterwards(tmp_path):
    blobs = Blobs(str(tmp_path))
    for number in range(60):
        data = b"%d" % number
        digest = blobs.put(data)
        os.utime(tmp_path / digest[7:9] / digest[9:], (0, 0))
        barrier = threading.Barrier(2)

        def put(data=data, barrier=barrier):
            barrier.wait()
            blobs.put(data)

        writer = threading.Thread(target=put)
        writer.start()
        barrier.wait()
        blobs.remove(digest, time.time() - 3600)
        writer.join()
        assert blobs.read(digest) == data
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_bytes_that_any_row_mentions_stay(store):
    """A model version of a later schema names its files in a table that this one does not know."""
    digests = [store._blobs.put(b"%d" % number) for number in range(3)]
    make_old(store.folder)
    change_rows(store.folder, "CREATE TABLE model_versions (name TEXT, files TEXT)")
    content = json.dumps({"model.skops": {"digest": digests[0]}})
    change_rows(store.folder, "INSERT INTO model_versions VALUES ('churn', ?)", content)
    facts = json.dumps({"diff": digests[1]})
    change_rows(store.folder, "UPDATE runs SET facts = ? WHERE id = ?", facts, A)
    assert [f"sha256:{each.hexes}" for each in collected(store).blobs] == [digests[2]]
    assert store._blobs.has(digests[0])
    assert store._blobs.has(digests[1])


def test_halves_of_files_that_a_killed_process_left_go_when_they_are_old(store):
    place = store.folder / "blobs" / "ab"
    place.mkdir(exist_ok=True)
    (place / f".{'c' * 62}.4711.00ff00ff").write_bytes(b"half")
    assert collected(store).drafts == []
    make_old(store.folder)
    assert len(collected(store).drafts) == 1
    assert list(place.glob(".*")) == []


# --- deleted runs -------------------------------------------------------------------------------


def test_a_deleted_run_goes_with_all_that_only_it_needed(store):
    store.edit_runs([A], {"deleted": True})
    make_old(store.folder)
    found = collected(store)
    assert (found.runs, found.executions) == ([A], ["e1"])
    there = tables(store.folder)
    for name, rows in there.items():
        if name not in {"runs", "files"}:
            assert not any(A in map(str, row) for row in rows), name
    assert [row[0] for row in there["executions"]] == ["e2"]
    assert FIGURE not in blob_files(store.folder).values()
    assert care.check(store.folder).findings == []


def test_what_another_run_needs_stays(store):
    store.apply([run_started(C), RunExecuted(C, "e1", "setup")])
    store.apply(run_events(C, "e1")[1:])
    store.edit_runs([A], {"deleted": True})
    make_old(store.folder)
    found = collected(store)
    assert (found.executions, found.sources, found.fingerprints) == ([], [], [])
    assert FIGURE in blob_files(store.folder).values()
    (execution,) = store.executions(["e1"])
    assert store.read_blob(execution.outputs[0].digest) == b"out"
    assert store.fingerprint_content("xxh3:aa") is not None
    assert store.environment("sha256:" + "e" * 64) is not None
    assert care.check(store.folder).findings == []


def test_the_cell_that_wrote_a_file_which_another_run_read_stays(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        written = FileSeen("e1", "/out.csv", "w", "seen", T0, digest="d", assurance="exact")
        read = FileSeen("e2", "/out.csv", "r", "seen", T0, digest="d", assurance="exact")
        store.apply([*session_events(), *cell_events("e1"), written, *run_events(A, "e1")])
        store.apply([*cell_events("e2", 2), read, *run_events(B, "e2")])
        end_session(store)
        store.edit_runs([A], {"deleted": True})
        assert collected(store).executions == []
        assert store.executions(["e1"])
        store.edit_runs([B], {"deleted": True})
        assert collected(store).executions == ["e2"], "of A nothing leads to its cells any more"


def test_the_cells_of_a_session_that_goes_on_stay(tmp_path):
    with full_store(tmp_path / ".mlops") as store:
        store.edit_runs([A], {"deleted": True})
        found = collected(store)
        assert (found.runs, found.executions) == ([A], [])
        assert store.executions(["e1"])


def test_a_cell_that_others_ran_in_stays(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        inner = execution_started("e2", 2)
        store.apply([*session_events(), *cell_events("e1"), *run_events(A, "e1"), inner])
        change_rows(store.folder, "UPDATE executions SET parent = 'e1' WHERE id = 'e2'")
        end_session(store)
        store.edit_runs([A], {"deleted": True})
        assert collected(store).executions == []


def test_what_was_deleted_lately_can_still_be_brought_back(store):
    store.edit_runs([A], {"deleted": True})
    assert collected(store, keep_s=30 * DAY_S).is_empty
    store.edit_runs([A], {"deleted": False})
    assert store.get_run(A).metrics["auc"].value == 0.9


def test_what_comes_for_a_run_after_it_was_removed_goes_the_next_time(store):
    store.edit_runs([A], {"deleted": True})
    collected(store)
    store.apply([metric(A, "late", 1.0)])
    found = collected(store)
    assert found.late_rows == 1
    assert not any(A in map(str, row) for row in tables(store.folder)["metrics"])
    assert collected(store).is_empty


def test_a_shared_figure_stays_with_the_run_that_is_left(store):
    store.apply(run_events(C, "e2", artifact=FIGURE))
    store.edit_runs([A], {"deleted": True})
    make_old(store.folder)
    collected(store)
    assert store.read_blob(store.get_run(C).artifacts[0].digest) == FIGURE


def test_the_file_becomes_smaller(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.apply([session_started()])
        for start in range(0, 800, 400):
            store.apply(
                [
                    event
                    for number in range(start, start + 400)
                    for event in (
                        run_started(f"{number:016x}"),
                        *(metric(f"{number:016x}", f"m{k}" * 20, 0.5) for k in range(10)),
                    )
                ]
            )
        store.edit_runs([run.id for run in store.runs()], {"deleted": True})
        found = collected(store)
        assert len(found.runs) == 800
        assert found.freed_bytes > 1_000_000


# --- files --------------------------------------------------------------------------------------


def test_old_backups_go_but_the_newest(store):
    for name in ("first", "second", "third"):
        care.backup(store, store.folder / "backups" / name)
        at = time.time() - 100 * DAY_S + len(name)
        os.utime(store.folder / "backups" / name, (at, at))
    (store.folder / "backups" / "mine").mkdir()
    (store.folder / "store.db.schema-1.backup").write_bytes(b"x" * 100)
    os.utime(store.folder / "store.db.schema-1.backup", (0, 0))
    found = collected(store, keep_s=30 * DAY_S)
    assert {Path(path).name for path, _ in found.backups} == {
        "store.db.schema-1.backup",
        "first",
        "third",
    }
    assert {path.name for path in (store.folder / "backups").iterdir()} == {"second", "mine"}


def test_a_backup_that_a_killed_process_had_begun_goes_after_a_day(store):
    draft = store.folder / "backups" / ".2026-11-21-x1y2"
    draft.mkdir(parents=True)
    (draft / "store.db").write_bytes(b"half")
    assert collected(store).is_empty
    make_old(store.folder)
    assert collected(store).drafts == [(str(draft), 4)]
    assert not draft.exists()


def test_the_empty_folder_of_spools_in_the_users_own_folder_goes(store):
    root = fallback_root(store.folder / "spool", state_folder())
    root.mkdir(parents=True)
    assert collected(store).is_empty
    os.utime(root, (0, 0))
    (root / "x").write_bytes(b"x")
    os.utime(root, (0, 0))
    assert collected(store).is_empty
    (root / "x").unlink()
    os.utime(root, (0, 0))
    assert collected(store).empty_folders == [str(root)]
    assert not root.exists()


def test_a_store_that_may_only_be_read_loses_nothing(store, tmp_path):
    from mlops_nb.errors import StoreUnwritable

    store.edit_runs([A], {"deleted": True})
    store.is_read_only = True
    with pytest.raises(StoreUnwritable):
        collected(store)
    assert any(A in map(str, row) for row in tables(store.folder)["metrics"])


def test_a_store_on_a_server_is_collected_as_one_in_a_folder(
    store, server_store, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLOPS_NB_BLOBS", str(tmp_path / "blobs"))
    care.copy(store.folder, server_store)
    with Store.open(server_store) as there:
        there.apply([OutputSeen("e1", 5, "result", "", "text/plain", b"more", 4)])
        there.edit_runs([A], {"deleted": True})
        make_old(tmp_path / "blobs")
        found = collected(there)
        assert (found.runs, found.executions) == ([A], ["e1"])
        assert [run.id for run in there.runs()] == [B]
    assert care.check(server_store).findings == []
    shutil.rmtree(tmp_path / "blobs")
