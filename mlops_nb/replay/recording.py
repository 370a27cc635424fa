"""Everything the store has of a run that is to be run again, gathered once."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.errors import BadNotebook
from mlops_nb.notebook import read_notebook, require_python
from mlops_nb.replay.places import home_of, notebook_of
from mlops_nb.replay.trees import trees_of
from mlops_nb.store.reading.references import REPLAY_TAG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlops_nb.model import Environment, Execution, Run, Session
    from mlops_nb.store import Store

DEFAULT_KERNEL = "python3"
SECRET = re.compile(r"⟨secret:([^⟩\n]{1,200})⟩")

_LOOKING = re.compile(
    r"%mlops_(?:runs|compare|show|diff|board|data|env|lineage|replay|restore|doctor|report)\b"
    r"|%mlops_track\b.*\s--(?:off|status)\b"
)
_LOADS = re.compile(r"^\s*%(?:re)?load_ext\s+mlops_nb\b", re.MULTILINE)
_USES_MAGIC = re.compile(r"^\s*%{1,2}mlops_\w+", re.MULTILINE)
_ASKS = frozenset({"input", "getpass", "raw_input"})
_MOST_ABOVE, _MOST_LOOKED_AT = 8, 100


@dataclass(frozen=True, slots=True)
class Recording:
    """A run and what it needs, as recorded.

    Attributes
    ----------
    run
        The run that was asked for.
    top
        The outermost run around it; its cells are what runs again.
    family
        `top` and all runs below it.
    executions
        The cells to run, outermost ones, in run order.
    missing
        How many executions the run needs that the store does not have.
    folder
        Where it ran, as far as that can be found here.
    notebook
        Its notebook's path, which need not exist.
    kernel, is_kernel_named
        Name of the kernel, and whether the notebook names it; else the session told.
    """

    run: Run
    top: Run
    family: tuple[Run, ...]
    executions: tuple[Execution, ...]
    missing: int
    session: Session | None
    environment: Environment | None
    folder: Path
    notebook: Path | None
    kernel: str = DEFAULT_KERNEL
    is_kernel_named: bool = False
    language: str | None = None
    secrets: tuple[str, ...] = field(default=())

    @property
    def needs_loading(self) -> bool:
        """Whether a cell uses our magics, and none of them loads the extension."""
        sources = [execution.source for execution in self.executions]
        return any(map(_USES_MAGIC.search, sources)) and not any(map(_LOADS.search, sources))

    @property
    def subject(self) -> frozenset[str]:
        """Ids of the runs whose values are compared: the run and what is below it."""
        found = {self.run.id}
        for run in self.family:  # parents come first
            if run.parent in found:
                found.add(run.id)
        return frozenset(found)


def recall(store: Store, run: Run, *, folder: Path | None = None) -> Recording:
    """Gather what a store has of a run.

    Parameters
    ----------
    store, run
        The run, and where it is.
    folder
        Where its notebook stands now; found by itself if left out.
    """
    top = _top(store, run)
    ids = dict.fromkeys((*top.executions, *run.executions))
    found = store.executions(list(ids))
    kept = [execution for execution in found if _is_cell(execution)]
    session = store.session(top.session) if top.session else None
    home = folder or home_of(store.folder, top, session.folder if session is not None else "")
    notebook = notebook_of(home, top)
    named, language = _kernel_of(notebook)
    told = session.kernel if session is not None else ""
    executions = tuple(sorted(kept, key=lambda execution: execution.order))
    return Recording(
        run=run,
        top=top,
        family=family_of(store, top),
        executions=executions,
        missing=len(ids) - len(found),
        session=session,
        environment=store.environment(top.environment) if top.environment else None,
        folder=home,
        notebook=notebook,
        kernel=named or told or DEFAULT_KERNEL,
        is_kernel_named=bool(named),
        language=language,
        secrets=_secrets_in(executions),
    )


def choose(store: Store, reference: str) -> Run:
    """Find the run that is meant, where newer replays have its name, or are newer themselves.

    A replay that is named by its id is itself.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    """
    run = store.get_run(reference)
    replayed = _top(store, run).tags.get(REPLAY_TAG)
    if replayed is None or run.id.startswith(reference.strip().lower()):
        return run
    quoted = reference.strip().replace("\\", "\\\\").replace("'", "''")
    for named in store.runs(f"name = '{quoted}'", limit=_MOST_LOOKED_AT):
        if REPLAY_TAG not in _top(store, named).tags:
            return named
    return store.find_run(replayed) or run


def why_not(recording: Recording) -> str | None:
    """Say why a run cannot be run again; None if it can."""
    run = recording.top
    if recording.language:
        return f"its notebook is in {recording.language}, and only Python is recorded and replayed"
    if run.tags.get("recorded") == "from outside":
        return "its kernel had no mlops_nb, so no cell of it was recorded"
    if run.status == "running" and run.kind == "batch":
        return "it is still running"
    if recording.missing:
        return f"{recording.missing} of the executions it needs are not in the store"
    if not recording.executions:
        return "nothing recorded: it has no cells"
    for execution in recording.executions:
        if reason := _why_not_execution(execution):
            return reason
    if not _has_values(recording):
        return "nothing recorded to compare: no data, no metric"
    return None


def _why_not_execution(execution: Execution) -> str | None:
    where = label_of(execution)
    if execution.status == "running":
        return f"it is still running: cell {where} has not ended"
    if execution.status == "lost":
        return f"the process died in cell {where}, so how it ended is not recorded"
    if execution.status == "interrupted":
        return f"cell {where} was interrupted by hand; where it stopped is not recorded"
    if not execution.source.strip():
        origin = " (it ran before tracking)" if execution.is_inferred else ""
        return f"the source of cell {where} was not recorded{origin}"
    if asked := _asks(execution.source):
        return f"cell {where} asks its user with {asked}()"
    return None


def _has_values(recording: Recording) -> bool:
    runs = [run for run in recording.family if run.id in recording.subject]
    return any(run.data or run.metrics or run.status == "failed" for run in runs)


def label_of(execution: Execution) -> str:
    """Name a cell as people know it: by its prompt, else by its order."""
    count = execution.execution_count
    return f"[{count}]" if count is not None else f"#{execution.order}"


def is_only_looking(source: str) -> bool:
    """Whether a cell holds only our magics that look at runs.

    Examples
    --------
    >>> is_only_looking("%mlops_compare --all"), is_only_looking("%mlops_log auc=0.9")
    (True, False)
    """
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    return bool(code) and all(_LOOKING.match(line) for line in code)


def _is_cell(execution: Execution) -> bool:
    """Whether it is a cell of its own that ran, and did more than look."""
    is_own = execution.parent is None and execution.status != "syntax"
    return is_own and not is_only_looking(execution.source)


def _top(store: Store, run: Run) -> Run:
    for _ in range(_MOST_ABOVE):
        above = store.find_run(run.parent) if run.parent else None
        if above is None:
            return run
        run = above
    return run


def family_of(store: Store, top: Run) -> tuple[Run, ...]:
    """Give a run and all below it, each once; a child stands after its parent."""
    found, waiting = {top.id: top}, [top]
    while waiting:
        above = waiting.pop(0)
        children = store.runs(f"parent = '{above.id}'")
        for child in sorted(children, key=lambda run: (run.child or 0, run.started_at)):
            if child.id not in found:
                found[child.id] = child
                waiting.append(child)
    return tuple(found.values())


def _kernel_of(notebook: Path | None) -> tuple[str, str | None]:
    """Give the kernel that the notebook names, and its language where that is not Python."""
    if notebook is None or not notebook.is_file():
        return "", None
    try:
        read = read_notebook(notebook)
    except (BadNotebook, OSError):
        return "", None
    try:
        require_python(read)
    except BadNotebook:
        return read.kernel_name or "", read.language or "another language"
    return read.kernel_name or "", None


def _secrets_in(executions: Sequence[Execution]) -> tuple[str, ...]:
    names = (name for each in executions for name in SECRET.findall(each.source))
    return tuple(dict.fromkeys(names))


def _asks(source: str) -> str | None:
    """Name the function that asks a person, where that happens when the cell runs.

    A function that is only defined here may never be called: then the replay itself will tell.
    """
    waiting: list[ast.AST] = [*trees_of(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and (name := _called(node)) in _ASKS:
            return name
        waiting += ast.iter_child_nodes(node)
    return None


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr if node.func.attr == "getpass" else ""
    return node.func.id if isinstance(node.func, ast.Name) else ""
