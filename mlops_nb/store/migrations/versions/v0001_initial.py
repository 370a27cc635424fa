"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    _make_artifacts()
    _make_data_uses()
    _make_environments()
    _make_executions()
    _make_meta()
    _make_metric_chunks()
    _make_metrics()
    _make_models()
    _make_outputs()
    _make_param_versions()
    _make_params()
    _make_run_executions()
    _make_runs()
    _make_sessions()
    _make_sources()
    _make_spools()
    _make_stream_pieces()
    _make_tags()


def _make_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("mime", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("execution", sa.String()),
        sa.Column("fit", sa.String()),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )


def _make_data_uses() -> None:
    op.create_table(
        "data_uses",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("fit", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("assurance", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("columns", sa.BigInteger()),
        sa.Column("schema_digest", sa.String(), nullable=False),
        sa.Column("column_digests", sa.String(), nullable=False),
        sa.Column("execution", sa.String()),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("data_uses_by_digest", "data_uses", ["digest"])


def _make_environments() -> None:
    op.create_table(
        "environments",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("content", sa.String(), nullable=False),
    )


def _make_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("transformed", sa.String()),
        sa.Column("code_digest", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("duration_s", sa.Double()),
        sa.Column("cpu_s", sa.Double()),
        sa.Column("parent", sa.String()),
        sa.Column("cell_id", sa.String()),
        sa.Column("cell_index", sa.BigInteger()),
        sa.Column("execution_count", sa.BigInteger()),
        sa.Column("error", sa.String()),
        sa.Column("reads", sa.String()),
        sa.Column("binds", sa.String()),
        sa.Column("mutates", sa.String()),
        sa.Column("deletes", sa.String()),
        sa.Column("flags", sa.String()),
        sa.Column("is_inferred", sa.Boolean(), nullable=False),
    )
    op.create_index("executions_by_session", "executions", ["session", "position"])


def _make_meta() -> None:
    op.create_table(
        "meta",
        sa.Column("schema", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("written_by", sa.String(), nullable=False),
    )


def _make_metric_chunks() -> None:
    op.create_table(
        "metric_chunks",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("spans", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _make_metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.Double()),
        sa.Column("step", sa.BigInteger()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("minimum", sa.Double()),
        sa.Column("maximum", sa.Double()),
        sa.Column("binding", sa.String(), nullable=False),
        sa.Column("execution", sa.String()),
        sa.Column("fit", sa.String()),
        sa.Column("detail", sa.String()),
    )
    op.create_index("metrics_by_value", "metrics", ["key", "value"])


def _make_models() -> None:
    op.create_table(
        "models",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("fit", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("duration_s", sa.Double()),
        sa.Column("execution", sa.String()),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )


def _make_outputs() -> None:
    op.create_table(
        "outputs",
        sa.Column("execution", sa.String(), primary_key=True),
        sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("mime", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("is_cut", sa.Boolean(), nullable=False),
    )


def _make_param_versions() -> None:
    op.create_table(
        "param_versions",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("value", sa.String()),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("fit", sa.String()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("execution", sa.String()),
    )


def _make_params() -> None:
    op.create_table(
        "params",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.String()),
        sa.Column("number", sa.Double()),
        sa.Column("word", sa.String()),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("fit", sa.String()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("execution", sa.String()),
    )
    op.create_index("params_by_number", "params", ["key", "number"])
    op.create_index("params_by_word", "params", ["key", "word"])


def _make_run_executions() -> None:
    op.create_table(
        "run_executions",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("execution", sa.String(), primary_key=True),
        sa.Column("role", sa.String(), nullable=False),
    )


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("group_key", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.String()),
        sa.Column("child", sa.BigInteger()),
        sa.Column("notebook", sa.String()),
        sa.Column("session", sa.String()),
        sa.Column("execution", sa.String()),
        sa.Column("environment", sa.String()),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("busy_s", sa.Double()),
        sa.Column("verdict", sa.String()),
        sa.Column("error", sa.String()),
        sa.Column("git", sa.String()),
        sa.Column("facts", sa.String()),
    )
    op.create_index("runs_by_group", "runs", ["group_key", "attempt"])
    op.create_index("runs_by_name", "runs", ["name", "started_at"])
    op.create_index("runs_by_notebook", "runs", ["notebook", "started_at"])
    op.create_index("runs_by_parent", "runs", ["parent", "child"])
    op.create_index("runs_by_session", "runs", ["session"])
    op.create_index("runs_by_start", "runs", ["started_at", "id"])


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("lost_at", sa.BigInteger()),
        sa.Column("notebook", sa.String()),
        sa.Column("notebook_assurance", sa.String()),
        sa.Column("python", sa.String()),
        sa.Column("environment", sa.String()),
        sa.Column("host", sa.String()),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("owner", sa.String()),
        sa.Column("facts", sa.String()),
    )


def _make_sources() -> None:
    op.create_table(
        "sources",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("text", sa.String(), nullable=False),
    )


def _make_spools() -> None:
    op.create_table(
        "spools",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
    )


def _make_stream_pieces() -> None:
    op.create_table(
        "stream_pieces",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("execution", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("mime", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_index("stream_pieces_by_output", "stream_pieces", ["execution", "position", "mime"])


def _make_tags() -> None:
    op.create_table(
        "tags",
        sa.Column("run", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("tags_by_value", "tags", ["key", "value"])
