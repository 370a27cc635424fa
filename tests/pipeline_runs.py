"""Notebooks with steps for tests of running, and ways to look at what came out."""

from __future__ import annotations

import atexit
import functools
import time
from pathlib import Path

import nbformat

from mlops_nb.engines.local import LocalEngine
from mlops_nb.pipeline.running import Choice, run_pipeline
from mlops_nb.pipeline.running.executing import PRELOAD
from mlops_nb.store import Store

SPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def write_notebook(path: Path, *cells: tuple[str, str], spec=None) -> Path:
    """Write a notebook of (tags, source) pairs; tags are separated by spaces."""
    made = [
        nbformat.v4.new_code_cell(source, id=f"cell-{n}", metadata={"tags": tags.split()})
        for n, (tags, source) in enumerate(cells)
    ]
    metadata = {"kernelspec": spec or SPEC}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=metadata), path)
    return path


@functools.cache
def warm_engine() -> LocalEngine:
    """One engine for all runs of this process: its server loads everything only once."""
    engine = LocalEngine(preload=PRELOAD)
    atexit.register(engine.close)
    return engine


class Pipelines:
    """Runs notebooks in a folder, into a store in it.

    Attributes
    ----------
    seen
        What the last run has told.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, []
        self.location = folder / ".mlops"

    def write(self, *cells: tuple[str, str], name: str = "case.ipynb", spec=None) -> Path:
        return write_notebook(self.folder / name, *cells, spec=spec)

    def run(self, path: Path, **how):
        self.seen = []
        picked = {key: how.pop(key) for key in ("first", "until", "only", "force") if key in how}
        how.setdefault("choice", Choice(**picked))
        how.setdefault("observer", self.seen.append)
        how.setdefault("engine", warm_engine())
        how.setdefault("pages", False)
        return run_pipeline(path, store=str(self.location), **how)

    def store(self) -> Store:
        return Store.open(self.location)

    def states(self, outcome) -> dict[str, str]:
        return {step.name: step.state for step in outcome.steps}

    def step(self, outcome, name: str):
        return next(step for step in outcome.steps if step.name == name)


def processes_in(folder: Path) -> list[int]:
    """List the processes that work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if place.readlink() == folder:
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def wait_until_nobody_is_in(folder: Path, timeout_s=30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while left := processes_in(folder):
        assert time.monotonic() < deadline, f"{left} still work in {folder}"
        time.sleep(0.05)
