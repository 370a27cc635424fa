"""What is installed from an archive is the whole package, and it works away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel as `pip install` of the source archive does: from what is in the archive."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, "sdist", folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    unpacked = next(path for path in folder.iterdir() if path.is_dir())
    build(unpacked, "wheel", folder)
    return next(folder.glob("*.whl"))


def build(source: Path, target: str, folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        check=True,
        capture_output=True,
        cwd=source,
    )


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """Make an environment that has the package from the wheel and nothing from the checkout.

    The dependencies are those of the tests, by a path file; it is read after the environment's
    own packages, and the editable installation behind it is not followed.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    uv = Path(sys.executable).parent / "uv"
    target = ["--python", folder / "bin" / "python", "--no-deps", "--offline"]
    subprocess.run([uv, "pip", "install", *target, wheel], check=True, capture_output=True)
    return folder


def test_the_wheel_holds_every_file_of_the_package(wheel):
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mlops_nb").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mlops_nb/")}
    assert packed == there
    assert "mlops_nb/py.typed" in packed
    assert any("/migrations/versions/" in name for name in packed)


def test_an_installed_package_tracks_a_cell(environment, tmp_path):
    program = """
import json, mlops_nb
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.extension_manager.load_extension("mlops_nb")
shell.run_line_magic("mlops_track", "")
shell.run_cell("import mlops_nb as mn\\nwith mn.run('installed'): mn.log_metric('accuracy', 0.5)")
print(json.dumps([mlops_nb.__file__, [run.name for run in mlops_nb.runs().runs]]))
"""
    answer = run_in(environment, tmp_path, "python", "-c", program)
    file, names = json.loads(answer.splitlines()[-1])
    assert Path(file).is_relative_to(environment)
    assert names == ["installed"]


def test_an_installed_package_has_its_command(environment, tmp_path):
    assert "0." in run_in(environment, tmp_path, "mlops-nb", "--version")


def test_papermill_finds_the_engine_of_an_installed_package(environment, tmp_path):
    program = (
        "from papermill.engines import papermill_engines as engines; engines.register_entry_points()"
        "; print(engines.get_engine('mlops_nb').__module__)"
    )
    assert run_in(environment, tmp_path, "python", "-c", program).startswith("mlops_nb.")


def run_in(environment: Path, folder: Path, command: str, *arguments: str) -> str:
    """Run a command of the environment and give what it printed."""
    answer = subprocess.run(
        [environment / "bin" / command, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ
        | {"MLOPS_NB_STORE": str(folder / ".mlops"), "IPYTHONDIR": str(folder / "ipython")},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
