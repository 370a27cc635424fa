"""Sleep that a signal or the end of a child process ends."""

from __future__ import annotations

import select
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Wakeup:
    """Waits without work, for as long as nothing happens; used in a ``with`` statement.

    In the main thread it answers SIGTERM and SIGINT by counting them; elsewhere signals stay as
    they are.

    Attributes
    ----------
    stops
        How often this process was told to stop.
    """

    def __init__(self) -> None:
        self.stops = 0
        self._reading, self._writing = socket.socketpair()
        self._before: dict[int, Any] = {}
        self._descriptor = -1

    def __enter__(self) -> Self:
        for side in (self._reading, self._writing):
            side.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            self._descriptor = signal.set_wakeup_fd(
                self._writing.fileno(), warn_on_full_buffer=False
            )
            for number in (*_STOPPING, signal.SIGCHLD):
                self._before[number] = signal.signal(number, self._answer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._descriptor)
        self._reading.close()
        self._writing.close()

    def wait(self, timeout_s: float) -> None:
        """Wait until a signal came, a child ended, or the time is over."""
        ready, _, _ = select.select([self._reading], [], [], timeout_s)
        if ready:
            self._reading.recv(4096)

    def _answer(self, number: int, _frame: FrameType | None) -> None:
        if number in _STOPPING:
            self.stops += 1
