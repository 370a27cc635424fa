"""Statements that read a secret: they are repeated where it is needed, and it never travels."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SECRET = re.compile(
    r"(?i)(key|token|secret|passw|passphrase|pwd|credential|cred$|auth|dsn|private|cookie)"
)
_GETTERS = frozenset({"os.getenv", "os.environ.get", "os.environ.pop", "os.environ.setdefault"})
_ASKS = frozenset({"getpass.getpass", "keyring.get_password"})


def reads_secret(node: ast.expr, path_of: Callable[[ast.expr], str]) -> bool:
    """Whether an expression is a secret that is read from the environment or from a person."""
    if isinstance(node, ast.Subscript):
        return path_of(node.value) == "os.environ" and _is_secret(node.slice)
    if not isinstance(node, ast.Call):
        return False
    path = path_of(node.func)
    return path in _ASKS or (path in _GETTERS and bool(node.args) and _is_secret(node.args[0]))


def _is_secret(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _SECRET.search(node.value) is not None
    )
