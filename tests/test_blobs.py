"""Bytes stored once, under what they are."""

import hashlib
import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.store.blobs import Blobs, Kept, Stray
from mlops_nb.store.blobs.cache import BlobCache

HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No bytes of another test, and none left on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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


# --- large, damaged, and put again --------------------------------------------------------------


def path_of(root, digest):
    return root / digest[7:9] / digest[9:]


def test_bytes_come_in_pieces_and_are_checked_at_the_end(blobs):
    digest = blobs.put(b"x" * 3_000_000)
    pieces = list(blobs.chunks(digest))
    assert b"".join(pieces) == b"x" * 3_000_000
    assert max(map(len, pieces)) <= 1 << 20 or blobs.is_remote


def test_pieces_that_were_changed_are_told_after_the_last_one(tmp_path):
    blobs = Blobs(str(tmp_path))
    digest = blobs.put(b"hello")
    path_of(tmp_path, digest).write_bytes(b"HELLO")
    pieces = blobs.chunks(digest)
    assert next(pieces) == b"HELLO"
    with pytest.raises(StoreError, match="were changed"):
        next(pieces)


def test_pieces_that_are_not_what_they_should_be_are_not_taken(blobs):
    with pytest.raises(StoreError, match="were changed"):
        blobs.take(HELLO, [b"hel", b"LO"])
    assert not blobs.has(HELLO)
    blobs.take(HELLO, [b"hel", b"lo"])
    assert blobs.state(HELLO) == "ok"


def test_what_is_taken_replaces_what_was_damaged(tmp_path):
    blobs = Blobs(str(tmp_path))
    path_of(tmp_path, blobs.put(b"hello")).write_bytes(b"HELLO")
    assert blobs.state(HELLO) == "changed"
    blobs.take(HELLO, [b"hello"])
    assert blobs.state(HELLO) == "ok"


def test_a_file_that_was_cut_short_is_written_anew_when_its_bytes_come_again(tmp_path):
    blobs = Blobs(str(tmp_path))
    path = path_of(tmp_path, blobs.put(b"hello"))
    path.write_bytes(b"hel")
    blobs.put(b"hello")
    assert path.read_bytes() == b"hello"


def test_bytes_that_are_put_again_are_young_again(tmp_path):
    blobs = Blobs(str(tmp_path))
    path = path_of(tmp_path, blobs.put(b"hello"))
    os.utime(path, (0, 0))
    blobs.put(b"hello")
    assert path.stat().st_mtime > 0
    assert not blobs.remove(HELLO, 1.0)


def test_only_bytes_that_are_old_enough_are_removed(tmp_path):
    blobs = Blobs(str(tmp_path))
    path = path_of(tmp_path, blobs.put(b"hello"))
    os.utime(path, (1000, 1000))
    assert not blobs.remove(HELLO, 1000)
    assert blobs.read(HELLO) == b"hello"
    assert blobs.remove(HELLO, 1001)
    assert not blobs.has(HELLO)
    assert not blobs.remove(HELLO, 1001)


def test_a_file_that_changes_while_it_is_stored_is_not_stored_as_what_it_was(
    tmp_path, monkeypatch
):
    file = tmp_path / "growing"
    file.write_bytes(b"hello")
    real = hashlib.file_digest

    def digest_then_change(*arguments):
        found = real(*arguments)
        file.write_bytes(b"HELLO")
        return found

    monkeypatch.setattr(hashlib, "file_digest", digest_then_change)
    blobs = Blobs(str(tmp_path / "blobs"))
    with pytest.raises(StoreError, match="were changed"):
        blobs.put_file(file)
    assert not blobs.has(HELLO)


def test_everything_is_listed_and_what_is_none_is_told_apart(tmp_path):
    blobs = Blobs(str(tmp_path))
    digests = sorted(blobs.put(b"%d" % n) for n in range(20))
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / f".{'c' * 62}.1.ff").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "ff").exists() or (tmp_path / "ff").symlink_to("/")
    found = list(blobs.everything())
    assert [f"sha256:{each.hexes}" for each in found if isinstance(each, Kept)] == digests
    strays = {
        each.path.rpartition("/")[2]: each.is_draft for each in found if isinstance(each, Stray)
    }
    assert strays.pop(f".{'c' * 62}.1.ff") is True
    assert strays.pop("notes.txt") is False


