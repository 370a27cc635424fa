"""What is watched in scikit-learn and its kind; and, in one place, how to read its objects."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING

from mlops_nb.autolog.estimators import (
    changed_params,
    class_path,
    is_predictor,
    metric_name,
    model_params,
    parts,
    score_name,
)
from mlops_nb.autolog.installation import Classes, ClassTree, Functions
from mlops_nb.autolog.results import search_table, validation_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

    from mlops_nb.autolog.installation import Patch
    from mlops_nb.autolog.patch import Kind

__all__ = [
    "METHODS",
    "MODULES",
    "changed_params",
    "class_path",
    "is_predictor",
    "methods_of",
    "metric_name",
    "model_params",
    "parts",
    "patches",
    "score_name",
    "search_table",
    "validation_results",
]

MODULES = (
    "sklearn.base",
    "sklearn.metrics",
    "sklearn.metrics.cluster",
    "sklearn.model_selection",
    "catboost",
)

METHODS: Mapping[str, Kind] = {
    "fit": "fit",
    "fit_predict": "fit",
    "fit_transform": "fit",
    "partial_fit": "fit",
    "predict": "predict",
    "predict_proba": "predict",
    "predict_log_proba": "predict",
    "decision_function": "predict",
    "score_samples": "predict",
    "transform": "transform",
    "score": "score",
}

# `transform` alone says little: tables have such a method too.
_UNRELATED_METHODS: Mapping[str, Kind] = {
    name: kind for name, kind in METHODS.items() if not name.endswith("transform")
}

_VALIDATIONS = (
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "permutation_test_score",
    "validation_curve",
)
_NO_METRICS = ("check_scoring", "get_scorer", "get_scorer_names", "make_scorer")
_NO_METRIC_MODULES = ("sklearn.metrics.pairwise", "sklearn.metrics._scorer")


def patches(module: ModuleType) -> Iterator[Patch]:
    """Say what to watch in one of `MODULES`, which has been imported."""
    name = module.__name__
    if name == "sklearn.base":
        # `_SetOutputMixin` wraps the transform of a new class after `BaseEstimator` has seen it.
        makers = getattr(module, "_SetOutputMixin", None)
        yield ClassTree(module.BaseEstimator, METHODS, makers=(makers,) if makers else ())
    elif name == "sklearn.model_selection":
        yield Functions("validate", tuple(_functions(module, _VALIDATIONS)))
    elif name.startswith("sklearn.metrics"):
        names = [name for name in module.__all__ if name not in _NO_METRICS]
        found = _functions(module, names)
        yield Functions(
            "metric", tuple(f for f in found if f.__module__ not in _NO_METRIC_MODULES)
        )
    else:
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        yield Classes(tuple(cls for cls in classes if methods_of(cls)), _UNRELATED_METHODS)


def methods_of(cls: type) -> Mapping[str, Kind]:
    """Say what to watch in a class of no library: one with ``fit`` that also predicts."""
    names = {
        name
        for base in cls.__mro__
        for name in ("fit", "predict", "fit_predict")
        if name in vars(base)
    }
    return _UNRELATED_METHODS if "fit" in names and len(names) > 1 else {}


def _functions(module: ModuleType, names: Iterable[str]) -> Iterator[FunctionType]:
    for name in names:
        function = getattr(module, name, None)
        if isinstance(function, FunctionType):
            yield function
