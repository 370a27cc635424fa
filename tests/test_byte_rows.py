"""Bytes as rows of a server's own database."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest
from sqlalchemy import update

from mlops_nb.errors import StoreError
from mlops_nb.store import Store
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.blobs.rows import ByteRows
from mlops_nb.store.schema import byte_rows
from mlops_nb.store.server import server_engine

LARGE = os.urandom(9_000_000)


@pytest.fixture
def engine(server_store):
    made = server_engine(server_store)
    yield made
    made.dispose()


@pytest.fixture
def blobs(engine):
    return Blobs("a server", ByteRows(engine, "a server"))


@pytest.mark.parametrize("data", [b"", b"few", LARGE], ids=["none", "few", "in parts"])
def test_bytes_come_back_as_they_were(blobs, data, tmp_path):
    digest = blobs.put(data)
    assert blobs.read(digest) == data
    assert b"".join(blobs.chunks(digest)) == data
    assert blobs.has(digest)
    file = tmp_path / "file"
    file.write_bytes(data + b"!")
    assert blobs.read(blobs.put_file(file)[0]) == data + b"!"


def test_the_same_bytes_are_kept_once(blobs, engine):
    assert blobs.put(LARGE) == blobs.put(LARGE)
    assert [kept.size_bytes for kept in blobs.everything()] == [len(LARGE)]


def test_bytes_that_are_not_there_are_missed(blobs):
    digest = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
    assert not blobs.has(digest)
    assert blobs.state(digest) == "gone"
    with pytest.raises(StoreError, match="no bytes are kept"):
        blobs.read(digest)


def test_changed_bytes_are_refused_and_can_be_put_right(blobs, engine):
    digest = blobs.put(LARGE)
    with engine.execution_options(is_write=True).begin() as connection:
        last = byte_rows.c.part == 2
        connection.execute(update(byte_rows).where(last).values(data=b"damaged"))
    assert blobs.state(digest) == "changed"
    with pytest.raises(StoreError, match="were changed"):
        blobs.read(digest)
    with pytest.raises(StoreError, match="were changed"):
        blobs.take(digest, [LARGE, b"more"])
    blobs.take(digest, [LARGE[:5], LARGE[5:]])
    assert blobs.read(digest) == LARGE


def test_only_what_nobody_has_put_since_is_removed(blobs):
    before = time.time() - 60
    digest = blobs.put(b"few")
    assert not blobs.remove(digest, before)
    assert blobs.remove(digest, time.time() + 60)
    assert not blobs.has(digest)


def test_bytes_are_put_while_somebody_writes(blobs, engine):
    with engine.execution_options(is_write=True).begin():
        assert blobs.read(blobs.put(b"meanwhile")) == b"meanwhile"


def test_two_who_put_the_same_bytes_at_once_both_have_them(blobs):
    ready = threading.Barrier(4)
    found = []

    def put() -> None:
        ready.wait(10)
        found.append(blobs.put(LARGE))

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert blobs.read(found[0]) == LARGE


def test_one_setting_makes_a_store_of_a_team(server_store, monkeypatch):
    monkeypatch.delenv("MLOPS_NB_BLOBS", raising=False)
    with Store.open(server_store) as store:
        digest = store._blobs.put(b"an output")
        assert store.read_blob(digest) == b"an output"
