"""What a store keeps of pipelines: claims that one process has, values, results, schedules."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from events import T0, A, B, C, run_started
from store_contents import kept_value

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.errors.pipelines import StepTaken
from mlops_nb.errors.values import CorruptValue
from mlops_nb.model.pipelines import (
    CachedStep,
    Fact,
    Packed,
    PackedFile,
    Schedule,
    SplitProof,
    StepRun,
)
from mlops_nb.store import Store, care
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.pipelines import leases, values
from mlops_nb.store.schema import PIPELINE_TABLES
from mlops_nb.store.spool.owner import identity
from mlops_nb.store.upgrade import upgrade_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_settings")

S = 1_000_000_000
AWAY = {"host": "another machine", "namespace": "pid:[1]", "boot": "b", "pid": 7}
FAR = {**AWAY, "pid": 8}


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch):
    """Time of the database, in seconds, as the test sets it."""

    class Clock:
        now_s = 1_800_000_000.0

    made = Clock()
    monkeypatch.setattr(leases, "now_ns", lambda _: int(made.now_s * S))
    return made


# --- claims -------------------------------------------------------------------------------------


def test_a_firing_is_claimed_once(store):
    assert store.claim_firing("s", T0, AWAY, 60)
    assert not store.claim_firing("s", T0, FAR, 60)
    assert not store.claim_firing("s", T0, AWAY, 60), "not even by its owner"
    assert store.claim_firing("s", T0 + S, FAR, 60), "another time of the same schedule"
    assert store.claim_firing("t", T0, FAR, 60), "the same time of another schedule"


def test_a_claim_ends_with_its_lease(store, clock):
    assert store.claim_firing("s", T0, AWAY, 60)
    clock.now_s += 59
    assert not store.claim_firing("s", T0, FAR, 60)
    clock.now_s += 2
    assert store.claim_firing("s", T0, FAR, 60)
    assert not store.renew_firing("s", T0, AWAY, 60), "who had it before is told"
    assert not store.finish_firing("s", T0, AWAY)
    assert store.firings("s")[0].owner == FAR


def test_a_claim_lasts_as_long_as_it_is_renewed(store, clock):
    assert store.claim_firing("s", T0, AWAY, 60)
    for _ in range(5):
        clock.now_s += 50
        assert store.renew_firing("s", T0, AWAY, 60)
        assert not store.claim_firing("s", T0, FAR, 60)


@pytest.mark.parametrize("state", ["done", "failed", "skipped", "lost"])
def test_what_has_an_end_is_never_claimed_again(store, clock, state):
    assert store.claim_firing("s", T0, AWAY, 60)
    assert store.renew_firing("s", T0, AWAY, 60, run="r1")
    assert store.finish_firing("s", T0, AWAY, state, text="so it went")
    clock.now_s += 10**6
    assert not store.claim_firing("s", T0, FAR, 60)
    (firing,) = store.firings("s")
    assert (firing.state, firing.run, firing.text) == (state, "r1", "so it went")
    assert firing.lease_until_ns is None
    assert firing.started_at_ns <= firing.ended_at_ns


def test_a_clock_set_back_holds_a_claim_for_one_lease_and_no_longer(store, clock):
    assert store.claim_firing("s", T0, AWAY, 60)
    clock.now_s -= 7200
    assert not store.claim_firing("s", T0, FAR, 60), "its owner may live, and gets a lease more"
    clock.now_s += 59
    assert not store.claim_firing("s", T0, FAR, 60)
    clock.now_s += 2
    assert store.claim_firing("s", T0, FAR, 60)


def test_an_owner_that_lives_keeps_its_claim_when_the_clock_is_set_back(store, clock):
    assert store.claim_firing("s", T0, AWAY, 60)
    clock.now_s -= 7200
    assert not store.claim_firing("s", T0, FAR, 60)
    assert store.renew_firing("s", T0, AWAY, 60)
    clock.now_s += 59
    assert not store.claim_firing("s", T0, FAR, 60)


def test_after_a_sleep_a_process_of_this_machine_gets_one_more_lease(store, clock):
    me = identity()
    assert store.claim_firing("s", T0, me, 60)
    clock.now_s += 8 * 3600
    assert not store.claim_firing("s", T0, FAR, 60)
    assert store.renew_firing("s", T0, me, 60), "it woke up, and goes on"
    clock.now_s += 8 * 3600
    assert not store.claim_firing("s", T0, FAR, 60)
    clock.now_s += 61
    assert store.claim_firing("s", T0, FAR, 60), "it hangs"


def test_no_lease_of_a_process_that_is_gone_is_waited_for(store):
    dead = {**identity(), "pid": 2**22 + 1}
    assert store.claim_firing("s", T0, dead, 3600)
    assert [each.due_at_ns for each in store.abandoned_firings()] == [T0]
    assert store.claim_firing("s", T0, identity(), 3600)
    assert store.abandoned_firings() == []


def claim_at_once(location: str, kind: str, ready, winners) -> None:
    """Claim something when all others do; who has it keeps it until it is killed."""
    with Store.open(location) as store:
        ready.wait(60)
        claim, key = {
            "firing": (store.claim_firing, ("s", 5)),
            "step": (store.claim_step, ("p1", "train")),
        }[kind]
        if claim(*key, identity(), 0.5):
            winners.put(os.getpid())
            time.sleep(600)


def race(location: str, kind: str, count: int = 8) -> tuple[list, list[int]]:
    """Let processes claim the same thing; gives those that live yet, and who has won."""
    context = multiprocessing.get_context("fork")
    ready, winners = context.Barrier(count), context.SimpleQueue()
    arguments = (location, kind, ready, winners)
    children = [context.Process(target=claim_at_once, args=arguments) for _ in range(count)]
    for child in children:
        child.start()
    won = [winners.get()]
    for child in children:
        if child.pid not in won:
            child.join(60)
    while not winners.empty():
        won.append(winners.get())
    return [child for child in children if child.is_alive()], won


@pytest.mark.parametrize("kind", ["firing", "step"])
def test_of_8_processes_that_claim_at_once_one_wins_and_after_it_is_killed_one_other(
    store_location, kind
):
    Store.open(store_location, create=True).close()
    alive = []
    for _ in range(2):
        alive, won = race(store_location, kind)
        assert [child.pid for child in alive] == won, "one has it, and all others were told"
        alive[0].kill()
        alive[0].join()
        time.sleep(0.6)  # its lease is over


# --- steps --------------------------------------------------------------------------------------


def test_a_step_goes_through_its_states(store):
    me = identity()
    store.record_step(StepRun("p1", "load", "pending"))
    store.record_step(StepRun("p1", "train", "pending"))
    assert store.claim_step("p1", "load", me, 60)
    assert [step.state for step in store.step_runs("p1")] == ["running", "pending"]
    done = StepRun("p1", "load", "done", run="r1", key="sha256:k", parts={"a": 1}, owner=me)
    store.record_step(replace(done, started_at_ns=1, ended_at_ns=2, notebook="sha256:" + "0" * 64))
    first, second = store.step_runs("p1")
    assert (first.state, first.run, first.parts, first.lease_until_ns) == (
        "done",
        "r1",
        {"a": 1},
        None,
    )
    assert (second.step, second.state) == ("train", "pending")
    assert store.step_runs("p2") == []


def test_steps_come_in_the_order_in_which_they_were_told_of(store):
    for name in ("z", "a", "m[10]", "m[2]"):
        store.record_step(StepRun("p1", name, "pending"))
    store.record_step(StepRun("p1", "z", "done"))
    assert [step.step for step in store.step_runs("p1")] == ["z", "a", "m[10]", "m[2]"]
    store.record_step(StepRun("p0", "x", "pending"))
    assert store.latest_pipeline_runs() == ["p0", "p1"]


@pytest.mark.parametrize(
    ("state", "is_free"),
    [
        ("pending", True),
        ("ready", True),
        ("done", False),
        ("cached", False),
        ("failed", False),
        ("skipped", False),
        ("upstream_failed", False),
    ],
)
def test_only_a_step_that_waits_can_be_claimed(store, state, is_free):
    store.record_step(StepRun("p1", "train", state))
    assert store.claim_step("p1", "train", AWAY, 60) is is_free


def test_a_running_step_keeps_its_lease_when_more_is_told_of_it(store, clock):
    assert store.claim_step("p1", "train", AWAY, 60)
    until = store.step_runs("p1")[0].lease_until_ns
    store.record_step(StepRun("p1", "train", "running", run="r1", owner=AWAY))
    (step,) = store.step_runs("p1")
    assert (step.run, step.lease_until_ns) == ("r1", until)
    clock.now_s += 30
    assert store.renew_step("p1", "train", AWAY, 60)
    assert store.step_runs("p1")[0].lease_until_ns == until + 30 * S


def test_who_was_taken_for_dead_cannot_write_over_its_successor(store, clock):
    assert store.claim_step("p1", "train", AWAY, 60)
    clock.now_s += 61
    assert store.abandoned_steps("p1") == ["train"]
    assert store.claim_step("p1", "train", FAR, 60)
    with pytest.raises(StepTaken, match=r"Step train"):
        store.record_step(StepRun("p1", "train", "failed", owner=AWAY))
    assert not store.renew_step("p1", "train", AWAY, 60)
    store.record_step(StepRun("p1", "train", "done", run="r2", owner=FAR))
    with pytest.raises(StepTaken):
        store.record_step(StepRun("p1", "train", "failed", owner=AWAY))
    assert store.step_runs("p1")[0].run == "r2"


def test_who_runs_a_step_may_give_it_back_without_saying_who_it_is(store):
    assert store.claim_step("p1", "train", identity(), 60)
    store.record_step(StepRun("p1", "train", "pending", attempt=2))
    assert store.claim_step("p1", "train", AWAY, 60)
    with pytest.raises(StepTaken):
        store.record_step(StepRun("p1", "train", "pending", attempt=3))


def test_a_failed_step_may_be_set_to_wait_again_and_claimed_by_another(store):
    assert store.claim_step("p1", "train", AWAY, 60)
    store.record_step(StepRun("p1", "train", "failed", owner=AWAY))
    store.record_step(StepRun("p1", "train", "pending", attempt=2))
    assert store.claim_step("p1", "train", FAR, 60)
    (step,) = store.step_runs("p1")
    assert (step.state, step.attempt, step.owner) == ("running", 2, FAR)


def test_what_is_said_of_an_error_holds_no_secret(store):
    said = {
        "type": "ValueError",
        "message": "cannot reach postgresql://ann:hunter2x9@host/db",
        "line": 3,
    }
    store.record_step(StepRun("p1", "train", "failed", error=said))
    (step,) = store.step_runs("p1")
    assert "hunter2" not in str(step.error)
    assert step.error["line"] == 3


# --- values -------------------------------------------------------------------------------------


def unit_in(folder: Path, **files: bytes) -> Packed:
    """A unit whose files lie in a folder."""
    folder.mkdir(exist_ok=True, parents=True)
    packed = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        packed.append(PackedFile(name, digest, len(data)))
    return Packed(("model",), "npy", tuple(packed), "nbfp1:1")


def blob_of(store: Store, digest: str) -> Path:
    hexes = digest.removeprefix("sha256:")
    return store.folder / "blobs" / hexes[:2] / hexes[2:]


def test_values_come_back_as_they_were(store, tmp_path):
    unit = unit_in(tmp_path / "u", a=b"first" * 1000, b=b"")
    store.put_values(unit, tmp_path / "u")
    shutil.rmtree(tmp_path / "u")
    store.fetch_values(unit, tmp_path / "v" / "w")
    assert (tmp_path / "v" / "w" / "a").read_bytes() == b"first" * 1000
    assert (tmp_path / "v" / "w" / "b").read_bytes() == b""
    for path in (tmp_path / "v" / "w").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400, "it may only be read"
    store.fetch_values(unit, tmp_path / "v" / "w")
    assert sorted(path.name for path in (tmp_path / "v" / "w").iterdir()) == ["a", "b"]


def test_a_file_that_is_not_what_it_is_said_to_be_is_not_kept(store, tmp_path):
    unit = unit_in(tmp_path / "u", a=b"first")
    (tmp_path / "u" / "a").write_bytes(b"first and more")
    with pytest.raises(CorruptValue, match="model"):
        store.put_values(unit, tmp_path / "u")
    (tmp_path / "u" / "a").unlink()
    with pytest.raises(CorruptValue, match="a is not there"):
        store.put_values(unit, tmp_path / "u")


def test_a_link_is_no_file_of_a_unit(store, tmp_path):
    unit = unit_in(tmp_path / "u", a=b"first")
    (tmp_path / "elsewhere").write_bytes(b"first")
    (tmp_path / "u" / "a").unlink()
    (tmp_path / "u" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptValue):
        store.put_values(unit, tmp_path / "u")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", ".", ""])
def test_no_file_of_a_unit_leads_out_of_its_folder(store, tmp_path, name):
    unit = unit_in(tmp_path / "u", a=b"first")
    store.put_values(unit, tmp_path / "u")
    bad = replace(unit, files=(replace(unit.files[0], name=name),))
    with pytest.raises(CorruptValue, match="no file of a unit"):
        store.fetch_values(bad, tmp_path / "v")
    with pytest.raises(CorruptValue, match="no file of a unit"):
        store.put_values(bad, tmp_path / "u")


def test_values_that_are_gone_are_named_with_their_step(store, tmp_path):
    unit = unit_in(tmp_path / "u", a=b"first")
    with pytest.raises(CorruptValue, match="model of step train: no bytes are kept"):
        store.fetch_values(unit, tmp_path / "v", step="train")
    assert not (tmp_path / "v" / "a").exists()


def test_on_one_file_system_nothing_is_copied(folder, tmp_path):
    with Store.open(folder, create=True) as store:
        unit = unit_in(tmp_path / "u", a=b"first" * 1000)
        inode = (tmp_path / "u" / "a").stat().st_ino
        store.put_values(unit, tmp_path / "u")
        store.fetch_values(unit, tmp_path / "v")
        assert blob_of(store, unit.files[0].digest).stat().st_ino == inode
        assert (tmp_path / "v" / "a").stat().st_ino == inode
        store.put_values(unit, tmp_path / "v")
        assert (tmp_path / "v" / "a").read_bytes() == b"first" * 1000


def test_where_no_link_can_be_made_it_is_copied_and_checked(folder, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with Store.open(folder, create=True) as store:
        unit = unit_in(tmp_path / "u", a=b"first" * 1000)
        store.put_values(unit, tmp_path / "u")
        (tmp_path / "u" / "a").write_bytes(b"other" * 1000)
        store.fetch_values(unit, tmp_path / "v")
        assert (tmp_path / "v" / "a").read_bytes() == b"first" * 1000
        wrong = replace(unit.files[0], digest="sha256:" + "0" * 64)
        with pytest.raises(CorruptValue):
            store.put_values(replace(unit, files=(wrong,)), tmp_path / "u")


def test_a_value_that_nobody_has_touched_is_not_read_again_by_another_process(folder, tmp_path):
    with Store.open(folder, create=True) as store:
        unit = unit_in(tmp_path / "u", a=b"first" * 1000)
        store.put_values(unit, tmp_path / "u")
        path = blob_of(store, unit.files[0].digest)
    if not hasattr(os, "getxattr") or not os.listxattr(path):
        pytest.skip("this file system keeps no attributes")
    before = path.stat().st_atime_ns
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    with Store.open(folder) as again:
        again.fetch_values(unit, tmp_path / "v")
    assert path.stat().st_atime_ns == 0, before


DAMAGE = {
    "another byte": lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:]),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.unlink(), path.symlink_to("/etc/hostname")),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("is_same_process", [True, False])
def test_a_damaged_value_is_found_before_it_is_used_and_can_be_saved_again(
    folder, tmp_path, kind, is_same_process
):
    with Store.open(folder, create=True) as store:
        unit = unit_in(tmp_path / "u", a=b"first" * 1000)
        store.put_values(unit, tmp_path / "u")
        path = blob_of(store, unit.files[0].digest)
        shutil.rmtree(tmp_path / "u")
        path.chmod(0o600)
        DAMAGE[kind](path)
    with Store.open(folder) if not is_same_process else store as again:
        with pytest.raises(CorruptValue, match="model of step train"):
            again.fetch_values(unit, tmp_path / "v", step="train")
        assert not any((tmp_path / "v").iterdir())
        unit_in(tmp_path / "u", a=b"first" * 1000)
        again.put_values(unit, tmp_path / "u")
        again.fetch_values(unit, tmp_path / "v")
        assert (tmp_path / "v" / "a").read_bytes() == b"first" * 1000


def test_a_damaged_value_on_a_server_is_found_and_can_be_saved_again(
    postgres, server_store, tmp_path
):
    with Store.open(server_store) as store:
        unit = unit_in(tmp_path / "u", a=b"first" * 1000)
        store.put_values(unit, tmp_path / "u")
        name = server_store.rpartition("/")[2].partition("?")[0]
        postgres.execute("UPDATE byte_rows SET data = 'x'", name)
        with pytest.raises(CorruptValue, match="were changed"):
            store.fetch_values(unit, tmp_path / "v")
        store.put_values(unit, tmp_path / "u")
        store.fetch_values(unit, tmp_path / "v")
        assert (tmp_path / "v" / "a").read_bytes() == b"first" * 1000


@pytest.fixture
def remote():
    """Bytes below a URL, as those of a team's object store."""
    memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem
    memory.store.clear()
    yield Blobs("memory://team/blobs"), memory
    memory.store.clear()


