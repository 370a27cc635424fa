"""Inputs of a step as their contents."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from mlops_nb.model.pipelines import Packed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.model import Json

_OF_WRITERS = frozenset({"written_by"})
_PLAIN = frozenset({"json", "parquet", "arrow", "npy", "npz"})


def units_of(given: Packed | Sequence[Packed]) -> tuple[Packed, ...]:
    """Give the units of an input: one, or those that are joined."""
    return (given,) if isinstance(given, Packed) else tuple(given)


def is_plain(given: Packed | Sequence[Packed]) -> bool:
    """Say whether an input is data, which calls no function of the notebook."""
    return all(unit.format in _PLAIN for unit in units_of(given))


def input_part(
    inputs: Mapping[str, Packed | Sequence[Packed]], piece: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """Describe the contents of inputs by name, and which of them share a unit.

    Where the digest of a content cannot be trusted, the digests of its files count.
    """
    cut = piece["name"] if piece and piece.get("digest") else None
    found: dict[str, Json] = {}
    for name in sorted(inputs):
        if name == cut:
            continue  # its own content counts instead of the whole
        contents = [_content(unit, name) for unit in units_of(inputs[name])]
        part: dict[str, Json] = {"content": contents}
        together = sorted(other for other in inputs if _share(inputs, name, other))
        found[name] = part | ({"with": together} if together else {})
    return found


def _content(unit: Packed, name: str) -> str:
    """Name a content: what it holds, and what it takes to make just this value of it again.

    Two frames of equal numbers have one digest, whether they are held as ``int64`` or ``Int64``.
    """
    digest = unit.digests.get(name) or unit.digest
    if unit.assurance != "exact" or not digest:
        digest = " ".join(sorted(file.digest for file in unit.files))
    detail = {key: value for key, value in unit.detail.items() if key not in _OF_WRITERS}
    if not detail:
        return digest
    text = json.dumps(detail, sort_keys=True, default=str)
    return f"{digest} {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _share(inputs: Mapping[str, Packed | Sequence[Packed]], name: str, other: str) -> bool:
    return name != other and any(
        mine == theirs and {name, other} <= set(mine.names)
        for mine in units_of(inputs[name])
        for theirs in units_of(inputs[other])
    )
