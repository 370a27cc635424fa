"""What a notebook does with its libraries, told to the tracking without being asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.autolog.installation import Installed, install
    from mlops_nb.autolog.patch import Call, Listener

__all__ = ["Call", "Installed", "Listener", "install"]


def __getattr__(name: str) -> object:
    if name in {"Installed", "install"}:
        from mlops_nb.autolog import installation

        return getattr(installation, name)
    if name in {"Call", "Listener"}:
        from mlops_nb.autolog import patch

        return getattr(patch, name)
    raise AttributeError(name)
