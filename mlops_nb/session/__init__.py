"""The composition root of a kernel, and the one session that a process has.

A `Session` lives from ``%mlops_track`` to ``%mlops_track --off`` or the end of the process.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.config import load_settings
from mlops_nb.loading import without_collection
from mlops_nb.session.session import CellRun, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json

__all__ = [
    "CellRun",
    "Session",
    "active",
    "end_batch",
    "ignore_interrupts",
    "start_batch",
    "start_session",
    "stop_session",
]

_active: Session | None = None
_lock = threading.RLock()


def active() -> Session | None:
    """The session of this process, None while tracking is off."""
    return _active


def start_session(shell: object = None, **given: object) -> Session:
    """Open a session in this process, or give the one that is open already.

    Runs are born only when someone opens one, until `Session.be_automatic` is called.

    Raises
    ------
    StoreNotOurs, BadSetting
        The store or a setting cannot be used.
    """
    global _active  # noqa: PLW0603  # one session a process, by design
    with _lock, without_collection():
        if _active is None:
            settings = load_settings(Path.cwd(), **given)
            _active = Session(shell, settings, _closed)
            _active.start()
        return _active


def _closed(session: Session) -> None:
    global _active  # noqa: PLW0603  # see above
    with _lock:
        if _active is session:
            _active = None


def ignore_interrupts() -> None:
    """Let an interrupt pass from now on: of a kernel that is about to be stopped.

    Whoever stops a kernel interrupts it first, and a kernel that is still on its way out of the
    last request remarks upon that among the notebook's own words.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_session() -> None:
    """Turn tracking off; does nothing while it is off."""
    session = _active
    if session is not None:
        session.close()


def start_batch(info: Mapping[str, Json]) -> str:
    """Begin a batch run in this kernel; our papermill engine calls it before the first cell.

    Parameters
    ----------
    info
        See `Session.begin_batch`; also ``store``, the store's location.

    Returns
    -------
    str
        The run's id.
    """
    from IPython import get_ipython

    given = {"store": info["store"]} if info.get("store") else {}
    session = start_session(get_ipython(), notebook=info.get("notebook"), batch=True, **given)
    return session.begin_batch(info).id


def end_batch(info: Mapping[str, Json]) -> None:
    """End the batch run; our papermill engine calls it after the last cell.

    Parameters
    ----------
    info
        ``status`` if the engine knows better than the kernel (a cell that timed out), ``error``.
    """
    session = _active
    if session is None or session.tracker.batch is None:
        return
    status = info.get("status")
    known = status if status in {"finished", "failed", "interrupted"} else None
    session.tracker.end(session.tracker.batch, status=known, error=info.get("error"))
    session.close()
