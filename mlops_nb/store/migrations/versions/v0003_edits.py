"""What people change of a run after the fact, and a history of that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns that may be empty, which costs nothing however large the table is."""
    op.add_column("runs", sa.Column("revision", sa.BigInteger()))
    op.add_column("runs", sa.Column("recorded_name", sa.String()))
    op.add_column("runs", sa.Column("note", sa.String()))
    op.add_column("runs", sa.Column("starred_at", sa.BigInteger()))
    op.add_column("runs", sa.Column("archived_at", sa.BigInteger()))
    op.add_column("runs", sa.Column("deleted_at", sa.BigInteger()))
    op.add_column("runs", sa.Column("collected_at", sa.BigInteger()))
    op.create_table(
        "run_edits",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("revision", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("before", sa.String()),
        sa.Column("after", sa.String()),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "byte_rows",
        sa.Column("hexes", sa.String(), primary_key=True),
        sa.Column("part", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("put_at", sa.BigInteger(), nullable=False),
    )
    _index_anew()


_INDEXES = {
    "sessions": {"sessions_unended": ["ended_at", "lost_at"]},
    "runs": {
        "runs_by_start": ["started_at", "id", "deleted_at", "archived_at"],
        "runs_by_notebook": ["notebook", "started_at", "id"],
        "runs_by_group": ["group_key", "attempt", "deleted_at", "archived_at"],
        "runs_by_parent": ["parent", "started_at", "id", "deleted_at", "archived_at"],
        "runs_by_status": ["status", "started_at", "id"],
        "runs_by_name": ["name", "started_at", "id"],
    },
    "run_executions": {},
    "params": {
        "params_by_number": ["key", "number", "run"],
        "params_by_word": ["key", "word", "run"],
    },
    "metrics": {"metrics_by_value": ["key", "value", "run"]},
    "tags": {"tags_by_value": ["key", "value", "run"]},
}


def _index_anew() -> None:
    """Make the indexes from which lists of runs come without a look at their rows."""
    bind = op.get_bind()
    known = {name for table in _INDEXES for name in _names(sa.inspect(bind), table)}
    for table, indexes in _INDEXES.items():
        for name in indexes:
            if name in known:
                op.drop_index(name, table)
        if bind.dialect.name == "sqlite" and table not in {"sessions", "runs"}:
            _lay_by_run(bind, table)
        for name, columns in indexes.items():
            op.create_index(name, table, columns)


def _names(inspector: sa.Inspector, table: str) -> list[str]:
    return [str(index["name"]) for index in inspector.get_indexes(table)]


def _lay_by_run(bind: sa.Connection, table: str) -> None:
    """Lay the rows of a table in the order of its key."""
    made = bind.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).scalar()
    bind.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_before")
    bind.exec_driver_sql(f"{made} WITHOUT ROWID")
    bind.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM {table}_before")  # noqa: S608
    bind.exec_driver_sql(f"DROP TABLE {table}_before")
