"""Schedules as people use them: commands, magic, function, and real notebooks that run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from conftest import Kernel
from test_scheduler import until

import mlops_nb as mn
from mlops_nb.cli import main
from mlops_nb.schedule.making import keep_schedule, new_schedule
from mlops_nb.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SLOW = "import time\nopen('ran', 'a').write('x')\ntime.sleep(3)\nopen('ended', 'a').write('x')"


def write_notebook(path: Path, code: str = "print(C)") -> Path:
    cells = [
        {"id": "a", "metadata": {"tags": ["parameters"]}, "source": "C = 0.5"},
        {"id": "b", "metadata": {}, "source": code},
    ]
    code_cells = [
        {**cell, "cell_type": "code", "outputs": [], "execution_count": None} for cell in cells
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": code_cells, "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def project(tmp_path, monkeypatch, own_settings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Europe/Brussels")
    (tmp_path / ".git").mkdir()
    write_notebook(tmp_path / "train.ipynb")
    return tmp_path


@pytest.fixture
def cli(project, capfd):
    """Call the command line in this process; gives (exit code, output, errors)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    return call


def add_due(project: Path, code: str, **given) -> str:
    """Keep a schedule that is due now."""
    path = write_notebook(project / "slow.ipynb", code)
    with Store.open(project / ".mlops", create=True) as store:
        made = new_schedule(path, "@yearly", **given)
        now_ns = time.time_ns() // 10**9 * 10**9
        return keep_schedule(store, replace(made, next_at_ns=now_ns)).id