# --- nothing leads out --------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_is_not_followed_to_read(tmp_path, what):
    root, outside = tmp_path / "blobs", tmp_path / "outside"
    outside.mkdir()
    blobs = Blobs(str(root))
    path = path_of(root, blobs.put(b"hello"))
    (outside / path.name).write_bytes(b"hello")
    path.unlink()
    if what == "file":
        path.symlink_to(outside / path.name)
    else:
        path.parent.rmdir()
        path.parent.symlink_to(outside)
    assert not blobs.has(HELLO)
    with pytest.raises(StoreError, match="a link is there, which is not followed"):
        blobs.read(HELLO)


def test_a_link_is_not_followed_to_write(tmp_path):
    root, outside = tmp_path / "blobs", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    path_of(root, HELLO).parent.symlink_to(outside)
    with pytest.raises(StoreUnwritable, match="link"):
        Blobs(str(root)).put(b"hello")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_not_read(tmp_path, make):
    blobs = Blobs(str(tmp_path))
    path_of(tmp_path, HELLO).parent.mkdir()
    make(path_of(tmp_path, HELLO))
    with pytest.raises(StoreError, match="cannot be read"):
        blobs.read(HELLO)


# --- the cache ----------------------------------------------------------------------------------


HEXES = HELLO.removeprefix("sha256:")


def kept_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def filled(cache, *contents):
    for number, data in enumerate(contents):
        hexes = hashlib.sha256(data).hexdigest()
        cache.put(hexes, data)
        path = cache._path(hexes)
        if path.exists():
            os.utime(path, (number + 1, number + 1))
    return [hashlib.sha256(data).hexdigest() for data in contents]


def test_the_cache_is_private_and_gives_back_what_was_put(tmp_path):
    before = os.umask(0)
    try:
        cache = BlobCache(tmp_path / "cache")
        cache.put(HEXES, b"hello")
    finally:
        os.umask(before)
    assert cache.read(HEXES) == b"hello"
    for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_damaged_file_of_the_cache_is_thrown_out(tmp_path):
    cache = BlobCache(tmp_path)
    cache.put(HEXES, b"hello")
    cache._path(HEXES).write_bytes(b"HELLO")
    assert cache.read(HEXES) is None
    assert kept_in(tmp_path) == []


def test_a_link_in_the_cache_is_not_followed(tmp_path):
    cache = BlobCache(tmp_path / "cache")
    cache.put(HEXES, b"hello")
    (tmp_path / "other").write_bytes(b"hello")
    cache._path(HEXES).unlink()
    cache._path(HEXES).symlink_to(tmp_path / "other")
    assert cache.read(HEXES) is None


def test_the_cache_is_bounded_and_the_least_recently_used_goes_first(tmp_path):
    cache = BlobCache(tmp_path, limit_bytes=1000)
    first, second, *_ = filled(cache, *(b"%d" % n * 200 for n in range(4)))
    assert cache.read(first) is not None  # used now, so the second is the oldest
    cache.put(hashlib.sha256(b"9" * 200).hexdigest(), b"9" * 200)
    cache.put(hashlib.sha256(b"8" * 200).hexdigest(), b"8" * 200)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 1000
    assert cache.read(first) is not None
    assert cache.read(second) is None


def test_bytes_larger_than_the_cache_do_not_empty_it(tmp_path):
    cache = BlobCache(tmp_path, limit_bytes=1000)
    (first,) = filled(cache, b"x" * 200)
    cache.put(HEXES, b"y" * 5000)
    assert cache.read(first) is not None


def test_without_room_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_BLOB_CACHE_BYTES", "0")
    cache = BlobCache(tmp_path / "cache")
    cache.put(HEXES, b"hello")
    assert cache.read(HEXES) is None
    assert kept_in(tmp_path) == []


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o770])
def test_a_folder_that_others_may_enter_is_no_cache(tmp_path, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    cache = BlobCache(tmp_path / "cache")
    cache.put(HEXES, b"hello")
    assert kept_in(tmp_path) == []
    assert cache.read(HEXES) is None


def test_what_is_thrown_out_while_it_is_read_can_be_read_on(tmp_path):
    cache = BlobCache(tmp_path)
    cache.put(HEXES, b"hello")
    with cache.open(HEXES) as file:
        cache._path(HEXES).unlink()
        assert file.read() == b"hello"
