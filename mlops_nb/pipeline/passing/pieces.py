"""A value split into its elements, and what came of them made one value again."""

from __future__ import annotations

import sys
from numbers import Number
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import CannotJoin
from mlops_nb.packaging.digest import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def element_count(value: Any, name: str) -> int:
    """Count the pieces that a value makes.

    Raises
    ------
    CannotJoin
        It has no order or no elements.

    Examples
    --------
    >>> element_count({"a": 1, "b": 2}, "models")
    2
    """
    _slice_of(value, name)
    return len(value)


def element(value: Any, index: int, name: str) -> Any:
    """Return a value of the same type with one element.

    Parameters
    ----------
    index
        From 0.
    name
        What to call the value in a message.

    Raises
    ------
    CannotJoin
        It cannot be taken apart, or has no such element.

    Examples
    --------
    >>> element([10, 20, 30], 1, "seeds"), element({"a": 1, "b": 2}, 0, "models")
    ([20], {'a': 1})
    """
    take = _slice_of(value, name)
    if not 0 <= index < len(value):
        raise CannotJoin(name, f"it has {len(value)} elements, and none at place {index}")
    return take(value, index)


def _slice_of(value: Any, name: str) -> Callable[[Any, int], Any]:
    if type(value) in {list, tuple, range}:
        return lambda whole, index: whole[index : index + 1]
    if type(value) is dict:
        return lambda whole, index: dict([list(whole.items())[index]])
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series):
        return lambda whole, index: whole.iloc[index : index + 1].copy()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.ndim:
        return lambda whole, index: whole[index : index + 1].copy()
    kind = type(value).__qualname__
    raise CannotJoin(name, f"a {kind} cannot be taken apart into elements in an order")


def join(pieces: Sequence[Any], name: str) -> Any:
    """Make one value of what the pieces of a step gave, in their order.

    Parameters
    ----------
    pieces
        At least one.
    name
        Of the value.

    Returns
    -------
    object
        Dicts and sets united; lists, tuples, arrays, series and frames one after the other, rows
        that every piece counts from 0 counted anew; anything else but numbers if all agree.

    Raises
    ------
    CannotJoin
        They are of different kinds, contradict each other, or do not say whether they are parts
        or repetitions.

    Examples
    --------
    >>> join([{"a": 1}, {"b": 2}], "scores"), join([[1], [2, 3]], "rows")
    ({'a': 1, 'b': 2}, [1, 2, 3])
    """
    if len(pieces) == 1:
        return pieces[0]
    kinds = {type(one) for one in pieces}
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__qualname__ for kind in kinds))
        raise CannotJoin(name, f"they are of different types ({names})")
    first = pieces[0]
    if type(first) is dict:
        return _united(pieces, name)
    if type(first) in {set, frozenset}:
        return type(first)().union(*pieces)
    chain = _chain_of(first)
    if chain is None:
        return _agreed(pieces, name)
    _check_parts(pieces, name)
    return chain(pieces, name)


def _united(pieces: Sequence[dict[Any, Any]], name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    given: dict[Any, int] = {}
    for number, piece in enumerate(pieces):
        for key, value in piece.items():
            if key in found and not _is_equal(found[key], value):
                both = f"pieces {given[key]} and {number} differ in {name}[{key!r}]"
                raise CannotJoin(name, both)
            found.setdefault(key, value)
            given.setdefault(key, number)
    return found


def _is_equal(one: Any, other: Any) -> bool:
    left, right = digest_of(one), digest_of(other)
    return bool(left.text) and left == right


def _agreed(pieces: Sequence[Any], name: str) -> Any:
    for number, piece in enumerate(pieces[1:], 1):
        if not _is_equal(pieces[0], piece):
            kind = type(piece).__qualname__
            problem = f"pieces 0 and {number} gave different values of type {kind}"
            raise CannotJoin(name, problem)
    if isinstance(pieces[0], Number) or type(pieces[0]).__name__.startswith("bool"):
        # `len(keys)` is 1 in each piece, and something else in the whole notebook.
        problem = f"all {len(pieces)} gave the same number, which may be one of each piece's own"
        raise CannotJoin(name, problem)
    return pieces[0]


def _check_parts(pieces: Sequence[Any], name: str) -> None:
    """Refuse what every piece gave alike: nobody can tell a constant from equal parts."""
    if len(pieces[0]) and all(_is_equal(pieces[0], one) for one in pieces[1:]):
        problem = (
            f"all {len(pieces)} gave the same {type(pieces[0]).__qualname__}, which may be one "
            "value for all or one part each"
        )
        raise CannotJoin(name, problem)


def _chain_of(value: Any) -> Callable[[Sequence[Any], str], Any] | None:
    if type(value) in {list, tuple}:
        return lambda pieces, _: type(value)(one for piece in pieces for one in piece)
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series):
        return _concatenated
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray and value.ndim:
        return _concatenated_arrays
    return None


def _concatenated_arrays(pieces: Sequence[Any], name: str) -> Any:
    import numpy as np

    shapes = {one.shape[1:] for one in pieces}
    if len(shapes) > 1 or len({one.dtype for one in pieces}) > 1:
        raise CannotJoin(name, "the arrays differ in type, or in shape beyond their first axis")
    return np.concatenate(pieces)


def _concatenated(pieces: Sequence[Any], name: str) -> Any:
    import pandas as pd

    first = pieces[0]
    if isinstance(first, pd.DataFrame):
        if any(not one.columns.equals(first.columns) for one in pieces):
            raise CannotJoin(name, "the frames have different columns")
    elif any(one.name != first.name for one in pieces):
        raise CannotJoin(name, "the series have different names")
    counted = all(
        type(one.index) is pd.RangeIndex
        and (one.index.start, one.index.step, one.index.name) == (0, 1, None)
        for one in pieces
    )
    # Rows that each piece counts from 0 are those of a frame that was made at once.
    return pd.concat(list(pieces), ignore_index=counted)


__all__ = ["element", "element_count", "join"]
