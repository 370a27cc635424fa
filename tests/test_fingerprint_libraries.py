"""The same content has the same digest with older libraries, in another process, at any seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fingerprint_matrix
import pytest

ROOT = Path(__file__).parent.parent
MATRIX = Path(__file__).parent / "fingerprint_matrix.py"
LEAST_VALUES = 40


def older_python() -> str:
    """The interpreter with the older libraries; without it nothing may pass unseen."""
    given = os.environ.get("MLOPS_NB_OLDER")
    path = Path(given) if given else ROOT / ".venv-older" / "bin" / "python"
    if not path.exists():
        pytest.fail(f"no interpreter with older libraries at {path}; make it: make .venv-older")
    return str(path)


def answer(python, code, seed="random"):
    """Run a script, or a line, in another process, and return what it printed as JSON."""
    script = [code] if isinstance(code, Path) else ["-c", code]
    done = subprocess.run(
        [python, *script],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def here():
    return fingerprint_matrix.digests()


def test_every_value_of_the_matrix_has_an_exact_digest(here):
    assert [name for name, digest in here.items() if not digest.startswith("nbfp1:")] == []
    assert len(here) >= LEAST_VALUES


def test_no_two_values_of_the_matrix_are_taken_for_the_same(here):
    # Stored otherwise, but the same content.
    same = {
        frozenset({"pandas string python", "pandas string pyarrow", "pandas object texts"}),
        frozenset({"frame with shifted range", "frame with counted labels"}),
        frozenset({"pandas boolean", "pandas bool of Arrow"}),
    }
    by_digest = {}
    for name, digest in here.items():
        by_digest.setdefault(digest, set()).add(name)
    doubled = {frozenset(names) for names in by_digest.values() if len(names) > 1}
    assert doubled == same


def test_older_libraries_give_the_same_digests(here):
    versions = answer(
        older_python(),
        "import json, numpy, pandas, pyarrow\n"
        "print(json.dumps([m.__version__ for m in (numpy, pandas, pyarrow)]))",
    )
    assert versions == ["1.26.4", "2.2.3", "16.1.0"]
    assert answer(older_python(), MATRIX, "4711") == here


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_another_process_gives_the_same_digests_at_any_hash_seed(here, seed):
    assert answer(sys.executable, MATRIX, seed) == here
