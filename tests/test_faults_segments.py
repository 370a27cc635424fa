"""Rules of damaged spools: what can be read is read, what cannot is counted and said, once."""

from __future__ import annotations

import random
import shutil
import struct

import pytest
from test_drain import LONG_KEY, RUN, log_steps, logged_steps

from mlops_nb import model
from mlops_nb.store import Store
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.spool import Spool, identity, read_events
from mlops_nb.store.spool.frames import HEADER_BYTES, SEGMENT_BYTES, Damage
from mlops_nb.store.spool.segments import SpoolReader

pytest_plugins = ["fault_fixtures"]

AT_NS = 1_700_000_000_000_000_000


@pytest.fixture
def spool(folder, state_dir, store):
    opened = Spool.create(folder / "spool", "s", state_dir=state_dir)
    opened.append(model.SessionStarted("s", AT_NS, "host", 1, "3.11", identity()))
    opened.append(model.RunStarted(RUN, AT_NS, "churn", "interactive", session="s", group="g"))
    yield opened
    opened.close()


def flip(path, offset, bit=6):
    with path.open("rb+") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def read_all(spool, **given):
    """Read a closed spool; gives the steps that are there, and what is damaged."""
    reader = SpoolReader(spool.id, [spool.folder], **given)
    found = [event for _, event in reader.read(reader.position)]
    steps = [event.step for event in found if isinstance(event, model.MetricLogged)]
    return steps, [event for event in found if isinstance(event, Damage)]


# --- flipped bits ---------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_costs_the_record_it_is_in_and_no_other(spool):
    log_steps(spool, range(20))
    positions = [position.offset for position, _ in read_events(spool.folder)]
    spool.close()
    (segment,) = spool.folder.glob("*.segment")
    whole, chance = segment.read_bytes(), random.Random(1)  # noqa: S311 - no secret
    for offset in range(positions[1], positions[-1]):
        flip(segment, offset, chance.randrange(8))
        hit = sum(end <= offset for end in positions[2:])
        steps, damage = read_all(spool, is_over=True)
        if steps != list(range(20)):  # else it was in what pads a record
            assert steps == [step for step in range(20) if step != hit]
            sizes = positions[hit + 2] - positions[hit + 1]
            assert [(d.offset, d.size_bytes) for d in damage] == [(positions[hit + 1], sizes)]
        segment.write_bytes(whole)


def test_a_living_writer_goes_on_behind_a_flipped_bit_and_the_loss_is_said_once(
    spool, store, state_dir
):
    log_steps(spool, range(100))
    (segment, *_) = sorted(spool.folder.glob("*.segment"))
    positions = [position.offset for position, _ in read_events(spool.folder)]
    flip(segment, positions[50] + 20)
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == [step for step in range(100) if step != 49]
    first = positions[51] - positions[50]
    assert store.get_run(RUN).tags["torn_bytes"] == str(first)
    log_steps(spool, range(100, 200))
    positions = [position.offset for position, _ in read_events(spool.folder)]
    flip(segment, positions[150] + 20)
    for _ in range(3):
        drain(store, state_dir=state_dir)
    second = positions[151] - positions[150]
    assert store.get_run(RUN).tags["torn_bytes"] == str(first + second)
    assert store.session_facts("s")["torn_bytes"] == first + second
    spool.append(model.SessionEnded("s", AT_NS + 300))
    spool.close()
    drain(store, state_dir=state_dir)
    assert store.get_run(RUN).status == "finished"
    assert logged_steps(store) == [step for step in range(200) if step not in {49, 150}]
    assert not spool.folder.exists()


def test_damage_of_the_record_written_last_is_waited_for_until_something_follows(
    spool, store, state_dir
):
    log_steps(spool, range(10))
    positions = [position.offset for position, _ in read_events(spool.folder)]
    (segment, *_) = sorted(spool.folder.glob("*.segment"))
    flip(segment, positions[-2] + 20)
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(9))
    assert "torn_bytes" not in store.get_run(RUN).tags
    log_steps(spool, [10])
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == [*range(9), 10]
    assert "torn_bytes" in store.get_run(RUN).tags


