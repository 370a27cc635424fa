"""Executed notebooks as HTML pages, made beside the run by a process that gives way to others."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.engines import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.engines import Engine
    from mlops_nb.model import Json
    from mlops_nb.pipeline.running.work import StepDone

JOB_NAME = "<pages>"
_NICE = 19
_TIMEOUT_S = 300.0
_PATIENCE_S = 20.0
"""How long the end of a run waits for pages: on a busy machine others come first."""


class Pages:
    """Has pages made of the notebooks of one run, several by one process, one process at a time.

    Parameters
    ----------
    engine
        That of the steps.
    location
        Of the store.
    environment
        Variables of the process.
    """

    def __init__(self, engine: Engine, location: str, environment: Mapping[str, str]) -> None:
        self._engine, self._location, self._environment = engine, location, environment
        self._waiting: list[list[str]] = []
        self._is_possible = find_spec("nbconvert") is not None
        self.is_busy = self._is_prepared = False
        self._give_up_at: float | None = None

    @property
    def are_due(self) -> bool:
        """Whether it is worth to wait for them, when there is nothing else to wait for."""
        if not self.is_busy:
            return False
        now = time.monotonic()
        self._give_up_at = self._give_up_at or now + _PATIENCE_S
        if now > self._give_up_at:
            self._engine.cancel(JOB_NAME)
        return True

    def add(self, done: StepDone, name: str) -> None:
        """Have a page made of an executed notebook."""
        if self._is_possible and done.notebook:
            self._waiting.append([done.run, done.output, name])
            self._begin()

    def prepare(self) -> None:
        """Have what makes pages loaded, while the first steps run."""
        if self._is_possible and not self._is_prepared:
            self._is_prepared = True
            self._engine.preload(["mlops_nb.pipeline.running.page_exporter"])

    def ended(self) -> None:
        """Take note that the process has ended; another one takes what has come since."""
        self.is_busy = False
        self._begin()

    def _begin(self) -> None:
        if self.is_busy or not self._waiting:
            return
        told = {"store": self._location, "notebooks": self._waiting}
        self._waiting, self.is_busy = [], True
        function = f"{__name__}:pages_job"
        environment = dict(self._environment)
        self._engine.start(
            Job(JOB_NAME, function, told, environment, os.sep, timeout_s=_TIMEOUT_S)
        )


def pages_job(
    told: Mapping[str, Any], _say: Callable[[Mapping[str, Json]], None]
) -> dict[str, Any]:
    """Make pages and keep them as artifacts of their runs."""
    os.nice(_NICE)
    import nbformat

    from mlops_nb.model import ArtifactLogged
    from mlops_nb.pipeline.running.artifacts import NOTEBOOK_MIME
    from mlops_nb.pipeline.running.page_exporter import EXPORTER
    from mlops_nb.redact import redact_file
    from mlops_nb.store import Store

    made = 0
    with Store.open(told["store"]) as store:
        for run, path, name in told["notebooks"]:
            clean = redact_file(Path(path), NOTEBOOK_MIME)
            text = (Path(path).read_bytes() if clean is None else clean).decode("utf-8")
            page, _ = EXPORTER.from_notebook_node(nbformat.reads(text, as_version=4))
            data = page.encode("utf-8", "replace")
            at_ns = time.time_ns()
            store.apply(
                [ArtifactLogged(run, f"{name}.html", "notebook", "text/html", at_ns, data)]
            )
            made += 1
    return {"made": made}
