"""Events that tests of the store are made of."""

from __future__ import annotations

from mlops_nb.model import (
    ExecutionEnded,
    ExecutionStarted,
    MetricLogged,
    OutputSeen,
    RunStarted,
    SessionStarted,
)

T0 = 1_793_534_400_000_000_000  # 2026-11-01 12:00 UTC
SECOND = 1_000_000_000
A, B, C = ("a" * 16, "b" * 16, "c" * 16)


def session_started(id_="s1", at_ns=T0):
    return SessionStarted(id_, at_ns, "host", 4242, "3.11.7", {"pid": 4242, "boot": "x"})


def execution_started(id_, order=1, *, at_ns=T0, source=None, session="s1"):
    text = f"x = {order}" if source is None else source
    return ExecutionStarted(id_, session, order, at_ns, text, f"xxh3:{order:032x}")


def execution_ended(id_, *, at_ns=T0 + SECOND, status="ok"):
    return ExecutionEnded(id_, at_ns, status, 1.0, 0.9, reads=("df",), binds=("x", "y"))


def run_started(id_, *, at_ns=T0, name="churn", kind="interactive", **facts):
    return RunStarted(id_, at_ns, name, kind, facts.pop("session", "s1"), **facts)


def metric(run, key, value, step=None, *, at_ns=T0, **facts):
    return MetricLogged(run, key, value, step, at_ns, **facts)


def piece(data, execution="e1", position=0, **facts):
    return OutputSeen(
        execution, position, "stream", "stdout", "text/plain", data, len(data), **facts
    )