def test_a_schedule_is_made_listed_paused_resumed_and_removed(cli, project):
    code, out, _ = cli("schedule", "add", "train.ipynb", "--cron", "0 6 * * 1", "-p", "C=0.7")
    assert code == 0
    assert "schedule train" in out
    assert "At 06:00 on Monday, by the clock of Europe/Brussels" in out
    assert out.count("06:00 +0") == 5
    assert "with C=0.7" in out
    assert "never ran" in cli("schedule", "list")[1]
    assert "paused" in cli("schedule", "pause", "train")[1]
    assert "is paused already" in cli("schedule", "pause", "train")[1]
    assert cli("schedule", "list", "--format", "json")[1].count('"paused": true') == 1
    assert "06:00" in cli("schedule", "resume", "train")[1]
    document = json.loads(cli("schedule", "next", "train", "-n", "2", "--format", "json")[1])
    assert [at[10:] for at in document["next_local"]] == ["T06:00:00+01:00"] * 2
    assert "removed" in cli("schedule", "rm", document["id"][:6])[1]
    assert "No schedules yet" in cli("schedule", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "train.ipynb", "--cron", "0 25 * * *"), '"25" does not fit the hour'),
        (("add", "train.ipynb", "--cron", "@daily", "--tz", "brussels"), "Europe/Brussels"),
        (("add", "train.ipynb", "--cron", "@daily", "-p", "D=1"), 'no parameter "D"'),
        (("add", "train.ipynb", "--cron", "@daily", "-p", "C"), "-p NAME=VALUE"),
        (("add", "gone.ipynb", "--cron", "@daily"), "no such notebook"),
        (("next", "gone"), "mlops-nb schedule list"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_two(cli, arguments, says):
    cli("schedule", "add", "train.ipynb", "--cron", "@daily", "--name", "there")
    code, _, err = cli("schedule", *arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_what_is_shown_is_safe_in_html_and_markdown(project):
    from mlops_nb.display.schedules import view_schedules

    with Store.open(project / ".mlops", create=True) as store:
        made = new_schedule(project / "train.ipynb", "@daily", name="<script>alert(1)</script>")
        store.save_schedule(made)
        view = view_schedules(store)
    assert "<script>" not in view.html
    assert "<script>" not in view.markdown


def test_a_schedule_with_a_bad_zone_is_listed_with_what_is_wrong(cli, project):
    with Store.open(project / ".mlops", create=True) as store:
        made = new_schedule(project / "train.ipynb", "@daily")
        store.save_schedule(replace(made, zone="Mars/Phobos"))
    code, out, _ = cli("schedule", "list")
    assert code == 0
    assert "unknown zone" in out
    assert "Mars/Phobos" in cli("schedule", "next", "train")[1]


def test_the_function_does_what_the_command_does(cli, project):
    view = mn.schedule("0 6 * * 1", "train.ipynb", tz="Europe/Brussels", params={"C": 0.7})
    assert "At 06:00 on Monday" in view.text
    assert cli("schedule", "list", "--format", "json")[1].count('"C": 0.7') == 1
    assert [one["name"] for one in mn.schedules().document()["schedules"]] == ["train"]


def test_the_scheduler_runs_the_notebook_with_its_parameters(cli, project):
    id_ = add_due(project, "assert C == 0.75\nprint(C)", params={"C": "0.75"})
    code, _, err = cli("scheduler", "--once")
    assert code == 0, err
    with Store.open(project / ".mlops") as store:
        store.refresh()
        (firing,) = store.firings(id_)
        run = store.get_run(firing.run)
    assert (firing.state, run.status, run.params["C"].value) == ("done", "finished", 0.75)
    assert run.tags["schedule"] == "slow"


def test_a_cell_that_fails_makes_the_firing_fail_with_its_error(cli, project):
    id_ = add_due(project, "raise ValueError('no rows')")
    code, _, err = cli("scheduler", "--once")
    assert code == 3, err
    with Store.open(project / ".mlops") as store:
        (firing,) = store.firings(id_)
    assert firing.state == "failed"
    assert "ValueError" in firing.text
    assert "no rows" in firing.text
    assert "ValueError" in cli("schedule", "next", "slow")[1]


def test_a_schedule_runs_now_when_it_is_asked_to(cli, project):
    cli("schedule", "add", "train.ipynb", "--cron", "@yearly")
    cli("schedule", "pause", "train")
    code, out, err = cli("schedule", "run-now", "train")
    assert code == 0, err
    assert "✓ done" in out


def start_scheduler(project: Path, *more: str) -> subprocess.Popen:
    log = project / f"scheduler-{time.time_ns()}.log"
    with log.open("wb") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "mlops_nb", "scheduler", "--poll", "0.5", *more],
            cwd=project,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    child.log = log
    return child


def firing_of(project: Path, id_: str):
    with Store.open(project / ".mlops") as store:
        found = store.firings(id_)
    return found[0] if found else None


def test_a_notebook_goes_on_when_its_scheduler_is_killed_and_another_waits_for_it(project):
    id_ = add_due(project, SLOW)
    first = start_scheduler(project)
    try:
        until((project / "ran").exists)
        first.kill()
        first.wait(10)
        second = start_scheduler(project)
        try:
            until(lambda: firing_of(project, id_).state == "done")
        finally:
            second.terminate()
            second.wait(30)
    finally:
        first.kill()
    firing = firing_of(project, id_)
    assert "went on by itself" in firing.text
    assert firing.run
    assert (project / "ran").read_text() == (project / "ended").read_text() == "x"


def test_a_scheduler_that_is_to_stop_at_once_interrupts_what_runs(project):
    id_ = add_due(project, SLOW.replace("3", "60"))
    child = start_scheduler(project, "--now")
    try:
        until((project / "ran").exists)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0, child.log.read_text()
    finally:
        child.kill()
    firing = firing_of(project, id_)
    assert firing.state == "failed"
    assert "told to stop" in firing.text
    with Store.open(project / ".mlops") as store:
        store.refresh()
        assert store.get_run("@-1").status == "interrupted"
    assert not (project / "ended").exists()


def test_the_magic_schedules_the_notebook_in_front(project, tmp_path_factory):
    os.environ.pop("PYTHONPATH", None)
    kernel = Kernel(sys.executable, project, tmp_path_factory.mktemp("home"))
    try:
        kernel.run("%load_ext mlops_nb")
        reply = kernel.run(
            '%mlops_schedule "0 6 * * 1" --tz Europe/Brussels -p C=0.7 --notebook train.ipynb'
        )
        assert "At 06:00 on Monday, by the clock of Europe/Brussels" in reply.result
        bundle = reply.bundles("execute_result")[0]
        assert "application/vnd.mlops-nb.schedules.v1+json" in bundle
        assert "train" in kernel.run("%mlops_schedule").result
        assert "does not fit the hour" in kernel.run("%mlops_schedule 0 66 * * 1").error
        assert "path" in kernel.run("%mlops_schedule @daily --name other").error
    finally:
        kernel.close()
