"""Rules of what others may read, what is never written, and stores that somebody else made."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from test_drain import RUN, log_steps, logged_steps

import mlops_nb
from mlops_nb import model
from mlops_nb.errors import MlopsNbError, StoreError
from mlops_nb.store import Store
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.spool import Spool
from mlops_nb.store.spool.owner import LEASE_S, OWNER_FILE

pytest_plugins = ["fault_fixtures"]

AT_NS = 1_700_000_000_000_000_000
PACKAGE = Path(mlops_nb.__file__).parent


def command_line(*arguments, **environment):
    command = [sys.executable, "-m", "mlops_nb", *map(str, arguments)]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_NB_")}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=variables | environment,
    )


# --- SQL ------------------------------------------------------------------------------------------

TAKE_SQL = {"text", "literal_column", "exec_driver_sql", "execute", "executemany", "executescript"}
# Text of SQL made of names and numbers that are constants of ours.
KNOWN_TO_BE_OURS = (
    "PRAGMA journal_mode=",
    "PRAGMA integrity_check(",
    "SELECT pg_advisory_xact_lock(",
    "SET {k} = ",
)


def built_statements():
    """Find calls that take SQL as text which is put together."""
    # Migrations are given nothing: they work on tables that they name themselves.
    for path in sorted(set(PACKAGE.rglob("*.py")) - set(PACKAGE.rglob("migrations/**/*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            built = (ast.JoinedStr, ast.BinOp)
            first = node.args[0]
            is_formatted = isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute)
            is_formatted = is_formatted and first.func.attr in {"format", "join", "replace"}
            if name in TAKE_SQL and (isinstance(first, built) or is_formatted):
                yield path.relative_to(PACKAGE), ast.unparse(first)


def test_no_statement_is_put_together_from_text():
    found = [
        (str(path), text)
        for path, text in built_statements()
        if not any(known in text for known in KNOWN_TO_BE_OURS)
    ]
    assert found == []


# --- who may read ---------------------------------------------------------------------------------

ALL_KINDS_OF_FILES = """
import os, time
import mlops_nb as mn
os.makedirs("plots", exist_ok=True)
with open("plots/plot.png", "wb") as file:
    file.write(bytes(100))
run = mn.run("open")
run.log_metric("loss", 1.0)
run.log_artifact("plots/plot.png")
print("an output")
---
import time
deadline = time.monotonic() + 30
while not os.path.exists(".mlops/store.db-wal") and time.monotonic() < deadline:
    time.sleep(0.02)
