"""A store that is open: where it is, its connections, its transactions."""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from mlops_nb.errors import MlopsNbError, StoreNotFound, StoreUnwritable
from mlops_nb.store import connect, locate, server, upgrade
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.blobs.rows import ByteRows
from mlops_nb.store.parts import StoreParts
from mlops_nb.store.spool.homes import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from sqlalchemy import Connection, Engine


class OpenStore:
    """A store that is open; see `store.Store`."""

    def __init__(
        self,
        engine: Engine,
        blobs: Blobs,
        *,
        location: str,
        folder: Path | None,
        is_read_only: bool,
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._pid = os.getpid()
        self.location = location
        self.folder = folder
        self.is_read_only = is_read_only

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False) -> Self:
        """Open a store.

        Parameters
        ----------
        location
            Path of a store's folder, or URL of a server.
        create
            Whether it is made if it is not there.

        Raises
        ------
        StoreNotFound
            It is not there, and `create` is false.
        StoreTooNew
            A newer version of this package wrote it; nothing was changed.
        StoreUnwritable
            It is not there and cannot be made.
        StoreError
            It is damaged, busy, or something else.
        """
        if "://" in str(location):
            return cls._open_server(str(location))
        try:
            return cls._open_folder(Path(location), create=create)
        except StoreUnwritable:
            # SQLite opens with files of its own beside it, for which a full disk has no room.
            if not (Path(location) / locate.DATABASE).is_file():
                raise
            with connect.our_words(str(location)):
                return cls._open_to_read(Path(location))

    @classmethod
    def _open_folder(cls, folder: Path, *, create: bool) -> Self:
        database = folder / locate.DATABASE
        if not database.is_file() and not create and not _awaits_database(folder):
            raise StoreNotFound(str(folder))
        with connect.our_words(str(folder)):
            if not connect.can_write(folder) and folder.is_dir():
                return cls._open_to_read(folder)
            locate.prepare(folder)
            _make_private(folder)
            engine = connect.file_engine(database, read_only=False)
            try:
                upgrade.make_current(engine, str(folder), database)
            except BaseException:
                engine.dispose()
                raise
        blobs = Blobs(str(folder / locate.BLOBS))
        return cls(engine, blobs, location=str(folder), folder=folder, is_read_only=False)

    @classmethod
    def _open_to_read(cls, folder: Path) -> Self:
        database = folder / locate.DATABASE
        if not database.is_file():
            problem = "the folder may not be written, and there is nothing in it yet"
            remedy = "Make it writable, or choose another one with --store PATH"
            raise StoreUnwritable(str(folder), problem, f"{remedy}.")
        engine = connect.file_engine(database, read_only=True)
        try:
            upgrade.check_current(engine, str(folder))
        except BaseException:
            engine.dispose()
            raise
        blobs = Blobs(str(folder / locate.BLOBS))
        return cls(engine, blobs, location=str(folder), folder=folder, is_read_only=True)

    @classmethod
    def _open_server(cls, url: str) -> Self:
        location = connect.location_of(url)
        engine = connect.server_engine(url)
        # Bytes go where MLOPS_NB_BLOBS says, which all who share the store must set alike, else
        # into the database too.
        root = os.environ.get("MLOPS_NB_BLOBS")
        try:
            with connect.our_words(location):
                upgrade.check_server(engine, location)
                with engine.connect() as connection:
                    is_read_only = not server.may_write(connection)
        except BaseException:
            engine.dispose()
            raise
        blobs = Blobs(root) if root else Blobs(location, ByteRows(engine, location))
        return cls(engine, blobs, location=location, folder=None, is_read_only=is_read_only)

    def close(self) -> None:
        """Close all connections; the store can be used again."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def make_durable(self) -> None:
        """Wait until everything taken in so far is on the disk."""
        self._blobs.make_durable()
        if self.folder is None:
            return
        with connect.our_words(self.location), self._engine.connect() as connection:
            connect.sync(connection)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def inside(self) -> Iterator[StoreParts]:
        """Give tables and bytes to those who care for the whole store; see `store.care`."""
        engine = self._engine
        if self.folder is None:  # which ends what takes too long, and this may take long
            url = engine.url.render_as_string(hide_password=False)
            engine = connect.server_engine(url, is_patient=True)
        patient = type(self)(
            engine,
            self._blobs,
            location=self.location,
            folder=self.folder,
            is_read_only=self.is_read_only,
        )
        try:
            yield StoreParts(
                self.location,
                self.folder,
                self._blobs,
                patient._reading,  # noqa: SLF001  # a store like this one
                patient._writing,  # noqa: SLF001
                locate.spool_root(self.location, state_folder()),
            )
        finally:
            if engine is not self._engine:
                engine.dispose()

    # --- transactions ---------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._survive_fork()
        try:
            with connect.our_words(self.location), self._engine.connect() as connection:
                yield connection
        except MlopsNbError:
            raise
        except (DBAPIError, ValueError, LookupError, struct.error) as error:
            # What is there is not what was written.
            raise connect.damaged(self.location, error) from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._require_writable()
        self._survive_fork()
        engine = self._engine.execution_options(is_write=True)
        with connect.our_words(self.location), engine.begin() as connection:
            yield connection

    def _require_writable(self) -> None:
        if self.is_read_only:
            remedy = "Choose another one with --store PATH, or make it writable"
            raise StoreUnwritable(self.location, "this store may only be read", f"{remedy}.")

    def _survive_fork(self) -> None:
        """Leave connections to the process that opened them."""
        if self._pid != os.getpid():
            self._engine.dispose(close=False)
            self._pid = os.getpid()


def _awaits_database(folder: Path) -> bool:
    """Say whether a kernel has made the store's folder, and nobody has drained its spool yet."""
    return folder.is_dir() and (folder.name == locate.FOLDER or locate.is_store(folder))


def _make_private(folder: Path) -> None:
    """Make the files before SQLite and fsspec do, who would let others read them."""
    (folder / locate.BLOBS).mkdir(mode=0o700, exist_ok=True)
    (folder / locate.DATABASE).touch(mode=0o600, exist_ok=True)
