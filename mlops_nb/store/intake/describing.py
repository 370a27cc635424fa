"""What an environment is made of, found out by the drainer: its kernel is busy with other things.

The kernel tells only its environment's names and versions, and from which files its modules came;
metadata and owners of a hundred distributions cost a tenth of a second.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from mlops_nb.model import EnvironmentSeen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model import Environment, Json
    from mlops_nb.store.database import Store

_UNITED = ("distributions", "modules", "imported", "editable")


class Describer:
    """Adds the details of its environment to a session's store; for a process of its own.

    Parameters
    ----------
    session
        The session's id.
    """

    def __init__(self, session: str) -> None:
        self._session = session
        self._described: tuple[str, int] | None = None

    def look(self, store: Store) -> bool:
        """Describe what was imported since the last time; whether there was anything."""
        session = store.session(self._session)
        facts = store.session_facts(self._session)
        modules = facts.get("modules") or {}
        if session is None or session.environment is None or not modules:
            return False
        state = (session.environment, len(modules))
        environment = store.environment(session.environment)
        if state == self._described or environment is None:
            return False
        self._described = state
        details = details_of(environment, modules, facts.get("path") or ())
        known = environment.content.get("details")
        content = {**environment.content, "details": united(known, details)}
        return store.apply([EnvironmentSeen(environment.digest, content)])


def details_of(
    environment: Environment, modules: Mapping[str, str], path: Iterable[str]
) -> dict[str, Json]:
    """Read the details of an environment that another process of this host has.

    Parameters
    ----------
    environment
        As that process told it.
    modules
        Name -> file of what it imported.
    path
        Its ``sys.path``, which becomes that of this process.
    """
    from mlops_nb.environment import read_details

    sys.path[:] = [entry for entry in path if entry] + [
        entry for entry in sys.path if entry not in path
    ]
    return read_details(environment, {name: _module(name, file) for name, file in modules.items()})


def _module(name: str, file: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = file
    return module


def united(known: Mapping[str, Json] | None, new: Mapping[str, Json]) -> dict[str, Json]:
    """Add what another session had imported in the same environment.

    Examples
    --------
    >>> united({"imported": {"numpy": "2.0"}}, {"imported": {"pandas": "3.0"}})["imported"]
    {'numpy': '2.0', 'pandas': '3.0'}
    """
    found = dict(new)
    for name in _UNITED:
        before, now = (known or {}).get(name) or {}, new.get(name) or {}
        found[name] = {key: {**before, **now}[key] for key in sorted({**before, **now})}
    return found
