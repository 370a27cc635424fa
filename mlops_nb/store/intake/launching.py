"""Starting the process that drains a spool, beside the kernel that fills it."""

from __future__ import annotations

import contextlib
import os
import site
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING

from mlops_nb.capture.guard import guard
from mlops_nb.store.private import open_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.store.spool import Spool

DRAINER = "mlops_nb.store.intake.drainer"
LOCATION_VARIABLE = "MLOPS_NB_DRAIN_STORE"
_DRAINER_LOG = "drainer.log"


def start_drainer(
    spool: Spool,
    location: str,
    *,
    notebook: str | None = None,
    on_trouble: Callable[[str], None] | None = None,
    at_once: bool = True,
) -> None:
    """Start the process that drains a spool until its owner is gone; once for each spool.

    Where no process may be started, nothing happens: readers drain.

    Parameters
    ----------
    spool
        An open spool of this process.
    location
        Of the store, as `Store.open` takes it.
    notebook
        Its groups come first among the heads that the process writes.
    on_trouble
        Is told once, in one line, that a server cannot be used; on a thread of its own.
    at_once
        Else by the spool itself, as soon as this process is quiet, and after 5 s at the latest:
        a process that starts takes time from the one that is busy.
    """
    if spool.drainer is not None or not spool.is_open or not spool.folder.is_dir():
        return
    place = location if "://" in location else str(Path(location).resolve())
    command = [sys.executable, "-P", "-m", DRAINER]
    arguments = [str(spool.root.resolve()), spool.id, str(spool.state_dir.resolve())]
    ours = {**_import_path(), **_blob_place(), LOCATION_VARIABLE: place}
    environment = {**os.environ, **ours}
    command += [*arguments, notebook or ""]
    spool.restart_drainer = partial(_launch, spool, command, environment, on_trouble)
    if at_once:
        spool.restart_drainer()


def _launch(
    spool: Spool,
    command: Sequence[str],
    environment: Mapping[str, str],
    on_trouble: Callable[[str], None] | None,
) -> None:
    log_file = spool.folder / _DRAINER_LOG
    with contextlib.suppress(OSError), open_private(log_file, "ab") as log:
        spool.drainer = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if on_trouble is None else subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        if on_trouble is not None and spool.drainer.stdout is not None:
            said = (spool.drainer.stdout, on_trouble)
            Thread(target=_listen, args=said, name="mlops_nb-trouble", daemon=True).start()


def _listen(words: IO[bytes], on_trouble: Callable[[str], None]) -> None:
    """Hand on the one line that the child may say."""
    with words, guard("drain"):
        if line := words.readline().decode("utf-8", "replace").strip():
            on_trouble(line)


def _blob_place() -> dict[str, str]:
    """Let a relative folder for bytes mean the same to the child, which runs elsewhere."""
    place = os.environ.get("MLOPS_NB_BLOBS", "")
    return {"MLOPS_NB_BLOBS": str(Path(place).resolve())} if place and "://" not in place else {}


def _import_path() -> dict[str, str]:
    """Let the child find this package where it is not installed but on the kernel's path."""
    place = str(Path(__file__).resolve().parents[3])
    if place in {*site.getsitepackages(), site.getusersitepackages()}:
        return {}
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{known}{os.pathsep}{place}" if known else place}