def test_values_below_a_url_are_checked_both_ways(remote, tmp_path):
    blobs, memory = remote
    unit = unit_in(tmp_path / "u", a=b"first" * 1000)
    (tmp_path / "u" / "a").write_bytes(b"other" * 1000)
    with pytest.raises(CorruptValue, match="were changed"):
        values.put_values(blobs, unit, tmp_path / "u")
    assert not blobs.has(unit.files[0].digest)
    unit_in(tmp_path / "u", a=b"first" * 1000)
    values.put_values(blobs, unit, tmp_path / "u")
    values.fetch_values(blobs, unit, tmp_path / "v", "train", may_repair=True)
    assert (tmp_path / "v" / "a").read_bytes() == b"first" * 1000
    (path,) = memory.store
    memory.store[path].seek(0)
    memory.store[path].write(b"\0")
    with pytest.raises(CorruptValue, match="were changed"):
        values.fetch_values(blobs, unit, tmp_path / "w", "train", may_repair=True)
    assert not any((tmp_path / "w").iterdir())
    values.put_values(blobs, unit, tmp_path / "u")
    values.fetch_values(blobs, unit, tmp_path / "w", "train", may_repair=True)


def test_a_file_that_a_step_wrote_is_written_again_and_may_be_changed(store, tmp_path):
    path = tmp_path / "report.txt"
    path.write_text("first")
    digest, size = store.put_file(path)
    path.write_text("other")
    store.fetch_file(digest, size, tmp_path / "new" / "report.txt")
    assert (tmp_path / "new" / "report.txt").read_text() == "first"
    path.chmod(0o640)
    store.fetch_file(digest, size, path)
    assert path.read_text() == "first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("changed")
    store.fetch_file(digest, size, path)
    assert path.read_text() == "first", "the store has its own copy"
    with pytest.raises(CorruptValue, match=r"report\.txt"):
        store.fetch_file("sha256:" + "0" * 64, size, path)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".rep")] == []


