"""A store as it is at one moment, in a folder or one file, checked when it is written.

A backup is itself a store: it can be opened and looked at, and ``mlops-nb store copy BACKUP TO``
restores it. A single file is such a folder as a tar archive.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.store import schema
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.blobs.local_files import COPY_BYTES, HEX_DIGITS, is_address
from mlops_nb.store.care.blob_copying import BlobsCopied, copy_blobs
from mlops_nb.store.care.collecting import ABOUT, ARCHIVES, BACKUPS
from mlops_nb.store.connect import our_words
from mlops_nb.store.locate import BLOBS, DATABASE
from mlops_nb.store.parts import StoreFinding, examples_of, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.store.parts import OnProgress, StoreParts

_PAGES_AT_ONCE = 1024


@dataclass
class BackupReport:
    """What was written where.

    Attributes
    ----------
    path
        The folder or file.
    runs, blobs
        How many are in it.
    size_bytes
        Of all of it.
    findings
        What is damaged in the store, and so could not be saved.
    still_writing
        Sessions whose notebook still writes: what comes later is not in it.
    """

    location: str
    path: Path
    runs: int = 0
    blobs: BlobsCopied = field(default_factory=BlobsCopied)
    size_bytes: int = 0
    findings: list[StoreFinding] = field(default_factory=list)
    still_writing: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether all of the store is in it."""
        return not self.findings


def back_up(
    parts: StoreParts,
    target: Path | None = None,
    *,
    copy_rows: Callable[[Path], list[StoreFinding]] | None = None,
    on_progress: OnProgress = no_progress,
) -> BackupReport:
    """Write a backup; others may write to the store meanwhile.

    Parameters
    ----------
    parts
        The store.
    target
        A folder that is not there yet, or a file whose name ends in ``.tar``; by default a folder
        with the time as its name, inside the store.
    copy_rows
        How rows and bytes of a server come into a folder.
    on_progress
        Watches.

    Raises
    ------
    StoreUnwritable
        The target is there already, or cannot be written.
    """
    started = time.perf_counter()
    target = (target or _default(parts)).absolute()
    if os.path.lexists(target):
        problem = "it is there already, and a backup overwrites nothing"
        raise StoreUnwritable(str(target), problem, "Give another name with -o.")
    report = BackupReport(parts.location, target)
    with _disk_words(target), _draft_beside(target) as draft:
        _fill(parts, draft, report, copy_rows, on_progress)
        _write_about(parts, draft, report)
        if target.suffix in ARCHIVES:
            _archive(draft, target, on_progress)
        else:
            draft.rename(target)
        _sync(target.parent)
    report.size_bytes = _size_of(target)
    report.seconds = time.perf_counter() - started
    return report


def _default(parts: StoreParts) -> Path:
    name = time.strftime("%Y-%m-%d_%H%M%S", time.gmtime())
    return Path(f"mlops-backup-{name}") if parts.folder is None else parts.folder / BACKUPS / name


@contextlib.contextmanager
def _disk_words(target: Path) -> Iterator[None]:
    try:
        yield
    except (StoreError, tarfile.TarError):
        raise
    except OSError as error:
        problem = f"the backup cannot be written ({error.strerror or error})"
        remedy = "Free some space, or give another place with -o."
        raise StoreUnwritable(str(target), problem, remedy) from None


