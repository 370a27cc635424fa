"""Bytes on a real S3 server: written once, streamed, kept here, and clear words when it is away."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
START_TIMEOUT_S = 60
SECRET = "correct-horse-battery"  # noqa: S105 - of a server on this machine


def s3_python() -> str:
    """The interpreter with an S3 server and its client; without it nothing may pass unseen."""
    path = ROOT / ".venv-s3" / "bin" / "python"
    if not path.exists():
        pytest.fail(f"no interpreter with s3fs at {path}; make it: make .venv-s3")
    return str(path)


@contextlib.contextmanager
def running(command, **options):
    """A process of its own group, which is ended with all it started."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask_server(url: str, method: str, path: str, body: str | None = None) -> int:
    """Ask the server about itself; gives the status of its answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "text/plain"})
        return connection.getresponse().status


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of an S3 server on a free port."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [s3_python(), "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    with log, running(command, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError):
                ask_server(url, "GET", "/moto-api/data.json")
                break
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url


@dataclass
class Answer:
    """What a program said: its `result`, or what it raised."""

    result: object = None
    error: str | None = None
    kinds: tuple = field(default_factory=tuple)


class Client:
    """A process with S3's library, in which programs run one after the other."""

    def __init__(self, process) -> None:
        self._process = process

    def ask(self, program: str, **names) -> Answer:
        text = textwrap.dedent(program)
        self._process.stdin.write(json.dumps([text, names]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process ended"
        return Answer(**json.loads(line))

    def run(self, program: str, **names) -> object:
        """Run a program that has to succeed, and give its `result`."""
        answer = self.ask(program, **names)
        assert answer.error is None, answer.error
        return answer.result


@contextlib.contextmanager
def client_of(url: str, home: Path, **changes):
    """A client whose only credentials are those of the test."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FSSPEC_"))}
    variables |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "ann",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    variables = {k: v for k, v in {**variables, **changes}.items() if v is not None}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [s3_python(), str(Path(__file__).parent / "s3_child.py")]
    with running(command, env=variables, text=True, **pipes) as process:
        client = Client(process)
        client.run("import sys; sys.path.insert(0, place)", place=str(Path(__file__).parent))
        yield client


@pytest.fixture(scope="module")
def shared_client(server, tmp_path_factory):
    with client_of(server, tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def client(shared_client, tmp_path):
    """A client, with a bucket and a cache that no other test has."""
    bucket = f"lab-{os.urandom(4).hex()}"
    shared_client.run(
        """
        import os, s3fs
        os.environ["XDG_CACHE_HOME"] = cache
        s3fs.S3FileSystem().mkdir(bucket)
        """,
        bucket=bucket,
        cache=str(tmp_path / "cache"),
    )
    prelude = textwrap.dedent(
        f"""
        import s3fs
        from pathlib import Path
        from mlops_nb.store.blobs import Blobs
        files = s3fs.S3FileSystem(use_listings_cache=False)
        url = "s3://{bucket}/team/blobs"
        root = "{bucket}/team/blobs"
        blobs = Blobs(url)
        def at(digest):
            hexes = digest.removeprefix("sha256:")
            return f"{{root}}/{{hexes[:2]}}/{{hexes[2:]}}"
        """
    )
    return Prepared(shared_client, prelude)


class Prepared(Client):
    """A client that knows the bucket of one test."""

    def __init__(self, client: Client, prelude: str) -> None:
        super().__init__(client._process)
        self._prelude = prelude

    def ask(self, program: str, **names) -> Answer:
        return super().ask(self._prelude + textwrap.dedent(program), **names)


# --- bytes --------------------------------------------------------------------------------------


def test_bytes_come_back_by_their_sha256(client):
    assert client.run(
        """
        digest = blobs.put(b"hello")
        result = [digest, blobs.read(digest).decode(), blobs.has(digest), files.find(root)]
        """
    ) == [HELLO, "hello", True, [client.run("result = at(digest)", digest=HELLO)]]


def test_bytes_that_are_not_there_are_an_error_with_a_remedy(client):
    answer = client.ask("blobs.read(digest)", digest=HELLO)
    assert "StoreError" in answer.kinds
    assert "no bytes are kept" in answer.error


def test_an_object_is_made_once_however_many_put_it_at_once(client):
    versions = client.run(
        """
        from concurrent.futures import ThreadPoolExecutor
        bucket = root.partition("/")[0]
        files.call_s3("put_bucket_versioning", Bucket=bucket,
                      VersioningConfiguration={"Status": "Enabled"})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: blobs.put(b"hello"), range(16)))
        found = files.call_s3("list_object_versions", Bucket=bucket)
        result = len(found["Versions"])
        """
    )
    assert versions == 1


def test_an_object_that_was_cut_short_is_written_anew(client):
    assert (
        client.run(
            """
            blobs.put(b"hello")
            files.pipe_file(at(digest), b"hel")
            blobs.put(b"hello")
            result = files.cat_file(at(digest)).decode()
            """,
            digest=HELLO,
        )
        == "hello"
    )


def test_bytes_that_were_changed_on_the_server_are_not_given_out(client):
    answer = client.ask(
        """
        files.pipe_file(at(digest), b"HELLO")
        blobs.read(digest)
        """,
        digest=HELLO,
    )
    assert "were changed" in answer.error


def test_a_large_file_goes_and_comes_in_pieces(client, tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(os.urandom(1 << 20) * 40)
    etag, size, largest, is_same = client.run(
        """
        from hashlib import sha256
        digest, size = blobs.put_file(Path(file))
        pieces = list(map(len, blobs.chunks(digest)))
        result = [files.info(at(digest))["ETag"], size, max(pieces), sum(pieces) == size]
        """,
        file=str(file),
    )
    assert etag.strip('"').endswith("-3"), "40 MB are three pieces of 16 MB"
    assert (size, largest, is_same) == (40 << 20, 1 << 20, True)


def test_what_a_forked_child_puts_is_there(client):
    assert client.run(
        """
            import os
            blobs.put(b"before")
            child = os.fork()
            if not child:
                code = 1
                try:
                    code = 0 if blobs.put(b"hello") == digest else 2
                finally:
                    os._exit(code)
            result = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), blobs.has(digest)]
            """,
        digest=HELLO,
    ) == [0, True]


def test_only_old_objects_are_removed(client):
    assert client.run(
        """
        import time
        blobs.put(b"hello")
        listed = [each.size_bytes for each in blobs.everything()]
        young = blobs.remove(digest, time.time() - 3600)
        old = blobs.remove(digest, time.time() + 3600)
        result = [listed, young, old, blobs.has(digest), blobs.remove(digest, time.time())]
        """,
        digest=HELLO,
    ) == [[5], False, True, False, False]


# --- the cache ----------------------------------------------------------------------------------


def test_what_was_read_once_is_not_fetched_again(client):
    assert (
        client.run(
            """
            files.pipe_file(at(digest), b"hello")
            blobs.read(digest)
            files.rm_file(at(digest))
            result = Blobs(url).read(digest).decode()
            """,
            digest=HELLO,
        )
        == "hello"
    )


def test_a_damaged_file_of_the_cache_is_fetched_again(client, tmp_path):
    client.run("blobs.put(b'hello'); blobs.read(digest)", digest=HELLO)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [b"hello"]
    kept[0].write_bytes(b"HELLO")
    assert client.run("result = blobs.read(digest).decode()", digest=HELLO) == "hello"
    assert kept[0].read_bytes() == b"hello"


def test_checking_looks_at_the_server_and_not_at_the_cache(client):
    assert (
        client.run(
            """
            blobs.put(b"hello")
            files.pipe_file(at(digest), b"HELLO")
            result = blobs.state(digest)
            """,
            digest=HELLO,
        )
        == "changed"
    )


# --- what goes wrong ----------------------------------------------------------------------------


PUT_AND_READ = """
from mlops_nb.store.blobs import Blobs
blobs = Blobs(url)
result = []
for attempt in (lambda: blobs.put(b"hello"), lambda: blobs.read(digest)):
    try:
        attempt()
    except Exception as error:
        result.append([type(error).__name__, str(error)])
