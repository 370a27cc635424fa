"""Patch lists of libraries, put in place and taken out again as one set."""

from __future__ import annotations

import sys
import threading
import weakref
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mlops_nb.autolog.imports import ImportWatch
from mlops_nb.autolog.patch import (
    Kind,
    Listener,
    forget_interrupted_calls,
    patch_methods,
    restore_methods,
    start_telling,
    stop_telling,
    watch_function,
)
from mlops_nb.autolog.redirection import Redirection
from mlops_nb.capture.guard import guard
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ENTRY_POINTS = "mlops_nb.autolog"


@record
class ClassTree:
    """A class and all its subclasses, those that do not exist yet included.

    Attributes
    ----------
    root
        The base class.
    methods
        Names of the methods to watch, and what a call of each does.
    makers
        Bases of some subclasses whose ``__init_subclass__`` changes methods of the new class
        after calling the root's.
    """

    root: type
    methods: Mapping[str, Kind]
    makers: tuple[type, ...] = ()


@record
class Functions:
    """Functions to watch, all of one kind."""

    kind: Kind
    functions: tuple[FunctionType, ...]


@record
class Classes:
    """Single classes to watch, with those of their bases that define such methods."""

    classes: tuple[type, ...]
    methods: Mapping[str, Kind]


Patch: TypeAlias = ClassTree | Functions | Classes


