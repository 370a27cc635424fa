"""The tables of a store: our file format.

Times are integers, nanoseconds since the epoch in UTC. JSON is text. A REAL that is NULL is a
NaN: SQLite cannot keep one, so none of our databases does. There are no foreign keys: records of
one run may arrive from several spools, in any order, and none may be refused for that.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    Table,
    func,
)

from mlops_nb.store.column_kinds import JsonText, Key, Text, dump_json, metadata
from mlops_nb.store.pipelines import tables as of_pipelines

__all__ = [
    "PIPELINE_TABLES",
    "SCHEMA",
    "JsonText",
    "Key",
    "Text",
    "artifacts",
    "byte_rows",
    "data_uses",
    "dump_json",
    "environments",
    "executions",
    "files",
    "fingerprints",
    "meta",
    "metadata",
    "metric_chunks",
    "metrics",
    "models",
    "outputs",
    "param_versions",
    "params",
    "run_edits",
    "run_executions",
    "runs",
    "sessions",
    "sources",
    "spools",
    "stream_pieces",
    "tags",
]

SCHEMA = 4
"""Number of this schema; the Alembic revision is the same number in four digits."""

PIPELINE_TABLES = of_pipelines.TABLES
"""Those of `store.pipelines`, whose rows change after they were written."""

# A table without row ids lies in the order of its key: what a run has is found by one look.

meta = Table(
    "meta",
    metadata,
    Column("schema", Integer, primary_key=True, autoincrement=False),
    Column("written_by", Text, nullable=False),
)

spools = Table(
    "spools",
    metadata,
    Column("id", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("lost_at", BigInteger),
    Column("notebook", Key(2000)),
    Column("notebook_assurance", Text),
    Column("python", Text),
    Column("environment", Text),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("owner", JsonText),
    Column("facts", JsonText),
    Index("sessions_unended", "ended_at", "lost_at"),
)

environments = Table(
    "environments",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("content", JsonText, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

executions = Table(
    "executions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("session", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("transformed", Text),
    Column("code_digest", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("duration_s", Double),
    Column("cpu_s", Double),
    Column("parent", Text),
    Column("cell_id", Text),
    Column("cell_index", BigInteger),
    Column("execution_count", BigInteger),
    Column("error", JsonText),
    Column("reads", JsonText),
    Column("binds", JsonText),
    Column("mutates", JsonText),
    Column("deletes", JsonText),
    Column("flags", JsonText),
    Column("is_inferred", Boolean, nullable=False),
    Index("executions_by_session", "session", "position"),
)

outputs = Table(
    "outputs",
    metadata,
    Column("execution", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("mime", Key, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("is_cut", Boolean, nullable=False),
)

# What streams of executions have written while they run; joined into a blob when they end.
stream_pieces = Table(
    "stream_pieces",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("execution", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("mime", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("stream_pieces_by_output", "execution", "position", "mime"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Key(2000), nullable=False),
    Column("status", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("group_key", Key(2000), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("parent", Text),
    Column("child", BigInteger),
    Column("notebook", Key(2000)),
    Column("session", Text),
    Column("execution", Text),
    Column("environment", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("last_at", BigInteger, nullable=False),
    Column("busy_s", Double),
    Column("verdict", JsonText),
    Column("error", JsonText),
    Column("git", JsonText),
    Column("facts", JsonText),
    # What people changed afterwards; see `store.edits`. NULL where nobody did.
    Column("revision", BigInteger),
    Column("recorded_name", Text),
    Column("note", Text),
    Column("starred_at", BigInteger),
    Column("archived_at", BigInteger),
    Column("deleted_at", BigInteger),
    Column("collected_at", BigInteger),
    # Pages and counts of runs come from an index alone, in which whether they are listed stands.
    Index("runs_by_start", "started_at", "id", "deleted_at", "archived_at"),
    Index("runs_by_notebook", "notebook", "started_at", "id"),
    Index("runs_by_group", "group_key", "attempt", "deleted_at", "archived_at"),
    Index("runs_by_parent", "parent", "started_at", "id", "deleted_at", "archived_at"),
    Index("runs_by_session", "session"),
    Index("runs_by_status", "status", "started_at", "id"),
    Index("runs_by_name", "name", "started_at", "id"),
)

# Each change that a person made to a run, in order: who changed what, from what to what.
run_edits = Table(
    "run_edits",
    metadata,
    Column("run", Text, primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("field", Text, nullable=False),
    Column("before", JsonText),
    Column("after", JsonText),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

run_executions = Table(
    "run_executions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("execution", Text, primary_key=True),
    Column("role", Text, nullable=False),
    sqlite_with_rowid=False,
)

# The latest version of each parameter; `number` and `word` are the value as queries see it.
params = Table(
    "params",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("value", JsonText),
    Column("number", Double),
    Column("word", Key(1600)),
    Column("is_default", Boolean, nullable=False),
    Column("fit", Text),
    Column("at", BigInteger, nullable=False),
    Column("execution", Text),
    Index("params_by_number", "key", "number", "run"),
    Index("params_by_word", "key", "word", "run"),
    sqlite_with_rowid=False,
)

# The earlier versions of those parameters that had several values.
param_versions = Table(
    "param_versions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("value", JsonText),
    Column("is_default", Boolean, nullable=False),
    Column("fit", Text),
    Column("at", BigInteger, nullable=False),
    Column("execution", Text),
)

# The last value of each metric. A metric with one value is only here.
metrics = Table(
    "metrics",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("value", Double),
    Column("step", BigInteger),
    Column("at", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("minimum", Double),
    Column("maximum", Double),
    Column("binding", Text, nullable=False),
    Column("execution", Text),
    Column("fit", Text),
    Column("detail", JsonText),
    Index("metrics_by_value", "key", "value", "run"),
    sqlite_with_rowid=False,
)

# All values of each metric that has several; see `store.series` for the packing.
metric_chunks = Table(
    "metric_chunks",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("spans", JsonText, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("tags_by_value", "key", "value", "run").ddl_if(dialect="sqlite"),
    sqlite_with_rowid=False,
)
# A tag may be as long as a note; an index of a server holds no more than a page.
Index("tags_by_value", tags.c.key, func.left(tags.c.value, 200), tags.c.run).ddl_if(
    dialect="postgresql"
)

data_uses = Table(
    "data_uses",
    metadata,
    Column("run", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("name", Key, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("fit", Text, primary_key=True),  # empty: of no fit
    Column("kind", Text, nullable=False),
    Column("assurance", Text, nullable=False),
    Column("rows", BigInteger),
    Column("columns", BigInteger),
    Column("schema_digest", Text, nullable=False),
    Column("column_digests", JsonText, nullable=False),
    Column("execution", Text),
    Column("at", BigInteger, nullable=False),
    Index("data_uses_by_digest", "digest"),
)

# Columns, chunks and statistics of fingerprints, once per content.
fingerprints = Table(
    "fingerprints",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("schema_digest", Text, primary_key=True),
    Column("content", JsonText, nullable=False),
)

files = Table(
    "files",
    metadata,
    Column("execution", Text, primary_key=True),
    Column("uri", Key(2000), primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("evidence", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("assurance", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("modified_ns", BigInteger),
    Column("md5", Text),
    Column("detail", JsonText),
    Column("at", BigInteger, nullable=False),
    Index("files_by_uri", "uri"),
    Index("files_by_digest", "digest"),
)

models = Table(
    "models",
    metadata,
    Column("run", Text, primary_key=True),
    Column("fit", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("class_name", Text, nullable=False),
    Column("duration_s", Double),
    Column("execution", Text),
    Column("at", BigInteger, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("run", Text, primary_key=True),
    Column("name", Key, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("mime", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("execution", Text),
    Column("fit", Text),
    Column("at", BigInteger, nullable=False),
)

# The bytes of outputs and artifacts, in parts, where a server has no other place for them.
byte_rows = Table(
    "byte_rows",
    metadata,
    Column("hexes", Text, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),  # of all parts
    Column("put_at", BigInteger, nullable=False),
)