"""


def trouble(url, home, *, where="s3://lab/blobs", **changes):
    with client_of(url, home, **changes) as client:
        found = client.run(PUT_AND_READ, url=where, digest=HELLO)
    assert [kind for kind, _ in found] == ["StoreUnwritable", "StoreError"]
    assert not any(SECRET in text for _, text in found)
    return [text for _, text in found]


def test_without_credentials_the_error_says_where_to_put_them(server, tmp_path):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    for text in trouble(server, tmp_path, **none):
        assert text.startswith("s3://lab/blobs: there are no credentials for it. ")
        assert "AWS_ACCESS_KEY_ID" in text


def test_a_server_that_is_away_is_an_error_and_no_endless_wait(tmp_path):
    for text in trouble(f"http://127.0.0.1:{free_port()}", tmp_path):
        assert "its server cannot be used" in text
        assert "Check the network" in text


def test_a_bucket_that_is_not_there_is_an_error_with_a_remedy(server, tmp_path):
    for text in trouble(server, tmp_path, where="s3://nobody-made-this/blobs"):
        assert "there is no such place" in text
        assert "Make the bucket first" in text


def test_a_server_that_refuses_says_so(server, tmp_path):
    def limit(count: str) -> None:
        """How many requests are let in that no known user signed."""
        assert ask_server(server, "POST", "/moto-api/reset-auth", count) == 200

    limit("0")
    try:
        found = trouble(server, tmp_path)
    finally:
        limit("inf")
    for text in found:
        assert "its server refuses" in text
        assert "Check that your credentials are right" in text


def test_a_password_in_a_url_is_in_no_error(server, tmp_path):
    url = f"s3://ann:{SECRET}@lab/blobs"
    with client_of(server, tmp_path) as client:
        found = client.run(PUT_AND_READ, url=url, digest=HELLO)
    assert "credentials do not belong into its URL" in found[0][1]
    assert not any(SECRET in text for _, text in found)


def test_without_the_library_the_error_says_what_to_install(tmp_path):
    from mlops_nb.errors import MissingExtra
    from mlops_nb.store.blobs import Blobs

    with pytest.raises(MissingExtra, match=r"pip install mlops-nb\[s3\]"):
        Blobs("s3://lab/blobs").put(b"hello")


# --- whole stores -------------------------------------------------------------------------------

WITH_STORES = """
from mlops_nb.model import ArtifactLogged
from mlops_nb.store import Store, care
from mlops_nb.store.care.copying import copy_store
from events import A, T0, run_started

