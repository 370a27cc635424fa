"""Rules of the spool: what was appended is there, once and in order, whatever happens next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import msgpack
import pytest
from spool_children import kill, run_child, start_writer, state_seen_from_outside

from mlops_nb import model
from mlops_nb.store.spool import Spool, fallback_root, read_events
from mlops_nb.store.spool.segments import (
    SEGMENT_BYTES,
    Damage,
    SpoolPosition,
    SpoolReader,
    spool_id,
)

RUN = "0123456789abcdef"
AT_NS = 1_700_000_000_000_000_000


@pytest.fixture
def spool(tmp_path):
    opened = Spool.create(tmp_path / "spool", "s", state_dir=tmp_path / "state")
    yield opened
    opened.close()


def metric(step):
    return model.MetricLogged(RUN, "loss", 0.5, step, AT_NS)


def append_steps(spool, steps):
    for step in steps:
        spool.append_metric(RUN, "loss", 0.5, step, AT_NS)


def reader_of(tmp_path):
    """Read the one spool that a process left, wherever its segments went."""
    folders = [tmp_path / "spool" / "s", *(tmp_path / "state" / "spool").glob("*/*")]
    return SpoolReader(spool_id(folders[0]), folders)


def events_in(reader):
    found = (event for _, event in reader.read(reader.position) if event is not None)
    return [event for event in found if not isinstance(event, Damage)]


def steps_in(spool):
    return [event.step for event in events_in(reader_of(spool.root.parent))]


# --- segments ---------------------------------------------------------------------------------


def test_an_event_that_only_a_newer_version_knows_does_not_hide_those_after_it(spool):
    spool.append(metric(0))
    spool._write(msgpack.packb([999, {"id": "?"}]))
    spool._write(msgpack.packb([12, RUN, "loss", 0.5, 1, AT_NS, None, "explicit", None, None, 9]))
    assert [event.step for _, event in read_events(spool.folder)] == [0, 1]


def test_a_metric_logged_the_short_way_is_the_event(spool):
    event = model.MetricLogged(RUN, "auc", 0.5, None, AT_NS, "e", "object", "f")
    spool.append(event)
    spool.append_metric(RUN, "auc", 0.5, None, AT_NS, "e", "object", "f")
    assert [event for _, event in read_events(spool.folder)] == [event, event]


def test_events_come_back_in_order_from_many_segments(spool):
    append_steps(spool, range(100_000))
    assert steps_in(spool) == list(range(100_000))
    assert len(list(spool.folder.glob("*.segment"))) > 2


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SEGMENT_BYTES - 200, id="nearly a segment"),
        pytest.param(SEGMENT_BYTES, id="a segment"),
        pytest.param(3 * SEGMENT_BYTES, id="three segments"),
    ],
)
def test_a_record_of_any_size_keeps_its_place(spool, size):
    large = model.OutputSeen("e", 0, "stream", "stdout", "text/plain", b"x" * size, size)
    events = [metric(0), large, metric(1), large, metric(2)]
    for event in events:
        spool.append(event)
    assert [event for _, event in read_events(spool.folder)] == events


def test_reading_on_from_a_position_gives_what_follows_it(spool):
    append_steps(spool, range(100))
    seen = list(read_events(spool.folder))
    rest = read_events(spool.folder, seen[41][0])
    assert [event.step for _, event in rest] == list(range(42, 100))


def test_a_closed_spool_gives_back_what_was_allocated(spool):
    append_steps(spool, range(10))
    spool.close()
    (segment,) = spool.folder.glob("*.segment")
    assert segment.stat().st_size < 4096
    assert steps_in(spool) == list(range(10))


def test_a_closed_spool_takes_nothing(spool):
    spool.append(metric(0))
    spool.close()
    spool.append(metric(1))
    append_steps(spool, [2])
    spool.sync()
    assert steps_in(spool) == [0]


def test_a_segment_that_is_empty_is_not_one_at_its_end(spool):
    for number in (0, 1):
        (spool.root / f"{number:08d}.segment").touch()
    reader = SpoolReader("other", [spool.root])
    assert list(reader.read(SpoolPosition("other"))) == []
    assert reader.position == SpoolPosition("other")


def test_two_spools_of_one_session_have_folders_and_ids_of_their_own(spool):
    second = Spool.create(spool.root, "s", state_dir=spool.state_dir)
    second.close()
    assert second.folder != spool.folder
    assert second.id != spool.id == spool_id(spool.folder)


def test_others_may_not_read_a_spool(spool):
    spool.append(metric(0))
    assert spool.folder.stat().st_mode & 0o077 == 0
    assert all(p.stat().st_mode & 0o077 == 0 for p in spool.folder.glob("*.segment"))


def _cut(path, offset):
    with path.open("rb+") as file:
        file.truncate(offset)


def _damage(path, offset):
    with path.open("rb+") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


@pytest.mark.parametrize(
    ("harm", "shift"),
    [
        pytest.param(_cut, -4, id="last bytes cut off"),
        pytest.param(_cut, -30, id="cut in the payload"),
        pytest.param(_damage, -5, id="payload changed"),
    ],
)
def test_a_torn_tail_is_cut_and_reported(spool, harm, shift):
    append_steps(spool, range(10))
    positions = [position for position, _ in read_events(spool.folder)]
    spool.close()
    (segment,) = spool.folder.glob("*.segment")
    harm(segment, positions[-1].offset + shift)
    reader = SpoolReader(spool.id, [spool.folder])
    assert [event.step for event in events_in(reader)] == list(range(9))
    assert [tail.offset for tail in reader.torn] == [positions[-2].offset]


def test_damage_in_one_segment_does_not_hide_the_next(spool):
    append_steps(spool, range(100_000))
    first = min(spool.folder.glob("*.segment"))
    _damage(first, 200_000)
    found = steps_in(spool)
    assert found == sorted(set(found))
    assert len(found) == 99_999


def test_a_staged_copy_is_the_file_as_it_was(spool, tmp_path):
    file = tmp_path / "plot.png"
    file.write_bytes(b"before")
    name = spool.stage(file)
    file.write_bytes(b"after")
    assert (spool.folder / name).read_bytes() == b"before"


# --- threads, signals, forks ------------------------------------------------------------------


def test_threads_append_without_losing_or_doubling(spool):
    def work(thread):
        for step in range(5_000):
            spool.append_metric(RUN, f"t{thread}", 0.0, step, AT_NS)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_thread = {}
    for _, event in read_events(spool.folder):
        by_thread.setdefault(event.key, []).append(event.step)
    assert by_thread == {f"t{n}": list(range(5_000)) for n in range(8)}


def test_a_reader_beside_a_writer_sees_a_beginning_of_what_was_written(spool):
    writer = threading.Thread(target=append_steps, args=(spool, range(80_000)))
    writer.start()
    looks = []
    while writer.is_alive():
        looks.append(steps_in(spool))
    writer.join()
    assert all(look == list(range(len(look))) for look in looks)
    assert steps_in(spool) == list(range(80_000))


@pytest.fixture
def alarm():
    """Interrupt this thread every half a millisecond of its CPU time, by the handler given."""
    before = signal.getsignal(signal.SIGVTALRM)

    def start(handler):
        signal.signal(signal.SIGVTALRM, handler)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)

    yield start
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def test_a_signal_handler_may_append_in_the_middle_of_an_append(spool, alarm):
    count = 0

    def handler(*_):
        nonlocal count
        spool.append_metric(RUN, "signal", 0.0, count, AT_NS)
        count += 1

    alarm(handler)
    while count < 100:
        append_steps(spool, range(100))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    keys = Counter(event.key for _, event in read_events(spool.folder))
    assert keys["signal"] == count
    assert keys["loss"] % 100 == 0


def test_an_interrupted_append_leaves_the_spool_whole(spool, alarm):
    class Interrupted(BaseException):
        pass

    is_inside = False

    def handler(*_):
        nonlocal is_inside
        if is_inside:
            is_inside = False
            raise Interrupted

    returned, interrupts, step = [], 0, 0
    alarm(handler)
    while interrupts < 100:
        try:
            is_inside = True
            while True:
                spool.append_metric(RUN, "loss", 0.5, step, AT_NS)
                returned.append(step)
                step += 1
        except Interrupted:
            interrupts += 1
            step += 1
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    spool.append(metric(step))
    found = steps_in(spool)
    assert set(returned) | {step} <= set(found)
    assert len(found) == len(set(found))
    assert found[-1] == step


def test_a_forked_child_never_touches_the_spool_of_its_parent(spool):
    spool.append(metric(0))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            append_steps(spool, range(100, 60_000))
            spool.append(metric(9))
            spool.sync()
            spool.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.append(metric(1))
    assert steps_in(spool) == [0, 1]
    assert state_seen_from_outside(spool.folder) == "alive"


# --- death ------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 50, 1_000])
def test_what_was_appended_before_a_kill_is_there_once(tmp_path, after):
    with start_writer(tmp_path, 10_000_000) as process:
        reported = [int(process.stdout.readline()) for _ in range(after)]
        kill(process)
        reported += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    found = [event.step for _, event in read_events(tmp_path / "spool" / "s")]
    assert found[: len(reported)] == reported
    # One append may have returned, and its report not have left the process.
    assert found == list(range(len(found)))
    assert len(found) - len(reported) <= 1


_FULL = """
import resource, sys, time
from pathlib import Path
from mlops_nb.store import spool as module
from mlops_nb.store.spool.segments import SpoolPosition, SpoolReader
root, memory = Path(sys.argv[1]), int(sys.argv[2])
module.MEMORY_BYTES = memory
told = []
spool = module.Spool.create(
    root / "spool", "s", state_dir=root / "state", on_trouble=told.append
)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def append(steps):
    for step in steps:
        spool.append_metric("0123456789abcdef", "k" * 1_000, 0.5, step, 1)
