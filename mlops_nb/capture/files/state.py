"""Whether a file is still what an execution read or wrote."""

from __future__ import annotations

import os
import stat
import time
from glob import has_magic, iglob
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.capture.files.digest import BUDGET_BYTES, FOLDER_FILES, Digests, Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from mlops_nb.capture.files.digest import Content
    from mlops_nb.model import Json

    class Used(Protocol):
        """What is asked of a `FileUse` or `FileSeen`."""

        @property
        def uri(self) -> str: ...  # noqa: D102
        @property
        def digest(self) -> str: ...  # noqa: D102
        @property
        def assurance(self) -> str: ...  # noqa: D102
        @property
        def size_bytes(self) -> int | None: ...  # noqa: D102
        @property
        def detail(self) -> Mapping[str, Json] | None: ...  # noqa: D102


PATTERN_S = 2.0
"""How long files are searched for by a pattern."""

FileState: TypeAlias = Literal["same", "changed", "gone", "unknown"]


def file_state(
    use: Used, *, digests: Digests | None = None, budget_bytes: int = BUDGET_BYTES
) -> FileState:
    """Compare a file as it is now with what was used.

    Parameters
    ----------
    use
        A `FileUse`, or the event it came from.
    digests
        Whose memory to use; a file that it knows in its present state is not read again.
    budget_bytes
        What may be read; 0 only looks at the file, and then says ``same`` only if its digest is
        known already.

    Returns
    -------
    str
        ``same`` and ``changed`` are certain; ``unknown`` for a URL, for what was not hashed and
        looks as it did, and for what is too large.

    Examples
    --------
    >>> from mlops_nb.model import FileUse
    >>> file_state(FileUse("https://example.org/flowers.csv", "r", "adapter"))
    'unknown'
    """
    if "://" in use.uri:
        return "unknown"
    digests = digests or Digests()
    status = _status(use.uri)
    if status is None:
        return _state_of_pattern(use, digests, budget_bytes)
    if isinstance(status, str):
        return "gone" if status == "gone" else "unknown"
    is_file = stat.S_ISREG(status.st_mode)
    if is_file and use.assurance != "torn" and use.size_bytes not in {None, status.st_size}:
        return "changed"
    if not use.digest:
        return "unknown"
    known = digests.known(Stamp.of(status))
    if known:
        return "same" if known == use.digest else "changed"
    suffix = str((use.detail or {}).get("suffix") or "")
    return _compared(use, digests.content(use.uri, budget_bytes=budget_bytes, suffix=suffix))


def _status(path: str) -> os.stat_result | str | None:
    """What `os.stat` says; "gone", "closed" for what we may not see, None for a pattern."""
    try:
        return os.stat(path)  # noqa: PTH116  # as it was written, relative parts included
    except (FileNotFoundError, NotADirectoryError):
        return None if has_magic(path) else "gone"
    except (OSError, ValueError):
        return "closed"


def _state_of_pattern(use: Used, digests: Digests, budget_bytes: int) -> FileState:
    paths = expanded(use.uri)
    if not paths:
        return "gone"
    if not use.digest:
        return "unknown"
    below = base_of_pattern(use.uri)
    return _compared(use, digests.content_of_all(paths, budget_bytes=budget_bytes, below=below))


def expanded(pattern: str) -> tuple[str, ...]:
    """Give the files that a pattern stands for, sorted.

    Of too many, or after too long a search, there are more than are ever read.
    """
    deadline_s = time.monotonic() + PATTERN_S
    found: list[str] = []
    for path in iglob(pattern, recursive=True):  # noqa: PTH207
        found.append(path)
        if len(found) > FOLDER_FILES:
            break
        if time.monotonic() > deadline_s:
            found += [""] * (FOLDER_FILES + 1)
            break
    return tuple(sorted(found, key=os.fsencode))


def base_of_pattern(pattern: str) -> str:
    """The folder above the first part of a path that is a pattern.

    Examples
    --------
    >>> base_of_pattern("/data/2024/*/part-?.parquet")
    '/data/2024'
    """
    folder = os.path.dirname(pattern)  # noqa: PTH120
    while has_magic(folder):
        folder = os.path.dirname(folder)  # noqa: PTH120
    return folder


def _compared(use: Used, content: Content) -> FileState:
    if content.assurance != "exact":
        return "unknown"
    return "same" if content.digest == use.digest else "changed"
