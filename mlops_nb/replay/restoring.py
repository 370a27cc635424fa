"""The recorded cells of a run as a notebook."""

from __future__ import annotations

import base64
import html
import json
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadNotebook, StoreError
from mlops_nb.replay.recording import label_of, recall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mlops_nb.model import Execution, Output, Run
    from mlops_nb.replay.recording import Recording
    from mlops_nb.store import Store

HEADER_ID = "restored-run"
LOADING_ID = "load-mlops-nb"
LOADING = "%load_ext mlops_nb\n%mlops_track"

_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!@$])")
_TEXT = re.compile(r"text/|image/svg|application/(?:javascript|x-latex|xml)")
_JSON = re.compile(r"application/(?:.*\+)?json")


def restore(store: Store, run: Run, *, outputs: bool = False) -> Any:
    """Make a notebook of the cells that a run needs, in the order in which they ran.

    Parameters
    ----------
    store, run
        The run, and where it is.
    outputs
        Whether cells carry what they showed.

    Returns
    -------
    nbformat.NotebookNode
        Valid, with nothing in it that was not recorded. Secrets stay ``⟨secret:NAME⟩``.

    Raises
    ------
    BadNotebook
        No cell of the run is recorded.
    """
    recording = recall(store, run)
    if not recording.executions:
        problem = "no cell of it is recorded"
        raise BadNotebook(f"run {run.id[:4]}", problem, "Show what is kept of it: mlops-nb show")
    import nbformat

    return nbformat.from_dict(as_document(recording, store if outputs else None))


def as_document(recording: Recording, store: Store | None = None) -> dict[str, Any]:
    """Make the notebook of a recording as plain values; with a store, the outputs come along.

    Without nbformat, whose import takes longer than everything else before a replay begins.
    """
    cells = [_cell("markdown", _header(recording), HEADER_ID, {})]
    if recording.needs_loading:
        cells.append(_code_cell(LOADING, LOADING_ID, {}))
    used = {HEADER_ID, LOADING_ID}
    setup = frozenset(recording.top.setup)
    for execution in recording.executions:
        metadata = _cell_metadata(execution, is_setup=execution.id in setup)
        cell = _code_cell(execution.source, _cell_id(execution, used), metadata)
        if store is not None:
            cell["execution_count"] = execution.execution_count
            cell["outputs"] = list(_outputs(execution, store))
        cells.append(cell)
    return {"cells": cells, "metadata": _metadata(recording), "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str, id_: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": kind, "id": id_, "metadata": metadata, "source": source}


def _code_cell(source: str, id_: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {**_cell("code", source, id_, metadata), "execution_count": None, "outputs": []}


def first_cell(recording: Recording) -> int:
    """Give the index in the notebook at which the recorded cells begin."""
    return 2 if recording.needs_loading else 1


def write_restored(notebook: Any, path: Path, *, force: bool = False) -> Path:
    """Write a restored notebook; a file that is there stays, unless forced.

    Raises
    ------
    BadNotebook
        There is such a file already.
    """
    import nbformat

    text = nbformat.writes(notebook) + "\n"
    try:
        with path.open("w" if force else "x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        problem = "it is there already"
        remedy = "Give another path, or overwrite it with --force (force=True)."
        raise BadNotebook(str(path), problem, remedy) from None
    return path


# --- the parts of the notebook ----------------------------------------------------------------


def _metadata(recording: Recording) -> dict[str, Any]:
    ours = {
        "run": recording.run.id,
        "session": recording.top.session,
        "executions": [execution.id for execution in recording.executions],
    }
    kernel = recording.kernel
    return {
        "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"},
        "language_info": {"name": "python"},
        "mlops_nb": ours,
    }


def _cell_id(execution: Execution, used: set[str]) -> str:
    """Keep the cell's id where it is legal and its first one, else make one of the execution's."""
    found = execution.cell_id or ""
    if not _CELL_ID.fullmatch(found) or found in used:
        found = f"execution-{execution.id[-12:]}"
        while not _CELL_ID.fullmatch(found) or found in used:
            found = f"execution-{len(used)}-{execution.order}"
    used.add(found)
    return found


def _cell_metadata(execution: Execution, *, is_setup: bool) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "execution": execution.id,
        "order": execution.order,
        "role": "setup" if is_setup else "body",
    }
    tags = []
    if execution.is_inferred:
        ours["inferred"] = True
        tags.append("inferred")
    if execution.status not in {"ok", "running"} or execution.is_inferred:
        # It failed when it ran, or may have: what stands below ran all the same.
        ours["status"] = execution.status
        tags.append("raises-exception")
    if execution.source.startswith("# Parameters\n"):
        tags.append("injected-parameters")
    return {"mlops_nb": ours, **({"tags": tags} if tags else {})}


