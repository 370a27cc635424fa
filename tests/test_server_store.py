"""A store on a PostgreSQL server: who may open it, who upgrades it, and what nobody gets to see."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from events import T0, A, B, metric, run_started
from postgres_server import PASSWORD, QUOTED, USER
from test_upgrade import NEXT_STEP

from mlops_nb.errors import StoreError, StoreTooNew, StoreUnwritable
from mlops_nb.model import ParamLogged, RunChanged, TagSet
from mlops_nb.store import Store, server, upgrade
from mlops_nb.store.address import digest_of
from mlops_nb.store.schema import SCHEMA, metadata
from mlops_nb.store.spool.segments import SpoolPosition

FEW = 4


@pytest.fixture
def store(server_store):
    with Store.open(server_store) as opened:
        yield opened


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


# --- opening --------------------------------------------------------------------------------------


def test_an_empty_database_becomes_a_store_on_first_use(empty_database):
    with Store.open(empty_database) as store:
        store.apply([run_started(A), metric(A, "auc", 0.9)])
        assert store.get_run(A).metrics["auc"].value == 0.9
        assert not store.is_read_only
        assert store.info()["schema"] == SCHEMA
        assert store.info()["size_bytes"] > 0


def test_it_becomes_one_store_for_many_who_come_first(empty_database):
    ready = threading.Barrier(FEW)

    def open_and_record(number: int) -> None:
        ready.wait(10)
        with Store.open(empty_database) as store:
            store.apply([run_started(f"{number:016x}")])

    with ThreadPoolExecutor(FEW) as threads:
        list(threads.map(open_and_record, range(FEW)))
    with Store.open(empty_database) as store:
        assert len(store.runs()) == FEW


def test_a_database_of_something_else_is_left_alone(postgres, empty_database):
    postgres.execute("CREATE TABLE wages (name text)", name_of(empty_database))
    for attempt in (Store.open, upgrade.upgrade_store):
        with pytest.raises(StoreError, match="holds something else") as caught:
            attempt(empty_database)
        assert "search_path" in str(caught.value)
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert postgres.execute(tables, name_of(empty_database)) == [("wages",)]


def test_a_schema_of_its_own_in_such_a_database_is_a_store(postgres, empty_database):
    postgres.execute("CREATE TABLE wages (name text); CREATE SCHEMA team", name_of(empty_database))
    with Store.open(f"{empty_database}?options=-csearch_path%3Dteam") as store:
        store.apply([run_started(A)])
        assert store.location.endswith("?search_path=team")
        assert [run.id for run in store.runs()] == [A]


def test_a_database_that_cannot_keep_every_text_is_refused(postgres, empty_database):
    name = f"{name_of(empty_database)}_latin"
    made = f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    postgres.execute(made)
    try:
        with pytest.raises(StoreError, match="keeps text as LATIN1"):
            Store.open(postgres.url(name))
    finally:
        postgres.drop_database(name)


def test_a_file_keeps_no_text_in_another_order_than_a_server(postgres, empty_database):
    Store.open(empty_database).close()
    asked = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema ="
        " 'public' AND data_type = 'character varying' AND collation_name = 'C'"
    )
    sorted_so = set(postgres.execute(asked, name_of(empty_database)))
    assert {("runs", "name"), ("params", "word"), ("tags", "value"), ("files", "uri")} <= sorted_so


def test_names_sort_and_fit_as_in_a_file(store, tmp_path):
    names = ["b", "B", "a", "É", "é", "Z", "_", "aa", "😀", "ß"]
    runs = [run_started(f"{i:016x}", name=name) for i, name in enumerate(names)]
    queries = ["name > 'Z' order by name", "name like 'É'", "name like 'A%' order by name desc"]
    with Store.open(tmp_path / ".mlops", create=True) as file:
        for each in (store, file):
            each.apply(runs)
        for query in queries:
            expected = [run.name for run in file.runs(query)]
            assert [run.name for run in store.runs(query)] == expected
    assert [run.name for run in store.runs("order by name")] == sorted(names)


# --- who may ----------------------------------------------------------------------------------


@pytest.fixture
def reader(postgres, server_store):
    """Address of the store for somebody who may only read it."""
    database = name_of(server_store)
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest", database)
    yield server_store.replace(f"{USER}:{QUOTED}", "guest:guest")
    postgres.execute("DROP OWNED BY guest", database)
    postgres.execute("DROP ROLE guest")


def test_who_may_only_read_reads(store, reader):
    store.apply([run_started(A)])
    with Store.open(reader) as seen:
        assert seen.is_read_only
        assert [run.id for run in seen.runs()] == [A]
        assert seen.refresh() == 0
        with pytest.raises(StoreUnwritable, match="only be read"):
            seen.apply([run_started(B)])


def test_a_right_that_was_taken_away_is_no_fault_of_a_record(store, postgres, reader):
    postgres.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest", name_of(reader))
    with Store.open(reader) as theirs:
        postgres.execute("REVOKE INSERT ON runs FROM guest", name_of(reader))
        with pytest.raises(StoreUnwritable, match="permission denied"):
            theirs.apply([run_started(A)])


# --- upgrades -------------------------------------------------------------------------------------


def set_schema(postgres, url: str, schema: int) -> None:
    statement = f"UPDATE meta SET schema = {schema}, written_by = '9.9'"  # noqa: S608 - a number
    postgres.execute(statement, name_of(url))


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Let this package be the next version, whose runs have a column more."""
    steps = tmp_path / "migrations"
    shutil.copytree(upgrade.MIGRATIONS, steps, ignore=shutil.ignore_patterns("__pycache__"))
    now, following = f"{SCHEMA:04d}", f"{SCHEMA + 1:04d}"
    step = NEXT_STEP[: NEXT_STEP.index("revision =")] + "\n".join(
        [f'revision = "{following}"', f'down_revision = "{now}"']
    )
    step += NEXT_STEP[NEXT_STEP.index("\nbranch_labels") :]
    (steps / "versions" / "v_next.py").write_text(step)
    monkeypatch.setattr(upgrade, "MIGRATIONS", steps)
    monkeypatch.setattr(upgrade, "SCHEMA", SCHEMA + 1)
    return steps / "versions" / "v_next.py"


