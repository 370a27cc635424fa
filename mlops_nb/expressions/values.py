"""What queries compare, and which way of a metric is up."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone

# Words of metric names, as sklearn.metrics, XGBoost, LightGBM and Keras use them.
_LOWER_IS_BETTER = frozenset(
    """
    cer cost davies deviance distance divergence duration eer entropy error errors fnr fpr
    hamming inertia latency logloss loss losses mae mape medae misclassification mse msle nll
    perplexity pinball regret rmse rmsle seconds smape wer
    """.split()  # noqa: SIM905 - a list of words reads better than one of strings
)


def is_lower_better(metric: str) -> bool:
    """Say whether a lower value of a metric is the better one, by the words of its name.

    A negated one (``neg_log_loss``) is a score: higher is better.

    Examples
    --------
    >>> [is_lower_better(name) for name in ("accuracy", "val.log_loss", "neg_log_loss")]
    [False, True, False]
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", metric)
    words = [word for word in re.split(r"[^a-z]+", spaced.lower()) if word]
    if "neg" in words or "negative" in words or re.match(r"(.*[._])?d2_", metric):
        return False  # the d2 family of scikit-learn are shares of an error explained
    return not _LOWER_IS_BETTER.isdisjoint(words)


def comparable(value: object) -> float | str | None:
    """Give a value as a query compares it: a number, text, or nothing.

    Examples
    --------
    >>> comparable(3), comparable(True), comparable([1, "a"]), comparable(float("nan"))
    (3.0, 'true', '[1,"a"]', None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf
        return None if math.isnan(number) else number
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), default=str)


def nanoseconds(time: datetime) -> int:
    """Turn an aware datetime into nanoseconds since the epoch, exactly."""
    since = time - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
