"""scikit-learn's estimators, and classes of others built on them.

Content is the class, by name, and its attributes: parameters as they were given and what `fit`
made of them; what its methods do is a matter of the code. What depends on the clock, on the
number of cores or on an address is left out, so that a prediction, a pickle and a second fit
with the same seed change nothing. A digest is not comparable with that of another version of
scikit-learn, whose attributes may be others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.instances import (
    attributes_of,
    encode_attributes,
    has_base,
    is_own,
    keeps_attributes_only,
    read_instance,
    reduced,
)
from mlops_nb.fingerprint.plain import class_path
from mlops_nb.fingerprint.scheme import OpaqueValueError

if TYPE_CHECKING:
    from mlops_nb.fingerprint.scheme import Pass
    from mlops_nb.model import Fingerprint

_BASE = "sklearn.base.BaseEstimator"
_BUNCH = "sklearn.utils._bunch.Bunch"
_SEARCH = "sklearn.model_selection._search.BaseSearchCV"

# Times, threads and addresses; what is built again from the rest after a pickle.
_VOLATILE = {
    "sklearn.cluster._kmeans._BaseKMeans": {"_n_threads"},
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper": {"n_threads"},
    "sklearn.feature_extraction.text._VectorizerMixin": {"_stop_words_id"},
    _SEARCH: {"refit_time_"},
    "sklearn.isotonic.IsotonicRegression": {"f_"},
}
_TREES = {"KDTree", "KDTree32", "KDTree64", "BallTree", "BallTree32", "BallTree64"}
# Data, then order, nodes and bounds, which follow from it; counters of queries; the metric.
_TREE_LEAF_SIZE, _TREE_METRIC = 4, 11


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint an estimator, a splitter, a scorer, or another object of the library."""
    return read_instance(value, cls, tracker, encode)


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode an object of the library inside a container."""
    if not has_base(cls, _BASE) and not is_own(cls, "sklearn"):
        raise OpaqueValueError(class_path(cls))
    if class_path(cls) == _BUNCH:
        return encode_attributes(value, cls, tracker, lambda: dict(dict.items(value)))
    if is_own(cls, "sklearn") and not keeps_attributes_only(cls):
        return _encode_extension(value, cls, tracker)
    return encode_attributes(value, cls, tracker, lambda: _attributes(value, cls))


def _attributes(value: object, cls: type) -> dict[str, Any]:
    found = dict(attributes_of(value, cls))
    for base, names in _VOLATILE.items():
        if has_base(cls, base):
            for name in names:
                found.pop(name, None)
    results = found.get("cv_results_")
    if type(results) is dict and has_base(cls, _SEARCH):
        found["cv_results_"] = {k: v for k, v in results.items() if not _is_time(k)}
    return found


def _is_time(key: object) -> bool:
    return type(key) is str and key.endswith("_time")


def _encode_extension(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode an object written in Cython by what its own pickling would keep."""
    content = reduced(value)
    if cls.__name__ in _TREES:
        state: Any = content[1]
        content = [state[0], state[_TREE_LEAF_SIZE], *state[_TREE_METRIC:]]
    return tracker.encoder.container(
        value, lambda: tracker.encoder.composite(f"instance {class_path(cls)}", content)
    )
