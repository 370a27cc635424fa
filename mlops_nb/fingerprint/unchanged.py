"""Proof that a value is still what it was at one moment, from the pages of its memory.

Two questions are asked. While a value is hashed: was nothing written at all, so that the digest
is of the state at the moment it was taken in hand? Later: is the content now what it was then?
Pages are larger than values, so at the edges of a buffer a write may be a neighbour's: there the
bytes themselves are compared, which answers the second question, and the first one after another
hash during which nothing was written.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from xxhash import xxh3_128_digest

from mlops_nb.fingerprint.ends import ends_agree
from mlops_nb.fingerprint.memory import layout_of
from mlops_nb.fingerprint.pages import PAGE_BYTES, common, size_of, united, without
from mlops_nb.fingerprint.plain import class_module
from mlops_nb.fingerprint.scheme import FAILURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.fingerprint.memory import Layout, Region
    from mlops_nb.fingerprint.pages import PageOracle, Range, Watch
    from mlops_nb.model import Fingerprint

Verdict: TypeAlias = Literal["certain", "again", "lost"]

SMALL_BYTES = 1_048_576
"""Buffers below this are set aside as copies, where that is possible, instead of watched."""

_MOST_COPIED_BYTES = 4_194_304
_ATTEMPTS = 6
_LOOKS = 12


def stable_copy(value: Any) -> Any:
    """Return a frame or series that shares memory but no structure; the value itself otherwise.

    pandas copies a block before it writes to one that two frames share, and nobody adds a
    column to a frame of ours. It must be dropped soon, as it makes the user's writes dear.
    """
    pandas = sys.modules.get("pandas")
    cls = type(value)
    if pandas is None or (cls is not pandas.DataFrame and cls is not pandas.Series):
        return value
    try:
        manager = object.__getattribute__(value, "_mgr").copy(deep=False)
        # Not the public method, which copies the attributes deeply, by whoever's code.
        copied = cls._from_mgr(manager, axes=manager.axes)
        if cls is pandas.Series:
            object.__setattr__(copied, "_name", object.__getattribute__(value, "_name"))
    except FAILURES:
        return value
    return copied


@dataclass(eq=False, slots=True)
class Unchanged:
    """What a value was at one moment, and the watch over it since.

    Attributes
    ----------
    target
        What to hash: the value, or a frame of ours that shares its memory. Let go of it soon.
    target_layout
        Its layout at the beginning.
    layout
        That of the value.
    edges
        Buffers' bytes on pages that they share, as they were.
    inside
        Pages that belong to the buffers alone.
    aside
        Small buffers that `target` has copies of, with the digest of their bytes.
    """

    oracle: PageOracle
    target: Any
    target_layout: Layout
    layout: Layout
    watch: Watch
    edges: _Edges
    inside: tuple[Range, ...]
    aside: tuple[tuple[Region, bytes], ...]

    @classmethod
    def begin(cls, oracle: PageOracle, value: object) -> Unchanged | None:
        """Take a value in hand as it is now; None where writes to it could be missed."""
        layout = layout_of(value)
        if layout is None or not layout.buffers:
            return None
        target = stable_copy(value)
        # Held until the end of this, as their memory is read.
        originals = _set_aside(target) if target is not value else []
        target_layout = layout_of(target)
        if target_layout is None or len(target_layout.buffers) != len(layout.buffers):
            return None
        pairs = list(zip(layout.buffers, target_layout.buffers, strict=True))
        shared = [region for region, other in pairs if region == other]
        copied = [pair for pair in pairs if pair[0] != pair[1]]
        edges = _Edges.around(shared)
        inside = tuple(united(filter(None, map(_whole_pages, shared))))
        # All memory is got before: the allocator writes beside the values.
        watch = oracle.arm(shared) if edges is not None else None
        if watch is None or edges is None:
            return None
        edges.take_down()
        aside = _taken_down(oracle, copied)
        dirty = oracle.dirty(watch)
        is_still = dirty is not None and not common(dirty, inside)
        if aside is None or not is_still or layout_of(value) != layout:
            oracle.disarm(watch)
            return None
        del originals
        return cls(oracle, target, target_layout, layout, watch, edges, inside, aside)

    @property
    def has_objects(self) -> bool:
        """Whether the proof holds only if the objects in it are texts."""
        return self.layout.has_objects

    def verdict(self, found: Fingerprint) -> Verdict:
        """Tell, after `target` was read, whether it was read as it was at the beginning.

        Parameters
        ----------
        found
            What was read.

        Returns
        -------
        str
            ``certain``; ``again`` after a write that was perhaps a neighbour's, when `target`
            is to be read once more; ``lost``.
        """
        # Held here, as its memory is read: it may be let go of meanwhile.
        target = self.target
        if layout_of(target) != self.target_layout:
            return "lost"
        for _ in range(_LOOKS):
            dirty = self.oracle.dirty(self.watch)
            if dirty is None or common(dirty, self.inside):
                return "lost"
            if not dirty:
                return "certain"
            if not self._renew():
                return "lost"
            if not ends_agree(target, found, self.edges.on(dirty)):
                return "again"
        return "again"

    def _renew(self) -> bool:
        """Begin the watch again, if the bytes are still the same."""
        anew = self.oracle.arm(self.watch.pages_as_regions())
        if anew is None:
            return False
        # What was written until now is told to the older watch, by the same act that began
        # the new one: nothing falls between them.
        dirty = self.oracle.dirty(self.watch)
        self.oracle.disarm(self.watch)
        self.watch = anew
        return dirty is not None and not common(dirty, self.inside) and self.edges.are_same()

    def still_holds(self, value: object) -> tuple[bool, float]:
        """Tell whether the content of the value is now what it was at the beginning.

        Returns
        -------
        tuple
            The answer, and which share of the watched memory was written to.
        """
        # Of our own, so that no other thread can free what is read here.
        held = stable_copy(value)
        if layout_of(held) != self.layout:
            return False, 0.0
        # Bytes before pages: what is clean afterwards was so when the bytes were compared.
        is_same = self.edges.are_same() and self._is_rest_same()
        dirty = self.oracle.dirty(self.watch)
        if dirty is None:
            return False, 0.0
        written = common(dirty, self.inside)
        return is_same and not written, size_of(written) / max(1, self.watch.size_bytes)

    def _is_rest_same(self) -> bool:
        return all(xxh3_128_digest(_view(region)) == digest for region, digest in self.aside)

    def end(self) -> None:
        """Stop to watch."""
        self.target = None
        self.oracle.disarm(self.watch)

    def end_later(self) -> None:
        """Stop to watch at the next occasion; safe while objects are collected."""
        self.oracle.abandon(self.watch)


def _taken_down(
    oracle: PageOracle, copied: Sequence[tuple[Region, Region]]
) -> tuple[tuple[Region, bytes], ...] | None:
    """Compare copies with what they were made of, while nothing is written there.

    Returns
    -------
    tuple or None
        What was copied, with its digest; None if somebody writes.
    """
    if not copied:
        return ()
    regions, copies = [one for one, _ in copied], [copy for _, copy in copied]
    # Made before, as every class of ctypes takes memory that may lie beside the values.
    views = [_view(region) for region in regions]
    for _ in range(_ATTEMPTS):
        watch = oracle.arm(regions)
        if watch is None:
            return None
        digests = [xxh3_128_digest(view) for view in views]
        is_clean = oracle.dirty(watch) == []
        oracle.disarm(watch)
        if is_clean:
            is_true = digests == [xxh3_128_digest(_view(copy)) for copy in copies]
            return tuple(zip(regions, digests, strict=True)) if is_true else None
    return None


def _set_aside(frame: Any) -> list[Any]:
    """Give a frame of ours copies of its small blocks, which nobody else can write to.

    Returns
    -------
    list
        What the blocks had before.
    """
    left, originals = _MOST_COPIED_BYTES, []
    for block in object.__getattribute__(frame, "_mgr").blocks:
        values = block.values
        if class_module(type(values)) == "numpy":
            copied = values.copy(order="K") if values.nbytes < SMALL_BYTES else None
        else:
            copied = _copied_array(values)
        size = 0 if copied is None else copied.nbytes
        if copied is not None and size <= left:
            left -= size
            originals.append(values)
            try:
                block.values = copied
            except FAILURES:
                break
    return originals


def _copied_array(values: Any) -> Any:
    """Copy an array of pandas that is small; None if it is not, or nothing would be copied."""
    parts: list[Any] = [getattr(values, name, None) for name in ("_ndarray", "_data", "_mask")]
    arrays = [part for part in parts if class_module(type(part)) == "numpy"]
    is_small = sum(part.nbytes for part in arrays) < SMALL_BYTES
    is_plain = all(part.flags.c_contiguous for part in arrays)
    return values.copy() if arrays and is_small and is_plain else None


@dataclass(eq=False, slots=True)
class _Edges:
    """The bytes of buffers that lie on pages which they share with others."""

    places: tuple[Region, ...]
    kept: bytearray

    @classmethod
    def around(cls, regions: Sequence[Region]) -> _Edges | None:
        """Find them; None if they are too many to be copied."""
        places: list[Region] = []
        for region in regions:
            at, size = region
            whole = _whole_pages(region)
            parts = without([(at, at + size)], [whole] if whole else [])
            places += ((start, end - start) for start, end in parts)
        total = sum(size for _, size in places)
        return None if total > _MOST_COPIED_BYTES else cls(tuple(places), bytearray(total))

    def take_down(self) -> None:
        """Copy the bytes, without asking for memory."""
        if self.kept:
            into = ctypes.addressof(ctypes.c_char.from_buffer(self.kept))
            for at, size in self.places:
                ctypes.memmove(into, at, size)
                into += size

    def on(self, pages: Sequence[Range]) -> list[Region]:
        """Return those that lie on some pages."""
        return [(at, size) for at, size in self.places if common([(at, at + size)], pages)]

    def are_same(self) -> bool:
        """Whether the bytes are what they were."""
        start = 0
        for at, size in self.places:
            if ctypes.string_at(at, size) != self.kept[start : start + size]:
                return False
            start += size
        return True


def _whole_pages(region: Region) -> Range | None:
    at, size = region
    start = (at + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
    end = (at + size) // PAGE_BYTES * PAGE_BYTES
    return (start, end) if start < end else None


def _view(region: Region) -> ctypes.Array[ctypes.c_char]:
    at, size = region
    return (ctypes.c_char * size).from_address(at)
