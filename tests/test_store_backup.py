"""A store saved as it is at one moment, and brought back."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from events import T0, A, B, metric, run_started, session_started
from store_contents import blob_files, full_store, tables

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.model import ArtifactLogged
from mlops_nb.store import Store, care
from mlops_nb.store.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_settings")


@pytest.fixture
def store(tmp_path):
    with full_store(tmp_path / ".mlops") as opened:
        yield opened


@pytest.mark.parametrize("name", ["saved", "saved.tar"])
def test_a_backup_is_restored_by_copying_it(store, tmp_path, name):
    report = care.backup(store, tmp_path / name)
    assert (report.path, report.runs, report.findings) == (tmp_path / name, 2, [])
    restored = care.copy(tmp_path / name, tmp_path / "restored")
    assert restored.findings == []
    assert restored.source == str(tmp_path / name)
    assert tables(tmp_path / "restored") == tables(store.folder)
    assert blob_files(tmp_path / "restored") == blob_files(store.folder)


def test_without_a_name_it_lies_in_the_store_under_its_time(store):
    report = care.backup(store)
    assert report.path.parent == store.folder / "backups"
    assert tables(report.path) == tables(store.folder)
    about = json.loads((report.path / "backup.json").read_text())
    assert (about["of"], about["runs"]) == (str(store.folder), 2)


@pytest.mark.parametrize("name", ["saved", "saved.tar"])
def test_a_backup_is_private(store, tmp_path, name):
    before = os.umask(0)
    try:
        path = care.backup(store, tmp_path / name).path
    finally:
        os.umask(before)
    paths = [path, *(path.rglob("*") if path.is_dir() else [])]
    assert [str(p) for p in paths if stat.S_IMODE(p.stat().st_mode) & 0o077] == []


def test_a_backup_overwrites_nothing(store, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("saved", "link"):
        with pytest.raises(StoreUnwritable, match="it is there already"):
            care.backup(store, tmp_path / name)
    assert list((tmp_path / "saved").iterdir()) == []


def test_what_waits_in_a_spool_is_in_it(store, tmp_path):
    spool = Spool.create(store.folder / "spool", "s9")
    spool.append(session_started("s9"))
    spool.append(run_started("c" * 16, session="s9"))
    report = care.backup(store, tmp_path / "saved")
    assert (report.runs, report.still_writing) == (3, ("s9",))
    spool.close()


def test_a_deleted_run_is_in_it_until_it_is_collected(store, tmp_path):
    store.edit_runs([A], {"deleted": True})
    assert care.backup(store, tmp_path / "saved").runs == 1
    assert tables(tmp_path / "saved") == tables(store.folder)


def test_damaged_bytes_are_said_and_the_rest_is_saved(store, tmp_path):
    damaged = max(
        (path for path in (store.folder / "blobs").rglob("*") if path.is_file()),
        key=os.path.getsize,
    )
    damaged.write_bytes(b"")
    report = care.backup(store, tmp_path / "saved")
    assert [finding.kind for finding in report.findings] == ["blob-damaged"]
    assert len(blob_files(tmp_path / "saved")) == len(blob_files(store.folder)) - 1


def test_a_damaged_database_is_not_saved_as_if_it_were_whole(store, tmp_path):
    store.apply([run_started(f"{number:016x}") for number in range(600)])
    connection = sqlite3.connect(store.folder / "store.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    store.close()
    data = bytearray((store.folder / "store.db").read_bytes())
    needle = f"{300:016x}".encode()
    page = next(
        start
        for start in range(0, len(data), size)
        if data[start] == 13 and needle in data[start : start + size]
    )
    data[page + 3] ^= 0xFF
    (store.folder / "store.db").write_bytes(data)
    with pytest.raises(StoreError, match="its database is damaged"):
        care.backup(store, tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == [".mlops"]


def test_a_full_disk_leaves_no_half_of_a_backup(store, tmp_path, monkeypatch):
    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "add", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        care.backup(store, tmp_path / "saved.tar")
    assert [path.name for path in tmp_path.iterdir()] == [".mlops"]


def _write_runs(folder: Path, worker: int, start, stop) -> None:
    start.wait()
    with Store.open(folder) as store:
        number = 0
        while not stop.is_set():
            run = f"{worker:08x}{number:08x}"
            store.apply(
                [
                    run_started(run, session=f"w{worker}"),
                    *(metric(run, "m", float(i), at_ns=T0 + i) for i in range(20)),
                    ArtifactLogged(run, "a", "file", "x", T0, run.encode()),
                ]
            )
            number += 1


def test_a_backup_is_of_one_moment_while_eight_processes_write(store, tmp_path):
    context = multiprocessing.get_context("fork")
    start, stop = context.Barrier(9), context.Event()
    workers = [
        context.Process(target=_write_runs, args=(store.folder, number, start, stop))
        for number in range(8)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    try:
        report = care.backup(store, tmp_path / "saved")
    finally:
        stop.set()
        for worker in workers:
            worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert report.findings == []
    with Store.open(tmp_path / "saved") as saved:
        runs = saved.runs()
        assert len(runs) == report.runs >= 2
        for run in runs:
            if run.id not in {A, B}:
                assert run.metrics["m"].count == 20
                assert saved.read_blob(run.artifacts[0].digest) == run.id.encode()


def test_a_store_on_a_server_is_saved_into_a_folder(store, server_store, tmp_path):
    care.copy(store.folder, server_store)
    with Store.open(server_store) as there:
        report = care.backup(there, tmp_path / "saved.tar")
    assert (report.runs, report.findings) == (2, [])
    care.copy(tmp_path / "saved.tar", tmp_path / "restored")
    assert tables(tmp_path / "restored") == tables(store.folder)
    assert blob_files(tmp_path / "restored") == blob_files(store.folder)