def unwritten():
    fallback = module.fallback_root(spool.root, spool.state_dir) / spool.id
    return SpoolReader(spool.id, [spool.folder, fallback]).unwritten()
append(range(10))
limit(1_000_000)
append(range(10, 8_000))
print(len(told), unwritten(), flush=True)
"""

_FULL_AND_BACK = (
    _FULL
    + """
limit(resource.RLIM_INFINITY)
while unwritten():
    time.sleep(0.01)
append(range(8_000, 8_100))
spool.close()
"""
)

_FULL_AND_BUSY = (
    _FULL
    + """
limit(resource.RLIM_INFINITY)
step = 8_000
while unwritten():
    append(range(step, step + 1_000))
    step += 1_000
spool.close()
print(step)
"""
)

_FULL_AND_DEAD = (
    _FULL
    + """
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""
)


def test_a_full_disk_loses_nothing_once_there_is_room_again(tmp_path):
    # A limit on the size of files refuses to allocate a segment, as a full disk does.
    told, unwritten = map(int, run_child(_FULL_AND_BACK, tmp_path, 2**26).split())
    steps = [event.step for event in events_in(reader_of(tmp_path))]
    assert steps == list(range(8_100))
    assert told == 1
    assert unwritten > 0


def test_a_loop_that_goes_on_does_not_keep_its_records_in_memory(tmp_path):
    last = int(run_child(_FULL_AND_BUSY, tmp_path, 2**30).split()[-1])
    steps = [event.step for event in events_in(reader_of(tmp_path))]
    assert steps == list(range(last))


