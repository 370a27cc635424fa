"""The operating system and the hardware, as small files and the kernel say it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json

_NVIDIA = Path("/proc/driver/nvidia")


def head(path: str, size: int = 4096) -> str:
    """Read the beginning of a small system file, empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(size)
    except OSError:
        return ""


def operating_system() -> dict[str, Json]:
    """Describe the operating system."""
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
    found = re.search(r'^PRETTY_NAME="?(.*?)"?$', head("/etc/os-release"), re.MULTILINE)
    return found[1] if found else ""


def hardware() -> dict[str, Json]:
    """Describe processor, memory and graphics cards; nothing that changes by itself."""
    model = re.search(r"^model name\s*:\s*(.*)$", head("/proc/cpuinfo"), re.MULTILINE)
    return {
        "cpu": model[1] if model else "",
        "cpus": os.cpu_count() or 0,
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(_NVIDIA),
    }


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus(driver_folder: Path) -> list[dict[str, str]]:
    driver = re.search(r"Kernel Module[^0-9]*([0-9.]+)", head(str(driver_folder / "version")))
    try:
        cards = sorted((driver_folder / "gpus").iterdir())
    except OSError:
        return []
    found = []
    for card in cards:
        text = head(str(card / "information"))
        model = re.search(r"^Model:\s*(.*?)\s*$", text, re.MULTILINE)
        found.append({"model": model[1] if model else "", "driver": driver[1] if driver else ""})
    return found


def read_gpus(driver_folder: Path = _NVIDIA) -> list[dict[str, Json]]:
    """Describe graphics cards with their memory; may take a second, so never on a user's thread.

    The driver's files do not tell the memory: its own program is asked where there is a card.

    Parameters
    ----------
    driver_folder
        Where the kernel shows the driver.

    Returns
    -------
    list of dict
        ``model``, ``driver`` and, where known, ``memory_bytes`` and ``capability``.

    Examples
    --------
    >>> read_gpus(Path("/nowhere"))
    []
    """
    known = _gpus(driver_folder)
    return (_asked_gpus() or known) if known else []


def _asked_gpus() -> list[dict[str, Json]]:
    from mlops_nb.environment.commands import ask

    fields = "name,driver_version,memory.total,compute_cap"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    answer = ask(command, timeout_s=10.0)
    if answer is None or answer.status != 0:
        return []
    rows = [line.split(", ") for line in answer.output.decode("utf-8", "replace").splitlines()]
    return [_gpu(*row) for row in rows if len(row) == len(fields.split(","))]


def _gpu(model: str, driver: str, megabytes: str, capability: str) -> dict[str, Json]:
    found: dict[str, Json] = {"model": model, "driver": driver, "capability": capability}
    if megabytes.isdecimal():
        found["memory_bytes"] = int(megabytes) * 1024 * 1024
    return found
