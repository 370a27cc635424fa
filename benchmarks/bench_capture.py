"""What tracking adds to a cell of 16 lines: hooks, capture, redaction, spool, all of a session."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from pathlib import Path

from measurement import Measurement

# A notebook's cells are all captured or none is, so they run in blocks, not one of each in turn.
BLOCKS, BLOCK = 26, 20
WARM_UP = 2
# Sixteen lines as in a notebook on models; {n} makes each source one that was never seen.
CELL = """\
limit_{n} = 0.5
table = [dict(zip(columns, row)) for row in rows]
features = [[row["a"], row["b"]] for row in table]
labels = [row["target"] for row in table]
cut = int(len(features) * 0.8)
train_x, test_x = features[:cut], features[cut:]
train_y, test_y = labels[:cut], labels[cut:]
model = Model(strength=0.1, rounds=5)
model.learn(train_x, train_y)
predicted = model.predict(test_x)
accuracy = sum(a == b for a, b in zip(predicted, test_y)) / max(1, len(test_y))
for name in ("first", "second"):
    scores[name] = round(accuracy * 2, 3)
    if accuracy > limit_{n}:
        best = name
print(f"accuracy {{accuracy:.3f}}", len(scores), file=sink)
"""
SETUP = """
import io
class Model:
    def __init__(self, strength, rounds): self.strength, self.rounds = strength, rounds
    def learn(self, x, y): self.most = max(set(y), key=y.count)
    def predict(self, x): return [self.most for _ in x]
columns, scores, sink = ("a", "b", "target"), {}, io.StringIO()
rows = [(i % 7, i % 3, i % 2) for i in range(40)]
"""


def measure() -> list[Measurement]:
    """Difference of the medians over cells in blocks, hooked and unhooked in turn."""
    found = []
    for names in (10, 10_000):
        plain, hooked = medians_ms(names)
        found.append(
            Measurement(
                f"capture and spool, a new cell of 16 lines, {names:,} names",
                hooked - plain,
                0.5,
                unit=" ms",
                note=f"{hooked:.3f} ms against {plain:.3f} ms",
            )
        )
    return found


def medians_ms(names: int) -> tuple[float, float]:
    """Milliseconds for one cell without and with capture."""
    shell = new_shell(names)
    with tempfile.TemporaryDirectory() as folder:
        capture, close = new_capture(shell, Path(folder))
        times: dict[bool, list[float]] = {False: [], True: []}
        for block in range(2 * BLOCKS):
            is_hooked = bool(block % 2)
            if is_hooked:
                capture.install()
            for number in range(BLOCK):
                # Never seen before, with either number of names: nothing is known of it.
                took = cell_ms(shell, CELL.format(n=f"{names}_{block}_{number}"))
                if block >= WARM_UP:
                    times[is_hooked].append(took)
            if is_hooked:
                capture.uninstall()
        close()
    return statistics.median(times[False]), statistics.median(times[True])


def cell_ms(shell, source: str) -> float:
    """CPU time of this thread: nothing here waits, and a busy machine would only add noise."""
    gc.collect(0)
    start = time.thread_time()
    shell.run_cell(source, store_history=True)
    return (time.thread_time() - start) * 1e3


def new_shell(names: int):
    """Make a shell with as many names as asked for."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.user_ns.update({f"name_{i}": [i] for i in range(names)})
    shell.run_cell(SETUP)
    return shell


def new_capture(shell, folder: Path):
    """The capture of a real session: its listener, tracking, spool and drainer included."""
    from mlops_nb.session import start_session, stop_session

    session = start_session(shell, store=str(folder), quiet=True)
    session.be_automatic()
    session.capture.uninstall()
    return session.capture, stop_session


if __name__ == "__main__":
    for measurement in measure():
        print(measurement)
