"""Whose code is it? What this user did not record is run only when they say so."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.model import Session


def stranger(store: Path | None, session: Session | None) -> str | None:
    """Say why a run may have been recorded by somebody else; None if this user did.

    A run is this user's own if its store is a folder that belongs to them and that no other may
    write, and if it was recorded on this machine.

    Parameters
    ----------
    store
        The store's folder, None for a server.
    session
        That recorded the run.
    """
    if store is None:
        return "the store is shared on a server"
    try:
        found = [(path, path.stat()) for path in (store, store / "store.db")]
    except OSError:
        return f"{store} cannot be looked at"
    for path, status in found:
        if status.st_uid != os.getuid():
            return f"{path.name} belongs to another user"
        if status.st_mode & 0o002:
            return f"{path.name} may be written by everybody"
    if session is None:
        return "it does not say where it was recorded"
    if session.host != socket.gethostname():
        return f'it was recorded on another machine, "{session.host}"'
    return None