@pytest.fixture
def older(empty_database):
    """A store of this version, with a run."""
    with Store.open(empty_database) as store:
        store.apply([run_started(A), metric(A, "auc", 0.9)])
    return empty_database


def test_an_older_store_is_refused_until_somebody_upgrades_it(older, next_version):
    with pytest.raises(StoreError, match="mlops-nb store upgrade") as caught:
        Store.open(older)
    assert f"of schema {SCHEMA}, and this version needs {SCHEMA + 1}" in str(caught.value)
    assert upgrade.upgrade_store(older) == (SCHEMA, SCHEMA + 1)
    assert upgrade.upgrade_store(older) == (SCHEMA + 1, SCHEMA + 1)
    with Store.open(older) as store:
        assert store.get_run(A).metrics["auc"].value == 0.9


@pytest.mark.parametrize(
    "more",
    ["runs ADD COLUMN colour varchar", "runs ADD COLUMN size bigint NOT NULL DEFAULT 0"],
)
def test_the_version_before_goes_on_with_a_store_that_has_only_more(postgres, older, more):
    postgres.execute(f"ALTER TABLE {more}", name_of(older))
    set_schema(postgres, older, SCHEMA + 1)
    with Store.open(older) as store:
        store.apply([run_started(B)])
        assert {run.id for run in store.runs()} == {A, B}


@pytest.mark.parametrize(
    ("ahead", "change"),
    [
        (1, "runs DROP COLUMN note"),
        (1, "metrics RENAME TO measures"),
        (1, "spools ADD COLUMN colour varchar NOT NULL"),
        (2, "runs ADD COLUMN colour varchar"),
    ],
    ids=["a column less", "a table less", "a column that must be given", "two versions ahead"],
)  # fmt: skip
def test_it_is_refused_where_the_version_after_it_changed_more(postgres, older, ahead, change):
    postgres.execute(f"ALTER TABLE {change}", name_of(older))
    set_schema(postgres, older, SCHEMA + ahead)
    with pytest.raises(StoreTooNew, match="pip install -U mlops-nb"):
        Store.open(older)
    if ahead == 2:
        with pytest.raises(StoreTooNew):
            upgrade.upgrade_store(older)


def test_an_upgrade_that_fails_changes_nothing(postgres, older, next_version):
    broken = next_version.read_text() + '    op.add_column("gone", sa.Column("x", sa.String()))\n'
    next_version.write_text(broken)
    with pytest.raises(StoreError, match="gone"):
        upgrade.upgrade_store(older)
    database = name_of(older)
    assert postgres.execute("SELECT schema FROM meta", database) == [(SCHEMA,)]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'runs'"
    assert ("colour",) not in postgres.execute(columns, database)


