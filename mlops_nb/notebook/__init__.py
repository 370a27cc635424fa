"""Notebooks as they are out there: read, repaired where that is safe, and never executed."""

from __future__ import annotations

from mlops_nb.notebook.detection import (
    detect_notebook,
    find_by_witness,
    notebook_matches,
    saved_cells,
)
from mlops_nb.notebook.parameters import Parameter, check_parameters, parameters
from mlops_nb.notebook.reading import Cell, Notebook, read_notebook, require_python

__all__ = [
    "Cell",
    "Notebook",
    "Parameter",
    "check_parameters",
    "detect_notebook",
    "find_by_witness",
    "notebook_matches",
    "parameters",
    "read_notebook",
    "require_python",
    "saved_cells",
]
