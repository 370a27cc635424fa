"""Whether results of a step may be used again: its key, what it is made of, and why it differs.

`key_of` digests what a step's results are made from, as far as that can be known before it runs.
`seen_in` says what a run has shown that it read besides; that is kept with its results, and
`find_hit` finds results under a key for which all that is still so. `explain` says in sentences
why there are none, or which they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.pipeline.caching.explaining import explain, nearest_to
    from mlops_nb.pipeline.caching.finding import find_hit, reasons_against
    from mlops_nb.pipeline.caching.keys import key_of
    from mlops_nb.pipeline.caching.seen import seen_in

__all__ = ["explain", "find_hit", "key_of", "nearest_to", "reasons_against", "seen_in"]

_HOMES = {
    "explain": "explaining",
    "find_hit": "finding",
    "key_of": "keys",
    "nearest_to": "explaining",
    "reasons_against": "finding",
    "seen_in": "seen",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