def on_s3(folder):
    store = Store.open(folder, create=True)
    store._blobs = blobs  # as one on a server has them
    return store
"""


def test_a_store_is_copied_to_s3_and_back_and_every_byte_compared(client, tmp_path):
    counts, findings, back, bytes_ = client.run(
        WITH_STORES
        + """
with Store.open(f"{folder}/a", create=True) as a:
    a.apply([run_started(A), *(ArtifactLogged(A, f"f{n}", "file", "x", T0, b"%d" % n * 1000)
                               for n in range(20))])
with Store.open(f"{folder}/a") as a, on_s3(f"{folder}/b") as b:
    with a.inside() as here, b.inside() as there:
        report = copy_store(here, there)
    with b.inside() as here, Store.open(f"{folder}/c", create=True) as c, c.inside() as there:
        back = copy_store(here, there)
    result = [
        len(report.blobs.copied), len(report.findings) + len(back.findings),
        len(back.blobs.copied),
        c.read_blob(next(f.digest for f in c.get_run(A).artifacts if f.name == "f3")).decode(),
    ]
""",
        folder=str(tmp_path),
    )
    assert (counts, findings, back, bytes_) == (20, 0, 20, "3" * 1000)


def test_a_check_finds_what_is_changed_and_gone_on_the_server(client, tmp_path):
    kinds = client.run(
        WITH_STORES
        + """
from mlops_nb.store.care.checking import check_parts
with on_s3(f"{folder}/b") as store:
    store.apply([run_started(A), *(ArtifactLogged(A, f"f{n}", "file", "x", T0, b"%d" % n)
                                   for n in range(3))])
    digests = [a.digest for a in store.get_run(A).artifacts]
    files.pipe_file(at(digests[0]), b"x")
    files.rm_file(at(digests[1]))
    with store.inside() as parts:
        result = {f.kind: f.examples[0][:20] == digests[f.kind == "blob-missing"][:20]
                  for f in check_parts(parts).findings}
""",
        folder=str(tmp_path),
    )
    assert kinds == {"blob-changed": True, "blob-missing": True}
