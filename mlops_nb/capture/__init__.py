"""What happens around a user's cell: IPython's events in, records of executions out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.capture.hooks import Capture, Listener, LiveExecution

__all__ = ["Capture", "Listener", "LiveExecution"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from mlops_nb.capture import hooks

        return getattr(hooks, name)
    raise AttributeError(name)
