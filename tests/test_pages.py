"""The page oracle: everything that is not known to be unwritten counts as written."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.fingerprint import pages
from mlops_nb.fingerprint.memory import buffers_of, is_shared, layout_of, shared_memory
from mlops_nb.fingerprint.pages import PAGE_BYTES, PageOracle, as_pages, common, without

PAGES = 600
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def oracle():
    found = PageOracle.start()
    if found is None:
        pytest.skip("this system cannot track pages")
    yield found
    found.stop()


@pytest.fixture
def memory():
    """Private memory of whole pages, as an array that says where it lies."""
    mapped = mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    array = np.frombuffer(mapped, np.uint8)
    array[:] = 7
    yield array
    del array
    with contextlib.suppress(BufferError):
        mapped.close()


def region(array):
    return array.ctypes.data, array.nbytes


def numbers(ranges, array):
    """The pages in ranges, counted from the first one of an array."""
    base = array.ctypes.data
    return [
        n for a, b in ranges for n in range((a - base) // PAGE_BYTES, (b - base) // PAGE_BYTES)
    ]


# --- what is seen -----------------------------------------------------------------------------


def by_ctypes(array):
    ctypes.memset(array.ctypes.data + 5 * PAGE_BYTES, 1, 1)


def by_memoryview(array):
    memoryview(array)[5 * PAGE_BYTES] = 1


def by_another_view(array):
    np.lib.stride_tricks.as_strided(array, (2,), (5 * PAGE_BYTES,))[1] = 1


def by_the_kernel(array):
    with Path(__file__).open("rb", 0) as file:
        file.readinto(memoryview(array)[5 * PAGE_BYTES : 5 * PAGE_BYTES + 10])


def by_another_thread(array):
    thread = threading.Thread(target=by_memoryview, args=(array,))
    thread.start()
    thread.join()


def by_the_same_byte(array):
    array[5 * PAGE_BYTES] = array[5 * PAGE_BYTES]


def by_dropping_it(array):
    LIBC.madvise(ctypes.c_void_p(array.ctypes.data + 5 * PAGE_BYTES), PAGE_BYTES, 4)


def by_mapping_anew(array):
    fixed = 0x10 | mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    at = ctypes.c_void_p(array.ctypes.data + 5 * PAGE_BYTES)
    LIBC.mmap(at, PAGE_BYTES, 3, fixed, -1, 0)


def by_writing_to_its_own_process(array):
    with Path("/proc/self/mem").open("r+b", 0) as file:
        file.seek(array.ctypes.data + 5 * PAGE_BYTES)
        file.write(b"x")


WRITES = [
    by_ctypes,
    by_memoryview,
    by_another_view,
    by_the_kernel,
    by_another_thread,
    by_the_same_byte,
    by_dropping_it,
    by_mapping_anew,
    by_writing_to_its_own_process,
]


@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_seen_at_its_page_and_nowhere_else(oracle, memory, write):
    watch = oracle.arm([region(memory)])
    assert oracle.dirty(watch) == []
    write(memory)
    assert numbers(oracle.dirty(watch), memory) == [5]


@pytest.mark.parametrize("write", WRITES[:6])
def test_after_a_write_it_can_be_armed_again(oracle, memory, write):
    watch = oracle.arm([region(memory)])
    write(memory)
    assert oracle.rearm(watch)
    assert oracle.dirty(watch) == []
    write(memory)
    assert numbers(oracle.dirty(watch), memory) == [5]


def test_reading_is_no_writing(oracle, memory):
    watch = oracle.arm([region(memory)])
    assert int(memory.sum(dtype=np.int64)) == 7 * memory.size
    gc.collect()
    assert oracle.dirty(watch) == []


def test_memory_that_was_never_touched_can_be_watched(oracle):
    array = np.zeros(8_000_000)
    watch = oracle.arm([region(array)])
    assert array.sum() == 0
    assert oracle.dirty(watch) == []
    array[4_000_000] = 1
    assert len(oracle.dirty(watch)) == 1


def test_freed_memory_is_never_clean(oracle):
    array = np.ones(8_000_000)
    watch = oracle.arm([region(array)])
    del array
    dirty = oracle.dirty(watch)
    assert sum(b - a for a, b in dirty) >= 8_000_000 * 8 - 2 * PAGE_BYTES


def test_memory_of_another_array_at_the_same_address_is_never_clean(oracle):
    array = np.ones(8_000_000)
    address, watch = array.ctypes.data, oracle.arm([region(array)])
    del array
    for _ in range(20):
        array = np.ones(8_000_000)
        if array.ctypes.data == address:
            break
    if array.ctypes.data != address:
        pytest.skip("the allocator chose other memory")
    assert oracle.dirty(watch) != []
    assert sum(b - a for a, b in oracle.dirty(watch)) > 7_900_000 * 8


def test_an_array_that_grew_in_place_is_not_clean(oracle):
    array = np.ones(8_000_000)
    old, watch = region(array), oracle.arm([region(array)])
    array.resize(16_000_000, refcheck=False)
    array[:] = 2
    assert oracle.dirty(watch) == list(as_pages([old]))


# --- several watches --------------------------------------------------------------------------


def test_arming_for_one_hides_no_write_from_another(oracle, memory):
    first = oracle.arm([region(memory)])
    memory[3 * PAGE_BYTES] = 1
    second = oracle.arm([region(memory[2 * PAGE_BYTES : 9 * PAGE_BYTES])])
    assert numbers(oracle.dirty(first), memory) == [3]
    assert oracle.dirty(second) == []
    memory[4 * PAGE_BYTES] = 1
    assert numbers(oracle.dirty(first), memory) == [3, 4]
    assert numbers(oracle.dirty(second), memory) == [4]


def test_disarming_one_hides_no_write_from_another(oracle, memory):
    first, second = oracle.arm([region(memory)]), oracle.arm([region(memory)])
    oracle.disarm(second)
    memory[3 * PAGE_BYTES] = 1
    assert numbers(oracle.dirty(first), memory) == [3]
    assert oracle.dirty(second) is None


actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 39), st.none()),
        st.tuples(st.just("arm"), st.integers(0, 39), st.integers(1, 20)),
        st.tuples(st.just("rearm"), st.integers(0, 5), st.none()),
        st.tuples(st.just("disarm"), st.integers(0, 5), st.none()),
        st.tuples(st.just("drop"), st.integers(0, 39), st.none()),
    ),
    max_size=25,
)


class Account:
    """Watches that overlap, beside a plain account of which of their pages were written."""

    def __init__(self, oracle, memory):
        self.oracle, self.memory = oracle, memory
        self.watches = []

    def write(self, page, _):
        self.memory[page * PAGE_BYTES] = 1
        self._count(page)

    def drop(self, page, _):
        LIBC.madvise(ctypes.c_void_p(self.memory.ctypes.data + page * PAGE_BYTES), PAGE_BYTES, 4)
        self._count(page)

    def _count(self, page):
        for _, span, written in self.watches:
            written.update({page} & span)

    def arm(self, first, count):
        part = self.memory[first * PAGE_BYTES : (first + count) * PAGE_BYTES]
        watch = self.oracle.arm([region(part)])
        self.watches.append((watch, set(range(first, first + count)), set()))

    def rearm(self, place, _):
        for watch, _, written in self.watches[place : place + 1]:
            assert self.oracle.rearm(watch)
            written.clear()

    def disarm(self, place, _):
        for watch, _, _ in self.watches[place : place + 1]:
            self.oracle.disarm(watch)
        del self.watches[place : place + 1]

    def check(self):
        for watch, span, written in self.watches:
            assert written <= set(numbers(self.oracle.dirty(watch), self.memory)) <= span


@given(actions)
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
def test_whatever_is_armed_written_and_dropped_no_write_is_missed(oracle, memory, steps):
    memory[:] = 7
    account = Account(oracle, memory)
    for what, one, other in steps:
        getattr(account, what)(one, other)
        account.check()
    while account.watches:
        account.disarm(0, None)


def test_nothing_is_missed_while_another_thread_writes_and_watches_are_renewed(oracle, memory):
    """A page that was written after a watch began is dirty, however often others begin."""
    first = oracle.arm([region(memory)])
    stop = threading.Event()

    def renew():
        while not stop.is_set():
            oracle.disarm(oracle.arm([region(memory)]))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        missed = []
        for number in range(0, PAGES, 3):
            memory[number * PAGE_BYTES] = 1
            if number not in numbers(oracle.dirty(first), memory):
                missed.append(number)
    finally:
        stop.set()
        thread.join()
    assert missed == []
    assert numbers(oracle.dirty(first), memory) == list(range(0, PAGES, 3))


def test_a_watch_that_was_given_up_costs_no_page_any_more(oracle, memory):
    watch = oracle.arm([region(memory)])
    oracle.abandon(watch)
    again = oracle.arm([region(memory[: 2 * PAGE_BYTES])])
    assert oracle.dirty(watch) is None
    assert oracle.dirty(again) == []


# --- what is not watched ----------------------------------------------------------------------


def test_a_file_mapped_into_memory_is_not_watched(oracle, tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(4_000_000))
    for mode in ("r+", "c"):
        array = np.memmap(path, np.uint8, mode)
        assert oracle.arm([region(array)]) is None
        assert is_shared(np.asarray(array))


def test_memory_shared_with_other_processes_is_not_watched(oracle):
    shared = np.frombuffer(mmap.mmap(-1, 4_000_000), np.uint8)
    assert oracle.arm([region(shared)]) is None
    assert is_shared(shared)


def test_memory_that_is_only_partly_private_is_not_watched(oracle, memory, tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(4_000_000))
    array = np.memmap(path, np.uint8, "r+")
    assert oracle.arm([region(memory), region(array)]) is None


def test_memory_that_is_not_there_is_not_watched(oracle):
    assert oracle.arm([(PAGE_BYTES, 4_000_000)]) is None
    assert oracle.arm([]) is None


@pytest.mark.parametrize(
    ("line", "has_devices"),
    [
        (b"7f00-7f10 rw-s 00000000 00:06 438 /dev/nvidia0", True),
        (b"7f00-7f10 rw-s 00000000 00:06 438 /dev/infiniband/uverbs0", True),
        (b"7f00-7f10 rw-s 00000000 00:01 438 /dev/zero (deleted)", False),
        (b"7f00-7f10 rw-s 00000000 00:01 438 /dev/shm/sem.x", False),
        (b"7f00-7f10 rw-p 00000000 00:00 0", False),
    ],
)
def test_nothing_is_watched_in_a_process_that_a_device_may_write_to(line, has_devices):
    assert pages._has_devices(b"00-01 rw-p 00000000 00:00 0\n" + line + b"\n") is has_devices


def test_only_private_memory_of_no_file_is_ordinary():
    maps = b"""55d0-55d9 rw-p 00000000 00:00 0                          [heap]
