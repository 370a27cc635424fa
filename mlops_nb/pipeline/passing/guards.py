"""What a step did that the plan of its pipeline does not allow for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_nb.model.pipelines import Fact
from mlops_nb.packaging.digest import digest_of
from mlops_nb.pipeline.passing.state import GUARDED, STATES, read_state, untouched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model.pipelines import StepTask
    from mlops_nb.pipeline.passing.state import Start

_UNCHANGING = frozenset({str, bytes, int, float, complex, bool, type(None)})


@dataclass(slots=True)
class Snapshot:
    """A step's process after its inputs were loaded.

    Attributes
    ----------
    start
        Where the process was before any state was taken over.
    states
        State by name, after that.
    watched
        Name to the object bound to it, and its digest.
    prelude
        Digests of what the prelude bound.
    taken
        State that was taken over, as values.
    """

    start: Start
    states: dict[str, Any]
    watched: dict[str, tuple[object, str]]
    prelude: dict[str, str]
    taken: dict[str, Any] = field(default_factory=dict)


def changed_states(before: Mapping[str, Any], start: Start) -> dict[str, Any]:
    """Return the state that is not what it was, as it is now."""
    found = {}
    for name in STATES:
        now = read_state(name, start)
        then = before.get(name)
        if then is None and now is not None:
            # Its library came with the step.
            then = untouched(name)
        if now is not None and not _is_same(then, now):
            found[name] = now
    return found


def _is_same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # options may be arrays
        return repr(one) == repr(other)


def facts_of(
    task: StepTask,
    snapshot: Snapshot,
    namespace: Mapping[str, object],
    changed: Mapping[str, Any],
) -> tuple[Fact, ...]:
    """List the facts of a step that has run to its end."""
    return (
        *_differing(task, snapshot),
        *_mutations(task, snapshot, namespace),
        *_sharing(task, snapshot, namespace),
        *_states(task, changed),
    )


def _differing(task: StepTask, snapshot: Snapshot) -> Iterator[Fact]:
    for name, digest in task.prelude_digests.items():
        mine = snapshot.prelude.get(name)
        if mine is not None and mine != digest:
            text = f"the first cells made another {name} in {task.step} than in the first step"
            yield Fact(task.step, "differs", (name,), text=text)


def _mutations(
    task: StepTask, snapshot: Snapshot, namespace: Mapping[str, object]
) -> Iterator[Fact]:
    for name, (value, digest) in snapshot.watched.items():
        now = namespace.get(name, _ABSENT)
        if now is value and type(value) in _UNCHANGING:
            continue
        if now is _ABSENT:
            yield Fact(task.step, "mutates", (name,), text=f"{task.step} deletes {name}")
        elif (digest or now is not value) and digest_of(now, namespace=namespace).text != digest:
            text = f"{task.step} changes {name}, which later steps take from an earlier one"
            yield Fact(task.step, "mutates", (name,), text=text)


_ABSENT = object()


def _sharing(
    task: StepTask, snapshot: Snapshot, namespace: Mapping[str, object]
) -> Iterator[Fact]:
    from mlops_nb.packaging.aliases import shares
    from mlops_nb.packaging.unit import ambient

    unit_of = {name: number for number, unit in enumerate(task.outputs) for name in unit}
    names = [*unit_of, *(name for name in snapshot.watched if name not in unit_of)]
    values = {name: namespace[name] for name in names if name in namespace}
    for one, other in shares(values, skip=ambient(namespace)):
        first, second = unit_of.get(one), unit_of.get(other)
        if first != second:
            text = f"{one} and {other} reach one object at the end of {task.step}"
            yield Fact(task.step, "shares", (one, other), text=text)


def _states(task: StepTask, changed: Mapping[str, Any]) -> Iterator[Fact]:
    for name in changed:
        if name in GUARDED and name not in task.state_out:
            text = f"{task.step} changes {_WORDS[name]}, which later steps would not see"
            yield Fact(task.step, "rng", (name,), text=text)


_WORDS = {
    "<rng:random>": "the state of random",
    "<rng:numpy>": "the state of numpy.random",
    "<rng:torch>": "the state of torch's generator",
    "<cwd>": "the working folder",
}

__all__ = ["Snapshot", "changed_states", "facts_of"]
