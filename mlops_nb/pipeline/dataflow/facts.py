"""What runs have shown of steps: facts, each about one code."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import xxhash

from mlops_nb.model.pipelines import Fact
from mlops_nb.source import analyse, code_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.model import Execution
    from mlops_nb.pipeline.drafts import Draft, DraftStep


def step_code(draft: Draft, step: DraftStep) -> str:
    """Identify what a step does; a fact about other code is none.

    Examples
    --------
    >>> step_code(draft, draft.steps[0])  # doctest: +SKIP
    'xxh3:0d4f0b1a5e2c7f38a1f0c4f6b7b0e9d2'
    """
    sources = [draft.notebook.cells[cell].source for cell in step.cells]
    return _code_of(tuple(sources))


@lru_cache(maxsize=1024)
def _code_of(sources: tuple[str, ...]) -> str:
    digests = "\n".join(code_digest(source) for source in sources)
    return "xxh3:" + xxhash.xxh3_128_hexdigest(digests.encode("ascii"))


def fitting(draft: Draft, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Keep the facts that are about the steps as they are now, each once."""
    codes = {step.name: step_code(draft, step) for step in draft.steps}
    kept = [fact for fact in facts if fact.step in codes and fact.code in {"", codes[fact.step]}]
    return tuple(dict.fromkeys(kept))


def facts_of(draft: Draft, executions: Sequence[Execution]) -> tuple[Fact, ...]:
    """Say what a tracked run saw of the steps that their text does not say.

    Parameters
    ----------
    draft
        A notebook as steps.
    executions
        Of the run; those are used whose source is that of a cell, the last of each.

    Returns
    -------
    tuple of Fact
        Of kinds ``reads``, ``binds``, ``mutates`` and ``deletes``.
    """
    by_code: dict[str, Execution] = {}
    for execution in executions:
        if execution.status == "ok" and execution.parent is None:
            by_code[code_digest(execution.source)] = execution
    found: list[Fact] = []
    for step in draft.steps:
        code = step_code(draft, step)
        bound: set[str] = set()
        for cell in step.cells:
            source = draft.notebook.cells[cell].source
            seen = by_code.get(code_digest(source))
            if seen is not None:
                found += _seen(step.name, code, cell, source, seen, bound)
                bound.update(seen.binds)
    return tuple(found)


def _seen(
    step: str, code: str, cell: int, source: str, execution: Execution, bound: set[str]
) -> Iterable[Fact]:
    """What one execution did that the text of its cell does not say by itself."""
    text = analyse(source)
    shown = {
        "reads": {*text.reads, *text.mutates, *bound, *execution.binds},
        "binds": {*text.binds, *text.deletes},
        "deletes": set(text.deletes),
    }
    for kind, said in shown.items():
        names = tuple(n for n in getattr(execution, kind) if n not in said and _is_user(n))
        if names:
            verb = {"reads": "read", "binds": "bound", "deletes": "deleted"}[kind]
            about = f"{step} {verb} {', '.join(names)} in cell {cell} when it ran"
            yield Fact(step, kind, names, code, about)  # type: ignore[arg-type]


def _is_user(name: str) -> bool:
    return name != "_" and not name.startswith("<")