7f00-7f01 rw-p 00000000 00:00 0
7f01-7f02 rw-p 00000000 00:00 0                          [anon: glibc: malloc]
7f02-7f03 r--p 00000000 00:00 0
7f03-7f04 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f04-7f05 rw-p 00000000 fe:01 99                         /data/numbers.npy
7f05-7f06 rw-p 00000000 00:00 0                          [stack]
"""
    assert pages._ordinary_mappings(maps) == [
        (0x55D0, 0x55D9),
        (0x7F00, 0x7F01),
        (0x7F01, 0x7F02),
    ]


# --- where it is off --------------------------------------------------------------------------


def in_child(program, *, seconds=30):
    source = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_child_process_has_no_oracle_and_the_parent_keeps_its_own(oracle, memory):
    watch = oracle.arm([region(memory)])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        memory[0] = 1
        found = (oracle.is_on, oracle.dirty(watch), oracle.arm([region(memory)]))
        os.write(writing, repr(found).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"(False, None, None)"
    os.close(reading)
    os.close(writing)
    assert oracle.dirty(watch) == []
    memory[5 * PAGE_BYTES] = 1
    assert numbers(oracle.dirty(watch), memory) == [5]


def test_a_child_that_was_forked_unseen_has_no_oracle_either(oracle, memory):
    watch = oracle.arm([region(memory)])
    reading, writing = os.pipe()
    # The C library's fork tells Python nothing.
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        found = (oracle.is_on, oracle.dirty(watch), oracle.arm([region(memory)]))
        os.write(writing, repr(found).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"(False, None, None)"
    os.close(reading)
    os.close(writing)
    assert oracle.dirty(watch) == []


def test_a_stopped_oracle_knows_nothing(oracle, memory):
    watch = oracle.arm([region(memory)])
    oracle.stop()
    assert oracle.dirty(watch) is None
    assert oracle.arm([region(memory)]) is None
    assert not oracle.rearm(watch)
    oracle.disarm(watch)


def test_a_process_whose_system_calls_are_filtered_does_not_ask():
    """The filter kills whoever calls userfaultfd."""
    number = pages._SYSTEM_CALLS.get(os.uname().machine)
    if number is None:
        pytest.skip("not known on this machine")
    rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x80000000), (6, 0, 0, 0x7FFF0000)]
    octets = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    program = f"""
        import ctypes
        from mlops_nb.fingerprint.pages import PageOracle
        class Program(ctypes.Structure):
            _fields_ = [("count", ctypes.c_ushort), ("rules", ctypes.c_char_p)]
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        program = Program({len(rules)}, {octets!r})
        assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()
        print(PageOracle.start())
    """
    assert in_child(program) == "None"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may unmount /proc")
def test_there_is_no_oracle_without_proc():
    program = """
        import ctypes
        from mlops_nb.fingerprint.pages import PageOracle, is_private
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x20000) == 0
        assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
        assert libc.mount(b"none", b"/proc", b"tmpfs", 0, None) == 0
        print(PageOracle.start(), is_private([(4096, 4096)]))
    """
    assert in_child(program) == "None None"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    ("may_be_looked_at", "expected"),
    [pytest.param(1, "as root", id="ordinary"), pytest.param(0, "off", id="not dumpable")],
)
def test_an_ordinary_user_has_it_where_the_system_lets_him(may_be_looked_at, expected):
    program = f"""
        import ctypes, os
        from mlops_nb.fingerprint.pages import PageOracle
        as_root = PageOracle.start()
        is_there = as_root is not None
        if as_root is not None:
            as_root.stop()
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        ctypes.CDLL(None).prctl(4, {may_be_looked_at}, 0, 0, 0)
        found = PageOracle.start() is not None
        print("as root" if found == is_there and found else "off")
    """
    if expected == "as root" and PageOracle.start() is None:
        pytest.skip("this system cannot track pages")
    assert in_child(program) == expected


# --- ranges -----------------------------------------------------------------------------------

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=8).map(
    lambda found: pages.united((a, a + n) for a, n in found)
)


def cells(ranges):
    return {n for a, b in ranges for n in range(a, b)}


@given(spans, spans)
def test_ranges_are_cut_and_joined_as_sets_are(ones, others):
    assert cells(without(ones, others)) == cells(ones) - cells(others)
    assert cells(common(ones, others)) == cells(ones) & cells(others)
    assert pages.size_of(ones) == len(cells(ones))


# --- where content lies -----------------------------------------------------------------------


def content(value):
    """What the layout says of a value's content now."""
    layout = layout_of(value)
    return layout.skeleton, [ctypes.string_at(at, size) for at, size in layout.buffers]


