"""The recorded cells of a run come back as a notebook."""

from __future__ import annotations

import base64
import json

import nbformat
import pytest
from recorded import RUN, SESSION, Cell, execution_id, recorded_store, run_events

from mlops_nb.cli import main
from mlops_nb.errors import BadNotebook
from mlops_nb.notebook import read_notebook
from mlops_nb.replay import restore, write_restored

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))


@pytest.fixture
def restored(tmp_path):
    """Restore a run of some cells: ``restored(cell, …, outputs=False)``."""

    def make(*cells, outputs=False, **run):
        given = [cell if isinstance(cell, Cell) else Cell(cell) for cell in cells]
        events = run_events(given, metrics={"auc": 0.9}, **run)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        with recorded_store(folder, events) as store:
            notebook = restore(store, store.get_run(RUN), outputs=outputs)
        nbformat.validate(notebook)
        return notebook

    return make


def sources(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_cells_stand_in_run_order_set_up_first_or_not(restored):
    notebook = restored("b = a + 1", Cell("a = 1", role="setup"), "c = b")
    assert sources(notebook) == ["b = a + 1", "a = 1", "c = b"]
    roles = [cell.metadata.mlops_nb.role for cell in notebook.cells[1:]]
    assert roles == ["body", "setup", "body"]


def test_sources_are_as_typed(restored):
    typed = "x = ( 1 ,\n  2 )   # remark\n%timeit -n 1 x\n!ls\n\n"
    assert sources(restored(typed)) == [typed]


def test_the_notebook_says_where_it_comes_from(restored):
    notebook = restored("a = 1", "b = 2")
    assert notebook.metadata.mlops_nb == {
        "run": RUN,
        "session": SESSION,
        "executions": [execution_id(1), execution_id(2)],
    }
    head = notebook.cells[0]
    assert head.cell_type == "markdown"
    for said in (RUN, "churn", "2026-09-21", "linear", "%mlops_replay 7f3a"):
        assert said in head.source


def test_a_name_cannot_become_markup(restored):
    head = restored("a = 1", name="<img src=x>\n# [big](http://e.org)").cells[0].source
    assert "<img" not in head
    assert "\n# [" not in head
    assert r"\[big\]" in head
    assert "http://" not in head


def test_it_asks_for_the_kernel_of_the_notebook(restored, tmp_path):
    path = tmp_path / "nb.ipynb"
    spec = {"name": "team-env", "display_name": "Team"}
    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": spec}), path)
    assert restored("a = 1", notebook=str(path)).metadata.kernelspec.name == "team-env"
    assert restored("a = 1").metadata.kernelspec.name == "python3"


def test_cell_ids_are_kept_where_they_are_legal_and_single(restored):
    cells = [
        Cell("a = 1", cell_id="first"),
        Cell("a = 2", cell_id="first"),
        Cell("b = 1", cell_id="vscode-notebook-cell:/x.ipynb#W0"),
        Cell("c = 1"),
    ]
    ids = [cell.id for cell in restored(*cells).cells[1:]]
    assert ids[0] == "first"
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("source", "is_kept"),
    [
        ("%mlops_compare", False),
        ("# look\n%mlops_show @-1 --env\n\n%mlops_runs", False),
        ("%mlops_track --status", False),
        ("%mlops_replay 7f3a", False),
        ("%mlops_log auc=0.9", True),
        ("%mlops_track churn", True),
        ("%mlops_compare\nx = 1", True),
        ("# only a remark", True),
    ],
)
def test_cells_that_only_look_at_runs_are_left_out(restored, source, is_kept):
    assert (source in sources(restored("a = 1", source))) is is_kept


def test_magics_of_ours_get_the_extension_they_need(restored):
    assert sources(restored("%%mlops_track churn\na = 1"))[0].startswith("%load_ext mlops_nb")
    loads = "%load_ext mlops_nb\n%mlops_track"
    assert sources(restored(loads, "%%mlops_track churn\na = 1")).count(loads) == 1
    assert sources(restored("a = 1")) == ["a = 1"]


def test_what_ran_inside_of_a_cell_is_no_cell(restored):
    assert sources(restored("%%capture\na = 1", Cell("a = 1", parent=1))) == ["%%capture\na = 1"]


def test_what_could_not_be_parsed_never_ran(restored):
    assert sources(restored("a = 1", Cell("a = = 1", status="syntax"))) == ["a = 1"]


def test_cells_from_the_history_are_marked(restored):
    notebook = restored(Cell("import os", is_inferred=True), "a = 1")
    assert "inferred" in tags(notebook.cells[1])
    assert notebook.cells[1].metadata.mlops_nb.inferred is True
    assert "inferred" not in tags(notebook.cells[2])
    assert "history" in notebook.cells[0].source


