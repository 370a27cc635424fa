"""What a worker says, on its way out: messages over one socket, and what is printed.

ipykernel sends what is printed from a thread that owns a ZMQ socket, and everything else through
that thread. Here each message goes straight to the socket from the thread that has it, and a
thread of ours only sends, now and then, what has been printed since.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import select
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from ipykernel import iostream

from mlops_nb.papermill_engine.frames import packed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

_BLOCK_BYTES = 1 << 16
_MOST_BLOCKS = 16  # as much as a pipe holds: a child that prints without end holds up nobody


class Outlet:
    """The socket that all messages leave by; child processes of the worker may use it as well."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._turns = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as the process lives
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def send(self, parts: Sequence[bytes]) -> None:
        """Send one message, whole, whoever else is sending."""
        data = packed(parts)
        with self._lock:
            # One thread of each process comes here; of the processes one goes on.
            with contextlib.suppress(OSError):
                fcntl.lockf(self._turns, fcntl.LOCK_EX)
            try:
                self._channel.sendall(data)
            finally:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._turns, fcntl.LOCK_UN)


class Outgoing:
    """Takes the place of a ZMQ socket of ipykernel's.

    Parameters
    ----------
    outlet
        Takes the messages.
    name
        What they answer on, their first part.
    """

    def __init__(self, outlet: Outlet, name: bytes) -> None:
        self._outlet, self._name = outlet, name

    def send_multipart(self, parts: Sequence[Any], *_: Any, **__: Any) -> None:
        """Send one message."""
        self._outlet.send([self._name, *map(bytes, parts)])

    def flush(self, *_: Any) -> None:
        """Do nothing: a message that was given has been sent."""

    def close(self) -> None:
        """Do nothing: the socket is closed with the process."""


class Answers(Outgoing):
    """Where requests are answered: a child process that a cell forks has nothing to say here."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet, b"shell")
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that was asked."""
        return self._pid == os.getpid()

    def send_multipart(self, parts: Sequence[Any], *_: Any, **__: Any) -> None:
        """Send one message."""
        if self.is_ours:
            super().send_multipart(parts)


class OutputThread(iostream.IOPubThread):  # type: ignore[misc]
    """Takes the place of ipykernel's thread: sends what is printed while a cell computes.

    Parameters
    ----------
    outgoing
        Takes the messages.
    """

    def __init__(self, outgoing: Outgoing) -> None:
        # Nothing of the other's: it makes sockets of ZMQ.
        self.socket = outgoing
        self.background_socket = outgoing
        self.io_loop = self
        self.thread = None
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._has_more = threading.Condition()

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(target=self._run, name="IOPub", daemon=True).start()

    def stop(self) -> None:
        """Do nothing: streams are flushed when they are closed."""

    def schedule(self, call: Callable[[], object]) -> None:
        """Call a function: at once, by whoever asks."""
        call()

    def call_later(self, delay_s: float, call: Callable[[], object]) -> None:
        """Have a function called after a while, by the thread."""
        with self._has_more:
            self._due.append((time.monotonic() + delay_s, call))
            self._has_more.notify()

    def send_multipart(self, parts: Sequence[Any], *_: Any, **__: Any) -> None:
        """Send one message."""
        self.socket.send_multipart(parts)

    def _run(self) -> None:
        while True:
            with self._has_more:
                self._has_more.wait_for(lambda: self._due)
                due, call = self._due.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            call()


class OutStream(iostream.OutStream):  # type: ignore[misc]
    """ipykernel's stream, which any thread may flush: two that do so keep the order.

    What C code and child processes have written is taken in before anything else is, and before
    a cell is said to have ended, so that it stands where it belongs.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._renew()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        super().__init__(*arguments, **named)
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._sending, self._taking = threading.RLock(), threading.RLock()

    def write(self, string: str) -> int | None:
        """Take a text that Python code prints."""
        self._take()
        return self._put(string)

    def flush(self) -> None:
        """Send what has been written so far."""
        self._take()
        super().flush()

    def _put(self, string: str) -> int | None:
        size: int | None = super().write(string)
        return size

    def _flush(self) -> None:
        with self._sending:
            super()._flush()

    def _watch_pipe_fd(self) -> None:
        """Take in what is written past Python, as it comes."""
        waiting = select.poll()
        waiting.register(self._fid, select.POLLIN)
        while self._should_watch:
            waiting.poll()
            if not self._take():
                return

    def _take(self) -> bool:
        """Take in what has been written past Python; False if nothing can come any more."""
        if self._fid is None or not self._should_watch or not self._is_master_process():
            return True
        with self._taking, contextlib.suppress(BlockingIOError):
            os.set_blocking(self._fid, False)
            for _ in range(_MOST_BLOCKS):
                data = os.read(self._fid, _BLOCK_BYTES)
                if not data:
                    return False
                if text := self._decoder.decode(data):
                    self._put(text)
                os.write(self._original_stdstream_copy, data)
        return True

    @property
    def _hooks(self) -> list[Any]:
        # Hooks belong to threads, and of ipykernel's own nobody can have asked for one.
        return []
