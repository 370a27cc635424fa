"""The tables of pipelines; a part of `store.schema`.

Rows that change say when in ``changed_at``: of two states of a row the later one counts.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Table

from mlops_nb.store.column_kinds import JsonText, Key, Text, metadata

# What became of each step of each run of a pipeline; its last attempt.
step_runs = Table(
    "step_runs",
    metadata,
    Column("pipeline_run", Text, primary_key=True),
    Column("step", Key, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("run", Text),
    Column("cached_from", Text),
    Column("attempt", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("parts", JsonText, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error", JsonText),
    Column("notebook", Text, nullable=False),
    Column("owner", JsonText, nullable=False),
    Column("lease_until", BigInteger),
    Column("lease_ns", BigInteger),
    Column("doubted_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
    Index("step_runs_by_change", "changed_at"),
)

# Results of steps, by what they were made from. One key may have several: what a step read that
# nobody could know before it ran stands in `parts`, and decides among them.
cached_steps = Table(
    "cached_steps",
    metadata,
    Column("key", Text, primary_key=True),
    Column("made_by", Text, primary_key=True),  # the step's run
    Column("pipeline", Key, nullable=False),
    Column("step", Key, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("parts", JsonText, nullable=False),
    Column("units", JsonText, nullable=False),
    Column("files", JsonText, nullable=False),
    Column("notebook", Text, nullable=False),
    Column("duration_s", Double),
    Column("changed_at", BigInteger, nullable=False),
    Index("cached_steps_by_step", "pipeline", "step", "created_at"),
    Index("cached_steps_by_maker", "made_by"),
)

split_proofs = Table(
    "split_proofs",
    metadata,
    Column("pipeline", Key, primary_key=True),
    Column("split", Text, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("compared", JsonText, nullable=False),
    Column("repairs", JsonText, nullable=False),
    Column("difference", Text, nullable=False),
    Column("run", Text),
    Column("changed_at", BigInteger, nullable=False),
)

# What runs have shown of steps and their text does not say, each under the digest of what it is.
step_facts = Table(
    "step_facts",
    metadata,
    Column("pipeline", Key, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("step", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("names", JsonText, nullable=False),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Key, nullable=False),
    Column("cron", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("params", JsonText, nullable=False),
    Column("options", JsonText, nullable=False),
    Column("missed", Text, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("next_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
)

# Each time at which a schedule was due, once: who makes the row has claimed it.
firings = Table(
    "firings",
    metadata,
    Column("schedule", Text, primary_key=True),
    Column("due_at", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("owner", JsonText, nullable=False),
    Column("lease_until", BigInteger),
    Column("lease_ns", BigInteger),
    Column("doubted_at", BigInteger),
    Column("run", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("text", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Index("firings_by_state", "state"),
)

TABLES = (step_runs, cached_steps, split_proofs, step_facts, schedules, firings)
"""All of them; each has a ``changed_at``."""
