"""Digests of files, their state later on, and what the operating system is asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128

from mlops_nb.capture.files import file_state
from mlops_nb.capture.files.alarm import ReadCounter, unexplained_bytes
from mlops_nb.capture.files.digest import CHUNK_BYTES, Digests, Stamp
from mlops_nb.capture.files.folders import MOST_FOLDERS, folders_below, remote_mounts
from mlops_nb.capture.files.kernel import Fanotify, Inotify, open_sources
from mlops_nb.capture.files.mentioned import mentioned_files, written_paths
from mlops_nb.capture.files.uses import CellFiles
from mlops_nb.capture.files.watching import FolderWatch
from mlops_nb.model import FileUse

OLD_NS = 1_000_000_000 * 10**9
NOBODY = 65534


def aged(path: Path) -> Path:
    """Make a file one that was not changed just now, as far as that can be set."""
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return path


def use_of(path: Path, digests: Digests | None = None, **given) -> FileUse:
    content = (digests or Digests()).content(str(path))
    return FileUse(
        str(path),
        "r",
        "adapter",
        content.digest,
        content.assurance,
        content.size_bytes,
        content.modified_ns,
        **given,
    )


# --- digests ----------------------------------------------------------------------------------


def test_a_digest_is_of_chunks_of_one_mebibyte(tmp_path):
    data = os.urandom(CHUNK_BYTES + 7)
    (tmp_path / "a").write_bytes(data)
    parts = [xxh3_128(data[:CHUNK_BYTES]).digest(), xxh3_128(data[CHUNK_BYTES:]).digest()]
    expected = xxh3_128(b"file\0%d\0\0" % len(data) + b"".join(parts)).hexdigest()
    content = Digests().content(str(tmp_path / "a"))
    assert (content.digest, content.assurance) == (f"nbfp1:{expected}", "exact")


@settings(max_examples=25, deadline=None)
@given(one=st.binary(max_size=200), other=st.binary(max_size=200))
def test_two_files_have_one_digest_only_if_their_bytes_are_the_same(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("files")
    (folder / "one").write_bytes(one)
    (folder / "other").write_bytes(other)
    digests = Digests()
    found = [digests.content(str(folder / name)).digest for name in ("one", "other")]
    assert (found[0] == found[1]) == (one == other)


def test_a_file_just_changed_is_not_remembered(tmp_path):
    digests = Digests()
    (tmp_path / "a").write_text("a")
    digests.content(str(tmp_path / "a"))
    assert digests.known(Stamp.of((tmp_path / "a").stat())) == ""


def old_file() -> Path:
    """A file that has been as it is for long: the interpreter's own."""
    return Path(os.__file__)


def test_a_file_that_is_remembered_is_not_read_again():
    digests = Digests()
    first = digests.content(str(old_file()))
    read_bytes = digests.read_bytes
    assert digests.content(str(old_file())) == first
    assert digests.read_bytes == read_bytes == old_file().stat().st_size


