"""Which libraries a worker may have before its notebook asks for them, and what speaks against it.

Read from the text of the notebook alone. A library is loaded early only if that cannot be told
from loading it in the cell: it is one of those known to load the same anywhere, nothing above the
import changes what loading depends on, and no file beside the notebook has its name.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EARLY = frozenset({"numpy", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow"})
"""Libraries that are worth it, and start no thread and open no device when they are loaded."""

_MAGIC = re.compile(r"^\s*[%!?]|\?\s*$")
# What libraries look at when they are loaded; whoever changes it wants it changed before.
_CHANGES = re.compile(
    r"environ|putenv|setenv|%\s*env\b|sys\s*\.\s*(?:path|modules|meta_path|path_hooks)"
    r"|\bsitecustomize\b|warnings|importlib|\bLD_|set_start_method|settrace|setprofile"
    r"|%\s*(?:load_ext|config|run|cd|pip|conda|uv|mamba)\b|!\s*\S*(?:pip|conda|uv|mamba)\b"
    r"|chdir|__import__|\bexec\s*\(|\beval\s*\("
)


def early_imports(sources: Iterable[str]) -> tuple[str, ...]:
    """List the modules that may be loaded before a notebook runs.

    Parameters
    ----------
    sources
        Of its code cells, in order.

    Returns
    -------
    tuple of str
        In the order in which the notebook loads them.

    Examples
    --------
    >>> early_imports(["import numpy as np", "from sklearn.svm import SVC; import mine"])
    ('numpy', 'sklearn.svm')
    >>> early_imports(["import os; os.environ['OMP_NUM_THREADS'] = '1'", "import numpy"])
    ()
    """
    found: dict[str, None] = {}
    for source in sources:
        if _CHANGES.search(source):
            break
        try:
            tree = ast.parse(_without_magics(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            break
        for statement in tree.body:
            for name in _named(statement):
                if name.partition(".")[0] in EARLY:
                    found[name] = None
    return tuple(found)


def _without_magics(source: str) -> str:
    """Put a harmless statement where IPython has its own language."""
    if source.lstrip().startswith("%%"):
        return ""
    return "\n".join("pass" if _MAGIC.search(line) else line for line in source.splitlines())


def _named(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
        yield statement.module


def shadowed(folder: Path, imports: Iterable[str]) -> str:
    """Find a file in a folder that a kernel there would load instead of an installed module.

    Parameters
    ----------
    folder
        Where the notebook runs; it comes before what is installed, and after Python's own.
    imports
        What a worker would have loaded already, beside what every kernel has.

    Returns
    -------
    str
        Its name, empty if there is none.
    """
    loaded = {name.partition(".")[0] for name in (*imports, *_always())}
    try:
        entries = list(folder.iterdir())
    except OSError:
        return ""
    for entry in sorted(entries):
        name = entry.name.partition(".")[0]
        if name in loaded and (_is_module(entry) or _is_package(entry)) and not _is_it(entry):
            return entry.name
    if "matplotlib" in loaded and (folder / "matplotlibrc").exists():
        return "matplotlibrc"
    return ""


def _is_it(entry: Path) -> bool:
    """Whether it is the very module that is loaded, as in a checkout of it."""
    file = getattr(sys.modules.get(entry.name.partition(".")[0]), "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(entry.resolve())


def _always() -> frozenset[str]:
    """Name the installed modules that a worker always has."""
    own = {"IPython", "ipykernel", "mlops_nb", "matplotlib_inline", "jupyter_client", "zmq"}
    own |= {"jupyter_core", "traitlets", "tornado", "comm", "debugpy", "dateutil", "six", "psutil"}
    own |= {"msgpack", "xxhash", "jedi", "parso", "pygments", "executing", "asttokens", "pexpect"}
    own |= {"decorator", "stack_data", "pure_eval", "prompt_toolkit", "wcwidth", "platformdirs"}
    own |= {"ptyprocess", "nest_asyncio", "packaging", "typing_extensions", "exceptiongroup"}
    return frozenset(own) - sys.stdlib_module_names


def _is_module(entry: Path) -> bool:
    return entry.suffix in {".py", ".pyc", ".so"} and entry.is_file()


def _is_package(entry: Path) -> bool:
    return entry.is_dir() and (entry / "__init__.py").exists()