def table(n=2000):
    return pd.DataFrame(
        {
            "numbers": np.arange(n) / 7,
            "counts": np.arange(n),
            "words": pd.Series([f"word {i}" for i in range(n)], dtype=object),
            "level": pd.Categorical.from_codes(np.arange(n) % 3, ["a", "b", "c"]),
            "gaps": pd.array([None if i % 5 == 0 else i for i in range(n)], "Int64"),
            "at": pd.date_range("2026-01-01", periods=n, freq="s"),
        },
        index=pd.Index(np.arange(n) * 2, name="key"),
    )


def write_block(frame):
    frame._mgr.blocks[0].values[0, 0] = -1  # noqa: PD011  the array itself


def write_flipped(frame):
    array = frame["numbers"].to_numpy()
    array.flags.writeable = True
    array[3] = -1


def set_item(name, value):
    def write(frame):
        frame.loc[frame.index[10], name] = value

    return write


def write_codes(frame):
    frame["level"].array._codes[0] = 2


def write_array(name, value):
    def write(frame):
        frame[name].array[0] = value

    return write


def write_mask(frame):
    frame["gaps"].array._mask[1] = True


def write_label(frame):
    labels = frame.columns.values  # noqa: PD011  the array itself
    labels.flags.writeable = True
    labels[0] = "changed"


