"""What a step leaves beside its values: the executed notebook, and the files it has written."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import CorruptValue
from mlops_nb.model import ArtifactLogged
from mlops_nb.redact import redact_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model import Execution
    from mlops_nb.model.pipelines import CachedStep
    from mlops_nb.store import Store

NOTEBOOK_MIME = "application/x-ipynb+json"
FILE_LIMIT_BYTES = 1 << 30
"""Files that are larger are not kept: a step that wrote one runs again where it is gone."""


def keep_notebook(store: Store, run: str, path: Path, name: str) -> str:
    """Keep an executed notebook as an artifact of its run; gives its address, empty for none."""
    if not path.is_file():
        return ""
    clean = redact_file(path, NOTEBOOK_MIME)
    data = path.read_bytes() if clean is None else clean
    kept = ArtifactLogged(run, f"{name}.ipynb", "notebook", NOTEBOOK_MIME, time.time_ns(), data)
    store.apply([kept])
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def keep_files(store: Store, executions: Iterable[Execution], place: Path) -> dict[str, Any]:
    """Keep the files that a step has written, as far as they are still there.

    Parameters
    ----------
    executions
        Of its run.
    place
        Files below it are named from there, others by their whole path.

    Returns
    -------
    dict
        As of `CachedStep.files`.
    """
    found: dict[str, Any] = {}
    for use in (use for execution in executions for use in execution.files if use.mode == "w"):
        path = Path(use.uri)
        if "://" in use.uri or not path.is_file() or path.stat().st_size > FILE_LIMIT_BYTES:
            continue
        digest, size = store.put_file(path)
        found[_named(path, place)] = {"digest": digest, "size_bytes": size}
    return found


def _named(path: Path, place: Path) -> str:
    return str(path.relative_to(place)) if path.is_relative_to(place) else str(path)


def restore_files(store: Store, result: CachedStep, place: Path) -> tuple[str, ...]:
    """Write the files again that a step had written, where they are not as it left them.

    From a folder that is ours: what somebody else put into a store for a team is not written
    over files here.

    Returns
    -------
    tuple of str
        Those that were written.

    Raises
    ------
    CorruptValue
        Their bytes are gone, or are not what they were.
    """
    written = []
    for name, kept in result.files.items():
        path = place / name
        if not _is_as_left(path, kept):
            if store.folder is None:
                raise CorruptValue((name,), result.step, "it is not here as the step left it")
            store.fetch_file(kept["digest"], kept["size_bytes"], path, step=result.step)
            written.append(name)
    return tuple(written)


def _is_as_left(path: Path, kept: Mapping[str, Any]) -> bool:
    try:
        if path.stat().st_size != kept["size_bytes"]:
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return bool(kept["digest"] == f"sha256:{digest}")