class PatchList(Protocol):
    """What a module named by an entry point of the group `ENTRY_POINTS` offers.

    It imports its library only inside `patches`, where that is there already. It may also have
    ``methods_of(cls) -> Mapping[str, Kind]``, which says what to watch in a class that a notebook
    defines, imports or holds an object of; empty for a class that means nothing to it.
    """

    MODULES: Sequence[str]
    """Names of the modules that are waited for."""

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Say what to watch in one of `MODULES`, which has been imported."""


class Installed:
    """The set of patches in place: one a process.

    Parameters
    ----------
    lists
        The patch lists.
    """

    def __init__(self, lists: Sequence[PatchList]) -> None:
        self._lists = lists
        self._lock = threading.RLock()
        self._watch = ImportWatch([name for one in lists for name in one.MODULES], self._imported)
        self._redirections: dict[FunctionType, Redirection] = {}
        self._classes: weakref.WeakSet[type] = weakref.WeakSet()
        self._trees: dict[type, ClassTree] = {}
        self._known: dict[str, weakref.ref[ModuleType]] = {}
        self._searched: weakref.WeakSet[ModuleType] = weakref.WeakSet()
        self._module_count = 0
        self._is_on = False
        # What others may set again: a class that is unpickled by value, or that autoreload renews.
        self._changeable: weakref.WeakKeyDictionary[type, Mapping[str, Kind]]
        self._changeable = weakref.WeakKeyDictionary()

    # --- in and out ---------------------------------------------------------------------------

    def start(self, namespace: dict[str, object]) -> None:
        """Patch what is imported already, and wait for the rest."""
        self._is_on = True
        self._watch.start()
        self.refresh(namespace)

    def uninstall(self) -> None:
        """Put everything back as it was."""
        global _installed  # noqa: PLW0603  # one set of patches a process, by design
        with _process_lock:
            if _installed is self:
                _installed = None
                stop_telling()
        with self._lock:
            self._is_on = False
            self._watch.stop()
            for redirection in self._redirections.values():
                redirection.undo()
            for cls in list(self._classes):
                with guard("autolog classes"):
                    restore_methods(cls)
            self._redirections.clear()
            self._classes.clear()
            self._changeable.clear()
            self._trees.clear()

    def refresh(self, namespace: Mapping[str, object], names: Iterable[str] | None = None) -> None:
        """Patch what appeared since: call it at the start of each cell.

        Parameters
        ----------
        namespace
            The notebook's.
        names
            Those bound since the last time; None for all.
        """
        forget_interrupted_calls()
        with guard("autolog classes"), self._lock:
            if not self._is_on:
                return
            self._look_for_modules()
            for cls, methods in list(self._changeable.items()):
                patch_methods(cls, methods)
            found = list(namespace) if names is None else [n for n in names if n in namespace]
            self._look_at([namespace[name] for name in found])

    # --- modules ------------------------------------------------------------------------------

    def _look_for_modules(self) -> None:
        """Take what an import hook cannot see: modules that were there before, or came past it."""
        if len(sys.modules) == self._module_count:
            return
        self._module_count = len(sys.modules)
        for one in self._lists:
            for name in one.MODULES:
                module = sys.modules.get(name)
                known = self._known.get(name)
                if module is not None and (known is None or known() is not module):
                    self._imported(module)
        for tree in self._trees.values():
            self._walk(tree)

    def _imported(self, module: ModuleType) -> None:
        name = module.__name__
        with self._lock:
            self._known[name] = weakref.ref(module)
            for one in self._lists:
                # A list that fails switches off itself, and nothing else.
                with guard(f"autolog {getattr(one, '__name__', one)}"):
                    for patch in one.patches(module) if name in one.MODULES else ():
                        self._apply(patch)

    def _apply(self, patch: Patch) -> None:
        if isinstance(patch, Functions):
            for function in patch.functions:
                self._redirect(function, lambda found: watch_function(found, patch.kind))
        elif isinstance(patch, Classes):
            for cls in patch.classes:
                self._watch_class(cls, patch.methods)
        elif patch.root not in self._trees:
            self._trees[patch.root] = patch
            for base in (patch.root, *patch.makers):
                self._watch_births(base)
            self._walk(patch)

    def _redirect(
        self, function: FunctionType, redirect: Callable[[FunctionType], Redirection]
    ) -> None:
        known = self._redirections.get(function)
        if known is None or not known.is_in_place:
            self._redirections[function] = redirect(function)

    # --- classes ------------------------------------------------------------------------------

    def _watch_births(self, base: type) -> None:
        """Let ``__init_subclass__`` of a base patch each new class, after all it does itself.

        A base without one written in Python is left alone: `refresh` finds its new subclasses.
        """

        def target(original: FunctionType) -> Callable[..., None]:
            def make(cls: type, /, *args: object, **kwargs: object) -> None:
                original(cls, *args, **kwargs)
                self._born(cls)

            return make

        function = getattr(base.__init_subclass__, "__func__", None)
        if isinstance(function, FunctionType):
            self._redirect(function, lambda found: Redirection(found, target))

    def _born(self, cls: type) -> None:
        with guard("autolog classes"), self._lock:
            for tree in self._trees.values():
                if tree.root in cls.__mro__:
                    self._watch_class(cls, tree.methods)

    def _walk(self, tree: ClassTree) -> None:
        """Patch each class of a tree that has not been seen yet."""
        waiting, seen = [tree.root], set[int]()
        while waiting:
            cls = waiting.pop()
            if id(cls) in seen:
                continue
            seen.add(id(cls))
            waiting += type.__subclasses__(cls)
            if cls not in self._classes:
                with guard("autolog classes"):
                    self._watch_class(cls, tree.methods)

    def _watch_class(self, cls: type, methods: Mapping[str, Kind]) -> None:
        for base in cls.__mro__:
            if base in self._classes and base is not cls:
                continue
            # A class of a C library cannot be changed, and has nothing to watch.
            with suppress(TypeError):
                if patch_methods(base, methods) or base is cls:
                    self._classes.add(base)
                    if not self._is_of_a_tree(base):
                        self._changeable[base] = methods

    def _is_of_a_tree(self, cls: type) -> bool:
        package = cls.__module__.partition(".")[0]
        return any(package == root.__module__.partition(".")[0] for root in self._trees)

    # --- the notebook's names -----------------------------------------------------------------

    def _look_at(self, values: Iterable[object]) -> None:
        """Patch classes of no tree that a notebook defines, imports, or holds an object of."""
        classes = set[type]()
        for value in values:
            # By `type`, because `isinstance` asks an object for its ``__class__``.
            kind = type(value)
            if kind in _PLAIN_VALUES:
                continue
            if issubclass(kind, ModuleType):
                self._look_into(value)  # type: ignore[arg-type]
            elif issubclass(kind, type):
                classes.add(value)  # type: ignore[arg-type]
            elif not kind.__flags__ & _IMMUTABLE:
                classes.add(kind)
        for cls in classes:
            self._offer(cls)

    def _look_into(self, module: ModuleType) -> None:
        """Look at the classes of a module that is bound to a name, once."""
        if module in self._searched:
            return
        self._searched.add(module)
        # A lazy module is loaded by any attribute that is asked for in the usual way.
        for value in list(object.__getattribute__(module, "__dict__").values()):
            if issubclass(type(value), type):
                self._offer(value)

    def _offer(self, cls: type) -> None:
        if cls in _PLAIN or cls in self._classes:
            return
        for one in self._lists:
            methods_of = getattr(one, "methods_of", None)
            methods = methods_of(cls) if methods_of is not None else {}
            if methods:
                self._watch_class(cls, methods)


BUILT_IN = {"sklearn": "mlops_nb.autolog.sklearn"}
"""Our own lists, which are there also where no distribution's metadata can be read."""

