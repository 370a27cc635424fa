"""The engine without a kernel gives what a kernel gives: outputs, order, errors, metadata, runs."""

from __future__ import annotations

import pytest
from fast_engine_notebooks import ALONE, TOGETHER, comparable, notebook, own_cells, run

from mlops_nb.store import Store

ENGINES = ("mlops_nb", "mlops_nb_fast")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Run the cells of all cases by both engines, each in a folder of the same name."""
    with pytest.MonkeyPatch.context() as patch:
        # With this variable ipykernel takes no output of C code and of subprocesses.
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)
        for name in ("MLOPS_NB_STORE", "MLOPS_NB_BATCH", "MLOPS_NB_NOTEBOOK"):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield _BothEngines(tmp_path_factory.mktemp("both"), patch)


class _BothEngines:
    """What the two engines make of the same notebooks."""

    def __init__(self, folder, patch):
        self._folder, self._patch = folder, patch
        self.stores = {}
        cells = [source for sources in TOGETHER.values() for source in sources]
        tags = {
            index: ["raises-exception"]
            for index, source in enumerate(cells)
            if not source.startswith("md:")
        }
        self.together = self.of("together", notebook(*cells, tags=tags))

    def of(self, name, made, **more):
        """Run a notebook by each engine, both in a folder of the same name."""
        found = []
        for engine in ENGINES:
            project = self._folder / "project"
            (project / ".git").mkdir(parents=True)
            self._patch.chdir(project)
            found.append(run(made, engine, project, **more))
            self._patch.chdir(self._folder)
            self.stores[name, engine] = self._folder / f"{name} {engine}"
            project.rename(self.stores[name, engine])
        return found

    def recorded(self, name, engine):
        """Read the run, its executions and its session."""
        with Store.open(self.stores[name, engine] / ".mlops") as store:
            store.refresh()
            (found,) = store.runs()
            session = store.session(found.session)
            return found, store.executions(found.body), session, store.session_facts(session.id)


def cells_of(executed, case):
    names = [name for name, sources in TOGETHER.items() for _ in sources]
    pairs = zip(own_cells(executed), names, strict=True)
    return [comparable(cell) for cell, name in pairs if name == case]


@pytest.mark.parametrize("case", TOGETHER)
def test_a_worker_gives_what_a_kernel_gives(both, case):
    by_kernel, by_worker = (cells_of(executed, case) for executed, _ in both.together)
    assert by_worker == by_kernel


def test_the_whole_notebook_ends_alike(both):
    (kernel, kernel_error), (worker, worker_error) = both.together
    assert worker_error == kernel_error
    assert comparable({"metadata": worker.metadata}) == comparable({"metadata": kernel.metadata})


@pytest.mark.parametrize("case", ALONE)
def test_a_notebook_that_ends_early_ends_alike(both, case):
    sources, tags, parameters = ALONE[case]
    made = notebook(*sources, tags=tags)
    (kernel, kernel_error), (worker, worker_error) = both.of(case, made, parameters=parameters)
    assert worker_error == kernel_error
    assert [comparable(c) for c in own_cells(worker)] == [comparable(c) for c in own_cells(kernel)]


# --- what is recorded -------------------------------------------------------------------------


def test_the_run_is_recorded_alike(both):
    kernel, worker = (both.recorded("together", engine)[0] for engine in ENGINES)
    for name in ("status", "kind", "name", "group", "notebook", "experiment", "environment"):
        assert getattr(worker, name) == getattr(kernel, name), name
    assert (worker.error or {}).get("type") == (kernel.error or {}).get("type")


def test_each_execution_is_recorded_alike(both):
    def told(execution):
        names = ("order", "status", "source", "code_digest", "cell_id", "cell_index", "flags")
        touched = ("reads", "binds", "mutates", "deletes")
        return [(name, getattr(execution, name)) for name in (*names, *touched)]

    kernel, worker = (both.recorded("together", engine)[1] for engine in ENGINES)
    assert [told(e)[:1] for e in worker] == [told(e)[:1] for e in kernel]
    for ours, theirs in zip(worker, kernel, strict=True):
        assert told(ours)[:7] == told(theirs)[:7]


def test_the_same_modules_are_recorded(both):
    kernel, worker = (both.recorded("together", engine)[3] for engine in ENGINES)
    assert set(worker["modules"]) == set(kernel["modules"])
    assert worker["kernel"] == kernel["kernel"] == "python3"
