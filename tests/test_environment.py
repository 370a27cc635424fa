"""Environments: what a session runs on, read without waiting and without secrets."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops_nb.environment import (
    compare_environments,
    distributions,
    git_state,
    machine,
    normal_name,
    read_environment,
    reading,
    without_credentials,
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of distributions, first on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def packages():
    return read_environment().content["packages"]


# --- packages ---------------------------------------------------------------------------------


def test_every_installed_distribution_is_there_with_its_version():
    expected = {}
    for distribution in importlib.metadata.distributions():
        expected.setdefault(normal_name(distribution.metadata["Name"]), distribution.version)
    assert packages() == expected


def test_a_distribution_installed_later_is_seen(site):
    before = read_environment()
    (site / "New_Thing-1.2.dist-info").mkdir()
    after = read_environment()
    assert after.digest != before.digest
    assert compare_environments(before, after)["packages"] == {
        "added": {"new-thing": "1.2"},
        "removed": {},
        "changed": {},
    }


def test_an_upgrade_is_seen(site):
    (site / "thing-1.0.dist-info").mkdir()
    before = read_environment()
    (site / "thing-1.0.dist-info").rename(site / "thing-2.0.dist-info")
    changed = compare_environments(before, read_environment())["packages"]["changed"]
    assert changed == {"thing": ["1.0", "2.0"]}


def test_the_first_one_on_the_path_is_the_one_in_use(site):
    (site / "pytest-0.0.1.dist-info").mkdir()
    assert packages()["pytest"] == "0.0.1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("old_one-3.1-py3.11.egg-info", {"old-one": "3.1"}, id="egg-info"),
        pytest.param("developed.egg-info", {"developed": "4.5"}, id="develop install"),
        pytest.param("~ip-1.0.dist-info", {}, id="half removed by pip"),
        pytest.param("notes.txt", {}, id="a file"),
    ],
)
def test_names_of_metadata_folders_are_read(site, name, expected):
    before = packages()
    (site / name).mkdir()
    (site / name / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: x\nVersion: 4.5\n")
    assert {k: v for k, v in packages().items() if k not in before} == expected


def test_a_folder_full_of_data_is_not_read_to_its_end(site, monkeypatch):
    for number in range(distributions._ENTRIES_CAP + 500):
        (site / f"row-{number}").touch()
    seen = []
    real = os.scandir

    class Counted:
        def __init__(self, folder):
            self.entries = real(folder)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.entries.close()

        def __iter__(self):
            return self

        def __next__(self):
            seen.append(1)
            return next(self.entries)

    monkeypatch.setattr(os, "scandir", Counted)
    assert distributions.scan(str(site)) == {}
    assert len(seen) == distributions._ENTRIES_CAP


def test_a_path_entry_that_is_no_folder_is_passed_over(tmp_path, monkeypatch):
    before = packages()
    (tmp_path / "code.zip").write_bytes(b"PK")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "code.zip"), str(tmp_path / "no")])
    assert packages() == before


def test_reading_again_looks_into_no_folder(monkeypatch):
    before = read_environment()

    def forbidden(_):
        raise AssertionError

    monkeypatch.setattr(os, "scandir", forbidden)
    assert read_environment() is before


# --- the rest ---------------------------------------------------------------------------------


def test_the_digest_is_of_the_content():
    found = read_environment()
    text = json.dumps(dict(found.content), sort_keys=True, separators=(",", ":"))
    assert found.digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert json.loads(text) == found.content


def test_another_process_has_the_same_environment():
    code = "from mlops_nb.environment import read_environment; print(read_environment().digest)"
    folder = Path(__file__).parent
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_only_allowed_variables_are_read(monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = read_environment()
    assert "hunter2" not in json.dumps(before.content)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    after = read_environment()
    assert before.digest != after.digest
    assert compare_environments(before, after)["variables"] == {"OMP_NUM_THREADS": ["1", "2"]}


def test_python_os_and_hardware_are_there():
    content = read_environment().content
    assert content["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert content["os"]["machine"] == os.uname().machine
    assert content["hardware"]["cpus"] == os.cpu_count()
    assert content["hardware"]["memory_bytes"] > 0


def test_another_machine_with_the_same_installation_shares_the_software_only(monkeypatch):
    before = read_environment()
    monkeypatch.setattr(reading, "_last", None)
    monkeypatch.setattr(os, "cpu_count", lambda: 1024)
    after = read_environment()
    monkeypatch.setattr(reading, "_last", None)
    found = compare_environments(before, after)
    assert before.digest != after.digest
    assert before.content["software"] == after.content["software"]
    assert (found["same"], found["same_software"]) == (False, True)
    assert found["hardware"]["cpus"][1] == 1024


def test_a_machine_without_proc_is_described_as_far_as_it_goes(monkeypatch):
    monkeypatch.setattr(machine, "head", lambda *_: "")
    hardware = machine.hardware()
    assert (hardware["cpu"], hardware["gpus"]) == ("", [])
    assert machine.operating_system()["distribution"] == ""


def test_an_environment_is_the_same_as_itself():
    found = compare_environments(read_environment(), read_environment())
    assert found["same"]
    assert found["packages"] == {"added": {}, "removed": {}, "changed": {}}


def test_reading_loads_no_metadata_library():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from mlops_nb.environment import read_environment\nread_environment()\n"
        "new = set(sys.modules) - before\n"
        "print({'importlib.metadata', 'email', 'platform', 'IPython', 'pandas'} & new)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


# --- git --------------------------------------------------------------------------------------


def git(folder, *arguments):
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    answer = subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "model.py").write_text("x = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_repository_has_a_commit_and_a_branch(repository):
    (repository / "sub").mkdir()
    assert git_state(repository / "sub") == {
        "commit": git(repository, "rev-parse", "HEAD"),
        "branch": "main",
        "dirty": False,
        "root": str(repository),
        "remote": None,
    }


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(repository):
    (repository / "notes.txt").write_text("new")
    assert git_state(repository)["dirty"] is False
    (repository / "model.py").write_text("x = 2\n")
    assert git_state(repository)["dirty"] is True


def test_a_detached_head_has_no_branch(repository):
    git(repository, "checkout", "-q", "--detach")
    assert git_state(repository)["branch"] is None


def test_before_the_first_commit_there_is_none(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main")
    found = git_state(tmp_path)
    assert (found["commit"], found["branch"]) == (None, "main")


def test_a_linked_working_copy_knows_the_remote(repository, tmp_path):
    git(repository, "remote", "add", "backup", "https://example.org/backup.git")
    git(repository, "remote", "add", "origin", "https://me:secret@example.org/code.git")
    git(repository, "worktree", "add", "-q", "-b", "try", str(tmp_path / "try"))
    for folder in (repository, tmp_path / "try"):
        assert git_state(folder)["remote"] == "https://example.org/code.git"
    assert git_state(tmp_path / "try")["branch"] == "try"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a.git", "https://example.org/a.git"),
        ("https://user:p@ss@example.org/a.git", "https://example.org/a.git"),
        ("https://ghp_token@example.org:8443/a.git", "https://example.org:8443/a.git"),
        ("https://example.org/a.git?private_token=x#y", "https://example.org/a.git"),
        ("ssh://git@example.org/a.git", "ssh://example.org/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("token@example.org:a/b.git", "example.org:a/b.git"),
        ("/srv/git/a@b.git", "/srv/git/a@b.git"),
        ("../a.git", "../a.git"),
    ],
)
def test_no_credentials_are_kept_of_a_remote(url, expected):
    assert without_credentials(url) == expected


def test_outside_a_repository_there_is_no_state(tmp_path):
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "missing") is None


def test_a_broken_repository_has_no_state(repository):
    (repository / ".git" / "HEAD").write_text("nonsense")
    assert git_state(repository) is None


def test_without_git_there_is_no_state(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(repository) is None


def test_the_users_git_variables_do_not_point_elsewhere(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git_state(repository)["commit"] == commit


def test_a_git_that_hangs_is_ended_with_its_children(repository, tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "git"
    script.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {tools}/child\nwait\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert git_state(repository, timeout_s=3.0) is None
    child = int((tools / "child").read_text())
    for _ in range(200):
        if is_gone(child):
            return
        time.sleep(0.05)
    pytest.fail("git's child is still there")


def is_gone(pid):
    """Tell whether a process has ended; one that nobody has waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_reading_the_state_writes_nothing_into_the_repository(repository):
    index = repository / ".git" / "index"
    # Another time of the same content: git status would take the lock and note it in the index.
    os.utime(repository / "model.py", (1, 1))
    before = index.read_bytes()
    assert git_state(repository)["dirty"] is False
    assert index.read_bytes() == before