def test_a_store_that_may_only_be_read_gives_values_and_takes_none(folder, tmp_path, monkeypatch):
    with Store.open(folder, create=True) as store:
        unit = kept_value(store, "model")
    with Store.open(folder) as store:
        store.is_read_only = True
        store.fetch_values(unit, tmp_path / "v")
        for change in (
            lambda: store.put_values(unit, tmp_path / "v"),
            lambda: store.claim_step("p", "s", AWAY, 1),
            lambda: store.save_facts("p", [Fact("a", "reads", ("x",))]),
        ):
            with pytest.raises(StoreUnwritable):
                change()


# --- results ------------------------------------------------------------------------------------


def cached(run=A, key="sha256:k", at=T0, **given) -> CachedStep:
    return CachedStep(key, "churn", "train", run, at, {"source": ["x"]}, **given)


def test_results_come_back_as_they_were(store):
    unit = Packed(
        ("a", "b"),
        "pickle",
        (PackedFile("x.bin", "sha256:" + "a" * 64, 3),),
        "d",
        {"a": "1", "b": "2"},
        "opaque",
        "hmac-sha256:…",
        3,
        {"version": 5},
    )
    files = {"out/é.csv": {"digest": "sha256:" + "b" * 64, "size_bytes": 9}}
    made = cached(units=(unit,), files=files, notebook="sha256:" + "c" * 64, duration_s=1.5)
    store.save_cached(made)
    assert store.find_cached("sha256:k") == made
    assert store.find_cached("sha256:other") is None


