"""Addresses of databases, and file systems that need care."""

from pathlib import Path

import pytest

from mlops_nb.errors import StoreError
from mlops_nb.store import Store, connect, upgrade

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/ann/local xfs rw 0 0
tmpfs /var tmpfs rw 0 0
share /mnt/my\\040share cifs rw 0 0
files /mnt/ssh fuse.sshfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("folder", "is_on_network"),
    [
        ("/home/ann/work", True),
        ("/home/ann/local/work", False),
        ("/homes", False),
        ("/var/x", False),
        ("/mnt/my share/x", True),
        ("/mnt/ssh", True),
        ("/", False),
    ],
)
def test_a_folder_is_on_the_file_system_mounted_nearest_to_it(folder, is_on_network):
    assert connect.is_on_network(Path(folder), MOUNTS) is is_on_network


def test_on_a_network_no_memory_is_shared_between_hosts(tmp_path, monkeypatch):
    monkeypatch.setattr(upgrade, "is_on_network", lambda folder: True)
    with Store.open(tmp_path / ".mlops", create=True) as store:
        assert store.info()["journal_mode"] == "truncate"
        assert store.runs() == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://ann:secret@db:5432/lab", "postgresql+psycopg://db:5432/lab"),
        ("postgresql://db/lab?password=secret&user=ann", "postgresql://db/lab"),
        ("postgresql://ann:secret@", "postgresql://"),
        ("not an address://ann:secret", "not an address://…"),
    ],
)
def test_a_location_never_shows_what_opens_it(url, shown):
    assert connect.location_of(url) == shown


@pytest.mark.parametrize("url", ["s3://secret-bucket/x", "foo+bar://ann:secret@db/x"])
def test_what_is_no_database_is_refused_without_its_secrets(url, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_BLOBS", "memory://blobs")
    with pytest.raises(StoreError, match="no address of a database") as caught:
        Store.open(url)
    assert "ann" not in str(caught.value)
