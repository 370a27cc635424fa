"""Bytes stored once, under what they are."""

import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.store.blobs import Blobs

HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture(params=["folder", "object store"])
def blobs(request, tmp_path):
    if request.param == "folder":
        return Blobs(str(tmp_path / "blobs"))
    return Blobs(f"memory://{tmp_path.name}")


def test_the_address_of_bytes_is_their_sha256(blobs):
    assert blobs.put(b"hello") == HELLO
    assert blobs.read(HELLO) == b"hello"
    assert blobs.has(HELLO)


@given(data=st.binary(max_size=3000))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_come_back(blobs, data):
    assert blobs.read(blobs.put(data)) == data


def test_a_file_is_stored_as_its_bytes_are(blobs, tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"hello")
    assert blobs.put_file(file) == (HELLO, 5)
    assert blobs.read(HELLO) == b"hello"
    assert file.exists()


def test_bytes_that_are_not_there_are_an_error_with_a_remedy(blobs):
    assert not blobs.has(HELLO)
    with pytest.raises(StoreError, match="no bytes are kept"):
        blobs.read(HELLO)


@pytest.mark.parametrize(
    "address",
    ["", "sha256:", "md5:" + "0" * 64, HELLO.upper(), HELLO[:-1], "sha256:" + "../" * 21 + "x"],
)
def test_what_is_no_address_never_becomes_a_path(blobs, address):
    with pytest.raises(StoreError, match="no address"):
        blobs.read(address)


def test_a_blob_has_its_place_by_its_first_two_digits(tmp_path):
    Blobs(str(tmp_path)).put(b"hello")
    hexes = HELLO.removeprefix("sha256:")
    assert (tmp_path / hexes[:2] / hexes[2:]).read_bytes() == b"hello"


def test_equal_bytes_are_stored_once(tmp_path):
    blobs = Blobs(str(tmp_path))
    for _ in range(3):
        blobs.put(b"hello")
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 1


def test_bytes_that_were_changed_are_not_given_out(tmp_path):
    blobs = Blobs(str(tmp_path))
    blobs.put(b"hello")
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    path.write_bytes(b"HELLO")
    with pytest.raises(StoreError, match="were changed"):
        blobs.read(HELLO)


def test_files_are_private(tmp_path):
    before = os.umask(0)
    try:
        Blobs(str(tmp_path / "blobs")).put(b"hello")
    finally:
        os.umask(before)
    for path in (tmp_path / "blobs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_full_disk_leaves_no_half_of_a_blob(tmp_path, monkeypatch):
    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        Blobs(str(tmp_path)).put(b"hello")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_durable_blobs_can_still_be_read(blobs):
    digest = blobs.put(b"hello")
    blobs.make_durable()
    assert blobs.read(digest) == b"hello"
