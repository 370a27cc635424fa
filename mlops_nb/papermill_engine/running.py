"""Running one notebook as one run, from Python or the command line."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import (
    prepare_notebook_metadata,
    raise_for_execution_errors,
    remove_error_markers,
)
from papermill.iorw import local_file_io_cwd, write_ipynb
from papermill.parameterize import parameterize_notebook
from papermill.utils import find_first_tagged_cell_index
from papermill.version import version as papermill_version

from mlops_nb.errors import MissingKernel
from mlops_nb.notebook import check_parameters, require_python
from mlops_nb.papermill_engine.engine import DEFAULT_KERNEL, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.notebook import Notebook

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IN_CELL = re.compile(r"(?:Cell )?In\s?\[(\d+)\], line (\d+)")
_AROUND = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """The cell that ended a notebook.

    Attributes
    ----------
    cell
        Zero-based index of the cell in the notebook as it was given.
    line
        One-based line in the cell, None where it is not known.
    lines
        The five lines around it, each with its number.
    """

    cell: int
    execution_count: int | None
    type: str
    message: str
    line: int | None
    lines: tuple[tuple[int, str], ...]
    traceback: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a notebook that ran.

    Attributes
    ----------
    run
        Id of the run; the one that was meant to be, where it could not be recorded.
    output
        The executed notebook.
    failure
        None if all cells ran.
    """

    run: str
    output: Path
    duration_s: float
    failure: Failure | None

    @property
    def status(self) -> str:
        """The run's status."""
        return "failed" if self.failure else "finished"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A notebook that can run as asked: language, parameters and kernel are checked.

    Attributes
    ----------
    params
        With the types that the notebook wants.
    kernel, arguments
        Its name, and how to start it.
    """

    notebook: Notebook
    params: Mapping[str, Any]
    kernel: str
    arguments: tuple[str, ...]


def plan_run(
    notebook: Notebook, *, params: Mapping[str, object] | None = None, kernel: str | None = None
) -> RunPlan:
    """Check that a notebook can run as asked; nothing is written and nothing runs.

    Parameters
    ----------
    notebook
        As `read_notebook` gives it, repairs included.
    params
        Values for names of its parameters cell.
    kernel
        Name of a kernel; the notebook's own if left out.

    Raises
    ------
    BadNotebook, BadParameter, MissingKernel
        It cannot.
    """
    require_python(notebook)
    typed = check_parameters(notebook, params or {})
    name = kernel or notebook.kernel_name or DEFAULT_KERNEL
    return RunPlan(notebook, typed, name, _kernel_arguments(notebook.path, name))


def run_notebook(
    plan: RunPlan,
    output: Path,
    *,
    folder: Path | None = None,
    batch: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    options: Mapping[str, Any] | None = None,
    engine: str = "mlops_nb",
) -> Outcome:
    """Run a whole notebook as one run.

    Parameters
    ----------
    plan
        Of `plan_run`.
    output
        Where the executed notebook goes; it is there, valid, from the first cell on.
    folder
        Where the kernel runs; the notebook's own if left out, as in Jupyter.
    batch, on_progress
        As of `Engine`.
    options
        More that nbclient's client takes, as ``{"iopub_timeout": 10}``.
    engine
        ``mlops_nb``, or ``mlops_nb_fast`` for a forked worker in place of a kernel where that can
        be had.

    Returns
    -------
    Outcome
        Also of a notebook that failed.

    Raises
    ------
    KeyboardInterrupt
        After what ran until then was saved.
    """
    path = plan.notebook.path
    begin = time.monotonic()
    with local_file_io_cwd():
        executed = _prepared(plan, output)
        try:
            _engine(engine).execute_notebook(
                executed,
                plan.kernel,
                output_path=str(output),
                progress_bar=False,
                on_progress=on_progress,
                input_path=path,
                batch=batch,
                extra_arguments=list(plan.arguments),
                resources={"metadata": {"path": str(folder or Path(path).absolute().parent)}},
                **(options or {}),
            )
        except DeadKernelError:
            failure: Failure | None = _of_dead_kernel(executed)
        else:
            failure = _failure_of(executed, str(output))
    run = executed.metadata.get("mlops_nb", {}).get("run") or (batch or {}).get("run", "")
    return Outcome(run, output, time.monotonic() - begin, failure)


def _engine(name: str) -> type[Engine]:
    """Find one of our engines."""
    if name == "mlops_nb":
        return Engine
    from mlops_nb.papermill_engine.fast import FastEngine

    return {"mlops_nb_fast": FastEngine}[name]


def _kernel_arguments(path: str, kernel: str) -> tuple[str, ...]:
    """Find a kernel, and say how to start it without remarks that are not the notebook's."""
    manager = KernelSpecManager()
    installed = manager.find_kernel_specs()
    if kernel not in installed:
        raise MissingKernel(path, kernel, tuple(sorted(installed)))
    is_ipykernel = any("ipykernel" in word for word in manager.get_kernel_spec(kernel).argv)
    return ("--IPKernelApp.log_level=ERROR",) if is_ipykernel else ()


