"""Rules of owners: a spool's process lives or it does not, and nobody is fooled."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from spool_children import kill, start_writer, state_seen_from_outside

from mlops_nb.store.spool import Spool
from mlops_nb.store.spool.owner import HEARTBEAT_S, LEASE_S, OWNER_FILE, owner_state


@pytest.fixture
def spool(tmp_path):
    opened = Spool.create(tmp_path / "spool", "s", state_dir=tmp_path / "state")
    yield opened
    opened.close()


def test_a_process_that_looks_at_its_own_spool_stays_its_owner(spool):
    assert owner_state(spool.folder) == "alive"
    assert state_seen_from_outside(spool.folder) == "alive"


def test_a_copy_made_by_the_owner_does_not_make_it_dead(spool, tmp_path):
    # Reading a file through any descriptor drops the record lock when that is closed.
    shutil.copytree(spool.folder, tmp_path / "copy")
    assert state_seen_from_outside(spool.folder) == "alive"


def test_an_owner_that_closed_its_spool_is_dead(spool):
    spool.close()
    assert owner_state(spool.folder) == "dead"


def test_a_killed_owner_is_dead_even_before_its_parent_noticed(tmp_path):
    with start_writer(tmp_path, 1) as process:
        process.stdout.readline()
        assert owner_state(tmp_path / "spool" / "s") == "alive"
        kill(process)
        assert owner_state(tmp_path / "spool" / "s") == "dead"


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        pytest.param("host", "another-host", id="another machine"),
        pytest.param("namespace", "pid:[1]", id="another container"),
    ],
)
def test_a_process_id_from_elsewhere_is_not_judged_until_the_lease_is_over(tmp_path, fact, value):
    with start_writer(tmp_path, 1) as process:
        process.stdout.readline()
        kill(process)
    folder = tmp_path / "spool" / "s"
    owner = folder / OWNER_FILE
    text = owner.read_text()
    owner.write_text(json.dumps({**json.loads(text), "boot": "another", fact: value}))
    assert owner_state(folder) == "elsewhere"
    long_ago = time.time() - LEASE_S - 1
    os.utime(owner, (long_ago, long_ago))
    assert owner_state(folder) == "dead"


def test_an_owner_from_before_the_machine_started_is_dead(tmp_path):
    with start_writer(tmp_path, 1) as process:
        process.stdout.readline()
        kill(process)
    owner = tmp_path / "spool" / "s" / OWNER_FILE
    facts = {**json.loads(owner.read_text()), "boot": "another", "pid": os.getpid()}
    owner.write_text(json.dumps(facts))
    assert owner_state(owner.parent) == "dead"


def test_the_lease_is_renewed_often_enough():
    assert HEARTBEAT_S * 3 < LEASE_S


def test_a_process_that_took_over_the_process_id_is_not_the_owner(tmp_path):
    with start_writer(tmp_path, 1) as process:
        process.stdout.readline()
        kill(process)
    owner = tmp_path / "spool" / "s" / OWNER_FILE
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "pid": os.getpid()}))
    assert owner_state(owner.parent) == "dead"
