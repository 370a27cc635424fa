"""Objects of which each process has its own: no value brings them along."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_GENERATORS = (("numpy.random.mtrand", "_rand"), ("torch", "default_generator"))


def ambient_objects(namespace: Mapping[str, object]) -> list[tuple[object, tuple[str, ...]]]:
    """List them, each with a name by which another process finds its own.

    Parameters
    ----------
    namespace
        Of the notebook; it is the first of them.

    Examples
    --------
    >>> ambient_objects({})[0]
    ({}, ('namespace',))
    """
    known: list[tuple[object, tuple[str, ...]]] = [
        (namespace, ("namespace",)),
        (os.environ, ("attribute", "os", "environ")),
        (sys.modules, ("attribute", "sys", "modules")),
        (random._inst, ("attribute", "random", "_inst")),  # noqa: SLF001  # what `random.seed` seeds
    ]
    known += [(getattr(sys, name, None), ("attribute", "sys", name)) for name in _STREAMS]
    for module, name in _GENERATORS:
        found = getattr(sys.modules.get(module), name, None)
        known.append((found, ("attribute", module, name)))
    # `get_ipython` is a method of the shell.
    known.append((getattr(namespace.get("get_ipython"), "__self__", None), ("shell",)))
    return [(one, name) for one, name in known if one is not None]


def ambient_names(namespace: Mapping[str, object]) -> dict[int, tuple[str, ...]]:
    """Return their names by id."""
    found: dict[int, tuple[str, ...]] = {}
    for one, name in ambient_objects(namespace):
        found.setdefault(id(one), name)
    return found


__all__ = ["ambient_names", "ambient_objects"]
