"""A pipeline as files: ``pipeline.yaml`` and one notebook a step, written and read again."""

from __future__ import annotations

from mlops_nb.pipeline.writing.converting import Converted, convert
from mlops_nb.pipeline.writing.definition import (
    DEFINITION,
    Definition,
    load_definition,
    pipeline_of,
    read_definition,
)
from mlops_nb.pipeline.writing.document import (
    definition_document,
    definition_text,
    notebook_digest,
    split_digest,
)
from mlops_nb.pipeline.writing.notebooks import step_notebook, step_paths

__all__ = [
    "DEFINITION",
    "Converted",
    "Definition",
    "convert",
    "definition_document",
    "definition_text",
    "load_definition",
    "notebook_digest",
    "pipeline_of",
    "read_definition",
    "split_digest",
    "step_notebook",
    "step_paths",
]