def test_two_who_upgrade_at_once_do_it_once(older, next_version):
    ready = threading.Barrier(2)

    def upgraded(_: int) -> tuple[int, int]:
        ready.wait(10)
        return upgrade.upgrade_store(older)

    with ThreadPoolExecutor(2) as threads:
        done = sorted(threads.map(upgraded, range(2)))
    assert done == [(SCHEMA, SCHEMA + 1), (SCHEMA + 1, SCHEMA + 1)]


def test_text_that_an_upgrade_adds_is_sorted_as_all_other(postgres, older, next_version):
    upgrade.upgrade_store(older)
    asked = "SELECT collation_name FROM information_schema.columns WHERE column_name = 'colour'"
    assert postgres.execute(asked, name_of(older)) == [("C",)]


def test_upgrading_an_empty_database_makes_a_store(empty_database):
    assert upgrade.upgrade_store(empty_database) == (0, SCHEMA)
    with Store.open(empty_database) as store:
        assert store.runs() == []


def test_all_migrations_together_make_the_tables_of_a_new_store(empty_database, server_store):
    engine = server.server_engine(empty_database, is_patient=True)
    with engine.execution_options(is_write=True).begin() as connection:
        upgrade._migrate(connection, None)
    engine.dispose()
    asked = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    columns = [ask(url, asked) for url in (empty_database, server_store)]
    assert columns[0] == columns[1]
    assert {table for table, *_ in columns[0]} == set(metadata.tables)


def ask(url: str, statement: str) -> list[tuple]:
    engine = server.server_engine(url)
    with engine.connect() as connection:
        rows = sorted(tuple(row) for row in connection.exec_driver_sql(statement))
    engine.dispose()
    return rows


# --- values ---------------------------------------------------------------------------------------


def test_texts_that_are_too_long_for_an_index_are_kept(store):
    # Of random characters: a server makes long texts of few characters short by itself.
    words = [os.urandom(4_000).hex() for _ in range(2)]
    store.apply(
        [
            run_started(A),
            ParamLogged(A, "columns", words[0], T0),
            TagSet(A, "note", words[1], T0),
            RunChanged(A, T0, {"notebook": f"/{words[0]}", "group": words[1]}),
        ]
    )
    run = store.get_run(A)
    assert (run.params["columns"].value, run.tags["note"]) == (words[0], words[1])
    # Names end in a digest there, so that different ones stay different.
    assert run.notebook.startswith(f"/{words[0][:1_900]}")
    assert run.group.startswith(words[1][:1_900])
    assert [r.id for r in store.runs(f"tags.note = '{words[1]}'")] == [A]
    assert [r.id for r in store.runs("params.columns is not null")] == [A]


# --- two at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization", "deadlock"])
def test_what_another_transaction_got_in_the_way_of_is_done_again(store, postgres, state):
    database = name_of(store_url(store, postgres))
    postgres.execute(
        "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN"
        f" IF nextval('tries') < 3 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{state}';"
        " END IF; RETURN NEW; END $$ LANGUAGE plpgsql;"
        " CREATE TRIGGER refusing BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION refuse()",
        database,
    )
    try:
        assert store.apply([run_started(A)], spool_position=SpoolPosition("s", 0, 10))
    finally:
        postgres.execute("DROP FUNCTION refuse CASCADE; DROP SEQUENCE tries", database)
    assert [run.id for run in store.runs()] == [A]


def store_url(store, postgres) -> str:
    return postgres.url(store.location.rpartition("/")[2])


def test_a_reader_sees_one_moment(store, server_store):
    store.apply([run_started(A), metric(A, "auc", 0.5)])
    with store._reading() as connection, Store.open(server_store) as other:
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar() == 1
        other.apply([run_started(B)])
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar() == 1
    assert len(store.runs()) == 2


def write_points(url: str, number: int, points: int) -> None:
    run = f"{number:016x}"
    with Store.open(url) as store:
        store.apply([run_started(run)])
        for start in range(0, points, 250):
            store.apply([metric(run, "m", float(i)) for i in range(start, start + 250)])


