"""Where a session runs, and who runs it: found out once, off the user's thread."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.model import Json

_USER_VARIABLES = ("JUPYTERHUB_USER", "LOGNAME", "USER", "LNAME", "USERNAME")
_LONGEST_NAME = 64
_MOST_BYTES = 10_000


def session_facts(shell: object, folder: str) -> dict[str, Json]:
    """Name the kernel, the working folder and the user; what is not known is left out.

    Parameters
    ----------
    shell
        IPython's shell, None in a script.
    folder
        The working folder when tracking began.

    Examples
    --------
    >>> session_facts(None, "/work")["folder"]
    '/work'
    """
    facts = {"kernel": _kernel_name(shell), "folder": folder, "user": _user()}
    return {name: fact for name, fact in facts.items() if fact}


def _kernel_name(shell: object) -> str:
    """Read the name that a kernel was started by, which its connection file has."""
    application = getattr(getattr(shell, "kernel", None), "parent", None)
    file = getattr(application, "abs_connection_file", None)
    if not isinstance(file, str):
        return ""
    try:
        with Path(file).open("rb") as opened:
            content = json.loads(opened.read(_MOST_BYTES))
    except (OSError, ValueError):
        return ""
    name = content.get("kernel_name") if isinstance(content, dict) else ""
    return name if isinstance(name, str) else ""


def _user() -> str:
    """Give the short name of who runs this; of an address, only what is before the @."""
    given = next(filter(None, map(os.environ.get, _USER_VARIABLES)), "") or _account()
    return given.partition("@")[0].strip()[:_LONGEST_NAME]


def _account() -> str:
    """Name the owner of this process; a directory server may have to be asked."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows; a container with an arbitrary uid
        return ""