def test_digests_outlive_the_process_in_their_file(tmp_path):
    first = Digests(tmp_path / "digests.json")
    digest = first.content(str(old_file())).digest
    first.save()
    second = Digests(tmp_path / "digests.json")
    assert second.content(str(old_file())).digest == digest
    assert second.read_bytes == 0


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1, "files": [[1]]}', '{"version": 9, "files": []}', "\udcff"],
)
def test_a_broken_file_of_digests_counts_as_empty(tmp_path, text):
    (tmp_path / "digests.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    digests = Digests(tmp_path / "digests.json")
    assert digests.content(str(old_file())).assurance == "exact"
    digests.save()
    assert Digests(tmp_path / "digests.json").known(Stamp.of(old_file().stat())) != ""


def test_md5_is_that_of_dvc(tmp_path):
    (tmp_path / "data" / "b").mkdir(parents=True)
    (tmp_path / "data" / "b" / "x.csv").write_text("1")
    (tmp_path / "data" / "a.csv").write_text("2")
    digests = Digests(with_md5=True)
    md5 = hashlib.md5(b"2", usedforsecurity=False).hexdigest()
    assert digests.content(str(tmp_path / "data" / "a.csv")).md5 == md5
    inner = hashlib.md5(b"1", usedforsecurity=False).hexdigest()
    listing = [{"md5": md5, "relpath": "a.csv"}, {"md5": inner, "relpath": "b/x.csv"}]
    expected = hashlib.md5(
        json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False
    ).hexdigest()
    assert digests.content(str(tmp_path / "data")).md5 == f"{expected}.dir"


def test_a_large_file_is_only_looked_at(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    digests = Digests()
    content = digests.content(str(tmp_path / "a"), budget_bytes=999)
    assert (content.assurance, content.digest, content.size_bytes) == ("skipped:budget", "", 1000)
    assert digests.read_bytes == 0


def test_a_sparse_file_of_ten_gigabytes_costs_nothing(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(10 * 10**9)
    digests = Digests()
    assert digests.content(str(tmp_path / "a")).assurance == "skipped:budget"
    assert digests.read_bytes == 0


class During:
    """Does something to a file after it was looked at and before it is read."""

    def __init__(self, action) -> None:
        self.action = action

    def __call__(self, path: str, is_begin: bool) -> None:
        if is_begin:
            self.action(Path(path))


@pytest.mark.parametrize(
    ("action", "assurance"),
    [
        pytest.param(lambda path: path.write_bytes(b"other"), "torn", id="rewritten"),
        pytest.param(lambda path: path.write_bytes(bytes(9999)), "torn", id="longer"),
        pytest.param(lambda path: path.write_bytes(b""), "torn", id="emptied"),
        pytest.param(
            lambda path: (
                path.with_suffix(".new").write_bytes(b"12345"),
                path.with_suffix(".new").replace(path),
            ),
            "torn",
            id="replaced",
        ),
        pytest.param(lambda path: path.unlink(), "opaque", id="deleted"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), "opaque", id="a folder now"),
        pytest.param(lambda path: (path.unlink(), os.mkfifo(path)), "torn", id="a pipe now"),
        pytest.param(
            lambda path: (path.unlink(), path.symlink_to(path)), "opaque", id="a link to itself"
        ),
    ],
)
def test_a_file_changed_while_it_is_read_is_never_exact(tmp_path, action, assurance):
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    content = Digests(around=During(action)).content(str(path))
    assert (content.assurance, content.digest) == (assurance, "")


@pytest.mark.parametrize("hides", [False, True], ids=["plainly", "with its time put back"])
def test_a_byte_changed_behind_the_reader_is_never_exact(tmp_path, monkeypatch, hides):
    from mlops_nb.capture.files import digest

    path = tmp_path / "a.bin"
    path.write_bytes(bytes(2 * CHUNK_BYTES))
    status = path.stat()

    def hash_and_change(data: memoryview) -> object:
        with path.open("r+b") as file:
            file.write(b"x")
        if hides:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return xxh3_128(data)

    monkeypatch.setattr(digest, "xxh3_128", hash_and_change)
    content = Digests().content(str(path))
    assert (content.assurance, content.digest) == ("torn", "")


@pytest.mark.parametrize("name", ["pipe", "socket", "missing", "device", "a\0b", "x" * 5000])
def test_what_is_no_file_is_opaque_and_nothing_waits(tmp_path, name):
    path = str(tmp_path / name)
    if name == "pipe":
        os.mkfifo(path)
    elif name == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
    elif name == "device":
        path = "/dev/zero"
    assert Digests().content(path).assurance == "opaque"


# --- folders ----------------------------------------------------------------------------------


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_is_its_names_and_contents(tmp_path):
    one = tree(tmp_path / "one", a="1", b__c="2")
    same = tree(tmp_path / "same", b__c="2", a="1")
    digests = Digests()
    digest = digests.content(str(one)).digest
    assert digests.content(str(same)).digest == digest
    others = [
        tree(tmp_path / "renamed", a="1", b__d="2"),
        tree(tmp_path / "swapped", a="2", b__c="1"),
        tree(tmp_path / "more", a="1", b__c="2", d="3"),
        tree(tmp_path / "flat", a="1", c="2"),
    ]
    assert digest not in {digests.content(str(other)).digest for other in others}


def test_a_folder_of_very_many_files_is_skipped_quickly(tmp_path):
    for number in range(10_001):
        (tmp_path / str(number)).touch()
    content = Digests().content(str(tmp_path))
    assert (content.assurance, content.digest) == ("skipped:budget", "")


def test_one_torn_file_makes_its_folder_torn(tmp_path):
    tree(tmp_path / "data", a="1", b="2")

    def touch(path: Path) -> None:
        if path.name == "b":
            path.write_text("other")

    content = Digests(around=During(touch)).content(str(tmp_path / "data"))
    assert (content.assurance, content.digest) == ("torn", "")


# --- later ------------------------------------------------------------------------------------


def test_a_file_that_stayed_is_the_same_also_after_a_touch(tmp_path):
    (tmp_path / "a").write_text("a")
    use = use_of(tmp_path / "a")
    aged(tmp_path / "a")
    assert file_state(use) == "same"


def test_another_content_of_the_same_size_and_time_is_changed(tmp_path):
    (tmp_path / "a").write_text("a")
    use = use_of(aged(tmp_path / "a"))
    (tmp_path / "a").write_text("b")
    aged(tmp_path / "a")
    assert file_state(use) == "changed"


def test_nothing_is_the_same_without_its_digest(tmp_path):
    (tmp_path / "a").write_text("a")
    use = FileUse(str(tmp_path / "a"), "r", "adapter", "", "skipped:budget", 1, 0)
    assert file_state(use) == "unknown"
    (tmp_path / "a").write_text("longer")
    assert file_state(use) == "changed"
    (tmp_path / "a").unlink()
    assert file_state(use) == "gone"


def test_without_a_budget_only_what_is_known_is_the_same():
    digests = Digests()
    use = use_of(old_file(), digests)
    assert file_state(use, budget_bytes=0) == "unknown"
    assert file_state(use, digests=digests, budget_bytes=0) == "same"


def test_a_pattern_is_expanded_again(tmp_path):
    from mlops_nb.capture.files.state import expanded

    tree(tmp_path, **{f"part-{n}": str(n) for n in range(3)})
    pattern = str(tmp_path / "part-*")
    digests = Digests()
    content = digests.content_of_all(expanded(pattern), below=str(tmp_path))
    use = FileUse(pattern, "r", "adapter", content.digest, "exact")
    assert file_state(use) == "same"
    (tmp_path / "part-3").write_text("3")
    assert file_state(use) == "changed"
    for path in tmp_path.glob("part-*"):
        path.unlink()
    assert file_state(use) == "gone"


# --- folders that are watched -----------------------------------------------------------------


def test_folders_without_data_are_not_watched(tmp_path):
    for name in (
        ".git",
        ".mlops",
        "node_modules",
        "__pycache__",
        "site-packages",
        "data/raw",
        "env",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [os.path.relpath(folder, tmp_path) for folder in folders_below(str(tmp_path))]
    assert found == [".", "data", "env", "data/raw"]


def test_the_nearest_of_very_many_folders_are_watched(tmp_path):
    for outer in range(40):
        for inner in range(40):
            (tmp_path / str(outer) / str(inner)).mkdir(parents=True)
    found = list(folders_below(str(tmp_path)))
    assert len(found) == MOST_FOLDERS
    assert len([folder for folder in found if Path(folder).parent == tmp_path]) == 40


def test_file_systems_of_other_machines_are_known(tmp_path):
    (tmp_path / "mounts").write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/x /mnt/a\\040b nfs4 rw 0 0\ns3 /s3 fuse.s3fs rw 0 0\nx\n"
    )
    assert remote_mounts(str(tmp_path / "mounts")) == ("/mnt/a b/", "/s3/")


@pytest.fixture(params=[Fanotify, Inotify], ids=["fanotify", "inotify"])
def folder_watch(request, tmp_path):
    watch = FolderWatch(sources=[request.param()])
    watch.start([str(tmp_path)])
    yield watch
    watch.stop()


def seen(watch: FolderWatch, action) -> dict:
    cell = CellFiles("e", "", "/")
    watch.begin(cell)
    action()
    watch.end(cell)
    watch.parse()
    return cell.files


@pytest.mark.parametrize("name", [b"caf\xc3\xa9", b"\xff\xfe", b"a\nb", b"@@@@", b"x" * 255, b" "])
def test_any_file_name_is_seen(folder_watch, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118  # bytes
    found = seen(folder_watch, lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)))
    assert os.fsdecode(path) in found


def test_a_folder_that_was_removed_and_made_again_is_watched(folder_watch, tmp_path):
    (tmp_path / "data").mkdir()
    folder_watch.watch(str(tmp_path / "data"))
    (tmp_path / "data").rmdir()
    (tmp_path / "data").mkdir()
    folder_watch.watch(str(tmp_path / "data"))
    found = seen(folder_watch, lambda: (tmp_path / "data" / "a").write_text("a"))
    assert str(tmp_path / "data" / "a") in found


def test_a_folder_that_was_renamed_is_known_by_its_new_name(folder_watch, tmp_path):
    (tmp_path / "old").mkdir()
    seen(folder_watch, lambda: (tmp_path / "old" / "a").write_text("a"))
    seen(folder_watch, lambda: (tmp_path / "old").rename(tmp_path / "new"))
    found = seen(folder_watch, (tmp_path / "new" / "a").read_text)
    assert str(tmp_path / "new" / "a") in found


def test_what_is_hashed_is_not_taken_for_a_read_of_the_cell(folder_watch, tmp_path):
    (tmp_path / "a").write_text("a")
    digests = Digests(around=folder_watch.reading)
    found = seen(folder_watch, lambda: digests.content(str(tmp_path / "a")))
    assert found == {}
    assert digests.read_bytes == 1


def test_events_that_were_lost_are_said_to_be(folder_watch, tmp_path):
    cell = CellFiles("e", "", "/")
    # As if the thread that empties the queue did not come to it for long.
    folder_watch._lock.acquire()
    try:
        folder_watch._spans.append(cell)
        for number in range(20_000):
            os.close(os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY))
    finally:
        folder_watch._lock.release()
    folder_watch.end(cell)
    folder_watch.parse()
    assert cell.is_incomplete


