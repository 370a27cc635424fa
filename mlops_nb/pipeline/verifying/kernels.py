"""Cells in a fresh kernel, with questions between them that leave no trace in the notebook."""

from __future__ import annotations

import ast
import json
from dataclasses import field
from typing import TYPE_CHECKING, Any

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_QUIET = ("--IPKernelApp.log_level=CRITICAL",)
_START_TIMEOUT_S = 120
_ANSWER_TIMEOUT_S = 600


@record
class Failed:
    """How a notebook ended before its end.

    Attributes
    ----------
    cell
        Zero-based position in what was run; None if it was no cell.
    """

    type: str
    message: str
    cell: int | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@record
class Ran:
    """What a run of cells has given.

    Attributes
    ----------
    before, after
        Answers to the questions, by position of their cell.
    failed
        None if it came to its end.
    """

    before: Mapping[int, Any] = field(default_factory=dict)
    after: Mapping[int, Any] = field(default_factory=dict)
    failed: Failed | None = None


@record
class Question:
    """A call of ``module.function(**arguments)`` in the kernel, between two cells.

    Its answer comes back as JSON. It binds no name, counts as no execution, and stands in no
    history.
    """

    module: str
    function: str
    arguments: Mapping[str, Any]

    @property
    def expression(self) -> str:
        """The call as an expression."""
        told = json.dumps(dict(self.arguments))
        return (
            f"(lambda json, module: json.dumps(module.{self.function}(**json.loads({told!r}))))"
            f"(__import__('json'), __import__({self.module!r}, fromlist=['any']))"
        )


async def run_cells(
    content: Mapping[str, Any],
    *,
    kernel: str,
    folder: Path,
    environ: Mapping[str, str],
    before: Mapping[int, Question] | None = None,
    after: Mapping[int, Question] | None = None,
    timeout_s: float | None = None,
) -> Ran:
    """Run a notebook in a kernel of its own, which is gone afterwards.

    Parameters
    ----------
    content
        Of the notebook; it is not changed.
    kernel, folder, environ
        Name of the kernel, where it runs, and all its environment variables.
    before, after
        What to ask in the kernel right before or after a cell, by the cell's position.
    timeout_s
        For one cell.

    Raises
    ------
    MissingKernel, KernelNotReady
        The kernel cannot be started.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from mlops_nb.errors import KernelNotReady, MissingKernel

    asking = _Asking(before or {}, after or {})
    client = NotebookClient(
        nbformat.from_dict(content),
        kernel_name=kernel,
        timeout=None if timeout_s is None else int(timeout_s) or 1,
        startup_timeout=_START_TIMEOUT_S,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=list(_QUIET) if _is_ipykernel(kernel) else [],
        on_cell_execute=asking.before,
        on_cell_executed=asking.after,
    )
    asking.client = client
    shown = str(content.get("metadata", {}).get("mlops_nb", {}).get("step", "the notebook"))
    try:
        await client.async_execute(env=dict(environ))
    except CellExecutionError as error:
        return asking.ran(Failed(error.ename, _one_line(error.evalue), asking.index))
    except CellTimeoutError:
        text = f"it took longer than {timeout_s:g} s"
        return asking.ran(Failed("TimeoutError", text, asking.index))
    except DeadKernelError:
        text = "the kernel died: killed, out of memory, or ended by its own code"
        return asking.ran(Failed("DeadKernelError", text, asking.index))
    except NoSuchKernel:
        installed = tuple(sorted(KernelSpecManager().find_kernel_specs()))
        raise MissingKernel(shown, kernel, installed) from None
    except RuntimeError as error:
        raise KernelNotReady(shown, kernel, str(error)) from error
    return asking.ran()


def _is_ipykernel(kernel: str) -> bool:
    from jupyter_client.kernelspec import KernelSpecManager

    manager = KernelSpecManager()
    if kernel not in manager.find_kernel_specs():
        return False
    return any("ipykernel" in word for word in manager.get_kernel_spec(kernel).argv)


class _Asking:
    """Hooks of nbclient that put the questions."""

    def __init__(self, before: Mapping[int, Question], after: Mapping[int, Question]) -> None:
        self.client: Any = None
        self.answers: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        self.index: int | None = None
        self._before, self._after = before, after

    async def before(self, cell: Any, cell_index: int) -> None:
        """Ask before a cell."""
        del cell
        self.index = cell_index
        if (question := self._before.get(cell_index)) is not None:
            self.answers[0][cell_index] = await self._ask(question)

    async def after(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        """Ask after a cell that has not failed, or may fail."""
        question = self._after.get(cell_index)
        is_well = execute_reply["content"].get("status") == "ok"
        if question is not None and (
            is_well or "raises-exception" in cell.metadata.get("tags", [])
        ):
            self.answers[1][cell_index] = await self._ask(question)

    def ran(self, failed: Failed | None = None) -> Ran:
        """Say how it went."""
        return Ran(*self.answers, failed)

    async def _ask(self, question: Question) -> Any:
        from jupyter_core.utils import ensure_async

        request = {
            "code": "",
            "silent": True,
            "store_history": False,
            "user_expressions": {"asked": question.expression},
            "allow_stdin": False,
        }
        number = await ensure_async(self.client.kc.execute(**request))
        while True:
            message = await ensure_async(
                self.client.kc.shell_channel.get_msg(timeout=_ANSWER_TIMEOUT_S)
            )
            if message["parent_header"].get("msg_id") == number:
                return _answer(message["content"])


def _answer(content: Mapping[str, Any]) -> Any:
    """Read the answer; a question that failed gives ``{"error": …, "type": …}``."""
    found = content.get("user_expressions", {}).get("asked", content)
    if found.get("status") != "ok" or "data" not in found:
        name = str(found.get("ename", "unknown"))
        return {"error": _one_line(str(found.get("evalue", ""))), "type": name}
    return json.loads(ast.literal_eval(found["data"]["text/plain"]))


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
