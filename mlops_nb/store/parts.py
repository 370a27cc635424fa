"""What the modules that care for a whole store need of one: its tables, and its bytes."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy.exc import DBAPIError

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection

    from mlops_nb.store.blobs import Blobs

OnProgress: TypeAlias = "Callable[[str, int, int], None]"
"""Is told what is being done, how much of it is done, and how much there is (0: unknown)."""

DAY_S = 24 * 3600.0
GRACE_S = DAY_S
"""Bytes that nothing refers to are left alone so long: their rows may be about to be written."""


def no_progress(what: str, done: int, total: int) -> None:
    """Watch nothing."""


@record
class StoreFinding:
    """Something that is not as it should be.

    Attributes
    ----------
    kind
        For programs, as ``"blob-changed"``.
    text
        What was found, as a sentence.
    remedy
        What to do next.
    examples
        Some of the things it is about.
    """

    kind: str
    text: str
    remedy: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreParts:
    """An open store from inside.

    Attributes
    ----------
    location
        As people know it, without credentials.
    folder
        None for a server.
    reading, writing
        Give a connection in a transaction; all that one reads is of one moment.
    spool_root
        The folder with its spools on this machine.
    """

    location: str
    folder: Path | None
    blobs: Blobs
    reading: Callable[[], AbstractContextManager[Connection]]
    writing: Callable[[], AbstractContextManager[Connection]]
    spool_root: Path | None = None


@contextmanager
def snapshot(parts: StoreParts) -> Iterator[Connection]:
    """Read a store as it is at one moment; a text that is none comes as bytes."""
    with parts.reading() as connection:
        raw: Any = connection.connection.driver_connection
        if connection.dialect.name != "sqlite":
            yield connection
            return
        raw.text_factory = _text_or_bytes
        try:
            yield connection
        finally:
            raw.text_factory = str


class SourceDamaged(Exception):
    """A SQLite file cannot be read at one place; the rest of it may be."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@contextmanager
def tell_damage() -> Iterator[None]:
    """Tell damage of the file that is read here from all that else may go wrong."""
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}:
            raise
        raise SourceDamaged(str(error.orig)) from None


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def examples_of(found: list[str], most: int = 5) -> tuple[str, ...]:
    """Keep a few of many, and say how many more there are."""
    more = (f"… {len(found) - most:,} more",) if len(found) > most else ()
    return (*found[:most], *more)
