"""What can go wrong with pipelines; loaded only by who works with them."""

from __future__ import annotations

from mlops_nb.errors import MlopsNbError


class PipelineRefused(MlopsNbError):
    """A notebook cannot be split so that it stays equal to the whole.

    Parameters
    ----------
    notebook
        Its path.
    problem
        What is in the way, with step and cell.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, notebook: str, problem: str, remedy: str) -> None:
        super().__init__(notebook, problem, remedy)
        self.notebook, self.problem, self.remedy = notebook, problem, remedy

    def __str__(self) -> str:
        return f"{self.notebook}: {self.problem}. {self.remedy}"


__all__ = ["PipelineRefused"]
