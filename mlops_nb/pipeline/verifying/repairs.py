"""What steps alone have shown: names that they miss, and what they do beyond the plan."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.model.pipelines import Fact
from mlops_nb.pipeline.dataflow import step_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlops_nb.model.pipelines import Pipeline
    from mlops_nb.pipeline.drafts import Draft
    from mlops_nb.pipeline.verifying.alone import Alone
    from mlops_nb.pipeline.verifying.whole import Whole

_ROOT = re.compile(r"[^\W\d]\w*")
_MISSING = re.compile(r"(?:global )?name '([^']+)' is not defined")
_MISSING_FUNCTION = re.compile(r"Can't get attribute '([^'.]+)'")


def new_facts(
    draft: Draft,
    pipeline: Pipeline,
    whole: Whole,
    alone: Mapping[str, Alone],
    known: Sequence[Fact],
) -> tuple[Fact, ...]:
    """Gather what the steps have shown and nobody knew.

    Parameters
    ----------
    draft, pipeline
        The notebook as steps, and the split that ran.
    whole, alone
        What the whole notebook has given, and every step or piece.
    known
        Facts that the split was made with.
    """
    codes = {step.name: step_code(draft, step) for step in draft.steps}
    found = [
        fact
        for step, text in whole.unstorable.items()
        for fact in _unstorable(step, text, codes.get(step, ""))
    ]
    for step in pipeline.steps:
        for one in alone.values():
            if one.step.partition("[")[0] == step.name:
                found += _shown(step.name, one, codes.get(step.name, ""))
    found += _different_preludes(pipeline, alone, codes)
    seen = {(fact.step, fact.kind, fact.names) for fact in known}
    return tuple({_key(fact): fact for fact in found if _key(fact) not in seen}.values())


def _key(fact: Fact) -> tuple[str, str, tuple[str, ...]]:
    return fact.step, fact.kind, fact.names


def _unstorable(step: str, text: str, code: str) -> Iterator[Fact]:
    """Say that what a step binds has to stay in its process; the plan makes steps one then."""
    if (name := _ROOT.match(text)) and "stored" in text:
        yield Fact(step, "binds", (name[0],), code, text.partition(". ")[0])


def _shown(step: str, one: Alone, code: str) -> Iterator[Fact]:
    for fact in one.result.facts:
        yield replace(fact, code=fact.code or code)
    if one.failed is None:
        return
    if one.failed.type == "CannotStore":
        yield from _unstorable(step, one.failed.message, code)
    missing = _MISSING.search(one.failed.message) if one.failed.type == "NameError" else None
    missing = missing or _MISSING_FUNCTION.search(one.failed.message)
    if missing:
        text = f"{step} needs {missing[1]}: alone it fails without it"
        yield Fact(step, "reads", (missing[1],), code, text)


def _different_preludes(
    pipeline: Pipeline, alone: Mapping[str, Alone], codes: Mapping[str, str]
) -> Iterable[Fact]:
    """Find names of the prelude that come out differently where it runs again."""
    first: dict[str, str] = {}
    for step in pipeline.steps:
        for one in alone.values():
            if one.step.partition("[")[0] != step.name:
                continue
            for name, digest in one.result.prelude_digests.items():
                if first.setdefault(name, digest) != digest:
                    text = f"the prelude gives another {name} in {step.name} than before"
                    yield Fact(step.name, "differs", (name,), codes.get(step.name, ""), text)


def repair_sentence(fact: Fact, repaired: Pipeline) -> str:
    """Say what was added to the split because of a fact."""
    names = ", ".join(fact.names)
    step = next((step for step in repaired.steps if step.name == fact.step), None)
    givers = {step.inputs[name] for name in fact.names if name in step.inputs} if step else set()
    if fact.kind == "reads" and givers:
        return (
            f"{fact.step} takes {names} from {', '.join(sorted(givers))}, which it names nowhere."
        )
    if fact.kind == "reads":
        return f"{fact.step} needs {names}, which it names nowhere."
    return fact.text or f"{fact.step} {fact.kind} {names}."
