"""The locks hold names, versions and hashes, and no file tells where the project was made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"[a-z0-9][a-z0-9.-]*==\S+( ; [^#]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

# Put together here, or this file would be the first to be found.
REGISTRIES = ["py" + "pi.org", "pythonhosted" + ".org", "npmjs" + ".org", "debian" + ".org"]
MACHINE_PATHS = ["/" + folder + "/" for folder in ("work", "root", "opt")]


def project_files() -> list[Path]:
    """Every file that git tracks or would; in an unpacked source archive, every file."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    paths = (
        [ROOT / line for line in listing.stdout.splitlines()]
        if listing.returncode == 0
        else [p for p in ROOT.rglob("*") if not any(part.startswith(".venv") for part in p.parts)]
    )
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_names_versions_and_hashes_only(lock):
    lines = lock.read_text("utf-8").splitlines()
    assert [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line))] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_a_hash(lock):
    lines = lock.read_text("utf-8").splitlines()
    bare = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if PIN.fullmatch(line) and not HASH.fullmatch(following)
    ]
    assert lines
    assert bare == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_no_lock_pulls_in_a_deep_learning_framework(lock):
    heavy = re.compile(r"^(torch|tensorflow|jax|nvidia-)[^=]*==", re.MULTILINE)
    # torch has a lock of its own, which nothing needs but its tests, and comes without CUDA.
    allowed = ["torch"] if lock.name == "torch.txt" else []
    assert heavy.findall(lock.read_text("utf-8")) == allowed


def test_the_demo_runs_on_the_versions_that_are_tested():
    tested = pins(ROOT / "requirements" / "test.txt")
    assert pins(ROOT / "requirements" / "demo.txt") <= tested


def pins(lock: Path) -> set[str]:
    """Give ``name==version`` of each pin."""
    return set(re.findall(r"^\S+==\S+", lock.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    "trace",
    [
        *(pytest.param(host, id=f"host {number}") for number, host in enumerate(REGISTRIES)),
        *(pytest.param(path, id=f"path {number}") for number, path in enumerate(MACHINE_PATHS)),
        pytest.param(str(ROOT) + "/", id="this checkout"),
    ],
)
def test_no_file_names_a_registry_or_a_place_on_a_machine(trace):
    # At a word's start only: "network/" ends in one of the folder names without being one.
    found = re.compile(rb"(?<![\w.-])" + re.escape(trace.encode()))
    assert [
        str(p.relative_to(ROOT)) for p in project_files() if found.search(p.read_bytes())
    ] == []