def _header(recording: Recording) -> str:
    """Say which run this is, how far it can be trusted, and how to get it again."""
    run, short = recording.run, recording.run.id[:4]
    lines = [
        f"# Restored: {_plain(run.name)}, run {_plain(short)}",
        " ".join(_about(recording)),
        _how_to_replay(short),
    ]
    inferred = [label_of(each) for each in recording.executions if each.is_inferred]
    if inferred:
        lines.append(
            f"From the history, before tracking was on (tagged `inferred`): {', '.join(inferred)}."
        )
    if recording.secrets:
        names = ", ".join(f"`{name}`" for name in map(_plain, recording.secrets))
        lines.append(
            f"Secrets were never recorded: {names}. Put them in before you run this by hand; "
            "a replay takes them from environment variables of these names."
        )
    if recording.missing:
        lines.append(f"**{recording.missing} executions that it needs are not in the store.**")
    return "\n\n".join(lines)


def _how_to_replay(short: str) -> str:
    in_notebook, in_terminal = f"`%mlops_replay {short}`", f"`mlops-nb replay {short}`"
    return f"Get it again and compare: {in_notebook} in a notebook, {in_terminal} in a terminal."


def _about(recording: Recording) -> Iterator[str]:
    run = recording.run
    began = run.started_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    count = len(recording.executions)
    noun = "cell" if count == 1 else "cells"
    where = f" in {_plain(recording.top.notebook)}" if recording.top.notebook else ""
    yield f"Run `{_plain(run.id)}`, {run.status}, began {began}{where}."
    yield f"Its {count} {noun} as they were typed, in the order in which they ran."
    verdict = run.verdict or {}
    if verdict.get("label"):
        reasons = [str(reason.get("text", "")) for reason in verdict.get("reasons") or ()]
        because = f" ({_plain('; '.join(reasons))})" if reasons else ""
        yield f"Verdict: {_plain(str(verdict['label']))}{because}."


def _plain(text: str) -> str:
    """Keep a user's text from becoming markup of ours."""
    one = " ".join(text.split())[:300]
    plain = _SPECIAL.sub(r"\\\1", html.escape(one, quote=False))
    return plain.replace("://", "&#58;//")


# --- outputs ----------------------------------------------------------------------------------


def _outputs(execution: Execution, store: Store) -> Iterator[dict[str, Any]]:
    ordered = sorted(execution.outputs, key=lambda output: output.position)
    for _, group in groupby(ordered, key=lambda output: output.position):
        bundle = list(group)
        head = bundle[0]
        if head.kind == "stream":
            text = _text(head, store)
            yield {"output_type": "stream", "name": head.name or "stdout", "text": text}
        elif head.kind == "error":
            yield _error_output(execution, head, store)
        elif data := _data(bundle, store):
            yield _display_output(execution, head.kind, data)


def _display_output(execution: Execution, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    if kind != "result":
        return {"output_type": "display_data", "data": data, "metadata": {}}
    return {
        "output_type": "execute_result",
        "data": data,
        "metadata": {},
        "execution_count": execution.execution_count,
    }


def _error_output(execution: Execution, output: Output, store: Store) -> dict[str, Any]:
    error = execution.error
    return {
        "output_type": "error",
        "ename": error.type if error else output.name or "Error",
        "evalue": error.message if error else "",
        "traceback": _text(output, store).splitlines(),
    }


def _data(bundle: Sequence[Output], store: Store) -> dict[str, Any]:
    pairs = ((output.mime, _content(output, store)) for output in bundle)
    return {mime: value for mime, value in pairs if value is not None}


def _content(output: Output, store: Store) -> Any:
    """Read one type of an output, in the form that a notebook has it in; None where it is gone."""
    data = _read(output, store)
    if data is None or (output.is_cut and not _TEXT.match(output.mime)):
        return None
    if _JSON.fullmatch(output.mime):
        try:
            return json.loads(data)
        except ValueError:
            return None
    if _TEXT.match(output.mime):
        return _decoded(data, is_cut=output.is_cut)
    return base64.b64encode(data).decode("ascii")


def _text(output: Output, store: Store) -> str:
    data = _read(output, store)
    if data is None:
        return "(this output is not in the store any more)"
    return _decoded(data, is_cut=output.is_cut)


def _decoded(data: bytes, *, is_cut: bool) -> str:
    text = data.decode("utf-8", "replace")
    return f"{text}\n… (only the beginning was kept)" if is_cut else text


def _read(output: Output, store: Store) -> bytes | None:
    if not output.digest:
        return None
    try:
        return store.read_blob(output.digest)
    except (OSError, LookupError, StoreError):
        return None


def default_name(run: Run, taken: Iterable[str] = ()) -> str:
    """Name the file of a restored run.

    Examples
    --------
    >>> from mlops_nb.model import Run, as_datetime
    >>> default_name(Run("7f3a0000000000aa", "churn", "finished", "cell", as_datetime(0)))
    'restored-7f3a.ipynb'
    """
    short = f"restored-{run.id[:4]}.ipynb"
    return short if short not in taken else f"restored-{run.id}.ipynb"
