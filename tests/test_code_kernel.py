"""Code of the project in a real kernel: modules that change behind the cells' backs."""

from __future__ import annotations

import itertools
import os
import subprocess
import time

import pytest

from mlops_nb.store import Store

MODULES = {
    "ours.py": "def f(x):\n    return x + 1\n",
    "space/part.py": "def g(x):\n    return x * 2\n",
    "space/inner/deep.py": "def h(x):\n    return x * 3\n",
}
LOADING = "%load_ext autoreload\n%autoreload 2\n%load_ext mlops_nb\n%mlops_track --interactive"
IMPORTS = "import ours\nimport space.part\nfrom space.inner import deep\nimport mlops_nb as mn"
RUN = "with mn.run('{name}') as run: run.log_metric('v', ours.f(1) + space.part.g(1) + deep.h(1))"
EDITS = {
    "first": None,
    "module": ("ours.py", "x + 1", "x + 10"),
    "part": ("space/part.py", "x * 2", "x * 20"),
    "deep": ("space/inner/deep.py", "x * 3", "x * 30"),
    "layout": ("ours.py", "    return x + 10", "    # as before\n    return x + 10"),
}
VALUES = [7.0, 16.0, 34.0, 61.0, 61.0]


def git(folder, *arguments):
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def edit(path, old, new, clock):
    """Edit a file a while after its last change, without waiting for that."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    later = path.stat().st_mtime + clock
    os.utime(path, (later, later))


def wait_for_code(folder, name):
    """Wait until a thread has looked at the code of a run: nobody edits as fast as a test."""
    end = time.monotonic() + 30
    with Store.open(folder / ".mlops") as store:
        while True:
            store.refresh()
            run = store.find_run(name)
            if run is not None and run.git is not None:
                return
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize("is_versioned", [True, False], ids=["git", "no git"])
def test_an_edit_between_two_cells_is_seen_in_modules_and_namespace_packages(
    new_kernel, tmp_path, is_versioned
):
    for place, text in MODULES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    if is_versioned:
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "--message", "all")
    kernel = new_kernel()
    for cell in (LOADING, IMPORTS):
        assert kernel.run(cell).error is None
    for clock, (name, change) in enumerate(EDITS.items(), start=2):
        if change:
            edit(tmp_path / change[0], *change[1:], clock)
        assert kernel.run(RUN.format(name=name)).error is None
        wait_for_code(tmp_path, name)
    names = list(EDITS)
    said = [
        kernel.run(f"%mlops_diff {old} {new}").result for old, new in itertools.pairwise(names)
    ]
    kernel.run("%unload_ext mlops_nb")
    for text, (place, _, _) in zip(said[:3], list(EDITS.values())[1:4], strict=True):
        assert f"modules  imported, with other content, not committed: {place}" in text
    assert "modules" not in said[3]
    with Store.open(tmp_path / ".mlops") as store:
        store.refresh()
        runs = store.runs()[::-1]
    assert [run.metrics["v"].value for run in runs] == VALUES
    verdicts = [
        {reason["kind"]: reason["text"] for reason in run.verdict["reasons"]} for run in runs
    ]
    if is_versioned:
        assert "dirty-code" not in verdicts[0]
        assert verdicts[3]["dirty-code"].endswith("ours.py, space/part.py, space/inner/deep.py")
    else:
        assert all(len(run.git["modules"]) == 3 for run in runs)
