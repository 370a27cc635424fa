"""LightGBM's boosters and estimators.

A booster is the text that it is saved as, without what only says how to compute. A data set is
kept in LightGBM's own memory and stays opaque.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.instances import (
    attributes_of,
    encode_attributes,
    has_base,
    is_own,
    read_instance,
)
from mlops_nb.fingerprint.plain import class_path
from mlops_nb.fingerprint.scheme import OpaqueValueError

if TYPE_CHECKING:
    from mlops_nb.fingerprint.scheme import Pass
    from mlops_nb.model import Fingerprint

_BOOSTER = "lightgbm.basic.Booster"
_DATASET = "lightgbm.basic.Dataset"
_MODEL = "lightgbm.sklearn.LGBMModel"

_HOW_TO_COMPUTE = re.compile(
    r"^\[(num_threads|verbosity|device_type|gpu_\w+|num_gpu|force_(col|row)_wise"
    r"|histogram_pool_size|(input|output|snapshot)_\w+): .*\]\n",
    re.MULTILINE,
)


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a booster or an estimator."""
    return read_instance(value, cls, tracker, encode)


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a model inside a container."""
    if class_path(cls) == _BOOSTER and is_own(cls, "lightgbm"):
        model = _model_text(value)
        # Without early stopping it is 0 after training and -1 after a copy.
        content = [_HOW_TO_COMPUTE.sub("", model), max(value.best_iteration, 0)]
        return tracker.encoder.composite("lightgbm.Booster", content)
    if has_base(cls, _MODEL) or (is_own(cls, "lightgbm") and class_path(cls) != _DATASET):
        return encode_attributes(value, cls, tracker, lambda: attributes_of(value, cls))
    raise OpaqueValueError(class_path(cls))


def _model_text(booster: Any) -> str:
    import lightgbm

    try:
        text: str = booster.model_to_string(num_iteration=-1)
    except lightgbm.basic.LightGBMError as error:
        # It is no kind of any of Python's errors.
        raise OpaqueValueError(_BOOSTER) from error
    return text
