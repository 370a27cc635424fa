"""A notebook, or a percent script, as one `Notebook` record; nothing in it is executed."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadNotebook, MissingExtra
from mlops_nb.notebook import Cell, Notebook, read_notebook, require_python

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARKER = re.compile(r"^#\s*(?:%%|In\[[\d ]*\]:?)(?=\s|$|\[)", re.MULTILINE)
_SCRIPTS = frozenset({".py"})
_LANGUAGES = {
    "almond": "Scala",
    "bash": "Bash",
    "deno": "TypeScript",
    "gophernotes": "Go",
    "ir": "R",
    "irkernel": "R",
    "iruby": "Ruby",
    "javascript": "JavaScript",
    "julia": "Julia",
    "octave": "Octave",
    "sas": "SAS",
    "scala": "Scala",
    "stata": "Stata",
    "xcpp": "C++",
    "xr": "R",
}


def read_source(path: str | Path) -> Notebook:
    """Read what a pipeline is made of.

    Parameters
    ----------
    path
        A notebook, or a script whose cells begin with ``# %%``, where tags stand as
        ``# %% tags=["step:load"]``.

    Raises
    ------
    BadNotebook
        It is neither, or is not in Python.
    MissingExtra
        Scripts need jupytext, which is not installed.

    Examples
    --------
    >>> read_source("train.py").cells[0].tags  # doctest: +SKIP
    ('step:load',)
    """
    shown = Path(path)
    notebook = _read_script(shown) if shown.suffix.lower() in _SCRIPTS else read_notebook(path)
    require_python(notebook)
    return notebook


def language_of_kernel(name: str) -> str | None:
    """Name the language of a kernel that is known not to run Python, by the kernel's name.

    Examples
    --------
    >>> language_of_kernel("ir"), language_of_kernel("python3")
    ('R', None)
    """
    return _LANGUAGES.get(re.split(r"[-_.\d ]", name.lower())[0])


def _read_script(path: Path) -> Notebook:
    text = _text(path)
    if not _MARKER.search(text):
        problem = 'it is a script without cells (no line begins with "# %%")'
        remedy = "Put # %% before each cell, or give a notebook."
        raise BadNotebook(str(path), problem, remedy)
    try:
        import jupytext
    except ImportError:
        raise MissingExtra("Reading a script", "jupytext") from None
    try:
        content: dict[str, Any] = jupytext.reads(text, fmt="py:percent")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"jupytext cannot read it ({type(error).__name__}: {error})"
        raise BadNotebook(str(path), problem, "Open it in JupyterLab and save it again.") from None
    return _notebook(content, str(path))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadNotebook(str(path), "there is no such file", "Check the path.") from None
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 (byte {error.start})"
        raise BadNotebook(str(path), problem, "Save it as UTF-8.") from None
    except OSError as error:
        said = f"it cannot be read ({error.strerror or error})"
        raise BadNotebook(str(path), said, "Check the path.") from None


def _notebook(content: Mapping[str, Any], shown: str) -> Notebook:
    """Make a record of what jupytext gives, with ids that are the same at every reading."""
    import json

    plain: dict[str, Any] = json.loads(json.dumps(content))
    metadata = plain.setdefault("metadata", {})
    seen: set[str] = set()
    for index, cell in enumerate(plain["cells"]):
        cell["metadata"]["tags"] = _tags(cell["metadata"].get("tags"))
        cell["id"] = _id(index, cell["source"], seen)
    spec = metadata.get("kernelspec") or {}
    info = metadata.get("language_info") or {}
    return Notebook(
        path=shown,
        version=(4, 5),
        cells=tuple(_cell(index, cell) for index, cell in enumerate(plain["cells"])),
        language=info.get("name") or spec.get("language") or "python",
        kernel_name=spec.get("name") or None,
        warnings=(),
        content={**plain, "nbformat": 4, "nbformat_minor": 5},
    )


def _tags(written: object) -> list[str]:
    if isinstance(written, str):
        return [tag.strip() for tag in written.split(",") if tag.strip()]
    return [tag for tag in written if isinstance(tag, str)] if isinstance(written, list) else []


def _id(index: int, source: str, seen: set[str]) -> str:
    seed = f"{index}\0{source}".encode("utf-8", "surrogatepass")
    while (made := blake2b(seed, digest_size=4).hexdigest()) in seen:
        seed += b"\0"
    seen.add(made)
    return made


def _cell(index: int, cell: Mapping[str, Any]) -> Cell:
    return Cell(
        index=index,
        kind=cell["cell_type"],
        source=cell["source"],
        id=cell["id"],
        tags=tuple(cell["metadata"]["tags"]),
    )


__all__ = ["language_of_kernel", "read_source"]
