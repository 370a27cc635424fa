"""Which fit does a value come from? The rules by which a metric finds its run.

The first rule that yields exactly one fit generation wins: ``object``, ``view``, ``content``,
``dataflow``, ``recent``, ``current``. Nothing here keeps a user's value alive: values are known
by identity, with a weak reference that tells when the identity is free again.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mlops_nb.model import Binding
    from mlops_nb.tracking.fits import FitGeneration

CONTENT_LIMIT = 1_000_000
"""Elements up to which predictions are compared by content."""

_KNOWN_CONTENTS = 2_000
_VIEWS_CHECKED = 100


@record
class Bound:
    """Where a metric belongs.

    Attributes
    ----------
    rule
        The rule that decided.
    generations
        One; two or more for a ``relation``; none for ``current`` without a fit.
    """

    rule: Binding
    generations: tuple[FitGeneration, ...]


class Provenance:
    """Remembers, weakly, which values come from which fit generation."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[object], FitGeneration, bool]] = {}
        self._contents: OrderedDict[tuple[int, str], dict[int, FitGeneration]] = OrderedDict()

    def add_estimator(self, estimator: object, generation: FitGeneration) -> None:
        """An estimator, or a part of one, now carries this generation."""
        self._remember(estimator, generation)

    def add_prediction(
        self, value: object, generation: FitGeneration, *, on_training_data: bool = False
    ) -> None:
        """A tracked prediction returned `value` (a tuple: each of its elements)."""
        for part in value if isinstance(value, tuple) else (value,):
            self._remember(part, generation, on_training_data=on_training_data)
            owner = _memory_owner(part)
            if owner is not None and owner is not part:
                self._remember(owner, generation, on_training_data=on_training_data)
            key = _content_key(part)
            if key is not None:
                self._contents.setdefault(key, {})[id(generation)] = generation
                self._contents.move_to_end(key)
        while len(self._contents) > _KNOWN_CONTENTS:
            self._contents.popitem(last=False)

    def generation_of(self, value: object) -> FitGeneration | None:
        """The generation that `value` itself carries."""
        entry = self._by_id.get(id(value))
        return None if entry is None or entry[0]() is not value else entry[1]

    def is_on_training_data(self, value: object) -> bool:
        """Whether `value`, or what it is a view of, was predicted on the training data."""
        for ancestor in (value, *_ancestors(value)):
            entry = self._by_id.get(id(ancestor))
            if entry is not None and entry[0]() is ancestor:
                return entry[2]
        return False

    def bind(self, values: Sequence[object], truths: Sequence[object]) -> Bound | None:
        """Apply the rules that look at the arguments: ``object``, ``view``, ``content``.

        Parameters
        ----------
        values
            All arguments of the metric.
        truths
            Those among them that hold the true answer: equal content proves nothing for them
            while another argument can be told.
        """
        guesses = [value for value in values if not any(value is truth for truth in truths)]
        rules: tuple[tuple[Binding, Callable[[object], set[FitGeneration]], Sequence[object]], ...]
        rules = (
            ("object", self._by_object, values),
            ("view", self._by_view, values),
            ("content", self._by_content, guesses),
        )
        for rule, look, candidates in rules:
            found = _decide(rule, [look(value) for value in candidates])
            if found is not None:
                return found
        return None

    def bind_names(self, levels: Iterable[Iterable[object]]) -> Bound | None:
        """Apply ``dataflow``: values reachable from the calling statement, nearest level first."""
        for values in levels:
            found = {g for value in values if (g := self.generation_of(value)) is not None}
            if len(found) == 1:
                return Bound("dataflow", tuple(found))
            if found:
                return None
        return None

    def _remember(
        self, value: object, generation: FitGeneration, *, on_training_data: bool = False
    ) -> None:
        key = id(value)
        try:
            reference = weakref.ref(value, lambda _, key=key: self._by_id.pop(key, None))  # type: ignore[misc]
        except TypeError:
            return
        self._by_id[key] = (reference, generation, on_training_data)

    def _by_object(self, value: object) -> set[FitGeneration]:
        generation = self.generation_of(value)
        return set() if generation is None else {generation}

    def _by_view(self, value: object) -> set[FitGeneration]:
        if _memory_owner(value) is None:
            return set()
        for ancestor in _ancestors(value):
            generation = self.generation_of(ancestor)
            if generation is not None:
                return {generation}
        return self._sharing_memory(value)

    def _sharing_memory(self, value: object) -> set[FitGeneration]:
        import numpy as np

        array = _as_array(value)
        if array is None or not array.size:
            return set()
        found: set[FitGeneration] = set()
        for reference, generation, _ in list(self._by_id.values())[-_VIEWS_CHECKED:]:
            known = _as_array(reference())
            if known is not None and np.may_share_memory(known, array):
                found.add(generation)
        return found

    def _by_content(self, value: object) -> set[FitGeneration]:
        key = _content_key(value)
        return set() if key is None else set(self._contents.get(key, {}).values())


def _decide(rule: Binding, found: list[set[FitGeneration]]) -> Bound | None:
    every = set().union(*found)
    if len(every) == 1:
        return Bound(rule, tuple(every))
    singles = [next(iter(one)) for one in found if len(one) == 1]
    if len({id(single) for single in singles}) > 1:
        return Bound("relation", tuple(dict.fromkeys(singles)))
    return None


def _type_root(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _as_array(value: object) -> Any:
    """The NumPy array behind a NumPy or pandas value, without copying; None for others."""
    root = _type_root(value)
    if root == "numpy" and hasattr(value, "__array_interface__"):
        return value
    if root == "pandas":
        held = getattr(value, "values", None)
        return held if _type_root(held) == "numpy" and hasattr(held, "base") else None
    return None


def _memory_owner(value: object) -> object | None:
    """The array that owns the memory of `value`, itself included; None for other types."""
    array = _as_array(value)
    if array is None:
        return None
    *_, last = _ancestors(array)
    return last


def _ancestors(value: object) -> Iterator[object]:
    array = _as_array(value)
    while array is not None:
        yield array
        array = getattr(array, "base", None)


def _content_key(value: object) -> tuple[int, str] | None:
    """Size and digest of the flat content, so that equal lists, Series and arrays meet."""
    root = _type_root(value)
    if not (isinstance(value, list | tuple) or root in {"numpy", "pandas", "polars"}):
        return None
    import numpy as np
    import xxhash

    if isinstance(value, list | tuple) and len(value) > CONTENT_LIMIT:
        return None
    try:
        array = np.asarray(value).ravel()
    except (ValueError, TypeError):
        return None
    if not 0 < array.size <= CONTENT_LIMIT or array.dtype.kind not in "biufUSO":
        return None
    if array.dtype.kind in "biuf":
        data = np.ascontiguousarray(array, dtype=np.float64).tobytes()
    elif array.dtype.kind == "O" and not all(type(item) in {str, bool, int} for item in array):
        return None
    else:
        data = "\0".join(map(str, array.tolist())).encode()
    return array.size, xxhash.xxh3_128_hexdigest(data)
