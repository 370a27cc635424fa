"""What it costs a call that autologging tells somebody about it."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from measurement import Measurement
from mlops_nb.autolog import Call, install

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 15
CALLS = 300


class Deaf:
    """Is told of every call and does nothing, so that only the telling is measured."""

    def call_started(self, call: Call) -> None:
        """Before."""

    def call_ended(self, call: Call, result: object) -> None:
        """After."""

    def call_failed(self, call: Call, error: BaseException) -> None:
        """After an error."""


def measure() -> list[Measurement]:
    """Time each call with and without, in rounds that alternate, and the patching itself."""
    X, y = load_iris(return_X_y=True)  # noqa: N806  # as scikit-learn writes it
    model = LogisticRegression(max_iter=1000).fit(X, y)
    rows, truth = X[:10], y[:10]
    guess = np.array(truth)
    calls: dict[str, Callable[[], object]] = {
        "LogisticRegression.predict on 10 rows": lambda: model.predict(rows),
        "accuracy_score of 10 labels": lambda: accuracy_score(truth, guess),
    }
    plain: dict[str, list[float]] = {name: [] for name in calls}
    told: dict[str, list[float]] = {name: [] for name in calls}
    patching: list[float] = []
    for _ in range(ROUNDS):
        time_calls(calls, plain)
        start = time.process_time()
        installed = install(Deaf(), {})
        patching.append(time.process_time() - start)
        time_calls(calls, told)
        installed.uninstall()
    return [*(compare(name, plain[name], told[name]) for name in calls), cost(patching)]


def time_calls(calls: dict[str, Callable[[], object]], seconds: dict[str, list[float]]) -> None:
    """Time each call once more, and note it under its name."""
    for name, call in calls.items():
        start = time.process_time()
        for _ in range(CALLS):
            call()
        seconds[name].append((time.process_time() - start) / CALLS)


def compare(name: str, plain: list[float], told: list[float]) -> Measurement:
    """Compare a call with and without tracking."""
    # Noise only ever adds, so the fastest round is nearest to the truth.
    before, after = min(plain), min(told)
    return Measurement(
        f"{name}, told, against untracked (CPU)",
        after / before,
        1.1,
        note=f"{(after - before) * 1e6:.1f} us more than {before * 1e6:.0f} us",
    )


def cost(seconds: list[float]) -> Measurement:
    """Say what patching costs once."""
    return Measurement(
        "patching what is imported of scikit-learn (CPU)",
        statistics.median(seconds) * 1e3,
        25.0,
        unit="ms",
    )
