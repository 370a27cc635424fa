"""Stores of other versions: made anew by migrations, and never lost on the way."""

import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from events import A, metric, run_started
from sqlalchemy import event

from mlops_nb.store import Store, connect, upgrade
from mlops_nb.store.schema import SCHEMA, metadata


@pytest.fixture
def folder(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.apply([run_started(A), metric(A, "auc", 0.9)])
    return tmp_path / ".mlops"


NOW, NEXT, AFTER = (f"{SCHEMA + more:04d}" for more in range(3))
NEXT_STEP = f'''
"""A column more."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{NOW}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("colour", sa.String()))
'''


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Let this package be the next version, whose runs have a column more."""
    steps = tmp_path / "migrations"
    shutil.copytree(upgrade.MIGRATIONS, steps, ignore=shutil.ignore_patterns("__pycache__"))
    (steps / "versions" / f"v{NEXT}_colour.py").write_text(NEXT_STEP)
    monkeypatch.setattr(upgrade, "MIGRATIONS", steps)
    monkeypatch.setattr(upgrade, "SCHEMA", SCHEMA + 1)
    return steps


def tables_of(database):
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'")
    found = {name: sql for name, sql in rows if not name.startswith("sqlite_")}
    connection.close()
    return found


def columns_of(database):
    """What counts of a table: a column that was added later stands elsewhere in its text."""
    connection = sqlite3.connect(database)
    found = {}
    for name in tables_of(database):
        info = connection.execute(f'PRAGMA table_info("{name}")').fetchall()
        found[name] = {tuple(column[1:]) for column in info} or tables_of(database)[name]
    connection.close()
    return found


def schema_of(database):
    connection = sqlite3.connect(database)
    (schema,) = connection.execute("SELECT schema FROM meta").fetchone()
    connection.close()
    return schema


def test_the_migrations_make_the_same_tables_as_a_new_store_has(folder, tmp_path):
    engine = connect.file_engine(tmp_path / "migrated.db", read_only=False)
    with engine.execution_options(is_write=True).begin() as connection:
        upgrade._migrate(connection, None)
    assert columns_of(tmp_path / "migrated.db") == columns_of(folder / "store.db")
    assert set(metadata.tables) <= set(tables_of(folder / "store.db"))


def test_an_older_store_is_brought_up_to_date_and_keeps_its_runs(folder, next_version):
    with Store.open(folder) as store:
        assert store.get_run(A).metrics["auc"].value == 0.9
    assert schema_of(folder / "store.db") == SCHEMA + 1
    assert "colour" in tables_of(folder / "store.db")["runs"]


def test_before_that_a_private_copy_of_it_is_made(folder, next_version):
    Store.open(folder).close()
    backup = folder / f"store.db.schema-{SCHEMA}.backup"
    assert schema_of(backup) == SCHEMA
    assert "colour" not in tables_of(backup)["runs"]
    assert backup.stat().st_mode & 0o077 == 0


def test_a_migration_that_fails_leaves_the_store_as_it_was(folder, next_version):
    broken = next_version / "versions" / f"v{NEXT}_colour.py"
    broken.write_text(NEXT_STEP + '    op.add_column("gone", sa.Column("x", sa.String()))\n')
    with pytest.raises(Exception, match="gone"):
        Store.open(folder)
    assert schema_of(folder / "store.db") == SCHEMA
    assert "colour" not in tables_of(folder / "store.db")["runs"]


def test_two_steps_run_in_order(folder, next_version, monkeypatch):
    second = NEXT_STEP.replace(NEXT, AFTER).replace(NOW, NEXT)
    (next_version / "versions" / f"v{AFTER}_size.py").write_text(second.replace("colour", "size"))
    monkeypatch.setattr(upgrade, "SCHEMA", SCHEMA + 2)
    Store.open(folder).close()
    assert {"colour", "size"} <= set(
        tables_of(folder / "store.db")["runs"].replace(",", "").split()
    )
    Store.open(folder).close()
    assert schema_of(folder / "store.db") == SCHEMA + 2


def test_opening_a_current_store_costs_one_statement(folder):
    engine = connect.file_engine(folder / "store.db", read_only=False)
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    upgrade.make_current(engine, "here", folder / "store.db")
    assert [s for s in statements if not s.startswith("BEGIN")] == [
        "SELECT meta.schema, meta.written_by \nFROM meta"
    ]


@pytest.mark.parametrize("exists", [True, False], ids=["current", "new"])
def test_alembic_is_not_loaded_without_need(folder, tmp_path, exists):
    where = folder if exists else tmp_path / "new" / ".mlops"
    code = """
        import sys
        from mlops_nb.store import Store
        with Store.open(sys.argv[1], create=True) as store:
            store.runs()
        print("alembic" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(where)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