def test_a_folder_of_very_many_files_costs_one_watch(tmp_path):
    for number in range(25_000):
        os.close(os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY))
    watch = FolderWatch()
    watch.start([str(tmp_path)])
    found = seen(watch, (tmp_path / "77").read_text)
    watch.stop()
    assert list(found) == [str(tmp_path / "77")]
    assert len(watch._since) == 1


AS_NOBODY = """
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from mlops_nb.capture.files.kernel import open_sources
from mlops_nb.capture.files.uses import CellFiles
from mlops_nb.capture.files.watching import FolderWatch
from mlops_nb.capture.files.digest import Digests
os.setgid({nobody}); os.setuid({nobody})
watch = FolderWatch(); watch.start([{folder!r}])
cell = CellFiles("e", "", "/"); watch.begin(cell)
os.close(os.open({folder!r} + "/a", os.O_RDONLY))
pid = os.fork()
if not pid:
    os.close(os.open({folder!r} + "/b", os.O_RDONLY)); os._exit(0)
os.waitpid(pid, 0)
watch.end(cell); watch.parse()
print(watch.coverage, [(Path(p).name, bool(s.ours), bool(s.theirs)) for p, s in cell.files.items()])
print(Digests().content({folder!r} + "/closed").assurance, watch.watch({folder!r} + "/locked"))
watch.stop()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_without_rights_sees_as_much(tmp_path_factory):
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("a", "b", "closed"):
            (folder / file).write_text(file)
        (folder / "closed").chmod(0o600)
        (folder / "locked").mkdir(mode=0o700)
        code = AS_NOBODY.format(nobody=NOBODY, root=str(Path(__file__).parent.parent), folder=name)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.stdout.splitlines() == [
        "fanotify [('a', True, False), ('b', False, True)]",
        "opaque False",
    ], done.stderr


def test_a_system_that_offers_nothing_leaves_the_other_layers(tmp_path):
    from mlops_nb.autolog.readers import watch_files

    watch = watch_files([tmp_path], print, sources=[])
    assert watch.coverage == "adapters, mentioned"
    watch.start()
    watch.stop()
    watch.stop()


def test_without_proc_there_is_no_alarm(monkeypatch):
    def refuse(*_: object, **__: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    assert ReadCounter().mark() is None


def test_bytes_are_counted_as_the_system_counts_them(tmp_path):
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    counter = ReadCounter()
    before = counter.mark()
    (tmp_path / "a").read_bytes()
    assert 3_000_000 <= unexplained_bytes(before, counter.mark()) < 3_100_000
    before = counter.mark()
    subprocess.run(["cat", tmp_path / "a"], stdout=subprocess.DEVNULL, check=True)
    assert unexplained_bytes(before, counter.mark()) == 0


# --- mentioned --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("load('a.csv')", ["a.csv"]),
        ("load('data/b.csv')", ["data/b.csv"]),
        ("load(f'{x}a.csv')", []),
        ("# 'a.csv'", []),
        ("!cat a.csv", ["a.csv"]),
        ("%run a.csv -x", ["a.csv"]),
        ("load('missing.csv')", []),
        ("load('data')", []),
        ("x = 'a.csv' if", []),
        ("load('" + "../" * 400 + "a.csv')", []),
    ],
)
def test_files_in_the_source_are_found(tmp_path, cell, found):
    tree(tmp_path, **{"a.csv": "a", "data__b.csv": "b"})
    from mlops_nb.source import transform

    text = transform(cell)
    paths = mentioned_files(text, written_paths(text), (), cwd=str(tmp_path))
    assert [os.path.relpath(path, tmp_path) for path in paths] == found


def test_a_source_of_a_megabyte_is_searched_for_few_paths():
    text = "'a/b'," * 200_000
    assert written_paths(text) == ["a/b"]


def test_sources_close_what_they_opened():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for source in open_sources():
        source.close()
        source.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
