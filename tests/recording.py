"""A listener for the capture tests: lives in the kernel and keeps what it is told."""

from __future__ import annotations

from dataclasses import asdict

from mlops_nb.capture import guard
from mlops_nb.capture.hooks import Capture
from mlops_nb.config import Settings


class Recorder:
    """Keeps every event as a mapping of plain values."""

    def __init__(self) -> None:
        self.started: list[dict] = []
        self.ended: list[dict] = []
        self.outputs: list[dict] = []
        self.lives: list = []
        self.fails = False

    def execution_started(self, live) -> None:
        self.lives.append(live)
        self.started.append(asdict(live.event))
        if self.fails:
            raise RuntimeError("the listener is broken")

    def execution_ended(self, live, event) -> None:
        self.ended.append(asdict(event))

    def output_seen(self, event) -> None:
        self.outputs.append(asdict(event))

    def report(self) -> dict:
        """All that was told, and what went wrong on our side."""
        return {
            "started": self.started,
            "ended": self.ended,
            "outputs": self.outputs,
            "faults": [fault.where for fault in guard.faults],
        }


recorder = Recorder()
capture: Capture | None = None
_names_before: set[str] = set()


def start(*, backfill: bool = False, **settings) -> None:
    """Record from now on."""
    global recorder, capture, _names_before  # noqa: PLW0603
    from IPython import get_ipython

    stop()
    _names_before = set(get_ipython().user_ns)
    guard.reset()
    recorder = Recorder()
    capture = Capture(get_ipython(), "session", recorder, settings=Settings(**settings))
    capture.install()
    if backfill:
        capture.backfill()


def stop() -> None:
    """Record no more."""
    global capture  # noqa: PLW0603
    if capture is not None:
        capture.uninstall()
        capture = None


def forget() -> None:
    """Delete what cells have bound since the recording began."""
    from IPython import get_ipython

    namespace = get_ipython().user_ns
    for name in set(namespace) - _names_before:
        if not name.startswith("_"):
            del namespace[name]


def hooks() -> dict:
    """What of IPython's we could have changed."""
    from IPython import get_ipython

    shell = get_ipython()
    callbacks = shell.events.callbacks
    return {
        "callbacks": {name: [repr(f) for f in found] for name, found in callbacks.items()},
        "send": vars(shell.kernel.session).get("send"),
        "publish": vars(shell.display_pub).get("publish"),
        "transformers": len(shell.ast_transformers) + len(shell.input_transformers_post),
    }
