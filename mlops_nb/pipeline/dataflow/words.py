"""What people read for state of the process."""

from __future__ import annotations

_STATE_WORDS = {
    "<cwd>": "the working folder",
    "<environ>": "the environment variables",
    "<sys.path>": "the search path of modules",
    "<warnings>": "the filters of warnings",
}


def words_of(name: str) -> str:
    """Say what a name stands for."""
    if name in _STATE_WORDS:
        return _STATE_WORDS[name]
    if name.startswith("<rng:"):
        return f"the random numbers of {name[5:-1]}"
    if name.startswith("<options:"):
        return f"the options of {name[9:-1]}"
    if name.startswith("<module:"):
        return f"the state of {name[8:-1]}"
    return "the last result" if name == "_" else name
