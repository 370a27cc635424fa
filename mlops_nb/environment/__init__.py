"""What a session runs on: Python, distributions, operating system, hardware, code of the project.

`read_environment` is quick and runs where the user waits; `read_details`, `code_state` and
`write_lock` ask git, read metadata or ask a package index, so they run off the user's thread or
when somebody asks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.environment.code import CodeState, changed_modules, code_state
    from mlops_nb.environment.comparison import compare_environments
    from mlops_nb.environment.details import read_details, read_imports
    from mlops_nb.environment.distributions import normal_name
    from mlops_nb.environment.git import git_state, without_credentials
    from mlops_nb.environment.lock import LockFailed, LockResult, write_lock
    from mlops_nb.environment.reading import VARIABLES, read_environment

__all__ = [
    "VARIABLES",
    "CodeState",
    "LockFailed",
    "LockResult",
    "changed_modules",
    "code_state",
    "compare_environments",
    "git_state",
    "normal_name",
    "read_details",
    "read_environment",
    "read_imports",
    "without_credentials",
    "write_lock",
]

# Loaded when first used: opening a session needs two of them.
_MODULES = {
    "VARIABLES": "reading",
    "CodeState": "code",
    "LockFailed": "lock",
    "LockResult": "lock",
    "changed_modules": "code",
    "code_state": "code",
    "compare_environments": "comparison",
    "git_state": "git",
    "normal_name": "distributions",
    "read_details": "details",
    "read_environment": "reading",
    "read_imports": "details",
    "without_credentials": "git",
    "write_lock": "lock",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
