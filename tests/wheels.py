"""Wheels made by hand, and environments they are installed in: packages without an index."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = (sys.executable, "-m", "uv")


def make_wheel(folder, name, version, *, files=None, requires=(), module=None):
    """Write a wheel with one module, called as its distribution."""
    module = module or name.replace("-", "_")
    files = files or {f"{module}/__init__.py": f"VERSION = {version!r}\n"}
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    headers = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    headers += [f"Requires-Dist: {one}" for one in requires]
    files = {
        **files,
        f"{info}/METADATA": "\n".join(headers) + "\n\nRequires-Dist: not-a-header\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(text.encode())}")
    lines.append(f"{info}/RECORD,,")
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": "\n".join(lines) + "\n"}.items():
            archive.writestr(path, text)
    return wheel


class Venv:
    """A virtual environment of its own."""

    def __init__(self, folder, links):
        self.folder, self.links = folder, links
        self.python = str(folder / "bin" / "python")
        run(*UV, "venv", "--quiet", "--python", sys.executable, str(folder))

    def install(self, *what, links=True):
        source = ("--no-index", "--find-links", str(self.links)) if links else ()
        run(*UV, "pip", "install", "--quiet", "--python", self.python, *source, *what)

    def sync(self, lock):
        run(*UV, "pip", "sync", "--quiet", "--python", self.python, str(lock))

    def versions(self):
        lines = run(*UV, "pip", "freeze", "--python", self.python).splitlines()
        return dict(line.split("==") for line in lines if "==" in line)

    def content(self, *imports):
        """Read the environment with its details, after some imports, in a process of its own."""
        program = (
            f"import sys, json; sys.path.append({str(ROOT)!r})\n"
            + "".join(f"import {name}\n" for name in imports)
            + "from mlops_nb.environment import read_details, read_environment\n"
            "found = read_environment()\n"
            "print(json.dumps({**found.content, 'details': read_details(found)}))\n"
        )
        return json.loads(run(self.python, "-c", program))


def run(*command):
    """Run a program that has to succeed."""
    variables = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, env=variables, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
