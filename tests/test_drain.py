"""Rules of draining: every event reaches the store once, and a dead owner's runs are told so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mlops_nb import model
from mlops_nb.store import Store
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.intake.launching import LOCATION_VARIABLE, start_drainer
from mlops_nb.store.spool import Spool, identity, read_events
from mlops_nb.store.spool.codec import decode
from mlops_nb.store.spool.folders import find_spools
from mlops_nb.store.spool.heads import HEADS_FILE, read_group_heads
from mlops_nb.store.spool.homes import DRAIN_LOCK, fallback_root
from mlops_nb.store.spool.owner import LEASE_S, OWNER_FILE
from mlops_nb.store.spool.segments import FRAME

RUN = "0123456789abcdef"
AT_NS = 1_700_000_000_000_000_000
PATIENCE_S = 60
# A thousand records with such a key fill a segment.
LONG_KEY = "loss." + "k" * 4_200


@pytest.fixture
def spool(folder, state_dir, store):
    opened = Spool.create(folder / "spool", "s", state_dir=state_dir)
    opened.append(model.SessionStarted("s", AT_NS, "host", os.getpid(), "3.11", identity()))
    opened.append(model.RunStarted(RUN, AT_NS, "churn", "interactive", session="s", group="g"))
    yield opened
    opened.close()


def log_steps(spool, steps, key="loss"):
    for step in steps:
        spool.append_metric(RUN, key, float(step), step, AT_NS + step)


def logged_steps(store, run=RUN, key="loss"):
    return list(store.series(run, key).steps)


def wait_until(is_so):
    """Wait for what another process does; how long that takes is no rule of ours."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


# --- once ---------------------------------------------------------------------------------------


def test_a_reader_sees_everything_appended_before_it_looks(spool, store, state_dir):
    seen = []
    for last in range(1, 6):
        log_steps(spool, range((last - 1) * 1_000, last * 1_000))
        drain(store, state_dir=state_dir)
        seen.append(len(logged_steps(store)))
    assert seen == [1_000, 2_000, 3_000, 4_000, 5_000]


def test_draining_gives_the_number_of_events_it_took_in(spool, store, state_dir):
    log_steps(spool, range(10))
    assert [drain(store, state_dir=state_dir) for _ in range(2)] == [12, 0]


def test_events_of_many_segments_come_in_and_their_files_go(spool, store, state_dir):
    log_steps(spool, range(5_000), LONG_KEY)
    drain(store, state_dir=state_dir)
    assert logged_steps(store, key=LONG_KEY) == list(range(5_000))
    # The one being written, and at most one made ahead of it.
    assert len(list(spool.folder.glob("*.segment"))) <= 2


def test_a_spool_whose_removal_was_missed_is_not_taken_in_twice(spool, store, state_dir, tmp_path):
    log_steps(spool, range(100))
    spool.append(model.SessionEnded("s", AT_NS + 200))
    spool.close()
    # As after a crash between the commit and the removal.
    shutil.copytree(spool.folder, tmp_path / "copy")
    drain(store, state_dir=state_dir)
    shutil.copytree(tmp_path / "copy", spool.folder)
    assert drain(store, state_dir=state_dir) == 0
    assert logged_steps(store) == list(range(100))
    assert not spool.folder.exists()


def test_two_readers_at_once_take_each_event_in_once(spool, folder, store, state_dir):
    log_steps(spool, range(20_000))
    counts = []

    def read():
        with Store.open(folder) as own:
            counts.append(drain(own, timeout_s=PATIENCE_S, state_dir=state_dir))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sum(counts) == 20_002
    assert logged_steps(store) == list(range(20_000))


def test_an_event_that_the_store_cannot_take_is_put_aside_and_keeps_no_other_out(
    spool, store, folder, state_dir
):
    log_steps(spool, range(100))
    spool.append(model.ParamLogged(RUN, ["no", "text"], 1, AT_NS))
    spool.append(model.ParamLogged(RUN, "C", 1.5, AT_NS))
    log_steps(spool, range(100, 200))
    drain(store, state_dir=state_dir)
    run = store.get_run(RUN)
    assert logged_steps(store) == list(range(200))
    assert {key: param.value for key, param in run.params.items()} == {"C": 1.5}
    (aside,) = (folder / "rejected").iterdir()
    assert decode(aside.read_bytes()[FRAME.size :]).key == ["no", "text"]
    assert drain(store, state_dir=state_dir) == 0


