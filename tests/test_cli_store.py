"""``mlops-nb store``: what a person types, sees, and what a script gets."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from events import A
from store_contents import blob_files, end_session, full_store, tables

from mlops_nb.cli import main
from mlops_nb.store import Store

pytestmark = pytest.mark.usefixtures("own_settings")

COMMAND = Path(sys.executable).parent / "mlops-nb"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project's folder with a store, in which commands are typed."""
    folder = tmp_path / "project"
    folder.mkdir()
    with full_store(folder / ".mlops") as store:
        end_session(store)
    monkeypatch.chdir(folder)
    return folder


@dataclass
class Done:
    """What a command wrote, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def typed(*arguments: object) -> Done:
    """Run a command in this process: a new one takes longer to start than to do this."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(["store", *map(str, arguments)])
    return Done(ended.value.code, out.getvalue(), err.getvalue())


def answer(*arguments: object, code: int = 0) -> dict:
    """Type a command for a program, and read its document."""
    done = typed(*arguments, "--format", "json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def seen(columns: int, *arguments: object) -> str:
    """What a person sees at a terminal of some width, who waits until it is over."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [COMMAND, "store", *map(str, arguments)], stdout=child, stderr=child, env=environment
    )
    os.close(child)
    found = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:
            break
        if not piece:
            break
        found += piece
    process.wait(30)
    os.close(parent)
    return found.decode()


# --- each command -------------------------------------------------------------------------------


def test_info_says_what_is_in_it(project):
    found = answer("info")
    assert (found["runs"], found["executions"], found["location"]) == (
        2,
        2,
        str(project / ".mlops"),
    )
    shown = typed("info").stdout
    for part in (str(project / ".mlops"), "runs     2", "2 in 1 session", "schema"):
        assert part in shown


def test_check_exits_with_0_for_a_store_that_is_whole(project):
    found = answer("check")
    assert (found["well"], found["findings"], found["runs"]) == (True, [], 2)
    assert "✓ it is whole" in typed("check").stdout


def test_check_exits_with_1_and_says_what_to_do(project):
    damaged = max((p for p in (project / ".mlops").glob("blobs/*/*")), key=os.path.getsize)
    damaged.write_bytes(b"x")
    found = answer("check", code=1)
    assert [finding["kind"] for finding in found["findings"]] == ["blob-changed", "blob-size"]
    shown = typed("check").stdout
    assert "✕ 2 things to look at" in shown
    assert "mlops-nb store copy BACKUP THIS" in shown


def test_check_reads_a_store_that_cannot_be_opened(project):
    (project / ".mlops" / "store.db").write_bytes(b"no database, but long enough\n" * 300)
    found = answer("check", code=1)
    assert "database-damaged" in [finding["kind"] for finding in found["findings"]]
    assert answer("check", "--store", ".mlops/store.db", code=1)["well"] is False


def test_gc_shows_first_and_removes_when_told(project):
    with Store.open(project / ".mlops") as store:
        store.edit_runs([A], {"deleted": True})
        store._blobs.put(b"garbage that nobody needs")
    for path in (project / ".mlops" / "blobs").rglob("*"):
        os.utime(path, (time.time() - 9 * 86400,) * 2)
    before = tables(project / ".mlops"), blob_files(project / ".mlops")
    shown = typed("gc", "--keep-days", 0).stdout
    assert "can go" in shown
    assert "mlops-nb store gc --yes --keep-days 0" in " ".join(shown.split())
    assert (tables(project / ".mlops"), blob_files(project / ".mlops")) == before
    found = answer("gc", "--keep-days", 0)
    done = answer("gc", "--keep-days", 0, "--yes")
    assert (found["done"], done["done"]) == (False, True)
    assert found["runs"] == done["runs"] == [A]
    assert found["blobs"] == done["blobs"]
    assert "nothing to remove" in typed("gc", "--keep-days", 0).stdout


def test_copy_makes_a_store_in_the_folder_of_another_project(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "notebook.ipynb").write_text("{}")
    found = answer("copy", ".", other)
    assert (found["to"], found["well"]) == (str(other / ".mlops"), True)
    assert found["runs"] == {"new": 2, "same": 0, "updated": 0, "kept": 0}
    assert all(digest.startswith("sha256:") for digest in found["digests"].values())
    assert tables(other / ".mlops") == tables(project / ".mlops")
    assert "there before" in typed("copy", ".mlops", other).stdout


def test_copy_exits_with_1_where_something_could_not_be_copied(project, tmp_path):
    next(iter((project / ".mlops").glob("blobs/*/*"))).write_bytes(b"")
    found = answer("copy", ".mlops", tmp_path / "b", code=1)
    assert [finding["kind"] for finding in found["findings"]] == ["blob-damaged"]


def test_copy_refuses_another_run_under_the_same_id_with_2(project, tmp_path):
    from events import run_started

    with Store.open(tmp_path / "b", create=True) as store:
        store.apply([run_started(A, session="another")])
    done = typed("copy", ".mlops", tmp_path / "b")
    assert done.returncode == 2
    assert "Nothing was copied" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["saved", "saved.tar"])
def test_a_backup_is_restored_by_the_command_that_it_names(project, tmp_path, name):
    found = answer("backup", "-o", tmp_path / name)
    assert (found["path"], found["runs"], found["well"]) == (str(tmp_path / name), 2, True)
    assert f"mlops-nb store copy {name} TO" in typed("backup", "-o", name).stdout
    shutil.rmtree(project / ".mlops")
    assert typed("copy", name, ".mlops").returncode == 0
    assert len(tables(project / ".mlops")["runs"]) == 2


def test_a_backup_can_be_checked_as_a_store(project, tmp_path):
    typed("backup", "-o", tmp_path / "saved.tar")
    assert answer("check", "--store", tmp_path / "saved.tar")["runs"] == 2


def test_upgrade_says_that_nothing_was_to_do(project):
    found = answer("upgrade")
    assert found["before"] == found["after"]
    assert "up to date" in typed("upgrade").stdout


@pytest.mark.parametrize("verb", ["info", "check", "gc", "backup", "upgrade"])
def test_where_there_is_no_store_the_error_says_what_to_do(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = typed(verb)
    assert done.returncode == 2
    assert "No store at" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["copy"], ["copy", "a"], ["gc", "--grace-hours", "0.5"]])
def test_what_cannot_be_meant_is_a_usage_error(project, arguments):
    assert typed(*arguments).returncode == 2


# --- servers ------------------------------------------------------------------------------------


def test_a_server_is_named_without_what_opens_it(project, server_store):
    url = server_store.replace("://", "://postgres:correct-horse@", 1)
    url = server_store if "@" in server_store else url
    done = typed("copy", ".mlops", url)
    assert done.returncode == 0, done.stderr
    assert "correct-horse" not in done.stdout + done.stderr
    assert answer("check", "--store", server_store)["well"] is True
    assert answer("info", "--store", server_store)["runs"] == 2


# --- how it looks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "columns"),
    [("check", 140), *((v, 80) for v in ("info", "check", "gc", "copy", "backup", "upgrade"))],
)
def test_at_a_terminal_every_line_fits(project, tmp_path, columns, verb):
    arguments = {"copy": [".mlops", "b"], "backup": ["-o", "s.tar"]}.get(verb, [])
    shown = seen(columns, verb, *arguments)
    last = shown.rpartition("\x1b[2K")[2].replace("\r", "")
    assert last.strip()
    assert [line for line in last.split("\n") if len(line) > columns] == []


def test_a_person_at_a_terminal_sees_how_far_it_is(project):
    assert "check bytes" in seen(100, "check")
    assert "check bytes" not in typed("check").stderr


def test_markdown_of_each_command_has_no_control_characters(project):
    for verb in ("info", "check", "gc", "upgrade"):
        shown = typed(verb, "--format", "md").stdout
        assert shown.strip()
        assert "\x1b" not in shown


def test_a_hostile_name_is_shown_without_what_a_terminal_acts_on(project, tmp_path):
    from store_contents import change_rows

    change_rows(project / ".mlops", "UPDATE tags SET value = CAST(x'1b5d303b6576696cff' AS TEXT)")
    done = typed("check")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
