"""A split is proven equal to the whole notebook, repaired, or the first difference is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from click.testing import CliRunner

from mlops_nb.cli import cli
from mlops_nb.pipeline.drafts import draft_of, read_source
from mlops_nb.pipeline.verify import prove
from mlops_nb.pipeline.writing import load_definition
from mlops_nb.pipeline.writing.conversion import convert_notebook
from mlops_nb.store import Store

V4 = nbformat.v4
PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}


def draft(folder, *cells):
    """Make the draft of a notebook of (source, tags) pairs."""
    made = [
        V4.new_code_cell(source, id=f"cell-{n}", metadata={"tags": list(tags)})
        for n, (source, tags) in enumerate(cells)
    ]
    nbformat.write(
        V4.new_notebook(cells=made, metadata={"kernelspec": PYTHON}), folder / "n.ipynb"
    )
    return draft_of(read_source(folder / "n.ipynb"))


def test_a_plain_split_is_equal(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("import math", ()),
            ("n = 10\nhalf = n // 2", ("parameters",)),
            ("rows = list(range(n))\nlimit = math.pi", ("step:load",)),
            ("def twice(x):\n    return 2 * x\n\ntotal = twice(sum(rows)) + half", ("step:sum",)),
            ("result = (total, limit)", ("step:report", "output:result")),
        )
    )
    assert (proven.proof.verdict, proven.proof.difference, proven.notes) == ("equal", "", ())
    assert {(v["step"], v["name"]) for v in proven.proof.values} >= {
        ("load", "rows"),
        ("sum", "total"),
        ("report", "result"),
    }
    assert all(value["same"] for value in proven.proof.values)


def test_what_chance_gives_is_told_apart_from_a_wrong_split(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("import uuid\nname = uuid.uuid4().hex\nsize = 3", ("step:make",)),
            ("length = len(name) + size", ("step:use", "output:length")),
        )
    )
    assert proven.proof.verdict == "equal"
    assert proven.notes == ("name of step make is not reproducible in the whole notebook either.",)
    (value,) = [v for v in proven.proof.values if v["name"] == "name"]
    assert (value["same"], value["reproducible"]) == (False, False)


def test_a_name_that_no_text_shows_is_repaired(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("one_name = 5\nhidden = 'one_' + 'name'", ("step:a",)),
            ("found = eval(hidden, globals())", ("step:b", "output:found")),
        )
    )
    assert proven.proof.verdict == "equal"
    assert proven.pipeline.steps[-1].inputs["one_name"] == "a" or len(proven.pipeline.steps) == 1


def test_a_whole_that_fails_is_named_with_its_cell(tmp_path):
    proven = prove(draft(tmp_path, ("x = 1", ("step:a",)), ("y = x / 0", ("step:b",))))
    assert proven.proof.verdict == "failed"
    assert "The whole notebook fails in cell 1: ZeroDivisionError" in proven.proof.difference


def test_a_kernel_that_dies_is_no_proof(tmp_path):
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    proven = prove(draft(tmp_path, ("x = 1", ("step:a",)), (text, ("step:b",))))
    assert proven.proof.verdict == "failed"
    assert "the kernel died" in proven.proof.difference


def test_files_between_steps_are_as_each_step_found_them(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("with open('log.txt', 'w') as f:\n    f.write('one')", ("step:a",)),
            ("with open('log.txt') as f:\n    text = f.read()", ("step:b",)),
            ("with open('log.txt', 'w') as f:\n    f.write(text + 'two')", ("step:c",)),
            ("with open('log.txt') as f:\n    last = f.read()", ("step:d", "output:last")),
        )
    )
    assert (proven.proof.verdict, proven.proof.difference) == ("equal", "")
    assert (tmp_path / "log.txt").read_text() == "onetwo"


def test_many_steps_at_once_are_as_equal_as_the_whole(tmp_path):
    cells = [("base = [1, 2, 3]", ("step:base",))]
    cells += [(f"x{n} = sum(base) * {n}", (f"step:s{n}", f"output:x{n}")) for n in range(3)]
    assert prove(draft(tmp_path, *cells), jobs=4).proof.verdict == "equal"


def test_steps_whose_values_cannot_be_stored_become_one(tmp_path):
    made = "import threading\n\ndef held():\n    return {'lock': threading.Lock()}"
    proven = prove(
        draft(
            tmp_path,
            (made, ("functions",)),
            ("box = held()", ("step:a",)),
            ("box['lock'].acquire()\nsize = len(box)", ("step:b",)),
            ("result = size + 1", ("step:c", "output:result")),
        )
    )
    assert proven.proof.verdict == "equal"
    assert len(proven.pipeline.steps) < 3
    assert any("box" in sentence for sentence in proven.pipeline.fused)


def test_the_first_value_that_differs_is_named_with_what_it_is(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("import colorsys\nred = colorsys.rgb_to_hsv(1, 0, 0)", ("step:a",)),
            ("import sys\nfound = 'colorsys' in sys.modules", ("step:b", "output:found")),
            ("result = [found, red]", ("step:c", "output:result")),
        )
    )
    assert proven.proof.verdict == "differs"
    assert (
        proven.proof.difference
        == "Step b gives another found alone than in the whole notebook: True → False."
    )
    assert [v["name"] for v in proven.proof.values if not v["same"]] == ["found"]


def test_pieces_of_a_fanned_out_step_are_proven_by_what_is_made_of_them(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("seeds = [1, 2, 3]", ("step:plan",)),
            ("squares = {seed: seed * seed for seed in seeds}", ("step:fit", "foreach:seeds")),
            ("total = sum(squares.values())", ("step:sum", "join", "output:total")),
        )
    )
    assert (proven.proof.verdict, proven.proof.difference) == ("equal", "")
    assert ("sum", "total") in {(v["step"], v["name"]) for v in proven.proof.values}


def test_chance_that_was_seeded_is_passed_on(tmp_path):
    proven = prove(
        draft(
            tmp_path,
            ("import random", ()),
            ("random.seed(1)\nfirst = random.random()", ("step:a",)),
            ("second = random.random()", ("step:b", "output:second")),
        )
    )
    assert (proven.proof.verdict, proven.notes) == ("equal", ())


def test_proving_changes_nothing_that_the_notebook_itself_does_not(tmp_path):
    cells = draft(tmp_path, ("x = 1", ("step:a",)), ("y = x + 1\ny", ("step:b",)))
    before = (tmp_path / "n.ipynb").read_bytes()
    assert prove(cells).proof.verdict == "equal"
    assert (tmp_path / "n.ipynb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]


def test_the_command_proves_and_fails_where_it_cannot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draft(tmp_path, ("x = 1", ("step:a",)), ("y = x + 1", ("step:b", "output:y")))
    found = CliRunner().invoke(cli, ["convert", "n.ipynb", "--verify"], catch_exceptions=False)
    assert found.exit_code == 0
    assert "proven equal to the whole notebook" in found.output
    text = (tmp_path / "n" / "pipeline.yaml").read_text()
    assert "verdict: equal" in text
    again = CliRunner().invoke(cli, ["convert", "n.ipynb"], catch_exceptions=False)
    assert again.exit_code == 0
    assert (tmp_path / "n" / "pipeline.yaml").read_text() == text
    draft(tmp_path, ("x = 1", ("step:a",)), ("y = x / 0", ("step:b", "output:y")))
    failed = CliRunner().invoke(cli, ["convert", "n.ipynb", "--verify", "--format", "json"])
    assert failed.exit_code == 1
    document = json.loads(failed.stdout)
    assert document["proof"]["verdict"] == "failed"
    assert "ZeroDivisionError" in document["proof"]["difference"]


def test_what_was_repaired_is_known_to_the_next_conversion(tmp_path):
    draft(
        tmp_path,
        ("one_name = 5\nhidden = 'one_' + 'name'", ("step:a",)),
        ("found = eval(hidden, globals())", ("step:b", "output:found")),
    )
    proven = convert_notebook(tmp_path / "n.ipynb", verify=True)
    again = convert_notebook(tmp_path / "n.ipynb")
    assert proven.proof.verdict == "equal"
    assert again.converted.is_unchanged


def test_the_proof_is_kept_in_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = draft(tmp_path, ("x = 1", ("step:a",)), ("y = x + 1", ("step:b", "output:y")))
    with Store.open(tmp_path / ".mlops", create=True) as store:
        found = convert_notebook(tmp_path / "n.ipynb", verify=True, store=store)
        assert store.find_proof(one.name, found.proof.split) == found.proof
    assert load_definition(tmp_path / "n").proof == {
        "split": found.proof.split,
        "verdict": "equal",
    }


def test_being_interrupted_ends_all_kernels_and_leaves_nothing(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    wait = (
        "import os, time\nopen(f'marks/{os.getpid()}', 'w').close()\n"
        "if len(os.listdir('marks')) > 2:\n    time.sleep(600)"
    )
    draft(tmp_path, (wait, ("step:a",)), (wait, ("step:b",)), (wait, ("step:c",)))
    home = tmp_path / "tmp"
    home.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "mlops_nb", "convert", "n.ipynb", "--verify", "-j", "3"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(marks.iterdir())) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in said
    assert not list(home.glob("mlops-nb-proof-*"))
    assert not (tmp_path / "n").exists()
    while (alive := [p.name for p in marks.iterdir() if Path(f"/proc/{p.name}").exists()]) and (
        time.monotonic() < deadline + 30
    ):
        time.sleep(0.05)
    assert not alive
