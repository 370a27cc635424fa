"""Ctrl-C and SIGTERM while a notebook runs, as far as nobody else has claimed them."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the process instead of ending it on the spot."""
    if not _is_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


@contextmanager
def answering_signals(answer: Callable[[int], None]) -> Iterator[None]:
    """Have signals answered between the steps of the running event loop.

    An exception in the middle of a step would lose the message that was just being read.

    Parameters
    ----------
    answer
        Is called with the number. Not called at all in a thread, on Windows, or for a signal
        that somebody else handles: there signals come as they would have come.
    """
    loop = asyncio.get_running_loop()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM) if _is_main_thread() else ():
        handler = signal.getsignal(number)
        if handler not in {signal.default_int_handler, signal.SIG_DFL, _exit}:
            continue
        try:
            loop.add_signal_handler(number, answer, number)
        except (NotImplementedError, RuntimeError):
            continue
        before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