def test_the_newest_of_several_results_comes_first(store):
    for run, at in ((A, T0), (C, T0 + 2), (B, T0 + 1)):
        store.save_cached(cached(run, at=at))
    assert [one.run for one in store.cached_steps("churn", "train")] == [C, B, A]
    assert [one.run for one in store.cached_steps(key="sha256:k", limit=1)] == [C]
    assert store.cached_steps("churn", "other") == []


def test_results_of_a_deleted_run_are_not_used_until_it_is_brought_back(store):
    store.apply([run_started(A)])
    store.save_cached(cached())
    store.edit_runs([A], {"deleted": True})
    assert store.find_cached("sha256:k") is None
    store.edit_runs([A], {"deleted": False})
    assert store.find_cached("sha256:k").run == A


def test_results_can_be_forgotten_by_what_they_are_and_when_they_were_used(store, clock):
    store.save_cached(cached(A, "sha256:1", at=T0))
    store.save_cached(cached(B, "sha256:2", at=T0))
    store.save_cached(replace(cached(C, "sha256:3"), step="load"))
    store.touch_cached("sha256:2", B)
    used = int(clock.now_s * S)
    assert [one.run for one in store.drop_cached(step="train", before_ns=used)] == [A]
    assert [one.run for one in store.drop_cached(pipeline="other")] == []
    assert [one.run for one in store.drop_cached(step="load")] == [C]
    assert [one.run for one in store.drop_cached()] == [B]
    assert store.cached_steps() == []


