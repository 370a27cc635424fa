"""What differs between two environments, what was imported first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.model import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model import Json

# What of an editable installation is about its content, not about where it lies.
_EDITABLE_FACTS = ("commit", "dirty", "version")


def compare_environments(
    a: Environment | Mapping[str, Json], b: Environment | Mapping[str, Json]
) -> dict[str, Json]:
    """Say what differs from one environment to another.

    Parameters
    ----------
    a, b
        Environments, or their contents; with ``details`` (`read_details`) more can be said.

    Returns
    -------
    dict
        ``packages``: ``{"added": {name: version}, "removed": {name: version},
        "changed": {name: [old, new]}}``, in each the imported ones first; ``python``, ``os``,
        ``hardware``, ``variables``: ``{key: [old, new]}``, empty where equal;
        ``editable``: ``{name: {fact: [old, new]}}`` of installations from a working copy;
        ``rebuilt``: imported distributions of one version whose files differ;
        ``imported``: which of all those names either side had imported, None where neither
        knows; ``same``: whether nothing differs; ``same_software``: whether only hardware may.

    Examples
    --------
    >>> old, new = {"packages": {"numpy": "1.0"}}, {"packages": {"numpy": "2.0"}}
    >>> compare_environments(old, new)["packages"]["changed"]
    {'numpy': ['1.0', '2.0']}
    """
    old, new = (x.content if isinstance(x, Environment) else x for x in (a, b))
    imported = _imported(old, new)
    found: dict[str, Json] = {"packages": _packages(old, new, imported or frozenset())}
    for part in ("python", "os", "hardware", "variables"):
        left, right = old.get(part) or {}, new.get(part) or {}
        found[part] = _changes(left, right, left.keys() | right.keys())
    found["editable"] = _editable(old, new)
    found["rebuilt"] = _rebuilt(old, new)
    names = {*found["editable"], *found["rebuilt"]}
    names.update(*found["packages"].values())
    found["imported"] = None if imported is None else sorted(names & imported)
    parts = (found[part] for part in ("python", "os", "variables", "editable", "rebuilt"))
    found["same_software"] = not any((*parts, *found["packages"].values()))
    found["same"] = found["same_software"] and not found["hardware"]
    return found


def _packages(
    old: Mapping[str, Json], new: Mapping[str, Json], imported: frozenset[str]
) -> dict[str, Json]:
    before, after = old.get("packages") or {}, new.get("packages") or {}

    def ordered(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: (name not in imported, name))

    shared = before.keys() & after.keys()
    return {
        "added": {name: after[name] for name in ordered(after.keys() - before.keys())},
        "removed": {name: before[name] for name in ordered(before.keys() - after.keys())},
        "changed": {
            name: [before[name], after[name]]
            for name in ordered(shared)
            if before[name] != after[name]
        },
    }


def _changes(
    old: Mapping[str, Json], new: Mapping[str, Json], keys: set[str]
) -> dict[str, list[Json]]:
    return {
        key: [old.get(key), new.get(key)] for key in sorted(keys) if old.get(key) != new.get(key)
    }


def _details(content: Mapping[str, Json], part: str) -> Mapping[str, Json]:
    """Take a part of what was read in the background, empty before that is done."""
    return (content.get("details") or {}).get(part) or {}


def _imported(old: Mapping[str, Json], new: Mapping[str, Json]) -> frozenset[str] | None:
    known = [x for x in (old, new) if "imported" in (x.get("details") or {})]
    return frozenset().union(*(_details(x, "imported") for x in known)) if known else None


def _editable(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json]:
    """Give what differs of installations from a working copy that both sides have."""
    before, after = _details(old, "editable"), _details(new, "editable")
    found = {}
    for name in sorted(before.keys() & after.keys()):
        changes = _changes(before[name], after[name], set(_EDITABLE_FACTS))
        if changes:
            found[name] = changes
    return found


def _rebuilt(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    """Name the distributions of one version with other files."""
    before, after = _details(old, "distributions"), _details(new, "distributions")
    return [
        name
        for name in sorted(before.keys() & after.keys())
        if before[name].get("version") == after[name].get("version")
        and None not in (records := [x[name].get("record") for x in (before, after)])
        and records[0] != records[1]
    ]