def test_records_that_found_no_place_in_memory_are_counted(tmp_path):
    _, unwritten = map(int, run_child(_FULL_AND_BACK, tmp_path, 100_000).split())
    events = events_in(reader_of(tmp_path))
    steps = [event.step for event in events if isinstance(event, model.MetricLogged)]
    (lost,) = (event for event in events if isinstance(event, model.SessionChanged))
    assert lost.changes["records_lost"] == 8_100 - len(steps) > 0
    assert unwritten > lost.changes["records_lost"]
    assert steps == sorted(set(steps))


def test_a_process_that_dies_beside_a_full_disk_leaves_a_count_of_what_it_lost(tmp_path):
    command = [sys.executable, "-c", _FULL_AND_DEAD, str(tmp_path), str(2**26)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    reader = reader_of(tmp_path)
    found = len(events_in(reader))
    assert reader.unwritten() == 8_000 - found > 0


_UNPRIVILEGED = """
import os, sys
from pathlib import Path
from mlops_nb.store.spool import Spool
root, user = Path(sys.argv[1]), int(sys.argv[2])
if os.getuid() == 0:
    os.setgid(user)
    os.setuid(user)
told = []
spool = Spool.create(
    root / "store" / "spool", "s", state_dir=root / "state", on_trouble=told.append
)
for step in range(1000):
    spool.append_metric("0123456789abcdef", "loss", 0.5, step, 1)
print(spool.folder, len(told), spool.id)
spool.close()
"""


@pytest.fixture
def read_only_store():
    """Make a store that an unprivileged child may only read, beside a state folder of its own."""
    user = 65_534 if os.getuid() == 0 else os.getuid()
    with tempfile.TemporaryDirectory() as name:  # above `tmp_path` nobody else may look
        root = Path(name)
        root.chmod(0o755)
        (root / "store" / "spool").mkdir(parents=True)
        (root / "state").mkdir()
        if os.getuid() == 0:
            os.chown(root / "state", user, user)
        (root / "store" / "spool").chmod(0o555)
        yield root, user
        (root / "store" / "spool").chmod(0o755)


def test_a_store_that_may_only_be_read_sends_the_spool_to_the_state_folder(read_only_store):
    root, user = read_only_store
    folder, told, id_ = run_child(_UNPRIVILEGED, root, user, cwd="/").split()
    assert Path(folder) == fallback_root(root / "store" / "spool", root / "state") / id_
    assert told == "1"
    assert [event.step for _, event in read_events(Path(folder))] == list(range(1000))


def test_a_spool_with_no_place_at_all_raises_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    told = []
    spool = Spool.create(
        tmp_path / "file" / "spool", "s", state_dir=tmp_path / "file", on_trouble=told.append
    )
    append_steps(spool, range(100))
    spool.append(metric(100))
    spool.sync()
    assert spool.stage(__file__) is None
    spool.close()
    assert len(told) == 1


def test_the_store_is_named_in_the_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    told = []
    root = tmp_path / "file" / "spool"
    Spool.create(root, "s", state_dir=tmp_path / "state", on_trouble=told.append).close()
    assert str(root / "s") in told[0]
    assert str(tmp_path / "state") in told[0]


def test_importing_the_spool_does_not_load_a_database():
    code = "import sys, mlops_nb.store.spool, mlops_nb.store.intake.launching; print(*sys.modules)"
    assert not {"sqlalchemy", "sqlite3", "alembic", "IPython"} & set(run_child(code).split())
