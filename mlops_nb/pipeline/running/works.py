"""The work that a process is given for a part: its notebook, its task, its folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.model import new_run_id
from mlops_nb.pipeline.running.parameters import injected_for
from mlops_nb.pipeline.running.surroundings import file_name
from mlops_nb.pipeline.running.tasks import task_for
from mlops_nb.pipeline.running.work import StepWork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlops_nb.model.pipelines import Step
    from mlops_nb.pipeline.running.lookup import RunRequest
    from mlops_nb.pipeline.running.parts import Part
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.surroundings import RunFolders


class Works:
    """Makes work of parts, for one run.

    Parameters
    ----------
    run
        Id of the pipeline's run.
    location
        Of the store.
    """

    def __init__(self, run: str, location: str, request: RunRequest, folders: RunFolders) -> None:
        self._run, self._location = run, location
        self._request, self._folders = request, folders
        self._prepared: Prepared | None = None
        self._notebooks: Mapping[str, Path] = {}
        self._plans = 0

    def of(self, part: Part, prepared: Prepared, prelude: Mapping[str, str]) -> StepWork:
        """Make the work of one attempt.

        Parameters
        ----------
        prelude
            What names of the first cells were where they ran first.
        """
        step, run, request = part.step, new_run_id(), self._request
        folder = self._folders.work / "steps" / run
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        notebook = self._notebook_of(step, prepared)
        pipeline = prepared.pipeline
        name = file_name(part.name, pipeline.steps.index(step))
        return StepWork(
            pipeline_run=self._run,
            name=part.name,
            run=run,
            key=part.key,
            parts=part.parts,
            task=task_for(
                pipeline, step, part.units, folder, piece=part.piece, prelude_digests=prelude
            ),
            folder=str(folder),
            notebook=str(notebook),
            output=str(self._folders.notebooks / name),
            shown=str(prepared.shown),
            place=str(prepared.place),
            store=self._location,
            injected=injected_for(notebook, request.params),
            kernel=step.options.kernel or request.kernel,
            experiment=request.experiment,
            group=f"{request.group}/{part.name}",
            tags=request.tags,
            is_fast=request.is_fast,
            attempt=part.attempt,
            cells=positions(prepared),
        )

    def _notebook_of(self, step: Step, prepared: Prepared) -> Path:
        """Give the notebook of a step; those of a plan are written when one is needed."""
        if prepared is not self._prepared:
            self._prepared, self._notebooks = prepared, self._written(prepared)
        return self._notebooks[step.name]

    def _written(self, prepared: Prepared) -> Mapping[str, Path]:
        if prepared.notebook is None:
            return prepared.notebooks
        from mlops_nb.pipeline.writing import convert

        self._plans += 1
        folder = self._folders.work / f"plan-{self._plans}"
        return convert(prepared.pipeline, prepared.notebook, folder, force=True).notebooks


def positions(prepared: Prepared) -> dict[str, int]:
    """Give the position of each cell in the user's notebook, by its id."""
    notebook = prepared.notebook
    return {} if notebook is None else {cell.id: cell.index for cell in notebook.cells}
