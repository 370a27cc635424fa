"""The tables of a store: our file format.

Times are integers, nanoseconds since the epoch in UTC. JSON is text. A REAL that is NULL is a
NaN: SQLite cannot keep one, so none of our databases does. There are no foreign keys: records of
one run may arrive from several spools, in any order, and none may be refused for that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

SCHEMA = 2
"""Number of this schema; the Alembic revision is the same number in four digits."""


class Text(TypeDecorator[str]):
    """Text of any origin: what a database cannot encode is written as an escape."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace lone surrogates, and NUL where the server has no such character."""
        if value is None or value.isascii():
            clean = value
        else:
            clean = value.encode("utf-8", "backslashreplace").decode("utf-8")
        if clean is not None and dialect.name == "postgresql":
            clean = clean.replace("\0", "\\x00")
        return clean


class JsonText(TypeDecorator[Any]):
    """JSON as text, with NaN and Infinity as Python writes them."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write JSON; what JSON does not know becomes its `str`, so that nothing is refused."""
        del dialect
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read JSON."""
        del dialect
        return None if value is None else json.loads(value)


def dump_json(value: object) -> str:
    """Write a value as compact JSON, the same text for the same value."""
    return json.dumps(value, separators=(",", ":"), default=str)


metadata = MetaData()

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
    Column("notebook", Text),
    Column("notebook_assurance", Text),
    Column("python", Text),
    Column("environment", Text),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("owner", JsonText),
    Column("facts", JsonText),
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
    Column("mime", Text, primary_key=True),
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
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("parent", Text),
    Column("child", BigInteger),
    Column("notebook", Text),
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
    Index("runs_by_start", "started_at", "id"),
    Index("runs_by_notebook", "notebook", "started_at"),
    Index("runs_by_group", "group_key", "attempt"),
    Index("runs_by_parent", "parent", "child"),
    Index("runs_by_session", "session"),
    Index("runs_by_name", "name", "started_at"),
)

run_executions = Table(
    "run_executions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("execution", Text, primary_key=True),
    Column("role", Text, nullable=False),
)

# The latest version of each parameter; `number` and `word` are the value as queries see it.
params = Table(
    "params",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("value", JsonText),
    Column("number", Double),
    Column("word", Text),
    Column("is_default", Boolean, nullable=False),
    Column("fit", Text),
    Column("at", BigInteger, nullable=False),
    Column("execution", Text),
    Index("params_by_number", "key", "number"),
    Index("params_by_word", "key", "word"),
)

# The earlier versions of those parameters that had several values.
param_versions = Table(
    "param_versions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Text, primary_key=True),
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
    Column("key", Text, primary_key=True),
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
    Index("metrics_by_value", "key", "value"),
)

# All values of each metric that has several; see `store.series` for the packing.
metric_chunks = Table(
    "metric_chunks",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("spans", JsonText, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("run", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("tags_by_value", "key", "value"),
)

data_uses = Table(
    "data_uses",
    metadata,
    Column("run", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("name", Text, primary_key=True),
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
    Column("uri", Text, primary_key=True),
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
    Column("name", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("mime", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("execution", Text),
    Column("fit", Text),
    Column("at", BigInteger, nullable=False),
)