def test_a_cell_that_failed_does_not_stop_the_ones_below(restored):
    error = {"type": "ValueError", "message": "bad", "traceback": "", "line": 1}
    notebook = restored(Cell("raise ValueError('bad')", status="error", error=error), "a = 1")
    assert "raises-exception" in tags(notebook.cells[1])
    assert "raises-exception" not in tags(notebook.cells[2])


def test_secrets_stay_out(restored):
    notebook = restored('connect(password="⟨secret:password⟩")')
    assert sources(notebook) == ['connect(password="⟨secret:password⟩")']
    assert "`password`" in notebook.cells[0].source


def test_injected_parameters_are_marked_as_such(restored):
    notebook = restored("C = 1", "# Parameters\nC = 0.5\n")
    assert tags(notebook.cells[2]) == ["injected-parameters"]


def test_outputs_come_back_if_asked_for(restored):
    shown = [
        (0, "stream", "stdout", "text/plain", b"hello\n", False),
        (1, "display", "", "image/png", PNG, False),
        (2, "result", "", "text/plain", b"<table>", False),
        (2, "result", "", "text/html", b"<b>1</b>", False),
        (2, "result", "", "application/json", b'{"a": [1]}', False),
    ]
    notebook = restored(Cell("show()", outputs=shown), outputs=True)
    stream, image, result = notebook.cells[1].outputs
    assert (stream.name, stream.text) == ("stdout", "hello\n")
    assert base64.b64decode(image.data["image/png"]) == PNG
    assert result.data["text/html"] == "<b>1</b>"
    assert result.data["application/json"] == {"a": [1]}
    assert result.execution_count == notebook.cells[1].execution_count == 1
    assert restored(Cell("show()", outputs=shown)).cells[1].outputs == []


def test_an_error_and_a_cut_output_come_back_as_they_were(restored):
    error = {"type": "ValueError", "message": "bad", "traceback": "Traceback…", "line": 1}
    shown = [
        (0, "stream", "stdout", "text/plain", b"begin", True),
        (1, "display", "", "image/png", b"", True),
        (2, "error", "ValueError", "text/plain", b"one\ntwo", False),
    ]
    cell = Cell("raise ValueError('bad')", status="error", error=error, outputs=shown)
    stream, raised = restored(cell, outputs=True).cells[1].outputs
    assert stream.text.startswith("begin\n…")
    assert (raised.ename, raised.evalue, raised.traceback) == ("ValueError", "bad", ["one", "two"])


def test_a_child_brings_the_cells_of_its_parent(tmp_path):
    child = "c41d000000000001"
    parent = run_events([Cell("a = 1"), Cell("b = 2")], metrics={"auc": 0.9})
    below = run_events([Cell("a = 1"), Cell("b = 2")], run=child, parent=RUN, kind="child")
    below = [e for e in below if getattr(e, "execution", None) != execution_id(1)]
    with recorded_store(tmp_path, parent, below) as store:
        assert sources(restore(store, store.get_run(child))) == ["a = 1", "b = 2"]


def test_a_run_without_cells_is_refused(tmp_path):
    with (
        recorded_store(tmp_path, run_events([], metrics={"auc": 1.0})) as store,
        pytest.raises(BadNotebook, match="no cell of it is recorded"),
    ):
        restore(store, store.get_run(RUN))


def test_a_run_above_itself_ends_the_search(tmp_path):
    other = "c41d000000000001"
    events = [
        run_events([Cell("a = 1")], parent=other),
        run_events([Cell("a = 1")], run=other, parent=RUN, kind="child"),
    ]
    with recorded_store(tmp_path, *events) as store:
        assert sources(restore(store, store.get_run(RUN))) == ["a = 1"]


def test_a_file_that_is_there_stays_unless_forced(restored, tmp_path):
    path = tmp_path / "mine.ipynb"
    path.write_text("mine")
    notebook = restored("a = 1")
    with pytest.raises(BadNotebook, match="--force"):
        write_restored(notebook, path)
    assert path.read_text() == "mine"
    write_restored(notebook, path, force=True)
    assert [cell.source for cell in read_notebook(path).code_cells] == ["a = 1"]


def test_the_command_writes_names_and_refuses(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    recorded_store(tmp_path, run_events([Cell("a = 1")], metrics={"auc": 0.9})).close()
    codes = {}
    for name, more in (("first", []), ("again", []), ("forced", ["--force"])):
        with pytest.raises(SystemExit) as exited:
            main(["restore", "7f3a", *more, "--format", "json"])
        codes[name] = exited.value.code
        if name == "first":
            document = json.loads(capfd.readouterr().out)
    assert codes == {"first": 0, "again": 2, "forced": 0}
    assert document == {"run": RUN, "notebook": "restored-7f3a.ipynb", "cells": 1}
    assert (tmp_path / "restored-7f3a.ipynb").is_file()