def test_when_the_store_can_take_nothing_the_spool_is_kept(spool, store, state_dir):
    for n in range(300):
        spool.append(model.ParamLogged(RUN, ["no", "text"], n, AT_NS))
    spool.append(model.SessionEnded("s", AT_NS))
    spool.close()
    for _ in range(5):
        drain(store, state_dir=state_dir)
    kept = [event for _, event in read_events(spool.folder)]
    assert len(kept) == 303
    assert store.get_run(RUN).status == "running"


def test_a_locked_spool_is_left_to_who_has_it(spool, store, state_dir):
    log_steps(spool, range(10))
    with (spool.folder / DRAIN_LOCK).open("r+") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        assert drain(store, timeout_s=0.05, state_dir=state_dir) == 0
    assert drain(store, state_dir=state_dir) == 12


def test_a_staged_file_becomes_bytes_of_the_store(spool, store, state_dir, tmp_path):
    file = tmp_path / "plot.png"
    file.write_bytes(b"picture")
    name = spool.stage(file)
    event = model.ArtifactLogged(RUN, "plot", "figure", "image/png", AT_NS, staged=name)
    spool.append(event)
    drain(store, state_dir=state_dir)
    (artifact,) = store.get_run(RUN).artifacts
    assert store.read_blob(artifact.digest) == b"picture"
    assert not (spool.folder / name).exists()


def test_a_spool_in_the_state_folder_is_found(folder, state_dir, store):
    (folder / "spool").write_text("in the way")
    spool = Spool.create(folder / "spool", "s", state_dir=state_dir)
    log_steps(spool, range(10))
    spool.close()
    assert spool.folder.is_relative_to(state_dir)
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(10))
    assert not spool.folder.exists()


