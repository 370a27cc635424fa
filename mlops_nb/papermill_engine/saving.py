"""Saving a notebook while it runs: seldom, whole or not at all, and never in the way.

Papermill writes the notebook twice per cell, straight into the output file: 402 times for 200
cells, and a process killed in the middle leaves half a file. Here a write goes to a temporary
file that then takes the place of the old one, and writes are at least two seconds and fifty times
their own duration apart, so that saving takes 2 % of the time at most.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import tempfile
import time
from hashlib import blake2b
from json.encoder import encode_basestring
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from papermill.engines import NotebookExecutionManager
from papermill.iorw import LocalHandler, papermill_io
from papermill.log import logger

from mlops_nb.papermill_engine.io_handler import StoreHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

SAVE_EVERY_S = 2.0
SAVE_SHARE = 0.02

_NON_TEXT_SPLIT = frozenset({"application/javascript", "image/svg+xml"})


def notebook_text(notebook: Mapping[str, Any]) -> str:
    """Write a notebook as `nbformat.writes` does, byte for byte, without copying it first.

    Parameters
    ----------
    notebook
        As `nbformat` reads it, version 4. It may be invalid: a partial notebook that can be
        looked at is worth more than none.

    Returns
    -------
    str
        JSON with one line per line of source and output, so that versions can be compared.
    """
    plain = {
        **notebook,
        "cells": [_plain_cell(cell) for cell in notebook["cells"]],
        "metadata": _without(
            notebook["metadata"], "orig_nbformat", "orig_nbformat_minor", "signature"
        ),
    }
    return _indented(plain, "")


def _indented(value: object, margin: str) -> str:
    """Write JSON as ``json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)`` does.

    That goes through a generator for each line of output, which takes longer than a small
    notebook runs.
    """
    inner = f"{margin} "
    if isinstance(value, dict) and value and all(type(key) is str for key in value):
        items = (f"{encode_basestring(k)}: {_indented(value[k], inner)}" for k in sorted(value))
        return f"{{\n{inner}" + f",\n{inner}".join(items) + f"\n{margin}}}"
    if isinstance(value, list | tuple) and value:
        texts = (
            encode_basestring(item) if type(item) is str else _indented(item, inner)
            for item in value
        )
        return f"[\n{inner}" + f",\n{inner}".join(texts) + f"\n{margin}]"
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=_ascii_bytes)
    return text.replace("\n", f"\n{margin}")


def _plain_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Copy one cell with its long texts as lists of lines."""
    plain = {**cell, "metadata": _without(cell["metadata"], "trusted")}
    if "source" in plain:
        plain["source"] = _lines(plain["source"])
    if "attachments" in plain:
        plain["attachments"] = {k: _bundle(v) for k, v in plain["attachments"].items()}
    if cell["cell_type"] == "code":
        plain["outputs"] = [_plain_output(output) for output in cell["outputs"]]
    return plain


def _plain_output(output: Mapping[str, Any]) -> dict[str, Any]:
    """Copy one output with its long texts as lists of lines."""
    kind = output["output_type"]
    if kind in {"execute_result", "display_data"} and "data" in output:
        return {**output, "data": _bundle(output["data"])}
    if kind == "stream":
        return {**output, "text": _lines(output["text"])}
    return dict(output)


def _bundle(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        mime: _lines(value) if mime.startswith("text/") or mime in _NON_TEXT_SPLIT else value
        for mime, value in data.items()
    }


def _lines(text: object) -> object:
    return text.splitlines(keepends=True) if isinstance(text, str) else text


