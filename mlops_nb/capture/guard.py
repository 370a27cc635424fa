"""The one place where an error of ours is swallowed, so that a user's cell never sees it."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from contextlib import AbstractContextManager, ContextDecorator
from typing import TYPE_CHECKING, Self

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

FAULTS_UNTIL_OFF = 3
"""After so many faults a facet is switched off for the rest of the process."""

_KEPT_FAULTS = 100


@record
class Fault:
    """An error of ours that was kept from the user.

    Attributes
    ----------
    what
        The facet it happened in, as ``"names"``.
    error
        Class name and text of the exception.
    where
        Its traceback, as text.
    """

    what: str
    at_ns: int
    error: str
    where: str


faults: list[Fault] = []
"""What went wrong in this process, oldest first, at most a hundred."""

on_warning: Callable[[str], None] | None = None
"""Is told once a process, in one line, that something went wrong; must not raise."""

_counts: Counter[str] = Counter()
_lock = threading.Lock()
_has_warned = False


def is_off(what: str) -> bool:
    """Whether a facet failed so often that it is switched off."""
    return _counts[what] >= FAULTS_UNTIL_OFF


def reset() -> None:
    """Forget all faults and switch every facet on again."""
    global _has_warned  # noqa: PLW0603 - one warning a session is a fact of the process
    with _lock:
        faults.clear()
        _counts.clear()
        _has_warned = False


class guard(ContextDecorator, AbstractContextManager["guard"]):  # noqa: N801 - reads as a verb
    """Keep an error of ours away from the user; ``KeyboardInterrupt`` passes.

    Parameters
    ----------
    what
        The facet at work. As a decorator a facet that is off is not called at all and gives
        None; in a ``with`` block ask `is_off` first where the work is worth skipping.

    Examples
    --------
    >>> with guard("example"):
    ...     raise ValueError("never seen")
    >>> faults[-1].error
    'ValueError: never seen'
    >>> reset()
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, function: Callable[..., object]) -> Callable[..., object]:  # type: ignore[override]
        """Guard every call of a function."""
        from functools import wraps

        @wraps(function)
        def guarded(*args: object, **kwargs: object) -> object:
            if _counts[self._what] < FAULTS_UNTIL_OFF:
                with self:
                    return function(*args, **kwargs)
            return None

        return guarded

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        if not isinstance(error, Exception):
            return False
        _record(self._what, error)
        return True


def _record(what: str, error: Exception) -> None:
    global _has_warned  # noqa: PLW0603 - see `reset`
    lines = traceback.format_exception(error)
    fault = Fault(what, time.time_ns(), f"{type(error).__name__}: {_text(error)}", "".join(lines))
    with _lock:
        _counts[what] += 1
        faults.append(fault)
        del faults[:-_KEPT_FAULTS]
        warns = not _has_warned and on_warning is not None
        _has_warned |= warns
    if warns and on_warning is not None:
        on_warning(
            f"mlops_nb: part of the tracking failed ({what}); your cells are not affected. "
            "See: %mlops_doctor"
        )


def _text(error: Exception) -> str:
    """The text of an error whose own ``__str__`` may fail."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the guard itself must not fail on a hostile exception
        return "(its text cannot be shown)"
