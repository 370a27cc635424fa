"""A packed unit as a JSON document, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlops_nb.model.pipelines import Packed, PackedFile

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, Any]


def packed_document(packed: Packed) -> Document:
    """Describe a unit.

    Examples
    --------
    >>> packed_document(Packed(("auc",), "json", (), "sha256:00"))["names"]
    ['auc']
    """
    return {
        "names": list(packed.names),
        "format": packed.format,
        "files": [asdict(file) for file in packed.files],
        "digest": packed.digest,
        "digests": dict(packed.digests),
        "assurance": packed.assurance,
        "signature": packed.signature,
        "size_bytes": packed.size_bytes,
        "detail": dict(packed.detail),
    }


def packed_from_document(document: Mapping[str, Any]) -> Packed:
    """Read what `packed_document` wrote; keys of a newer version are left out.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is no such document.

    Examples
    --------
    >>> unit = Packed(("auc",), "json", (PackedFile("value.json", "sha256:00", 3),), "sha256:00")
    >>> packed_from_document(packed_document(unit)) == unit
    True
    """
    files = tuple(
        PackedFile(str(file["name"]), str(file["digest"]), int(file["size_bytes"]))
        for file in document["files"]
    )
    return Packed(
        names=tuple(document["names"]),
        format=str(document["format"]),
        files=files,
        digest=str(document["digest"]),
        digests=dict(document.get("digests", {})),
        assurance=str(document.get("assurance", "exact")),
        signature=str(document.get("signature", "")),
        size_bytes=int(document.get("size_bytes", 0)),
        detail=dict(document.get("detail", {})),
    )


__all__ = ["packed_document", "packed_from_document"]