def write_index(frame):
    values = frame.index.values  # noqa: PD011  the array itself
    values.flags.writeable = True
    values[5] = -1


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(write_block, id="block"),
        pytest.param(write_flipped, id="to_numpy"),
        pytest.param(set_item("numbers", 0.5), id="a number"),
        pytest.param(set_item("words", "other"), id="a text"),
        pytest.param(set_item("at", pd.Timestamp("2020-01-01")), id="a time"),
        pytest.param(write_codes, id="codes"),
        pytest.param(write_array("gaps", 99), id="array of integers"),
        pytest.param(write_array("at", pd.Timestamp("2020-01-01")), id="array of times"),
        pytest.param(write_mask, id="mask"),
        pytest.param(write_label, id="label by its array"),
        pytest.param(write_index, id="index by its array"),
        pytest.param(lambda frame: frame.insert(0, "new", 1), id="new column"),
        pytest.param(lambda frame: setattr(frame, "columns", list("abcdef")), id="names"),
        pytest.param(lambda frame: setattr(frame.index, "name", "k"), id="name of the index"),
        pytest.param(lambda frame: frame.pop("at"), id="drop"),
        pytest.param(lambda frame: setattr(frame, "index", frame.index[::-1]), id="labels"),
    ],
)
def test_a_layout_shows_every_way_to_change_a_frame(write):
    frame = table()
    frame.columns = pd.Index(list(frame.columns), dtype=object)
    before = content(frame)
    assert content(frame) == before
    write(frame)
    assert content(frame) != before