def test_what_a_running_pipeline_uses_is_not_forgotten(store, clock):
    store.save_cached(cached(A))
    store.save_cached(cached(B))
    store.record_step(StepRun("p1", "load", "cached", cached_from=A))
    store.record_step(StepRun("p1", "clean", "done", run=B))
    assert store.claim_step("p1", "train", AWAY, 60)
    assert store.drop_cached() == []
    clock.now_s += 61
    assert len(store.drop_cached()) == 2


def test_a_proof_is_of_one_split(store):
    proof = SplitProof(
        "churn",
        "sha256:1",
        "differs",
        T0,
        ({"step": "train", "name": "auc", "whole": "1", "split": "2", "same": False},),
        ("train also takes X",),
        "auc of train",
        A,
    )
    store.save_proof(proof)
    store.save_proof(replace(proof, split="sha256:2", verdict="equal", at_ns=T0 + 1))
    assert store.find_proof("churn", "sha256:1") == proof
    assert store.find_proof("churn").verdict == "equal"
    store.save_proof(replace(proof, verdict="equal"))
    assert store.find_proof("churn", "sha256:1").verdict == "equal"
    assert store.find_proof("other") is None
    assert store.find_proof("churn", "sha256:3") is None


def test_facts_add_up_and_each_is_kept_once(store):
    first = Fact("train", "mutates", ("X",), "xxh3:1", "in cell 4")
    other = replace(first, code="xxh3:2")
    store.save_facts("churn", [first])
    store.save_facts("churn", [first, other])
    store.save_facts("churn", [])
    store.save_facts("else", [first])
    assert store.facts("churn") == [first, other]
    assert store.drop_facts("churn") == 2
    assert store.facts("else") == [first]


