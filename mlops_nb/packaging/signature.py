"""Who wrote a stored value: an HMAC-SHA256 over its manifest.

The key is this user's own, made when it is first needed and never in a store, or a team's, from
the environment. Who can read it can make values that run code here, so one that others can read
is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors.values import BadSigningKey
from mlops_nb.packaging.record import packed_document

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import Packed

TEAM_VARIABLE = "MLOPS_NB_TEAM_KEY"

_SCHEME = "hmac-sha256"
_KEY_BYTES = 32
_SHORTEST = 16
_OTHERS = 0o077


def sign(packed: Packed) -> Packed:
    """Sign a unit with the team's key if there is one, else with the user's.

    Parameters
    ----------
    packed
        The unit; a signature that it has is replaced.

    Raises
    ------
    BadSigningKey
        The key can be read by others, or cannot be read or made.
    """
    key = _team_key() or _user_key(make=True)
    return replace(packed, signature=_signature(packed, key or b""))


def verify_signature(packed: Packed) -> str:
    """Say what is wrong with the signature of a unit.

    Returns
    -------
    str
        As a clause; empty if it was made with the user's or the team's key for exactly these
        names, files and details.

    Raises
    ------
    BadSigningKey
        A key that is there cannot be used.
    """
    if not packed.signature:
        return "it is not signed"
    keys = [key for key in (_team_key(), _user_key(make=False)) if key is not None]
    for key in keys:
        if hmac.compare_digest(_signature(packed, key), packed.signature):
            return ""
    made_by = packed.signature.split(":")[1:2]
    if any(_name_of(key) in made_by for key in keys):
        return "its signature does not fit it: it was changed after it was written"
    return "it is signed with a key that is not yours"


def key_file() -> Path:
    """Say where this user's key is, whether it has been made or not.

    Examples
    --------
    >>> key_file().name
    'signing.key'
    """
    from mlops_nb.config import Settings

    configuration = os.environ.get("MLOPS_NB_CONFIG") or Settings().config_file
    return Path(configuration).parent / "signing.key"


def _signature(packed: Packed, key: bytes) -> str:
    manifest = packed_document(replace(packed, signature=""))
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode("ascii")
    code = hmac.new(key, b"mlops_nb value 1\0" + text, hashlib.sha256).hexdigest()
    return f"{_SCHEME}:{_name_of(key)}:{code}"


def _name_of(key: bytes) -> str:
    """Name a key without telling it, for messages."""
    return hashlib.sha256(b"mlops_nb key\0" + key).hexdigest()[:8]


def _team_key() -> bytes | None:
    text = os.environ.get(TEAM_VARIABLE, "").strip()
    if not text:
        return None
    if len(text) < _SHORTEST:
        remedy = f"Use at least {_SHORTEST} random characters."
        raise BadSigningKey(TEAM_VARIABLE, f"it has only {len(text)} characters", remedy)
    return hashlib.sha256(b"mlops_nb team\0" + text.encode("utf-8", "surrogateescape")).digest()


def _user_key(*, make: bool) -> bytes | None:
    path = key_file()
    try:
        return _read(path)
    except FileNotFoundError:
        if not make:
            return None
    _make(path)
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            text = file.read(4 * _KEY_BYTES).strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        remedy = "Make it readable for you, or remove it: a new one is made."
        raise BadSigningKey(str(path), error.strerror or "it cannot be read", remedy) from None
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        remedy = "Remove it: a new one is made."
        raise BadSigningKey(str(path), "it is not a key that mlops_nb has made", remedy)
    return key


def _check_private(path: Path, status: os.stat_result) -> None:
    if not hasattr(os, "getuid"):  # on Windows the profile's folder is the user's own
        return
    if status.st_uid not in {os.getuid(), 0}:
        raise BadSigningKey(str(path), "it belongs to another user", "Remove it.")
    if status.st_mode & _OTHERS:
        remedy = (
            f"Others may have read it: remove it, so that a new one is made, or, if you are sure "
            f"that nobody has, chmod 600 {path}"
        )
        raise BadSigningKey(str(path), "others can read it", remedy)


def _make(path: Path) -> None:
    """Make a key, or leave that of another process that was quicker."""
    from mlops_nb.store.private import make_private, open_private

    half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        make_private(path.parent)
        with open_private(half, "xb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES).hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link is made by one process only, and what it names is whole.
        os.link(half, path)
    except FileExistsError:
        pass
    except OSError as error:
        remedy = f"Make its folder writable, or set {TEAM_VARIABLE}."
        raise BadSigningKey(str(path), error.strerror or "it cannot be made", remedy) from None
    finally:
        half.unlink(missing_ok=True)


__all__ = ["TEAM_VARIABLE", "key_file", "sign", "verify_signature"]
