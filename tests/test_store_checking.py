"""What a check says of a store that is whole, and of one that is not."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
from events import T0, A, B, C, metric, run_started, session_started
from sqlalchemy import update
from store_contents import blob_files, change_rows, end_session, full_store, tables

from mlops_nb.errors import StoreNotFound
from mlops_nb.model import ArtifactLogged
from mlops_nb.store import Store, care
from mlops_nb.store.schema import SCHEMA, byte_rows
from mlops_nb.store.spool import Spool
from mlops_nb.store.spool.owner import identity
from mlops_nb.store.spool.segments import HEADER_BYTES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_settings")


@pytest.fixture
def folder(tmp_path) -> Path:
    with full_store(tmp_path / ".mlops") as store:
        end_session(store)
    return tmp_path / ".mlops"


def kinds(folder, **options) -> dict[str, tuple[str, ...]]:
    """What a check found, with its examples; each says what to do next."""
    report = care.check(folder, **options)
    assert report.is_well is (not report.findings)
    assert all(finding.remedy and finding.text for finding in report.findings)
    return {finding.kind: finding.examples for finding in report.findings}


def blob(folder: Path) -> Path:
    return max(
        (path for path in (folder / "blobs").rglob("*") if path.is_file()), key=os.path.getsize
    )


def digest_of(path: Path) -> str:
    return f"sha256:{path.parent.name}{path.name}"


def test_nothing_is_found_in_a_store_that_is_whole(folder):
    report = care.check(folder)
    assert report.findings == []
    assert report.counts["runs"] == 2
    assert report.counts["rows"] == sum(map(len, tables(folder).values())) - 1, "but for meta"
    assert report.counts["blobs"] == len(blob_files(folder))
    assert report.blob_bytes == sum(map(len, blob_files(folder).values()))


def test_a_check_changes_nothing(folder):
    blob(folder).write_bytes(b"damaged")
    spool = Spool.create(folder / "spool", "s9")
    spool.append(session_started("s9"))
    before = tables(folder), blob_files(folder)
    report = care.check(folder)
    assert (tables(folder), blob_files(folder)) == before
    assert report.counts["waiting"] == 1
    spool.close()


def test_where_there_is_no_store_there_is_nothing_to_check(tmp_path):
    with pytest.raises(StoreNotFound):
        care.check(tmp_path / "nothing")


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"HELLO"], ids=["truncated", "changed"])
def test_a_blob_that_is_not_what_it_was_is_found(folder, content):
    path = blob(folder)
    path.write_bytes(content)
    found = kinds(folder)
    assert digest_of(path) in found["blob-changed"][0]


def test_a_blob_with_one_bit_flipped_is_found(folder):
    path = blob(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert list(kinds(folder)) == ["blob-changed"]
    assert list(kinds(folder, is_quick=True)) == []


def test_a_row_whose_bytes_are_gone_is_found(folder):
    path = blob(folder)
    path.unlink()
    for is_quick in (False, True):
        found = kinds(folder, is_quick=is_quick)
        assert found["blob-missing"] == (f"{digest_of(path)} of artifact of {A}",)


def test_a_quick_check_sees_a_truncated_artifact_by_its_size(folder):
    path = blob(folder)
    path.write_bytes(path.read_bytes()[:5])
    assert list(kinds(folder, is_quick=True)) == ["blob-size"]


def test_bytes_that_nothing_refers_to_are_found_once_they_are_old(folder):
    with Store.open(folder) as store:
        digest = store._blobs.put(b"nobody needs this")
    assert kinds(folder) == {}
    path = folder / "blobs" / digest[7:9] / digest[9:]
    os.utime(path, (time.time() - 3 * 86400,) * 2)
    assert kinds(folder) == {"blob-orphan": (digest,)}


def test_bytes_that_any_text_mentions_are_no_orphans(folder):
    with Store.open(folder) as store:
        digest = store._blobs.put(b"the details of a run name this")
    path = folder / "blobs" / digest[7:9] / digest[9:]
    os.utime(path, (0, 0))
    change_rows(folder, "UPDATE runs SET facts = ? WHERE id = ?", json.dumps({"x": digest}), A)
    assert kinds(folder) == {}


# --- the database -------------------------------------------------------------------------------


def make_large(folder: Path) -> None:
    with Store.open(folder) as store:
        store.apply([run_started(f"{number:016x}") for number in range(600)])
        store.apply(
            [metric(f"{number:016x}", f"m{k}", 0.5) for number in range(600) for k in range(5)]
        )
    connection = sqlite3.connect(folder / "store.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def leaf_of(folder: Path, run: str) -> int:
    """Where a leaf page begins that has a row of a run, and none of the first two runs."""
    connection = sqlite3.connect(folder / "store.db")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data = (folder / "store.db").read_bytes()
    pages = (data[start : start + size] for start in range(0, len(data), size))
    return next(
        number * size
        for number, page in enumerate(pages)
        if page[0] == 13 and run.encode() in page and not any(r.encode() in page for r in (A, B))
    )


def flip(folder: Path, offset: int) -> None:
    with (folder / "store.db").open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


def test_a_flipped_byte_in_a_page_is_found_and_the_runs_that_can_be_read_are_named(folder):
    make_large(folder)
    victim = f"{300:016x}"
    # The number of rows in a leaf: none of them can be reached any more.
    flip(folder, leaf_of(folder, victim) + 3)
    report = care.check(folder)
    found = {finding.kind: finding for finding in report.findings}
    assert "database-damaged" in found
    assert "store copy THIS NEW" in found["database-damaged"].remedy
    assert victim not in report.readable
    assert {A, B} <= set(report.readable)
    assert len(report.readable) > 300
    with Store.open(folder) as store:
        assert store.get_run(A).metrics["auc"].value == 0.9


def test_what_can_be_read_of_a_damaged_database_is_saved_by_a_copy(folder, tmp_path):
    make_large(folder)
    whole = tmp_path / "whole"
    care.copy(folder, whole)
    flip(folder, leaf_of(folder, f"{300:016x}") + 3)
    checked = care.check(folder)
    report = care.copy(folder, tmp_path / "saved")
    (finding,) = report.findings
    assert finding.kind == "source-damaged"
    with Store.open(tmp_path / "saved") as saved, Store.open(whole) as before:
        ids = [run.id for run in saved.runs()]
        assert set(checked.readable) <= set(ids)
        assert len(ids) < 602
        assert saved.runs() == [run for run in before.runs() if run.id in set(ids)]
    care.copy(whole, tmp_path / "saved")
    assert tables(tmp_path / "saved") == tables(whole)


def test_a_database_that_is_no_database_is_found(folder):
    (folder / "store.db").write_bytes(b"not a database, but long enough\n" * 400)
    found = kinds(folder)
    assert "database-damaged" in found
    assert "blob-changed" not in found


def test_the_bytes_are_checked_where_the_database_cannot_be_read(folder):
    (folder / "store.db").write_bytes(b"not a database, but long enough\n" * 400)
    path = blob(folder)
    path.write_bytes(b"changed")
    assert digest_of(path) in kinds(folder)["blob-changed"][0]


def test_a_source_whose_text_was_changed_is_found(folder):
    change_rows(folder, "UPDATE sources SET text = text || ' # and more'")
    assert len(kinds(folder)["source-changed"]) == 2


@pytest.mark.parametrize(
    ("schema", "kind", "said"),
    [
        (SCHEMA + 9, "schema-newer", "pip install -U"),
        (SCHEMA - 1, "schema-older", "store upgrade"),
    ],
)
def test_tables_of_another_version_are_told(folder, schema, kind, said):
    change_rows(folder, "UPDATE meta SET schema = ?", schema)
    report = care.check(folder)
    assert [finding.kind for finding in report.findings] == [kind]
    assert said in report.findings[0].remedy
    assert tables(folder)["meta"][0][0] == schema


def test_a_database_of_something_else_is_told(tmp_path):
    (tmp_path / ".mlops").mkdir()
    with sqlite3.connect(tmp_path / ".mlops" / "store.db") as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    assert "schema-missing" in kinds(tmp_path / ".mlops")


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM runs WHERE id = ?", "in params without their run"),
        (
            "DELETE FROM executions WHERE id = 'e1' AND ? <> ''",
            "in outputs without their execution",
        ),
        ("DELETE FROM sessions WHERE id <> ?", "in executions without their session"),
        ("DELETE FROM sources WHERE digest <> ?", "in executions without their source"),
    ],
)
def test_rows_that_belong_to_nothing_are_found(folder, statement, said):
    change_rows(folder, statement, A)
    assert any(said in example for example in kinds(folder)["orphan-rows"])


def test_a_session_whose_process_is_gone_is_found(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        gone = {**identity(), "pid": 2**22 + 5}
        store.apply([session_started("s1"), run_started(A)])
        store.apply([session_started("s2"), run_started(B, session="s2")])
    change_rows(tmp_path / ".mlops", "UPDATE sessions SET owner = ?", json.dumps(gone))
    assert kinds(tmp_path / ".mlops") == {"session-dead": ("s1", "s2")}
    with Store.open(tmp_path / ".mlops") as store:
        store.refresh()
    assert kinds(tmp_path / ".mlops") == {}


def test_a_session_that_lives_is_no_finding(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.apply([session_started("s1"), run_started(A)])
    change_rows(tmp_path / ".mlops", "UPDATE sessions SET owner = ?", json.dumps(identity()))
    assert kinds(tmp_path / ".mlops") == {}


def test_a_run_that_still_runs_after_its_session_is_found(folder):
    change_rows(folder, "UPDATE runs SET status = 'running' WHERE id = ?", B)
    assert kinds(folder) == {"run-open": (B,)}


# --- spools -------------------------------------------------------------------------------------


def spool_of_a_dead_process(folder: Path) -> Path:
    spool = Spool.create(folder / "spool", "s9")
    spool.append(session_started("s9"))
    spool.append(run_started(C, session="s9"))
    for step in range(20):
        spool.append_metric(C, "loss", 1.0 / (step + 1), step, T0 + step)
    spool.close()
    return next(spool.folder.glob("*.segment"))


def test_what_waits_in_a_spool_is_counted(folder):
    spool_of_a_dead_process(folder)
    report = care.check(folder)
    assert report.findings == []
    assert (report.counts["spools"], report.counts["waiting"]) == (1, 22)


def test_a_frame_that_cannot_be_read_is_found(folder):
    segment = spool_of_a_dead_process(folder)
    data = bytearray(segment.read_bytes())
    data[HEADER_BYTES + 40] ^= 0xFF
    segment.write_bytes(data)
    found = kinds(folder)
    assert "session s9" in found["spool-torn"][0]


def test_a_segment_without_a_beginning_is_found(folder):
    segment = spool_of_a_dead_process(folder)
    data = bytearray(segment.read_bytes())
    data[:8] = b"garbage!"
    segment.write_bytes(data)
    assert str(segment) in kinds(folder)["spool-unreadable"]


def test_events_that_were_put_aside_are_found(folder):
    (folder / "rejected").mkdir()
    (folder / "rejected" / "spool-7").write_bytes(b"x")
    assert kinds(folder) == {"events-rejected": ("spool-7",)}


# --- servers ------------------------------------------------------------------------------------


def test_a_store_on_a_server_is_checked_as_one_in_a_folder(
    folder, server_store, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLOPS_NB_BLOBS", str(tmp_path / "blobs"))
    care.copy(folder, server_store)
    assert kinds(server_store) == {}
    with Store.open(server_store) as store:
        store.apply([ArtifactLogged(A, "late", "file", "x", T0, b"late bytes")])
        digest = next(a.digest for a in store.get_run(A).artifacts if a.name == "late")
    (tmp_path / "blobs" / digest[7:9] / digest[9:]).write_bytes(b"LATE bytes")
    assert list(kinds(server_store)) == ["blob-changed"]


def test_bytes_in_the_database_of_a_server_are_checked_too(folder, server_store):
    care.copy(folder, server_store)
    assert kinds(server_store) == {}
    with Store.open(server_store) as store:
        store.apply([ArtifactLogged(A, "late", "file", "x", T0, b"late bytes")])
        digest = next(a.digest for a in store.get_run(A).artifacts if a.name == "late")
        changed = update(byte_rows).where(byte_rows.c.hexes == digest[7:]).values(data=b"LATE")
        with store._writing() as connection:
            connection.execute(changed)
    assert list(kinds(server_store)) == ["blob-changed"]
