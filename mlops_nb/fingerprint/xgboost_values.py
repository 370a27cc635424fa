"""XGBoost's boosters and estimators.

A booster is what it predicts with: trees, objective, names of features and attributes, as its
own format writes them. A data matrix cannot be read back without a copy and stays opaque.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.instances import (
    attributes_of,
    encode_attributes,
    has_base,
    is_own,
    read_instance,
)
from mlops_nb.fingerprint.plain import class_path
from mlops_nb.fingerprint.scheme import OpaqueValueError, digest_of

if TYPE_CHECKING:
    from mlops_nb.fingerprint.scheme import Pass
    from mlops_nb.model import Fingerprint

_BOOSTER = "xgboost.core.Booster"
_MODEL = "xgboost.sklearn.XGBModel"


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a booster or an estimator."""
    return read_instance(value, cls, tracker, encode)


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a model inside a container."""
    if class_path(cls) == _BOOSTER and is_own(cls, "xgboost"):
        model = value.save_raw(raw_format="ubj")
        tracker.take(len(model))
        return tracker.encoder.composite("xgboost.Booster", [digest_of(model)])
    if has_base(cls, _MODEL) or is_own(cls, "xgboost"):
        return encode_attributes(value, cls, tracker, lambda: attributes_of(value, cls))
    raise OpaqueValueError(class_path(cls))
