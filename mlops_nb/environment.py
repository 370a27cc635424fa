"""What a session runs on: Python, distributions, operating system, hardware, git state.

Distributions are read as the names of their metadata folders: a hundred times faster than their
metadata, and exact for everything that was installed from a wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.model import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model import Json

VARIABLES = (
    "BLIS_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "LOKY_MAX_CPU_COUNT",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTHONOPTIMIZE",
    "TF_DETERMINISTIC_OPS",
    "TOKENIZERS_PARALLELISM",
    "TZ",
    "VECLIB_MAXIMUM_THREADS",
)
"""The only environment variables that are ever read: others may hold secrets."""

_VALUE_CAP = 200
# A folder with this many entries and no metadata among them is data, not site-packages.
_ENTRIES_CAP = 5_000

_packages_by_folder: dict[str, tuple[int, dict[str, str]]] = {}
_last: tuple[tuple[Json, ...], Environment] | None = None


def read_environment() -> Environment:
    """Read what this process runs on, in about a millisecond; again, in microseconds.

    Nothing in it changes by itself: no free memory, no load. `content` has ``python``,
    ``packages``, ``os``, ``hardware``, ``variables``, and ``software``, the digest of all but
    the hardware: two machines with the same installation share it.

    Returns
    -------
    Environment
        Equal digests mean equal content.

    Examples
    --------
    >>> environment = read_environment()
    >>> environment.digest == read_environment().digest
    True
    """
    global _last  # noqa: PLW0603  a cache of one, replaced as a whole
    key = (*_folder_times(), *map(os.environ.get, VARIABLES))
    if _last is None or _last[0] != key:
        _last = (key, _read_environment())
    return _last[1]


def _read_environment() -> Environment:
    content: dict[str, Json] = {
        "python": _python(),
        "packages": _packages(),
        "os": _operating_system(),
        "variables": _variables(),
    }
    content["software"] = _digest(content)
    content["hardware"] = _hardware()
    return Environment(_digest(content), content)


def _digest(content: Mapping[str, Json]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def compare_environments(
    a: Environment | Mapping[str, Json], b: Environment | Mapping[str, Json]
) -> dict[str, Json]:
    """Say what differs from one environment to another.

    Parameters
    ----------
    a, b
        Environments, or their contents.

    Returns
    -------
    dict
        ``packages``: ``{"added": {name: version}, "removed": {name: version},
        "changed": {name: [old, new]}}``; ``python``, ``os``, ``hardware``, ``variables``:
        ``{key: [old, new]}``, empty where equal; ``same``: whether nothing differs;
        ``same_software``: whether only hardware may.

    Examples
    --------
    >>> old, new = {"packages": {"numpy": "1.0"}}, {"packages": {"numpy": "2.0"}}
    >>> compare_environments(old, new)["packages"]["changed"]
    {'numpy': ['1.0', '2.0']}
    """
    old, new = (x.content if isinstance(x, Environment) else x for x in (a, b))
    before, after = old.get("packages", {}), new.get("packages", {})
    packages = {
        "added": {name: after[name] for name in sorted(after.keys() - before.keys())},
        "removed": {name: before[name] for name in sorted(before.keys() - after.keys())},
        "changed": _changes(before, after, before.keys() & after.keys()),
    }
    found: dict[str, Json] = {"packages": packages}
    for part in ("python", "os", "hardware", "variables"):
        left, right = old.get(part, {}), new.get(part, {})
        found[part] = _changes(left, right, left.keys() | right.keys())
    software = [found[part] for part in ("python", "os", "variables")] + list(packages.values())
    found["same_software"] = not any(software)
    found["same"] = found["same_software"] and not found["hardware"]
    return found


def _changes(
    old: Mapping[str, Json], new: Mapping[str, Json], keys: set[str]
) -> dict[str, list[Json]]:
    return {
        key: [old.get(key), new.get(key)] for key in sorted(keys) if old.get(key) != new.get(key)
    }


# --- Python and its distributions -------------------------------------------------------------


def _python() -> dict[str, Json]:
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "release": sys.version_info.releaselevel,
    }


def _folder_times() -> Iterator[Json]:
    for entry in sys.path:
        yield entry
        try:
            yield os.stat(entry or ".").st_mtime_ns  # noqa: PTH116  a Path costs as much again
        except OSError:
            yield None


def _packages() -> dict[str, str]:
    """Return name and version of every distribution; the first on the path is the one in use."""
    found: dict[str, str] = {}
    for entry in sys.path:
        for name, version in _packages_in(entry or ".").items():
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def _packages_in(folder: str) -> dict[str, str]:
    try:
        modified = Path(folder).stat().st_mtime_ns
        kept = _packages_by_folder.get(folder)
        if kept is None or kept[0] != modified:
            kept = _packages_by_folder[folder] = (modified, _scan(folder))
    except OSError:
        # A zip file, or a folder that is not there or not ours to read.
        return {}
    return kept[1]


def _scan(folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        while batch := list(islice(entries, _ENTRIES_CAP)):
            for entry in batch:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    found.update(_distribution(folder, entry.name))
            if not found:
                break
    return found


def _distribution(folder: str, entry: str) -> dict[str, str]:
    stem, _, kind = entry.rpartition(".")
    if kind == "egg-info":
        stem = re.sub(r"-py\d+(\.\d+)?$", "", stem)
    name, _, version = stem.partition("-")
    if not name or name.startswith("~"):
        # pip renames what it is about to remove to ~name.
        return {}
    return {normal_name(name): version or _version_in(Path(folder, entry, "PKG-INFO"))}


def normal_name(name: str) -> str:
    """Write the name of a distribution as package indexes compare it.

    Examples
    --------
    >>> normal_name("Jinja_2.x")
    'jinja-2-x'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _version_in(metadata: Path) -> str:
    try:
        text = metadata.read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r"^Version:[ \t]*(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _variables() -> dict[str, str]:
    return {name: os.environ[name][:_VALUE_CAP] for name in VARIABLES if name in os.environ}


