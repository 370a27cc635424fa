"""The session and the store that a call without a name means: those of this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import session as sessions
from mlops_nb.config import load_settings

if TYPE_CHECKING:
    from mlops_nb.session import Session
    from mlops_nb.store import Store


def current_session() -> Session:
    """The session of this process; a first call in a script or notebook begins one."""
    session = sessions.active()
    return session if session is not None else sessions.start_session(_shell())


def _shell() -> object:
    import sys

    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def open_store(location: str | Path | None = None) -> Store:
    """Open the store of this notebook, with everything logged so far in it.

    Parameters
    ----------
    location
        Its folder; found by walking up from here if left out.

    Raises
    ------
    StoreNotFound
        There is none yet.
    """
    from mlops_nb.errors import StoreNotFound
    from mlops_nb.store import Store
    from mlops_nb.store.locate import find

    session = sessions.active()
    if location is None and session is not None:
        location = session.location
    if location is None:
        location = find(Path.cwd(), load_settings(Path.cwd()))
    if location is None:
        raise StoreNotFound(str(Path.cwd()))
    store = Store.open(location, create=session is not None)
    store.refresh()
    return store
