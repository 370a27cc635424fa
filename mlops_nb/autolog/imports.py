"""Told when a module has been imported, without importing it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class ImportWatch:
    """Calls back after one of some modules has been executed; a reload counts again.

    Finds nothing itself: the spec is the one that the other finders give, with its loader.

    Parameters
    ----------
    names
        Of the modules.
    on_import
        Is given the module, executed; must not raise.
    """

    def __init__(self, names: Collection[str], on_import: Callable[[ModuleType], None]) -> None:
        self._names = frozenset(names)
        self._on_import = on_import

    def start(self) -> None:
        """Watch imports from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Watch no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Give the others' spec of a watched module; None for any other."""
        if fullname not in self._names:
            return None
        spec = self._ask_others(fullname, path, target)
        if spec is not None:
            self._watch_loader(spec)
        return spec

    def _ask_others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if finder is self or find_spec is None:
                continue
            spec: ModuleSpec | None = find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def _watch_loader(self, spec: ModuleSpec) -> None:
        """Put ``exec_module`` in front of the loader's own, until the module has been executed.

        On the instance, so that its type and everything else stay. A loader that is a class or
        takes no attribute is left alone; `Installed.refresh` finds the module later.
        """
        loader = spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return
        own = getattr(loader, "__dict__", None)
        if isinstance(loader, type) or own is None or "exec_module" in own:
            return

        def exec_module(module: ModuleType) -> None:
            if module.__name__ == spec.name:
                # First, so that the module's own code and a lazy loader see the bare loader.
                own.pop("exec_module", None)
            type(loader).exec_module(loader, module)
            if module.__name__ == spec.name and self in sys.meta_path:
                self._on_import(module)

        own["exec_module"] = exec_module