# --- operating system and hardware ------------------------------------------------------------


def _operating_system() -> dict[str, Json]:
    system = os.uname() if hasattr(os, "uname") else None
    return {
        "system": system.sysname if system else sys.platform,
        "release": system.release if system else "",
        "machine": system.machine if system else os.environ.get("PROCESSOR_ARCHITECTURE", ""),
        "distribution": _distribution_name(),
        "libc": _libc(),
    }


def _libc() -> str:
    names: Mapping[str, int] = getattr(os, "confstr_names", {})
    return (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in names else ""


def _distribution_name() -> str:
    found = re.search(r'^PRETTY_NAME="?(.*?)"?$', _head("/etc/os-release"), re.MULTILINE)
    return found[1] if found else ""


def _hardware() -> dict[str, Json]:
    model = re.search(r"^model name\s*:\s*(.*)$", _head("/proc/cpuinfo"), re.MULTILINE)
    return {
        "cpu": model[1] if model else "",
        "cpus": os.cpu_count() or 0,
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
    }


def _head(path: str, size: int = 4096) -> str:
    """Read the beginning of a small system file, empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(size)
    except OSError:
        return ""


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[dict[str, str]]:
    driver = re.search(r"Kernel Module[^0-9]*([0-9.]+)", _head("/proc/driver/nvidia/version"))
    try:
        cards = sorted(Path("/proc/driver/nvidia/gpus").iterdir())
    except OSError:
        return []
    found = []
    for card in cards:
        text = _head(str(card / "information"))
        model = re.search(r"^Model:\s*(.*?)\s*$", text, re.MULTILINE)
        found.append({"model": model[1] if model else "", "driver": driver[1] if driver else ""})
    return found


# --- git --------------------------------------------------------------------------------------


def git_state(folder: str | Path, timeout_s: float = 1.0) -> dict[str, Json] | None:
    """Read the state of the repository that a folder is in, by one call of git.

    Parameters
    ----------
    folder
        Anywhere in the working copy.
    timeout_s
        git is ended after this many seconds.

    Returns
    -------
    dict or None
        ``commit`` (None before the first), ``branch`` (None if detached), ``dirty`` (tracked
        files differ from the commit), ``root``, ``remote`` (URL without credentials, or None).
        None outside a repository, without git, and if git fails or hangs.
    """
    root = _git_root(Path(folder))
    output = _git_status(root, timeout_s) if root else None
    if root is None or output is None:
        return None
    lines = output.decode("utf-8", "replace").splitlines()
    heads = dict(line[2:].split(" ", 1) for line in lines if re.match(r"# \S+ ", line))
    commit, branch = heads.get("branch.oid"), heads.get("branch.head")
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": None if branch == "(detached)" else branch,
        "dirty": any(not line.startswith("#") for line in lines),
        "root": str(root),
        "remote": _git_remote(root),
    }


def _git_root(folder: Path) -> Path | None:
    try:
        start = folder.resolve()
        return next((one for one in (start, *start.parents) if (one / ".git").exists()), None)
    except (OSError, RuntimeError):
        return None


def _git_status(root: Path, timeout_s: float) -> bytes | None:
    command = [
        "git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(root),
        "status", "--porcelain=v2", "--branch", "--untracked-files=no",
    ]  # fmt: skip
    # A repository named by the user's variables would not be the one of the folder.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    variables |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables,
            start_new_session=True,
        )
    except OSError:
        return None
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end_group(process)
            return None
    return output if process.returncode == 0 else None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End git and whatever it started: a child that keeps the pipe open would be waited for."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, OSError):
        process.kill()


def _git_remote(root: Path) -> str | None:
    text = _head(str(_git_folder(root) / "config"), 65_536)
    section = ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
        elif match := re.match(r"url\s*=\s*(\S+)", stripped):
            found.setdefault(section, match[1])
    remotes = {name: url for name, url in found.items() if name.startswith("[remote ")}
    url = remotes.get('[remote "origin"]') or next(iter(remotes.values()), None)
    return without_credentials(url) if url else None


def _git_folder(root: Path) -> Path:
    """Return the folder with the repository's settings, also from a linked working copy."""
    marker = root / ".git"
    if marker.is_dir():
        return marker
    folder = root / _head(str(marker)).removeprefix("gitdir:").strip()
    common = _head(str(folder / "commondir")).strip()
    return folder / common if common else folder


def without_credentials(url: str) -> str:
    """Remove user, password, query and fragment from the address of a repository.

    Examples
    --------
    >>> without_credentials("https://me:secret@example.org/team/code.git?token=x")
    'https://example.org/team/code.git'
    >>> without_credentials("git@example.org:team/code.git")
    'git@example.org:team/code.git'
    """
    scheme, separator, rest = url.partition("://")
    if separator:
        authority, slash, path = re.split(r"[?#]", rest)[0].partition("/")
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    user, at, place = url.partition("@")
    return url if not at or user == "git" or "/" in user else place
