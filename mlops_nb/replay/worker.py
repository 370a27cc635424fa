"""The process in which a replay runs: ``python -m mlops_nb.replay.worker``.

It is told what to do as one JSON document on standard input, and tells of each cell in a line of
JSON on standard output. A process of its own leaves alone who asked: its event loop, its signals,
its environment, its tracking.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mlops_nb.errors import MissingKernel, MlopsNbError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.notebook import Notebook
    from mlops_nb.papermill_engine.running import RunPlan


def main() -> int:
    """Run the notebook that standard input describes."""
    told = json.load(sys.stdin)
    # Builds a grammar for a second whenever nbformat is imported; no notebook has IRIs to check.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    channel = _private_output()
    try:
        _say(channel, {"done": _run(told, channel)})
    except KeyboardInterrupt:
        _say(channel, {"interrupted": True})
    except (MlopsNbError, OSError) as error:
        _say(channel, {"error": {"type": type(error).__name__, "message": str(error)}})
    return 0


def _private_output() -> TextIO:
    """Keep standard output for us: the kernel inherits what stands there, and writes to it."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _say(channel: TextIO, message: Mapping[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _run(told: Mapping[str, Any], channel: TextIO) -> dict[str, Any]:
    from mlops_nb.notebook import read_notebook
    from mlops_nb.papermill_engine import run_notebook

    def on_progress(index: int, total: int, what: str) -> None:
        _say(channel, {"cell": index, "total": total, "what": what})

    _pass_on_remarks(channel)
    notebook = replace(read_notebook(told["restored"]), path=told["notebook"])
    plan = _plan(notebook, told, channel)
    if plan.arguments and told["extensions"]:
        loaded = [f"--IPKernelApp.extra_extensions={name}" for name in told["extensions"]]
        plan = replace(plan, arguments=(*plan.arguments, *loaded))
    outcome = run_notebook(
        plan,
        Path(told["output"]),
        folder=Path(told["folder"]),
        batch=told["batch"],
        on_progress=on_progress,
    )
    failure = outcome.failure and {
        "type": outcome.failure.type,
        "message": outcome.failure.message,
    }
    return {"run": outcome.run, "duration_s": outcome.duration_s, "failure": failure}


def _plan(notebook: Notebook, told: Mapping[str, Any], channel: TextIO) -> RunPlan:
    """Choose the kernel: one that only the session told may be another machine's."""
    from mlops_nb.papermill_engine import plan_run

    try:
        return plan_run(notebook, kernel=told["kernel"])
    except MissingKernel:
        if told["is_kernel_named"]:
            raise
    plan = plan_run(replace(notebook, kernel_name=None))
    remark = f"it ran in the kernel {told['kernel']}, which is not here; it runs in {plan.kernel}"
    _say(channel, {"remark": remark})
    return plan


def _pass_on_remarks(channel: TextIO) -> None:
    """Hand the engine's warnings to who asked; the libraries' own stay here."""

    class Remarks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _say(channel, {"remark": record.getMessage()})

    warnings.simplefilter("ignore")
    logger = logging.getLogger("papermill")
    logger.propagate = False
    logger.addHandler(Remarks(logging.WARNING))


if __name__ == "__main__":
    sys.exit(main())