def test_many_damaged_places_cost_what_is_in_them_only(spool, store, state_dir):
    log_steps(spool, range(5_000))
    positions = [position.offset for position, _ in read_events(spool.folder)]
    (segment, *_) = sorted(spool.folder.glob("*.segment"))
    chance = random.Random(2)  # noqa: S311 - no secret
    hit = sorted(chance.sample(range(4_990), 50))
    for step in hit:
        flip(segment, positions[step + 1] + chance.randrange(4, 40), chance.randrange(8))
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == [step for step in range(5_000) if step not in hit]


def test_a_page_of_zeros_in_the_middle_costs_what_was_on_it_only(nursery, tmp_path):
    # As after a power cut, when some pages had reached the disk and others had not.
    store_folder = tmp_path / ".mlops"
    nursery.wait(nursery.start("abandon", tmp_path, session="s", points=1_000))
    (segment,) = (store_folder / "spool" / "s").glob("*.segment")
    with segment.open("rb+") as file:
        file.seek(8192)
        file.write(bytes(4096))
    with Store.open(store_folder, create=True) as store:
        drain(store, state_dir=nursery.state)
        (run,) = store.runs()
        steps = logged_steps(store, run.id)
    assert steps[0] == 0
    assert steps[-1] == 999
    assert steps == sorted(set(steps))
    assert 1_000 - len(steps) <= 4096 // 40
    assert run.status == "lost"
    assert int(run.tags["torn_bytes"]) >= 4096


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"spool": 7, "session": null}'])
def test_a_spool_whose_description_was_lost_is_taken_in(nursery, tmp_path, content):
    nursery.wait(nursery.start("abandon", tmp_path, session="s", points=10))
    (tmp_path / ".mlops" / "spool" / "s" / "about.json").write_text(content)
    with Store.open(tmp_path / ".mlops", create=True) as store:
        drain(store, state_dir=nursery.state)
        (run,) = store.runs()
        assert logged_steps(store, run.id) == list(range(10))
        assert run.status == "lost"
    assert list((tmp_path / ".mlops" / "spool").iterdir()) == []


# --- files that are cut, empty, or none of ours ---------------------------------------------------


@pytest.fixture
def three_segments(nursery, tmp_path):
    """Leave a dead process's spool of three segments; gives its folder."""
    status = nursery.wait(
        nursery.start("abandon", tmp_path, session="s", points=2_500, key=LONG_KEY)
    )
    assert status == -9
    folder = tmp_path / ".mlops" / "spool" / "s"
    assert len(list(folder.glob("*.segment"))) >= 3
    return folder


def take_in(three_segments, nursery):
    with Store.open(three_segments.parents[1], create=True) as store:
        drain(store, state_dir=nursery.state)
        (run,) = store.runs()
        assert not three_segments.exists()
        return run, logged_steps(store, run.id, LONG_KEY)


def test_a_segment_that_was_cut_off_hides_none_of_the_others(three_segments, nursery):
    with (three_segments / "00000001.segment").open("rb+") as file:
        file.truncate(1_000_000)
    run, steps = take_in(three_segments, nursery)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, 2_499)
    lost = 2_500 - len(steps)
    assert lost == pytest.approx((SEGMENT_BYTES - 1_000_000) / (len(LONG_KEY) + 60), rel=0.05)
    assert int(run.tags["torn_bytes"]) == pytest.approx(SEGMENT_BYTES - 1_000_000, rel=0.01)
    assert run.status == "lost"


def test_an_empty_segment_hides_none_of_the_others(three_segments, nursery):
    (three_segments / "00000001.segment").write_bytes(b"")
    run, steps = take_in(three_segments, nursery)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, 2_499)
    assert len(steps) < 1_700
    assert int(run.tags["torn_bytes"]) == pytest.approx(SEGMENT_BYTES, rel=0.01)


def test_the_last_segment_cut_off_is_said_too(three_segments, nursery):
    last = max(path for path in three_segments.glob("*.segment") if _is_used(path))
    with last.open("rb+") as file:
        file.truncate(HEADER_BYTES + 100_000)
    run, steps = take_in(three_segments, nursery)
    assert steps == list(range(len(steps)))
    assert len(steps) < 2_500
    assert int(run.tags["torn_bytes"]) > 0