@contextlib.contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    """Give a private folder which only takes its name when it is whole."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fill(
    parts: StoreParts,
    draft: Path,
    report: BackupReport,
    copy_rows: Callable[[Path], list[StoreFinding]] | None,
    on_progress: OnProgress,
) -> None:
    (draft / BLOBS).mkdir(mode=0o700)
    (draft / ".gitignore").touch(mode=0o600)
    (draft / ".gitignore").write_text("*\n", encoding="ascii")
    if copy_rows is not None:
        report.findings += copy_rows(draft)
        return
    # Rows first: bytes are in the store before the rows that name them.
    _copy_database(parts, draft / DATABASE, on_progress)
    report.blobs = copy_blobs(parts.blobs, Blobs(str(draft / BLOBS)), on_progress)
    if report.blobs.damaged:
        text = f"damaged blobs, which are not in the backup: {len(report.blobs.damaged):,}"
        remedy = "See what they were: mlops-nb store check"
        examples = examples_of([f"sha256:{hexes}" for hexes in report.blobs.damaged])
        report.findings.append(StoreFinding("blob-damaged", text, remedy, examples))


def _copy_database(parts: StoreParts, target: Path, on_progress: OnProgress) -> None:
    """Copy the pages of a SQLite file as they are at one moment, and check them."""
    target.touch(mode=0o600)

    def moved(_status: int, remaining: int, total: int) -> None:
        on_progress("copy rows", total - remaining, total)

    copy = sqlite3.connect(target)
    try:
        with parts.reading() as connection:
            # A transaction that reads keeps its view however many others write.
            connection.execute(select(schema.meta.c.schema)).first()
            raw: Any = connection.connection.driver_connection
            raw.backup(copy, pages=_PAGES_AT_ONCE, progress=moved, sleep=0.01)
        with our_words(str(target)):
            # Alone, without the files that a journal needs beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            on_progress("check rows", 0, 0)
            problems = [row[0] for row in copy.execute("PRAGMA integrity_check(1)")]
    finally:
        copy.close()
    if problems != ["ok"]:
        problem = f"its database is damaged ({problems[0].splitlines()[0]})"
        remedy = "See what can still be read: mlops-nb store check."
        raise StoreError(parts.location, problem, remedy)


def _write_about(parts: StoreParts, draft: Path, report: BackupReport) -> None:
    from mlops_nb import __version__

    connection = sqlite3.connect(draft / DATABASE)
    try:
        query = (
            select(func.count()).select_from(schema.runs).where(schema.runs.c.deleted_at.is_(None))
        )
        (report.runs,) = connection.execute(str(query)).fetchone()
    finally:
        connection.close()
    about = {
        "of": parts.location,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": __version__,
        "schema": schema.SCHEMA,
        "runs": report.runs,
    }
    with os.fdopen(os.open(draft / ABOUT, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(about, file, indent=1)
    for path in (draft / DATABASE, draft / ABOUT):
        with path.open("rb") as file:
            os.fsync(file.fileno())


# --- one file -----------------------------------------------------------------------------------


def _archive(draft: Path, target: Path, on_progress: OnProgress) -> None:
    """Write a folder as one file, and read that again."""
    paths = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    part = draft / f".{target.name}"
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w+b") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for count, path in enumerate(paths, start=1):
                archive.add(path, path.relative_to(draft).as_posix(), recursive=False)
                on_progress("write the file", count, len(paths))
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            _require_same(archive, draft, on_progress)
    part.rename(target)


def _require_same(archive: tarfile.TarFile, draft: Path, on_progress: OnProgress) -> None:
    members = archive.getmembers()
    for count, member in enumerate(members, start=1):
        with (draft / member.name).open("rb") as before:
            after = archive.extractfile(member)
            while chunk := before.read(COPY_BYTES):
                if after is None or after.read(len(chunk)) != chunk:
                    raise OSError(None, f"{member.name} came back changed")
        on_progress("check the file", count, len(members))


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the folder of a backup; that of a file is a private one, and gone afterwards.

    Only a store's own files come out of an archive, whatever else is in it: nothing with another
    name, no link, no device.

    Raises
    ------
    StoreError
        The file is no archive of a store.
    """
    if not path.is_file() or path.name == DATABASE:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mlops_nb-") as name:
        folder = Path(name)
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    _extract(archive, member, folder)
        except (tarfile.TarError, EOFError, UnicodeError) as error:
            problem = f"it is no backup that can be read ({error})"
            raise StoreError(str(path), problem, "Give the folder or file of a backup.") from None
        if not (folder / DATABASE).is_file():
            problem = "there is no store in this file"
            raise StoreError(str(path), problem, "Give the folder or file of a backup.")
        yield folder


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    parts = PurePosixPath(member.name).parts
    is_blob = len(parts) == 3 and parts[0] == BLOBS and is_address(parts[1] + parts[2])  # noqa: PLR2004
    is_ours = parts == (DATABASE,) or (is_blob and set(parts[1]) <= HEX_DIGITS)
    source = archive.extractfile(member) if member.isreg() and is_ours else None
    if source is None:
        return
    target = folder.joinpath(*parts)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(source, file, COPY_BYTES)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())