# --- schedules ----------------------------------------------------------------------------------


def test_a_schedule_comes_back_as_it_was(store):
    made = Schedule(
        "0a1b",
        "nightly",
        "0 6 * * 1",
        "Europe/Brussels",
        "/srv/é.ipynb",
        {"C": 0.5, "names": ["a"]},
        {"jobs": 2},
        "all",
        "queue",
        is_paused=True,
        created_at_ns=T0,
        created_by="ann",
        next_at_ns=T0 + S,
    )
    store.save_schedule(made)
    assert store.schedules() == [made]
    assert store.find_schedule("nightly") == store.find_schedule("0a") == made
    assert store.find_schedule("none") is None
    assert store.find_schedule("") is None
    store.save_schedule(replace(made, id="0a2c"))
    assert store.find_schedule("nightly") is None, "two are meant"
    assert len(store.find_schedules("nightly")) == 2
    assert store.drop_schedule("0a1b")
    assert not store.drop_schedule("0a1b")


def test_of_two_who_set_the_next_time_the_first_does(store):
    store.save_schedule(Schedule("s", "n", "* * * * *", "UTC", "/x", next_at_ns=1))
    assert store.advance_schedule("s", 1, 2)
    assert not store.advance_schedule("s", 1, 3)
    assert store.find_schedule("s").next_at_ns == 2
    assert store.advance_schedule("s", 2, None)
    assert store.advance_schedule("s", None, 4)


def test_firings_come_latest_first_and_outlive_their_schedule(store):
    for number in range(5):
        assert store.claim_firing("s", number, AWAY, 60)
    store.drop_schedule("s")
    assert [each.due_at_ns for each in store.firings("s", 3)] == [4, 3, 2]


# --- caring for the whole store -----------------------------------------------------------------


