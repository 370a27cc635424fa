"""The two ends of a step, inside its own process: values come in, values go out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import SplitNotEqual
from mlops_nb.errors.values import CannotJoin, PickleRefused, SecretCrosses, ValueMissing
from mlops_nb.model.pipelines import StepResult
from mlops_nb.packaging.code import own_names
from mlops_nb.packaging.digest import digest_of
from mlops_nb.packaging.unit import is_pickled, pack, unpack
from mlops_nb.pipeline.passing.finding import Found, find_task
from mlops_nb.pipeline.passing.guards import Snapshot, changed_states, facts_of
from mlops_nb.pipeline.passing.pieces import element, element_count, join
from mlops_nb.pipeline.passing.state import (
    STATES,
    is_state,
    read_state,
    start_here,
    write_state,
)
from mlops_nb.pipeline.passing.task import RESULT_FILE, write_result
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.model.pipelines import Packed, StepTask


@record
class _Open:
    """A step between its two ends."""

    found: Found
    snapshot: Snapshot


_open: dict[str, _Open] = {}
"""Steps of this process, by ``PIPELINE/STEP``."""


def load(where: str, names: Sequence[str], namespace: dict[str, Any]) -> tuple[object, ...]:
    """Load what a step takes, take over state, and note what must not change.

    Parameters
    ----------
    where
        ``PIPELINE/STEP``.
    names
        Of the values, in the order in which they are returned.
    namespace
        Of the notebook. Nothing is bound in it, but the one element of a value of the prelude or
        of the parameters over which the step is fanned out.
    """
    found = find_task(where)
    task, start = found.task, start_here()
    prelude = _prelude_digests(task, namespace)
    values = _load_all(found, namespace)
    missing = [name for name in names if name not in values]
    if missing:
        problem = "no step gives it to this one by the pipeline's plan"
        remedy = "Convert the notebook again, or add it to the inputs in pipeline.yaml."
        raise ValueMissing(task.step, missing[0], problem, remedy)
    _take_piece(task, values, namespace)
    taken = {name: values[name] for name in task.state_in if name in values}
    for name, value in taken.items():
        write_state(name, value, start)
    states = {name: read_state(name, start) for name in STATES}
    watched = _watched(task, values, namespace, prelude)
    _open[where] = _Open(found, Snapshot(start, states, watched, prelude, taken))
    return tuple(values[name] for name in names)


def save(where: str, names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Save what a step gives, unless it did what the plan does not allow for.

    Raises
    ------
    SplitNotEqual
        It did; ``result.json`` says what, and holds no values.
    """
    opened = _open.get(where)
    if opened is None:
        load(where, (), namespace)
        opened = _open[where]
    task, snapshot = opened.found.task, opened.snapshot
    # Before anything of ours runs that might draw.
    changed = changed_states(snapshot.states, snapshot.start)
    _check_names(task, names, namespace)
    facts = facts_of(task, snapshot, namespace, changed)
    folder = Path(task.folder) if opened.found.is_driven else _aside(Path(task.folder))
    units: tuple[Packed, ...] = ()
    if not facts:
        units = _pack_all(task, snapshot, namespace, folder)
    folder.mkdir(parents=True, exist_ok=True)
    result = StepResult(units, facts, snapshot.prelude, tuple(changed))
    write_result(folder / RESULT_FILE, result)
    if not opened.found.is_driven:
        _replace(Path(task.folder), folder)
    if facts:
        raise SplitNotEqual(task.step, tuple(fact.text for fact in facts))


# --- loading ----------------------------------------------------------------------------------


def _load_all(found: Found, namespace: dict[str, Any]) -> dict[str, Any]:
    """Load each folder once; names that have several folders are joined."""
    task = found.task
    _check_pickles(task)
    loaded: dict[str, dict[str, object]] = {}
    for folders in task.inputs.values():
        for folder in folders:
            if folder not in loaded:
                step = found.sources.get(folder, "")
                unit = task.units[folder]
                loaded[folder] = unpack(unit, Path(folder), namespace=namespace, step=step)
    values: dict[str, Any] = {}
    for name, folders in task.inputs.items():
        if len(folders) > 1:
            _check_apart(name, [task.units[folder] for folder in folders])
        values[name] = join([loaded[folder][name] for folder in folders], name)
    return values


def _may_pickle(task: StepTask) -> bool:
    from mlops_nb.config import load_settings

    return task.may_pickle and load_settings().pickle == "allow"


def _check_pickles(task: StepTask) -> None:
    for unit in task.units.values():
        if is_pickled(unit) and not _may_pickle(task):
            raise PickleRefused(", ".join(unit.names), unit.format, "an earlier run stored it so")


def _check_apart(name: str, units: Sequence[Packed]) -> None:
    """Refuse to join values that share an object with others: the whole would share it, too."""
    for unit in units:
        if unit.format == "pickle" and len(unit.names) > 1:
            others = ", ".join(other for other in unit.names if other != name)
            raise CannotJoin(name, f"each shares an object with {others}")


