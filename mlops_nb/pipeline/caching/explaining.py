"""Why a step runs, or need not: what differs from the results that are most like it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlops_nb.packaging.plain import ImportNotAllowed, decode
from mlops_nb.pipeline.caching.keys import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import CachedStep

_LONGEST = 60
_MOST = 12
_OF_TABLES = ("params", "inputs", "files", "modules")


def explain(
    parts: Mapping[str, Json],
    nearest: CachedStep | None,
    *,
    against: Sequence[str] = (),
    contents: Callable[[str], Mapping[str, Json] | None] | None = None,
) -> tuple[str, ...]:
    """Say why a step runs, in sentences; or that results of it are there.

    Parameters
    ----------
    parts
        As from `key_of`.
    nearest
        The results most like it, see `nearest_to`.
    against
        What `reasons_against` says about them, if they have the same key.
    contents
        Gives a fingerprint in full by its digest, as `Store.fingerprint_content` does: then
        columns and rows of a changed input are named.

    Examples
    --------
    >>> explain({"about": {"step": "train", "is_cached": True}, "unknowable": []}, None)
    ('train ran because nothing like it is in the store',)
    """
    step = parts["about"]["step"]
    clauses = list(_clauses(parts, nearest, against, contents))
    if not clauses and nearest is not None:
        return (f"it is a hit: run {nearest.run[:4]}",)
    shown = [f"{step} ran because {clause}" for clause in clauses[:_MOST]]
    if more := len(clauses) - _MOST:
        shown += [f"… and {more:,} more changes"] if more > 0 else []
    return tuple(shown)


def nearest_to(parts: Mapping[str, Json], candidates: Iterable[CachedStep]) -> CachedStep | None:
    """Choose the results that differ least from what a step would make; of equal ones the first.

    Parameters
    ----------
    parts
        As from `key_of`.
    candidates
        Results of the same step, the newest first.
    """
    ranked = [
        (len(list(differences(each.parts, parts))), place, each)
        for place, each in enumerate(candidates)
    ]
    return min(ranked, key=lambda one: one[:2])[2] if ranked else None


def differences(
    old: Mapping[str, Json],
    new: Mapping[str, Json],
    contents: Callable[[str], Mapping[str, Json] | None] | None = None,
) -> Iterator[str]:
    """Say, as clauses, what differs between what two results are made from."""
    if old.get("version") != new.get("version"):
        yield "another version of mlops-nb asks for more than was kept"
        return
    if not is_sound(old):
        yield "what is kept of earlier results cannot be read"
        return
    yield from _source(old["source"], new["source"])
    for part, noun in (
        ("definitions", "definition"),
        ("params", "parameter"),
        ("inputs", "input"),
        ("files", "file"),
        ("modules", "module"),
        ("distributions", "distribution"),
        ("environment", "environment variable"),
    ):
        before, after = old.get(part) or {}, new.get(part) or {}
        for name in sorted({*before, *after}):
            if (
                name not in before
                or name not in after
                or _text(before[name]) != _text(after[name])
            ):
                yield _change(part, noun, name, before, after, new, contents)
    yield from _rest(old, new)


_TABLES = ("definitions", "distributions", "environment", "options", *_OF_TABLES)
_LISTS = ("source", "prelude", "parameter_cells", "wanted", "watched")


def is_sound(parts: Mapping[str, Json]) -> bool:
    """Say whether parts have the form that `key_of` gives them: a store may be anybody's."""
    if not all(isinstance(parts.get(name), dict) for name in _TABLES):
        return False
    if not all(isinstance(parts.get(name), list) for name in _LISTS):
        return False
    if not all(isinstance(one, dict) for name in _OF_TABLES for one in parts[name].values()):
        return False
    contents = [one.get("content") for one in parts["inputs"].values()]
    digests = [one.get("digest") for one in parts["modules"].values()]
    return (
        all(isinstance(content, list) and content for content in contents)
        and all(isinstance(digest, str) for digest in digests)
        and isinstance(parts.get("seen") or {}, dict)
    )


