"""Fingerprints: the identity of a value's content.

The library of a value is found by the module names of its classes, and its handler is loaded
when the first such value is seen: no library is imported here that the user has not, except
that Polars hands its columns over by way of pyarrow.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from mlops_nb.errors import CannotFingerprint
from mlops_nb.fingerprint.plain import class_module, class_mro, class_path
from mlops_nb.fingerprint.scheme import (
    FAILURES,
    OpaqueValueError,
    OverBudgetError,
    Pass,
    schema_digest,
)
from mlops_nb.model import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from mlops_nb.fingerprint.plain import Encoder

__all__ = ["fingerprint", "foreign_encoder", "load_registered", "read_value"]

_HANDLERS = {
    "builtins": "mlops_nb.fingerprint.plain",
    "numpy": "mlops_nb.fingerprint.numpy_values",
    "pandas": "mlops_nb.fingerprint.pandas_values",
    "polars": "mlops_nb.fingerprint.polars_values",
    "pyarrow": "mlops_nb.fingerprint.arrow_values",
    "scipy": "mlops_nb.fingerprint.scipy_values",
    "sklearn": "mlops_nb.fingerprint.sklearn_values",
    "lightgbm": "mlops_nb.fingerprint.lightgbm_values",
    "torch": "mlops_nb.fingerprint.torch_values",
    "xgboost": "mlops_nb.fingerprint.xgboost_values",
}
_ENTRY_POINT_GROUP = "mlops_nb.fingerprints"


def fingerprint(
    value: object, *, strict: bool = False, budget_bytes: int | None = None
) -> Fingerprint:
    """Identify a value by its content.

    Equal content has equal digests in any process and on any machine, whatever the memory looks
    like. No code of an unknown object is run: such a value is ``opaque``, as is one that holds
    one.

    Parameters
    ----------
    value
        A frame, series, index, array or scalar of pandas, with any of its dtypes; a frame or
        series of Polars; a table, record batch or array of pyarrow; an array or scalar of
        NumPy, structured, masked, strided or mapped from a file; a sparse matrix or array of
        SciPy. An estimator, pipeline, splitter or scorer of scikit-learn, fitted or not; a
        model or data set of XGBoost or LightGBM; a tensor, module, optimizer or generator of
        torch. A number, text, bytes or None; a list, tuple, dict, set or range, also one that
        holds itself; a date, time or zone, decimal, fraction, path, UUID, pattern or slice; an
        enumeration, named tuple, dataclass or simple namespace; a counter, deque, ordered or
        defaulting dict; a partial, a function of a known library, a `random.Random`. Anything
        else is opaque, and so is what holds it: a function or class of your own, a generator, a
        lock, an open file.
    strict
        Whether to raise for a value that cannot be read completely.
    budget_bytes
        A value with more bytes than this is not read: ``skipped:budget``, with its schema.

    Returns
    -------
    Fingerprint
        With an empty digest unless its assurance is ``exact``.

    Raises
    ------
    CannotFingerprint
        With `strict`, for an opaque value.

    Examples
    --------
    >>> fingerprint([1, "a"]) == fingerprint([1, "a"])
    False
    >>> fingerprint([1, "a"]).digest == fingerprint([1, "a"]).digest
    True
    >>> fingerprint([object()]).assurance
    'opaque'
    """
    started = time.thread_time_ns()
    tracker = Pass(budget_bytes)
    inner = ""
    try:
        found = read_value(value, tracker)
    except OverBudgetError:
        found = Fingerprint(_kind(value), "", schema_digest(_kind(value), ()), "skipped:budget")
    except FAILURES as error:
        found = Fingerprint(_kind(value), "", assurance="opaque")
        inner = str(error) if isinstance(error, OpaqueValueError) else ""
    if strict and found.assurance == "opaque":
        raise CannotFingerprint(f"{found.kind} that holds a {inner}" if inner else found.kind)
    cost_ns = time.thread_time_ns() - started
    return replace(found, size_bytes=tracker.size_bytes, cost_ns=cost_ns)


def read_value(value: object, tracker: Pass) -> Fingerprint:
    """Read a value with the handler of its library.

    Raises
    ------
    OpaqueValueError
        There is no handler, or it knows nothing of the value.
    OverBudgetError
        The handler could not say anything about a value over the budget.
    """
    cls = type(value)
    found: Fingerprint = _handler(cls).read(value, cls, tracker)
    return found


def foreign_encoder(cls: type) -> Callable[[Encoder, object], bytes]:
    """Find how a library's values are encoded inside a plain container.

    Raises
    ------
    OpaqueValueError
        No library is known for the class.
    """
    handler = _handler(cls)
    if handler is _plain():
        raise OpaqueValueError(class_path(cls))
    encode = handler.encode
    return lambda encoder, value: encode(value, cls, encoder.tracker)


def is_handled(library: str) -> bool:
    """Tell whether there is a handler for the values of a library."""
    return library in _HANDLERS


def load_registered() -> list[str]:
    """Register the handlers that other packages bring, by the group ``mlops_nb.fingerprints``.

    It reads the metadata of every installed package, so it is not for a user's cell.

    Returns
    -------
    list of str
        The libraries now known.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group=_ENTRY_POINT_GROUP):
        _HANDLERS.setdefault(point.name, point.value)
    return sorted(_HANDLERS)


def _handler(cls: type) -> ModuleType:
    for base in class_mro(cls):
        library = class_module(base).partition(".")[0]
        # A class can claim any module: only what the user has loaded is believed.
        if library != "builtins" and library in _HANDLERS and library in sys.modules:
            return import_module(_HANDLERS[library])
    return _plain()


def _plain() -> ModuleType:
    return import_module(_HANDLERS["builtins"])


def _kind(value: object) -> str:
    return class_path(type(value))
