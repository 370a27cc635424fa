"""Reading ``pipeline.yaml`` with distrust: every value has the type that it should have."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mlops_nb.errors.pipelines import BadDefinition
    from mlops_nb.model.pipelines import Pipeline
    from mlops_nb.pipeline.writing.yaml_text import Document, Path

T = TypeVar("T", bound=str)

_CORRECT = "Correct it, or convert the notebook again."
_DRIVE = re.compile(r"[A-Za-z]:")


class Part:
    """A mapping in the file, and where it stands.

    Attributes
    ----------
    value
        The mapping.
    warnings
        Shared by all parts of a file: a sentence about each key that means nothing here.
    """

    def __init__(
        self, document: Document, where: Path, value: object, warnings: list[str]
    ) -> None:
        self._document, self._where = document, where
        self.warnings = warnings
        if not isinstance(value, dict):
            raise document.fault(where, "it should hold names and values, as in: name: load")
        self.value: dict[str, Any] = value

    def fault(self, key: str, problem: str, remedy: str = _CORRECT) -> BadDefinition:
        """Make an error about one key of this part."""
        return self._document.fault((*self._where, key), problem, remedy)

    def finish(self, known: Collection[str]) -> None:
        """Warn of keys that mean nothing here, but for those that begin with ``x-``."""
        for key in self.value:
            if key in known or key.startswith("x-"):
                continue
            close = get_close_matches(key, known, n=1)
            hint = f' Did you mean "{close[0]}"?' if close else ""
            error = self.fault(key, "it means nothing to this version")
            place = f"{error.path}, line {error.line}" if error.line else error.path
            self.warnings.append(f"{place}: {error.key} means nothing here.{hint}")

    # One value each.

    def text(self, key: str) -> str:
        """Give a text; empty if it is not there."""
        value = self.value.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fault(key, f"it should be a text, and is {_told(value)}")
        return value

    def name(self, key: str) -> str:
        """Give a text that must be there."""
        found = self.text(key)
        if not found.strip():
            raise self.fault(key, "it is missing")
        return found

    def one_of(self, key: str, known: tuple[T, ...]) -> Any:
        """Give one of the known words."""
        found = self.name(key)
        if found not in known:
            raise self.fault(key, f'"{found}" is none of {", ".join(known)}')
        return found

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Give true or false."""
        value = self.value.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, f"it should be true or false, and is {_told(value)}")
        return value

    def number(self, key: str) -> int:
        """Give a whole number; 0 if it is not there."""
        value = self.value.get(key, 0)
        if type(value) is not int:
            raise self.fault(key, f"it should be a whole number, and is {_told(value)}")
        return value

    def seconds(self, key: str) -> float | None:
        """Give a number above 0, None if it is not there."""
        value = self.value.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.fault(key, f"it should be a number of seconds, and is {_told(value)}")
        return float(value)

    def path(self, key: str) -> str:
        """Give the path of a notebook inside the folder."""
        found = self.name(key)
        self._check_path(key, found)
        return found

    # Several values.

    def part(self, key: str) -> Part:
        """Give a mapping as a part of its own."""
        value = self.value.get(key)
        return Part(
            self._document, (*self._where, key), {} if value is None else value, self.warnings
        )

    def parts(self, key: str) -> list[Part]:
        """Give a list of mappings."""
        return [
            Part(self._document, (*self._where, key, index), item, self.warnings)
            for index, item in enumerate(self._list(key))
        ]

    def texts(self, key: str) -> tuple[str, ...]:
        """Give a list of texts."""
        items = self._list(key)
        self._check_texts((*self._where, key), items)
        return tuple(items)

    def units(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Give a list of lists of names."""
        where = (*self._where, key)
        for index, unit in enumerate(self._list(key)):
            if not isinstance(unit, list) or not unit:
                problem = "each unit is a list of names, as in: [X, y]"
                raise self._document.fault((*where, index), problem)
            self._check_texts((*where, index), unit)
        return tuple(tuple(unit) for unit in self._list(key))

    def numbers(self, key: str) -> tuple[int, ...]:
        """Give a list of positions of cells."""
        for index, item in enumerate(self._list(key)):
            if type(item) is not int or item < 0:
                problem = f"it should be the number of a cell, from 0, and is {_told(item)}"
                raise self._document.fault((*self._where, key, index), problem)
        return tuple(self._list(key))

    def mapping(self, key: str) -> dict[str, Any]:
        """Give any mapping."""
        return self.part(key).value

    def pairs(self, key: str) -> dict[str, str]:
        """Give a mapping of texts to texts."""
        part = self.part(key)
        return {name: part.name(name) for name in part.value}

    def paths(self, key: str) -> dict[str, str]:
        """Give a mapping of paths inside the folder to texts."""
        part = self.part(key)
        for name in part.value:
            part._check_path(name, name)  # noqa: SLF001 - a part of the same file
        return self.pairs(key)

    def _list(self, key: str) -> list[Any]:
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fault(key, f"it should be a list, and is {_told(value)}")
        return value

    def _check_texts(self, where: Path, items: list[Any]) -> None:
        for index, item in enumerate(items):
            if not isinstance(item, str) or not item:
                problem = f"it should be a text, and is {_told(item)}"
                raise self._document.fault((*where, index), problem)

    def _check_path(self, key: str, path: str) -> None:
        """Refuse a path that leads out of the folder, or that only some systems understand."""
        pure = PurePosixPath(path)
        leads_out = pure.is_absolute() or ".." in pure.parts or _DRIVE.match(path)
        if leads_out or "\\" in path or "\0" in path:
            problem = f"{path!r} leads out of the folder of the pipeline"
            raise self.fault(key, problem, "Write a path inside it, as in: steps/01_load.ipynb")
        if pure.suffix != ".ipynb":
            raise self.fault(key, f"{path!r} is no notebook", "Its name ends in .ipynb.")


def _told(value: object) -> str:
    """Say what stands there instead."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) < 40 else text[:40] + "…"  # noqa: PLR2004 - as much as a line takes


def top_of(document: Document, known: Collection[str]) -> Part:
    """Give the whole file as a part."""
    if document.value is None:
        raise document.fault((), "it is empty")
    top = Part(document, (), document.value, [])
    top.finish(known)
    return top


def check_graph(top: Part, pipeline: Pipeline) -> None:
    """See to it that everything refers to a step that there is, and nothing waits for itself."""
    names = [step.name for step in pipeline.steps]
    for index, part in enumerate(top.parts("steps")):
        step = pipeline.steps[index]
        for key, found in (("after", step.after), ("inputs", step.inputs.values())):
            _check_known(part, key, found, names)
    for part, edge in zip(top.parts("edges"), pipeline.edges, strict=True):
        _check_known(part, "from", [edge.source], names)
        _check_known(part, "to", [edge.target], names)
    if circle := _circle(pipeline):
        shown = " → ".join(circle)
        raise top.fault("edges", f"steps wait for each other: {shown}", "Take one edge away.")


def _check_known(part: Part, key: str, found: Iterable[str], names: list[str]) -> None:
    for name in found:
        if name in names:
            continue
        close = get_close_matches(name, names, n=1)
        remedy = f'Did you mean "{close[0]}"?' if close else f"There are: {', '.join(names)}."
        raise part.fault(key, f'there is no step "{name}"', remedy)


def _circle(pipeline: Pipeline) -> list[str]:
    """Find steps that wait for each other; empty if there are none."""
    before: dict[str, set[str]] = {step.name: set(step.after) for step in pipeline.steps}
    for step in pipeline.steps:
        before[step.name] |= set(step.inputs.values())
    for edge in pipeline.edges:
        before[edge.target].add(edge.source)
    left = dict(before)
    while ready := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in ready:
            del left[name]
    path: list[str] = []
    name = next(iter(left), "")
    while name and name not in path:
        path.append(name)
        name = next(other for other in before[name] if other in left)
    return [*path[path.index(name) :], name][::-1] if name else []
