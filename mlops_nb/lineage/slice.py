"""The executions that a run needs: its own, and every earlier one that they depend on.

A slice may hold too many executions, never too few: whatever cannot be told apart statically is
included.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.lineage.results import binds_underscore, gives_result, results_read
from mlops_nb.record import record
from mlops_nb.source import analyse

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mlops_nb.model import Execution

AMBIENT = frozenset({"<rng>", "<cwd>", "<environ>", "<options>"})
"""Pseudo-names of state that every run is assumed to read."""

_AMBIENT_CALLS = {
    "seed": "<rng>",
    "manual_seed": "<rng>",
    "set_state": "<rng>",
    "setstate": "<rng>",
    "default_rng": "<rng>",
    "chdir": "<cwd>",
    "putenv": "<environ>",
    "load_dotenv": "<environ>",
    "set_option": "<options>",
    "set_config": "<options>",
    "filterwarnings": "<options>",
    "simplefilter": "<options>",
    "seterr": "<options>",
    "rc": "<options>",
    "use": "<options>",
}
_WRITERS = (
    "to_",
    "save",
    "dump",
    "write",
    "open",
    "mkdir",
    "touch",
    "unlink",
    "remove",
    "urlretrieve",
)


def slice_of(executions: Sequence[Execution], body: Collection[str]) -> tuple[str, ...]:
    """Find the earlier executions that the executions of `body` depend on.

    Parameters
    ----------
    executions
        All executions of the session, in run order.
    body
        Ids of the run's own executions.

    Returns
    -------
    tuple of str
        Ids in run order, those of `body` left out.

    Examples
    --------
    >>> slice_of((), ())
    ()
    """
    late: set[str] = set()
    while True:
        setup = _backwards(executions, body, late)
        # A function reads its globals when it is called, so what it reads may be bound after it.
        read_late = {
            name
            for execution in setup
            if "def " in execution.source or "lambda" in execution.source
            for name in execution.reads
        }
        if read_late <= late:
            return tuple(execution.id for execution in setup)
        late |= read_late


def _backwards(
    executions: Sequence[Execution], body: Collection[str], late: set[str]
) -> list[Execution]:
    needed: set[str] = {*AMBIENT, *late}
    results = _Results()
    setup: list[Execution] = []
    is_below = False
    for execution in reversed(executions):
        if execution.id in body:
            is_below = True
            # What the run itself bound, it does not need from an earlier attempt.
            results.take(execution)
            needed = (needed - (_gives(execution, needed) or set())) | _reads(execution)
            results.ask(execution)
        elif is_below:
            gives = results.take(execution)
            given = _gives(execution, needed)
            if gives or given is not None:
                setup.append(execution)
                needed = (needed - (given or set())) | _reads(execution)
                results.ask(execution)
    return setup[::-1]


class _Results:
    """The results that later executions read from IPython's memory, on the way back."""

    def __init__(self) -> None:
        self._depth = 0
        self._numbers: set[int] = set()
        self._is_any = False

    def ask(self, execution: Execution) -> None:
        """Note what an execution read."""
        asked = results_read(execution)
        self._depth = max(self._depth, asked.depth)
        self._numbers |= asked.numbers
        self._is_any = self._is_any or asked.is_any

    def take(self, execution: Execution) -> bool:
        """Tell whether an execution may have given one of them; what is certain is settled."""
        if not (self._depth or self._numbers or self._is_any):
            return False
        if self._depth and binds_underscore(execution.source):
            # IPython keeps its hands off a `_` that is the user's.
            self._depth = 0
            return True
        certainty = gives_result(execution)
        if certainty == "no":
            return False
        count = execution.execution_count
        is_asked = self._is_any or count in self._numbers or (count is None and self._numbers)
        is_last = self._depth > 0
        if certainty == "yes":
            self._depth -= is_last
            self._numbers.discard(-1 if count is None else count)
        return bool(is_asked or is_last)


def _gives(execution: Execution, needed: set[str]) -> set[str] | None:
    """What an execution settles of `needed`; None if it gives nothing of it."""
    if execution.status == "syntax":
        return None
    ambient = _pseudo_names(execution.source)
    changes = (execution.binds, execution.mutates, execution.deletes, ambient.writes)
    if all(map(needed.isdisjoint, changes)) and "dynamic" not in execution.flags:
        return None
    # A name is settled only by a rebinding that does not need its earlier value, and only if
    # nothing went wrong on the way.
    keeps = {*execution.reads, *execution.mutates, *ambient.writes}
    return set(execution.binds) - keeps if execution.status == "ok" else set()


def _reads(execution: Execution) -> set[str]:
    return {*execution.reads, *execution.mutates, *_pseudo_names(execution.source).reads}


@record
class _Pseudo:
    reads: frozenset[str]
    writes: frozenset[str]


@lru_cache(maxsize=4096)
def _pseudo_names(source: str) -> _Pseudo:
    """Names for state that is not a variable: generators, folder, options, files."""
    calls = analyse(source).calls
    writes = {_AMBIENT_CALLS[tail] for call in calls if (tail := _tail(call)) in _AMBIENT_CALLS}
    if any(".random." in f".{call}." for call in calls):
        writes.add("<rng>")
    if "environ" in source:
        writes.add("<environ>")
    if "rcParams" in source or "options." in source:
        writes.add("<options>")
    paths = {f"<file:{path}>" for path in _paths_in(source)}
    if any(_tail(call).startswith(_WRITERS) for call in calls) or "!" in source or "%" in source:
        writes |= paths
    return _Pseudo(frozenset(paths), frozenset(writes))


def _tail(call: str) -> str:
    return call.rpartition(".")[2]


def _paths_in(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
    found = (t for t in texts if isinstance(t, str) and 0 < len(t) < 256 and not t.isspace())  # noqa: PLR2004
    return {t.rpartition("/")[2] for t in found if "." in t.strip(".") and " " not in t}
