"""Jobs in processes of their own: what they find, how they end, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops_nb.engines import Ended, Job, NoSuchEngine, Said, open_engine
from mlops_nb.engines.local import LocalEngine
from mlops_nb.engines.processes import descendants

TESTS = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(TESTS), "PATH": os.environ["PATH"], "MARK": "mine"}


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with open_engine("local", preload=["engine_jobs", "json.tool", "no_such_module"]) as opened:
        yield opened


def job(name: str, function: str, told=None, **more) -> Job:
    more.setdefault("folder", "/")
    return Job(name, f"engine_jobs:{function}", told or {}, ENVIRONMENT, **more)


def run_all(engine, *jobs, timeout_s=60) -> tuple[dict[str, Ended], list[Said]]:
    """Start jobs and wait for their ends."""
    for one in jobs:
        engine.start(one)
    ended, said = {}, []
    deadline = time.monotonic() + timeout_s
    while len(ended) < len(jobs):
        assert time.monotonic() < deadline, f"only {sorted(ended)} have ended"
        for message in engine.wait(1):
            if isinstance(message, Ended):
                ended[message.job] = message
            else:
                said.append(message)
    return ended, said


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(is_so, timeout_s=20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.02)
    return False


def first_word(engine, name: str) -> dict:
    """Wait for the first thing that a job says."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message in engine.wait(1):
            assert isinstance(message, Said), message
            if message.job == name:
                return dict(message.content)
    raise AssertionError(f"{name} has said nothing")


def test_a_job_has_a_process_a_session_a_folder_and_variables_of_its_own(engine, tmp_path):
    ended, said = run_all(engine, job("a", "place", folder=str(tmp_path)))
    found = ended["a"].content
    assert said == [Said("a", {"said": "first"})]
    assert found["pid"] == found["group"] == found["session"] == ended["a"].pid
    assert found["pid"] not in {os.getpid(), engine.pid}
    assert found["folder"] == str(tmp_path)
    assert {k: v for k, v in found["variables"].items() if k in ENVIRONMENT} == ENVIRONMENT
    assert "HOME" not in found["variables"]


def test_a_job_is_forked_from_one_thread_with_its_modules_loaded(engine):
    ended, _ = run_all(engine, job("a", "place"))
    assert ended["a"].content["threads"] == 1
    assert ended["a"].content["modules"] == ["json.tool"]
    assert len(list(Path(f"/proc/{engine.pid}/task").iterdir())) == 1


def test_two_jobs_draw_other_random_numbers(engine):
    ended, _ = run_all(engine, job("a", "place"), job("b", "place"))
    assert ended["a"].content["random"] != ended["b"].content["random"]


def test_many_jobs_at_once_each_have_their_answer(engine):
    jobs = [job(f"job-{n}", "answer", {"n": n}) for n in range(60)]
    ended, _ = run_all(engine, *jobs)
    assert {name: one.content for name, one in ended.items()} == {
        f"job-{n}": {"n": n} for n in range(60)
    }
    assert not any(one.problem for one in ended.values())


def test_all_that_a_job_says_arrives_in_order_before_its_end(engine):
    ended, said = run_all(engine, job("a", "talk", {"lines": 300, "length": 5_000}))
    assert [message.content["number"] for message in said] == list(range(300))
    assert ended["a"].content == {"total": 300}


def test_what_a_job_writes_goes_to_its_log(engine, tmp_path):
    run_all(engine, job("a", "write", log=str(tmp_path / "a.log")))
    written = (tmp_path / "a.log").read_text()
    assert sorted(written.splitlines()) == ["and this", "to the log"]


@pytest.mark.parametrize(
    ("function", "told", "problem", "error"),
    [
        pytest.param("fail", {}, "error", "ValueError", id="it raises"),
        pytest.param("refuse", {}, "error", "CorruptValue", id="it raises an error of ours"),
        pytest.param("kill_itself", {}, "killed", "ProcessKilled", id="it is killed"),
        pytest.param("leave", {"code": 5}, "killed", "ProcessEnded", id="it exits"),
        pytest.param("no_such", {}, "error", "AttributeError", id="there is no such function"),
    ],
)
def test_a_job_that_does_not_come_to_its_end_says_why(engine, function, told, problem, error):
    ended, _ = run_all(engine, job("a", function, told))
    assert (ended["a"].content, ended["a"].problem) == (None, problem)
    assert ended["a"].error["type"] == error


