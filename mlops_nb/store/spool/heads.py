"""The latest attempt of each group, as a file beside the spool.

A card says how a run compares with the one before it. The kernel has no database open to ask, so
the process that drains its spool leaves the answer there once, when it starts, and beside all
spools when it ends: a notebook that is run at once has that of the last session.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgpack

from mlops_nb.model import DataUse, Metric, Param, Run, as_datetime
from mlops_nb.store.private import open_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mlops_nb.model import Json

HEADS_FILE = "groups.msgpack"
_VERSION = 1


def write_group_heads(folder: Path, runs: Iterable[Run]) -> None:
    """Write the heads of groups, whole or not at all.

    Parameters
    ----------
    folder
        Of the spool, or the one around all spools.
    runs
        The latest attempt of each group.
    """
    heads = {run.group: _content(run) for run in runs if run.group}
    path = folder / HEADS_FILE
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with open_private(draft, "wb") as file:
        file.write(msgpack.packb([_VERSION, heads], default=str, unicode_errors="replace"))
    draft.replace(path)


def read_group_heads(folder: Path) -> Mapping[str, Run]:
    """Read the latest attempts, by group, as far as a card needs them; {} while not there yet.

    Parameters
    ----------
    folder
        Of the spool; what the last session left comes next.
    """
    for place in (folder, folder.parent.parent):
        try:
            content = msgpack.unpackb((place / HEADS_FILE).read_bytes(), strict_map_key=False)
        except (OSError, ValueError):
            continue
        if isinstance(content, list) and content[0] == _VERSION:
            return {group: _run(group, facts) for group, facts in content[1].items()}
    return {}


def _content(run: Run) -> dict[str, Json]:
    return {
        "id": run.id,
        "attempt": run.attempt,
        "params": {key: _packable(param.value) for key, param in run.params.items()},
        "metrics": {key: metric.value for key, metric in run.metrics.items()},
        "data": [
            [
                *(use.name, use.role, use.kind, use.digest, use.assurance),
                *(dict(use.column_digests), use.rows, use.columns, use.schema_digest),
            ]
            for use in run.data
        ],
        "code_digests": list(run.code_digests),
        "environment": run.environment,
    }


def _packable(value: Json) -> Json:
    """Replace integers that are too long for msgpack by their text: a card only shows them."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def _run(group: str, facts: dict[str, Json]) -> Run:
    return Run(
        id=facts["id"],
        name="",
        status="finished",
        kind="interactive",
        started_at=as_datetime(0),
        group=group,
        attempt=facts["attempt"],
        params={key: Param(value) for key, value in facts["params"].items()},
        metrics={key: Metric(value) for key, value in facts["metrics"].items()},
        environment=facts["environment"],
        data=tuple(
            DataUse(name, role, kind, digest, assurance, rows, columns, schema_digest, digests)
            for (
                name,
                role,
                kind,
                digest,
                assurance,
                digests,
                rows,
                columns,
                schema_digest,
            ) in facts["data"]
        ),
        code_digests=tuple(facts["code_digests"]),
    )
