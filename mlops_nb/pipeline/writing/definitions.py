"""Functions, classes and imports of other steps, cut out of the cells that define them."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.errors.pipelines import PipelineRefused
from mlops_nb.pipeline.dataflow.repeating import is_set_up, set_up_source
from mlops_nb.pipeline.writing.positions import Block, blocks_of, names_bound, own_comment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.model.pipelines import Pipeline, Step
    from mlops_nb.notebook import Notebook

_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


def definitions_source(pipeline: Pipeline, notebook: Notebook, step: Step) -> str:
    """Write the cell with what a step needs of the functions, classes and imports of others.

    Parameters
    ----------
    pipeline, notebook
        What was split, and where its cells stand.
    step
        Whose `definitions` are wanted.

    Returns
    -------
    str
        Imports first, then the rest, in the order of `definitions`; empty if there are none.

    Raises
    ------
    PipelineRefused
        A definition cannot be cut out of its cell.
    """
    if not step.definitions:
        return ""
    found = _found(pipeline, notebook, step)
    names = [name for name in step.definitions if not is_set_up(name)]
    if missing := [name for name in names if name not in found]:
        raise PipelineRefused(
            pipeline.notebook or notebook.path,
            f'step "{step.name}" needs {", ".join(missing)}, whose definition cannot be cut out '
            "of its cell",
            'Move it to a cell of its own, and tag that "functions".',
        )
    blocks = list(dict.fromkeys(found[name] for name in names))
    imports = [own_comment(b).text for b in blocks if _is_import(b)]
    others = [own_comment(b).text for b in blocks if not _is_import(b)]
    repeated = [set_up_source(notebook, n) for n in step.definitions if is_set_up(n)]
    # What is imported with a star may be hidden by what is defined after it.
    imports += [text for text in repeated if text.startswith("from ")]
    set_ups = "\n".join(text for text in repeated if not text.startswith("from "))
    parts = ("\n".join(imports), *others, set_ups)
    return "\n\n\n".join(part for part in parts if part)


def _found(pipeline: Pipeline, notebook: Notebook, step: Step) -> Mapping[str, Block]:
    """Find the block that binds each name last before the step; a definition beats a value."""
    wanted = set(step.definitions)
    found: dict[str, tuple[bool, Block]] = {}
    for index in _cells_before(pipeline, step):
        for name, is_definition, block in _bindings(notebook.cells[index].source):
            if name in wanted and (is_definition or not found.get(name, (False, block))[0]):
                found[name] = (is_definition, block)
    return {name: block for name, (_, block) in found.items()}


@lru_cache(maxsize=1024)
def _bindings(source: str) -> tuple[tuple[str, bool, Block], ...]:
    """List what a cell binds: the name, whether that is a definition, and where it stands."""
    return tuple(
        (name, isinstance(statement, (*_DEFINES, *_IMPORTS)) or not _is_plain(statement), block)
        for block in _blocks(source)
        for statement in block.statements
        for name in names_bound(statement)
    )


def _is_plain(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr)


def _cells_before(pipeline: Pipeline, step: Step) -> Iterable[int]:
    """Give the cells of the steps before a step, in their order in the notebook."""
    cells: list[int] = []
    for other in pipeline.steps:
        if other.name == step.name:
            break
        cells.extend(other.cells)
    return sorted(cells)


def _blocks(source: str) -> Iterator[Block]:
    """Cut a cell; of one that is a cell magic, its body."""
    if source.lstrip().startswith("%%"):
        _, _, source = source.lstrip().partition("\n")
    yield from blocks_of(source) or ()


def _is_import(block: Block) -> bool:
    return all(isinstance(statement, _IMPORTS) for statement in block.statements)