def make_old(folder: Path) -> None:
    at = time.time() - 3 * 86400
    for path in (folder / "blobs").rglob("*"):
        os.utime(path, (at, at))


@pytest.fixture
def filled(folder):
    """A store with a result whose value, file and notebook are bytes of it."""
    with Store.open(folder, create=True) as store:
        store.apply([run_started(A)])
        unit = kept_value(store, "model", b"value")
        path = folder.parent / "out.csv"
        path.write_bytes(b"file")
        digest, size = store.put_file(path)
        notebook = store._blobs.put(b"notebook")
        files = {"out.csv": {"digest": digest, "size_bytes": size}}
        store.save_cached(cached(units=(unit,), files=files, notebook=notebook))
        failed = store._blobs.put(b"failed notebook")
        store.record_step(StepRun("p1", "test", "failed", notebook=failed))
        make_old(folder)
        yield store


def blobs_left(store) -> set[bytes]:
    return {path.read_bytes() for path in (store.folder / "blobs").rglob("*") if path.is_file()}


ALL = {b"value", b"file", b"notebook", b"failed notebook"}


def test_what_results_and_steps_refer_to_is_no_garbage(filled):
    assert care.collect_garbage(filled, is_done=True, keep_s=0).is_empty
    assert blobs_left(filled) == ALL
    assert care.check(filled.folder).findings == []


def test_what_was_forgotten_goes_with_the_next_collection(filled):
    filled.save_cached(cached(B, "sha256:k2"))  # whose parts name the same digests
    filled.drop_cached(run=A)
    care.collect_garbage(filled, is_done=True, keep_s=0)
    assert blobs_left(filled) == {b"failed notebook"}


def test_a_digest_in_the_parts_of_a_key_keeps_no_bytes(filled):
    (unit,) = filled.cached_steps()[0].units
    parts = {"inputs": {"model": {"content": [unit.files[0].digest]}}}
    filled.save_cached(replace(cached(B, "sha256:k2"), parts=parts))
    filled.record_step(StepRun("p2", "test", "done", parts=parts))
    filled.drop_cached(run=A)
    care.collect_garbage(filled, is_done=True, keep_s=0)
    assert b"value" not in blobs_left(filled)


def test_with_a_run_that_is_removed_for_good_its_results_go(filled):
    filled.edit_runs([A], {"deleted": True})
    care.collect_garbage(filled, is_done=True, keep_s=0)
    assert filled.cached_steps() == []
    assert blobs_left(filled) == {b"failed notebook"}


def test_a_missing_value_is_found_by_a_check(filled):
    (unit,) = filled.cached_steps()[0].units
    blob_of(filled, unit.files[0].digest).unlink()
    (finding,) = care.check(filled.folder).findings
    assert finding.kind == "blob-missing"
    assert "cached_step" in finding.examples[0]


def test_a_value_of_another_size_is_found_by_a_quick_check(filled):
    (unit,) = filled.cached_steps()[0].units
    path = blob_of(filled, unit.files[0].digest)
    path.chmod(0o600)
    path.write_bytes(b"more than a value")
    kinds = {finding.kind for finding in care.check(filled.folder, is_quick=True).findings}
    assert kinds == {"blob-size"}


def test_a_step_that_nobody_runs_any_more_is_found_by_a_check(filled):
    assert filled.claim_step("p1", "train", {**identity(), "pid": 2**22 + 1}, 3600)
    assert filled.claim_step("p1", "load", identity(), 3600)
    (finding,) = care.check(filled.folder).findings
    assert (finding.kind, finding.examples) == ("step-open", ("train of run p1",))


def test_a_copy_has_everything_and_follows_what_goes_on(filled, tmp_path):
    filled.record_step(StepRun("p1", "train", "running", owner=AWAY))
    filled.save_schedule(Schedule("s", "n", "* * * * *", "UTC", "/x", next_at_ns=1))
    assert care.copy(filled.folder, tmp_path / "b").findings == []
    filled.record_step(StepRun("p1", "train", "done", run="r1", owner=AWAY))
    filled.advance_schedule("s", 1, 2)
    filled.save_facts("churn", [Fact("train", "reads", ("x",))])
    assert care.copy(filled.folder, tmp_path / "b").findings == []
    with Store.open(tmp_path / "b") as copied:
        assert [step.state for step in copied.step_runs("p1")] == ["failed", "done"]
        assert copied.find_schedule("s").next_at_ns == 2
        assert copied.facts("churn") == filled.facts("churn")
        (step,) = copied.cached_steps()
        copied.fetch_values(step.units[0], tmp_path / "v")
    assert (tmp_path / "v" / "0.bin").read_bytes() == b"value"