def _without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _ascii_bytes(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    msg = f"Object of type {type(value).__name__} is not JSON serializable"
    raise TypeError(msg)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever looks finds the old text or the new one, never a part.

    Parameters
    ----------
    path
        Where to; a link is followed. The folder must exist. What is there and is no plain file
        (a pipe, ``/dev/stdout``) is written to directly, as is a file whose folder takes no
        new files.
    text
        Written as UTF-8.

    Raises
    ------
    OSError
        The file cannot be written; what was there before is untouched.
    """
    target = path.resolve()
    found = target.stat() if target.exists() else None
    if found is not None and not stat.S_ISREG(found.st_mode):
        path.write_text(text, encoding="utf-8")
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except PermissionError:
        target.write_text(text, encoding="utf-8")
        return
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            # Else a power cut may keep the new name and lose the bytes.
            os.fsync(descriptor)
        Path(name).chmod(stat.S_IMODE(found.st_mode) if found else _new_file_mode())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _new_file_mode() -> int:
    """Say what mode a plain `open` would give a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


class WholeFileHandler:
    """Papermill's way to local files, for the output of our engine: writes whole files.

    Papermill itself writes the notebook once more after the engine is done. By this handler that
    write, too, cannot leave half a file, and is left out when nothing has changed.
    """

    def __init__(self, local: LocalHandler) -> None:
        self._local = local
        self._written: dict[Path, tuple[bytes, tuple[int, int, int]]] = {}

    def read(self, path: str) -> str:
        """Read a file as papermill does."""
        text: str = self._local.read(path)
        return text

    def listdir(self, path: str) -> list[str]:
        """List a folder as papermill does."""
        names: list[str] = self._local.listdir(path)
        return names

    def pretty_path(self, path: str) -> str:
        """Show a path as papermill does."""
        return path

    def write(self, text: str, path: str) -> None:
        """Write a notebook, unless just this text has been written there last."""
        target = local_path(self._local, path)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if target.is_file() and self._written.get(target) == (digest, _witness(target)):
            return
        if not target.parent.is_dir():
            msg = f"output folder {target.parent} doesn't exist."
            raise FileNotFoundError(msg)
        write_whole(target, text)
        self._written[target] = (digest, _witness(target))


def _witness(path: Path) -> tuple[int, int, int]:
    """Say what changes when somebody else writes the file."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def local_path(handler: LocalHandler, path: str) -> Path:
    """Say where papermill would write: relative to the folder in which it was started."""
    folder = handler.cwd(None)
    handler.cwd(folder)
    return Path(folder or Path.cwd(), path)


def handler_for(path: str | None) -> Any:
    """Find what writes the output, and see to it that a local notebook is written whole.

    Parameters
    ----------
    path
        As given to papermill: a path, a URL, ``-`` for standard output, None for nothing.

    Returns
    -------
    object
        With a method ``write(text, path)``.
    """
    handler = papermill_io.get_handler(path)
    if isinstance(handler, StoreHandler):
        return SimpleNamespace(write=handler.write_partial)
    if not isinstance(handler, LocalHandler) or path is None or not path.endswith(".ipynb"):
        return handler
    ours = WholeFileHandler(handler)
    # A handler is found by the beginning of the path: this one is for this notebook only.
    papermill_io.register(path, ours)
    return ours


class PartialNotebook(NotebookExecutionManager):  # type: ignore[misc]
    """The notebook that is being run, and when it is saved.

    Takes the place of papermill's execution manager: the same metadata in the same places, but
    the end of a cell only marks the notebook as changed.

    Attributes
    ----------
    save_count, save_s
        How often the notebook was written, and the seconds that took.
    """

    def __init__(
        self,
        notebook: Any,
        *,
        output_path: str | None,
        log_output: bool,
        progress_bar: bool | dict[str, Any],
        autosave_cell_every: int,
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        super().__init__(
            notebook,
            output_path=output_path,
            log_output=log_output,
            progress_bar=progress_bar,
            autosave_cell_every=autosave_cell_every,
        )
        self.save_count, self.save_s = 0, 0.0
        self._on_progress = on_progress
        self._handler = handler_for(output_path)
        self._changed = False
        self._complete = False
        self._save_failed = False
        self._started: dict[int, datetime] = {}

    # Papermill's methods, as it calls them.

    def save(self, **_: object) -> None:
        """Write the notebook now."""
        if not self.output_path:
            return
        begin = time.perf_counter()
        self._changed = False
        self._handler.write(notebook_text(self.nb), self.output_path)
        self.save_s += time.perf_counter() - begin
        self.save_count += 1

    def autosave_cell(self) -> None:
        """Note that a running cell has put something out."""
        if self.autosave_cell_every:
            self._changed = True

    def cell_start(self, cell: Any, cell_index: int = 0, **_: object) -> None:
        """Note the start of a cell."""
        if self.log_output:
            logger.info(f"Executing Cell {cell_index + 1:-<40}")
        self._started[cell_index] = now = self.now()
        cell.metadata["papermill"].update(
            start_time=now.isoformat(), status=self.RUNNING, exception=False
        )
        if self.pbar and (description := self.get_cell_description(cell)):
            self.pbar.set_description(f"Executing {description}")
        self._progress(cell_index, "started")

    def cell_complete(self, cell: Any, cell_index: int = 0, **_: object) -> None:
        """Note the end of a cell; the clock decides when that is saved."""
        now = self.now()
        if self.log_output:
            logger.info(f"Ending Cell {cell_index + 1:-<43}")
            sys.stdout.flush()
            sys.stderr.flush()
        facts = cell.metadata["papermill"]
        facts["end_time"] = now.isoformat()
        if (start := self._started.pop(cell_index, None)) is not None:
            facts["duration"] = (now - start).total_seconds()
        if facts["status"] != self.FAILED:
            facts["status"] = self.COMPLETED
        self._changed = True
        if self.pbar:
            self.pbar.update(1)
        self._progress(cell_index, "failed" if facts["status"] == self.FAILED else "done")

    def cell_exception(self, cell: Any, **_: object) -> None:
        """Note that a cell failed; the notebook ends with it, and is saved then."""
        cell.metadata["papermill"].update(exception=True, status=self.FAILED)
        self.nb.metadata["papermill"]["exception"] = True

    def notebook_complete(self, **_: object) -> None:
        """Finish the notebook's metadata and save it, once."""
        if self._complete:
            return
        self._complete = True
        try:
            super().notebook_complete()
        except OSError as error:
            # Papermill writes the notebook once more and reports why it cannot; raised from here
            # it would hide what went wrong in a cell.
            logger.warning(f"The notebook could not be saved: {error}")

    # Ours.

    def save_or_warn(self) -> None:
        """Save; a disk that is full now costs one warning, not the cells still to come."""
        try:
            self.save()
        except OSError as error:
            self._changed = True
            if not self._save_failed:
                logger.warning(f"The partial notebook could not be saved: {error}")
            self._save_failed = True

    async def save_on_clock(self, every_s: float = SAVE_EVERY_S) -> None:
        """Save what has changed, until cancelled.

        Parameters
        ----------
        every_s
            The least time between two saves, in seconds; longer when saving is slow.
        """
        pause_s = every_s
        while True:
            await asyncio.sleep(pause_s)
            if self._changed:
                begin = time.perf_counter()
                self.save_or_warn()
                pause_s = max(every_s, (time.perf_counter() - begin) / SAVE_SHARE)

    def _progress(self, cell_index: int, what: str) -> None:
        if self._on_progress is not None:
            self._on_progress(cell_index, len(self.nb.cells), what)
