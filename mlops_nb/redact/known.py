"""Secrets that this process has seen with their names, to be found again without them.

``print(password)`` shows what no pattern knows. Values stay in memory, where the user's own
program has them anyway, and are written nowhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlops_nb.redact.marks import compiled, is_literal, mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

secrets: dict[str, str] = {}
"""Value -> mark."""

_variables = -1
_MOST = 200
_SHORTEST = 8
_VARIABLE = (
    r"(?i)(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|PWD|CREDENTIALS?)(?:_\d+)?$"
)
# Two kinds of letters: a plain word would be replaced in every text.
_KINDS = ("[a-z]", "[A-Z]", r"\d", r"[^\w\s]")


def learn(found: Iterable[tuple[str, str]]) -> None:
    """Remember secrets by name and value, if their values are unlike words.

    Examples
    --------
    >>> learn([("password", "tr0ub4dor&3")])
    >>> without_known("signed in with tr0ub4dor&3")
    'signed in with ⟨secret:password⟩'
    >>> forget()
    """
    for name, value in found:
        if _is_distinct(value) and len(secrets) < _MOST:
            secrets.setdefault(value, mark(name))


def learn_variables(variables: Mapping[str, str] | None = None) -> None:
    """Remember the values of environment variables whose names say that they are secret.

    They are looked at for nothing else, and never kept.

    Examples
    --------
    >>> learn_variables({"DB_PASSWORD": "tr0ub4dor&3", "HOME": "/home/ann"})
    >>> without_known("tr0ub4dor&3 in /home/ann")
    '⟨secret:DB_PASSWORD⟩ in /home/ann'
    >>> forget()
    """
    variables = os.environ if variables is None else variables
    learn((name, value) for name, value in variables.items() if compiled(_VARIABLE).search(name))


def look_at_variables() -> None:
    """Remember the values of secret environment variables, if there are more or fewer than before.

    That is cheap enough for every cell: one may have read a file of settings.

    Examples
    --------
    >>> os.environ["EXAMPLE_TOKEN"] = "tr0ub4dor&3"
    >>> look_at_variables()
    >>> without_known("tr0ub4dor&3")
    '⟨secret:EXAMPLE_TOKEN⟩'
    >>> del os.environ["EXAMPLE_TOKEN"]
    >>> forget()
    """
    global _variables  # noqa: PLW0603  # one environment a process
    count = len(os.environ)
    if count != _variables:
        _variables = count
        learn_variables()


def forget() -> None:
    """Forget everything, as when a session ends."""
    global _variables  # noqa: PLW0603  # one environment a process
    _variables = -1
    secrets.clear()


def without_known(text: str) -> str:
    """Replace what is known; the same object where nothing was found."""
    for value, stands in list(secrets.items()):
        if value in text:
            text = text.replace(value, stands)
    return text


def _is_distinct(value: str) -> bool:
    is_long = len(value) >= _SHORTEST and not any(letter.isspace() for letter in value)
    return (
        is_long and is_literal(value) and sum(bool(compiled(k).search(value)) for k in _KINDS) > 1
    )
