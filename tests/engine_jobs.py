"""Jobs for tests of engines; a child process imports them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path


def place(_told, say):
    say({"said": "first"})
    return {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "folder": str(Path.cwd()),
        "variables": dict(os.environ),
        "threads": threading.active_count(),
        "random": random.random(),  # noqa: S311
        "modules": sorted(set(sys.modules) & {"json.tool"}),
    }


def answer(told, _say):
    return told


def sleep(told, say):
    say({"pid": os.getpid()})
    time.sleep(told["s"])
    return {"slept": told["s"]}


def ignore_everything(told, say):
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say({"pid": os.getpid()})
    time.sleep(told["s"])
    return {}


def leave_children(told, say):
    """Leave one child that changed its session, and one whose own parent is gone."""
    own = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    script = "sleep 1001 >/dev/null 2>&1 & echo $!; exit 0"
    lost = subprocess.run(
        ["sh", "-c", script], start_new_session=True, capture_output=True, text=True, check=True
    )
    spared = subprocess.Popen(["sh", "-c", "sleep 3; : spare-me"], start_new_session=True)
    say({"left": [own.pid, int(lost.stdout)], "spared": spared.pid})
    time.sleep(told.get("s", 0))
    return {}


def write(told, _say):
    sys.stdout.write("to the log\n")
    os.write(2, b"and this\n")
    return {}


def fail(_told, _say):
    raise ValueError("no such luck")


def refuse(_told, _say):
    from mlops_nb.errors.values import CorruptValue

    raise CorruptValue(("x",), "load", "its bytes are gone")


def kill_itself(_told, _say):
    os.kill(os.getpid(), 9)


def leave(told, _say):
    os._exit(told["code"])


def talk(told, say):
    for number in range(told["lines"]):
        say({"number": number, "text": "x" * told["length"]})
    return {"total": told["lines"]}
