"""What waits in the spools of a store, and what of it cannot be read. Nothing is taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.store.reading import queries
from mlops_nb.store.spool.folders import find_spools
from mlops_nb.store.spool.homes import state_folder
from mlops_nb.store.spool.segments import (
    HEADER_BYTES,
    Damage,
    SpoolPosition,
    SpoolReader,
    segment_number,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.store.care.checking import CheckReport
    from mlops_nb.store.parts import StoreParts
    from mlops_nb.store.spool.folders import SpoolFolders

_MAGIC = b"NBSPOOL\n"
_PASSED_OVER = "Any command that reads takes in what is whole and says what is lost: mlops-nb runs"


def check_spools(parts: StoreParts | None, root: Path, report: CheckReport) -> None:
    """Read all that waits, from where the store has taken it in.

    Parameters
    ----------
    parts
        The store; None where its tables cannot be asked.
    root
        The folder with its spools.
    report
        Gets the findings.
    """
    spools = [spool for spool in find_spools(root, state_folder()) if spool.folders]
    report.counts["spools"] = len(spools)
    waiting = 0
    torn: list[str] = []
    foreign: list[str] = []
    newer: list[str] = []
    for spool in spools:
        foreign += _headless(spool)
        if spool.id:
            waiting += _read(spool, _position(parts, spool), torn, newer)
    report.counts["waiting"] = waiting
    if torn:
        text = f"places in spools without a frame that can be read: {len(torn):,}"
        report.add("spool-torn", text, _PASSED_OVER, torn)
    if foreign:
        text = f"segments of spools without a beginning that can be read: {len(foreign):,}"
        report.add("spool-unreadable", text, "Keep a copy, and find out what wrote them", foreign)
    if newer:
        text = f"segments of spools that a newer version wrote: {len(newer):,}"
        report.add("spool-newer", text, "Upgrade: pip install -U mlops-nb", newer)
    rejected = root.parent / "rejected"
    aside = sorted(path.name for path in rejected.iterdir()) if rejected.is_dir() else []
    if aside:
        text = f"spools with events that could not be taken in and were put aside: {len(aside):,}"
        report.add("events-rejected", text, f"They lie in {rejected}; please report", aside)


def _position(parts: StoreParts | None, spool: SpoolFolders) -> SpoolPosition:
    if parts is not None:
        with parts.reading() as connection:
            row = connection.execute(queries.spool_position(spool.id)).first()
        if row is not None:
            return SpoolPosition(spool.id, row.segment, row.offset)
    return SpoolPosition(spool.id)


def _read(spool: SpoolFolders, position: SpoolPosition, torn: list[str], newer: list[str]) -> int:
    """Count the events that wait; beside a living writer, a last half of one is no fault."""
    is_over = spool.judge() in {"dead", "expired"}
    reader = SpoolReader(spool.id, spool.folders, is_over=is_over)
    waiting = 0
    for _, found in reader.read(position):
        waiting += found is not None and not isinstance(found, Damage)
        if isinstance(found, Damage):
            place = f"{found.size_bytes:,} bytes of {found.path.name} from {found.offset:,} on"
            torn.append(f"session {spool.session}: {place}")
    if reader.too_new is not None:
        newer.append(str(reader.too_new))
    return waiting


def _headless(spool: SpoolFolders) -> list[str]:
    found = []
    for folder in spool.folders:
        for path in sorted(folder.iterdir()):
            if segment_number(path) is None:
                continue
            try:
                with path.open("rb") as file:
                    head = file.read(HEADER_BYTES)
            except OSError:
                head = b""
            if len(head) < HEADER_BYTES or not head.startswith(_MAGIC):
                found.append(str(path))
    return found
