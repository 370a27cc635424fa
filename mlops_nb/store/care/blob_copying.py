"""Bytes from one store into another, each checked on the way and where it has come to lie."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.store.blobs import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlops_nb.store.blobs import Blobs, State, Stray

    Given = TypeVar("Given")
    Result = TypeVar("Result")

# Hashing lets other threads run; a server is waited for.
_LOCAL_AT_ONCE, _REMOTE_AT_ONCE = 2, 8
_WAITING = 4


@dataclass
class BlobsCopied:
    """What became of the bytes.

    Attributes
    ----------
    copied, repaired
        Addresses that were written: new ones, and those that were damaged in the target.
    there
        How many were there already.
    size_bytes
        Written in all.
    damaged
        Addresses whose bytes in the source are not what they should be.
    strays
        What lies in the source and is no such file: links, above all. None was followed.
    known
        All addresses at which the source has bytes.
    """

    copied: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    there: int = 0
    size_bytes: int = 0
    verified_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set, repr=False)


def listed(blobs: Blobs) -> tuple[list[Kept], list[Stray]]:
    """List all bytes, and what lies between them."""
    kept: list[Kept] = []
    strays: list[Stray] = []
    for found in blobs.everything():
        if isinstance(found, Kept):
            kept.append(found)
        else:
            strays.append(found)
    return kept, strays


def copy_blobs(
    source: Blobs, target: Blobs, on_progress: Callable[[str, int, int], None]
) -> BlobsCopied:
    """Copy all bytes that the target lacks; then read all of them there.

    Parameters
    ----------
    source, target
        The two places.
    on_progress
        Is told how many bytes of how many were copied, then checked.

    Raises
    ------
    StoreUnwritable
        The target takes no more.
    """
    kept, strays = listed(source)
    report = BlobsCopied(strays=[stray.path for stray in strays if not stray.is_draft])
    report.known = {each.hexes for each in kept}
    there = {each.hexes: each.size_bytes for each in listed(target)[0]}
    missing = [each for each in kept if there.get(each.hexes) != each.size_bytes]
    report.there = len(kept) - len(missing)
    total = sum(each.size_bytes for each in missing)
    for each, is_sound in in_threads(
        lambda each: take(source, target, each), missing, is_remote=_is_remote(source, target)
    ):
        report.size_bytes += each.size_bytes
        (report.copied if is_sound else report.damaged).append(each.hexes)
        on_progress("copy bytes", report.size_bytes, total)
    target.make_durable()
    damaged = set(report.damaged)
    _verify(source, target, [e for e in kept if e.hexes not in damaged], report, on_progress)
    return report


def _verify(
    source: Blobs,
    target: Blobs,
    kept: list[Kept],
    report: BlobsCopied,
    on_progress: Callable[[str, int, int], None],
) -> None:
    """Read everything where it is now; what is damaged there is taken from the source."""
    total = sum(each.size_bytes for each in kept)
    for each, state in states(target, kept):
        report.verified_bytes += each.size_bytes
        on_progress("check bytes", report.verified_bytes, total)
        if state == "ok":
            continue
        if take(source, target, each) and target.state(f"sha256:{each.hexes}") == "ok":
            report.repaired.append(each.hexes)
        else:
            report.damaged.append(each.hexes)


def take(source: Blobs, target: Blobs, each: Kept) -> bool:
    """Copy bytes; False if they are not what their address says."""
    digest = f"sha256:{each.hexes}"
    try:
        target.take(digest, source.chunks(digest, each.size_bytes))
    except StoreUnwritable:
        raise
    except StoreError:
        return False
    return True


def states(blobs: Blobs, kept: Iterable[Kept]) -> Iterator[tuple[Kept, State]]:
    """Read all of these bytes, and say how each is."""
    return in_threads(
        lambda each: blobs.state(f"sha256:{each.hexes}", each.size_bytes),
        kept,
        is_remote=blobs.is_remote,
    )


def _is_remote(*places: Blobs) -> bool:
    return any(place.is_remote for place in places)


def in_threads(
    work: Callable[[Given], Result], items: Iterable[Given], *, is_remote: bool
) -> Iterator[tuple[Given, Result]]:
    """Do something for each item, a few at once; results come in the order of the items."""
    at_once = _REMOTE_AT_ONCE if is_remote else _LOCAL_AT_ONCE
    with ThreadPoolExecutor(at_once, thread_name_prefix="mlops_nb-blobs") as pool:
        waiting: deque[tuple[Given, object]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= at_once * _WAITING:
                    first, future = waiting.popleft()
                    yield first, future.result()  # type: ignore[attr-defined]
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()  # type: ignore[attr-defined]
        finally:
            for _, future in waiting:
                future.cancel()  # type: ignore[attr-defined]
