"""Code cells into groups: steps, prelude, parameters, metrics, and what does not run."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.pipeline.headings import last_heading
from mlops_nb.pipeline.step_lines import is_not_evaluated, read_step_line
from mlops_nb.pipeline.tags import CellTags, read_tags, slug_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.notebook import Cell, Notebook

_MAGIC_LINE = re.compile(r"^\s*[%!].*$", re.MULTILINE)
_STEP_LINE = re.compile(r"^\s*%%?mlops_step(?!\w).*$", re.MULTILINE)


@dataclass(slots=True)
class Group:
    """A step whose cells are being collected.

    Attributes
    ----------
    said
        Fields of its options, with their values.
    said_in
        The cell that says each of them.
    """

    name: str
    is_named_by_author: bool = True
    cells: list[int] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    said: dict[str, object] = field(default_factory=dict)
    said_in: dict[str, int] = field(default_factory=dict)
    has_code: bool = False


class Grouping:
    """Goes through the cells of a notebook once, and keeps what is wrong until the end.

    Attributes
    ----------
    groups
        Name to step, in the order in which they begin.
    prelude, parameter_cells, skipped, metric_cells
        Positions, as of a `Draft`.
    skipped_steps
        Name of each step that a skipped cell is tagged with, to that cell.
    pipeline
        Name of the pipeline, where a tag gives it.
    problems, warnings
        Sentences, each with its cell.
    """

    def __init__(self, notebook: Notebook, split_on: str) -> None:
        self.groups: dict[str, Group] = {}
        self.prelude: list[int] = []
        self.parameter_cells: list[int] = []
        self.skipped: list[int] = []
        self.metric_cells: list[int] = []
        self.skipped_steps: dict[str, int] = {}
        self.pipeline = ""
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._split_on = split_on
        self._current: Group | None = None
        self._heading = ""
        read = {cell.index: self._read(cell) for cell in notebook.code_cells}
        self._tagged = {tags.step for tags in read.values() if tags.step}
        for cell in notebook.cells:
            if cell.kind == "code":
                self._place(cell, read[cell.index])
            else:
                self._pass_by(cell)

    # --- one cell -----------------------------------------------------------------------------

    def _read(self, cell: Cell) -> CellTags:
        """Understand the tags of a cell, and the line that stands for tags."""
        line = read_step_line(cell.source)
        found = read_tags((*cell.tags, *(line.tags if line else ())))
        where = f"Cell {cell.index}" + (f" (step {found.step})" if found.step else "")
        for problem in (*found.problems, *(line.problems if line else ())):
            self.problems.append(f"{where}: {problem}.")
        self.warnings += [f"{where}: {warning}" for warning in found.warnings]
        if found.pipeline:
            self.pipeline = self.pipeline or found.pipeline
        return found

    def _pass_by(self, cell: Cell) -> None:
        """Look at a cell that is no code: a heading may begin a step, a tag cannot."""
        found = read_tags(cell.tags)
        if found.step or found.role in {"prelude", "parameters", "metrics"}:
            tag = f"step:{found.step}" if found.step else found.role_tag
            self.warnings.append(
                f"Cell {cell.index}: the tag {tag} says nothing here, it is no code cell."
            )
        if self._split_on == "h2" and cell.kind == "markdown":
            self._heading = last_heading(cell.source) or self._heading

    def _place(self, cell: Cell, tags: CellTags) -> None:
        if tags.role is not None:
            self._place_by_role(cell, tags)
        elif is_not_evaluated(cell):
            self.skipped.append(cell.index)
            self.warnings.append(
                f"Cell {cell.index} says eval: false and is run by no step; "
                "the whole notebook would run it."
            )
        elif (group := self._group_for(cell, tags)) is not None:
            self._join(group, cell, tags)
        elif not _has_code(cell.source):
            self.skipped.append(cell.index)
        else:
            self.prelude.append(cell.index)
            if tags.step is not None:
                self.warnings.append(
                    f"Cell {cell.index} goes on with the step above, and there is none; "
                    "every step runs it first."
                )
            self._warn_of_lost(cell, tags)

    def _place_by_role(self, cell: Cell, tags: CellTags) -> None:
        match tags.role:
            case "skip":
                self.skipped.append(cell.index)
                if tags.step:
                    self.skipped_steps.setdefault(tags.step, cell.index)
                return
            case "injected":
                self.skipped.append(cell.index)
                self.warnings.append(
                    f"Cell {cell.index} holds the parameters of an earlier run (tag "
                    "injected-parameters) and is left out; those of this run stand for it."
                )
                return
            case "parameters":
                self.parameter_cells.append(cell.index)
            case "metrics":
                self.metric_cells.append(cell.index)
            case _:
                self.prelude.append(cell.index)
        self._warn_of_lost(cell, tags)

    def _warn_of_lost(self, cell: Cell, tags: CellTags) -> None:
        """Name what is said of a step by a cell that belongs to none."""
        lost = [f"prev:{name}" for name in tags.after] + sorted(tags.options)
        if lost:
            self.warnings.append(
                f"Cell {cell.index} belongs to no step, so {', '.join(lost)} says nothing there."
            )

    # --- which step ---------------------------------------------------------------------------

    def _group_for(self, cell: Cell, tags: CellTags) -> Group | None:
        if tags.step:
            self._heading = ""
            return self._named(tags.step, cell, tags)
        if tags.step is None and _has_code(cell.source):
            self._begin_untagged(cell)
        return self._current

    def _named(self, name: str, cell: Cell, tags: CellTags) -> Group:
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name)
        elif group is not self._current:
            self._go_on(group, cell, tags)
        self._current = group
        return group

    def _go_on(self, group: Group, cell: Cell, tags: CellTags) -> None:
        """Take up a step again, after cells of others, if this is the same step."""
        first = group.cells[0]
        if tags.after and set(tags.after) != set(group.after):
            before = _as_tags(group.after) or "no prev:"
            self.problems.append(
                f"Cells {first} and {cell.index} are two different steps of one name, "
                f"{group.name}: the first has {before}, the second {_as_tags(tags.after)}. "
                "Give one of them another name."
            )
            return
        self.warnings.append(
            f"Step {group.name}, which begins in cell {first}, goes on in cell {cell.index} "
            "after cells of other steps."
        )

    def _begin_untagged(self, cell: Cell) -> None:
        if self._split_on == "h2" and self._heading:
            name = self._free(slug_of(self._heading) or f"section_{cell.index}")
            self._heading = ""
        elif self._split_on == "cell" and not (not self.groups and _only_imports(cell.source)):
            name = self._free(f"cell_{cell.index}")
        else:
            return
        self._current = self.groups[name] = Group(name, is_named_by_author=False)

    def _free(self, name: str) -> str:
        taken = self._tagged | set(self.groups)
        number, free = 2, name
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        return free

    def _join(self, group: Group, cell: Cell, tags: CellTags) -> None:
        group.cells.append(cell.index)
        group.after += [name for name in tags.after if name not in group.after]
        group.has_code = group.has_code or _has_code(cell.source)
        for name, value in tags.options.items():
            self._say(group, cell.index, name, value)

    def _say(self, group: Group, index: int, name: str, value: object) -> None:
        """Keep what a tag says of a step; two cells of one step may not contradict each other."""
        already = group.said.get(name, value)
        if isinstance(value, tuple) and isinstance(already, tuple):
            group.said[name] = tuple(dict.fromkeys((*already, *value)))
        elif isinstance(value, dict) and isinstance(already, dict):
            self._say_pairs(group, index, name, already, value)
        elif already != value:
            self._contradict(group, index, name, f"{already} and {value}")
        else:
            group.said[name] = value
        group.said_in.setdefault(name, index)

    def _say_pairs(
        self,
        group: Group,
        index: int,
        name: str,
        already: Mapping[str, object],
        value: Mapping[str, object],
    ) -> None:
        for key in already.keys() & value.keys():
            if already[key] != value[key]:
                self._contradict(group, index, name, f"{key}: {already[key]} and {value[key]}")
        group.said[name] = {**already, **value}

    def _contradict(self, group: Group, index: int, name: str, said: str) -> None:
        self.problems.append(
            f"Step {group.name}: cells {group.said_in[name]} and {index} say different things "
            f"of {name} ({said}). Keep one of the tags."
        )


def _has_code(source: str) -> bool:
    text = _STEP_LINE.sub("", source)
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def _only_imports(source: str) -> bool:
    """Say whether a cell does nothing but import, and talk to IPython."""
    try:
        tree = ast.parse(_MAGIC_LINE.sub("", source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(one, ast.Import | ast.ImportFrom) for one in tree.body)


def _as_tags(names: list[str] | tuple[str, ...]) -> str:
    return " ".join(f"prev:{name}" for name in names)


__all__ = ["Group", "Grouping"]
