"""Steps that end badly, and spoilt values: right states, the cell named, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline_runs import Pipelines, processes_in, wait_until_nobody_is_in

from mlops_nb.pipeline.running.silent import silent_failure


@pytest.fixture
def pipelines(tmp_path):
    return Pipelines(tmp_path)


def test_a_failed_step_leaves_the_rest_going_and_names_cell_and_line(pipelines, tmp_path):
    path = pipelines.write(
        ("", "import math"),
        ("step:load", "x = 4"),
        ("step:bad", "y = math.sqrt(x)\nz = y / 0"),
        ("step:below", "w = z"),
        ("step:beside prev:load output:k", "k = x * 2"),
    )
    outcome = pipelines.run(path, jobs=2)
    error = pipelines.step(outcome, "bad").error
    assert pipelines.states(outcome) == {
        "load": "done",
        "bad": "failed",
        "below": "upstream_failed",
        "beside": "done",
    }
    assert (error["type"], error["cell"], error["line"]) == ("ZeroDivisionError", 2, 2)
    assert any(line.startswith(">") and "y / 0" in line for line in error["lines"])
    assert (outcome.status, outcome.exit_code) == ("failed", 3)
    path.write_text(path.read_text().replace("y / 0", "y / 2"))
    again = pipelines.run(path, resume="")
    assert (again.run, again.status) == (outcome.run, "finished")
    assert [s.step for s in pipelines.seen if s.state == "running"] == ["bad", "below"]


BAD = {
    "it exits": ("import sys\nsys.exit(3)", "SystemExit"),
    "it exits as if all were well": ("import sys\nsys.exit(0)", "NothingSaved"),
    "it kills its kernel": ("import os\nos.kill(os.getpid(), 9)", "DeadKernelError"),
    "its magic is unknown": ("%nosuchmagic\ny = 1", "UsageError"),
    "its script fails": ("%%bash\nexit 3", "CalledProcessError"),
}


@pytest.mark.parametrize("how", BAD)
def test_a_step_that_ends_badly_is_a_failure_of_that_step(pipelines, how):
    source, kind = BAD[how]
    path = pipelines.write(("step:a", "x = 1"), ("step:b", source), ("step:c prev:b", "z = 1"))
    outcome = pipelines.run(path)
    assert pipelines.states(outcome) == {"a": "done", "b": "failed", "c": "upstream_failed"}
    error = pipelines.step(outcome, "b").error
    assert error["type"] == kind, error
    with pipelines.store() as store:
        store.refresh()
        run = store.find_run(pipelines.step(outcome, "b").run)
    assert run.status in {"failed", "lost"}


def test_a_value_that_a_step_may_not_bind_is_missed_with_its_name(pipelines):
    path = pipelines.write(
        ("step:a", "x = 1"), ("step:b", "if x > 5:\n    y = 1"), ("step:c", "z = y")
    )
    outcome = pipelines.run(path)
    assert (outcome.status, pipelines.states(outcome)["a"]) == ("failed", "done")
    failed = next(step for step in outcome.steps if step.state == "failed")
    assert "y" in failed.error["message"]


def test_a_file_that_a_step_wrote_is_there_again_when_its_results_are_used(pipelines, tmp_path):
    source = "from pathlib import Path\nx = Path('made.txt').write_text('made')"
    path = pipelines.write(("step:a output:x", source))
    pipelines.run(path)
    (tmp_path / "made.txt").unlink()
    outcome = pipelines.run(path)
    assert pipelines.states(outcome) == {"a": "cached"}
    assert (tmp_path / "made.txt").read_text() == "made"


def test_a_step_is_tried_again_as_often_as_its_author_says(pipelines, tmp_path):
    source = """
from pathlib import Path
tries = Path("tries")
count = int(tries.read_text()) + 1 if tries.exists() else 1
tries.write_text(str(count))
if count < 3:
    raise OSError("not yet")
y = 5
"""
    path = pipelines.write(("step:b retry:2 output:y", source))
    outcome = pipelines.run(path, retry_after_s=0.01)
    assert pipelines.step(outcome, "b").attempt == 3
    assert outcome.values("b", "y") == 5
    remarks = [seen.text for seen in pipelines.seen if seen.what == "remark"]
    assert len([text for text in remarks if "OSError: not yet" in text]) == 2


def test_a_step_whose_time_is_up_is_ended_with_all_it_has_started(pipelines, tmp_path):
    source = f"""
