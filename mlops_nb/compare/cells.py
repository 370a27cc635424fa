"""The executions of two runs, paired: which cell of one is which of the other."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.compare.hunks import Hunk, changed_lines, hunks_of
from mlops_nb.compare.literals import LiteralChange, literal_changes
from mlops_nb.documents import plain
from mlops_nb.source import code_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from mlops_nb.model import Execution

Change = Literal["same", "reformatted", "changed", "added", "removed", "repeated"]

# Words in common for two cells without an id to be one cell that was edited.
_ALIKE = 0.5
_NEAR = 100  # cells further apart than this are not compared
_WORD = re.compile(r"\w+")
# Our own magics, and the functions of the same names.
_LOOKING = re.compile(
    r"%mlops_|%(?:re)?load_ext mlops_nb|import mlops_nb(?: as \w+)?$"
    r"|(?:mn|mlops_nb)\.(?:compare|diff|diff_data|fingerprint|lineage|runs|show)\("
)


@dataclass(frozen=True)
class CellPair:
    """A cell as it ran in the old run, in the new one, or in both.

    Attributes
    ----------
    change
        ``repeated`` is one more execution of a cell that the other run has, too.
    old, new
        The executions; None on a side without one.
    """

    change: Change
    old: Execution | None = None
    new: Execution | None = None

    @property
    def place(self) -> str:
        """What a reader calls the cell: ``cell 4``, else the prompt, ``[7]``."""
        execution = self.new or self.old
        if execution is None:
            return ""
        if execution.cell_index is not None:
            return f"cell {execution.cell_index + 1}"
        count = execution.execution_count
        return f"[{count}]" if count is not None else f"#{execution.order}"

    @cached_property
    def hunks(self) -> tuple[Hunk, ...]:
        """The lines that differ."""
        sides = (one.source if one is not None else "" for one in (self.old, self.new))
        old, new = (text.strip("\n") for text in sides)
        return hunks_of(old, new)

    @property
    def lines(self) -> int:
        """How many lines differ."""
        return changed_lines(self.hunks)

    @cached_property
    def literals(self) -> tuple[LiteralChange, ...] | None:
        """The constants that differ, if nothing else does."""
        if self.change != "changed" or self.old is None or self.new is None:
            return None
        return literal_changes(_run_source(self.old), _run_source(self.new))

    def to_dict(self) -> dict[str, Any]:
        """Describe the pair as JSON."""
        return {
            "cell": self.place,
            "change": self.change,
            "executions": [None if e is None else e.id for e in (self.old, self.new)],
            "lines": self.lines,
            "hunks": [hunk.to_dict() for hunk in self.hunks],
            "literals": None
            if self.literals is None
            else [
                {"name": one.name, "old": plain(one.old), "new": plain(one.new)}
                for one in self.literals
            ],
        }


def pair_cells(old: Sequence[Execution], new: Sequence[Execution]) -> tuple[CellPair, ...]:
    """Pair the executions of two runs.

    The same cell with the same code comes first, then the same code in another cell, then the
    same cell with other code, then cells that are alike. What is left was added, removed, or is
    a cell that ran more often.

    Parameters
    ----------
    old, new
        In run order.

    Returns
    -------
    tuple of CellPair
        In the order of `new`; what only `old` has stands after what it stood after there.
    """
    before, after = [e for e in old if _counts(e)], [e for e in new if _counts(e)]
    matched: dict[str, Execution] = {}
    left, right = list(before), list(after)
    keys: tuple[Callable[[Execution], Hashable], ...] = (
        lambda e: (e.cell_id, _code(e)) if e.cell_id else None,
        _code,
    )
    for key in keys:
        left, right = _match(left, right, key, matched)
    # What only ran once more on one side is no other version of a cell of the other side.
    left_known, right_known = {_code(e) for e in after}, {_code(e) for e in before}
    repeated = {e.id for e in left if _code(e) in left_known}
    repeated |= {e.id for e in right if _code(e) in right_known}
    left = [e for e in left if e.id not in repeated]
    right = [e for e in right if e.id not in repeated]
    left, right = _match(left, right, lambda e: e.cell_id or None, matched)
    _match_alike(left, right, matched)
    return tuple(_in_order(before, after, matched, repeated))


def moved_cells(pairs: Iterable[CellPair]) -> list[tuple[CellPair, CellPair]]:
    """Give the cells that ran in another order: each with the one that it ran before at first."""
    both = [pair for pair in pairs if pair.old is not None and pair.new is not None]
    moved = []
    for before, after in itertools.pairwise(both):
        if before.old is not None and after.old is not None and after.old.order < before.old.order:
            moved.append((after, before))
    return moved


def _counts(execution: Execution) -> bool:
    """Tell whether an execution did anything: looking at runs is no part of a run."""
    if execution.status == "syntax" or execution.parent is not None:
        return False
    return not _is_only_looking(execution.source)


@lru_cache(maxsize=4096)
def _is_only_looking(source: str) -> bool:
    lines = (line.strip() for line in source.splitlines())
    code = [line for line in lines if line and not line.startswith("#")]
    return all(_LOOKING.match(line) for line in code)


def _run_source(execution: Execution) -> str:
    return execution.transformed or execution.source


def _code(execution: Execution) -> str:
    return execution.code_digest or code_digest(_run_source(execution))


def _match(
    left: list[Execution],
    right: list[Execution],
    key: Callable[[Execution], Hashable],
    matched: dict[str, Execution],
) -> tuple[list[Execution], list[Execution]]:
    """Match one by one what has the same key, the first with the first."""
    waiting: dict[Hashable, list[Execution]] = {}
    for execution in right:
        waiting.setdefault(key(execution), []).append(execution)
    unmatched, taken = [], set()
    for execution in left:
        found = waiting.get(key(execution)) if key(execution) is not None else None
        if found:
            other = found.pop(0)
            matched[other.id] = execution
            taken.add(other.id)
        else:
            unmatched.append(execution)
    return unmatched, [execution for execution in right if execution.id not in taken]


def _match_alike(
    left: Sequence[Execution], right: Sequence[Execution], matched: dict[str, Execution]
) -> None:
    """Match cells by the words that they share, those that share most first."""
    before, after = (
        [Counter(_WORD.findall(execution.source)) for execution in side] for side in (left, right)
    )
    scores = sorted(
        (-likeness, abs(i - j), i, j)
        for i, old in enumerate(before)
        for j, new in enumerate(after[max(i - _NEAR, 0) : i + _NEAR], max(i - _NEAR, 0))
        if (likeness := _likeness(old, new)) >= _ALIKE
    )
    taken: tuple[set[int], set[int]] = (set(), set())
    for _, _, i, j in scores:
        if i not in taken[0] and j not in taken[1]:
            matched[right[j].id] = left[i]
            taken[0].add(i)
            taken[1].add(j)


def _likeness(old: Counter[str], new: Counter[str]) -> float:
    """Give the share of their words that two sources have in common, from 0 to 1."""
    small, large = (old, new) if len(old) < len(new) else (new, old)
    shared = sum(min(count, large[word]) for word, count in small.items() if word in large)
    return 2 * shared / max(old.total() + new.total(), 1)


def _in_order(
    before: Sequence[Execution],
    after: Sequence[Execution],
    matched: dict[str, Execution],
    repeated: set[str],
) -> list[CellPair]:
    pairs = [_pair(matched.get(new.id), new, repeated) for new in after]
    there = {old.id for old in matched.values()}
    places = {pair.old.id: pair for pair in pairs if pair.old is not None}
    last: CellPair | None = None
    for old in before:
        if old.id in there:
            last = places[old.id]
            continue
        only = _pair(old, None, repeated)
        pairs.insert(0 if last is None else pairs.index(last) + 1, only)
        last = only
    return pairs


def _pair(old: Execution | None, new: Execution | None, repeated: set[str]) -> CellPair:
    change: Change
    if old is None or new is None:
        one = new if old is None else old
        change = "added" if old is None else "removed"
        return CellPair("repeated" if one is not None and one.id in repeated else change, old, new)
    if _code(old) != _code(new):
        return CellPair("changed", old, new)
    is_same = old.source.strip() == new.source.strip()
    return CellPair("same" if is_same else "reformatted", old, new)
