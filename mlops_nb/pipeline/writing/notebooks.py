"""One ordinary notebook a step: it takes its values, runs the author's cells, gives its values."""

from __future__ import annotations

import copy
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from mlops_nb.pipeline.reading import language_of_kernel
from mlops_nb.pipeline.writing.definitions import definitions_source
from mlops_nb.pipeline.writing.parameters_cell import split_parameters
from mlops_nb.pipeline.writing.positions import blocks_of, names_read
from mlops_nb.pipeline.writing.title import title_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlops_nb.model.pipelines import Pipeline, Step
    from mlops_nb.notebook import Notebook

LOAD_TAG, SAVE_TAG, PARAMETERS_TAG = "mlops-nb-load", "mlops-nb-save", "parameters"
_LINE = 88
_LONGEST_SLUG = 60
_MANY_STEPS = 100
_LEFT_OUT = frozenset(
    {"papermill", "execution", "ExecuteTime", "mlops_nb", "collapsed", "scrolled", "trusted"}
)
_STEP_LINE = re.compile(r"((?:\s*(?:#[^\n]*)?\n)*\s*)(%%?mlops_step(?!\w)[^\n]*)")
_DEFINITIONS_REMARK = "# Defined by earlier steps, and needed here."


def step_paths(pipeline: Pipeline) -> dict[str, str]:
    """Name the notebook of each step, relative to the pipeline's folder.

    Returns
    -------
    dict
        Distinct on any file system: the number comes first.

    Examples
    --------
    >>> from mlops_nb.model.pipelines import Pipeline, Step
    >>> step_paths(Pipeline("churn", steps=(Step("load"), Step("Load data"))))
    {'load': 'steps/01_load.ipynb', 'Load data': 'steps/02_Load_data.ipynb'}
    """
    width = 3 if len(pipeline.steps) >= _MANY_STEPS else 2
    return {
        step.name: f"steps/{number:0{width}}_{_slug(step.name)}.ipynb"
        for number, step in enumerate(pipeline.steps, start=1)
    }


def _slug(name: str) -> str:
    """Make a part of a file name that every file system takes."""
    text = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", name)).strip("_")
    cut = text.encode()[:_LONGEST_SLUG].decode(errors="ignore")
    return cut or "step"


