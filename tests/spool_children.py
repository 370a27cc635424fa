"""Processes that write a spool, or look at one from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def run_child(code, *arguments, **options):
    """Run Python code in a child that must end well; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_LOOK = """
import sys
from pathlib import Path
from mlops_nb.store.spool import owner_state
print(owner_state(Path(sys.argv[1])), end="")
"""


def state_seen_from_outside(folder):
    return run_child(_LOOK, folder)


_WRITE = """
import sys
from pathlib import Path
from mlops_nb.store.spool import Spool
root = Path(sys.argv[1])
spool = Spool.create(root / "spool", "s", state_dir=root / "state")
out = sys.stdout
for step in range(int(sys.argv[2])):
    spool.append_metric("0123456789abcdef", "loss", 0.5, step, 1)
    print(step, file=out, flush=True)
sys.stdin.read()
"""


def start_writer(folder, steps):
    return subprocess.Popen(
        [sys.executable, "-c", _WRITE, str(folder), str(steps)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(process):
    process.send_signal(signal.SIGKILL)
    # Seen as dead before anybody has waited for it.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
