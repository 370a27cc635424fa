"""What a person names, to the value that is meant: a variable, a file, or data of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mlops_nb.display.data import DataDifferenceView, FingerprintView
from mlops_nb.display.environment import LockView
from mlops_nb.display.identity import is_table_file, read_table, stored_fingerprint
from mlops_nb.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.display.view import Place, View
    from mlops_nb.store import Store

Opener: TypeAlias = "Callable[[], Store]"

DATA_ACTIONS = ("fingerprint", "profile", "diff")


def view_data(
    action: str,
    names: tuple[str, ...],
    *,
    namespace: Mapping[str, object] | None = None,
    open_store: Opener,
    place: Place = "notebook",
) -> View:
    """Show the fingerprint or the statistics of a value, or what differs between two.

    Parameters
    ----------
    action
        One of `DATA_ACTIONS`.
    names
        A variable, a ``.csv`` or ``.parquet`` file, or ``RUN:NAME`` for data of a run; two of
        these for ``diff``.
    namespace
        The notebook's variables.
    open_store
        Called for data of a run.

    Raises
    ------
    BadValue
        A name is none of these, or there are too few or too many.
    """
    from mlops_nb.fingerprint import fingerprint
    from mlops_nb.fingerprint.difference import diff_data
    from mlops_nb.model import Fingerprint

    wanted = 2 if action == "diff" else 1
    if len(names) != wanted:
        given = f"got {len(names)} names instead of {wanted}"
        how = "%mlops_data diff A B, %mlops_data profile VAR, %mlops_data fingerprint VAR"
        raise BadValue(f"comparison ({action})", given, f"Write: {how}")
    values = [_value_of(name, namespace or {}, open_store) for name in names]
    if action == "diff":
        found = diff_data(*values, name=names[1])
        return DataDifferenceView(found, (names[0], names[1]), place)
    value = values[0]
    found_one = value if isinstance(value, Fingerprint) else fingerprint(value)
    return FingerprintView(names[0], found_one, is_profile=action == "profile", place=place)


def lock_environment(path: str | None, *, place: Place = "notebook") -> LockView:
    """Write a lock that rebuilds the environment of this process.

    Raises
    ------
    LockFailed
        No tool or no index answers, or the file may not be written.
    """
    from mlops_nb.environment import read_details, read_environment, write_lock

    environment = read_environment()
    content = {**environment.content, "details": read_details(environment)}
    return LockView(write_lock(content, path or "."), place)


def _value_of(name: str, namespace: Mapping[str, object], open_store: Opener) -> object:
    if name in namespace:
        return namespace[name]
    if is_table_file(name):
        path = Path(name).expanduser()
        if path.is_file():
            return read_table(path)
        raise BadValue(f"file {name}", "is not there", "Give the path of one that is")
    if ":" in name:
        with open_store() as store:
            return stored_fingerprint(store, name)
    remedy = "Give a variable, a .csv or .parquet file, or RUN:NAME for data of a run"
    raise BadValue(f"name {name!r}", "is none of those that can be compared", remedy)
