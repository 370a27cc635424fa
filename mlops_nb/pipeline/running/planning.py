"""Which steps may run, and what an end means for the steps below; pure, states are values."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from mlops_nb.errors.pipelines import UnknownStep
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from mlops_nb.model.pipelines import Pipeline, Step, StepState

SUCCEEDED = frozenset({"done", "cached"})
ENDED = frozenset({"done", "cached", "failed", "skipped", "upstream_failed"})
_WAITING = frozenset({"pending", "ready"})


@record
class Choice:
    """Which steps somebody wants.

    Attributes
    ----------
    first
        This step and all below it (``--from``).
    until
        This step and all above it.
    only
        These steps alone; those above them are not run, their results are used.
    force
        Steps that are run whatever is known of them; with ``*`` all that are chosen.
    """

    first: str = ""
    until: str = ""
    only: tuple[str, ...] = ()
    force: tuple[str, ...] = ()


@record
class Board:
    """Every step and its state; a step that is not chosen has none.

    Attributes
    ----------
    states
        By name of the step.
    chosen
        Steps that may run.
    texts
        Why a step is skipped or failed, by name.
    """

    pipeline: Pipeline
    states: Mapping[str, StepState]
    chosen: frozenset[str]
    texts: Mapping[str, str] = field(default_factory=dict)

    def with_state(self, step: str, state: StepState, text: str = "") -> Board:
        """Give the board after a step has changed its state, and what that means below."""
        states = {**self.states, step: state}
        texts = {**self.texts, **({step: text} if text else {})}
        changed = replace(self, states=states, texts=texts)
        return _settled(changed)

    @property
    def is_settled(self) -> bool:
        """Whether nothing runs and nothing can be run any more."""
        return not any(self.states[name] == "running" for name in self.states) and not self.ready

    @property
    def ready(self) -> tuple[str, ...]:
        """Steps that wait for nothing, in the order of the notebook."""
        return tuple(
            step.name
            for step in self.pipeline.steps
            if self.states.get(step.name) in _WAITING and self._is_free(step.name)
        )

    @property
    def has_failed(self) -> bool:
        """Whether a step has failed, or was in vain because of one."""
        return any(state in {"failed", "upstream_failed"} for state in self.states.values())

    def _is_free(self, step: str) -> bool:
        # A step that was skipped keeps back only those that need its values.
        above = above_of(self.pipeline)[step]
        return all(self.states.get(name, "done") in SUCCEEDED | {"skipped"} for name in above)


def new_board(pipeline: Pipeline, choice: Choice | None = None) -> Board:
    """Make the board of a pipeline that has not begun.

    Raises
    ------
    UnknownStep
        A step is named that is not there.
    """
    chosen = chosen_steps(pipeline, choice or Choice())
    states: dict[str, StepState] = {
        step.name: "pending" for step in pipeline.steps if step.name in chosen
    }
    return Board(pipeline, states, chosen)


def chosen_steps(pipeline: Pipeline, choice: Choice) -> frozenset[str]:
    """Say which steps may run.

    Raises
    ------
    UnknownStep
        A step is named that is not there.
    """
    names = [step.name for step in pipeline.steps]
    asked = [choice.first, choice.until, *choice.only, *choice.force]
    for name in asked:
        if name and name != "*" and name not in names:
            raise UnknownStep(pipeline.name, name, tuple(names))
    chosen = set(names)
    if choice.first:
        chosen &= {choice.first, *below(pipeline, [choice.first])}
    if choice.until:
        chosen &= {choice.until, *above(pipeline, [choice.until])}
    if choice.only:
        chosen &= set(choice.only)
    return frozenset(chosen)


def borrowed_steps(pipeline: Pipeline, chosen: Collection[str]) -> tuple[str, ...]:
    """List the steps whose results are needed although they may not run."""
    needed = {
        source
        for step in pipeline.steps
        if step.name in chosen
        for source in step.inputs.values()
        if source not in chosen
    }
    return tuple(step.name for step in pipeline.steps if step.name in needed)


# --- the graph --------------------------------------------------------------------------------


def above_of(pipeline: Pipeline) -> dict[str, frozenset[str]]:
    """Give, for each step, the steps that come right before it."""
    found: dict[str, set[str]] = {step.name: set() for step in pipeline.steps}
    for edge in pipeline.edges:
        found[edge.target].add(edge.source)
    for step in pipeline.steps:
        found[step.name].update(step.inputs.values(), step.after)
    return {name: frozenset(sources - {name}) for name, sources in found.items()}


def needed_of(pipeline: Pipeline) -> dict[str, frozenset[str]]:
    """Give, for each step, the steps whose values or files it takes."""
    found: dict[str, set[str]] = {step.name: set() for step in pipeline.steps}
    for edge in pipeline.edges:
        if any(reason.kind != "prev" for reason in edge.reasons):
            found[edge.target].add(edge.source)
    for step in pipeline.steps:
        found[step.name].update(step.inputs.values())
    return {name: frozenset(sources - {name}) for name, sources in found.items()}


def above(pipeline: Pipeline, steps: Iterable[str]) -> tuple[str, ...]:
    """List all steps above some steps, in the order of the notebook."""
    return _reached(pipeline, above_of(pipeline), steps)


def below(pipeline: Pipeline, steps: Iterable[str]) -> tuple[str, ...]:
    """List all steps below some steps, in the order of the notebook."""
    down: dict[str, set[str]] = {step.name: set() for step in pipeline.steps}
    for target, sources in above_of(pipeline).items():
        for source in sources & down.keys():
            down[source].add(target)
    return _reached(pipeline, down, steps)


def _reached(
    pipeline: Pipeline, graph: Mapping[str, Collection[str]], steps: Iterable[str]
) -> tuple[str, ...]:
    found: set[str] = set()
    level = set(steps)
    while level:
        level = {other for name in level for other in graph.get(name, ())} - found
        found |= level
    return tuple(step.name for step in pipeline.steps if step.name in found)


# --- what an end means ------------------------------------------------------------------------


def _settled(board: Board) -> Board:
    """Have steps below a failure, or below a skipped step whose values they need, not run."""
    states, texts = dict(board.states), dict(board.texts)
    before, needed = above_of(board.pipeline), needed_of(board.pipeline)
    for step in _in_run_order(board.pipeline, before):
        if states.get(step.name) not in _WAITING:
            continue
        failed = _first(board, before[step.name], states, {"failed", "upstream_failed"})
        skipped = _first(board, needed[step.name], states, {"skipped"})
        if failed:
            states[step.name] = "upstream_failed"
            texts[step.name] = f"{failed} failed"
        elif skipped:
            states[step.name] = "skipped"
            texts[step.name] = f"it needs what {skipped} would have made, which was skipped"
    return replace(board, states=states, texts=texts)


def _first(
    board: Board,
    names: Collection[str],
    states: Mapping[str, StepState],
    wanted: Collection[str],
) -> str:
    """Name the first of some steps that is in one of some states; empty if none is."""
    found = (s.name for s in board.pipeline.steps if s.name in names)
    return next((name for name in found if states.get(name) in wanted), "")


def _in_run_order(pipeline: Pipeline, before: Mapping[str, Collection[str]]) -> Iterator[Step]:
    """Give each step after all that come before it."""
    given: set[str] = set()
    waiting = list(pipeline.steps)
    known = {step.name for step in waiting}
    while waiting:
        free = [step for step in waiting if set(before[step.name]) & known <= given]
        if not free:  # a cycle, which nobody lets through
            free = waiting
        yield from free
        given.update(step.name for step in free)
        waiting = [step for step in waiting if step.name not in given]
