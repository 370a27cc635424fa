"""A run that is open in this process: the handle a user holds, and what is known of it so far."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, Self

from mlops_nb.model import Metric, Param, Run, as_datetime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from mlops_nb.model import DataUse, Execution, Json, RunKind, RunStatus
    from mlops_nb.tracking.fits import FitGeneration
    from mlops_nb.tracking.tracker import Tracker

CURVE_LENGTH = 64
"""Values of a metric that an open run remembers for its card; the store keeps all."""


class LiveRun:
    """A run of this process: log to it, use it as a context manager, end it.

    Attributes
    ----------
    id
        16 hex digits.
    name, kind, group
        As in `mlops_nb.model.Run`.
    born_by
        What made it: a fit, a logging call, or the user's own words.
    parent, children
        Runs above and below it.
    status
        As in the store, once everything is written.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> with mn.run("baseline") as run:  # doctest: +SKIP
    ...     run.log_metric("accuracy", 0.9)
    """

    def __init__(
        self,
        tracker: Tracker,
        run_id: str,
        *,
        name: str,
        kind: RunKind,
        group: str,
        born_by: Literal["fit", "log", "user"],
        started_ns: int,
        execution: str | None = None,
        parent: LiveRun | None = None,
        child: int | None = None,
    ) -> None:
        self._tracker = tracker
        self.id = run_id
        self.name = name
        self.kind = kind
        self.group = group
        self.key = group
        self.born_by = born_by
        self.started_ns = started_ns
        self.execution = execution
        self.parent = parent
        self.child = child
        self.children: list[LiveRun] = []
        self.status: RunStatus = "running"
        self.ended_ns: int | None = None
        self.busy_ns = 0
        self.params: dict[str, Json] = {}
        self.metrics: dict[str, float] = {}
        self.seen: dict[str, tuple[float, str | None]] = {}
        self.curves: dict[str, deque[float]] = {}
        self.data: dict[tuple[str, str], DataUse] = {}
        self.defaults: set[str] = set()
        self.code_digests: tuple[str, ...] = ()
        self.environment: str | None = None
        self.fits: list[FitGeneration] = []
        self.fit_rows: list[dict[str, Json]] = []
        self.body: list[str] = []
        self.setup: list[str] = []
        self.traced = 0
        self.bound: set[str] = set()
        self.needed: tuple[Execution, ...] = ()
        self.log_cells: dict[str, str] = {}
        self.failure: Mapping[str, Json] | None = None
        self.verdict: Mapping[str, Json] | None = None
        self.git: Mapping[str, Json] | None = None
        self.alert = ""

    def __repr__(self) -> str:
        return f"<run {self.id[:4]} {self.name} {self.status}>"

    @property
    def is_open(self) -> bool:
        """Whether it has not been ended."""
        return self.status == "running"

    @property
    def is_automatic(self) -> bool:
        """Whether it was born of evidence rather than opened by the user."""
        return self.born_by != "user"

    @property
    def holds_fits(self) -> bool:
        """Whether a fit belongs to it or to a child made for one."""
        return bool(self.fits) or any(child.born_by == "fit" for child in self.children)

    @property
    def newest_child(self) -> LiveRun | None:
        """The child that was born last, if it is still open."""
        child = self.children[-1] if self.children else None
        return child if child is not None and child.is_open else None

    def record(self) -> Run:
        """Say what is known of it here, as the record a store would give."""
        return Run(
            id=self.id,
            name=self.name,
            status=self.status,
            kind=self.kind,
            started_at=as_datetime(self.started_ns),
            busy_s=self.busy_ns / 1e9,
            group=self.group,
            params={k: Param(v, is_default=k in self.defaults) for k, v in self.params.items()},
            metrics={key: Metric(value) for key, value in self.metrics.items()},
            verdict=self.verdict,
            error=self.failure,
            environment=self.environment,
            data=tuple(self.data.values()),
            code_digests=self.code_digests,
        )

    def remember(self, key: str, value: float) -> None:
        """Keep a metric's value for the card."""
        if key in self.metrics:
            curve = self.curves.get(key)
            if curve is None:
                curve = self.curves[key] = deque((self.metrics[key],), CURVE_LENGTH)
            curve.append(value)
        self.metrics[key] = value

    def log(self, data: Mapping[str, object] | None = None, /, **values: object) -> None:
        """Log numbers as metrics and everything else as parameters; see `mlops_nb.log`."""
        step = values.pop("step", None)
        self._tracker.log({**(data or {}), **values}, step=_as_step(step), run=self)

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one value of a metric; without `step` it counts up per key."""
        self._tracker.log_metric(key, value, step, run=self)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several metrics at one step."""
        for key, value in metrics.items():
            self._tracker.log_metric(key, value, step, run=self)

    def log_param(self, key: str, value: object) -> None:
        """Log a parameter; another value for the same key is kept as a new version."""
        self._tracker.log_param(key, value, run=self)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log several parameters."""
        for key, value in params.items():
            self._tracker.log_param(key, value, run=self)

    def set_tag(self, key: str, value: str = "true") -> None:
        """Set a tag, replacing its value."""
        self._tracker.set_tag(key, value, run=self)

    def log_artifact(self, path: str | Path, name: str | None = None, kind: str = "file") -> None:
        """Keep a copy of a file."""
        self._tracker.log_artifact(path, name=name, kind=kind, run=self)

    def log_figure(self, figure: object = None, name: str = "figure") -> None:
        """Keep a matplotlib figure (the current one by default) as PNG."""
        self._tracker.log_figure(figure, name=name, run=self)

    def log_table(self, rows: object, name: str = "table") -> None:
        """Keep a table: a DataFrame, or a list of mappings."""
        self._tracker.log_table(rows, name=name, run=self)

    def end(self, status: RunStatus = "finished") -> None:
        """End the run; ending it twice does nothing."""
        if self.is_open:
            self._tracker.touch(self)
        self._tracker.end(self, status=status)

    def __enter__(self) -> Self:
        self._tracker.enter(self)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tracker.leave(self, error)


def _as_step(step: object) -> int | None:
    return None if step is None else int(step)  # type: ignore[call-overload]
