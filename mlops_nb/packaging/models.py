"""Fitted models in their libraries' own formats, and tensors, none of which run code when loaded.

Scikit-learn's go to skops only where it is installed, every type in the file is on our own list,
and the model that comes back is the same; else to joblib, which is a pickle and is signed.
"""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint import fingerprint
from mlops_nb.packaging import plain
from mlops_nb.packaging.fitting import Unfit, failures, unequal

if TYPE_CHECKING:
    from mlops_nb.packaging.places import Place

# Types that skops asks about and that scikit-learn's own models are made of. What a file names
# is never asked for trust: whoever wrote it would decide.
_TRUSTED = (
    "numpy.dtype",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
)
_LARGEST_SKOPS = 20_000_000


def is_estimator(value: object) -> bool:
    """Tell whether a value is built on scikit-learn's estimators."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(value, base.BaseEstimator)


def write_skops(value: Any, place: Place) -> dict[str, Any]:
    """Write an estimator that skops gives back as it is.

    Raises
    ------
    Unfit
        It does not, or is not installed, or would have to trust a type that is not on our list.
    """
    if find_spec("skops") is None:
        raise Unfit("skops is not installed")
    found = fingerprint(value)
    if found.assurance != "exact" or found.size_bytes > _LARGEST_SKOPS:
        raise Unfit("it is too large for skops, or holds what cannot be compared")
    import skops.io

    try:
        data = skops.io.dumps(value)
        unknown = set(skops.io.get_untrusted_types(data=data)) - set(_TRUSTED)
        if unknown:
            raise Unfit(f"it holds a {min(unknown)}")
        back = skops.io.loads(data, trusted=list(_TRUSTED))
    except failures() as error:
        raise Unfit(f"skops cannot write it ({error})") from None
    if type(back) is not type(value) or fingerprint(back).digest != found.digest:
        raise unequal("the model")
    if fingerprint(value).digest != found.digest:
        raise unequal("the model, once written,")
    place.file("value.skops").write_bytes(data)
    return {}


def read_skops(place: Place, _: dict[str, Any]) -> Any:
    """Read what `write_skops` wrote, with our list of types."""
    import skops.io

    return skops.io.loads(place.file("value.skops").read_bytes(), trusted=list(_TRUSTED))


def write_joblib(value: Any, place: Place) -> dict[str, Any]:
    """Write an estimator that holds nothing of the notebook."""
    import joblib

    joblib.dump(value, place.file("value.joblib"))
    return {}


def read_joblib(place: Place, _: dict[str, Any]) -> Any:
    """Read what `write_joblib` wrote; the caller has checked its signature."""
    import joblib

    return joblib.load(place.file("value.joblib"))


# --- boosters ---------------------------------------------------------------------------------


def is_xgboost(value: object) -> bool:
    """Tell whether a value is a booster of XGBoost itself."""
    module = sys.modules.get("xgboost")
    return module is not None and type(value) is getattr(module, "Booster", None)


def write_xgboost(value: Any, place: Place) -> dict[str, Any]:
    """Write a booster with its configuration."""
    place.file("value.ubj").write_bytes(bytes(value.save_raw(raw_format="ubj")))
    detail = {"config": value.save_config()}
    _check_booster(value, read_xgboost(place, detail))
    return detail


def read_xgboost(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write_xgboost` wrote."""
    from xgboost import Booster

    booster = Booster()
    booster.load_model(bytearray(place.file("value.ubj").read_bytes()))
    booster.load_config(detail["config"])
    return booster


def is_lightgbm(value: object) -> bool:
    """Tell whether a value is a booster of LightGBM itself."""
    module = sys.modules.get("lightgbm")
    return module is not None and type(value) is getattr(module, "Booster", None)


def write_lightgbm(value: Any, place: Place) -> dict[str, Any]:
    """Write a booster as LightGBM's text, and what the text leaves out."""
    text = value.model_to_string(num_iteration=-1)
    place.file("value.txt").write_text(text, encoding="utf-8")
    kept = {name: one for name, one in vars(value).items() if name not in _NOT_WRITTEN}
    scores = {name: dict(one) for name, one in value.best_score.items()}
    detail = {"attributes": plain.encode(kept), "best_score": plain.encode(scores)}
    _check_booster(value, read_lightgbm(place, detail))
    return detail


def read_lightgbm(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write_lightgbm` wrote."""
    from collections import OrderedDict, defaultdict

    from lightgbm import Booster

    booster = Booster(model_str=place.file("value.txt").read_text(encoding="utf-8"))
    attributes: Any = plain.decode(detail["attributes"])
    scores: Any = plain.decode(detail["best_score"])
    if set(attributes) & _NOT_WRITTEN:
        raise ValueError("it would set what is LightGBM's own")
    vars(booster).update(attributes)
    ordered = {name: OrderedDict(one) for name, one in scores.items()}
    booster.best_score = defaultdict(OrderedDict, ordered)
    return booster


# The model itself is in the text; the data it was trained on leaves no trace in a copy either.
_NOT_WRITTEN = frozenset(
    {"_handle", "handle", "best_score", "train_set", "valid_sets", "_Booster__init_predictor"}
)


def _check_booster(value: Any, back: Any) -> None:
    found = fingerprint(value)
    extra = {name for name in vars(value) if not name.startswith("_")} - set(vars(back))
    if extra:
        raise unequal(f"its attribute {min(extra)}")
    if found.assurance != "exact" or fingerprint(back).digest != found.digest:
        raise unequal("the booster")


# --- tensors ----------------------------------------------------------------------------------


def is_tensors(value: object) -> bool:
    """Tell whether a value is a tensor, or the state of a module: tensors by name."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if type(value) is torch.Tensor:
        return True
    import collections

    is_state = type(value) in {dict, collections.OrderedDict} and bool(value)
    return is_state and all(
        type(key) is str and type(one) is torch.Tensor
        for key, one in value.items()  # type: ignore[attr-defined]
    )


def write_torch(value: Any, place: Place) -> dict[str, Any]:
    """Write tensors so that they can be read without a pickle.

    Raises
    ------
    Unfit
        One of them has a gradient, hooks or attributes.
    """
    import torch

    tensors = [value] if isinstance(value, torch.Tensor) else list(value.values())
    for one in tensors:
        is_bare = one.is_leaf and one.grad is None and not one._backward_hooks  # noqa: SLF001
        if not is_bare or vars(one) or one.device.type != "cpu" or one.is_inference():
            raise Unfit("a tensor has more than its numbers")
    data = io.BytesIO()
    torch.save(value, data)
    try:
        back = torch.load(io.BytesIO(data.getvalue()), weights_only=True)
    except failures() as error:
        raise Unfit(f"torch cannot read it back safely ({error})") from None
    is_same = fingerprint(back).digest == fingerprint(value).digest
    if type(back) is not type(value) or not is_same or _attributes(back) != _attributes(value):
        raise unequal("the tensor")
    place.file("value.pt").write_bytes(data.getvalue())
    return {}


def _attributes(value: object) -> dict[str, object]:
    return dict(getattr(value, "__dict__", {}))


def read_torch(place: Place, _: dict[str, Any]) -> Any:
    """Read what `write_torch` wrote."""
    import torch

    return torch.load(place.file("value.pt"), weights_only=True)


__all__ = [
    "is_estimator",
    "is_lightgbm",
    "is_tensors",
    "is_xgboost",
    "read_joblib",
    "read_lightgbm",
    "read_skops",
    "read_torch",
    "read_xgboost",
    "write_joblib",
    "write_lightgbm",
    "write_skops",
    "write_torch",
    "write_xgboost",
]
