"""What the results of a step are made from, and a digest over it.

How a driver uses this::

    key, parts = key_of(pipeline, step, sources, inputs, params, folder=place, piece=piece)
    hit = find_hit(store, key, parts, folder=place)          # a CachedStep, or None
    if hit is None:
        nearest = nearest_to(parts, store.cached_steps(pipeline.name, step.name, limit=20))
        for sentence in explain(parts, nearest): ...
        ... the step runs ...
        seen = seen_in(executions, folder=place, parts=parts)  # what it was seen to read
        store.save_cached(CachedStep(key, ..., parts={**parts, "seen": seen}, units=..., ...))
    else:
        store.touch_cached(hit.key, hit.run)

`parts` is JSON. Content counts and nothing else: no ids of runs, no times, no names of steps or
pipelines; so a step whose inputs come out the same is a hit, and all below it are.

What is in the key: ``source`` (the step's cells, without comments and layout), ``prelude`` (its
statements, without functions that nothing here names), ``definitions``, ``parameter_cells``
(statements that derive values), ``params`` (those it may read, typed), ``inputs`` (by name, state
of the process among them), ``files`` (that its text names), ``distributions``, ``python``,
``modules`` (of the project), ``environment`` (variables it names), ``options``, ``piece``.

What is not in the key: ``about`` (names for people), ``wanted`` and ``watched`` (results serve if
they hold at least that), ``unknowable`` (sentences: with one, nothing is a hit), and ``seen``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

from mlops_nb.pipeline.caching import distributions as installed
from mlops_nb.pipeline.caching import files, modules
from mlops_nb.pipeline.caching.code import code_of_step
from mlops_nb.pipeline.caching.inputs import input_part, is_plain
from mlops_nb.pipeline.caching.parameters import parameter_part
from mlops_nb.pipeline.caching.variables import variable_part, variables_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlops_nb.capture.files.digest import Digests
    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import Packed, Pipeline, Step

VERSION = 1
"""Of what a key is made from: results of another version are never used."""

NOT_IN_KEY = frozenset({"about", "wanted", "watched", "unknowable", "seen"})


def key_of(
    pipeline: Pipeline,
    step: Step,
    sources: Mapping[int, str],
    inputs: Mapping[str, Packed | Sequence[Packed]],
    params: Mapping[str, object],
    *,
    folder: Path,
    piece: Mapping[str, Json] | None = None,
    digests: Digests | None = None,
    environ: Mapping[str, str] | None = None,
    distributions: Mapping[str, str] | None = None,
    python: str = "",
) -> tuple[str, dict[str, Json]]:
    """Say what a step's results are made from, and digest it.

    Parameters
    ----------
    pipeline, step
        The plan, and the step in it.
    sources
        Text of the notebook's cells, by position among all cells.
    inputs
        By name, what the step takes, state of the process among it; a joined name has several
        units, in order. For a piece of a fanned-out step, the name it is cut from comes whole.
    params
        Values of parameters, by name; those that are left out have the value in the notebook.
    folder
        Where the step runs: relative paths and local modules are looked for there.
    piece
        ``{"name", "index", "count"}``; with ``digest``, the content of the piece, which then
        counts instead of the whole and its place in it.
    digests
        Remembers digests of files; one for a whole run of a pipeline saves time.
    environ
        Environment of the step's process; this one's if left out.
    distributions, python
        What is installed where the step runs, and the version of Python there (``"3.11"``), if
        that is another environment than this one.

    Returns
    -------
    key
        ``sha256:…``.
    parts
        What it is over, and what else has to be known to use and to explain results.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mlops_nb.model.pipelines import Pipeline, Step
    >>> step = Step("load", cells=(0,))
    >>> plan = Pipeline("churn", steps=(step,))
    >>> key, _ = key_of(plan, step, {0: "x = 1"}, {}, {}, folder=Path())
    >>> key == key_of(plan, step, {0: "x = 1  # one"}, {}, {}, folder=Path())[0]
    True
    """
    is_open = not all(is_plain(unit) for unit in inputs.values())
    code = code_of_step(pipeline, step, sources, is_open=is_open)
    found = modules.local_modules(code.texts, folder)
    texts = (*code.texts, *found.texts)
    variables, environment_problems = variable_part(variables_named(texts), environ)
    read_files, file_problems = files.file_part(step.reads_files, folder, digests)
    parts: dict[str, Json] = {
        "version": VERSION,
        "source": list(code.cells),
        "prelude": list(code.prelude),
        "definitions": dict(code.definitions),
        "parameter_cells": list(code.parameter_cells),
        "params": parameter_part(step, code.params, params),
        "inputs": input_part(inputs, piece),
        "files": read_files,
        "distributions": installed.versions(found.foreign, given=distributions),
        "python": python or ".".join(map(str, sys.version_info[:2])),
        "modules": found.digests,
        "environment": variables,
        "options": _options(step),
        "piece": _piece(piece),
        "about": _about(pipeline, step),
        "wanted": [list(unit) for unit in step.outputs],
        "watched": sorted(step.watched),
        "unknowable": [*environment_problems, *file_problems],
    }
    return digest_of(parts), parts


def digest_of(parts: Mapping[str, Json]) -> str:
    """Digest what is in a key; the same for parts that were read back from a store."""
    counted = {name: part for name, part in parts.items() if name not in NOT_IN_KEY}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"


def _about(pipeline: Pipeline, step: Step) -> dict[str, Json]:
    """Give what people are told, and what results are not made from."""
    return {
        "pipeline": pipeline.name,
        "step": step.name,
        "is_cached": step.options.is_cached,
        "inputs": dict(step.inputs),
    }


def _options(step: Step) -> dict[str, Json]:
    """Give what the author said of a step that changes what it saves."""
    options = step.options
    said: dict[str, Any] = {
        "kernel": options.kernel,
        "secrets": sorted(options.secrets),
        "foreach": options.foreach,
        "is_join": options.is_join,
    }
    return {name: value for name, value in said.items() if value}


def _piece(piece: Mapping[str, Json] | None) -> dict[str, Json] | None:
    if piece is None:
        return None
    if piece.get("digest"):
        return {"name": piece["name"], "digest": piece["digest"]}
    return {name: piece[name] for name in ("name", "index", "count")}
