"""Work that may take a while, off the user's thread."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from mlops_nb.capture.guard import guard

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """One daemon thread for what may take a while: git, reading the saved notebook."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, task: Callable[[], None]) -> None:
        """Queue a task; never waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlops_nb", daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            with guard("background"):
                task()

    def finish(self, timeout_s: float = 2.0) -> None:
        """Wait, not long, until everything queued is done."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join(timeout_s)
            self._thread = None
