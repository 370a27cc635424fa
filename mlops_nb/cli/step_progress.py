"""Progress of a pipeline: a table in a terminal, lines elsewhere, groups in a workflow's log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mlops_nb.pipeline.running import Seen

    Echo = Callable[[str], None]

MARKS = {
    "pending": "·",
    "ready": "·",
    "running": "◐",
    "cached": "✓",
    "done": "✓",
    "failed": "✕",
    "skipped": "○",
    "upstream_failed": "–",
}
_WORDS = {"upstream_failed": "not run"}
_COLOURS = {"done": "green", "cached": "green", "failed": "red", "upstream_failed": "yellow"}
_BAR = 24


def state_line(seen: Seen) -> str:
    """Say in one line which state a step has come to."""
    state = str(seen.state)
    parts = [f"{MARKS.get(state, '·')} {seen.step} {_WORDS.get(state, state)}"]
    if seen.duration_s and state != "cached":
        parts.append(f" {seen.duration_s:.1f} s")
    if seen.text:
        first = seen.text.strip().splitlines()[0] if seen.text.strip() else ""
        parts.append(f" ({first})")
    return "".join(parts)


class StepLines:
    """Writes a line for each event, each with the name of its step."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._begun: dict[tuple[str, int], float] = {}

    def __call__(self, seen: Seen) -> None:
        """Take one event."""
        if seen.what == "begin":
            self._echo(seen.text)
        elif seen.what == "state":
            self._echo(state_line(seen))
        elif seen.what == "cell":
            self._cell(seen)
        elif seen.what in {"remark", "repair"}:
            word = "planned again: " if seen.what == "repair" else ""
            self._echo(f"{seen.step}: {word}{seen.text}" if seen.step else seen.text)

    def _cell(self, seen: Seen) -> None:
        key = (seen.step, seen.cell)
        if seen.word == "started":
            self._begun[key] = time.monotonic()
            return
        taken = time.monotonic() - self._begun.pop(key, time.monotonic())
        self._echo(f"  {seen.step}: cell {seen.cell + 1}/{seen.total} {seen.word} {taken:.1f} s")


class WorkflowLog:
    """Writes what steps have said in one group each, which GitHub folds.

    Lines of steps that run at once would come mixed, so those of one step wait for its end.
    """

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._waiting: dict[str, list[str]] = {}

    def __call__(self, seen: Seen) -> None:
        """Take one event."""
        if not seen.step:
            if seen.what == "begin":
                self._echo(seen.text)
            return
        lines = self._waiting.setdefault(seen.step, [])
        StepLines(lines.append)(seen) if seen.what != "cell" else self._cell(seen, lines)
        if seen.what == "state" and seen.state not in {"pending", "ready", "running"}:
            self._close(seen, self._waiting.pop(seen.step))

    @staticmethod
    def _cell(seen: Seen, lines: list[str]) -> None:
        if seen.word != "started":
            lines.append(f"cell {seen.cell + 1}/{seen.total} {seen.word}")

    def _close(self, seen: Seen, lines: list[str]) -> None:
        self._echo(f"::group::{escaped(state_line(seen))}")
        for line in lines:
            self._echo(harmless(line))
        self._echo("::endgroup::")
        if seen.state == "failed":
            self._echo(
                f"::error title=step {escaped(seen.step, is_property=True)}::{escaped(seen.text)}"
            )


def escaped(text: str, *, is_property: bool = False) -> str:
    """Write text so that a workflow command is one line and ends where it should."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if is_property else text


def harmless(line: str) -> str:
    """Keep a line that a cell wrote from being taken for a workflow command."""
    return line.replace("::", ":\u200b:") if line.lstrip().startswith("::") else line


class StepTable:
    """Draws one line a step in a terminal, with its state, time and cell."""

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True)
        self._head, self._steps = "", list[str]()
        self._seen: dict[str, Seen] = {}
        self._cells: dict[str, Seen] = {}
        self._begun: dict[str, float] = {}
        self._live = Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=8,
            transient=False,
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(error_type, error, traceback)

    def __call__(self, seen: Seen) -> None:
        """Take one event."""
        if seen.what == "begin":
            self._head, self._steps = seen.text, list(seen.steps)
        elif seen.what == "state":
            self._note(seen)
        elif seen.what == "cell":
            self._cells[seen.step] = seen
        elif seen.what in {"remark", "repair"}:
            word = "planned again: " if seen.what == "repair" else ""
            text = f"{seen.step}: {word}{seen.text}" if seen.step else seen.text
            self._live.console.print(text, markup=False, highlight=False)

    def _note(self, seen: Seen) -> None:
        if seen.step not in self._steps:
            base = seen.step.partition("[")[0]
            at = self._steps.index(base) + 1 if base in self._steps else len(self._steps)
            others = [name for name in self._steps if name.startswith(f"{base}[")]
            self._steps.insert(at + len(others), seen.step)
        self._seen[seen.step] = seen
        if seen.state == "running":
            self._begun[seen.step] = time.monotonic()
            self._cells.pop(seen.step, None)

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name in self._steps:
            table.add_row(*map(Text, self._row(name)), style=_COLOURS.get(self._state(name), ""))
        return Group(Text(self._head), table) if self._head else table

    def _state(self, name: str) -> str:
        seen = self._seen.get(name)
        return str(seen.state) if seen else "pending"

    def _row(self, name: str) -> tuple[str, str, str, str, str]:
        state, seen = self._state(name), self._seen.get(name)
        mark = f" {MARKS.get(state, '·')}"
        if state == "running":
            taken = time.monotonic() - self._begun.get(name, time.monotonic())
            return mark, name, self._bar(name), f"{taken:.1f} s", self._cell(name)
        is_known = seen is not None and seen.duration_s is not None
        took = f"{seen.duration_s:.1f} s" if seen is not None and is_known else ""
        said = seen.text.strip().splitlines()[:1] if seen else []
        return mark, name, _WORDS.get(state, state), took, "".join(said)

    def _bar(self, name: str) -> str:
        cell = self._cells.get(name)
        filled = round(_BAR * (cell.cell + 1) / cell.total) if cell and cell.total else 0
        return "━" * filled + "╺" * (_BAR - filled)

    def _cell(self, name: str) -> str:
        cell = self._cells.get(name)
        return f"cell {cell.cell + 1}/{cell.total}" if cell else "starts"
