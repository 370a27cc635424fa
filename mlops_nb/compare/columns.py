"""Which parameters and metrics become columns, and in which order."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.model import Json, Run

# A run that stopped before its end shows what it logged, but its values are not compared.
CONTENDING = frozenset({"running", "finished"})

_SEEDS = ("seed", "random_state", "random_seed")


def is_seed(param: str) -> bool:
    """Tell whether a parameter only seeds randomness, as ``random_state`` or ``clf__seed``."""
    return param.rpartition("__")[2].rpartition(".")[2] in _SEEDS


def differing_params(runs: Sequence[Run]) -> tuple[str, ...]:
    """Name the parameters worth a column: those that tell these runs apart.

    A parameter differs if some run changed it from its default, and another one has another
    value of it, or lacks it. Defaults alone do not count: each class of estimators has its own,
    so comparing two classes would show everything.
    """
    having = [run for run in runs if run.params]
    differing = [key for key in ordered_params(having) if _differs(key, having)]
    return tuple(sorted(differing, key=lambda key: _weight(key, having)))


def ordered_params(runs: Iterable[Run]) -> list[str]:
    """Name all parameters: the estimator, then those changed from default, then the others."""
    is_changed: dict[str, bool] = {}
    for run in runs:
        for key, param in run.params.items():
            is_changed[key] = is_changed.get(key, False) or not param.is_default
    # Sorting is stable, so that within each kind they stay as logged.
    return sorted(is_changed, key=lambda key: (key != "estimator", not is_changed[key]))


def ordered_metrics(runs: Sequence[Run]) -> list[str]:
    """Name all metrics: the headline first, those of training data last."""
    counts = Counter(key for run in runs for key in run.metrics)
    first = headline_metric(runs)
    return sorted(counts, key=lambda key: (key != first, key.startswith("train."), -counts[key]))


SCORED_AGAIN = 2
"""Values up to which a metric is a score, perhaps taken again, rather than a curve."""


def headline_metric(runs: Sequence[Run]) -> str | None:
    """Choose the metric that says most about these runs.

    Most runs have it, it is not measured on the data that was trained on, and it is one value
    rather than a curve; among equals, the first that was logged.
    """
    counts = Counter(key for run in runs if run.status in CONTENDING for key in run.metrics)
    if not counts:
        return None
    found = [(key, metric.count) for run in runs for key, metric in run.metrics.items()]
    curves = {key for key, count in found if count > SCORED_AGAIN}
    return min(counts, key=lambda key: (key.startswith("train."), -counts[key], key in curves))


def value_key(value: Json) -> str:
    """Give equal values one key: 1 and 1.0 are equal, 1 and True are not."""
    if isinstance(value, bool | str):
        return f"{type(value).__name__} {value}"
    if isinstance(value, int | float):
        return str(int(value) if value == value // 1 else value)
    return json.dumps(plain(value), sort_keys=True)


def _weight(key: str, runs: Sequence[Run]) -> tuple[bool, bool, int]:
    """Rank a parameter that differs: the one that was tried out most comes first."""
    tried = {
        value_key(run.params[key].value)
        for run in runs
        if key in run.params and not run.params[key].is_default
    }
    return (key != "estimator", is_seed(key), -len(tried))


def _differs(key: str, runs: Sequence[Run]) -> bool:
    found = [run.params[key] for run in runs if key in run.params]
    if all(param.is_default for param in found):
        return False
    return len(found) < len(runs) or len({value_key(param.value) for param in found}) > 1