def _rest(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[str]:
    if old.get("prelude") != new.get("prelude"):
        yield "the cells before the first step changed"
    if old.get("parameter_cells") != new.get("parameter_cells"):
        yield "a value that is computed from parameters changed"
    if old.get("python") != new.get("python"):
        yield f"Python went from {old.get('python')} to {new.get('python')}"
    if old.get("options") != new.get("options"):
        yield f"its tags changed ({_tags(old['options'], new['options'])})"
    if old.get("piece") != new.get("piece"):
        yield "it is another piece"


def _text(part: Json) -> str:
    """Write a part as the key has it: Python takes 1, 1.0 and True for equal."""
    return json.dumps(part, sort_keys=True)


def _clauses(
    parts: Mapping[str, Json],
    nearest: CachedStep | None,
    against: Sequence[str],
    contents: Callable[[str], Mapping[str, Json] | None] | None,
) -> Iterator[str]:
    if not parts["about"]["is_cached"]:
        yield "it is tagged not to be cached"
        return
    if nearest is None:
        yield from parts["unknowable"]
        if not parts["unknowable"]:
            yield "nothing like it is in the store"
        return
    found = list(differences(nearest.parts, parts, contents))
    if not found and digest_of(nearest.parts) != digest_of(parts):
        found = ["what is kept of it cannot be compared"]
    yield from dict.fromkeys((*parts["unknowable"], *found, *against))


def _source(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    if list(old) == list(new):
        return
    if len(old) != len(new):
        yield f"its code changed: it has {_counted(len(new), 'cell')}, and had {len(old)}"
        return
    changed = [str(place) for place, (a, b) in enumerate(zip(old, new, strict=True), 1) if a != b]
    which = f"cell {changed[0]}" if len(changed) == 1 else f"cells {', '.join(changed)}"
    yield "its code changed" if len(new) == 1 else f"its code changed, in {which} of {len(new)}"


def _change(
    part: str,
    noun: str,
    name: str,
    before: Mapping[str, Json],
    after: Mapping[str, Json],
    new: Mapping[str, Json],
    contents: Callable[[str], Mapping[str, Json] | None] | None,
) -> str:
    if part == "inputs":
        return _input(name, before, after, new, contents)
    if part == "modules":
        return _module(name, before.get(name), after.get(name))
    if part == "environment":
        return _variable(name, before, after)
    if part == "files":
        return _file(name, before.get(name), after.get(name))
    if name not in before:
        return (
            f"it uses {name} {after[name]} now"
            if part == "distributions"
            else (f"it reads {noun} {name} now" if part == "params" else f"it needs {name} now")
        )
    if name not in after:
        verb = "reads" if part == "params" else "uses"
        return f"it no longer {verb} {noun if part == 'params' else ''} {name}".replace("  ", " ")
    if part == "distributions":
        return _version(name, before[name], after[name])
    if part == "params":
        return _parameter(name, before[name], after[name])
    return f"{name} changed"


def _version(name: str, old: str, new: str) -> str:
    if ":" in f"{old}{new}":
        return f"{name} changed"
    return f"{name} went from {old or 'no version'} to {new or 'no version'}"


def _parameter(name: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> str:
    if "value" in old and "value" in new:
        return f"parameter {name} changed from {_said(old['value'])} to {_said(new['value'])}"
    return f"parameter {name} changed"


def _said(document: Json) -> str:
    try:
        text = repr(decode(document))
    except (ValueError, ImportNotAllowed):
        text = json.dumps(document)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _input(
    name: str,
    before: Mapping[str, Json],
    after: Mapping[str, Json],
    new: Mapping[str, Json],
    contents: Callable[[str], Mapping[str, Json] | None] | None,
) -> str:
    source = new["about"].get("inputs", {}).get(name, "")
    origin = f" from {source}" if source else ""
    what = f"input {name}{origin}"
    if name.startswith("<"):
        what = f"state {name}{origin}"
    if name not in before:
        return f"it takes {what} now"
    if name not in after:
        return f"it no longer takes {what}"
    old, now = before[name]["content"], after[name]["content"]
    if old == now:
        return f"{what} shares other values than before"
    if len(old) != len(now):
        return f"{what} is joined from {len(now)} pieces, and was from {len(old)}"
    places = "" if contents is None else _places(old[0], now[0], contents)
    return f"{what} has other content{places}"


def _places(old: str, new: str, contents: Callable[[str], Mapping[str, Json] | None]) -> str:
    """Name the column and rows in which two contents differ, where both were kept in full."""
    documents = [contents(content.partition(" ")[0]) for content in (old, new)]
    if None in documents:
        return ""
    from mlops_nb.fingerprint.difference import diff_fingerprints
    from mlops_nb.fingerprint.record import fingerprint_from_document

    before, after = (fingerprint_from_document(document or {}) for document in documents)
    changed = [one for one in diff_fingerprints(before, after).changed() if one.name]
    if not changed:
        return ""
    first = changed[0]
    where = f"column {first.name}"
    if first.rows:
        start, end = first.rows[0]
        where = f"rows {start:,}–{end:,} of {where}"
    more = f", and {_counted(len(changed) - 1, 'more column')}" if len(changed) > 1 else ""
    return f" ({where}{more})"


def _module(name: str, old: Mapping[str, Json] | None, new: Mapping[str, Json] | None) -> str:
    if old is None:
        return f"it imports {name} now"
    if new is None:
        return f"it no longer imports {name}"
    names, others = old.get("names", {}), new.get("names", {})
    changed = [
        f"{(others.get(each) or names[each]).partition(':')[0]} {each}"
        for each in sorted({*names, *others})
        if names.get(each) != others.get(each)
    ]
    told = f": {', '.join(changed[:3])}{', …' if len(changed) > 3 else ''}" if changed else ""  # noqa: PLR2004
    return f"{name} changed{told}"


def _variable(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if name not in before:
        return f"it reads environment variable {name} now"
    if name not in after:
        return f"it no longer reads environment variable {name}"
    if after[name] is None:
        return f"environment variable {name} is no longer set"
    return f"environment variable {name} {'is set now' if before[name] is None else 'changed'}"


def _file(name: str, old: Mapping[str, Json] | None, new: Mapping[str, Json] | None) -> str:
    if old is None:
        return f"it reads file {name} now"
    if new is None:
        return f"it no longer reads file {name}"
    if new.get("missing"):
        return f"file {name} is gone"
    return f"file {name} {'is there now' if old.get('missing') else 'has other content'}"


def _tags(old: Mapping[str, Json], new: Mapping[str, Json]) -> str:
    return ", ".join(name for name in sorted({*old, *new}) if old.get(name) != new.get(name))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
