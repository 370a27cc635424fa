"""Kinds of columns that both databases keep alike, and the list that all tables stand in."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, String, TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.types import TypeEngine

metadata = MetaData()


class Text(TypeDecorator[str]):
    """Text of any origin: what a database cannot encode is written as an escape."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Sort by code point everywhere, as SQLite does, not by a server's own language."""
        return dialect.type_descriptor(
            String(collation="C") if dialect.name == "postgresql" else String()
        )

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace lone surrogates, and NUL where the server has no such character."""
        if value is None or value.isascii():
            clean = value
        else:
            clean = value.encode("utf-8", "backslashreplace").decode("utf-8")
        if clean is not None and dialect.name == "postgresql":
            clean = clean.replace("\0", "\\x00")
        return clean


class Key(Text):
    """Text that stands in an index, which on a server holds only so much.

    What is longer ends there in a digest of the whole: no two such texts become one.

    Parameters
    ----------
    limit_bytes
        How much of it a server keeps. All of one index may be 2,700 together.
    """

    cache_ok = True

    def __init__(self, limit_bytes: int = 800) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what `Text` does, and the end of what is too long."""
        clean = super().process_bind_param(value, dialect)
        if clean is None or dialect.name != "postgresql" or 4 * len(clean) <= self.limit_bytes:
            return clean
        data = clean.encode("utf-8")
        if len(data) <= self.limit_bytes:
            return clean
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        kept = data[: self.limit_bytes - len(digest) - 3].decode("utf-8", "ignore")
        return f"{kept}…{digest}"


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
