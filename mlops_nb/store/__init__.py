"""The store: records in, records out; the spool in front of it, and what drains it.

Importing this package loads nothing: the kernel writes a spool without ever loading SQLAlchemy,
which `Store` brings with it on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.store.database import Store

__all__ = ["Store"]


def __getattr__(name: str) -> object:
    if name == "Store":
        from mlops_nb.store.database import Store

        return Store
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
