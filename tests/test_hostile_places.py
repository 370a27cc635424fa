"""Bad surroundings of a real session: cells and records go on as in good ones."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress

import pytest

from mlops_nb.store import Store

CELLS = (
    "%load_ext mlops_nb\n%mlops_track --interactive",
    "import mlops_nb as mn\nfrom sklearn.dummy import DummyClassifier",
    "with mn.run('fit'):\n    _ = DummyClassifier().fit([[1], [2]], [0, 1])",
)


def run(kernel, source):
    reply = kernel.run(source)
    assert reply.error is None, reply.error
    assert not reply.stderr
    return reply


def fit_and_end(kernel):
    """Run a session from its beginning to its end; gives its one run."""
    for cell in CELLS:
        run(kernel, cell)
    doctor = run(kernel, "%mlops_doctor").result
    run(kernel, "%unload_ext mlops_nb")
    with Store.open(kernel.folder / ".mlops") as store:
        store.refresh()
        (found,) = store.runs()
    assert found.data[0].digest
    assert doctor.startswith("all is well"), doctor
    return found


def test_a_folder_with_very_many_files_is_worked_in_like_another(new_kernel, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100_000):
        path = f"{folder}/{number:06}.txt"
        if number % 10_000 == 0:
            first = path
            os.close(os.open(first, os.O_CREAT | os.O_WRONLY))
        else:
            os.link(first, path)  # seven times as fast as another file
    kernel = new_kernel(folder=folder)
    fit_and_end(kernel)
    kernel.close()
    shutil.rmtree(folder)


GITS = {
    "hangs": "#!/bin/sh\necho $$ >> {pids}\nexec sleep 1000\n",
    "fails": "#!/bin/sh\nexit 128\n",
}


@pytest.mark.parametrize("kind", list(GITS))
def test_a_git_that_hangs_or_fails_is_no_concern_of_the_cells(
    new_kernel, tmp_path, tmp_path_factory, monkeypatch, kind
):
    programs = tmp_path_factory.mktemp("programs")
    pids = programs / "pids"
    (programs / "git").write_text(GITS[kind].format(pids=pids))
    (programs / "git").chmod(0o755)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    fit_and_end(new_kernel())
    asked = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
    assert asked or kind == "fails"
    end = time.monotonic() + 30
    while any(map(is_there, asked)):
        assert time.monotonic() < end
        time.sleep(0.1)


def is_there(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("content", [b"\0\xff" * 100, b"gitdir: /nowhere\n"])
def test_a_broken_repository_is_no_concern_of_the_cells(new_kernel, tmp_path, content):
    (tmp_path / ".git").write_bytes(content)
    assert (fit_and_end(new_kernel()).git or {}).get("commit") is None


NO_PROC = """
import builtins, io, os

def refusing(function):
    def refuse(path, *args, **kwargs):
        text = path if isinstance(path, (str, bytes, os.PathLike)) else ""
        if os.fsdecode(os.fspath(text)).startswith("/proc") and text:
            raise FileNotFoundError(2, "No such file or directory", path)
        return function(path, *args, **kwargs)
    return refuse

for name in ("open", "stat", "lstat", "readlink", "listdir", "scandir", "access"):
    setattr(os, name, refusing(getattr(os, name)))
builtins.open = io.open = refusing(io.open)
"""


def test_without_proc_everything_but_what_it_tells_is_recorded(
    new_kernel, tmp_path_factory, monkeypatch
):
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(NO_PROC)
    monkeypatch.setenv("PYTHONPATH", str(site))
    kernel = new_kernel()
    assert run(kernel, "import os\nos.path.exists('/proc/self/stat')").result == "False"
    found = fit_and_end(kernel)
    assert found.status == "finished"
    assert found.environment