def test_a_spool_that_moved_is_taken_in_in_its_order(spool, folder, state_dir, store):
    steps = 4_000
    log_steps(spool, range(steps // 2), LONG_KEY)
    (folder / "spool").rename(folder / "away")
    (folder / "spool").write_text("in the way")
    log_steps(spool, range(steps // 2, steps), LONG_KEY)
    (folder / "spool").unlink()
    (folder / "away").rename(folder / "spool")
    moved = fallback_root(folder / "spool", state_dir) / spool.id
    assert list(moved.glob("*.segment"))
    drain(store, state_dir=state_dir)
    spool.append(model.SessionEnded("s", AT_NS + 2 * steps))
    spool.close()
    drain(store, state_dir=state_dir)
    assert logged_steps(store, key=LONG_KEY) == list(range(steps))
    assert not moved.exists()
    assert not spool.folder.exists()


def test_a_spool_of_another_store_is_left_alone(spool, store, state_dir, tmp_path):
    log_steps(spool, range(10))
    with Store.open(tmp_path / "other" / ".mlops", create=True) as other:
        assert drain(other, state_dir=state_dir) == 0
    assert drain(store, state_dir=state_dir) == 12


# --- the end of a session -----------------------------------------------------------------------

_SESSION = """
import os, sys, time
from pathlib import Path
from mlops_nb import model
from mlops_nb.store.intake.launching import start_drainer
from mlops_nb.store.spool import Spool, identity
folder, name = Path(sys.argv[1]), sys.argv[2]
steps, with_drainer = int(sys.argv[3]), sys.argv[4] == "drainer"
spool = Spool.create(folder / "spool", name, state_dir=folder.parent / "state")
now = time.time_ns
spool.append(model.SessionStarted(name, now(), "host", os.getpid(), "3.11", identity()))
if with_drainer:
    start_drainer(spool, str(folder))
    print(spool.drainer.pid, flush=True)
execution = f"{name}-1"
spool.append(model.ExecutionStarted(execution, name, 1, now(), "fit()", "xxh3:0"))
run = f"{name:0>16}"
spool.append(model.RunStarted(run, now(), "churn", "interactive", session=name, group=name))
for step in range(steps):
    spool.append_metric(run, "loss", float(step), step, now(), execution)
    print(step, flush=True)
"""
_AND_END = """
spool.append(model.ExecutionEnded(execution, now(), "ok", 1.0, 1.0))
spool.append(model.SessionEnded(name, now()))
spool.close()
"""
_AND_WAIT = """
sys.stdin.read()
"""


def start_session(folder, name, steps, *, drainer=False, then=_AND_WAIT):
    arguments = [str(folder), name, str(steps), "drainer" if drainer else "alone"]
    return subprocess.Popen(
        [sys.executable, "-c", _SESSION + then, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_lines(process, count):
    return [process.stdout.readline() for _ in range(count)]


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_run_of_a_living_session_stays_running(folder, store, state_dir):
    with start_session(folder, "a", 5) as process:
        read_lines(process, 5)
        drain(store, state_dir=state_dir)
        assert store.get_run(f"{'a':0>16}").status == "running"
        process.stdin.close()


def test_a_killed_session_is_lost_at_the_next_look(folder, store, state_dir):
    with start_session(folder, "a", 5) as process:
        read_lines(process, 5)
        process.kill()
        process.wait()
        drain(store, state_dir=state_dir)
    run = store.get_run(f"{'a':0>16}")
    (execution,) = store.session_executions("a")
    assert (run.status, execution.status) == ("lost", "lost")
    assert run.error["execution"] == execution.id
    assert run.ended_at is not None
    assert logged_steps(store, run.id) == list(range(5))
    assert list((folder / "spool").iterdir()) == []


def test_a_session_that_ended_well_is_finished_and_its_spool_removed(folder, store, state_dir):
    with start_session(folder, "a", 5, then=_AND_END) as process:
        process.communicate()
    drain(store, state_dir=state_dir)
    assert store.get_run(f"{'a':0>16}").status == "finished"
    assert store.session("a").ended_at is not None
    assert list((folder / "spool").iterdir()) == []


@pytest.mark.parametrize("reports", [1, 300, 3_000])
def test_what_was_appended_before_a_kill_is_in_the_store_once(folder, store, state_dir, reports):
    with start_session(folder, "a", 10_000_000, drainer=True) as process:
        read_lines(process, 1 + reports)
        process.kill()
        reported = 1 + reports + len(process.stdout.read().split("\n")) - 1
    wait_until(lambda: not list((folder / "spool").iterdir()))
    drain(store, state_dir=state_dir)
    steps = logged_steps(store, f"{'a':0>16}")
    assert steps == list(range(len(steps)))
    # One append may have returned, and its report not have left the process.
    assert 0 <= len(steps) - (reported - 1) <= 1


def test_a_session_whose_spool_somebody_removed_is_lost_when_its_process_is_gone(
    folder, store, state_dir
):
    with start_session(folder, "a", 1) as process:
        read_lines(process, 1)
        drain(store, state_dir=state_dir)
        shutil.rmtree(folder / "spool" / "a")
        drain(store, state_dir=state_dir)
        assert store.get_run(f"{'a':0>16}").status == "running"
        process.kill()
        process.wait()
        drain(store, state_dir=state_dir)
    assert store.get_run(f"{'a':0>16}").status == "lost"


def test_the_spool_of_an_owner_on_a_machine_asleep_is_kept(folder, store, state_dir):
    with start_session(folder, "a", 5) as process:
        read_lines(process, 5)
        process.kill()
    owner = folder / "spool" / "a" / OWNER_FILE
    owner.write_text(
        json.dumps({**json.loads(owner.read_text()), "host": "another", "boot": "another"})
    )
    long_ago = time.time() - LEASE_S - 1
    os.utime(owner, (long_ago, long_ago))
    drain(store, state_dir=state_dir)
    assert store.get_run(f"{'a':0>16}").status == "lost"
    assert owner.exists()


def test_a_torn_tail_is_reported_and_the_rest_taken_in(folder, store, state_dir, caplog):
    with start_session(folder, "a", 10) as process:
        read_lines(process, 10)
        process.kill()
    spool_folder = folder / "spool" / "a"
    positions = [position for position, _ in read_events(spool_folder)]
    (segment,) = spool_folder.glob("*.segment")
    with segment.open("rb+") as file:
        file.seek(positions[-2].offset + 12)
        file.write(b"\xff\xff")
    drain(store, state_dir=state_dir)
    assert logged_steps(store, f"{'a':0>16}") == list(range(9))
    assert "torn_bytes" in caplog.text
    assert not spool_folder.exists()


_AND_FILL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
for step in range(steps, 8_000):
    spool.append_metric(run, "loss" + "k" * 1_000, float(step), step, now())
os.kill(os.getpid(), 9)
"""


def test_a_run_says_how_many_records_were_lost_beside_a_full_disk(folder, store, state_dir):
    with start_session(folder, "a", 1, then=_AND_FILL) as process:
        process.communicate()
    drain(store, state_dir=state_dir)
    run = store.get_run(f"{'a':0>16}")
    assert run.status == "lost"
    kept = sum(metric.count for metric in run.metrics.values())
    assert int(run.tags["records_lost"]) == 8_000 - kept > 0


# --- the child process --------------------------------------------------------------------------


def test_the_child_takes_in_what_is_appended_and_marks_a_killed_session(folder, store):
    with start_session(folder, "a", 50, drainer=True) as process:
        child = int(read_lines(process, 51)[0])
        wait_until(lambda: logged_steps(store, f"{'a':0>16}") == list(range(50)))
        process.kill()
        process.wait()
    wait_until(lambda: store.get_run(f"{'a':0>16}").status == "lost")
    wait_until(lambda: not is_running(child))
    assert list((folder / "spool").iterdir()) == []


def test_the_child_ends_after_a_session_that_ended_well(folder, store):
    with start_session(folder, "a", 50, drainer=True, then=_AND_END) as process:
        child = int(process.communicate()[0].split("\n")[0])
    wait_until(lambda: not is_running(child))
    assert store.get_run(f"{'a':0>16}").status == "finished"


def test_an_interrupt_of_the_kernel_does_not_reach_the_child(folder, store):
    with start_session(folder, "a", 1, drainer=True) as process:
        child = int(read_lines(process, 2)[0])
        assert os.getpgid(child) != os.getpgid(process.pid)
        assert os.getsid(child) == child
        process.kill()
    wait_until(lambda: not is_running(child))


def test_a_spool_has_one_child(spool, folder, state_dir):
    start_drainer(spool, str(folder))
    child = spool.drainer
    start_drainer(spool, str(folder))
    assert spool.drainer is child
    wait_until(lambda: (spool.folder / "drainer.lock").exists() and has_started(spool))
    # Another one, started by whoever, sees that and leaves.
    second = subprocess.run(child.args, env=_child_environment(folder), timeout=60, check=False)
    assert second.returncode == 0
    assert child.poll() is None
    spool.close()
    assert child.wait(PATIENCE_S) == 0


def has_started(spool):
    return (spool.folder / HEADS_FILE).exists()


def _child_environment(folder):
    return {**os.environ, LOCATION_VARIABLE: str(folder)}


def test_the_child_ends_when_the_store_was_removed(spool, folder):
    start_drainer(spool, str(folder))
    wait_until(lambda: has_started(spool))
    wait_until(lambda: is_removed(folder))
    assert spool.drainer.wait(PATIENCE_S) == 0
    assert not folder.exists()


def is_removed(folder) -> bool:
    """Remove a folder into which somebody may be writing just now."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def test_the_store_of_a_child_is_not_on_its_command_line(spool, folder):
    start_drainer(spool, f"{folder}")
    assert str(folder) not in [str(argument) for argument in spool.drainer.args]
    spool.close()
    spool.drainer.wait(PATIENCE_S)


def test_the_child_leaves_the_latest_attempt_of_each_group_for_the_kernel(spool, folder, store):
    store.apply(
        [
            model.RunStarted("a" * 16, AT_NS, "old", "interactive", group="g1"),
            model.RunStarted("b" * 16, AT_NS + 1, "new", "interactive", group="g1"),
            model.ParamLogged("b" * 16, "C", 1.5, AT_NS),
            model.ParamLogged("b" * 16, "seed", 2**80, AT_NS),
            model.MetricLogged("b" * 16, "auc", 0.9, None, AT_NS),
            model.DataUsed("b" * 16, "X", "train", "DataFrame", "nbfp1:0", "exact", AT_NS),
        ]
    )
    assert read_group_heads(spool.folder) == {}
    start_drainer(spool, str(folder))
    wait_until(lambda: has_started(spool))
    head = read_group_heads(spool.folder)["g1"]
    assert (head.id, head.attempt) == ("b" * 16, 2)
    assert {key: param.value for key, param in head.params.items()} == {
        "C": 1.5,
        "seed": str(2**80),
    }
    assert {key: metric.value for key, metric in head.metrics.items()} == {"auc": 0.9}
    assert [(use.name, use.digest) for use in head.data] == [("X", "nbfp1:0")]
    spool.close()
    spool.drainer.wait(PATIENCE_S)
    # The next kernel may run its first cell before its own child has looked.
    assert read_group_heads(spool.root / "the next session")["g1"].attempt == 2


# --- all at once ----------------------------------------------------------------------------------


def test_eight_sessions_beside_readers_lose_and_double_nothing(folder, store, state_dir):
    names = [f"session{n}" for n in range(8)]
    sessions = [
        start_session(folder, name, 3_000, drainer=n % 2 == 0, then=_AND_END)
        for n, name in enumerate(names)
    ]
    is_over = threading.Event()

    def read():
        with Store.open(folder) as own:
            while not is_over.is_set():
                drain(own, timeout_s=PATIENCE_S, state_dir=state_dir)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for session in sessions:
        session.communicate()
        assert session.returncode == 0
    is_over.set()
    for reader in readers:
        reader.join()
    drain(store, timeout_s=PATIENCE_S, state_dir=state_dir)
    for name in names:
        run = store.get_run(f"{name:0>16}")
        assert run.status == "finished"
        assert run.metrics["loss"].count == 3_000
        assert logged_steps(store, run.id) == list(range(3_000))
    wait_until(lambda: not find_spools(folder / "spool", state_dir))


def test_killed_sessions_are_lost_and_others_are_not(folder, store, state_dir):
    with (
        start_session(folder, "dies", 10) as dies,
        start_session(folder, "lives", 10) as lives,
    ):
        read_lines(dies, 10), read_lines(lives, 10)
        dies.send_signal(signal.SIGKILL)
        dies.wait()
        drain(store, state_dir=state_dir)
        statuses = {run.session: run.status for run in store.runs()}
        lives.stdin.close()
    assert statuses == {"dies": "lost", "lives": "running"}


# --- stores that cannot be written ----------------------------------------------------------------

_DRAIN_AS_NOBODY = """
import os, sys
from pathlib import Path
from mlops_nb.store.database import Store
from mlops_nb.store.intake.drain import drain
import mlops_nb.expressions
root, user = Path(sys.argv[1]), int(sys.argv[2])
if os.getuid() == 0:
    os.setgid(user)
    os.setuid(user)
with Store.open(root / ".mlops") as store:
    print(drain(store, state_dir=root / "state"))
"""


def test_a_reader_that_may_not_write_takes_nothing_and_raises_nothing():
    user = 65_534 if os.getuid() == 0 else os.getuid()
    with tempfile.TemporaryDirectory() as name:  # above `tmp_path` nobody else may look
        root = Path(name)
        root.chmod(0o755)
        with Store.open(root / ".mlops", create=True) as store:
            spool = Spool.create(root / ".mlops" / "spool", "s", state_dir=root / "state")
            log_steps(spool, range(10))
            for path in (root / ".mlops").rglob("*"):
                path.chmod(path.stat().st_mode | 0o044 | (0o011 if path.is_dir() else 0))
            (root / ".mlops").chmod(0o555)
            done = subprocess.run(
                [sys.executable, "-c", _DRAIN_AS_NOBODY, name, str(user)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd="/",
            )
            (root / ".mlops").chmod(0o755)
            assert done.stdout == "0\n", done.stderr
            assert drain(store, state_dir=root / "state") == 10
            spool.close()