def test_what_is_further_in_the_target_stays(filled, tmp_path):
    filled.save_schedule(Schedule("s", "n", "* * * * *", "UTC", "/x", next_at_ns=1))
    care.copy(filled.folder, tmp_path / "b")
    with Store.open(tmp_path / "b") as copied:
        copied.advance_schedule("s", 1, 5)
    assert care.copy(filled.folder, tmp_path / "b").findings == []
    with Store.open(tmp_path / "b") as copied:
        assert copied.find_schedule("s").next_at_ns == 5


def test_a_copy_to_a_server_and_back_is_whole(filled, server_store, tmp_path):
    assert care.copy(filled.folder, server_store).findings == []
    assert care.copy(server_store, tmp_path / "c").findings == []
    with Store.open(tmp_path / "c") as back:
        assert back.cached_steps() == filled.cached_steps()
        assert back.step_runs("p1") == filled.step_runs("p1")
        back.fetch_values(back.cached_steps()[0].units[0], tmp_path / "v")


def test_a_backup_is_a_store_with_all_of_it(filled, tmp_path):
    report = care.backup(filled, tmp_path / "saved.tar")
    assert report.findings == []
    care.copy(tmp_path / "saved.tar", tmp_path / "restored")
    with Store.open(tmp_path / "restored") as restored:
        assert restored.cached_steps() == filled.cached_steps()
        assert blobs_left(restored) == ALL


@pytest.mark.parametrize(
    "units",
    ["null", "5", "[5]", '[{"files": 3}]', '[{"files": [[1, 2, 3]]}]', '[{"files": [{}]}]'],
)
def test_rows_of_a_store_from_elsewhere_break_no_care(filled, units):
    connection = sqlite3.connect(filled.folder / "store.db")
    connection.execute("UPDATE cached_steps SET units = ?, files = ?", (units, units))
    connection.commit()
    connection.close()
    care.collect_garbage(filled, keep_s=0)
    kinds = {finding.kind for finding in care.check(filled.folder).findings}
    assert kinds <= {"blob-orphan"}
    assert filled.cached_steps() == [], "it is made again"


def test_an_older_store_gets_the_tables_and_keeps_what_it_has(tmp_path):
    """As the version before made it: its tables, without those of pipelines."""
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.apply([run_started(A)])
    connection = sqlite3.connect(tmp_path / ".mlops" / "store.db")
    for table in PIPELINE_TABLES:
        connection.execute(f"DROP TABLE {table.name}")
    connection.execute("UPDATE meta SET schema = 3")
    connection.commit()
    connection.close()
    with Store.open(tmp_path / ".mlops") as store:
        assert store.get_run(A).id == A
        store.record_step(StepRun("p1", "train", "pending"))
        assert store.info()["schema"] == 4
    assert (tmp_path / ".mlops" / "store.db.schema-3.backup").is_file()


def test_an_older_server_gets_the_tables_when_somebody_upgrades_it(postgres, empty_database):
    Store.open(empty_database).close()
    name = empty_database.rpartition("/")[2].partition("?")[0]
    asked = (
        "SELECT table_name, column_name, data_type, is_nullable"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    made = postgres.execute(asked, name)
    indexes = postgres.execute("SELECT indexdef FROM pg_indexes ORDER BY 1", name)
    tables = ", ".join(table.name for table in PIPELINE_TABLES)
    drop = f"DROP TABLE {tables}; UPDATE meta SET schema = 3"  # noqa: S608 - names of ours
    postgres.execute(drop, name)
    with pytest.raises(StoreError, match="mlops-nb store upgrade"):
        Store.open(empty_database)
    assert upgrade_store(empty_database) == (3, 4)
    found = [row for row in postgres.execute(asked, name) if row[0] != "alembic_version"]
    assert found == made
    migrated = postgres.execute("SELECT indexdef FROM pg_indexes ORDER BY 1", name)
    assert [row for row in migrated if "alembic" not in row[0]] == indexes
    with Store.open(empty_database) as store:
        assert store.claim_firing("s", T0, AWAY, 60)


def test_the_kernel_loads_nothing_of_this():
    code = "import mlops_nb, sys; print([m for m in sys.modules if 'store.pipelines' in m])"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"