_PLAIN = frozenset({int, float, str, bool, bytes, list, dict, tuple, set, type(None), type, range})
_PLAIN |= {FunctionType, type(len)}
_PLAIN_VALUES = _PLAIN - {type}
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: nobody can give it methods

_installed: Installed | None = None
_process_lock = threading.RLock()


def install(listener: Listener, namespace: dict[str, object]) -> Installed:
    """Tell `listener` of every outermost call of the libraries that there are patch lists for.

    Nothing is imported but the patch lists. There is one set of patches a process: a second call
    only changes who listens.

    Parameters
    ----------
    listener
        Is told.
    namespace
        The notebook's, looked through for classes of no library that are known.
    """
    global _installed  # noqa: PLW0603  # see `Installed.uninstall`
    with _process_lock:
        if _installed is None:
            _installed = Installed(_load_lists())
            _installed.start(namespace)
        start_telling(listener)
        return _installed


def _load_lists() -> list[PatchList]:
    lists: list[PatchList] = []
    for name, module in _registered():
        with guard(f"autolog {name}"):
            lists.append(_checked(lambda module=module: import_module(module)))  # type: ignore[misc]
    return lists


def _registered() -> Iterator[tuple[str, str]]:
    """Name and module of each registered list.

    `importlib.metadata` takes 30 ms for this, most of what turning tracking on costs; here one
    look at each distribution's ``entry_points.txt`` (INI, by the packaging specification) does.
    """
    yield from BUILT_IN.items()
    seen = set(BUILT_IN)
    for folder in dict.fromkeys(path or "." for path in sys.path):
        # A folder on the path may be one that this user may not even look at.
        with suppress(OSError, UnicodeError):
            for file in sorted(Path(folder).glob("*.dist-info/entry_points.txt")):
                for name, module in _points_in(file.read_text("utf-8")):
                    if name not in seen:
                        seen.add(name)
                        yield name, module


def _points_in(text: str) -> Iterator[tuple[str, str]]:
    _, _, section = text.partition(f"[{ENTRY_POINTS}]\n")
    for line in section.partition("\n[")[0].splitlines():
        name, _, module = (part.strip() for part in line.partition("="))
        if module:
            yield name, module


def _checked(load: Callable[[], PatchList]) -> PatchList:
    """Load a list, so that one that lacks something fails here and not later."""
    one = load()
    _ = tuple(one.MODULES), one.patches
    return one