def test_the_engine_goes_on_after_a_job_that_was_killed(engine):
    run_all(engine, job("a", "kill_itself"))
    ended, _ = run_all(engine, job("b", "answer", {"n": 1}))
    assert ended["b"].content == {"n": 1}


def test_a_job_whose_time_is_up_is_ended(engine):
    ended, _ = run_all(engine, job("a", "sleep", {"s": 1_000}, timeout_s=0.2))
    assert (ended["a"].content, ended["a"].problem) == (None, "timeout")
    assert not is_alive(ended["a"].pid)


def test_a_job_that_takes_no_notice_is_killed(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with LocalEngine(preload=["engine_jobs"], grace_s=0.3) as engine:
        engine.start(job("a", "ignore_everything", {"s": 1_000}))
        pid = first_word(engine, "a")["pid"]
        engine.cancel("a")
        ended, _ = run_all(engine, job("b", "answer"))
        while "a" not in ended:
            ended |= {message.job: message for message in engine.wait(1)}
    assert ended["a"].problem == "cancelled"
    assert not is_alive(pid)


@pytest.mark.parametrize("how", ["its end", "its timeout", "cancel"])
def test_nothing_that_a_job_has_started_outlives_it(engine, how):
    told = {"s": 0 if how == "its end" else 1_000}
    limit = 0.5 if how == "its timeout" else None
    engine.start(job("a", "leave_children", told, timeout_s=limit, spared=("spare-me",)))
    left = first_word(engine, "a")
    if how == "cancel":
        engine.cancel("a")
    ended, _ = run_all(engine, job("b", "answer"))
    while "a" not in ended:
        ended |= {message.job: message for message in engine.wait(1)}
    assert [pid for pid in left["left"] if is_alive(pid)] == []
    assert is_alive(left["spared"])


def test_what_somebody_else_has_started_for_a_job_ends_with_it(engine):
    marked = {**ENVIRONMENT, "TASK": "of-this-job"}
    mine = subprocess.Popen(["sleep", "1000"], env=marked, start_new_session=True)
    other = subprocess.Popen(["sleep", "3"], env={**marked, "TASK": "of-this-job-2"})
    run_all(engine, job("a", "answer", mark="TASK=of-this-job"))
    assert mine.wait(timeout=30) == -signal.SIGKILL
    assert other.wait(timeout=30) == 0


def test_children_of_other_jobs_are_left_alone(engine):
    engine.start(job("a", "leave_children", {"s": 1_000}))
    left = first_word(engine, "a")["left"]
    run_all(engine, job("b", "kill_itself"), job("c", "answer"))
    assert all(is_alive(pid) for pid in left)


def test_a_closed_engine_leaves_nothing(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with LocalEngine(preload=["engine_jobs"]) as engine:
        engine.start(job("a", "leave_children", {"s": 1_000}))
        left = first_word(engine, "a")["left"]
        everything = [engine.pid, *descendants(engine.pid)]
    assert [pid for pid in (*left, *everything) if is_alive(pid)] == []


def test_a_killed_server_takes_its_jobs_with_it_and_says_so(engine):
    engine.start(job("a", "sleep", {"s": 1_000}))
    pid = first_word(engine, "a")["pid"]
    os.kill(engine.pid, signal.SIGKILL)
    [ended] = engine.wait(30)
    assert (ended.job, ended.problem, ended.error["type"]) == ("a", "killed", "EngineDied")
    assert wait_until(lambda: not is_alive(pid))


def test_an_engine_whose_server_was_killed_starts_another(engine):
    engine.start(job("a", "sleep", {"s": 1_000}))
    first_word(engine, "a")
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait(30)
    ended, _ = run_all(engine, job("b", "answer", {"n": 2}))
    assert ended["b"].content == {"n": 2}


def test_a_killed_driver_leaves_nothing():
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_engines import first_word, job
from mlops_nb.engines.local import LocalEngine
os.environ["PYTHONPATH"] = sys.argv[1]
engine = LocalEngine(preload=["engine_jobs"])
engine.start(job("a", "leave_children", {"s": 1_000}))
print(engine.pid, *first_word(engine, "a")["left"], flush=True)
os.kill(os.getpid(), 9)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(TESTS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pids = [int(pid) for pid in ran.stdout.split()]
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert len(pids) == 3
    assert wait_until(lambda: not any(map(is_alive, pids)))


def test_an_unknown_engine_is_refused_with_those_that_there_are():
    with pytest.raises(NoSuchEngine, match=r'no engine "slurm"\. There are: local'):
        open_engine("slurm")