def _take_piece(task: StepTask, values: dict[str, Any], namespace: dict[str, Any]) -> None:
    if task.piece is None:
        return
    name, index, count = (task.piece[key] for key in ("name", "index", "count"))
    held = values if name in values else namespace
    if name not in held:
        remedy = "Bind it in the parameters, the first cells or an earlier step."
        raise ValueMissing(task.step, name, "the step is fanned out over it", remedy)
    found = element_count(held[name], name)
    if found != count:
        raise CannotJoin(name, f"it has {found} elements here, and {count} where it was counted")
    held[name] = element(held[name], index, name)


def _prelude_digests(task: StepTask, namespace: Mapping[str, object]) -> dict[str, str]:
    piece = (task.piece or {}).get("name")
    left_out = {*task.definitions, *task.inputs, *task.secrets, piece}
    digests = {
        name: digest_of(namespace[name], namespace=namespace).text
        for name in own_names(namespace)
        if name not in left_out
    }
    return {name: digest for name, digest in digests.items() if digest}


def _watched(
    task: StepTask,
    values: Mapping[str, object],
    namespace: Mapping[str, object],
    prelude: Mapping[str, str],
) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name in task.watched:
        if name in values:
            found[name] = (values[name], _known_digest(task, name, values[name], namespace))
        elif name in namespace:
            value = namespace[name]
            digest = prelude.get(name) or digest_of(value, namespace=namespace).text
            found[name] = (value, digest)
    return found


def _known_digest(
    task: StepTask, name: str, value: object, namespace: Mapping[str, object]
) -> str:
    """Return the digest that a value was stored with, if it is the value's own for certain."""
    folders = task.inputs[name]
    is_piece = task.piece is not None and task.piece["name"] == name
    if len(folders) == 1 and not is_piece:
        unit = task.units[folders[0]]
        if unit.format in _ROUND_TRIPPED and name in unit.digests:
            return unit.digests[name]
    return digest_of(value, namespace=namespace).text


# Written only if what comes back is the same: its digest is known without another look.
_ROUND_TRIPPED = frozenset({"json", "parquet", "npy", "npz", "arrow", "skops", "torch"})


# --- saving -----------------------------------------------------------------------------------


def _check_names(task: StepTask, names: Sequence[str], namespace: Mapping[str, object]) -> None:
    planned = {name for unit in task.outputs for name in unit}
    unknown = [name for name in names if name not in planned and not is_state(name)]
    if unknown:
        problem = "no later step takes it by the pipeline's plan"
        raise ValueMissing(task.step, unknown[0], problem, "Convert the notebook again.")
    for name in sorted(planned):
        if name not in namespace:
            problem = "it is not bound at the end of the step, and later steps need it"
            remedy = "Bind it on every way through the step, or leave it out of the later ones."
            raise ValueMissing(task.step, name, problem, remedy)
        if name in task.secrets or _is_secret(name, namespace[name]):
            raise SecretCrosses(task.step, name)


_MOST_LOOKED_AT = 1_000


def _is_secret(name: str, value: Any) -> bool:
    """Tell whether a text, or one in a small dict, is a secret by its name or its form."""
    from mlops_nb.redact import redact_named

    if isinstance(value, str):
        return redact_named(name, value) != value
    if type(value) is dict and len(value) <= _MOST_LOOKED_AT:
        return any(
            type(key) is str
            and (isinstance(one, str) or type(one) is dict)
            and one is not value
            and _is_secret(key, one)
            for key, one in value.items()
        )
    return False


def _pack_all(
    task: StepTask, snapshot: Snapshot, namespace: Mapping[str, object], folder: Path
) -> tuple[Packed, ...]:
    units: list[dict[str, object]] = [
        {name: namespace[name] for name in unit} for unit in task.outputs
    ]
    units += [{name: _state_to_save(task, name, snapshot)} for name in task.state_out]
    return tuple(
        pack(
            values,
            folder / str(number),
            namespace=namespace,
            definitions=task.definitions,
            may_pickle=_may_pickle(task),
        )
        for number, values in enumerate(units)
    )


def _state_to_save(task: StepTask, name: str, snapshot: Snapshot) -> Any:
    value = read_state(name, snapshot.start)
    if name != "<environ>":
        return value
    # Who takes it over takes over what came before, too, as it is now.
    earlier = {variable: os.environ.get(variable) for variable in snapshot.taken.get(name, {})}
    value = {**earlier, **value}
    for variable, text in value.items():
        if text is not None and _is_secret(variable, text):
            raise SecretCrosses(task.step, f'os.environ["{variable}"]')
    return value


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{os.getpid()}")


def _replace(folder: Path, made: Path) -> None:
    """Put a whole folder in the place of an older one."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        if folder.exists():
            folder.rename(old)
        made.rename(folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)


__all__ = ["load", "save"]
