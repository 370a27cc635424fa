"""What an estimator is, what it was given, and what is inside of it.

Each question runs code of an estimator that we know nothing about, so each is guarded.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_nb.capture.guard import guard
from mlops_nb.tracking.values import as_json, as_number, inherits, is_of_the_notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlops_nb.model import Json

PARTS_LIMIT = 2_000
"""How many sub-estimators of one estimator are looked at."""

_PREDICTING = ("predict", "fit_predict")
_T = TypeVar("_T")


# --- what an estimator is ---------------------------------------------------------------------


def is_predictor(estimator: object) -> bool:
    """Whether fitting it bears a run: it classifies, regresses, clusters or finds outliers.

    By scikit-learn's own tests, or because it has ``predict`` or ``fit_predict``.
    """
    if estimator is None or isinstance(estimator, type):
        return False
    return _has(estimator, _PREDICTING) or any(
        _answers(test, estimator)
        for test in ("is_classifier", "is_regressor", "is_clusterer", "is_outlier_detector")
    )


def class_path(estimator: object) -> str:
    """Full name of its class, as ``"sklearn.svm._classes.SVC"``."""
    cls = type(estimator)
    return f"{cls.__module__}.{cls.__qualname__}"


def score_name(estimator: object) -> str:
    """Name of what its ``score`` gives: ``accuracy``, ``r2``, that of its scorer, or ``score``."""
    scoring = ask(lambda: getattr(estimator, "scoring", None), None)
    if isinstance(scoring, str):
        return metric_name(scoring)
    if scoring is not None:
        return "score"
    if _answers("is_classifier", estimator):
        return "accuracy"
    return "r2" if _answers("is_regressor", estimator) else "score"


def metric_name(function: str) -> str:
    """Name of a metric: that of the function without ``_score``.

    Examples
    --------
    >>> metric_name("roc_auc_score")
    'roc_auc'
    """
    return function.removesuffix("_score")


def _has(estimator: object, names: Sequence[str]) -> bool:
    # Some estimators say only as objects what they can do, such as a pipeline by its last step.
    return ask(lambda: any(callable(getattr(estimator, name, None)) for name in names), False)


def _answers(test: str, estimator: object) -> bool:
    """Ask one of scikit-learn's tests, if it is loaded and the object can be asked."""
    base = sys.modules.get("sklearn.base")
    if base is None or not hasattr(type(estimator), "__sklearn_tags__"):
        return False
    return ask(lambda: bool(getattr(base, test)(estimator)), False)


def ask(question: Callable[[], _T], default: _T) -> _T:
    """Call what runs code of an estimator; give `default` where that fails."""
    with guard("estimator"):
        return question()
    return default


# --- parameters -------------------------------------------------------------------------------


def model_params(estimator: object) -> dict[str, Json]:
    """Read its parameters by scikit-learn's keys, those that were changed first.

    ``estimator`` is the name of its class; that of the estimator inside of a search, whose
    parameter has the same key, is ``estimator__class``.
    """
    values = _params(estimator, deep=True)
    changed = _changed(estimator, values)
    keys = sorted(
        (key for key in values if key != "estimator"), key=lambda key: key not in changed
    )
    names = {"estimator": type(estimator).__name__}
    if values.get("estimator") is not None:
        names["estimator__class"] = type(values["estimator"]).__name__
    return names | {key: as_param(values[key]) for key in keys}


def changed_params(estimator: object) -> set[str]:
    """Give the keys of `model_params` whose values are not the defaults; ``estimator`` always."""
    values = _params(estimator, deep=True)
    named = {"estimator"} if values.get("estimator") is None else {"estimator", "estimator__class"}
    return named | _changed(estimator, values)


def _params(estimator: object, *, deep: bool) -> dict[str, object]:
    get_params = ask(lambda: getattr(estimator, "get_params", None), None)
    if isinstance(estimator, type) or not callable(get_params):
        return {}
    is_usual = deep and _has_usual_params(type(estimator))
    values = ask(lambda: get_params(deep=deep and not is_usual), None)
    if not isinstance(values, Mapping):
        return {}
    found: dict[str, object] = {}
    for key, value in values.items():
        if is_usual and hasattr(type(value), "get_params"):
            inside = _params(value, deep=True)
            found |= {f"{key}__{name}": one for name, one in inside.items()}
        found[str(key)] = value
    return found


