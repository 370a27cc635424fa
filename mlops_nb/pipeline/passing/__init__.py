"""What runs in the kernel at the start and at the end of a step, and the files it talks by."""

from __future__ import annotations

from mlops_nb.pipeline.passing.task import (
    RESULT_FILE,
    TASK_VARIABLE,
    read_result,
    read_task,
    write_result,
    write_task,
)

__all__ = [
    "RESULT_FILE",
    "TASK_VARIABLE",
    "read_result",
    "read_task",
    "write_result",
    "write_task",
]
