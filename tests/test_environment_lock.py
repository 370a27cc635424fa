"""Lock files: what is written rebuilds the environment, and what cannot be locked is said."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from wheels import Venv, make_wheel

from mlops_nb.environment import LockFailed, write_lock
from mlops_nb.environment import lock as lock_module
from mlops_nb.environment.lock import packages_to_lock


@pytest.fixture(autouse=True)
def links(tmp_path, monkeypatch):
    """A folder of wheels, which an index on this machine gives to uv and pip."""
    folder = make_links(tmp_path)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with Index(folder) as address:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://ann:hunter2@{address}/simple")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://ann:hunter2@{address}/simple")
        yield folder


def make_links(place):
    folder = place / "links"
    make_wheel(folder, "first", "1.0", requires=["second>=1", "absent", "never; extra == 'x'"])
    make_wheel(folder, "second", "1.5")
    make_wheel(folder, "second", "2.0")
    make_wheel(folder, "idle", "0.1")
    return folder


class Index:
    """A package index in the plain form: a page of links for each package."""

    def __init__(self, folder):
        handler = functools.partial(Pages, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Pages(http.server.SimpleHTTPRequestHandler):
    """Serves the wheels that are there now, to whoever gives the password."""

    def do_GET(self):
        if "Authorization" not in self.headers and self.path.startswith("/simple"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=index")
            self.end_headers()
            return
        if not self.path.startswith("/simple"):
            super().do_GET()
            return
        name = self.path.strip("/").rpartition("/")[2].replace("-", "_")
        wheels = sorted(Path(self.directory).glob(f"{name}-*.whl"))
        digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
        page = "".join(
            f'<a href="/{wheel.name}#sha256={digest}">{wheel.name}</a>'
            for wheel, digest in zip(wheels, digests, strict=True)
        ).encode()
        self.send_response(200 if wheels else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """An environment of three packages, of which one is imported and requires another."""
    place = tmp_path_factory.mktemp("place")
    venv = Venv(place / "venv", make_links(place))
    venv.install("--no-deps", "first", "second==1.5", "idle")
    return venv.content("first")


def only(monkeypatch, name):
    real = lock_module._command
    monkeypatch.setattr(lock_module, "_command", lambda n: real(n) if n == name else None)


# --- a lock rebuilds --------------------------------------------------------------------------


def test_a_lock_rebuilds_what_was_imported_and_what_that_requires(tmp_path, links, content):
    result = write_lock(content, tmp_path)
    assert result.path == tmp_path / "pylock.toml"
    assert dict(result.packages) == {"first": "1.0", "second": "1.5"}
    assert (result.unlocked, result.is_verified) == ((), True)
    tables = tomllib.loads(result.path.read_text())["packages"]
    digest = hashlib.sha256((links / "second-1.5-py3-none-any.whl").read_bytes()).hexdigest()
    assert digest in str(tables)
    other = Venv(tmp_path / "other", links)
    other.sync(result.path)
    assert other.versions() == {"first": "1.0", "second": "1.5"}
    assert set(other.content("first")["packages"]) == {"first", "second"}


def test_everything_installed_can_be_locked(tmp_path, links, content):
    result = write_lock(content, tmp_path / "pylock.whole.toml", all_packages=True)
    other = Venv(tmp_path / "other", links)
    other.sync(result.path)
    assert other.versions() == content["packages"] == dict(result.packages)


def test_a_lock_notices_a_package_that_is_another_one_now(tmp_path, links, content):
    result = write_lock(content, tmp_path, kind="requirements")
    make_wheel(links, "second", "1.5", files={"second/__init__.py": "changed = 1\n"})
    other = Venv(tmp_path / "other", links)
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", other.python]
    answer = subprocess.run(
        [*command, "--no-deps", "--require-hashes", "-r", str(result.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode != 0
    assert "ash mismatch" in answer.stderr


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_requirements_have_hashes_and_rebuild(tmp_path, links, content, monkeypatch, tool):
    only(monkeypatch, tool)
    result = write_lock(content, tmp_path / "locked.txt", kind="requirements")
    assert result.tool.startswith(tool)
    assert result.path.read_text().count("--hash=sha256:") == 2
    other = Venv(tmp_path / "other", links)
    other.install("--no-deps", "--require-hashes", "-r", str(result.path))
    assert other.versions() == {"first": "1.0", "second": "1.5"}


def test_an_old_pip_alone_writes_requirements(tmp_path, content, monkeypatch):
    only(monkeypatch, "pip")
    monkeypatch.setattr(lock_module, "_version_of", lambda _: (23, 2))
    assert write_lock(content, tmp_path).path == tmp_path / "requirements.lock.txt"
    with pytest.raises(LockFailed, match="neither uv nor a pip"):
        write_lock(content, tmp_path / "pylock.toml")


def test_without_a_tool_the_remedy_is_named(tmp_path, content, monkeypatch):
    monkeypatch.setattr(lock_module, "_command", lambda _: None)
    with pytest.raises(LockFailed, match="pip install uv") as caught:
        write_lock(content, tmp_path)
    assert caught.value.path == str(tmp_path)
    assert write_lock(content, tmp_path, offline=True).is_verified is False


# --- offline ----------------------------------------------------------------------------------


def test_offline_asks_nobody_and_says_so_first(tmp_path, content, monkeypatch):
    monkeypatch.setattr(lock_module, "_command", pytest.fail)
    result = write_lock(content, tmp_path, offline=True)
    lines = result.path.read_text().splitlines()
    assert lines[0].startswith("# unverified")
    assert [line for line in lines if line and line[0] != "#"] == ["first==1.0", "second==1.5"]
    assert (result.is_verified, result.tool) == (False, "")


# --- what cannot be locked --------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_package_that_no_index_has_is_left_out_and_named(
    tmp_path, links, content, monkeypatch, tool
):
    only(monkeypatch, tool)
    (links / "second-1.5-py3-none-any.whl").unlink()
    said = []
    result = write_lock(content, tmp_path, kind="requirements", on_progress=said.append)
    assert dict(result.packages) == {"first": "1.0"}
    assert [(one.name, one.version) for one in result.unlocked] == [("second", "1.5")]
    assert "second 1.5" in result.path.read_text()
    assert any("second 1.5 is in no index" in line for line in said)


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_an_index_out_of_reach_is_no_missing_package(tmp_path, content, monkeypatch, tool):
    only(monkeypatch, tool)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(LockFailed, match=r"reaches no package index.*offline"):
        write_lock(content, tmp_path)
    assert not (tmp_path / "pylock.toml").exists()


def test_a_tool_that_hangs_is_ended(tmp_path, content, monkeypatch):
    script = tmp_path / "uv"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo uv 1.0 && exit\nexec sleep 300\n')
    script.chmod(0o755)
    monkeypatch.setattr(lock_module, "_command", lambda _: [str(script)])
    with pytest.raises(LockFailed, match=r"no answer within 0\.5 s"):
        write_lock(content, tmp_path, timeout_s=0.5)


def test_an_editable_installation_is_named_with_its_commit():
    origin = {"kind": "editable", "path": "~/lib"}
    state = {"path": "~/lib", "version": "1", "commit": "0123456789abcdef", "dirty": True}
    details = {"distributions": {"lib": {"version": "1", "direct": origin}}}
    details |= {"imported": {"lib": "1"}, "editable": {"lib": state}}
    wanted, unlocked = packages_to_lock({"packages": {"lib": "1"}, "details": details})
    assert unlocked == ()
    assert lock_module.as_requirement(wanted[0]) == (
        "an editable installation of ~/lib at commit 0123456789ab, with uncommitted changes"
    )


def test_a_package_from_a_repository_is_locked_to_its_commit(tmp_path, links):
    library = tmp_path / "library"
    (library / "vlib").mkdir(parents=True)
    (library / "vlib/__init__.py").write_text("x = 1\n")
    (library / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    (library / "backend.py").write_text(BACKEND)
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-C", str(library)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*command, *arguments], check=True)
    venv = Venv(tmp_path / "venv", links)
    venv.install(f"vlib @ git+{library.as_uri()}")
    content = venv.content("vlib")
    commit = content["details"]["distributions"]["vlib"]["direct"]["commit"]
    (library / "vlib/__init__.py").write_text("x = 2\n")
    subprocess.run([*command, "commit", "-q", "-am", "two"], check=True)
    result = write_lock(content, tmp_path)
    assert commit in result.path.read_text()
    assert dict(result.packages) == {"vlib": "7.0"}
    other = Venv(tmp_path / "other", links)
    other.sync(result.path)
    found = other.content("vlib")["details"]["distributions"]["vlib"]
    assert found["direct"]["commit"] == commit
    site = next((tmp_path / "other").glob("lib/*/site-packages"))
    assert (site / "vlib/__init__.py").read_text() == "x = 1\n"
    plain = write_lock(content, tmp_path, kind="requirements")
    assert f"vlib @ git+file://{library}@{commit}" in plain.path.read_text()


BACKEND = """
import zipfile
FILES = {
    "vlib/__init__.py": open("vlib/__init__.py").read(),
    "vlib-7.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: vlib\\nVersion: 7.0\\n",
    "vlib-7.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "vlib-7.0.dist-info/RECORD": "",
}
def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/vlib-7.0-py3-none-any.whl", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return "vlib-7.0-py3-none-any.whl"
"""


# --- the file ---------------------------------------------------------------------------------


def test_a_file_of_somebody_else_is_not_replaced(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("numpy\n")
    content = {"packages": {"first": "1.0"}}
    with pytest.raises(LockFailed, match="has not written"):
        write_lock(content, path, offline=True)
    assert path.read_text() == "numpy\n"
    write_lock(content, path, offline=True, overwrite=True)
    write_lock({"packages": {"first": "2.0"}}, path, offline=True)
    assert "first==2.0" in path.read_text()


@pytest.mark.parametrize("name", ["lock.toml", "pylock.a.b.toml", "requirements.txt"])
def test_a_name_that_tools_do_not_know_is_refused(tmp_path, content, name):
    with pytest.raises(LockFailed, match=r"pylock\.NAME\.toml"):
        write_lock(content, tmp_path / name)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LockFailed, match="cannot be written"):
        write_lock({"packages": {}}, tmp_path / "no/where.txt", offline=True)


def test_an_interrupted_lock_leaves_nothing_behind(tmp_path, content, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_module, "ask", interrupted)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write_lock(content, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["pylock", "requirements"])
def test_credentials_of_an_index_are_not_in_the_lock(tmp_path, content, kind):
    result = write_lock(content, tmp_path, kind=kind)
    text = result.path.read_text()
    assert ("http://127.0.0.1:" in text) == (kind == "pylock")
    assert "hunter2" not in text
    assert result.is_verified


def test_where_an_index_gives_no_hashes_the_lock_says_so(tmp_path, links, content, monkeypatch):
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    only(monkeypatch, "uv")
    result = write_lock(content, tmp_path, kind="requirements")
    assert result.is_verified is False
    assert result.path.read_text().startswith("# unverified")


def test_the_file_is_readable_by_others_as_files_of_the_user_are(tmp_path):
    old = os.umask(0o022)
    try:
        result = write_lock({"packages": {"a": "1"}}, tmp_path, offline=True)
    finally:
        os.umask(old)
    assert Path(result.path).stat().st_mode & 0o777 == 0o644
