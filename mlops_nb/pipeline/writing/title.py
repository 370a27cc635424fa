"""What stands at the top of a step's notebook: what it takes, and what it gives."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.model.pipelines import Pipeline, Step

_STATE = {
    "<rng:random>": "the state of `random`",
    "<rng:numpy>": "the state of NumPy's random numbers",
    "<rng:torch>": "the state of torch's random numbers",
    "<options:pandas>": "pandas' options",
    "<options:numpy>": "NumPy's print options",
    "<options:matplotlib>": "Matplotlib's settings",
    "<environ>": "environment variables",
    "<cwd>": "the working folder",
    "<sys.path>": "`sys.path`",
    "<warnings>": "warning filters",
}
_MANY = 12


def title_source(pipeline: Pipeline, step: Step) -> str:
    """Write the title and one short paragraph.

    Examples
    --------
    >>> from mlops_nb.model.pipelines import Pipeline, Step
    >>> load = Step("load", outputs=(("df",),))
    >>> fit = Step("fit", inputs={"df": "load"}, params=("C",))
    >>> print(title_source(Pipeline("churn", "churn.ipynb", steps=(load, fit)), fit))
    # fit
    <BLANKLINE>
    Step 2 of 2 of `churn.ipynb`. It takes `df` from *load* and reads the parameter `C`.
    """
    number = [one.name for one in pipeline.steps].index(step.name) + 1
    source = PurePath(pipeline.notebook).name or pipeline.name
    sentences = [f"Step {number} of {len(pipeline.steps)} of {_code(source)}."]
    sentences.append(_exchange(pipeline, step))
    sentences.extend(_conditions(step))
    paragraph = " ".join(sentence for sentence in sentences if sentence)
    return f"# {_escaped(step.name)}\n\n{paragraph}"


def _exchange(pipeline: Pipeline, step: Step) -> str:
    """Say what it takes, reads and gives."""
    givers: dict[str, list[str]] = {}
    for name, giver in step.inputs.items():
        givers.setdefault(giver, []).append(name)
    clauses = []
    if givers:
        taken = (f"{_listed(names)} from *{_escaped(giver)}*" for giver, names in givers.items())
        clauses.append(f"takes {_and(list(taken))}")
    if step.params:
        word = "parameter" if len(step.params) == 1 else "parameters"
        clauses.append(f"reads the {word} {_listed(step.params)}")
    names = [name for unit in step.outputs for name in unit]
    if names:
        takers = [o.name for o in pipeline.steps if step.name in o.inputs.values()]
        to = f" to {_and([f'*{_escaped(taker)}*' for taker in takers])}" if takers else ""
        clauses.append(f"gives {_listed(names)}{to}")
    return f"It {_and(clauses)}." if clauses else ""


def _conditions(step: Step) -> Iterable[str]:
    options = step.options
    if step.after and not step.inputs:
        yield f"It runs after {_and([f'*{_escaped(name)}*' for name in step.after])}."
    if options.when:
        yield f"It runs only when {_code(options.when)}."
    if options.foreach:
        yield f"It runs once for each element of {_code(options.foreach)}."


def _listed(names: Sequence[str]) -> str:
    shown = [_STATE.get(name, _code(name)) for name in names]
    if len(shown) > _MANY:
        shown = [*shown[: _MANY - 1], f"{len(shown) - _MANY + 1} more values"]
    return _and(shown)


def _and(items: Sequence[str]) -> str:
    if len(items) < 2:  # noqa: PLR2004 - one needs no "and"
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def _escaped(text: str) -> str:
    r"""Keep Markdown from reading a name as more than text: ``train_*`` -> ``train\_\*``."""
    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", text) if not text.isidentifier() else text
