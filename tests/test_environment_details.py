"""What is found out about an environment in the background: metadata, origins, imports."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
from wheels import Venv, make_wheel

from mlops_nb.environment import (
    compare_environments,
    details,
    machine,
    normal_name,
    read_details,
    read_environment,
    read_imports,
)
from mlops_nb.environment.distributions import Distribution, installed
from mlops_nb.environment.metadata import read_metadata, read_origin, record_digest, shortened


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of distributions, first on the path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def put(site, entry, **files):
    """Write the metadata of a distribution."""
    folder = site / entry
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    name, _, version = entry.removesuffix(".dist-info").partition("-")
    return Distribution(version, str(site), entry), normal_name(name)


def direct(**facts):
    return {"direct_url__json": json.dumps(facts)}


# --- metadata ---------------------------------------------------------------------------------


def test_what_metadata_says_is_what_importlib_says():
    found = read_details()["distributions"]
    for one in importlib.metadata.distributions():
        mine = found[normal_name(one.metadata["Name"])]
        assert (mine["name"], mine["version"]) == (one.metadata["Name"], one.version)


def test_an_environment_without_wheels_is_read_as_exactly(tmp_path):
    venv = Venv(tmp_path / "venv", tmp_path)
    site = next((tmp_path / "venv").glob("lib/*/site-packages"))
    old = site / "Old_Style.Name-1.0_1-py3.11.egg-info"
    old.write_text("Metadata-Version: 1.0\nName: Old-Style.Name\nVersion: 1.0-1\n")
    found = venv.content()
    assert found["details"]["distributions"]["old-style-name"] == {
        "name": "Old-Style.Name",
        "version": "1.0-1",
    }


def test_requirements_of_extras_are_none_of_a_distribution(site):
    headers = (
        "Name: thing\nVersion: 1.0\n"
        "Requires-Dist: Other_One (>=1.0)\n"
        "Requires-Dist: third[fast]>=2 ; python_version < '4'\n"
        "Requires-Dist: never ; extra == 'all'\n"
        "\nRequires-Dist: description\n"
    )
    one, _ = put(site, "thing-1.0.dist-info", METADATA=headers)
    assert read_metadata(one)["requires"] == ["other-one", "third"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(
            {
                "url": "https://me:tok@host/x.git?a=b",
                "vcs_info": {"vcs": "git", "commit_id": "ab"},
            },
            {"kind": "vcs", "url": "https://host/x.git", "vcs": "git", "commit": "ab"},
            id="version control",
        ),
        pytest.param(
            {"url": "file:///srv/my%20lib", "dir_info": {"editable": True}},
            {"kind": "editable", "path": "/srv/my lib"},
            id="editable",
        ),
        pytest.param(
            {"url": "file:///srv/lib", "dir_info": {}},
            {"kind": "folder", "path": "/srv/lib"},
            id="folder",
        ),
        pytest.param(
            {"url": "https://u:p@host/a.whl", "archive_info": {"hash": "sha256=ff"}},
            {"kind": "archive", "url": "https://host/a.whl", "hashes": {"sha256": "ff"}},
            id="archive",
        ),
        pytest.param(
            {"url": "file:///a.whl", "archive_info": {"hashes": {"sha256": "ff"}}},
            {"kind": "archive", "path": "/a.whl", "hashes": {"sha256": "ff"}},
            id="local archive",
        ),
        pytest.param({"url": 7}, None, id="no address"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_where_a_distribution_came_from_is_told_without_credentials(site, facts, expected):
    one, _ = put(site, "thing-1.0.dist-info", **direct(**facts))
    assert read_origin(one) == expected


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, '"text"', "null", '{"url": "file://[x"}']
)
def test_a_broken_origin_is_no_error(site, text):
    one, _ = put(site, "thing-1.0.dist-info", direct_url__json=text)
    assert read_origin(one) in (None, {"kind": "folder", "path": ""})


def test_the_users_name_is_in_no_path(monkeypatch):
    monkeypatch.setenv("HOME", "/people/ann")
    assert shortened("/people/ann/code/lib") == "~/code/lib"
    assert shortened("/people/anna/lib") == "/people/anna/lib"


def test_one_wheel_has_one_digest_whoever_installed_it(tmp_path):
    wheel = make_wheel(tmp_path / "links", "lone", "1.0")
    digests = []
    for number in range(2):
        site = tmp_path / f"site{number}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        if number:
            command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target"]
        subprocess.run([*command, str(site), str(wheel)], check=True, capture_output=True)
        digests.append(record_digest(Distribution("1.0", str(site), "lone-1.0.dist-info")))
    records = [(tmp_path / f"site{n}/lone-1.0.dist-info/RECORD").read_text() for n in (0, 1)]
    assert records[0] != records[1]
    assert digests[0] == digests[1] is not None


# --- imports ----------------------------------------------------------------------------------


def test_each_imported_module_has_its_distribution(tmp_path):
    links = tmp_path / "links"
    make_wheel(links, "Py-Thing", "1.0", module="thing")
    make_wheel(links, "space-a", "1.0", files={"space/a/__init__.py": ""})
    make_wheel(links, "space-b", "1.0", files={"space/b.py": ""})
    make_wheel(links, "idle", "1.0")
    make_wheel(links, "single", "1.0", files={"single.py": ""})
    venv = Venv(tmp_path / "venv", links)
    venv.install("py-thing", "space-a", "space-b", "idle", "single")
    found = venv.content("thing", "space.b", "single")["details"]
    assert found["imported"] == {"py-thing": "1.0", "single": "1.0", "space-b": "1.0"}
    assert found["modules"]["space"] == ["space-b"]
    assert found["distributions"]["py-thing"]["record"].startswith("sha256:")
    assert "record" not in found["distributions"]["idle"]


def test_the_owners_are_those_that_importlib_names():
    import numpy as np
    import yaml

    expected = importlib.metadata.packages_distributions()
    modules = {"numpy": np, "yaml": yaml, "pytest": pytest}
    found = read_details(modules=modules)["modules"]
    assert found == {name: [normal_name(one) for one in expected[name]] for name in modules}


def test_reading_details_imports_nothing_of_what_is_installed():
    program = (
        "import sys\n"
        "from mlops_nb.environment import read_details\n"
        "read_details()\n"
        "print({'pandas', 'numpy', 'IPython', 'importlib.metadata'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def test_what_is_imported_later_is_told_without_reading_again(monkeypatch):
    import yaml

    environment = read_environment()
    before = read_imports(environment, {})
    read_details(environment, {"yaml": yaml})

    def forbidden(*_):
        raise AssertionError

    monkeypatch.setattr(details, "first_parts", forbidden)
    monkeypatch.setattr(details, "read_metadata", forbidden)
    after = read_imports(environment, {"yaml": yaml, "pytest": pytest})
    assert before["imported"] == {}
    assert set(after["imported"]) == {"pyyaml", "pytest"}


def test_a_package_installed_while_a_session_runs_makes_a_new_environment(tmp_path):
    links = tmp_path / "links"
    make_wheel(links, "late", "2.0")
    venv = Venv(tmp_path / "venv", links)
    install = [*(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-index")]
    install += ["--python", venv.python, "--find-links", str(links), "late"]
    program = (
        f"import sys, subprocess; sys.path.append({str(details.__file__.rsplit('/', 3)[0])!r})\n"
        "from mlops_nb.environment import *\n"
        "before = read_environment(); read_details(before)\n"
        f"subprocess.run({install!r}, check=True)\n"
        "import importlib; importlib.invalidate_caches(); import late\n"
        "after = read_environment()\n"
        "print(before.digest != after.digest, after.content['packages'].get('late'),\n"
        "      read_details(after)['imported'])\n"
    )
    answer = subprocess.run(
        [venv.python, "-c", program], capture_output=True, text=True, check=False
    )
    assert answer.stdout.strip() == "True 2.0 {'late': '2.0'}", answer.stderr


# --- editable installations -------------------------------------------------------------------


def test_an_editable_installation_has_the_state_of_its_working_copy(tmp_path):
    library = tmp_path / "library"
    (library / "src/lib").mkdir(parents=True)
    (library / "src/lib/__init__.py").touch()
    (library / "setup.py").write_text(
        "from setuptools import setup\n"
        "setup(name='lib', version='3.1', packages=['lib'], package_dir={'': 'src'})\n"
    )
    venv = Venv(tmp_path / "venv", tmp_path)
    site = next((tmp_path / "venv").glob("lib/*/site-packages"))
    # As `pip install --editable` leaves it, without its index for setuptools.
    info = site / "lib-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lib\nVersion: 3.1\n")
    url = {"url": library.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    (info / "RECORD").write_text("__editable__.lib-3.1.pth,,\n")
    (site / "__editable__.lib-3.1.pth").write_text(str(library / "src"))
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-C", str(library)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*command, *arguments], check=True)
    clean = venv.content("lib")
    assert clean["details"]["imported"] == {"lib": "3.1"}
    (state,) = clean["details"]["editable"].values()
    assert (state["version"], state["dirty"]) == ("3.1", False)
    (library / "src/lib/__init__.py").write_text("x = 1")
    dirty = venv.content("lib")
    found = compare_environments(clean, dirty)
    assert clean["software"] == dirty["software"]
    assert found["editable"] == {"lib": {"dirty": [False, True]}}
    assert (found["same"], found["imported"]) == (False, ["lib"])


# --- comparison -------------------------------------------------------------------------------


def test_what_was_imported_comes_first():
    old = {"packages": {"a": "1", "b": "1", "z": "1"}, "details": {"imported": {"z": "1"}}}
    new = {"packages": {"a": "2", "b": "1", "z": "2"}}
    found = compare_environments(old, new)
    assert list(found["packages"]["changed"]) == ["z", "a"]
    assert found["imported"] == ["z"]


def test_without_details_nothing_is_said_of_imports():
    found = compare_environments({"packages": {"a": "1"}}, {"packages": {"a": "2"}})
    assert found["imported"] is None


def test_another_build_of_one_version_is_a_difference():
    def content(record):
        one = {"version": "1", "record": record}
        return {"packages": {"a": "1"}, "details": {"distributions": {"a": one}}}

    found = compare_environments(content("sha256:1"), content("sha256:2"))
    assert (found["rebuilt"], found["same"]) == (["a"], False)
    assert compare_environments(content("sha256:1"), content(None))["same"]


# --- the machine ------------------------------------------------------------------------------


@pytest.fixture
def driver(tmp_path):
    folder = tmp_path / "nvidia"
    (folder / "gpus/0000:01:00.0").mkdir(parents=True)
    (folder / "version").write_text("NVRM version: NVIDIA UNIX Kernel Module  535.1  Tue\n")
    (folder / "gpus/0000:01:00.0/information").write_text("Model: \t\t NVIDIA T4\nIRQ: 1\n")
    return folder


def put_program(folder, text, monkeypatch):
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_memory_of_a_card_is_asked_of_its_driver(driver, tmp_path, monkeypatch):
    put_program(tmp_path / "bin", "echo 'NVIDIA T4, 535.1, 15360, 7.5'", monkeypatch)
    (card,) = machine.read_gpus(driver)
    assert card == {
        "model": "NVIDIA T4",
        "driver": "535.1",
        "capability": "7.5",
        "memory_bytes": 15360 * 1024**2,
    }


@pytest.mark.parametrize("program", ["exit 9", "echo nonsense", "echo"])
def test_a_driver_that_says_nothing_leaves_what_the_kernel_says(
    driver, tmp_path, monkeypatch, program
):
    put_program(tmp_path / "bin", program, monkeypatch)
    assert machine.read_gpus(driver) == [{"model": "NVIDIA T4", "driver": "535.1"}]


def test_without_a_card_no_program_is_started(tmp_path, monkeypatch):
    put_program(tmp_path / "bin", f"touch {tmp_path}/was_run", monkeypatch)
    assert machine.read_gpus(tmp_path / "none") == []
    assert not (tmp_path / "was_run").exists()


def test_the_build_of_python_is_told():
    build = read_details()["build"]
    assert build["bits"] in {32, 64}
    assert build["is_virtual"] == (sys.prefix != sys.base_prefix)
    assert installed()
