"""papermill reads notebooks from the store and keeps them there, by the runs they belong to."""

from __future__ import annotations

import json
import warnings

import nbformat
import papermill
import pytest
from fast_engine_notebooks import notebook
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import list_notebook_files, papermill_io

from mlops_nb.errors import RunNotFound
from mlops_nb.errors.values import BadStoreAddress, NoSuchArtifact
from mlops_nb.store import Store

FAST = {"engine_name": "mlops_nb_fast", "progress_bar": False}


@pytest.fixture(autouse=True)
def _project(tmp_path, tmp_path_factory, monkeypatch):
    """Each test in a project of its own, with its own store."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp()))
    for name in ("MLOPS_NB_STORE", "MLOPS_NB_BATCH", "MLOPS_NB_NOTEBOOK"):
        monkeypatch.delenv(name, raising=False)
    # papermill minds names without an ending; addresses have none.
    warnings.filterwarnings("ignore", message=".*extension", category=UserWarning)


def saved(*sources, name="in.ipynb"):
    nbformat.write(notebook(*sources, tags={0: ["parameters"]}), name)
    return name


def only_run():
    with Store.open(".mlops") as store:
        store.refresh()
        (run,) = store.runs()
        return run


def test_papermill_knows_the_scheme():
    assert type(papermill_io.get_handler("mlops://7f3a/notebook")).__name__ == "StoreHandler"


def test_an_executed_notebook_is_kept_with_its_run_and_read_again(tmp_path):
    papermill.execute_notebook(saved("x = 1", "print(x)"), "mlops://", {"x": 7}, **FAST)
    run = only_run()
    (kept,) = run.artifacts
    assert (kept.name, kept.kind, kept.mime) == (
        "in.ipynb",
        "notebook",
        "application/x-ipynb+json",
    )
    for address in (
        f"mlops://{run.id}/notebook",
        f"mlops://{run.id[:6]}/notebook.ipynb",
        f"mlops://runs/{run.id}/notebook",
        f"mlops://runs/{run.id}/artifacts/in.ipynb",
    ):
        read = nbformat.reads(papermill_io.read(address), 4)
        nbformat.validate(read)
        assert read.cells[-1].outputs[0].text == "7\n"
        assert read.metadata.papermill.end_time
    assert [path.name for path in tmp_path.glob("*.ipynb")] == ["in.ipynb"]


def test_a_kept_notebook_runs_again_with_other_parameters():
    papermill.execute_notebook(saved("x = 1", "print(x)"), "mlops://first", {"x": 7}, **FAST)
    run = only_run()
    assert [artifact.name for artifact in run.artifacts] == ["first.ipynb"]
    done = papermill.execute_notebook(f"mlops://{run.id}/notebook", "out.ipynb", {"x": 8}, **FAST)
    assert done.cells[-1].outputs[0].text == "8\n"


def test_what_failed_is_kept_with_the_mark_of_its_error():
    with pytest.raises(PapermillExecutionError):
        papermill.execute_notebook(saved("x = 1", "1 / 0"), "mlops://", **FAST)
    run = only_run()
    read = nbformat.reads(papermill_io.read(f"mlops://{run.id}/notebook"), 4)
    assert run.status == "failed"
    assert "papermill-error-cell-tag" in read.cells[0].metadata.tags
    assert {artifact.name for artifact in run.artifacts} == {"in.ipynb"}


def test_notebooks_are_listed_by_addresses_that_can_be_read():
    papermill.execute_notebook(saved("x = 1"), "mlops://a", **FAST)
    run = only_run()
    address = f"mlops://runs/{run.id}/artifacts/a.ipynb"
    assert list_notebook_files("mlops://") == [address]
    for path in (f"mlops://{run.id}", f"mlops://runs/{run.id[:5]}/artifacts"):
        assert papermill_io.listdir(path) == [address]
    assert json.loads(papermill_io.read(address))["nbformat"] == 4


def test_nothing_runs_where_the_output_could_not_be_kept(tmp_path):
    path = saved("open('ran', 'w')")
    with pytest.raises(BadStoreAddress, match="--engine mlops_nb"):
        papermill.execute_notebook(path, "mlops://", progress_bar=False)
    with pytest.raises(BadStoreAddress, match="an output is mlops://"):
        papermill.execute_notebook(path, "mlops://a/b", **FAST)
    assert not (tmp_path / "ran").exists()


def test_no_address_leads_out_of_the_store(tmp_path):
    (tmp_path / "secret.ipynb").write_text("{}")
    papermill.execute_notebook(saved("x = 1"), "mlops://", **FAST)
    run = only_run()
    for address in (
        "mlops://../secret.ipynb",
        "mlops:///etc/passwd",
        f"mlops://{run.id}",
        f"mlops://{run.id}/artifacts",
        f"mlops://{run.id}/../../secret.ipynb",
        "mlops://runs",
        "mlops://",
    ):
        with pytest.raises(BadStoreAddress):
            papermill_io.read(address)
    for name in (
        "../../secret.ipynb",
        str(tmp_path / "secret.ipynb"),
        "%2e%2e/secret.ipynb",
        "IN.ipynb",
    ):
        with pytest.raises(NoSuchArtifact, match=r"it keeps: in\.ipynb"):
            papermill_io.read(f"mlops://{run.id}/artifacts/{name}")
    with pytest.raises(BadStoreAddress, match="only a run can be listed"):
        papermill_io.listdir(f"mlops://{run.id}/artifacts/in.ipynb")


def test_a_run_that_is_not_there_is_named():
    papermill.execute_notebook(saved("x = 1"), "mlops://", **FAST)
    with pytest.raises(RunNotFound, match="zzzz"):
        papermill_io.read("mlops://zzzz/notebook")


def test_a_run_without_a_notebook_says_how_to_keep_one():
    papermill.execute_notebook(saved("x = 1"), "out.ipynb", **FAST)
    with pytest.raises(NoSuchArtifact, match=r"it keeps: nothing.*the output is mlops://"):
        papermill_io.read(f"mlops://{only_run().id}/notebook")


def test_secrets_are_not_kept():
    papermill.execute_notebook(saved("print('postgresql://ann:hunter2@db/x')"), "mlops://", **FAST)
    assert "hunter2" not in papermill_io.read(f"mlops://{only_run().id}/notebook")


def test_the_kernel_engine_keeps_notebooks_too():
    path = saved("x = 1", "print(x)")
    papermill.execute_notebook(path, "mlops://", engine_name="mlops_nb", progress_bar=False)
    read = nbformat.reads(papermill_io.read(f"mlops://{only_run().id}/notebook"), 4)
    assert read.cells[1].outputs[0].text == "1\n"
