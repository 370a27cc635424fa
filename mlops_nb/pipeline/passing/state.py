"""State of the process that one step leaves and a later one relies on.

Generators of chance are taken over exactly. Of settings, what differs from the library's own; of
the environment, what changed since the step began; folders as seen from where the step began, so
that the pipeline may lie anywhere.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STATES = (
    "<rng:random>",
    "<rng:numpy>",
    "<rng:torch>",
    "<options:pandas>",
    "<options:numpy>",
    "<options:matplotlib>",
    "<environ>",
    "<cwd>",
    "<sys.path>",
    "<warnings>",
)
"""All that is known, by name."""

GUARDED = frozenset({"<rng:random>", "<rng:numpy>", "<rng:torch>", "<cwd>"})
"""State that nothing but the code of a step changes: libraries set their options when imported."""


def is_state(name: str) -> bool:
    """Tell whether a name stands for state of the process.

    Examples
    --------
    >>> is_state("<rng:numpy>"), is_state("model")
    (True, False)
    """
    return name.startswith("<")


@record
class Start:
    """What a process was like when its step began.

    Attributes
    ----------
    folder
        The current one.
    variables
        Of the environment.
    path
        Of imports.
    """

    folder: str
    variables: Mapping[str, str]
    path: tuple[str, ...]


def start_here() -> Start:
    """Take note of where this process is."""
    return Start(os.getcwd(), dict(os.environ), tuple(map(str, sys.path)))  # noqa: PTH109


def read_state(name: str, start: Start) -> Any:
    """Return state as a value; None if the library it belongs to is not loaded."""
    return _KINDS[name][0](start)


def write_state(name: str, value: Any, start: Start) -> None:
    """Take over state that `read_state` gave, maybe in another process."""
    _KINDS[name][1](value, start)


def untouched(name: str) -> Any:
    """Say what state is like when its library has just been imported; None if that is unknown."""
    return _FRESH.get(name, lambda: None)()


# --- generators -------------------------------------------------------------------------------


def _read_random(_: Start) -> Any:
    return random.getstate()


def _write_random(value: Any, _: Start) -> None:
    random.setstate(value)


def _read_numpy(_: Start) -> Any:
    numpy_random = sys.modules.get("numpy.random")
    return None if numpy_random is None else _without_arrays(numpy_random.get_state(legacy=False))


def _write_numpy(value: Any, _: Start) -> None:
    numpy_random = import_module("numpy.random")
    state = _with_arrays(value)
    current = numpy_random.get_state(legacy=False)
    if current["bit_generator"] != state["bit_generator"]:
        kind = getattr(numpy_random, state["bit_generator"])
        numpy_random.set_bit_generator(kind())
    numpy_random.set_state(state)


def _without_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_arrays(one) for key, one in value.items()}
    if type(value).__name__ == "ndarray":
        return {"dtype": value.dtype.str, "values": value.tolist()}
    return value.item() if hasattr(value, "item") else value


def _with_arrays(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {"dtype", "values"}:
        from numpy import array

        return array(value["values"], value["dtype"])
    return {key: _with_arrays(one) for key, one in value.items()}


def _fresh_numpy() -> Any:
    """Return the state if it is that of a generator that nobody has seeded or drawn from."""
    numpy_random = sys.modules["numpy.random"]
    generator = getattr(numpy_random.mtrand, "_rand", None)
    source = getattr(generator, "_bit_generator", None)
    state = numpy_random.get_state(legacy=False)
    is_seeded = getattr(source, "_seed_seq", None) is None
    drawn = state["state"].get("pos") != 623 or state["has_gauss"]  # noqa: PLR2004  # where it begins
    return None if is_seeded or drawn else _without_arrays(state)


def _read_torch(_: Start) -> Any:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return None
    states = {"cpu": bytes(torch.get_rng_state().numpy())}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for place, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{place}"] = bytes(state.numpy())
    return states


def _write_torch(value: Any, _: Start) -> None:
    import torch

    for device, state in value.items():
        tensor = torch.frombuffer(bytearray(state), dtype=torch.uint8)
        if device == "cpu":
            torch.set_rng_state(tensor)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(tensor, device)


def _fresh_torch() -> Any:
    """Return the state if nobody has drawn, and the seed is too long for a person's."""
    import torch

    seed = torch.initial_seed()
    fresh = torch.Generator().manual_seed(seed).get_state()
    return {"cpu": bytes(fresh.numpy())} if seed >= _LONGEST_CHOSEN else None


_LONGEST_CHOSEN = 1 << 53


# --- options ----------------------------------------------------------------------------------


def _read_pandas(_: Start) -> Any:
    config: Any = sys.modules.get("pandas._config.config")
    if config is None:
        return None
    found = {}
    for key, option in config._registered_options.items():  # noqa: SLF001  # the only list of defaults
        if key in config._deprecated_options:  # noqa: SLF001
            continue
        value = config.get_option(key)
        if value is not option.defval and value != option.defval:
            found[key] = value
    return found


