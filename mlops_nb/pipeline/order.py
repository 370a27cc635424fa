"""What ``prev:`` says, checked: names that there are, no step after itself, and no circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def after_problems(
    after: Mapping[str, Sequence[str]],
    cells: Mapping[str, int],
    skipped: Mapping[str, int] | None = None,
) -> list[str]:
    """List what is wrong with the order that an author asks for.

    Parameters
    ----------
    after
        Name of each step to the names that it is to come after.
    cells
        Name of each step to the cell in which it begins.
    skipped
        Name of each step that is skipped, to its cell.

    Returns
    -------
    list of str
        Sentences with step and cell.

    Examples
    --------
    >>> after_problems({"load": (), "train": ("laod",)}, {"load": 1, "train": 2})
    ['Step train (cell 2) comes after laod, which is no step. Did you mean load?']
    """
    problems = []
    for name, befores in after.items():
        where = f"Step {name} (cell {cells[name]})"
        for before in befores:
            if before == name:
                problems.append(f"{where} comes after itself. Take the tag prev:{name} away.")
            elif before not in after:
                said = _no_step(before, list(after), skipped or {})
                problems.append(f"{where} comes after {before}, {said}")
    known = {
        name: [before for before in befores if before in after and before != name]
        for name, befores in after.items()
    }
    for circle in _circles(known):
        way = " → ".join(f"{name} (cell {cells[name]})" for name in circle)
        problems.append(f"These steps wait for each other: {way}. Take one prev: away.")
    return problems


def _no_step(name: str, names: Sequence[str], skipped: Mapping[str, int]) -> str:
    from difflib import get_close_matches

    if name in skipped:
        return f"which is skipped (cell {skipped[name]}). Take the tag skip or prev:{name} away."
    lowered = {other.lower(): other for other in names}
    near = get_close_matches(name.lower(), lowered, n=1)
    if near:
        return f"which is no step. Did you mean {lowered[near[0]]}?"
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")  # noqa: PLR2004 - a message
    return f"which is no step. There are {shown}."


def _circles(after: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Give each circle once, as the names on the way round, the first one again at its end."""
    done: set[str] = set()
    for start in after:
        way: list[str] = []
        waiting: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            way.append(start)
            waiting.append((start, iter(after[start])))
        while waiting:
            name, rest = waiting[-1]
            following = next(rest, None)
            if following is None:
                done.add(name)
                waiting.pop()
                way.pop()
            elif following in way:
                # `after` leads backwards; people read the way in which the steps would run.
                yield [following, *way[way.index(following) :][::-1]]
            elif following not in done:
                way.append(following)
                waiting.append((following, iter(after[following])))


__all__ = ["after_problems"]
