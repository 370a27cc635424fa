"""What a run has shown that the plan did not know: a better plan, or a reason to refuse."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.errors import MlopsNbError
from mlops_nb.errors.pipelines import PipelineRefused
from mlops_nb.model.pipelines import Fact
from mlops_nb.pipeline.running.preparing import replanned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import Pipeline, Step
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.work import StepDone

ROUNDS = 5
"""How often a pipeline is planned again within one run."""

_UNDEFINED = re.compile(r"name '([^']+)' is not defined")
_KEY = re.compile(r"'([^\W\d]\w*)'")
_WORD = re.compile(r"[^\W\d]\w*")


def facts_shown(prepared: Prepared, step: Step, done: StepDone) -> tuple[Fact, ...]:
    """Gather what an attempt has shown, each fact with the code that it is about."""
    facts = [*done.result.facts, *_of_failure(step, done.failure or {})]
    return tuple(_about_its_code(prepared, step, fact) for fact in facts)


def _of_failure(step: Step, failure: Mapping[str, Json]) -> Iterator[Fact]:
    """Say what the error of a step shows: a name that it reads, a value that no file can hold."""
    message = str(failure.get("message", ""))
    if failure.get("type") == "NameError" and (found := _UNDEFINED.search(message)):
        text = f"{step.name} reads {found[1]}, which its text does not show"
        yield Fact(step.name, "reads", (found[1],), text=text)
    if failure.get("type") == "KeyError" and (found := _KEY.fullmatch(message.strip())):
        # Of a namespace looked into as a mapping; of any other one, no other plan follows.
        text = f"{step.name} looks up {found[1]}, which its text does not show"
        yield Fact(step.name, "reads", (found[1],), text=text)
    if failure.get("type") == "CannotStore" and (found := _WORD.match(message)):
        text = f"{found[0]}, which {step.name} makes, could not be stored when it ran"
        yield Fact(step.name, "binds", (found[0],), text=text)


def _about_its_code(prepared: Prepared, step: Step, fact: Fact) -> Fact:
    """Say which step of the author's a fact is about: several may have been made one."""
    if prepared.draft is None:
        return fact
    from mlops_nb.pipeline.dataflow import step_code

    within = [one for one in prepared.draft.steps if set(one.cells) <= set(step.cells)]
    if not within:
        return fact
    drafted = within[0] if fact.kind == "reads" else within[-1]
    return replace(fact, step=drafted.name, code=fact.code or step_code(prepared.draft, drafted))


class Replanning:
    """The plan of a run, and the better ones that the run has shown.

    Parameters
    ----------
    prepared
        The plan it begins with.

    Attributes
    ----------
    learned
        What was added since.
    is_outdated
        Whether the run has to begin a new round.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._known = list(prepared.pipeline.facts)
        self.learned: list[Fact] = []
        self.is_outdated = False

    def taken(self) -> Prepared:
        """Give the plan of the next round."""
        self.is_outdated = False
        return self._prepared

    def learn(self, facts: Sequence[Fact], *, may_repair: bool) -> str:
        """Plan again with new facts; says why that does not help, empty if it does."""
        if self._prepared.draft is None:
            return (
                "the plan stands in pipeline.yaml, so it was not changed: correct it there, "
                "or run or convert the notebook itself"
            )
        if not may_repair:
            return f"it was planned again {ROUNDS} times and is still not equal"
        try:
            better = replanned(self._prepared, (*self._known, *facts))
        except PipelineRefused as error:
            return f"{error.problem}. {error.remedy}"
        except MlopsNbError as error:
            return str(error)
        if _plan(better.pipeline) == _plan(self._prepared.pipeline):
            return "no other plan follows from that"
        self._prepared, self.is_outdated = better, True
        self._known += facts
        self.learned += facts
        return ""


def sentence(fact: Fact) -> str:
    """Say what was added to the plan."""
    if fact.text:
        return fact.text
    names = ", ".join(fact.names)
    return f"{fact.step} {_VERBS[fact.kind]} {names}"


_VERBS = {
    "reads": "reads",
    "binds": "binds",
    "mutates": "changes",
    "deletes": "deletes",
    "shares": "has one object in",
    "rng": "draws from",
    "differs": "finds another value than the first step in",
}


def _plan(pipeline: Pipeline) -> tuple[object, ...]:
    edges = {(edge.source, edge.target) for edge in pipeline.edges}
    return pipeline.steps, edges, pipeline.prelude