def test_eight_processes_that_write_at_once_lose_nothing(store, server_store):
    spawning = multiprocessing.get_context("fork")
    processes = [
        spawning.Process(target=write_points, args=(server_store, number, 2_000))
        for number in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    for number in range(8):
        assert list(store.series(f"{number:016x}", "m").values) == [float(i) for i in range(2_000)]


# --- servers that do not answer ---------------------------------------------------------------


def test_a_server_that_is_not_there_is_told_at_once(postgres, server_store):
    nobody = server_store.replace(f":{postgres.port}/", ":1/")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        Store.open(nobody)
    assert "127.0.0.1:1/" in str(caught.value)


@pytest.fixture
def impatient(monkeypatch):
    """Wait less than a person would."""
    monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setitem(server._CONNECT, "connect_timeout", "2")


def test_a_server_that_does_not_answer_lets_a_reader_go(postgres, impatient, server_store):
    with Store.open(server_store) as store:
        store.apply([run_started(A)])
        with postgres.frozen():
            with pytest.raises(StoreError, match="cannot be used"):
                store.runs()
            with pytest.raises(StoreError, match="cannot be used"):
                Store.open(server_store)
        assert [run.id for run in store.runs()] == [A]


def test_a_server_that_freezes_in_between_lets_a_reader_go(postgres, impatient, server_store):
    with (
        Store.open(server_store) as store,
        pytest.raises(StoreError, match=r"gave no answer for 0\.5 s"),
        store._reading() as connection,
        postgres.frozen(),
    ):
        connection.exec_driver_sql("SELECT count(*) FROM runs")


def test_a_writer_that_never_ends_does_not_hold_up_others_for_ever(monkeypatch, server_store):
    monkeypatch.setitem(server._SETTINGS, "lock_timeout", 1)
    with Store.open(server_store) as store, Store.open(server_store) as other, other._writing():
        with pytest.raises(StoreError, match="took too long"):
            store.apply([run_started(A)])
        assert store.runs() == []


def test_a_connection_from_before_a_restart_is_opened_again(postgres, store):
    store.apply([run_started(A)])
    postgres.stop()
    with pytest.raises(StoreError, match="cannot be used"):
        store.runs()
    postgres.start()
    assert [run.id for run in store.runs()] == [A]


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda url: url.replace(QUOTED, "wrong"),
        lambda url: url.replace(QUOTED, PASSWORD),
        lambda url: url.replace("127.0.0.1", "nowhere.invalid"),
        lambda url: url.replace("/lab_", "/gone_"),
        lambda url: f"{url}?pasword={PASSWORD}",
        lambda url: url.replace("postgresql+psycopg", "mysql+pymysql"),
        lambda url: url.rpartition("/")[0],
        lambda url: url.replace("127.0.0.1:", "127.0.0.1:x"),
    ],
    ids=["password", "unquoted", "host", "database", "option", "driver", "no database", "port"],
)
def test_no_error_tells_what_opens_a_store(server_store, spoil):
    with pytest.raises(StoreError) as caught:
        Store.open(spoil(server_store))
    text = f"{caught.value} {caught.value.args} {caught.value.__cause__}"
    for secret in (QUOTED, PASSWORD, "w?rd", "ss/w", f"{USER}:", f'"{USER}"'):
        assert secret not in text


def test_a_location_names_the_store_alone(store, postgres):
    assert store.location == f"postgresql+psycopg://127.0.0.1:{postgres.port}/{store_name(store)}"
    assert PASSWORD not in str(store.info())


def store_name(store) -> str:
    return store.location.rpartition("/")[2]


@pytest.mark.parametrize(
    "other",
    [
        "postgresql://bob:other@DB.local/lab",
        "postgres://db.local:5432/lab?sslmode=require",
        "postgresql+psycopg:///lab?host=db.local",
    ],
)
def test_records_wait_in_one_place_whatever_opens_the_store(other):
    assert digest_of(other) == digest_of("postgresql+psycopg://ann:secret@db.local/lab")


@pytest.mark.parametrize(
    "other",
    [
        "postgresql://db.local/other",
        "postgresql://db.local:5433/lab",
        "postgresql://ann@db2.local/lab",
        "postgresql://db.local/lab?options=-csearch_path%3Dteam",
        "postgresql://db.local/lab?service=lab",
    ],
)
def test_records_of_different_stores_wait_apart(other):
    assert digest_of(other) != digest_of("postgresql://db.local/lab")


def test_what_the_environment_names_counts(monkeypatch):
    before = digest_of("postgresql:///lab")
    monkeypatch.setenv("PGHOST", "db.local")
    assert digest_of("postgresql:///lab") == digest_of("postgresql://db.local/lab") != before
