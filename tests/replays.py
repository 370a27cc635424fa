"""What the tests of replays share: an execution, a file that changed, a value that differs."""

from __future__ import annotations

from recorded import BEGIN_NS, execution_id

from mlops_nb.model import Execution, as_datetime
from mlops_nb.replay.files import InputState
from mlops_nb.replay.records import Value

CHANGED_DATA = (InputState("/p/a.csv", 0, "changed"),)


def execution(source, order=1, files=()):
    return Execution(
        id=execution_id(order), session="s", order=order, status="ok", source=source,
        code_digest="", started_at=as_datetime(BEGIN_NS), execution_count=order,
        files=tuple(files),
    )  # fmt: skip


def differing(position=1):
    return Value("metric", position, "auc", "", 0.9, 0.8, "differs")
