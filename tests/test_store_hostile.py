"""A store from somebody else: nothing of it leads out, and nothing of it runs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tarfile
import textwrap
from typing import TYPE_CHECKING

import pytest
from events import A, B
from store_contents import blob_files, change_rows, full_store, tables

from mlops_nb.errors import StoreError
from mlops_nb.store import Store, care

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_settings")


@pytest.fixture
def folder(tmp_path) -> Path:
    with full_store(tmp_path / "a"):
        return tmp_path / "a"


def some_blob(folder: Path) -> Path:
    return next(path for path in sorted((folder / "blobs").rglob("*")) if path.is_file())


# --- links --------------------------------------------------------------------------------------


def test_links_among_the_bytes_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"private")
    real = some_blob(folder)
    real.unlink()
    real.symlink_to(secret)
    (folder / "blobs" / "ab").mkdir(exist_ok=True)
    (folder / "blobs" / "ff").symlink_to(tmp_path)
    os.mkfifo(folder / "blobs" / "ab" / ("c" * 62))
    report = care.copy(folder, tmp_path / "b")
    (finding,) = [finding for finding in report.findings if finding.kind == "blob-stray"]
    assert len(finding.examples) == 3
    assert b"private" not in blob_files(tmp_path / "b").values()
    assert not any(path.is_symlink() for path in (tmp_path / "b").rglob("*"))


def test_a_folder_of_bytes_that_is_a_link_is_refused(folder, tmp_path):
    (folder / "blobs").rename(tmp_path / "elsewhere")
    (folder / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link, which is not followed"):
        care.copy(folder, tmp_path / "b")


def test_checking_follows_no_link_and_waits_for_no_pipe(folder, tmp_path):
    real = some_blob(folder)
    real.unlink()
    os.mkfifo(real)
    (folder / "blobs" / "ff").symlink_to("/dev")
    found = {finding.kind: finding for finding in care.check(folder).findings}
    assert set(found) == {"blob-stray", "blob-missing"}
    assert len(found["blob-stray"].examples) == 2


def test_collecting_removes_nothing_behind_a_link(folder, tmp_path):
    mine = tmp_path / "mine"
    (mine / "ab").mkdir(parents=True)
    (mine / "ab" / ("c" * 62)).write_bytes(b"mine")
    (mine / ("d" * 62)).write_bytes(b"mine too")
    for path in mine.rglob("*"):
        os.utime(path, (0, 0))
    (folder / "blobs" / "ab").symlink_to(mine / "ab")
    (folder / "blobs" / "cd").symlink_to(mine)
    (folder / "backups").symlink_to(mine)
    with Store.open(folder) as store:
        care.collect_garbage(store, is_done=True, keep_s=0, grace_s=0)
    assert (mine / "ab" / ("c" * 62)).read_bytes() == b"mine"
    assert len(list(mine.iterdir())) == 2


def test_writing_bytes_follows_no_link(folder, tmp_path):
    import hashlib

    hexes = hashlib.sha256(b"mine").hexdigest()
    outside = tmp_path / "outside"
    outside.mkdir()
    place = folder / "blobs" / hexes[:2]
    if place.exists():
        pytest.skip("another file is there already")
    place.symlink_to(outside)
    with Store.open(folder) as store, pytest.raises(StoreError, match="link"):
        store._blobs.put(b"mine")
    assert list(outside.iterdir()) == []


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE artifacts SET digest = '../../../../etc/passwd' WHERE run = ?", "no address"),
        ("UPDATE artifacts SET digest = 'sha256:../../x' WHERE run = ?", "no address"),
        ("UPDATE artifacts SET size_bytes = 'many' WHERE run = ?", "size_bytes holds 'many'"),
        ("UPDATE params SET value = '{' WHERE run = ?", "params.value holds"),
        ("UPDATE metric_chunks SET data = 99999999999 WHERE run = ?", "metric_chunks.data"),
        ("UPDATE tags SET value = CAST(x'ff' AS TEXT) WHERE run = ?", "tags.value holds"),
        ("UPDATE metrics SET value = 'high' WHERE run = ?", "metrics.value holds 'high'"),
    ],
)
def test_a_row_that_no_store_writes_is_left_out_and_said(folder, tmp_path, statement, said):
    change_rows(folder, statement, A)
    report = care.copy(folder, tmp_path / "b")
    (finding,) = report.findings
    assert finding.kind == "bad-rows"
    assert said in " ".join(finding.examples)
    with Store.open(tmp_path / "b") as store:
        assert len(store.runs()) == 2


def test_an_id_that_would_be_a_path_is_not_copied(folder, tmp_path):
    change_rows(folder, "UPDATE runs SET id = '../../../../tmp/x' WHERE id = ?", A)
    report = care.copy(folder, tmp_path / "b")
    assert "which is no id" in report.findings[0].examples[0]
    assert [row[0] for row in tables(tmp_path / "b")["runs"]] == [B]


def test_deeply_nested_json_does_not_stop_a_copy(folder, tmp_path):
    change_rows(folder, "UPDATE runs SET facts = ? WHERE id = ?", "[" * 200_000, A)
    report = care.copy(folder, tmp_path / "b")
    assert [finding.kind for finding in report.findings] == ["bad-rows"]


def test_a_view_or_trigger_of_somebody_else_is_not_copied(folder, tmp_path):
    change_rows(folder, "CREATE VIEW evil AS SELECT load_extension('/tmp/x') FROM runs")
    change_rows(
        folder, "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN SELECT load_extension('/x'); END"
    )
    assert care.copy(folder, tmp_path / "b").findings == []
    assert "evil" not in tables(tmp_path / "b")


def test_checking_says_which_rows_no_store_writes(folder):
    change_rows(folder, "UPDATE artifacts SET digest = '../../etc/passwd' WHERE run = ?", A)
    change_rows(folder, "UPDATE runs SET facts = ? WHERE id = ?", "[" * 200_000, B)
    change_rows(folder, "UPDATE tags SET value = CAST(x'ff' AS TEXT)")
    found = {finding.kind: finding for finding in care.check(folder).findings}
    said = " ".join(found["bad-rows"].examples)
    for part in ("no address of bytes", "runs.facts holds", "tags.value holds"):
        assert part in said


def test_nothing_of_a_store_runs_however_it_is_looked_at(folder, tmp_path):
    """A pickle that would write a file lies among the artifacts, and code in the sources."""
    mark = tmp_path / "ran"
    evil = pickle.dumps(_Evil(str(mark)))
    with Store.open(folder) as store:
        digest = store._blobs.put(evil)
    change_rows(folder, "UPDATE artifacts SET digest = ?, mime = 'application/x-pickle'", digest)
    change_rows(folder, "CREATE VIEW v AS SELECT writefile('x', 'y') FROM runs")
    code = """
        import sys
        from mlops_nb.store import Store, care
        care.check(sys.argv[1])
        care.copy(sys.argv[1], sys.argv[2])
        with Store.open(sys.argv[1]) as store:
            care.backup(store)
            care.collect_garbage(store)
        loaded = {"pickle", "cloudpickle", "joblib", "skops", "dill"} & set(sys.modules)
        print(sorted(loaded - {"pickle"}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert not mark.exists()
    pickle.loads(evil)  # noqa: S301 - our own, to see that it works
    assert mark.exists(), "the pickle is one that runs"


class _Evil:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self):
        return (open, (self._path, "w"))


# --- archives -----------------------------------------------------------------------------------


def test_an_archive_leads_nowhere_out_of_its_folder(folder, tmp_path):
    with Store.open(folder) as store:
        care.backup(store, tmp_path / "good.tar")
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    with (
        tarfile.open(tmp_path / "good.tar") as good,
        tarfile.open(tmp_path / "bad.tar", "w") as bad,
    ):
        for member in good:
            bad.addfile(member, good.extractfile(member))
        for name, kind, target in (
            ("../victim", tarfile.REGTYPE, ""),
            (str(victim), tarfile.REGTYPE, ""),
            ("blobs/ab", tarfile.SYMTYPE, str(tmp_path)),
            (f"blobs/ab/{'c' * 62}", tarfile.LNKTYPE, str(victim)),
            ("blobs/../../victim", tarfile.REGTYPE, ""),
            (f"blobs/cd/{'e' * 62}", tarfile.FIFOTYPE, ""),
            (".gitignore", tarfile.SYMTYPE, str(victim)),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            bad.addfile(member)
    report = care.copy(tmp_path / "bad.tar", tmp_path / "b")
    assert report.findings == []
    assert tables(tmp_path / "b") == tables(folder)
    assert blob_files(tmp_path / "b") == blob_files(folder)
    assert victim.read_bytes() == b"mine"


def test_what_is_no_archive_of_a_store_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"nothing of that kind" * 100)
    with pytest.raises(StoreError, match="it is no backup that can be read"):
        care.copy(tmp_path / "x.tar", tmp_path / "b")
    with tarfile.open(tmp_path / "y.tar", "w"):
        pass
    with pytest.raises(StoreError, match="there is no store in this file"):
        care.copy(tmp_path / "y.tar", tmp_path / "b")
