"""The data and the files of two runs, paired, with what differs in each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mlops_nb.compare.marks import paired
from mlops_nb.documents import plain
from mlops_nb.fingerprint.difference import diff_fingerprints
from mlops_nb.model import ColumnFingerprint, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlops_nb.fingerprint.difference import DataDifference
    from mlops_nb.model import DataUse, Execution, FileUse

_EXACT = frozenset({"exact", "carried:pages"})


@dataclass(frozen=True, slots=True)
class DataChange:
    """A value that went into both runs, or into one of them.

    Attributes
    ----------
    old, new
        How each run used it; None for a run that did not.
    difference
        What differs; None where only one run used it.
    """

    old: DataUse | None
    new: DataUse | None
    difference: DataDifference | None = None

    @property
    def name(self) -> str:
        """What the new run calls it."""
        use = self.new or self.old
        return use.name if use is not None else ""

    @property
    def role(self) -> str:
        """``train``, ``test`` or ``input``."""
        use = self.new or self.old
        return use.role if use is not None else ""

    @property
    def change(self) -> str:
        """The most telling word; ``"same"`` is only said of what is proved."""
        if self.difference is not None:
            return self.difference.change
        return "added" if self.old is None else "removed"

    @property
    def is_different(self) -> bool:
        """Whether the value is known to differ."""
        return self.change not in {"same", "not shown different"}

    @property
    def text(self) -> str:
        """What differs, in a sentence."""
        if self.difference is not None:
            said = str(self.difference)
            was = self.old.name if self.old is not None else self.name
            return said if was == self.name else f"{said} ({was} before)"
        use = self.new or self.old
        rows = "" if use is None or use.rows is None else f", {use.rows:,} rows"
        word = "is new" if self.old is None else "is no longer used"
        return f"{self.name} {word} ({self.role}{rows})"

    def to_dict(self) -> dict[str, Any]:
        """Describe the change as JSON."""
        found = self.difference.document() if self.difference is not None else {"columns": []}
        previous = self.old.name if self.old is not None else None
        sides = (self.old, self.new)
        return {
            **found,
            "name": plain(self.name),
            "previous_name": plain(previous) if previous != self.name else None,
            "role": self.role,
            "change": self.change,
            "text": plain(self.text),
            "digests": [None if use is None else use.digest for use in sides],
        }


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that both runs read, with other content.

    Attributes
    ----------
    is_different
        Whether it is known to differ; the content of a file that could not be read is not.
    """

    old: FileUse
    new: FileUse
    is_different: bool

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.new.uri).name or self.new.uri

    def to_dict(self) -> dict[str, Any]:
        """Describe the change as JSON."""
        return {
            "uri": plain(self.new.uri),
            "previous_uri": plain(self.old.uri) if self.old.uri != self.new.uri else None,
            "change": "changed" if self.is_different else "not shown different",
            "digests": [self.old.digest, self.new.digest],
            "size_bytes": [self.old.size_bytes, self.new.size_bytes],
        }


def data_changes(
    old: Iterable[DataUse],
    new: Iterable[DataUse],
    fingerprints: Mapping[str, Fingerprint],
) -> tuple[DataChange, ...]:
    """Pair what two runs used, and say what differs in each pair.

    Parameters
    ----------
    old, new
        In the order in which they were used.
    fingerprints
        By digest, with columns and statistics; what is not there is compared by the digests
        that the use itself keeps.
    """
    pairs, gone, added = paired(old, new)
    if pairs and not (gone and added) and not any(u.role == "train" for u in (*gone, *added)):
        # A test set that only one of them used is no difference: that run was asked more.
        gone, added = [], []
    changes = [DataChange(was, now, _difference(was, now, fingerprints.get)) for was, now in pairs]
    changes += [DataChange(None, use) for use in added]
    changes += [DataChange(use, None) for use in gone]
    places = {id(use): i for i, use in enumerate(new)}
    return tuple(sorted(changes, key=lambda change: places.get(id(change.new), len(places))))


def _difference(
    was: DataUse, now: DataUse, known: Callable[[str], Fingerprint | None]
) -> DataDifference:
    before, after = (known(use.digest) if use.digest else None for use in (was, now))
    if before is None or after is None:
        before, after = bare_fingerprint(was), bare_fingerprint(now)
    return diff_fingerprints(before, after, name=now.name)


def bare_fingerprint(use: DataUse) -> Fingerprint:
    """Make a fingerprint of what a use keeps: digests, without chunks and statistics."""
    shape = tuple(axis for axis in (use.rows, use.columns) if axis is not None)
    columns = {
        name: ColumnFingerprint(name, "", digest, count=use.rows or 0)
        for name, digest in use.column_digests.items()
    }
    return Fingerprint(
        kind=use.kind,
        digest=use.digest,
        schema_digest=use.schema_digest,
        assurance=use.assurance,  # type: ignore[arg-type]  # a text in old stores, one of them
        rows=use.rows,
        shape=shape,
        columns=columns,
        chunk_rows=0,
    )


def file_changes(
    old: Sequence[Execution], new: Sequence[Execution]
) -> tuple[tuple[FileChange, ...], int]:
    """Find the files that two runs read with other content, and count those that are the same.

    Files are paired by their path, and by their name where runs stood in different folders.
    """
    before, after = _read(old), _read(new)
    names = {_name(uri): use for uri, use in before.items()}
    changes, same = [], 0
    for uri, now in after.items():
        was = before.get(uri) or names.get(_name(uri))
        if was is None:
            continue
        if not was.digest or not now.digest:
            is_known = False
        elif was.digest == now.digest:
            same += 1
            continue
        else:
            is_known = was.assurance in _EXACT and now.assurance in _EXACT
        changes.append(FileChange(was, now, is_known))
    return tuple(changes), same


def _read(executions: Iterable[Execution]) -> dict[str, FileUse]:
    """Give the files that came from outside: read before any of these executions wrote them."""
    found: dict[str, FileUse] = {}
    written: set[str] = set()
    for execution in executions:
        for use in execution.files:
            if use.mode == "r" and use.uri not in written and use.evidence != "mentioned":
                found.setdefault(use.uri, use)
        written |= {use.uri for use in execution.files if use.mode == "w"}
    return found


def _name(uri: str) -> str:
    return PurePosixPath(uri).name
