"""Run the benchmarks of this folder and print one table: value, bar, verdict.

``python benchmarks/run.py`` runs all; ``python benchmarks/run.py spool import`` those two.
Ends with 1 when a bar is missed, so that a person sees it; no test depends on it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from measurement import Measurement

FOLDER = Path(__file__).parent


def main(wanted: list[str]) -> int:
    """Measure, print, and return the exit code."""
    # A log has no width of its own, and 80 columns would break every line of the table.
    console = Console(width=None if sys.stdout.isatty() else 150)
    names = [name for name in benchmark_names() if not wanted or name in wanted]
    if unknown := set(wanted) - set(benchmark_names()):
        console.print(
            f"No benchmark {', '.join(sorted(unknown))}. There are: {', '.join(benchmark_names())}"
        )
        return 2
    with console.status("") as status:
        rows = list(measured(names, on_start=lambda name: status.update(f"measuring {name}")))
    console.print(as_table(rows))
    missed = [row for _, row in rows if not row.is_met]
    console.print(f"{len(rows) - len(missed)} of {len(rows)} bars met")
    return 1 if missed else 0


def benchmark_names() -> list[str]:
    """List the benchmarks of this folder."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def measured(names: Iterable[str], *, on_start) -> Iterator[tuple[str, Measurement]]:
    """Run benchmarks one after the other."""
    for name in names:
        on_start(name)
        for measurement in importlib.import_module(f"bench_{name}").measure():
            yield name, measurement


def as_table(rows: Iterable[tuple[str, Measurement]]) -> Table:
    """Show each value beside its bar."""
    table = Table("benchmark", "what", box=None, pad_edge=False)
    for heading in ("value", "bar"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("made from", style="dim")
    for name, row in rows:
        sign = "≥" if row.more_is_better else "≤"
        verdict = "[green]✓ met[/]" if row.is_met else "[red]✕ missed[/]"
        table.add_row(
            name,
            row.name,
            f"{number(row.value)} {row.unit.strip()}",
            f"{sign} {number(row.bar)} {row.unit.strip()}",
            verdict,
            row.note,
        )
    return table


def number(value: float) -> str:
    """Write a number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
