"""Which files an execution reads and writes, each with its evidence and the digest of its content.

Four layers: readers of libraries that tell what they were asked for (`mlops_nb.autolog.readers`),
the operating system, paths that stand in the source, and the count of bytes read, which says when
something was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.capture.files.state import FileState, file_state
    from mlops_nb.capture.files.uses import Told
    from mlops_nb.capture.files.watch import FileWatch

__all__ = ["FileState", "FileWatch", "Told", "file_state"]

_HOMES = {"FileState": "state", "FileWatch": "watch", "Told": "uses", "file_state": "state"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(name)
