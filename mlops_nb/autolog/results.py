"""What searches and validations found, as metrics and rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.autolog.estimators import as_param, ask, metric_name
from mlops_nb.model import Json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Results: TypeAlias = tuple[dict[str, float], list[dict[str, Json]] | None]
"""Metrics by key, and rows of a table, None if there are none."""


def search_table(estimator: object) -> list[dict[str, Json]] | None:
    """Give one row for each candidate of a fitted search; None for what is no search."""
    results = ask(lambda: getattr(estimator, "cv_results_", None), None)
    if not isinstance(results, Mapping) or not isinstance(results.get("params"), list):
        return None
    columns = [key for key in results if key != "params" and not str(key).startswith("param_")]
    return [
        {str(key): as_param(value) for key, value in candidate.items()}
        | {str(key): as_param(results[key][row]) for key in columns}
        for row, candidate in enumerate(results["params"])
    ]


def validation_results(function: str, result: object, key: str) -> Results:
    """Read what a function of `sklearn.model_selection` gave.

    Parameters
    ----------
    function
        Its name, as ``"cross_validate"``.
    result
        What it returned.
    key
        Name of the metric that was scored by, where the result does not say.

    Returns
    -------
    tuple
        Metrics (``cv.accuracy`` is the mean over the folds, ``cv.accuracy.std`` the deviation,
        ``cv.train.accuracy`` the mean on the training parts) and rows: one a fold, or one a
        point of the curve; None if there are none.
    """
    nothing: Results = ({}, None)
    read = _READERS.get(function)
    return nothing if read is None else ask(lambda: read(result, key), nothing)


def _read_scores(result: Any, key: str) -> Results:
    return _read_folds({"test_score": result}, key)


def _read_folds(result: Any, key: str) -> Results:
    if not isinstance(result, Mapping):
        return {}, []
    columns = {_fold_column(name, key): values for name, values in result.items()}
    columns.pop("", None)
    metrics: dict[str, float] = {}
    for name, values in columns.items():
        if not name.endswith("_time"):
            metrics |= _mean_and_deviation(f"cv.{name}", values)
    length = min((len(values) for values in columns.values()), default=0)
    rows = [
        {"fold": fold + 1, **{name: as_param(values[fold]) for name, values in columns.items()}}
        for fold in range(length)
    ]
    return metrics, rows


def _fold_column(name: str, key: str) -> str:
    """``test_score`` -> the key, ``train_roc_auc`` -> ``train.roc_auc``; empty: not a number."""
    part, _, scored = name.partition("_")
    if part in {"test", "train"}:
        metric = key if scored == "score" else metric_name(scored)
        return metric if part == "test" else f"train.{metric}"
    return name if name.endswith("_time") else ""


def _mean_and_deviation(name: str, values: Iterable[float]) -> dict[str, float]:
    numbers = [float(value) for value in values]
    mean = sum(numbers) / len(numbers) if numbers else math.nan
    if not math.isfinite(mean):
        return {}
    deviation = math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))
    if name.startswith("cv.train."):
        return {name: mean}
    return {name: mean, f"{name}.std": deviation}


def _read_learning_curve(result: Any, key: str) -> Results:
    sizes, train, test = result[:3]
    rows = [{"train_size": as_param(size)} for size in sizes]
    _add_scores(rows, train, test, key)
    last = rows[-1] if rows else {}
    return {name: value for name, value in last.items() if name.startswith("cv.")}, rows


def _read_validation_curve(result: Any, key: str) -> Results:
    train, test = result[:2]
    rows: list[dict[str, Json]] = [{"point": point + 1} for point in range(len(test))]
    _add_scores(rows, train, test, key)
    # Each point is another model: none of them is the value of the curve.
    return {}, rows


def _add_scores(
    rows: list[dict[str, Json]],
    train: Sequence[Iterable[float]],
    test: Sequence[Iterable[float]],
    key: str,
) -> None:
    for row, on_train, on_test in zip(rows, train, test, strict=True):
        row.update(_mean_and_deviation(f"cv.train.{key}", on_train))
        row.update(_mean_and_deviation(f"cv.{key}", on_test))


def _read_permutations(result: Any, key: str) -> Results:
    score, _, p_value = result
    return {f"cv.{key}": float(score), "p_value": float(p_value)}, None


_READERS: Mapping[str, Callable[[Any, str], Results]] = {
    "cross_validate": _read_folds,
    "cross_val_score": _read_scores,
    "learning_curve": _read_learning_curve,
    "validation_curve": _read_validation_curve,
    "permutation_test_score": _read_permutations,
}
