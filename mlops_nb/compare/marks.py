"""What changed between two runs in data, code and environment, in a word or two each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlops_nb.model import DataUse, Environment, Json, Run

# Digests of these are of the whole content: equal means same, unequal means changed.
_EXACT = frozenset({"exact", "carried:pages"})
_LISTED = 10
_NAMED = 2  # that many columns, values or packages are named; more are counted


@record
class Mark:
    """What can be said about one aspect of a run against the baseline.

    Attributes
    ----------
    kind
        ``same`` is only said of what is proved; ``unknown`` is neither same nor changed.
    text
        As it stands in a table: ``"same"``, ``"1 cell"``, ``"age ≠"``, ``"–"``.
    details
        One sentence each, for whoever asks.
    """

    kind: Literal["same", "changed", "unknown", "baseline"]
    text: str
    details: tuple[str, ...] = ()


SAME = Mark("same", "same")
BASELINE = Mark("baseline", "base", ("the baseline",))


NOT_ITS_OWN = Mark("unknown", "", ("see its children",))


def unknown(*details: str) -> Mark:
    """Say that nothing can be said, and why."""
    return Mark("unknown", "–", details)


def data_mark(base: Run, run: Run) -> Mark:
    """Compare the data that went into two runs.

    Values are paired by role and name, then by content, so that a renamed variable is not a
    change. "same" needs exact fingerprints of everything on both sides. A test set that only one
    of them used is no difference between the two: that run was asked more.
    """
    if not base.data or not run.data:
        return unknown("no data was recorded on one side")
    pairs, gone, new = paired(base.data, run.data)
    if pairs and not (gone and new) and not any(use.role == "train" for use in (*gone, *new)):
        gone, new = [], []
    differing = [pair for pair in pairs if is_same(*pair) is False]
    unclear = [pair for pair in pairs if is_same(*pair) is None]
    if differing or gone or new:
        return _data_change(differing, gone, new)
    if unclear:
        return unknown(*(f"{use.name}: {why_unclear(was, use)}" for was, use in unclear))
    return SAME


def code_mark(base: Run, run: Run) -> Mark:
    """Compare the code of two runs: how many of the cells that they needed differ."""
    if not base.code_digests or not run.code_digests:
        return unknown("no code was recorded on one side")
    was, now = Counter(base.code_digests), Counter(run.code_digests)
    changed = max((was - now).total(), (now - was).total())
    if not changed:
        return SAME
    cells = "1 cell" if changed == 1 else f"{changed} cells"
    return Mark("changed", cells, (f"{cells} of {now.total()} differ from {base.id[:4]}",))


def environment_mark(
    base: Run, run: Run, environments: Mapping[str, Environment] | None = None
) -> Mark:
    """Compare what two runs ran on; `environments` by digest say what it is that differs."""
    if not base.environment or not run.environment:
        return unknown("no environment was recorded on one side")
    if base.environment == run.environment:
        return SAME
    known = environments or {}
    was, now = known.get(base.environment), known.get(run.environment)
    if was is None or now is None:
        return Mark("changed", "changed", ("the environments differ",))
    changes = environment_changes(was, now)
    named = [what for what, _ in changes]
    return Mark("changed", _named(named, "changes"), tuple(text for _, text in changes))


def environment_changes(was: Environment, now: Environment) -> list[tuple[str, str]]:
    """Name each thing that differs, and say how: ``("pandas", "pandas 2.2.3 → 3.1.1")``."""
    changes = []
    for what in ("python", "os", "hardware", "variables"):
        old, new = was.content.get(what), now.content.get(what)
        if old != new:
            changes += [(what, text) for text in _value_changes(what, old, new)][:1]
    old, new = was.content.get("packages") or {}, now.content.get("packages") or {}
    changes += [
        (name, f"{name} {old.get(name, '–')} → {new.get(name, '–')}")
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return changes


def combined(marks: Iterable[Mark]) -> Mark:
    """Say about several runs what is true of each; otherwise that they vary."""
    distinct = list({mark.text: mark for mark in marks if mark.kind != "baseline"}.values())
    if not distinct:
        return BASELINE
    if len(distinct) == 1:
        return distinct[0]
    kind: Literal["changed", "unknown"] = (
        "changed" if any(mark.kind == "changed" for mark in distinct) else "unknown"
    )
    return Mark(kind, "varies", tuple(mark.text for mark in distinct))


def paired(
    was: Iterable[DataUse], now: Iterable[DataUse]
) -> tuple[list[tuple[DataUse, DataUse]], list[DataUse], list[DataUse]]:
    """Pair what two runs used; what is left over on each side comes with it."""
    pairs, gone = [], []
    new = {(use.role, use.name): use for use in now}
    for use in {(use.role, use.name): use for use in was}.values():
        match = new.pop((use.role, use.name), None)
        if match is None:
            gone.append(use)
        else:
            pairs.append((use, match))
    for same in (lambda use: use.digest, lambda use: use.role):
        _pair_by(same, pairs, gone, new)
    return pairs, gone, list(new.values())


def _pair_by(
    same: Callable[[DataUse], str],
    pairs: list[tuple[DataUse, DataUse]],
    gone: list[DataUse],
    new: dict[tuple[str, str], DataUse],
) -> None:
    """Pair what is left over where one value on each side has the same digest, or role."""
    was, now = Counter(map(same, gone)), Counter(map(same, new.values()))
    for use in list(gone):
        if same(use) and was[same(use)] == now[same(use)] == 1:
            match = next(other for other in new.values() if same(other) == same(use))
            gone.remove(use)
            pairs.append((use, new.pop((match.role, match.name))))


def is_same(was: DataUse, now: DataUse) -> bool | None:
    """Tell whether two values are the same; None where it is not known."""
    if was.assurance in _EXACT and now.assurance in _EXACT and was.digest and now.digest:
        return was.digest == now.digest
    if (was.rows, was.columns) != (now.rows, now.columns) and None not in {was.rows, now.rows}:
        return False
    return None


def why_unclear(was: DataUse, now: DataUse) -> str:
    """Say why it is not known whether two values are the same."""
    if was.digest and was.digest == now.digest:
        return f"not shown different, but its fingerprint is only {now.assurance}"
    return f"fingerprints are {was.assurance} and {now.assurance}, so they cannot be compared"


def _data_change(
    differing: list[tuple[DataUse, DataUse]], gone: list[DataUse], new: list[DataUse]
) -> Mark:
    columns = dict.fromkeys(name for pair in differing for name in _columns_that_differ(*pair))
    names = [use.name for _, use in differing]
    details = [_data_sentence(was, now) for was, now in differing]
    details += [f"{use.name} is no longer used" for use in gone]
    details += [f"{use.name} is new" for use in new]
    if not differing:
        text = ", ".join([*(f"−{use.name}" for use in gone), *(f"+{use.name}" for use in new)])
        short = text if len(gone) + len(new) <= _NAMED else f"{len(gone) + len(new)} values ≠"
        return Mark("changed", short, tuple(details))
    if any(was.rows != now.rows for was, now in differing):
        return Mark("changed", "rows ≠", tuple(details))
    text = _named(list(columns), "columns") if columns else _named(names, "values")
    return Mark("changed", f"{text} ≠", tuple(details))


def _columns_that_differ(was: DataUse, now: DataUse) -> list[str]:
    """Name the columns that differ; none where it is the whole that does."""
    old, new = was.column_digests, now.column_digests
    return [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]


def _data_sentence(was: DataUse, now: DataUse) -> str:
    name = now.name if was.name == now.name else f"{was.name} → {now.name}"
    if was.rows != now.rows:
        return f"{name}: {was.rows} → {now.rows} rows"
    columns = _columns_that_differ(was, now)
    if not columns:
        return f"{name}: other values"
    if len(columns) == len(now.column_digests):
        return f"{name}: all {len(columns)} columns differ"
    more = " …" if len(columns) > _LISTED else ""
    return f"{name}: {', '.join(columns[:_LISTED])}{more} differ"


def _named(names: list[str], noun: str) -> str:
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} {noun}"


def _value_changes(what: str, old: Json, new: Json) -> list[str]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [f"{what} {old or '–'} → {new or '–'}"]
    return [
        f"{what} {key} {old.get(key, '–')} → {new.get(key, '–')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