import subprocess, time
child = subprocess.Popen(["sleep", "1000"], start_new_session=True, cwd={str(tmp_path)!r})
time.sleep(1000)
y = 1
"""
    path = pipelines.write(("step:b timeout:1", source), ("step:c", "z = y"))
    outcome = pipelines.run(path)
    assert pipelines.states(outcome) == {"b": "failed", "c": "upstream_failed"}
    error = pipelines.step(outcome, "b").error
    assert (error["type"], error["message"]) == (
        "StepTimeout",
        "it took longer than 1 s, and was ended",
    )
    wait_until_nobody_is_in(tmp_path)
    with pipelines.store() as store:
        assert store.get_run(pipelines.step(outcome, "b").run).status == "failed"


def test_children_that_a_step_leaves_do_not_outlive_it(pipelines, tmp_path):
    source = f"""
import subprocess
child = subprocess.Popen(["sleep", "1000"], start_new_session=True, cwd={str(tmp_path)!r})
y = child.pid
"""
    path = pipelines.write(("step:b output:y", source))
    outcome = pipelines.run(path)
    assert outcome.status == "finished"
    assert not Path(f"/proc/{outcome.values('b', 'y')}").exists()
    assert processes_in(tmp_path) == []


def test_a_kept_value_that_was_changed_is_made_again(pipelines):
    path = pipelines.write(("step:a", "x = [1, 2, 3]"), ("step:b output:y", "y = sum(x)"))
    first = pipelines.run(path)
    [unit] = first.results["a"][0].units
    for file in unit.files:
        hexes = file.digest.removeprefix("sha256:")
        blob = pipelines.location / "blobs" / hexes[:2] / hexes[2:]
        blob.chmod(0o600)
        blob.write_bytes(b"[9, 9, 9]"[: file.size_bytes].ljust(file.size_bytes))
    outcome = pipelines.run(path, force=("b",))
    assert pipelines.states(outcome) == {"a": "done", "b": "done"}
    assert outcome.values("b", "y") == 6
    assert any("a" in seen.text for seen in pipelines.seen if seen.what == "remark")


def test_a_kernel_that_is_not_there_fails_its_step(pipelines):
    path = pipelines.write(("step:a", "x = 1"), ("step:b kernel:nosuch", "y = 2"))
    outcome = pipelines.run(path)
    step = pipelines.step(outcome, "b")
    if step.state == "failed":
        assert "nosuch" in step.error["message"]


def notebook_with(tmp_path, source: str, stderr: str, tags=()) -> Path:
    cell = {
        "cell_type": "code",
        "id": "c",
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": [{"output_type": "stream", "name": "stderr", "text": stderr}],
    }
    path = tmp_path / "executed.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}}))
    return path


@pytest.mark.parametrize(
    ("source", "stderr", "tags", "message"),
    [
        ("%nope", "UsageError: Line magic function `%nope` not found.\n", (), "Line magic"),
        ("x = %nope 1", "UsageError: no\n", (), "no"),
        ("x = 1\n%%nope", "warn\nUsageError: Cell magic\n", (), "Cell magic"),
        ("print(1)", "UsageError: said by the cell itself\n", (), None),
        ("%nope", "a warning about UsageError: no\n", (), None),
        ("%nope", "UsageError: no\n", ("raises-exception",), None),
    ],
)
def test_a_magic_that_only_complains_is_found(tmp_path, source, stderr, tags, message):
    found = silent_failure(notebook_with(tmp_path, source, stderr, tags))
    assert (found is None) == (message is None)
    assert found is None or found["message"].startswith(message)


def test_a_cell_that_prints_without_end_is_cut_and_says_so():
    from mlops_nb.papermill_engine.capping import StreamCap

    cap = StreamCap(limit=10)

    def printed(text: str, cell: int = 0) -> str | None:
        found = cap.allowed(
            {"msg_type": "stream", "content": {"name": "stdout", "text": text}}, cell
        )
        return None if found is None else found["content"]["text"]

    assert printed("12345678") == "12345678"
    cut = printed("9abcdef")
    assert cut.startswith("9a\n… more than 10 letters were printed")
    assert printed("more") is None
    assert printed("other cell", cell=1) == "other cell"
    result = {"msg_type": "execute_result", "content": {}}
    assert cap.allowed(result, 0) is result


def test_a_step_that_prints_without_end_stays_within_bounds(pipelines):
    path = pipelines.write(("step:a timeout:3", "while True:\n    print('x' * 10_000)"))
    outcome = pipelines.run(path)
    step = pipelines.step(outcome, "a")
    assert step.error["type"] == "StepTimeout"
    assert Path(step.notebook).stat().st_size < 30_000_000
