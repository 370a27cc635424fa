"""What pipelines leave: steps that ran, results to use again, proofs, facts, schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; what is there stays as it is."""
    _make_step_runs()
    _make_cached_steps()
    _make_split_proofs()
    _make_step_facts()
    _make_schedules()
    _make_firings()


def _make_step_runs() -> None:
    op.create_table(
        "step_runs",
        sa.Column("pipeline_run", sa.String(), primary_key=True),
        sa.Column("step", sa.String(), primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("run", sa.String()),
        sa.Column("cached_from", sa.String()),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("parts", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("error", sa.String()),
        sa.Column("notebook", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("lease_ns", sa.BigInteger()),
        sa.Column("doubted_at", sa.BigInteger()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("step_runs_by_change", "step_runs", ["changed_at"])


def _make_cached_steps() -> None:
    op.create_table(
        "cached_steps",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("made_by", sa.String(), primary_key=True),
        sa.Column("pipeline", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("parts", sa.String(), nullable=False),
        sa.Column("units", sa.String(), nullable=False),
        sa.Column("files", sa.String(), nullable=False),
        sa.Column("notebook", sa.String(), nullable=False),
        sa.Column("duration_s", sa.Double()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("cached_steps_by_maker", "cached_steps", ["made_by"])
    op.create_index("cached_steps_by_step", "cached_steps", ["pipeline", "step", "created_at"])


def _make_split_proofs() -> None:
    op.create_table(
        "split_proofs",
        sa.Column("pipeline", sa.String(), primary_key=True),
        sa.Column("split", sa.String(), primary_key=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("compared", sa.String(), nullable=False),
        sa.Column("repairs", sa.String(), nullable=False),
        sa.Column("difference", sa.String(), nullable=False),
        sa.Column("run", sa.String()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )


def _make_step_facts() -> None:
    op.create_table(
        "step_facts",
        sa.Column("pipeline", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("names", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )


def _make_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cron", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("params", sa.String(), nullable=False),
        sa.Column("options", sa.String(), nullable=False),
        sa.Column("missed", sa.String(), nullable=False),
        sa.Column("overlap", sa.String(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )


def _make_firings() -> None:
    op.create_table(
        "firings",
        sa.Column("schedule", sa.String(), primary_key=True),
        sa.Column("due_at", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("lease_ns", sa.BigInteger()),
        sa.Column("doubted_at", sa.BigInteger()),
        sa.Column("run", sa.String()),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("firings_by_state", "firings", ["state"])
