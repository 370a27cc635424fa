"""A file on disk -> one `Notebook` record of nbformat 4.5, or a `BadNotebook` that says why not.

Version 4 is read here, with the standard library only, because a kernel does it too; nbformat is
loaded to convert versions 1 to 3.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlops_nb.errors import BadNotebook

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEWEST_MAJOR = 4
_CELL_KINDS = ("code", "markdown", "raw")
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PYTHON = frozenset({"python", "python2", "python3", "ipython", "cython", "sage", "sagemath"})
# What old notebooks call their kernel, where they do not name the language.
_LANGUAGE_OF_KERNEL = {
    "ir": "R",
    "irkernel": "R",
    "julia": "Julia",
    "python": "python",
    "iruby": "Ruby",
    "bash": "Bash",
    "javascript": "JavaScript",
    "deno": "TypeScript",
    "scala": "Scala",
    "almond": "Scala",
    "xcpp": "C++",
    "octave": "Octave",
    "stata": "Stata",
    "sas": "SAS",
    "gophernotes": "Go",
}
_OPEN_IT = "Open it in JupyterLab and save it again, or give another file."


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a notebook.

    Attributes
    ----------
    index
        Zero-based position among all cells.
    kind
        ``code``, ``markdown`` or ``raw``.
    id
        Legal and without a double in the notebook; made up where the file has none.
    """

    index: int
    kind: str
    source: str
    id: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notebook:
    """What a notebook file holds.

    Attributes
    ----------
    path
        As the user wrote it.
    version
        nbformat version of the file, as ``(4, 5)``.
    language
        As the notebook says, in its own spelling; None if it does not.
    kernel_name
        Of the kernel it asks for, None if it asks for none.
    warnings
        What was repaired or is odd, as sentences.
    content
        The whole notebook as plain values, repaired, in nbformat 4.5.
    """

    path: str
    version: tuple[int, int]
    cells: tuple[Cell, ...]
    language: str | None
    kernel_name: str | None
    warnings: tuple[str, ...]
    content: Mapping[str, Any]

    @property
    def code_cells(self) -> tuple[Cell, ...]:
        """The cells that run."""
        return tuple(cell for cell in self.cells if cell.kind == "code")

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all cells, in order."""
        return tuple(cell.id for cell in self.cells)


def read_notebook(path: str | Path) -> Notebook:
    """Read a notebook, tolerant of what is out there.

    Parameters
    ----------
    path
        A file. nbformat 1 to 4; with or without a byte-order mark.

    Returns
    -------
    Notebook
        Repaired; its `warnings` say what.

    Raises
    ------
    BadNotebook
        The file is no notebook, or nothing sure can be said about its cells.
    """
    shown = str(path)
    content = _load(Path(path), shown)
    warnings: list[str] = []
    version = _version(content, shown, warnings)
    if version[0] < _NEWEST_MAJOR:
        content = _converted(content, version, shown)
        warnings.append(f"It is in nbformat {version[0]} and was converted to 4.")
    content = _repaired(content, shown, warnings)
    metadata = content["metadata"]
    return Notebook(
        path=shown,
        version=version,
        cells=tuple(_cell(index, cell) for index, cell in enumerate(content["cells"])),
        language=_language(metadata),
        kernel_name=metadata.get("kernelspec", {}).get("name") or None,
        warnings=tuple(warnings),
        content=content,
    )


def require_python(notebook: Notebook) -> None:
    """Refuse a notebook in another language, by the language's name.

    Raises
    ------
    BadNotebook
        The notebook says that it is not in Python. One that says nothing is taken for Python.
    """
    if notebook.language is None or notebook.language.lower() in _PYTHON:
        return
    raise BadNotebook(
        notebook.path,
        f"it is a notebook in {notebook.language}",
        "mlops_nb works on Python notebooks; to run this one untracked, use papermill.",
    )


def _load(path: Path, shown: str) -> dict[str, Any]:
    """Read the file's JSON object."""
    text = _text(path, shown)
    if not text.strip():
        raise BadNotebook(shown, "it is empty", _OPEN_IT)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadNotebook(shown, _what_is_it(text, error), _OPEN_IT) from None
    except RecursionError:
        raise BadNotebook(shown, "its JSON is nested too deeply", _OPEN_IT) from None
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise BadNotebook(shown, f"it is JSON, but {kind} and not a notebook", _OPEN_IT)
    return content


def _text(path: Path, shown: str) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadNotebook(shown, "there is no such file", _near(path)) from None
    except IsADirectoryError:
        raise BadNotebook(shown, "it is a folder", "Give a notebook in it.") from None
    except PermissionError:
        raise BadNotebook(shown, "you may not read it", "Ask its owner.") from None
    except (OSError, ValueError) as error:
        raise BadNotebook(shown, f"it cannot be read ({error})", "Check the path.") from None
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 (byte {error.start})"
        raise BadNotebook(shown, problem, "Save it as UTF-8, or give another file.") from None


