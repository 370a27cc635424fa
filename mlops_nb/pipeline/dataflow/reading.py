"""All cells of a draft, read in the order of the notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.effects import CellEffects, FileUse
from mlops_nb.pipeline.dataflow.results import note_results
from mlops_nb.pipeline.dataflow.statements import Statements
from mlops_nb.pipeline.dataflow.values import Value
from mlops_nb.pipeline.dataflow.world import World
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping, Sequence

    from mlops_nb.model.pipelines import Fact
    from mlops_nb.pipeline.drafts import Draft


@dataclass(slots=True)
class Reading:
    """What all cells of a draft do.

    Attributes
    ----------
    order
        Cells that run, in the order of the notebook.
    before, after
        What names were bound to before and after each cell.
    cannot_store
        Pairs of step and name: values that a run could not store.
    shared
        For a step, names that a run found to share an object at its end.
    forced
        For a step, state that a run saw it change.
    """

    draft: Draft
    world: World
    order: tuple[int, ...]
    effects: dict[int, CellEffects] = field(default_factory=dict)
    before: dict[int, Mapping[str, Value]] = field(default_factory=dict)
    after: dict[int, Mapping[str, Value]] = field(default_factory=dict)
    cannot_store: dict[tuple[str, str], str] = field(default_factory=dict)
    shared: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    forced: dict[str, set[str]] = field(default_factory=dict)
    differing: set[str] = field(default_factory=set)


def read_draft(draft: Draft, facts: Sequence[Fact] = ()) -> Reading:
    """Read all cells of a draft.

    Parameters
    ----------
    draft
        A notebook as steps.
    facts
        What runs have shown of these steps.
    """
    stepped = {cell: step.name for step in draft.steps for cell in step.cells}
    cells = {*draft.prelude, *draft.parameter_cells, *stepped}
    reading = Reading(draft, World(), tuple(sorted(cells)))
    folder = Path(draft.notebook.path).absolute().parent if draft.notebook.path else None
    reader = Statements(reading.world, parse_cell, folder)
    last = {step.name: max(step.cells) for step in draft.steps if step.cells}
    told: dict[str, list[Fact]] = {}
    for fact in facts:
        told.setdefault(fact.step, []).append(fact)
    for cell in reading.order:
        _read_cell(reading, reader, cell)
        step = stepped.get(cell)
        if step is not None and last[step] == cell:
            for fact in told.get(step, ()):
                _apply(reading, fact)
        reading.world.end()
        reading.after[cell] = dict(reading.world.values)
    return reading


def _read_cell(reading: Reading, reader: Statements, cell: int) -> None:
    world, draft = reading.world, reading.draft
    reading.before[cell] = reading.after[_previous(reading, cell)] if reading.after else {}
    effects = reading.effects[cell] = world.begin(cell)
    source = draft.notebook.cells[cell].source
    tree = parse_cell(source)
    if tree is None:
        effects.is_broken = True
        return
    reader.is_of_parameters = cell in draft.parameter_cells
    reader.read(tree)
    note_results(world, tree, source, reader.last_value)


def _previous(reading: Reading, cell: int) -> int:
    return reading.order[reading.order.index(cell) - 1]


# --- what runs have shown ----------------------------------------------------------------------


def _apply(reading: Reading, fact: Fact) -> None:
    """Let a fact happen at the end of its step."""
    {
        "reads": _apply_reads,
        "binds": _apply_binds,
        "mutates": _apply_mutates,
        "deletes": _apply_deletes,
        "shares": _apply_shares,
        "rng": _apply_rng,
        "differs": _apply_differs,
    }[fact.kind](reading, fact)


def _apply_reads(reading: Reading, fact: Fact) -> None:
    for name in fact.names:
        reading.world.read(name)
        reading.world.cell.observed.add(name)


def _apply_deletes(reading: Reading, fact: Fact) -> None:
    for name in fact.names:
        reading.world.cell.deletes[name] = reading.world.line
        reading.world.values.pop(name, None)


def _apply_rng(reading: Reading, fact: Fact) -> None:
    for name in fact.names:
        state = name if name.startswith("<") else f"<rng:{name}>"
        reading.world.change_state(state)
        reading.forced.setdefault(fact.step, set()).add(state)


def _apply_differs(reading: Reading, fact: Fact) -> None:
    reading.differing.update(fact.names)


def _apply_binds(reading: Reading, fact: Fact) -> None:
    world = reading.world
    for name in fact.names:
        if "stored" in fact.text:
            reading.cannot_store[fact.step, name] = fact.text
            continue
        node = world.objects.new()
        world.branches += 1
        world.bind(name, Value(nodes=frozenset((node,))), world.site("value", "", is_top=False))
        world.branches -= 1
        world.cell.certain.discard(name)
        world.cell.observed.add(name)


def _apply_mutates(reading: Reading, fact: Fact) -> None:
    world = reading.world
    files = tuple(name for name in fact.names if "/" in name)
    for path in files:
        world.cell.files.append(FileUse(path, True, world.line, is_observed=True))
    states = tuple(name for name in fact.names if name.startswith("<"))
    for state in states:
        world.change_state(state)
        reading.forced.setdefault(fact.step, set()).add(state)
    world.observe(name for name in fact.names if name not in states and name not in files)


def _apply_shares(reading: Reading, fact: Fact) -> None:
    world, objects = reading.world, reading.world.objects
    shared = objects.new()
    for name in fact.names:
        value = world.values.get(name)
        if value is None or not value.nodes:
            node = objects.new()
            value = Value(nodes=frozenset((node,)))
            world.values[name] = value
            world.note_name(name, value)
        objects.hold(value.nodes, (shared,))
    reading.shared.setdefault(fact.step, []).append(tuple(sorted(fact.names)))


def trees_of_cells(draft: Draft) -> dict[int, ast.Module]:
    """Parse the cells of a draft that can be parsed."""
    found = {cell.index: parse_cell(cell.source) for cell in draft.notebook.code_cells}
    return {index: tree for index, tree in found.items() if tree is not None}
