"""Running pipelines: a diamond against the ideal, and a run of nothing but cached steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SLEEP_S = 10.0
DIAMOND_LIMIT = 1.15
CACHED_LIMIT, CACHED_STEP_S = 1.5, 0.020
REPEATS = 7


def write_notebook(path: Path, cells: list[tuple[str, str]]) -> None:
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {"tags": tags.split()},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, (tags, source) in enumerate(cells)
    ]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": made, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))


def timed(folder: Path, *arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mlops_nb", *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return time.perf_counter() - begin


def diamond(folder: Path) -> float:
    sleep = f"import time\ntime.sleep({SLEEP_S})\n"
    write_notebook(
        folder / "diamond.ipynb",
        [
            ("step:a", f"{sleep}a = 1"),
            ("step:b prev:a", f"{sleep}b = a + 1"),
            ("step:c prev:a", f"{sleep}c = a + 2"),
            ("step:d prev:b prev:c output:d", f"{sleep}d = b + c"),
        ],
    )
    taken = timed(folder, "run", "diamond.ipynb", "-j", "2")
    ideal = 3 * SLEEP_S
    print(
        f"diamond of 4 steps, -j 2: {taken:.1f} s, ideal {ideal:.0f} s, ratio {taken / ideal:.3f}"
    )
    return taken / ideal


def cached(folder: Path, steps: int) -> float:
    chain = [("step:s0", "x0 = 1")]
    chain += [(f"step:s{n}", f"x{n} = x{n - 1} + 1") for n in range(1, steps)]
    chain[-1] = (f"{chain[-1][0]} output:x{steps - 1}", chain[-1][1])
    write_notebook(folder / "chain.ipynb", chain)
    timed(folder, "run", "chain.ipynb", "-j", "2")
    pairs = [(timed(folder, "runs"), timed(folder, "run", "chain.ipynb")) for _ in range(REPEATS)]
    listing = sorted(pair[0] for pair in pairs)[REPEATS // 2]
    run = sorted(pair[1] for pair in pairs)[REPEATS // 2]
    allowed = CACHED_LIMIT * listing + steps * CACHED_STEP_S
    print(
        f"{steps} cached steps: {run * 1e3:.0f} ms; mlops-nb runs {listing * 1e3:.0f} ms; "
        f"allowed {allowed * 1e3:.0f} ms"
    )
    return run / allowed


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="mlops-nb-bench-") as name:
        folder = Path(name)
        results = {"cached 10": cached(folder, 10), "diamond": diamond(folder) / DIAMOND_LIMIT}
    for what, share in results.items():
        print(f"{what}: {share:.2f} of what is allowed")
    return int(any(share > 1 for share in results.values()))


if __name__ == "__main__":
    sys.exit(main())
