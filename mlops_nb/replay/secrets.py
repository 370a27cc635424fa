"""Where the values of secrets come from: the environment of who replays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAP_VARIABLE = "MLOPS_NB_SECRETS"
"""Tells the replaying kernel which variable holds which secret: names only."""


def variable_of(name: str) -> str:
    """Name the environment variable that is the usual one for a secret.

    Examples
    --------
    >>> variable_of("api-key"), variable_of("HF_TOKEN")
    ('API_KEY', 'HF_TOKEN')
    """
    return re.sub(r"\W", "_", name).upper()


def find_secrets(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """Find the variable for each secret: by its name as it stands, else in capitals.

    Returns
    -------
    dict
        Name of the variable for each secret, None where there is none.
    """
    found: dict[str, str | None] = {}
    for name in names:
        candidates = (name, variable_of(name))
        found[name] = next((one for one in candidates if environ.get(one)), None)
    return found


def hide(text: str, secrets: Mapping[str, str]) -> str:
    """Put the marks back where values of secrets stand in a text.

    Examples
    --------
    >>> hide("signed in with hunter22", {"password": "hunter22"})
    'signed in with ⟨secret:password⟩'
    """
    for name, value in sorted(secrets.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(value, f"⟨secret:{name}⟩")
    return text