def _has_usual_params(cls: type) -> bool:
    """Whether scikit-learn's own method gives its parameters.

    That one asks each value, by its own code, whether it has parameters itself; here its class is
    asked.
    """
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    return base is not None and getattr(cls, "get_params", None) is base.get_params


def _changed(estimator: object, values: Mapping[str, object]) -> set[str]:
    defaults: dict[str, Mapping[str, object]] = {}
    changed = set()
    for key, value in values.items():
        owner, _, name = key.rpartition("__")
        if owner not in defaults:
            defaults[owner] = _defaults(values.get(owner) if owner else estimator)
        default = defaults[owner].get(name, inspect.Parameter.empty)
        if not _is_same(value, default):
            changed.add(key)
    return changed


def _defaults(estimator: object) -> Mapping[str, object]:
    return ask(lambda: _defaults_of(type(estimator)), {})


def _defaults_of(cls: type) -> dict[str, object]:
    """Read the defaults of a constructor; what it takes as ``**kwargs`` goes to its base's."""
    defaults: dict[str, object] = {}
    for base in cls.__mro__:
        constructor = vars(base).get("__init__")
        if not isinstance(constructor, FunctionType):
            continue
        parameters = inspect.signature(constructor).parameters.values()
        defaults = {parameter.name: parameter.default for parameter in parameters} | defaults
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return defaults


def _is_same(value: object, default: object) -> bool:
    if value is default:
        return True
    if not (_is_plain(value) and _is_plain(default)):
        return False
    return bool(as_param(value) == as_param(default))


def _is_plain(value: object, depth: int = 4) -> bool:
    cls = type(value)
    if cls is list or inherits(cls, tuple):
        items = value if cls is list else tuple.__iter__(value)  # type: ignore[arg-type]
        return depth > 0 and all(_is_plain(item, depth - 1) for item in items)  # type: ignore[attr-defined]
    return value is None or inherits(cls, str, bool) or as_number(value) is not None


def as_param(value: object) -> Json:
    """Write a parameter's value as JSON, or as the name of its type."""
    if type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}:
        return bool(value)
    return ask(lambda: as_json(value), type(value).__name__)


# --- parts ------------------------------------------------------------------------------------


def parts(estimator: object) -> Iterator[object]:
    """Give the estimators inside of one, of any depth, each once, at most `PARTS_LIMIT`.

    Those it was given (its parameters, the steps of a pipeline) and those it has fitted
    (``best_estimator_``, ``estimators_``, ``calibrated_classifiers_``, …).
    """
    params = _params(estimator, deep=True).values()
    waiting = deque([*_all_estimators_in(params), *_held_by(estimator)])
    seen = {id(estimator)}
    while waiting and len(seen) <= PARTS_LIMIT:
        part = waiting.popleft()
        if id(part) not in seen:
            seen.add(id(part))
            waiting.extend(_held_by(part))
            yield part


# A forest has hundreds of them, and a tree holds no estimators.
_LEAVES = ("sklearn.tree.",)


def _held_by(estimator: object) -> list[object]:
    if type(estimator).__module__.startswith(_LEAVES):
        return []
    own = ask(lambda: getattr(estimator, "__dict__", None), None)
    return _all_estimators_in(own.values()) if type(own) is dict else []


def _all_estimators_in(values: Iterable[object]) -> list[object]:
    return [part for value in list(values) for part in _estimators_in(value, depth=3)]


def _estimators_in(value: object, *, depth: int) -> Iterator[object]:
    """Find estimators in a value, or in a sequence, mapping or object array of some."""
    cls = type(value)
    if hasattr(cls, "fit") or hasattr(cls, "predict") or hasattr(cls, "predict_proba"):
        yield value
        return
    for item in islice(_items_in(value, cls), PARTS_LIMIT if depth else 0):
        yield from _estimators_in(item, depth=depth - 1)


def _items_in(value: Any, cls: type) -> Iterable[Any]:
    """Give what a container holds, without a class of the notebook having a say."""
    if inherits(cls, list):
        return list.__iter__(value)
    if inherits(cls, tuple):
        return tuple.__iter__(value)
    if inherits(cls, dict):
        return dict.values(value)
    if _is_object_array(value):
        items: Iterable[Any] = value if value.ndim else ()
        return items
    is_mapping = not is_of_the_notebook(cls) and issubclass(cls, Mapping)
    return value.values() if is_mapping else ()


def _is_object_array(value: object) -> bool:
    return type(value).__module__ == "numpy" and str(getattr(value, "dtype", "")) == "object"
