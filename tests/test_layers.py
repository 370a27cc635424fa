"""The architecture holds: imports point down only, and what is light stays light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mlops_nb"
HEAVY = {"IPython", "pandas", "sqlalchemy", "sklearn", "papermill", "matplotlib"}


def loaded_by(code: str, folder: Path, *arguments: str) -> set[str]:
    """Give the top-level modules that a new process has loaded after the code."""
    report = "import json, sys; sys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    program = f"import atexit\natexit.register(lambda: exec({report!r}))\n{code}"
    answer = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"MLOPS_NB_STORE": str(folder / ".mlops")},
    )
    return {name.partition(".")[0] for name in json.loads(answer.stderr.splitlines()[-1])}


def test_imports_point_down_only(tmp_path):
    command = [Path(sys.executable).parent / "lint-imports", "--cache-dir", tmp_path]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_module_has_its_layer():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = next(
        c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"
    )
    named = {
        name.strip(" ()").removeprefix("mlops_nb.")
        for layer in contract["layers"]
        for name in layer.split("|")
    }
    there = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert there - {"__init__"} == named


def test_importing_the_package_loads_no_heavy_library(tmp_path):
    assert not loaded_by("import mlops_nb", tmp_path) & HEAVY


@pytest.mark.parametrize("name", ["model", "errors", "config", "store"])
def test_the_lowest_layers_load_no_heavy_library(name, tmp_path):
    assert not loaded_by(f"import mlops_nb.{name}", tmp_path) & HEAVY


def test_listing_runs_loads_no_shell_and_no_data_library(tmp_path):
    # A store with nothing in it is still opened, asked and printed.
    record = "import mlops_nb as mn\nwith mn.run('lone') as run: mn.log_metric('accuracy', 0.5)"
    loaded_by(record, tmp_path)
    listing = "import sys; from mlops_nb.cli import main; sys.exit(main())"
    loaded = loaded_by(listing, tmp_path, "runs")
    assert "sqlalchemy" in loaded
    assert not loaded & (HEAVY - {"sqlalchemy"})