def test_only_plain_content_has_buffers():
    assert buffers_of(table()) is None
    assert buffers_of(table().drop(columns="words")) is not None
    assert buffers_of([1, 2]) is None
    assert buffers_of(np.array(["a"], object)) is None
    assert buffers_of(np.ma.zeros(3)) is None


class Frame(pd.DataFrame):
    @property
    def _mgr(self):
        raise AssertionError("code of the user")


class Array(np.ndarray):
    def __getattribute__(self, name):
        if name == "__array_interface__":
            raise AssertionError("code of the user")
        return super().__getattribute__(name)


def test_a_subclass_has_no_layout_and_its_code_is_not_run():
    array = np.zeros(10).view(Array)
    assert layout_of(array) is None
    assert shared_memory(array) == []


def test_a_class_that_claims_to_be_numpys_has_no_layout():
    liar = type("ndarray", (), {"__module__": "numpy", "dtype": 1})
    assert layout_of(liar()) is None


def test_a_view_shares_all_memory_of_its_base():
    base = np.zeros(100)
    assert (base.ctypes.data, 800) in shared_memory(base[10:20])
    assert (base.ctypes.data, 800) in shared_memory(base[::-1].reshape(10, 10).T)


def test_memory_lent_by_python_objects_is_found():
    octets = bytearray(100)
    at = np.frombuffer(octets, np.uint8).ctypes.data
    assert (at, 100) in shared_memory(octets)
    assert (at, 100) in shared_memory(memoryview(octets))
    assert (at, 100) in shared_memory(np.frombuffer(octets, np.uint8)[5:9])


def test_a_reversed_array_lies_below_its_first_element():
    array = np.arange(10)
    assert buffers_of(array[::-1]) == [(array.ctypes.data, 80)]


def test_polars_and_arrow_tables_have_buffers():
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    long = ["a text that is long enough for a buffer of its own"] * 5000
    for value in (
        pa.table({"a": np.arange(5000), "b": long}),
        pl.DataFrame({"a": np.arange(5000), "b": long}),
    ):
        layout = layout_of(value)
        assert sum(size for _, size in layout.buffers) >= 5000 * (8 + 49)
        assert layout_of(value) == layout


def test_a_frame_of_polars_that_got_another_column_has_another_layout():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": np.arange(5000)})
    before = layout_of(frame)
    frame.replace_column(0, pl.Series("a", np.arange(5000)))
    assert layout_of(frame) != before


def test_a_tensor_has_the_buffer_of_its_storage():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(100)
    assert buffers_of(tensor[10:]) == [(tensor.data_ptr(), 400)]
    assert layout_of(tensor) != layout_of(tensor[10:])
    assert buffers_of(torch.zeros(3, device="meta")) is None
