"""What capture adds to a cell of 16 lines: hooks, analysis, redaction, and the spool."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from pathlib import Path

from measurement import Measurement

ROUNDS = 250
WARM_UP = 20
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
model.fit(train_x, train_y)
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
    def fit(self, x, y): self.most = max(set(y), key=y.count)
    def predict(self, x): return [self.most for _ in x]
columns, scores, sink = ("a", "b", "target"), {}, io.StringIO()
rows = [(i % 7, i % 3, i % 2) for i in range(40)]
"""


def measure() -> list[Measurement]:
    """Difference of the medians over cells that run hooked and unhooked in turn."""
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
        for number in range(2 * (ROUNDS + WARM_UP)):
            is_hooked = bool(number % 2)
            if is_hooked:
                capture.install()
            # Never seen before, with either number of names: nothing is known of it.
            took = cell_ms(shell, CELL.format(n=f"{names}_{number}"))
            if is_hooked:
                capture.uninstall()
            if number >= 2 * WARM_UP:
                times[is_hooked].append(took)
        close()
    return statistics.median(times[False]), statistics.median(times[True])


def cell_ms(shell, source: str) -> float:
    """CPU time of this thread: nothing here waits, and a busy machine would only add noise."""
    gc.collect(0)
    start = time.thread_time()
    shell.run_cell(source, store_history=True)
    return (time.thread_time() - start) * 1e3


def new_shell(names: int):
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.user_ns.update({f"name_{i}": [i] for i in range(names)})
    shell.run_cell(SETUP)
    return shell


def new_capture(shell, folder: Path):
    """A capture that writes to a real spool."""
    from mlops_nb.capture.hooks import Capture
    from mlops_nb.config import Settings
    from mlops_nb.store.spool import Spool

    spool = Spool.create(folder, "session")
    return Capture(shell, "session", ToSpool(spool), settings=Settings()), spool.close


class ToSpool:
    """A listener that only writes down."""

    def __init__(self, spool) -> None:
        self._append = spool.append

    def execution_started(self, live) -> None:
        self._append(live.event)

    def execution_ended(self, live, event) -> None:
        self._append(event)

    def output_seen(self, event) -> None:
        self._append(event)


if __name__ == "__main__":
    for measurement in measure():
        print(measurement)
