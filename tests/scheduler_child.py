"""A scheduler in a process of its own, whose firings run a small program.

``python scheduler_child.py STORE JOURNAL [SECONDS [LEASE]]``: each firing appends its time and its
process to JOURNAL, and sleeps for SECONDS. It ends by SIGTERM.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlops_nb.schedule.scheduler import Scheduler, Ways
from mlops_nb.schedule.trust import Allowance
from mlops_nb.store import Store

PROGRAM = """
import os, sys, time
place = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(place, f"{sys.argv[2]} {os.getpid()}\\n".encode())
time.sleep(float(sys.argv[3]))
"""


def main() -> None:
    location, journal = sys.argv[1:3]
    seconds = sys.argv[3] if len(sys.argv) > 3 else "0"
    lease_s = float(sys.argv[4]) if len(sys.argv) > 4 else 4.0

    def command(schedule, due_ns) -> list[str]:
        return [sys.executable, "-ISc", PROGRAM, journal, str(due_ns), seconds]

    scheduler = Scheduler(
        lambda: Store.open(location),
        refusal=Allowance(is_any=True).refusal,
        say=lambda text: print(f"{os.getpid()} {text}", flush=True),  # noqa: T201
        logs=Path(journal).parent / f"logs-{os.getpid()}",
        ways=Ways(poll_s=1.0, lease_s=lease_s),
        command=command,
    )
    sys.exit(min(scheduler.run(), 1))


if __name__ == "__main__":
    main()
