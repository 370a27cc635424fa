"""Notebooks in the store, for papermill: ``papermill mlops://7f3a/notebook out.ipynb``.

``mlops://RUN/notebook`` is the executed notebook of a run, ``mlops://runs/RUN/artifacts/NAME`` any
artifact of it that is text. ``mlops://`` and ``mlops://NAME`` as an output keep the executed
notebook as an artifact of the run that our engine has tracked it as. Nothing but the artifacts of
a run can be named, so that no address leads out of the store.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import BadStoreAddress, NoSuchArtifact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.model import Artifact, Run
    from mlops_nb.store import Store

SCHEME = "mlops://"
NOTEBOOK_MIME = "application/x-ipynb+json"
MOST_LISTED = 1_000


class StoreHandler:
    """What papermill asks to read, write and list what begins with ``mlops://``."""

    def read(self, path: str) -> str:
        """Read a notebook, or another artifact that is text.

        Raises
        ------
        BadStoreAddress
            It is no address of an artifact.
        RunNotFound, NoSuchArtifact
            There is nothing there.
        """
        run_name, name = _place(path)
        with _store(Path.cwd()) as store:
            run = store.get_run(run_name)
            data = store.read_blob(_found(run, name).digest)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise BadStoreAddress(path, "it is no text") from None

    def listdir(self, path: str) -> list[str]:
        """List what a run keeps, or the executed notebooks of the newest runs.

        Raises
        ------
        RunNotFound
            There is no such run.
        """
        parts = _parts(path)
        if parts[:1] == ["runs"]:
            parts = parts[1:]
        with _store(Path.cwd()) as store:
            if not parts:
                kept = (
                    (run, artifact)
                    for run in store.runs(limit=MOST_LISTED)
                    for artifact in run.artifacts
                )
                return [_address(r, a) for r, a in kept if a.kind == "notebook"]
            if parts[1:] not in ([], ["artifacts"]):
                raise BadStoreAddress(path, "only a run can be listed")
            run = store.get_run(parts[0])
            return [_address(run, artifact) for artifact in run.artifacts]

    def write(self, text: str, path: str) -> None:
        """Keep an executed notebook with its run; one that still runs is not kept yet.

        Raises
        ------
        BadStoreAddress
            It was not run by one of our engines, or has another run's address.
        """
        content = json.loads(text)
        metadata = content.get("metadata", {})
        run_id = metadata.get("mlops_nb", {}).get("run")
        name = _output_name(path, metadata)
        if not run_id:
            problem = "a notebook is kept with the run that it was tracked as"
            raise BadStoreAddress(path, problem, "Add to papermill: --engine mlops_nb")
        self._keep(run_id, name, text, metadata)

    def write_partial(self, text: str, path: str) -> None:
        """Take what our engine saves while a notebook runs: it is kept when it has ended."""
        metadata = json.loads(text).get("metadata", {})
        _output_name(path, metadata)
        ended = metadata.get("papermill", {}).get("end_time")
        if ended and metadata.get("mlops_nb", {}).get("run"):
            self.write(text, path)

    def pretty_path(self, path: str) -> str:
        """Show an address."""
        return path

    def _keep(self, run_id: str, name: str, text: str, metadata: dict[str, Any]) -> None:
        from mlops_nb.model import ArtifactLogged
        from mlops_nb.redact import redact_bytes

        given = str(metadata.get("papermill", {}).get("input_path") or "")
        start = Path(given).absolute().parent if given and "://" not in given else Path.cwd()
        data = redact_bytes(text.encode("utf-8", "surrogatepass"), NOTEBOOK_MIME)
        kept = ArtifactLogged(run_id, name, "notebook", NOTEBOOK_MIME, time.time_ns(), data)
        with _store(start, create=True) as store:
            if store.find_run(run_id) is None:
                raise NoSuchArtifact(run_id, name, ())
            store.apply([kept])


def _parts(path: str) -> list[str]:
    """Split an address; empty parts do not count."""
    return [part for part in path.removeprefix(SCHEME).split("/") if part]


def _place(path: str) -> tuple[str, str | None]:
    """Read which run and which artifact an address names; None for its executed notebook."""
    parts = _parts(path)
    if parts[:1] == ["runs"] and len(parts) > 1:
        parts = parts[1:]
    match parts:
        case [run, "notebook" | "notebook.ipynb"]:
            return run, None
        case [run, "artifacts", *name] if name:
            return run, "/".join(name)
    raise BadStoreAddress(path, "it names no artifact of a run")


def _found(run: Run, name: str | None) -> Artifact:
    """Find an artifact of a run, the last one of its name."""
    for artifact in reversed(run.artifacts):
        if artifact.name == name or (name is None and artifact.kind == "notebook"):
            return artifact
    have = tuple(artifact.name for artifact in run.artifacts)
    raise NoSuchArtifact(run.id, name or "executed notebook", have)


def _address(run: Run, artifact: Artifact) -> str:
    return f"{SCHEME}runs/{run.id}/artifacts/{artifact.name}"


def _output_name(path: str, metadata: dict[str, Any]) -> str:
    """Say what to call the artifact: as the address says, else as the input is called."""
    parts = _parts(path)
    if len(parts) > 1:
        raise BadStoreAddress(path, "an output is mlops:// or mlops://NAME")
    if parts in ([], ["notebook"]):
        given = str(metadata.get("papermill", {}).get("input_path") or "")
        parts = [Path(given.rpartition("/")[2] or "notebook").stem]
    name = parts[0]
    return name if name.endswith(".ipynb") else f"{name}.ipynb"


@contextmanager
def _store(start: Path, *, create: bool = False) -> Iterator[Store]:
    """Open the store of a folder, with everything logged so far in it."""
    from mlops_nb.config import load_settings
    from mlops_nb.store import Store
    from mlops_nb.store.locate import locate

    with Store.open(locate(start, load_settings(start=start)), create=create) as store:
        store.refresh()
        yield store


handler = StoreHandler()
