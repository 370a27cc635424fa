"""Files that executions read and wrote, and fingerprints in full."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "fingerprints",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("schema_digest", sa.String(), primary_key=True),
        sa.Column("content", sa.String(), nullable=False),
    )
    op.create_table(
        "files",
        sa.Column("execution", sa.String(), primary_key=True),
        sa.Column("uri", sa.String(), primary_key=True),
        sa.Column("mode", sa.String(), primary_key=True),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("assurance", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("modified_ns", sa.BigInteger()),
        sa.Column("md5", sa.String()),
        sa.Column("detail", sa.String()),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("files_by_digest", "files", ["digest"])
    op.create_index("files_by_uri", "files", ["uri"])
