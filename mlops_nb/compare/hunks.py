"""Two texts to the lines in which they differ, side by side, with a little of what is around."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_AROUND = 2
# Beyond this, lines are no longer matched: the time for it grows with the square.
_MOST_LINES = 1500


@dataclass(frozen=True, slots=True)
class SideLine:
    """One line of a difference as it stands on both sides.

    Attributes
    ----------
    kind
        ``changed`` has both sides, ``removed`` only the old one, ``added`` only the new one.
    old_number, new_number
        One-based, None on a side without the line.
    """

    kind: Literal["same", "changed", "removed", "added"]
    old: str = ""
    new: str = ""
    old_number: int | None = None
    new_number: int | None = None

    def cut(self, longest: int) -> SideLine:
        """Bound the line, so that what differs stays in sight, as in an image in a source."""
        if max(len(self.old), len(self.new)) <= longest:
            return self
        if self.kind == "same":
            return replace(self, old=_bounded(self.old, longest), new=_bounded(self.new, longest))
        first = _shared(self.old, self.new)
        start = max(first - longest // 3, 0)
        sides = (f"{'…' if start else ''}{text[start:]}" for text in (self.old, self.new))
        old, new = (_bounded(text, longest) for text in sides)
        return replace(self, old=old, new=new)


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that differ, with those around them."""

    lines: tuple[SideLine, ...]

    @property
    def header(self) -> str:
        """The places of the hunk, as ``@@ -3,4 +3,5 @@``."""
        old = [line.old_number for line in self.lines if line.old_number is not None]
        new = [line.new_number for line in self.lines if line.new_number is not None]
        return f"@@ -{_place(old)} +{_place(new)} @@"

    def unified(self, longest: int | None = None) -> list[str]:
        """Give the lines as a patch has them: removed ones before those added in their place.

        Of lines beyond `longest` letters the part is kept in which they differ.
        """
        written: list[str] = []
        added: list[str] = []
        for line in self.lines:
            each = line if longest is None else line.cut(longest)
            if each.kind == "same":
                written += [*added, f" {each.old}"]
                added = []
            if each.kind in {"changed", "removed"}:
                written.append(f"-{each.old}")
            if each.kind in {"changed", "added"}:
                added.append(f"+{each.new}")
        return [*written, *added]

    def to_dict(self) -> dict[str, Any]:
        """Describe the hunk as JSON."""
        return {"header": self.header, "lines": plain(self.unified())}


def hunks_of(old: str, new: str) -> tuple[Hunk, ...]:
    r"""Find where two texts differ.

    Examples
    --------
    >>> [hunk.unified() for hunk in hunks_of("a\nb", "a\nc")]
    [[' a', '-b', '+c']]
    """
    before, after = old.split("\n") if old else [], new.split("\n") if new else []
    groups = _grouped(_opcodes(before, after))
    return tuple(Hunk(tuple(_side_by_side(group, before, after))) for group in groups)


def changed_lines(hunks: Sequence[Hunk]) -> int:
    """Count the lines in which two texts differ."""
    return sum(line.kind != "same" for hunk in hunks for line in hunk.lines)


Opcode = tuple[str, int, int, int, int]


def _opcodes(before: list[str], after: list[str]) -> list[Opcode]:
    first = _shared(before, after)
    last = _shared(before[first:][::-1], after[first:][::-1])
    end_before, end_after = len(before) - last, len(after) - last
    middle = before[first:end_before], after[first:end_after]
    found: list[Opcode] = [("equal", 0, first, 0, first)] if first else []
    if max(map(len, middle)) > _MOST_LINES:
        found.append(("replace", first, end_before, first, end_after))
    else:
        matcher = SequenceMatcher(None, *middle, autojunk=False)
        found += [
            (tag, i + first, j + first, k + first, m + first)
            for tag, i, j, k, m in matcher.get_opcodes()
        ]
    if last:
        found.append(("equal", end_before, len(before), end_after, len(after)))
    return found


def _bounded(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    pairs = enumerate(zip(before, after, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(before), len(after)))


def _grouped(opcodes: list[Opcode]) -> list[list[Opcode]]:
    """Cut long equal stretches down to what is around a difference."""
    groups: list[list[Opcode]] = []
    is_open = False
    for index, (tag, i, j, k, m) in enumerate(opcodes):
        if tag != "equal":
            if not is_open:
                groups.append([])
            groups[-1].append((tag, i, j, k, m))
            is_open = True
            continue
        is_last = index == len(opcodes) - 1
        if is_open and j - i <= 2 * _AROUND and not is_last:
            groups[-1].append((tag, i, j, k, m))
            continue
        if is_open:
            groups[-1].append((tag, i, min(j, i + _AROUND), k, min(m, k + _AROUND)))
        if is_last:
            break
        groups.append([(tag, max(i, j - _AROUND), j, max(k, m - _AROUND), m)])
        is_open = True
    return [group for group in groups if any(tag != "equal" for tag, *_ in group)]


def _side_by_side(group: list[Opcode], before: list[str], after: list[str]) -> Iterator[SideLine]:
    for tag, i, j, k, m in group:
        if tag == "equal":
            for left, right in zip(range(i, j), range(k, m), strict=True):
                yield SideLine("same", before[left], after[right], left + 1, right + 1)
            continue
        both = min(j - i, m - k)
        for n in range(both):
            old, new = before[i + n], after[k + n]
            yield SideLine("changed", old, new, i + n + 1, k + n + 1)
        for left in range(i + both, j):
            yield SideLine("removed", old=before[left], old_number=left + 1)
        for right in range(k + both, m):
            yield SideLine("added", new=after[right], new_number=right + 1)


def _place(numbers: list[int]) -> str:
    return f"{numbers[0]},{len(numbers)}" if numbers else "0,0"
