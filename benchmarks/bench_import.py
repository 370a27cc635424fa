"""What loading the extension costs, in CPU time, against what `import pandas` costs."""

from __future__ import annotations

import statistics
import subprocess
import sys

from measurement import Measurement

ROUNDS = 9

# Each in a new process that already holds IPython, as a kernel does. The history is off because
# its SQLite file belongs to the shell and not to what is measured.
TIMED = """
import time
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config(HistoryManager={{"enabled": False}}))
start = time.process_time()
{code}
print(time.process_time() - start)
"""
PANDAS = "import pandas"
EXTENSION = 'import mlops_nb; shell.extension_manager.load_extension("mlops_nb")'


def measure() -> list[Measurement]:
    """Compare medians over rounds that alternate, so that a busy moment hits both."""
    seconds: dict[str, list[float]] = {PANDAS: [], EXTENSION: []}
    for _ in range(ROUNDS):
        for code, times in seconds.items():
            times.append(cpu_s(code))
    pandas, extension = (statistics.median(times) for times in seconds.values())
    return [
        Measurement(
            "import mlops_nb and %load_ext, against import pandas (CPU)",
            extension / pandas,
            0.2,
            note=f"{extension * 1e3:.0f} ms against {pandas * 1e3:.0f} ms",
        )
    ]


def cpu_s(code: str) -> float:
    """CPU seconds of a new interpreter that runs a statement."""
    answer = subprocess.run(
        [sys.executable, "-c", TIMED.format(code=code)], check=True, capture_output=True, text=True
    )
    return float(answer.stdout.splitlines()[-1])
