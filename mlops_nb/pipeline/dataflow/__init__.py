"""What flows between the steps of a notebook, by its text and by what was seen in runs.

All cells are read once, in the order of the notebook, by an interpreter that knows names and
which objects they share, and no values (`statements`, `calls`, `libraries`). What each cell reads,
binds and changes is put together by steps (`steps`); from the last step back it is found out what
each must take and give (`flowing`), and that becomes a `Pipeline` (`planning`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.facts import facts_of, fitting, step_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.model.pipelines import Fact, Pipeline
    from mlops_nb.pipeline.drafts import Draft


def dataflow_of(draft: Draft, *, facts: Sequence[Fact] = ()) -> Pipeline:
    """Find out what each step takes and gives.

    Parameters
    ----------
    draft
        A notebook as steps.
    facts
        What runs have shown; those about other code are ignored.

    Returns
    -------
    Pipeline
        Equal to the whole notebook, as far as its text and the facts say.

    Raises
    ------
    PipelineRefused
        It cannot be split so that it stays equal, with step, cell and line.

    Examples
    --------
    >>> dataflow_of(draft_of(read_source("churn.ipynb"))).edges[0].reasons  # doctest: +SKIP
    (Reason(kind='static', names=('df',), text='clean reads df in cell 3, line 1, which …'),)
    """
    from mlops_nb.pipeline.dataflow.planning import plan_pipeline
    from mlops_nb.pipeline.dataflow.reading import read_draft

    known = fitting(draft, facts)
    return plan_pipeline(read_draft(draft, known), known)


__all__ = ["dataflow_of", "facts_of", "step_code"]
