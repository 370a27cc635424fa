"""Bytes as objects below a URL, by fsspec: an object store such as S3, shared by a team.

An object is made only where there is none: two who put the same bytes at once do not overwrite
each other. What was fetched is kept in a cache of this user.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import MissingExtra, StoreError, StoreUnwritable
from mlops_nb.redact import redact
from mlops_nb.store.blobs.cache import BlobCache
from mlops_nb.store.blobs.local_files import COPY_BYTES, Kept, Stray, is_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Larger objects go up and come down in pieces.
_PIECE_BYTES = 16 * 1024 * 1024
_PIECES_AT_ONCE = 4
_SMALL_BYTES = 8 * 1024 * 1024
# An object cannot be touched: one that is put again when it is so old is written anew, so that
# nobody collects it before its rows are written.
_OLD_S = 12 * 3600.0
_S3 = ("s3", "s3a")
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}


class Objects:
    """Objects below a URL, by the SHA-256 of their bytes.

    Parameters
    ----------
    root
        As ``s3://bucket/folder``. Credentials come from where its library looks for them
        (``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID``, a role), never from here.
    cache
        Where fetched bytes are kept.
    """

    def __init__(self, root: str, cache: BlobCache | None = None) -> None:
        self._url = root.rstrip("/")
        self._cache = cache or BlobCache()
        self._opened: tuple[int, Any, str] | None = None

    def write(self, hexes: str, data: bytes) -> None:
        """Write bytes, unless they are there."""

        def put(mode: str) -> None:
            options = {"chunksize": _PIECE_BYTES} if self._is_s3 else {}
            self._files.pipe_file(self._at(hexes), data, mode=mode, **options)

        with self._our_words(to_write=True):
            # One request where the bytes are new; large ones are not sent to be refused.
            if len(data) > _SMALL_BYTES and self._is_there(hexes, len(data)):
                return
            self._create(hexes, len(data), put)
        self._cache.put(hexes, data)

    def copy(self, hexes: str, file: Path, size_bytes: int) -> None:
        """Send a file, unless its bytes are there."""

        def put(mode: str) -> None:
            options: dict[str, Any] = {}
            if self._is_s3:
                options = {"chunksize": _PIECE_BYTES, "max_concurrency": _PIECES_AT_ONCE}
            self._files.put_file(str(file), self._at(hexes), mode=mode, **options)

        with self._our_words(to_write=True):
            if not self._is_there(hexes, size_bytes):
                self._create(hexes, size_bytes, put)

    def take(self, hexes: str, chunks: Iterable[bytes]) -> None:
        """Write bytes that come in pieces, in place of what may be there.

        Raises
        ------
        StoreError
            They are not what their address says, or the server cannot be used; then nothing was
            changed.
        """
        with self._cache.draft() as draft:
            with draft.open("wb") as file:
                digest, size = _pour(chunks, file)
            if digest != hexes:
                problem = f"the bytes for sha256:{hexes} were changed"
                raise StoreError(self.place, problem, "Nothing was written; try again.")
            with self._our_words(to_write=True):
                found = self._find(hexes)
                if found is not None and found.size_bytes == size:
                    # The right size, and yet not the right bytes, or nobody would ask.
                    self._files.rm_file(self._at(hexes))
            self.copy(hexes, draft, size)

    def read(self, hexes: str) -> bytes:
        """Read bytes: checked ones of the cache, else whatever is on the server."""
        data = self._cache.read(hexes)
        if data is not None:
            return data
        with self._our_words():
            data = bytes(self._files.cat_file(self._at(hexes)))
        if hashlib.sha256(data).hexdigest() == hexes:
            self._cache.put(hexes, data)
        return data

    def chunks(self, hexes: str, size_bytes: int | None = None) -> Iterator[bytes]:
        """Read the bytes on the server in pieces, whatever they are."""
        with self._our_words():
            if size_bytes is None:
                size_bytes = int(self._files.info(self._at(hexes))["size"])
            if size_bytes <= _SMALL_BYTES:
                yield bytes(self._files.cat_file(self._at(hexes)))
                return
            with self._files.open(self._at(hexes), "rb", block_size=_PIECE_BYTES) as file:
                while chunk := file.read(COPY_BYTES):
                    yield chunk

    def has(self, hexes: str) -> bool:
        """Say whether there is an object at an address."""
        with self._our_words():
            return self._find(hexes) is not None

    def everything(self) -> Iterator[Kept | Stray]:
        """List what is there, in the order of the addresses."""
        with self._our_words():
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                return
        for path in sorted(found):
            hexes = path.removeprefix(f"{self._root}/").replace("/", "")
            facts = found[path]
            size, modified_s = int(facts.get("size") or 0), _modified_s(facts)
            if is_address(hexes) and path == self._at(hexes):
                yield Kept(hexes, size, modified_s)
            else:
                yield Stray(path, size, modified_s, is_draft=False)

    def remove(self, hexes: str, before_s: float) -> bool:
        """Remove an object that was not written since a time; False if it was, or is gone."""
        with self._our_words(to_write=True):
            found = self._find(hexes)
            if found is None or found.modified_s >= before_s:
                return False
            self._files.rm_file(self._at(hexes))
        return True

    def sync(self) -> None:
        """Do nothing: an object that was accepted is durable."""

    @property
    def place(self) -> str:
        """The URL without what opens it."""
        scheme, _, rest = self._url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    # --- the server ---------------------------------------------------------------------------

    @property
    def _is_s3(self) -> bool:
        return self._url.partition("://")[0] in _S3

    @property
    def _files(self) -> Any:
        return self._open()[1]

    @property
    def _root(self) -> str:
        return self._open()[2]

    def _open(self) -> tuple[int, Any, str]:
        """Load the library with the first use, and again in a forked child."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._refuse_credentials()
            from fsspec.config import conf
            from fsspec.core import url_to_fs

            # Other processes write too, so a listing that was kept would be wrong.
            options: dict[str, Any] = {"use_listings_cache": False}
            if self._is_s3:
                given = conf.get("s3", {}).get("config_kwargs", {})
                options["config_kwargs"] = {**_PATIENCE, **given}
            try:
                files, root = url_to_fs(self._url, **options)
            except ImportError:
                what = self._url.partition("://")[0]
                extra = "mlops-nb[s3]" if self._is_s3 else f"what fsspec needs for {what}"
                raise MissingExtra(f"A place for bytes on {what}://", extra) from None
            except ValueError as error:
                problem = f"this is no place for bytes ({redact(str(error))})"
                raise StoreError(self.place, problem, "Give a folder, or s3://BUCKET/…") from None
            self._opened = (os.getpid(), files, root.rstrip("/"))
        return self._opened

    def _refuse_credentials(self) -> None:
        if self._is_s3 and self._user:
            problem = "credentials do not belong into its URL"
            raise StoreError(self.place, problem, _HOW_TO_LOG_IN)

    @property
    def _user(self) -> str:
        """What stands before the host, if anything: a name, perhaps with a password."""
        return self._url.partition("://")[2].partition("/")[0].rpartition("@")[0]

    def _at(self, hexes: str) -> str:
        return f"{self._root}/{hexes[:2]}/{hexes[2:]}"

    def _find(self, hexes: str) -> Kept | None:
        try:
            facts = self._files.info(self._at(hexes))
        except FileNotFoundError as error:
            if _is_about_bucket(error):
                raise
            return None
        return Kept(hexes, int(facts["size"]), _modified_s(facts))

    def _is_there(self, hexes: str, size_bytes: int) -> bool:
        found = self._find(hexes)
        if found is None or found.size_bytes != size_bytes:
            return False
        return time.time() - found.modified_s < _OLD_S

    def _create(self, hexes: str, size_bytes: int, put: Any) -> None:
        """Make an object where there is none; one that is cut short or old is written anew."""
        try:
            try:
                put("create")
            except FileNotFoundError as error:
                if self._is_s3:
                    raise
                del error  # a file system that has folders
                self._files.makedirs(self._at(hexes).rpartition("/")[0], exist_ok=True)
                put("create")
        except FileExistsError:
            if not self._is_there(hexes, size_bytes):
                put("overwrite")

    @contextlib.contextmanager
    def _our_words(self, *, to_write: bool = False) -> Iterator[None]:
        try:
            yield
        except (StoreError, MissingExtra):
            raise
        except FileNotFoundError as error:
            if not (_is_about_bucket(error) or to_write):
                raise
            raise self._trouble(error, to_write=to_write) from None
        except _troubles() as error:
            raise self._trouble(error, to_write=to_write) from None

    def _trouble(self, error: BaseException, *, to_write: bool) -> StoreError:
        name = type(error).__name__
        said = " ".join(str(error).split())
        said = redact(said.replace(self._user, "…") if self._user else said)[:300]
        if name in _NO_CREDENTIALS:
            problem = "there are no credentials for it"
            remedy = _HOW_TO_LOG_IN
        elif isinstance(error, PermissionError):
            problem = f"its server refuses ({said})"
            remedy = "Check that your credentials are right and allow reading and writing there."
        elif isinstance(error, FileNotFoundError):
            problem = f"there is no such place ({said})"
            remedy = "Make the bucket first, or correct MLOPS_NB_BLOBS."
        else:
            problem = f"its server cannot be used ({said or name})"
            remedy = "Check the network and the address; nothing that was kept is lost."
        kind = StoreUnwritable if to_write else StoreError
        return kind(self.place, problem, remedy)


_HOW_TO_LOG_IN = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}


def _troubles() -> tuple[type[BaseException], ...]:
    """List what can go wrong with a server; the errors of a library that is not loaded cannot."""
    kinds: list[type[BaseException]] = [OSError, TimeoutError]
    found = (("botocore.exceptions", ("BotoCoreError", "ClientError")), ("aiohttp", _AIOHTTP))
    for module, names in found:
        loaded = sys.modules.get(module)
        kinds += [getattr(loaded, name) for name in names if hasattr(loaded, name)]
    return tuple(kinds)


_AIOHTTP = ("ClientError",)


def _is_about_bucket(error: OSError) -> bool:
    return "bucket does not exist" in str(error).lower() or "NoSuchBucket" in str(error)


def _modified_s(facts: Any) -> float:
    """Tell when an object was written; one of which nothing is known is new."""
    at = facts.get("LastModified") or facts.get("mtime") or facts.get("created")
    if isinstance(at, int | float):
        return float(at)
    return float(at.timestamp()) if hasattr(at, "timestamp") else time.time()


def _pour(chunks: Iterable[bytes], file: Any) -> tuple[str, int]:
    """Write pieces into a file; give their SHA-256 and size."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        file.write(chunk)
    return digest.hexdigest(), size
