"""Logging to the current run by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb import session as sessions
from mlops_nb.api.current import current_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def log(
    data: Mapping[str, object] | None = None, /, *, step: int | None = None, **values: object
) -> None:
    """Log to the current run: numbers as metrics, figures as artifacts, the rest as parameters.

    Parameters
    ----------
    data
        What to log, by name.
    step
        Of the metrics; counts up per name if left out.
    **values
        More of `data`, as keywords.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.log({"loss": 0.3, "optimizer": "adam"}, step=1)  # doctest: +SKIP
    """
    current_session().tracker.log({**(data or {}), **values}, step=step)


def log_metric(key: str, value: float, step: int | None = None) -> None:
    """Log one value of a metric to the current run.

    Parameters
    ----------
    key, value
        Its name and number (NumPy and torch scalars too).
    step
        Counts up per name if left out.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> for loss in (0.9, 0.5, 0.3):  # doctest: +SKIP
    ...     mn.log_metric("loss", loss)
    """
    session = sessions._active or current_session()  # noqa: SLF001  # the hot path: one attribute, no call
    session.tracker.log_metric(key, value, step)


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log several metrics at one step.

    Parameters
    ----------
    metrics
        Numbers by name.
    step
        Counts up per name if left out.
    """
    for key, value in metrics.items():
        log_metric(key, value, step)


def log_param(key: str, value: object) -> None:
    """Log a parameter to the current run; another value is kept as a new version of it.

    Parameters
    ----------
    key, value
        Its name and value; what JSON cannot hold is kept as a short text.
    """
    current_session().tracker.log_param(key, value)


def log_params(params: Mapping[str, object]) -> None:
    """Log several parameters.

    Parameters
    ----------
    params
        Values by name.
    """
    for key, value in params.items():
        log_param(key, value)


def set_tag(key: str, value: str = "true") -> None:
    """Set a tag of the current run.

    Parameters
    ----------
    key, value
        Runs are found by them: ``tag:stage=prod``, or ``tag:stage`` whatever the value.
    """
    current_session().tracker.set_tag(key, value)


def log_artifact(path: str | Path, name: str | None = None, kind: str = "file") -> None:
    """Keep a copy of a file, as it is now, with the current run.

    Parameters
    ----------
    path
        Of the file.
    name
        What it is called in the run; its own name if left out.
    kind
        Its role: ``"model"``, ``"table"``, ``"log"``, …

    Raises
    ------
    ArtifactUnreadable
        There is no such file, or it cannot be read.
    """
    current_session().tracker.log_artifact(path, name=name, kind=kind)


def log_figure(figure: object = None, name: str = "figure") -> None:
    """Keep a matplotlib figure with the current run.

    Parameters
    ----------
    figure
        The current one if left out.
    name
        What it is called in the run.
    """
    current_session().tracker.log_figure(figure, name=name)


def log_table(rows: object, name: str = "table") -> None:
    """Keep a table with the current run.

    Parameters
    ----------
    rows
        A DataFrame or a list of dictionaries.
    name
        What it is called in the run.
    """
    current_session().tracker.log_table(rows, name=name)