def _prepared(plan: RunPlan, output: Path) -> Any:
    """Do what papermill does to a notebook before its engine gets it."""
    notebook, kernel = plan.notebook, plan.kernel
    node = nbformat.from_dict(notebook.content)
    node.metadata.setdefault("kernelspec", nbformat.from_dict({"name": kernel}))
    node.metadata.kernelspec.setdefault("display_name", kernel)
    node.metadata["papermill"] = nbformat.from_dict(
        {
            "default_parameters": {},
            "parameters": {},
            "environment_variables": {},
            "version": papermill_version,
        }
    )
    for cell in node.cells:
        cell.metadata["papermill"] = {}
    node = remove_error_markers(node)
    if plan.params:
        _tag_parameters(node)
        node = parameterize_notebook(
            node, dict(plan.params), kernel_name=kernel, language="python", engine_name="mlops_nb"
        )
    return prepare_notebook_metadata(node, notebook.path, str(output))


def _tag_parameters(node: Any) -> None:
    """Give a cell with another tool's tag papermill's own, so that values go in below it."""
    index = find_first_tagged_cell_index(node, "pipeline-parameters")
    if index >= 0 and find_first_tagged_cell_index(node, "parameters") < 0:
        node.cells[index].metadata.tags.append("parameters")


def _failure_of(executed: Any, output: str) -> Failure | None:
    """Have papermill mark the cell that failed, and describe it; else write the notebook."""
    injected = find_first_tagged_cell_index(executed, "injected-parameters")
    try:
        raise_for_execution_errors(executed, output)
    except PapermillExecutionError as error:
        return _described(error, injected)
    write_ipynb(executed, output)
    return None


def _of_dead_kernel(executed: Any) -> Failure:
    """Describe the end of a kernel by the cell in which it came."""
    injected = find_first_tagged_cell_index(executed, "injected-parameters")
    states = [cell.metadata.papermill.get("status") for cell in executed.cells]
    index = states.index("failed") if "failed" in states else 0
    message = "the kernel died: killed, out of memory, or ended by its own code"
    return Failure(
        cell=index - (0 <= injected < index),
        execution_count=None,
        type="DeadKernelError",
        message=message,
        line=None,
        lines=(),
        traceback="",
    )


def _described(error: PapermillExecutionError, injected: int) -> Failure:
    traceback = _ANSI.sub("", "\n".join(error.traceback))
    line = _line_in_cell(traceback, error.exec_count)
    source = error.source.splitlines()
    first = max(0, line - 1 - _AROUND) if line else 0
    lines = tuple(enumerate(source[first : first + 2 * _AROUND + 1], first + 1)) if line else ()
    return Failure(
        cell=error.cell_index - (0 <= injected < error.cell_index),
        execution_count=error.exec_count,
        type=error.ename,
        message=_ANSI.sub("", error.evalue),
        line=line,
        lines=lines,
        traceback=traceback,
    )


def _line_in_cell(traceback: str, execution_count: int | None) -> int | None:
    """Find the line of this very cell: functions of earlier cells have other counts."""
    found = [
        int(line) for count, line in _IN_CELL.findall(traceback) if int(count) == execution_count
    ]
    return found[-1] if found else None
