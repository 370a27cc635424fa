"""Words, ids and times that records and events share."""

from __future__ import annotations

import os
import random
import time
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Any
"""What `json.loads` can give: None, bool, int, float, str, list, dict."""

RunStatus: TypeAlias = Literal[
    "running", "finished", "failed", "interrupted", "superseded", "lost"
]
RunKind: TypeAlias = Literal["interactive", "cell", "batch", "child", "pipeline", "step"]
ExecutionStatus: TypeAlias = Literal["running", "ok", "error", "interrupted", "syntax", "lost"]
Binding: TypeAlias = Literal[
    "explicit", "object", "view", "content", "dataflow", "recent", "current", "relation"
]
Assurance: TypeAlias = Literal[
    "exact", "carried:pages", "carried:unreached", "sampled", "opaque", "torn", "skipped:budget"
]


def new_run_id() -> str:
    """Make a run id: 16 random lower-case hex digits."""
    return os.urandom(8).hex()


def new_record_id() -> str:
    """Make an id for a session or an execution: 24 hex digits that sort by time."""
    return f"{time.time_ns() // 1000:014x}{_random.getrandbits(40):010x}"


# Not the operating system's for each: that call lets go of the GIL in front of every cell. Not
# the module's own generator either, which belongs to the user.
_random = random.Random(os.urandom(16))  # noqa: S311  # ids are no secrets
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(16)))


def as_datetime(at_ns: int) -> datetime:
    """Turn nanoseconds since the epoch into an aware datetime in UTC.

    Examples
    --------
    >>> as_datetime(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(at_ns / 1e9, tz=timezone.utc)