def _write_pandas(value: Any, start: Start) -> None:
    import pandas as pd

    for key in set(_read_pandas(start) or {}) - set(value):
        pd.reset_option(key)
    for key, one in value.items():
        pd.set_option(key, one)


def _read_numpy_options(_: Start) -> Any:
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "get_printoptions"):
        return None
    return {
        "print": dict(numpy.get_printoptions()),
        "errors": dict(numpy.geterr()),
        "buffer": numpy.getbufsize(),
        "call": numpy.geterrcall(),
    }


def _write_numpy_options(value: Any, _: Start) -> None:
    import numpy as np

    np.set_printoptions(**value["print"])
    np.seterr(**value["errors"])
    np.setbufsize(value["buffer"])
    np.seterrcall(value["call"])


def _read_matplotlib(_: Start) -> Any:
    matplotlib: Any = sys.modules.get("matplotlib")
    if matplotlib is None or not hasattr(matplotlib, "rcParams"):
        return None
    defaults = matplotlib.rcParamsDefault
    # Not by the usual look-up: that of the backend would choose one.
    current = {key: dict.__getitem__(matplotlib.rcParams, key) for key in matplotlib.rcParams}
    return {
        key: value
        for key, value in current.items()
        if not key.startswith("backend") and value != dict.__getitem__(defaults, key)
    }


def _write_matplotlib(value: Any, start: Start) -> None:
    import matplotlib as mpl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in set(_read_matplotlib(start) or {}) - set(value):
            mpl.rcParams[key] = mpl.rcParamsDefault[key]
        mpl.rcParams.update(value)


# --- places -----------------------------------------------------------------------------------

# Of the front end and of ourselves: they tell nothing about what a step did.
_NOT_A_STEPS = frozenset(
    {"PWD", "OLDPWD", "SHLVL", "_", "COLUMNS", "LINES", "JPY_PARENT_PID", "PYDEVD_USE_FRAME_EVAL"}
)
_OURS = "MLOPS_NB_"


def _read_environ(start: Start) -> Any:
    before, now = start.variables, dict(os.environ)
    return {
        name: now.get(name)
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
        and name not in _NOT_A_STEPS
        and not name.startswith(_OURS)
    }


def _write_environ(value: Any, _: Start) -> None:
    for name, one in value.items():
        if one is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = one


def _read_folder(start: Start) -> Any:
    return _from(start, os.getcwd())  # noqa: PTH109


def _write_folder(value: Any, start: Start) -> None:
    os.chdir(_to(start, value))


def _from(start: Start, path: str) -> list[str]:
    if Path(path).is_absolute() and Path(path).is_relative_to(start.folder):
        return ["below", Path(path).relative_to(start.folder).as_posix()]
    return ["path", path]


def _to(start: Start, value: list[str]) -> str:
    kind, path = value
    return str(Path(start.folder, path)) if kind == "below" else path


def _read_path(start: Start) -> Any:
    places = {path: place for place, path in reversed(list(enumerate(start.path)))}
    return [
        ["base", places[path]] if path in places else _from(start, path)
        for path in map(str, sys.path)
    ]


def _write_path(value: Any, start: Start) -> None:
    base = start.path
    found = [
        (base[one[1]] if one[1] < len(base) else None) if one[0] == "base" else _to(start, one)
        for one in value
    ]
    sys.path[:] = [path for path in found if path is not None]


def _read_warnings(_: Start) -> Any:
    return [
        (action, _pattern(message), category, _pattern(module), line)
        for action, message, category, module, line in warnings.filters
    ]


def _pattern(pattern: Any) -> Any:
    return (
        pattern
        if pattern is None or isinstance(pattern, str)
        else (pattern.pattern, pattern.flags)
    )


def _write_warnings(value: Any, _: Start) -> None:
    import re

    def compiled(one: Any) -> Any:
        return re.compile(*one) if isinstance(one, tuple) else one

    warnings.filters[:] = [  # type: ignore[index]
        (action, compiled(message), category, compiled(module), line)
        for action, message, category, module, line in value
    ]
    warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001  # or they are not looked at again


_KINDS: dict[str, tuple[Callable[[Start], Any], Callable[[Any, Start], None]]] = {
    "<rng:random>": (_read_random, _write_random),
    "<rng:numpy>": (_read_numpy, _write_numpy),
    "<rng:torch>": (_read_torch, _write_torch),
    "<options:pandas>": (_read_pandas, _write_pandas),
    "<options:numpy>": (_read_numpy_options, _write_numpy_options),
    "<options:matplotlib>": (_read_matplotlib, _write_matplotlib),
    "<environ>": (_read_environ, _write_environ),
    "<cwd>": (_read_folder, _write_folder),
    "<sys.path>": (_read_path, _write_path),
    "<warnings>": (_read_warnings, _write_warnings),
}
_FRESH: dict[str, Callable[[], Any]] = {
    "<rng:numpy>": _fresh_numpy,
    "<rng:torch>": _fresh_torch,
    "<options:pandas>": dict,
    "<options:matplotlib>": dict,
}

__all__ = [
    "GUARDED",
    "STATES",
    "Start",
    "is_state",
    "read_state",
    "start_here",
    "untouched",
    "write_state",
]
