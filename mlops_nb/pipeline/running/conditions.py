"""Conditions of steps (``when:``), judged by what is known of a run, and said in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.expressions.conditions import coordinates, holds, parse_condition

if TYPE_CHECKING:
    from collections.abc import Mapping


def judged(
    text: str, metrics: Mapping[str, float], params: Mapping[str, object]
) -> tuple[bool, str]:
    """Say whether a step may run, and what its condition was about.

    Parameters
    ----------
    text
        As ``metrics.auc > live.auc``.
    metrics
        Of the steps above.
    params
        Of the pipeline.

    Returns
    -------
    holds, sentence
        The sentence names every value that was looked at.

    Raises
    ------
    BadQuery
        The text is no condition.

    Examples
    --------
    >>> judged("metrics.auc > 0.9", {"auc": 0.8}, {})
    (False, 'when: metrics.auc > 0.9 is false (metrics.auc = 0.8)')
    """
    condition = parse_condition(text)
    values: dict[str, Mapping[str, object]] = {"metrics": metrics, "params": params, "live": {}}
    is_so = holds(condition, values)
    looked_at = [
        _said(str(one), values[one.space].get(one.name), one.space)
        for one in coordinates(condition)
    ]
    told = f" ({'; '.join(looked_at)})" if looked_at else ""
    return is_so, f"when: {text} is {'true' if is_so else 'false'}{told}"


def _said(name: str, value: object, space: str) -> str:
    if value is not None:
        return f"{name} = {value!r}"
    if space == "live":
        return f"{name}: there is no live model yet"
    return f"{name} is not there"
