"""What a person names, to the value that is meant: a variable, a file, or data of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mlops_nb.display.data import MOST_COLUMNS, DataDifferenceView, FingerprintView
from mlops_nb.display.environment import LockView
from mlops_nb.display.identity import is_table_file, read_table, stored_fingerprint
from mlops_nb.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.display.view import Place, View
    from mlops_nb.environment.lock import LockKind
    from mlops_nb.model import Environment
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
    from mlops_nb.fingerprint.distinct import count_distinct
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
    found_one = value if type(value) is Fingerprint else fingerprint(value)
    if action == "fingerprint":
        return FingerprintView(names[0], found_one, place=place)
    shown = list(found_one.columns)[:MOST_COLUMNS]
    distinct = count_distinct(value, found_one, shown)
    return FingerprintView(names[0], found_one, is_profile=True, place=place, distinct=distinct)


def lock_environment(
    environment: Environment | None,
    output: str | Path | None = None,
    *,
    kind: LockKind | None = None,
    offline: bool = False,
    all_packages: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[str], None] | None = None,
    place: Place = "notebook",
) -> LockView:
    """Write a lock that rebuilds an environment.

    Parameters
    ----------
    environment
        With its details; that of this process if None.
    output
        The file, or a folder for one with the usual name; this folder if left out.
    kind
        ``"pylock"`` or ``"requirements"``; that which the file's name says if left out.
    offline, all_packages, overwrite, on_progress
        As for `write_lock`.

    Raises
    ------
    LockFailed
        No tool or no index answers, or the file may not be written.
    """
    from mlops_nb.environment import read_details, read_environment, write_lock

    if environment is None:
        here = read_environment()
        environment = replace(here, content={**here.content, "details": read_details(here)})
    path = Path(output or ".").expanduser()
    named: LockKind = "requirements" if path.suffix == ".txt" else "pylock"
    result = write_lock(
        environment.content,
        path,
        kind=kind or named,
        offline=offline,
        all_packages=all_packages,
        overwrite=overwrite,
        on_progress=on_progress,
    )
    is_described = all_packages or "details" in environment.content
    return LockView(result, place, is_described)


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