def _near(path: Path) -> str:
    """Name a notebook in the same folder that may have been meant."""
    from difflib import get_close_matches

    try:
        names = sorted(found.name for found in path.parent.glob("*.ipynb"))
    except OSError:
        names = []
    close = get_close_matches(path.name, names, n=1) or get_close_matches(
        f"{path.name}.ipynb", names, n=1
    )
    if close:
        return f"Did you mean {path.parent / close[0]}?"
    return "Check the path."


def _what_is_it(text: str, error: json.JSONDecodeError) -> str:
    """Say what is wrong with a text that is not JSON."""
    if re.search(r"^(<{7}|={7}|>{7})", text, re.MULTILINE):
        return f"it has unresolved merge conflicts (line {error.lineno})"
    if not text.lstrip().startswith("{"):
        return f"it is not a notebook (no JSON: it begins with {text.strip()[:20]!r})"
    where = f"line {error.lineno}, column {error.colno}"
    if error.pos >= len(text.rstrip()) - 1:
        return f"it is not complete JSON: it ends at {where}"
    return f"it is not JSON ({where}: {error.msg})"


def _version(content: dict[str, Any], shown: str, warnings: list[str]) -> tuple[int, int]:
    """Find the format's version, by the shape of the file where it does not say."""
    major, minor = content.get("nbformat"), content.get("nbformat_minor", 0)
    if isinstance(major, float | str) and re.fullmatch(r"\d+(\.0)?", str(major)):
        major = int(float(major))
    if "nbformat" not in content:
        if isinstance(content.get("cells"), list):
            major = 4
        elif isinstance(content.get("worksheets"), list):
            major = 3
        else:
            problem = 'it is JSON, but not a notebook (no "nbformat", no "cells")'
            raise BadNotebook(shown, problem, _OPEN_IT)
        warnings.append(f'It has no "nbformat"; by its shape it was taken for version {major}.')
    if not isinstance(major, int) or isinstance(major, bool) or major < 1:
        raise BadNotebook(shown, f'its "nbformat" is {json.dumps(major)[:40]}', _OPEN_IT)
    if major > _NEWEST_MAJOR:
        raise BadNotebook(
            shown,
            f"it is in nbformat {major}; this version reads up to {_NEWEST_MAJOR}",
            "Upgrade: pip install -U mlops-nb, or save it as version 4.",
        )
    return major, minor if isinstance(minor, int) else 0


def _converted(content: dict[str, Any], version: tuple[int, int], shown: str) -> dict[str, Any]:
    """Convert nbformat 1, 2 or 3 to 4."""
    import nbformat

    try:
        told = {"metadata": {}, "nbformat_minor": 0, **content, "nbformat": version[0]}
        old = nbformat.versions[version[0]].to_notebook_json(told)
        new = nbformat.convert(old, _NEWEST_MAJOR)
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        nbformat.ValidationError,
    ) as error:
        problem = f"it is in nbformat {version[0]} and cannot be converted ({_short(error)})"
        raise BadNotebook(shown, problem, _OPEN_IT) from None
    plain: dict[str, Any] = json.loads(json.dumps(new))
    return plain


def _repaired(content: dict[str, Any], shown: str, warnings: list[str]) -> dict[str, Any]:
    """Bring a version 4 notebook into the shape of 4.5, and note what had to be done."""
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        if metadata is not None:
            warnings.append("Its metadata was not an object and is left out.")
        metadata = {}
    cells = content.get("cells")
    if not isinstance(cells, list):
        raise BadNotebook(shown, 'it has no list of "cells"', _OPEN_IT)
    whole = {
        **content,
        "metadata": _kernelspec_repaired(metadata, warnings),
        "cells": [_cell_repaired(i, cell, shown, warnings) for i, cell in enumerate(cells)],
        "nbformat": 4,
        "nbformat_minor": max(5, _int(content.get("nbformat_minor"))),
    }
    _give_ids(whole["cells"], warnings, has_ids=_int(content.get("nbformat_minor")) >= 5)  # noqa: PLR2004
    return whole


