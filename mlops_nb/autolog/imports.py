"""Told when a module has been imported, without importing it."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

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
        self._asking = threading.local()

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
        """Give the others' spec of a watched module; None for any other.

        Another watch of the same module is one of the others: it asks us while we ask it.
        """
        if fullname not in self._names or getattr(self._asking, "name", None) == fullname:
            return None
        before = getattr(self._asking, "name", None)
        self._asking.name = fullname
        try:
            spec = self._ask_others(fullname, path, target)
        finally:
            self._asking.name = before
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
        if isinstance(loader, type) or own is None:
            return
        watches: list[ImportWatch] | None = getattr(own.get("exec_module"), _WATCHES, None)
        if watches is not None:
            watches.append(self)
        elif "exec_module" not in own:
            own["exec_module"] = _executing(spec.name, loader, own)
            getattr(own["exec_module"], _WATCHES).append(self)

    def executed(self, module: ModuleType) -> None:
        """A watched module has been executed."""
        if self in sys.meta_path:
            self._on_import(module)


_WATCHES = "mlops_watches"


def _executing(name: str, loader: object, own: dict[str, Any]) -> Callable[[ModuleType], None]:
    """Make an ``exec_module`` that tells all watches of a module, once."""
    watches: list[ImportWatch] = []

    def exec_module(module: ModuleType) -> None:
        if module.__name__ == name:
            # First, so that the module's own code and a lazy loader see the bare loader.
            own.pop("exec_module", None)
        type(loader).exec_module(loader, module)  # type: ignore[attr-defined]  # a loader has it
        if module.__name__ == name:
            for watch in watches:
                watch.executed(module)

    setattr(exec_module, _WATCHES, watches)
    return exec_module