def step_notebook(pipeline: Pipeline, notebook: Notebook, name: str) -> dict[str, Any]:
    """Write the notebook of one step.

    Parameters
    ----------
    pipeline
        The split.
    notebook
        The whole, as `read_source` gives it.
    name
        Of the step.

    Returns
    -------
    dict
        Content of a notebook in nbformat 4.5: a title · prelude · parameters · definitions of
        other steps · the cell that loads · the author's cells as they are · the cell that saves.

    Raises
    ------
    PipelineRefused
        A definition that it needs cannot be cut out of its cell.

    Examples
    --------
    >>> step_notebook(pipeline, notebook, "train")["cells"][0]["source"]  # doctest: +SKIP
    '# train…'
    """
    step = next(step for step in pipeline.steps if step.name == name)
    cells = list(_cells(pipeline, notebook, step))
    return {
        "cells": _with_distinct_ids(cells),
        "metadata": _metadata(pipeline, notebook, step),
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_text(content: Mapping[str, Any]) -> str:
    """Write a notebook as Jupyter does: one line of text a line of source, keys sorted."""
    cells = [
        {**cell, "source": cell["source"].splitlines(keepends=True)} for cell in content["cells"]
    ]
    plain = {**content, "cells": cells}
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cells(pipeline: Pipeline, notebook: Notebook, step: Step) -> Iterator[dict[str, Any]]:
    yield _new("markdown", "mlops-nb-title", title_source(pipeline, step))
    if _is_foreign(step):
        # Its kernel runs no Python: no value comes in and none goes out.
        yield from _own_cells(pipeline, notebook, step)
        return
    definitions = definitions_source(pipeline, notebook, step)
    yield from _common_cells(pipeline, notebook, step, definitions)
    if definitions:
        source = f"{_DEFINITIONS_REMARK}\n{definitions}"
        yield _new("code", "mlops-nb-definitions", source)
    yield _new("code", "mlops-nb-load", load_source(pipeline, step), LOAD_TAG)
    yield from _own_cells(pipeline, notebook, step)
    yield _new("code", "mlops-nb-save", save_source(pipeline, step), SAVE_TAG)


def _own_cells(pipeline: Pipeline, notebook: Notebook, step: Step) -> Iterator[dict[str, Any]]:
    """Give the author's cells, and the texts that stand above them."""
    texts = _texts_above(pipeline, notebook)
    for index in step.cells:
        for above in texts.get(index, ()):
            yield _kept(notebook, above)
        yield _kept(notebook, index)


def _texts_above(pipeline: Pipeline, notebook: Notebook) -> dict[int, list[int]]:
    """Give each text that is in no step to the code below it, else to the code above it."""
    placed = {index for step in pipeline.steps for index in step.cells}
    placed |= {*pipeline.prelude, *pipeline.parameter_cells, *pipeline.skipped}
    above: dict[int, list[int]] = {}
    waiting: list[int] = []
    for cell in notebook.cells:
        if cell.index in placed or cell.kind == "code":
            above[cell.index], waiting = waiting, []
        else:
            waiting.append(cell.index)
    return above


# --- what all steps have in common ------------------------------------------------------------


def _common_cells(
    pipeline: Pipeline, notebook: Notebook, step: Step, definitions: str
) -> Iterator[dict[str, Any]]:
    """Give prelude and parameters, in their order in the notebook."""
    sources = {index: notebook.cells[index].source for index in pipeline.parameter_cells}
    prelude = [i for i in pipeline.prelude if i not in sources and _is_code(notebook, i)]
    code = {index: text for index, text in sources.items() if _is_code(notebook, index)}
    needed = {*step.params, *_read_by(definitions)}
    for index in prelude:
        needed |= _read_by(notebook.cells[index].source)
    together = _stand_together(code, prelude)
    first = min(code, default=-1)
    for index in sorted({*prelude, *code}):
        if index not in code:
            yield _kept(notebook, index)
        elif together and index == first:
            yield from _parameter_cells(notebook, index, list(code.values()), needed)
        elif not together:
            yield _tagged(_kept(notebook, index), index == first)


def _parameter_cells(
    notebook: Notebook, index: int, sources: Sequence[str], needed: Iterable[str]
) -> Iterator[dict[str, Any]]:
    written = split_parameters(sources, set(needed))
    if not written.given and not written.follows:
        return
    yield _tagged({**_kept(notebook, index), "source": written.given}, is_first=True)
    if written.follows:
        yield _new("code", "mlops-nb-follows", written.follows)


def _stand_together(parameters: Iterable[int], prelude: Iterable[int]) -> bool:
    """Say whether no code of the prelude stands between parameters cells."""
    cells = list(parameters)
    return not any(min(cells) < index < max(cells) for index in prelude) if cells else True


def _tagged(cell: dict[str, Any], is_first: bool) -> dict[str, Any]:
    """Give the first parameters cell the tag by which papermill finds it, and no other one."""
    tags = [tag for tag in cell["metadata"].get("tags", []) if tag != PARAMETERS_TAG]
    tags = [PARAMETERS_TAG, *tags] if is_first else tags
    return {**cell, "metadata": {**cell["metadata"], "tags": tags}}


def _read_by(source: str) -> set[str]:
    """Give all names that a text loads anywhere; of magics, every word."""
    blocks = blocks_of(source)
    if blocks is None or source.lstrip().startswith("%%"):
        return set(re.findall(r"[^\W\d]\w*", source))
    return names_read(s for block in blocks for s in block.statements)


# --- single cells -----------------------------------------------------------------------------


def load_source(pipeline: Pipeline, step: Step) -> str:
    """Write the cell that takes values over."""
    names = _plain_names(step.inputs)
    call = _call("load_inputs", f"{pipeline.name}/{step.name}", names)
    if not names:
        return f"import mlops_nb\n\n{call}"
    target = ", ".join(names)
    if len(target) + len(" = mlops_nb.load_inputs(") > _LINE:
        target = "(\n" + "".join(f"    {name},\n" for name in names) + ")"
    return f"import mlops_nb\n\n{target} = {_fitted(call, len(target.rpartition(chr(10))[2]) + 3)}"


def save_source(pipeline: Pipeline, step: Step) -> str:
    """Write the cell that hands values on."""
    names = _plain_names(name for unit in step.outputs for name in unit)
    call = _call("save_outputs", f"{pipeline.name}/{step.name}", names)
    return f"import mlops_nb\n\n{call}"


def _plain_names(names: Iterable[str]) -> list[str]:
    """Leave out the state of the process: it is handled by name in pipeline.yaml."""
    return [name for name in dict.fromkeys(names) if not name.startswith("<")]


def _call(function: str, where: str, names: Sequence[str]) -> str:
    arguments = [json.dumps(text, ensure_ascii=False) for text in (where, *names)]
    return _fitted(f"mlops_nb.{function}({', '.join(arguments)})", 0)


def _fitted(call: str, indent: int) -> str:
    """Break a call over lines as black would where it does not fit into one."""
    if "\n" in call or len(call) + indent <= _LINE:
        return call
    head, _, inner = call.partition("(")
    inner = inner[:-1]
    if len(inner) + 4 <= _LINE:
        return f"{head}(\n    {inner}\n)"
    arguments = json.loads(f"[{inner}]")
    lines = "".join(f"    {json.dumps(text, ensure_ascii=False)},\n" for text in arguments)
    return f"{head}(\n{lines})"


def _new(kind: str, cell_id: str, source: str, *tags: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": cell_id, "metadata": {}, "source": source}
    if tags:
        cell["metadata"] = {"tags": list(tags)}
    if kind == "code":
        cell |= {"outputs": [], "execution_count": None}
    return cell


def _kept(notebook: Notebook, index: int) -> dict[str, Any]:
    """Give a cell of the author as it is, without what it has shown."""
    cell = copy.deepcopy(dict(notebook.content["cells"][index]))
    metadata = {k: v for k, v in cell.get("metadata", {}).items() if k not in _LEFT_OUT}
    if not metadata.get("tags"):
        metadata.pop("tags", None)
    cell["metadata"] = metadata
    if cell["cell_type"] == "code":
        cell["source"] = _without_step_line(cell["source"])
        cell["outputs"], cell["execution_count"] = [], None
    return cell


def _without_step_line(source: str) -> str:
    """Make the magic that began the step a remark: the step stands by itself now."""
    found = _STEP_LINE.match(source)
    if found is None:
        return source
    rest = source[found.end() :]
    # Another cell magic has to stand in the first line.
    return rest.lstrip() if rest.lstrip().startswith("%%") else f"{found[1]}# {found[2]}{rest}"


def _with_distinct_ids(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give way where the author's notebook has an id of ours: it may be a step's notebook."""
    seen: set[str] = set()
    for cell in cells:
        wanted, number = cell["id"], 2
        while cell["id"] in seen:
            cell["id"] = f"{wanted[:60]}-{number}"
            number += 1
        seen.add(cell["id"])
    return cells


def _metadata(pipeline: Pipeline, notebook: Notebook, step: Step) -> dict[str, Any]:
    whole = notebook.content["metadata"]
    metadata: dict[str, Any] = {"mlops_nb": {"pipeline": pipeline.name, "step": step.name}}
    kernel = step.options.kernel
    if kernel and kernel != notebook.kernel_name:
        metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
        return metadata
    for key in ("kernelspec", "language_info"):
        if key in whole:
            metadata[key] = copy.deepcopy(whole[key])
    # Papermill runs no notebook that does not say by which kernel, and in which language.
    name = pipeline.kernel or "python3"
    spec = metadata.setdefault("kernelspec", {"name": name, "display_name": name})
    if "language" not in spec and "language_info" not in metadata:
        metadata["language_info"] = {"name": notebook.language or "python"}
    return metadata


def _is_foreign(step: Step) -> bool:
    """Say whether a step runs in a language in which no value of ours can be loaded."""
    return language_of_kernel(step.options.kernel) is not None


def _is_code(notebook: Notebook, index: int) -> bool:
    return notebook.cells[index].kind == "code"
