"""Python files beside the notebook: what ``import *`` binds, and which keep state."""

from __future__ import annotations

import ast
import re
import sys
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow import known
from mlops_nb.source.parsing import parse

if TYPE_CHECKING:
    from pathlib import Path

_EFFECTS = frozenset({"antigravity", "this", "idlelib.idle", "__main__", "turtledemo"})
_HIDES = {
    "numpy": "abs all any bool divmod max min pow round sum",
    "torch": "abs all any bool compile complex float int max min pow range round sum",
    "pylab": "all any divmod sum",
    "matplotlib.pylab": "all any divmod sum",
    "jax.numpy": "abs all any bool divmod max min pow round sum",
    "cupy": "abs all any bool divmod max min pow round sum",
    "pyspark.sql.functions": "abs ascii bin filter hash hex max min pow round slice sum",
    "polars": "all any format len max min sum",
    "dask.array": "abs all any divmod max min round sum",
}
_LONGEST_BYTES = 1_000_000
_CHANGES = known.STORES | known.TAKES_OUT | {"pop", "popitem", "setdefault"}


def text_beside(folder: Path | None, name: str) -> str | None:
    """Read a file beside the notebook; None if there is none, or it is no text of fair size."""
    if folder is None:
        return None
    path = folder / name
    try:
        if path.stat().st_size > _LONGEST_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _module_text(folder: Path | None, module: str) -> str | None:
    path = module.lstrip(".").replace(".", "/")
    text = text_beside(folder, f"{path}.py")
    return text if text is not None else text_beside(folder, f"{path}/__init__.py")


def module_names(folder: Path | None, module: str) -> tuple[str, ...] | None:
    """Names that ``from module import *`` binds; None where the file is not at hand."""
    text = _module_text(folder, module)
    if text is None:
        return _standard_names(module)
    tree = parse(text)
    if tree is None:
        return None
    names: dict[str, None] = {}
    for node in tree.body:
        for name in _bound(node):
            names[name] = None
        listed = _listed(node)
        if listed is not None:
            return listed
    return tuple(name for name in names if not name.startswith("_"))


def _standard_names(module: str) -> tuple[str, ...] | None:
    """Names of a module of the standard library; None for any other, which is not imported."""
    if module.partition(".")[0] not in sys.stdlib_module_names or module in _EFFECTS:
        return None
    try:
        found = import_module(module)
    except ImportError:
        return ()
    names = getattr(found, "__all__", None)
    return tuple(names or (name for name in vars(found) if not name.startswith("_")))


def builtins_hidden(module: str) -> tuple[str, ...]:
    """Name the builtins that ``from module import *`` hides, as far as that is known."""
    return tuple(_HIDES.get(module, "").split())


def _listed(node: ast.stmt) -> tuple[str, ...] | None:
    if isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    ):
        texts = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
        return tuple(text for text in texts if isinstance(text, str))
    return None


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [a.asname or a.name.partition(".")[0] for a in node.names if a.name != "*"]
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _is_store(n)]


def _is_store(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def keeps_state(folder: Path | None, module: str, name: str) -> bool:
    """Whether calling a function of a module beside the notebook changes that module."""
    text = _module_text(folder, module) if name and folder is not None else None
    return text is not None and name.partition(".")[0] in _changing(text)


def seeds(folder: Path | None, module: str, name: str) -> bool:
    """Whether calling a function of a module beside the notebook may seed a generator."""
    text = _module_text(folder, module) if name and folder is not None else None
    return text is not None and name.partition(".")[0] in _seeding(text)


@lru_cache(maxsize=64)
def _seeding(text: str) -> frozenset[str]:
    """Names of a module whose text seeds, or that use one that does."""
    tree = parse(text)
    if tree is None or not _SEEDS.search(text):
        return frozenset()
    uses: dict[str, set[str]] = {}
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            uses[node.name] = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            if _SEEDS.search(ast.unparse(node)):
                found.add(node.name)
    while more := {name for name, used in uses.items() if used & found} - found:
        found |= more
    return frozenset(found)


_SEEDS = re.compile(r"seed\w*\(|set_state\(|setstate\(")


@lru_cache(maxsize=64)
def _changing(text: str) -> frozenset[str]:
    """Names of a module whose use changes a name of the module; also by way of one another."""
    tree = parse(text)
    if tree is None:
        return frozenset()
    names = {name for node in tree.body for name in _bound(node)}
    uses: dict[str, set[str]] = {}
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            uses[node.name] = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & names
            if any(_changes_module(inner, names) for inner in ast.walk(node)):
                found.add(node.name)
    while more := {name for name, used in uses.items() if used & found} - found:
        found |= more
    return frozenset(found)


def _changes_module(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Global):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in _CHANGES and _root(node.func.value) in names
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return _root(node.value) in names
    return False


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
