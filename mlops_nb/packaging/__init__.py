"""Values become files and come back: formats by type, digests, signatures.

The kernel loads this at the start and end of a step, so everything heavy waits for its use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.packaging.aliases import shares
    from mlops_nb.packaging.digest import digest_of
    from mlops_nb.packaging.record import packed_document, packed_from_document
    from mlops_nb.packaging.signature import sign, verify_signature
    from mlops_nb.packaging.unit import pack, unpack

__all__ = [
    "digest_of",
    "pack",
    "packed_document",
    "packed_from_document",
    "shares",
    "sign",
    "unpack",
    "verify_signature",
]

_HOMES = {
    "digest_of": "digest",
    "pack": "unit",
    "packed_document": "record",
    "packed_from_document": "record",
    "shares": "aliases",
    "sign": "signature",
    "unpack": "unit",
    "verify_signature": "signature",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
