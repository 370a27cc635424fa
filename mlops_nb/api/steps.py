"""The two calls that stand in a step's notebook: what it takes, and what it gives."""

from __future__ import annotations

import sys
from typing import Any


def load_inputs(where: str, *names: str) -> Any:
    """Load the values that a step of a pipeline takes from earlier ones.

    State of the process that those left (generators of chance, options, working folder) is taken
    over as well.

    Parameters
    ----------
    where
        ``PIPELINE/STEP``.
    *names
        Of the values.

    Returns
    -------
    object
        One value for one name, a tuple for several, None for none.

    Raises
    ------
    NoPipelineHere
        Nobody drives the step, and the pipeline's folder is not here.
    CorruptValue, UntrustedValue
        What was stored is damaged, or was written by somebody who is not trusted.

    Examples
    --------
    >>> import mlops_nb
    >>> X, y = mlops_nb.load_inputs("churn/train", "X", "y")  # doctest: +SKIP
    """
    from mlops_nb.pipeline.passing.kernel import load

    namespace = sys._getframe(1).f_globals  # noqa: SLF001  # where the cell runs
    found = load(where, names, namespace)
    if not names:
        return None
    return found[0] if len(names) == 1 else found


def save_outputs(where: str, *names: str) -> None:
    """Save the values that a step of a pipeline gives to later ones.

    Parameters
    ----------
    where
        ``PIPELINE/STEP``.
    *names
        Of the values.

    Raises
    ------
    SplitNotEqual
        The step changed what later steps take from an earlier one, or did anything else that
        would make the pipeline differ from the whole notebook; nothing of it is used.
    CannotStore
        A value belongs to this process.

    Examples
    --------
    >>> import mlops_nb
    >>> mlops_nb.save_outputs("churn/train", "model", "auc")  # doctest: +SKIP
    """
    from mlops_nb.pipeline.passing.kernel import save

    save(where, names, sys._getframe(1).f_globals)  # noqa: SLF001  # where the cell runs


__all__ = ["load_inputs", "save_outputs"]
