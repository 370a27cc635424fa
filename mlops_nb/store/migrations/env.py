"""Alembic's entry: it runs the steps in the transaction that `store.upgrade` has begun."""

from __future__ import annotations

from alembic import context

from mlops_nb.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by making the table anew
)
with context.begin_transaction():
    context.run_migrations()