def _kernelspec_repaired(metadata: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    spec, info = metadata.get("kernelspec"), metadata.get("language_info")
    repaired = {
        key: value
        for key, value in metadata.items()
        if value is not None or key not in {"kernelspec", "language_info"}
    }
    if isinstance(spec, str) and spec:
        warnings.append(f'Its kernelspec was the text "{spec}", taken for the kernel\'s name.')
        repaired["kernelspec"] = {"name": spec, "display_name": spec}
    elif spec is not None and not (isinstance(spec, dict) and _is_text(spec.get("name"))):
        warnings.append("Its kernelspec names no kernel and is left out.")
        del repaired["kernelspec"]
    elif isinstance(spec, dict) and not _is_text(spec.get("display_name")):
        repaired["kernelspec"] = {**spec, "display_name": spec["name"]}
    if isinstance(info, str) and info:
        repaired["language_info"] = {"name": info}
    elif info is not None and not (isinstance(info, dict) and _is_text(info.get("name"))):
        warnings.append("Its language_info names no language and is left out.")
        del repaired["language_info"]
    return repaired


def _cell_repaired(index: int, cell: object, shown: str, warnings: list[str]) -> dict[str, Any]:
    """Bring one cell into shape; a cell whose source is unsure is refused, not guessed."""
    if not isinstance(cell, dict):
        _refuse_cell(shown, index, "is not an object")
    source = cell.get("source", cell.get("input"))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        if source is not None:
            _refuse_cell(shown, index, "has a source that is no text")
        warnings.append(f"Cell {index} has no source and is taken for an empty one.")
        source = ""
    kind = cell.get("cell_type")
    if kind not in _CELL_KINDS:
        warnings.append(f"Cell {index} is of the unknown type {kind!r} and is taken for raw text.")
        kind = "raw"
    metadata = cell.get("metadata")
    repaired = {
        **{key: value for key, value in cell.items() if key != "input"},
        "cell_type": kind,
        "source": source,
        "metadata": _cell_metadata(metadata if isinstance(metadata, dict) else {}),
    }
    return _outputs_repaired(index, repaired, warnings)


def _cell_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    tags = metadata.get("tags", [])
    if isinstance(tags, str):
        tags = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if not isinstance(tags, list):
        tags = []
    return {**metadata, "tags": [tag for tag in tags if isinstance(tag, str)]}


def _outputs_repaired(index: int, cell: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    if cell["cell_type"] != "code":
        return {k: v for k, v in cell.items() if k not in {"outputs", "execution_count"}}
    outputs = cell.get("outputs", [])
    if not isinstance(outputs, list) or not all(_is_output(output) for output in outputs):
        warnings.append(f"Cell {index} has outputs of an unknown form; they are left out.")
        outputs = []
    count = cell.get("execution_count")
    return {**cell, "outputs": outputs, "execution_count": count if type(count) is int else None}


def _is_output(output: object) -> bool:
    """Say whether an output has what its type needs."""
    if not isinstance(output, dict):
        return False
    needed = {
        "stream": ("name", "text"),
        "display_data": ("data", "metadata"),
        "execute_result": ("data", "metadata", "execution_count"),
        "error": ("ename", "evalue", "traceback"),
    }.get(str(output.get("output_type")))
    return needed is not None and all(key in output for key in needed)


def _give_ids(cells: list[dict[str, Any]], warnings: list[str], *, has_ids: bool) -> None:
    """See to it that each cell has a legal id of its own; the same ones at every reading."""
    seen: set[str] = set()
    for index, cell in enumerate(cells):
        found = cell.get("id")
        is_legal = isinstance(found, str) and _CELL_ID.fullmatch(found) is not None
        if not is_legal or found in seen:
            if has_ids or found is not None:
                fault = "a doubled" if is_legal else "no" if found is None else "an illegal"
                warnings.append(f"Cell {index} has {fault} id; it was given a new one.")
            seed = f"{index}\0{cell['source']}".encode("utf-8", "surrogatepass")
            while (found := blake2b(seed, digest_size=4).hexdigest()) in seen:
                seed += b"\0"
            cell["id"] = found
        seen.add(cell["id"])


def _cell(index: int, cell: Mapping[str, Any]) -> Cell:
    return Cell(
        index=index,
        kind=cell["cell_type"],
        source=cell["source"],
        id=cell["id"],
        tags=tuple(cell["metadata"]["tags"]),
    )


def _language(metadata: Mapping[str, Any]) -> str | None:
    """Name the notebook's language: by itself, else by its kernel."""
    info, spec = metadata.get("language_info", {}), metadata.get("kernelspec", {})
    named = info.get("name") or spec.get("language")
    if _is_text(named):
        return "R" if named == "r" else str(named)
    kernel = re.split(r"[-_.\d ]", str(spec.get("name", "")).lower())[0]
    return _LANGUAGE_OF_KERNEL.get(kernel)


def _refuse_cell(shown: str, index: int, problem: str) -> NoReturn:
    raise BadNotebook(shown, f"its cell {index} {problem}", _OPEN_IT)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:80]}" if text else type(error).__name__
