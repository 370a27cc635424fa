"""Get a run again: its cells as a notebook, and its cells in a fresh kernel, compared."""

from __future__ import annotations

from mlops_nb.errors import NotTrusted
from mlops_nb.replay.execution import Executed
from mlops_nb.replay.recording import choose
from mlops_nb.replay.records import Cause, Outcome, Replay, Value
from mlops_nb.replay.replaying import Watcher, replay
from mlops_nb.replay.restoring import default_name, restore, write_restored

__all__ = [
    "Cause",
    "Executed",
    "NotTrusted",
    "Outcome",
    "Replay",
    "Value",
    "Watcher",
    "choose",
    "default_name",
    "replay",
    "restore",
    "write_restored",
]
