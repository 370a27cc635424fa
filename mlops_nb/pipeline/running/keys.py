"""The key of a step, or of a piece of one, for notebooks and for folders."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.pipeline.caching import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.capture.files.digest import Digests
    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import Packed, Pipeline, Step
    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.tasks import Piece

_OURS = frozenset({"mlops-nb-load", "mlops-nb-save", "injected-parameters"})
_PARAMETERS = "parameters"


def key_of_part(
    prepared: Prepared,
    step: Step,
    units: Mapping[str, Sequence[Packed]],
    params: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    piece: Piece | None = None,
    digests: Digests | None = None,
) -> tuple[str, dict[str, Json]]:
    """Say what the results of a step are made from; see `caching.key_of`."""
    pipeline, step, sources = _text_of(prepared, step)
    inputs = {name: given[0] if len(given) == 1 else given for name, given in units.items()}
    return key_of(
        pipeline,
        step,
        sources,
        inputs,
        params,
        folder=prepared.place,
        piece=None if piece is None else piece.document(),
        digests=digests,
        environ=environ,
    )


def _text_of(prepared: Prepared, step: Step) -> tuple[Pipeline, Step, Mapping[int, str]]:
    """Give the cells that a step runs: of the notebook, or of its own, which may be edited."""
    if prepared.notebook is not None:
        sources = {cell.index: cell.source for cell in prepared.notebook.cells}
        return prepared.pipeline, step, sources
    from mlops_nb.notebook import read_notebook

    return _in_own_notebook(prepared.pipeline, step, read_notebook(prepared.notebooks[step.name]))


def _in_own_notebook(
    pipeline: Pipeline, step: Step, notebook: Notebook
) -> tuple[Pipeline, Step, Mapping[int, str]]:
    """See a step's notebook as if it were the whole: no prelude but its own cells."""
    cells = [cell for cell in notebook.code_cells if not _OURS & set(cell.tags)]
    parameters = tuple(cell.index for cell in cells if _PARAMETERS in cell.tags)
    own = tuple(cell.index for cell in cells if _PARAMETERS not in cell.tags)
    alone = replace(step, cells=own, definitions=())
    others = tuple(alone if one.name == step.name else one for one in pipeline.steps)
    seen = replace(pipeline, prelude=(), parameter_cells=parameters, steps=others)
    return seen, alone, {cell.index: cell.source for cell in cells}