def _is_used(path):
    return any(path.read_bytes()[HEADER_BYTES : HEADER_BYTES + 4])


def test_a_damaged_header_costs_nothing(three_segments, nursery):
    for segment in three_segments.glob("*.segment"):
        flip(segment, 2)
    _, steps = take_in(three_segments, nursery)
    assert steps == list(range(2_500))


@pytest.mark.parametrize(
    "name", ["notes.txt", "00000001.segment", "00000009.segment", "x.segment"]
)
@pytest.mark.parametrize(
    "content", [b"", b"foreign", bytes(range(256)) * 40], ids=["empty", "short", "long"]
)
def test_foreign_files_do_not_lead_a_reader_astray(spool, store, state_dir, name, content):
    log_steps(spool, range(100))
    for place in (spool.folder, spool.root):
        (place / name).write_bytes(content)
    drain(store, state_dir=state_dir)
    log_steps(spool, range(100, 200))
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(200))
    spool.append(model.SessionEnded("s", AT_NS + 300))
    spool.close()
    drain(store, state_dir=state_dir)
    assert store.get_run(RUN).status == "finished"
    assert (spool.root / name).read_bytes() == content


def test_foreign_folders_and_links_do_not_lead_a_reader_astray(spool, store, state_dir, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    log_steps(spool, range(100))
    (spool.root / "folder" / "within").mkdir(parents=True)
    (spool.folder / "00000007.segment").mkdir()
    (spool.root / "link").symlink_to(precious)
    (spool.folder / "staged").symlink_to(precious)
    (spool.root / "dangling").symlink_to(tmp_path / "nowhere")
    drain(store, state_dir=state_dir)
    spool.append(model.SessionEnded("s", AT_NS + 300))
    spool.close()
    for _ in range(2):
        drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(100))
    assert store.get_run(RUN).status == "finished"
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_a_segment_of_another_spool_is_not_taken_for_the_next_one(
    spool, store, folder, state_dir, tmp_path
):
    log_steps(spool, range(10))
    other = Spool.create(tmp_path / "other", "o", state_dir=state_dir)
    log_steps(other, range(1_000))
    other.close()
    (foreign,) = other.folder.glob("*.segment")
    with foreign.open("rb+") as file:
        file.seek(12)
        file.write(struct.pack("<I", 3))
    shutil.copy(foreign, spool.folder / "00000003.segment")
    drain(store, state_dir=state_dir)
    log_steps(spool, range(10, 20))
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(20))


def test_a_copy_of_a_segment_under_another_number_doubles_nothing(spool, store, state_dir):
    log_steps(spool, range(10))
    shutil.copy(spool.folder / "00000000.segment", spool.folder / "00000004.segment")
    drain(store, state_dir=state_dir)
    log_steps(spool, range(10, 20))
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(20))


# --- a newer version ------------------------------------------------------------------------------


def set_version(path, version):
    with path.open("rb+") as file:
        file.seek(8)
        file.write(struct.pack("<I", version))


def test_what_a_newer_version_wrote_is_kept_for_one_that_can_read_it(
    spool, store, state_dir, caplog
):
    log_steps(spool, range(1_500), LONG_KEY)
    spool.append(model.SessionEnded("s", AT_NS + 2_000))
    spool.close()
    set_version(spool.folder / "00000001.segment", 2)
    for _ in range(2):
        drain(store, state_dir=state_dir)
    before = logged_steps(store, key=LONG_KEY)
    assert before == list(range(len(before)))
    assert 0 < len(before) < 1_500
    assert store.get_run(RUN).status == "lost"
    assert "pip install -U mlops-nb" in caplog.text
    set_version(spool.folder / "00000001.segment", 1)
    drain(store, state_dir=state_dir)
    assert logged_steps(store, key=LONG_KEY) == list(range(1_500))
    run = store.get_run(RUN)
    assert (run.status, run.error) == ("finished", None)
    assert not spool.folder.exists()