run.log_artifact("plots/plot.png")
open("reached", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
run.end()
---
%mlops_track --off
"""


def too_open(*folders):
    found = []
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if mode & 0o077:
                found.append((str(path), oct(mode)))
    return found


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_files_and_folders_are_private_under_any_umask(tmp_path, nursery, umask):
    state = tmp_path / "home" / "state"
    pid = nursery.start(
        "track",
        tmp_path,
        body=ALL_KINDS_OF_FILES,
        drainer=True,
        umask=umask,
        environment={"MLOPS_NB_STATE_DIR": str(state)},
    )
    wait_for((tmp_path / "reached").exists)
    meanwhile = too_open(tmp_path / ".mlops")
    (tmp_path / "go").touch()
    assert nursery.wait(pid) == 0, Path(f"{tmp_path}.log").read_text()
    assert meanwhile == []
    wait_for(lambda: not list((tmp_path / ".mlops" / "spool").iterdir()))
    assert too_open(tmp_path / ".mlops") == []


def test_the_state_folder_is_private_under_any_umask(tmp_path, nursery):
    # A file where the store's folder should be.
    (tmp_path / ".mlops").mkdir(mode=0o700)
    (tmp_path / ".mlops" / "spool").write_text("in the way")
    (tmp_path / ".mlops" / "spool").chmod(0o600)
    state = tmp_path / "home" / "state"
    body = "import mlops_nb as mn\nrun = mn.run('moved')\nrun.log_metric('loss', 1.0)\n"
    nursery.run(
        "track", tmp_path, body=body, umask=0, environment={"MLOPS_NB_STATE_DIR": str(state)}
    )
    assert list(state.rglob("*.segment"))
    assert too_open(tmp_path / "home", tmp_path / ".mlops") == []


def wait_for(is_so, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


# --- credentials ----------------------------------------------------------------------------------

PASSWORD = "hunter2Xyzzy"  # noqa: S105 - that is the point
URLS = {
    "database": f"postgresql://ann:{PASSWORD}@db.local:5432/lab",
    "web": f"https://ann:{PASSWORD}@data.local/train.csv",
    "bucket": f"s3://AKIAIOSFODNN7EXAMPLE:{PASSWORD}@bucket/key",
}
EVERYWHERE = """
import os, sys
import mlops_nb as mn
url = os.environ["DATA_URL"]
run = mn.run("reads " + url, tags={"source": url}, params={"url": url, "nested": {"deep": [url]}})
---
CONNECTION = "@URL@"
print("connecting to", url, file=sys.stderr)
print("connecting to", url)
run.log_param("url2", url)
with open("notes.txt", "w") as file:
    file.write("data: " + url)
run.log_artifact("notes.txt")
---
{"url": url}
---
import pandas as pd
try:
    pd.read_csv(os.environ["WEB_URL"])
except Exception as error:
    print(error)
---
try:
    raise ValueError("cannot open " + url)
except ValueError as error:
    run.end()
---
%mlops_doctor
---
!echo @URL@
---
with mn.run("fails"):
    mn.log_param("u", url)
---
%mlops_track --off
"""


def bytes_written(*places):
    """All bytes in files, those of blobs and series also as they are when inflated."""
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if not path.is_file():
                continue
            data = path.read_bytes()
            yield path, data
            try:
                yield path, zlib.decompress(data)
            except zlib.error:
                continue


def values_in(database):
    with sqlite3.connect(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            yield from connection.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608
    connection.close()


@pytest.mark.parametrize("kind", URLS)
def test_a_password_in_a_url_is_written_nowhere(tmp_path, nursery, kind):
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=60)
    remote = f"https://ann:{PASSWORD}@git.local/lab.git"
    subprocess.run(
        ["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True, timeout=60
    )
    environment = {
        "DATA_URL": URLS[kind],
        "WEB_URL": f"http://ann:{PASSWORD}@127.0.0.1:1/train.csv",
        "PIP_INDEX_URL": f"https://ann:{PASSWORD}@index.local/simple",
        "HTTPS_PROXY": f"http://ann:{PASSWORD}@proxy.local:3128",
        "NO_PROXY": "*",
    }
    nursery.run(
        "track", tmp_path, body=EVERYWHERE.replace("@URL@", URLS[kind]), environment=environment
    )
    store_folder = tmp_path / ".mlops"
    before = list(bytes_written(store_folder / "spool", nursery.state))
    with Store.open(store_folder, create=True) as store:
        drain(store, state_dir=nursery.state)
        assert store.count_runs() == 2
        seen = repr(store.runs()) + repr(store.info())
    assert before
    leaks = [
        str(path)
        for path, data in [*before, *bytes_written(store_folder, nursery.state)]
        if PASSWORD.encode() in data
    ]
    assert leaks == []
    assert PASSWORD not in seen
    assert not [row for row in values_in(store_folder / "store.db") if PASSWORD in str(row)]


def test_a_password_in_the_name_of_a_value_does_not_reach_the_store(folder, store, state_dir):
    spool = Spool.create(folder / "spool", "s", state_dir=state_dir)
    url = URLS["web"]
    spool.append(model.RunStarted(RUN, AT_NS, "churn", "interactive", session="s", group="g"))
    spool.append(model.ParamLogged(RUN, url, 1, AT_NS))
    spool.append(model.TagSet(RUN, url, "x", AT_NS))
    log_steps(spool, range(3), f"rows of {url}")
    drain(store, state_dir=state_dir)
    spool.close()
    run = store.get_run(RUN)
    names = [*run.params, *run.tags, *run.metrics]
    assert len(names) == 3
    assert all("data.local" in name and PASSWORD not in name for name in names)
    assert not [row for row in values_in(folder / "store.db") if PASSWORD in str(row)]


@pytest.mark.parametrize("where", ["option", "variable", "configuration"])
@pytest.mark.parametrize("verb", ["runs", "doctor", "show"])
def test_the_password_of_a_store_is_told_nowhere(tmp_path, where, verb):
    url = f"postgresql+psycopg://ann:{PASSWORD}@127.0.0.1:1/lab?sslpassword={PASSWORD}"
    environment = {
        "MLOPS_NB_STATE_DIR": str(tmp_path / "state"),
        "MLOPS_NB_BLOBS": f"s3://key:{PASSWORD}@bucket/blobs",
        "MLOPS_NB_CONFIG": str(tmp_path / "config.toml"),
    }
    options = ["@-1"] if verb == "show" else []
    if where == "option":
        options += ["--store", url]
    elif where == "variable":
        environment["MLOPS_NB_STORE"] = url
    else:
        (tmp_path / "config.toml").write_text(f'store = "{url}"\n')
    done = command_line(verb, *options, **environment)
    assert done.returncode != 0 or verb == "doctor"
    assert done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    state = tmp_path / "state"
    assert not [path for path, data in bytes_written(state) if PASSWORD.encode() in data]


def test_a_kernel_with_a_store_on_a_server_writes_its_password_nowhere(tmp_path, nursery):
    url = f"postgresql+psycopg://ann:{PASSWORD}@127.0.0.1:1/lab"
    body = "import mlops_nb as mn\nwith mn.run('away') as run:\n    run.log_metric('auc', 0.9)\n"
    state = tmp_path / "state"
    environment = {
        "MLOPS_NB_STORE": url,
        "MLOPS_NB_STATE_DIR": str(state),
        "MLOPS_NB_BLOBS": str(tmp_path / "blobs"),
    }
    ends = f"{body}---\n%mlops_doctor\n---\n%mlops_track --off"
    printed = nursery.run("track", tmp_path, body=ends, environment=environment)
    assert PASSWORD not in printed
    assert list(state.rglob("*.segment"))
    leaks = [path for path, data in bytes_written(tmp_path) if PASSWORD.encode() in data]
    assert leaks == []
    assert not [path for path in tmp_path.rglob("*") if PASSWORD in str(path)]


# --- a store that somebody else made ----------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def hostile_values(canary):
    script = f"<script>document.title='x'</script><img src=x onerror=alert(1)>{canary.name}"
    return {
        "pickle": pickle.dumps(Bomb(canary)),
        "html": script,
        "path": f"../../../../../../../../{canary}",
        "sql": "'; DROP TABLE runs; --",
        "object": {"py/object": "os.system", "__class__": "os.mkdir", "x": [script]},
    }


def fill(database, value):
    """Put a value into every field of every row."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            if table == "meta" or table.startswith("sqlite_"):
                continue
            for _, name, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")'):
                given = _as_kind(value, kind)
                if given is None or name in {"status", "kind", "id", "run", "key", "session"}:
                    continue
                connection.execute(f'UPDATE OR IGNORE "{table}" SET "{name}" = ?', [given])  # noqa: S608
    connection.close()


def _as_kind(value, kind):
    if kind == "JSON":
        plain = value.decode("latin-1") if isinstance(value, bytes) else value
        return json.dumps(plain)
    if kind in {"BLOB", "BYTEA"}:
        return value if isinstance(value, bytes) else str(value).encode()
    if kind.startswith(("TEXT", "VARCHAR")):
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return None


def a_run(run, execution, at_ns=AT_NS):
    return [
        model.EnvironmentSeen("xxh3:e", {"python": "3.11"}),
        model.SessionStarted("s", at_ns, "host", 1, "3.11", {}, environment="xxh3:e"),
        model.ExecutionStarted(execution, "s", 1, at_ns, "x = 1", "xxh3:0"),
        model.RunStarted(run, at_ns, "name", "interactive", session="s", group="g"),
        model.RunExecuted(run, execution, "body"),
        model.ParamLogged(run, "C", "words", at_ns),
        model.TagSet(run, "note", "words", at_ns),
        model.OutputSeen(execution, 0, "display", "", "text/html", b"<b>x</b>", 8),
        model.MetricLogged(run, "auc", 0.5, None, at_ns),
        *[model.MetricLogged(run, "loss", step / 7, step, at_ns) for step in range(100)],
        model.DataUsed(run, "X", "train", "DataFrame", "nbfp1:0", "exact", at_ns),
        model.ExecutionEnded(execution, at_ns + 400, "ok", 1.0, 1.0),
        model.RunChanged(run, at_ns + 500, {"status": "finished"}),
    ]


@pytest.mark.parametrize("kind", ["pickle", "html", "path", "sql", "object"])
def test_opening_a_hostile_store_runs_nothing_and_touches_nothing(tmp_path, folder, kind):
    canary = tmp_path / "canary"
    value = hostile_values(canary)[kind]
    with Store.open(folder, create=True) as store:
        store.apply([*a_run("a" * 16, "e1"), *a_run("b" * 16, "e2", AT_NS + 1)])
    for path in (folder / "blobs").rglob("*"):
        if path.is_file():
            path.write_bytes(value if isinstance(value, bytes) else str(value).encode())
    fill(folder / "store.db", value)
    around = sorted(path for path in tmp_path.rglob("*") if folder not in path.parents)
    with Store.open(folder) as store:
        for ask in (
            store.runs,
            lambda: store.runs("params.C = 'x' or metrics.auc > 0 or name like 'a%'"),
            store.count_runs,
            store.info,
            store.refresh,
            store.latest_of_groups,
            lambda: store.get_run("a" * 16),
            lambda: store.series("a" * 16, "loss"),
            lambda: store.session_executions("s"),
            lambda: store.environment("xxh3:e"),
        ):
            _answer_or_our_error(ask)
        for digest in _digests_in(folder):
            with pytest.raises(StoreError):
                store.read_blob(digest)
    show_everything(folder)
    assert not canary.exists()
    assert sorted(path for path in tmp_path.rglob("*") if folder not in path.parents) == around
    with sqlite3.connect(folder / "store.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    connection.close()


SHOW_EVERYTHING = """
import sys
from mlops_nb.cli import main
a, b = "a" * 16, "b" * 16
for verb in (["runs"], ["show", a], ["compare"], ["diff", a, b], ["lineage", a], ["doctor"]):
    for form in ("table", "json", "md"):
        try:
            main([*verb, "--store", sys.argv[1], "--format", form])
        except SystemExit:
            pass
"""


def show_everything(folder):
    """Have the command line show the store in all ways; a bug of ours would be a traceback."""
    command = [sys.executable, "-c", SHOW_EVERYTHING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def _answer_or_our_error(ask):
    with contextlib.suppress(MlopsNbError):
        ask()


def _digests_in(folder):
    with sqlite3.connect(folder / "store.db") as connection:
        found = {row[0] for row in connection.execute("SELECT digest FROM outputs")}
    connection.close()
    return found | {"sha256:../../../etc/passwd", "sha256:" + "../" * 21 + "a", "md5:x", ""}


def hostile_run(run, number, script):
    """What a run is told of, with a script wherever there may be text."""
    at_ns, execution = AT_NS + number, f"e{number}"
    error = {"type": script, "message": script, "traceback": [script]}
    return [
        model.ExecutionStarted(execution, "s", number, at_ns, f"{script} {number}", "xxh3:0"),
        model.RunStarted(run, at_ns, script, "interactive", session="s", group=script),
        model.RunExecuted(run, execution, "body"),
        model.ParamLogged(run, script, f"{script} {number}", at_ns),
        model.ParamLogged(run, f"{script} nested", {script: [script, number]}, at_ns),
        model.TagSet(run, script, script, at_ns),
        model.OutputSeen(execution, 0, "display", script, "text/html", script.encode(), 8),
        model.MetricLogged(run, script, number / 7, None, at_ns),
        model.DataUsed(run, script, script, script, f"nbfp1:{number}", "exact", at_ns),
        model.ArtifactLogged(run, script, "figure", "text/plain", at_ns, data=script.encode()),
        model.ExecutionEnded(execution, at_ns + 400, "error", 1.0, 1.0, error=error),
        model.RunChanged(run, at_ns + 500, {"status": "failed", "error": error, "note": script}),
    ]


def test_what_a_hostile_store_shows_is_escaped(tmp_path, folder):
    script = hostile_values(tmp_path / "canary")["html"]
    with Store.open(folder, create=True) as store:
        store.apply([*hostile_run("a" * 16, 1, script), *hostile_run("b" * 16, 2, script)])
    pages = {}
    for verb in (["compare"], ["diff", "a" * 16, "b" * 16]):
        page = tmp_path / f"{verb[0]}.html"
        done = command_line(*verb, "--store", folder, "--html", page)
        assert done.returncode == 0, done.stderr
        pages[verb[0]] = page.read_text("utf-8")
    for page in pages.values():
        assert "canary" in page
        assert "<script>document" not in page
        assert "<img src=x" not in page
    show_everything(folder)


def test_views_and_triggers_of_a_hostile_store_call_no_function(tmp_path, folder):
    with Store.open(folder, create=True) as store:
        store.apply(a_run("a" * 16, "e1"))
    canary = tmp_path / "canary"
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute("ALTER TABLE tags RENAME TO hidden")
        connection.execute(
            f"CREATE VIEW tags AS SELECT run, key, writefile('{canary}', value) AS value, at,"  # noqa: S608
            " load_extension('/tmp/evil') AS x FROM hidden"
        )
    connection.close()
    with Store.open(folder) as store:
        _answer_or_our_error(store.runs)
    assert not canary.exists()


# --- a spool that somebody else made ----------------------------------------------------------------


@pytest.fixture
def precious(tmp_path):
    """What a user would not want to lose or to show."""
    folder = tmp_path / "precious"
    (folder / "deep").mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    (folder / "deep" / "key").write_text("a secret")
    yield folder
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert (folder / "deep" / "key").read_text() == "a secret"


def make_old(*paths):
    long_ago = time.time() - 10 * LEASE_S
    for path in paths:
        os.utime(path, (long_ago, long_ago), follow_symlinks=True)


@pytest.fixture
def hostile_spool(folder, state_dir, store):
    spool = Spool.create(folder / "spool", "s", state_dir=state_dir)
    spool.append(model.RunStarted(RUN, AT_NS, "churn", "interactive", session="s", group="g"))
    yield spool
    spool.close()


@pytest.mark.parametrize("form", ["{}", "../../../precious/thesis.txt", "staged/../../../{}", 7])
def test_a_spool_names_no_file_of_the_user_as_its_copy(
    hostile_spool, store, state_dir, precious, form
):
    name = form if isinstance(form, int) else form.format(precious / "thesis.txt")
    event = model.ArtifactLogged(RUN, "plot", "figure", "text/plain", AT_NS, staged=name)
    hostile_spool.append(event)
    log_steps(hostile_spool, range(10))
    drain(store, state_dir=state_dir)
    assert logged_steps(store) == list(range(10))
    digests = [artifact.digest for artifact in store.get_run(RUN).artifacts]
    assert not [digest for digest in digests if digest.startswith("sha256:")]


def test_a_link_in_a_spool_leads_to_no_file_of_the_user(hostile_spool, store, state_dir, precious):
    (hostile_spool.folder / "staged").mkdir()
    name = "staged/0123456789abcdef"
    (hostile_spool.folder / name).symlink_to(precious / "thesis.txt")
    hostile_spool.append(
        model.ArtifactLogged(RUN, "plot", "figure", "text/plain", AT_NS, staged=name)
    )
    drain(store, state_dir=state_dir)
    (artifact,) = store.get_run(RUN).artifacts
    assert not artifact.digest.startswith("sha256:")


@pytest.mark.parametrize("form", ["{}", "../../../../precious", "..", ".", "a/b", 7, None, ["x"]])
def test_a_spool_leads_no_reader_to_remove_a_folder_of_the_user(
    folder, store, state_dir, precious, form
):
    name = form.format(precious) if isinstance(form, str) else form
    spool = Spool.create(folder / "spool", "s", state_dir=state_dir)
    log_steps(spool, range(10))
    spool.close()
    about = spool.folder / "about.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "spool": name}))
    make_old(spool.folder / OWNER_FILE, spool.folder)
    for _ in range(2):
        drain(store, state_dir=state_dir)


def test_foreign_folders_and_links_in_a_store_are_never_removed(
    folder, store, state_dir, precious
):
    root = folder / "spool"
    (root / "kept").mkdir(parents=True)
    (root / "kept" / "notes.txt").write_text("mine")
    (root / "link").symlink_to(precious)
    spool = Spool.create(root, "s", state_dir=state_dir)
    spool.close()
    (spool.folder / "more").symlink_to(precious)
    (spool.folder / "notes.txt").write_text("mine")
    make_old(root / "kept", precious, spool.folder)
    for _ in range(2):
        drain(store, state_dir=state_dir)
    assert (root / "kept" / "notes.txt").read_text() == "mine"
    assert (spool.folder / "notes.txt").read_text() == "mine"
    assert not list(spool.folder.glob("*.segment"))


def test_a_store_of_another_user_is_refused(tmp_path, folder):
    if os.getuid() != 0:
        pytest.skip("only root may give a file to somebody else")
    with Store.open(folder, create=True) as store:
        store.apply(a_run("a" * 16, "e1"))
    os.chown(folder, 65_534, 65_534)
    command = [sys.executable, "-m", "mlops_nb", "runs"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert str(folder) in done.stderr
    assert "another user" in done.stderr
