"""scikit-learn's calls -> evidence of a run.

The patches of `autolog.sklearn` tell what was called; this says what it means for tracking.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

import mlops_nb.autolog.sklearn as kit
from mlops_nb.autolog.callers import CallSite, CodeIndex
from mlops_nb.tracking import DataSeen, FitSeen
from mlops_nb.tracking.evidence import SET_SUFFIXES
from mlops_nb.tracking.values import as_json, as_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlops_nb.autolog.patch import Call
    from mlops_nb.model import Fingerprint, Json
    from mlops_nb.tracking import Evidence, FitGeneration
    from mlops_nb.tracking.bindings import Bound
    from mlops_nb.tracking.fits import Later

_DATA_ARGUMENTS = ("X", "y", "Y", "X_test", "sample_weight")
_TRUTHS = ("y_true", "labels_true", "y_score_true", "Y_true")
_CONTINUING = frozenset({"partial_fit"})
_SCALARS = (str, bytes, bool, int, float)


class SklearnListener:
    """Feeds `Evidence` from scikit-learn's calls.

    Parameters
    ----------
    evidence
        Takes what is found.
    namespace
        The notebook's namespace.
    index
        The analysed cells, to find the statement that called.
    identify
        Gives the fingerprint of a value, and who tells it later where it is not known yet.
    """

    def __init__(
        self,
        evidence: Evidence,
        namespace: Mapping[str, object],
        index: CodeIndex,
        identify: Callable[[object], tuple[Fingerprint, Later | None]],
    ) -> None:
        self._identify = identify
        self._evidence = evidence
        self._namespace = namespace
        self._index = index
        self._pending: dict[int, tuple[FitGeneration | None, list[DataSeen], CallSite]] = {}
        self._going_on: dict[int, FitGeneration] = {}

    # --- the listener -------------------------------------------------------------------------

    def call_started(self, call: Call) -> None:
        """Before the original runs: fingerprint its data, and bear a run for a fit."""
        if call.function in _CONTINUING:
            generation = self._evidence.went_on(call.receiver)
            if generation is not None:
                # A loop over batches: the run, its parameters and its model are known.
                self._going_on[id(call)] = generation
                self._evidence.batch_seen(generation, self._batch(call, generation))
                call.started_ns = time.time_ns()
                return
        site = CallSite(self._index, call.user_frame(), self._namespace)
        if call.kind in {"fit", "validate"}:
            self._start_fit(call, site)
        elif call.kind in {"predict", "score"} and call.receiver is not None:
            generation = self._evidence.generation_of(call.receiver)
            if generation is not None:
                wanted = self._evidence.wants_input(generation)
                data = list(self._data(call, site, role="test")) if wanted else []
                self._pending[id(call)] = (generation, data, site)
        elif call.kind == "metric":
            self._pending[id(call)] = (None, [], site)

    def call_ended(self, call: Call, result: object) -> None:
        """After the original returned."""
        pending = self._pending.pop(id(call), None)
        if pending is None:
            generation = self._going_on.pop(id(call), None)
            if generation is not None:
                generation.more_ns += max(time.time_ns() - call.started_ns, 0)
            return
        generation, data, site = pending
        if call.kind == "metric":
            self._end_metric(call, result, site)
        elif generation is None:
            return
        elif call.kind == "fit":
            self._end_fit(call, generation, result)
        elif call.kind == "validate":
            self._end_validation(call, generation, result)
        elif call.kind == "predict":
            self._evidence.predicted(generation, result, data)
        else:
            self._end_score(call, generation, result, data)

    def call_failed(self, call: Call, error: BaseException) -> None:
        """After the original raised."""
        generation, _, _ = self._pending.pop(id(call), (None, None, None))
        generation = self._going_on.pop(id(call), generation)
        if generation is not None and call.kind in {"fit", "validate"}:
            self._evidence.fit_failed(generation, error)

    # --- fits ---------------------------------------------------------------------------------

    def _start_fit(self, call: Call, site: CallSite) -> None:
        estimator = call.receiver if call.receiver is not None else self._validated(call)
        if estimator is None or not kit.is_predictor(estimator):
            return
        class_path = kit.class_path(estimator)
        is_warm = bool(getattr(estimator, "warm_start", False))
        seen = FitSeen(
            class_path=class_path,
            name=site.name_of(estimator, _snake_case(class_path.rpartition(".")[2])),
            params=kit.model_params(estimator),
            changed=kit.changed_params(estimator),
            data=tuple(self._data(call, site, role="train")),
            continues=call.function in _CONTINUING or is_warm,
        )
        generation = self._evidence.fit_started(estimator, seen)
        if generation is not None:
            self._pending[id(call)] = (generation, [], site)

    @staticmethod
    def _validated(call: Call) -> object:
        return call.arguments().get("estimator")

    def _end_fit(self, call: Call, generation: FitGeneration, result: object) -> None:
        estimator = call.receiver
        rows = kit.search_table(estimator)
        self._evidence.fit_ended(
            estimator,
            generation,
            parts=kit.parts(estimator),
            metrics=_search_metrics(estimator) if rows else None,
            tables={"search": rows} if rows else None,
            params=_best_params(estimator) if rows else None,
        )
        if call.function != "fit" and result is not None and call.function != "partial_fit":
            self._evidence.predicted(generation, result)

    def _end_validation(self, call: Call, generation: FitGeneration, result: object) -> None:
        estimator = self._validated(call)
        key = _scoring_name(call, estimator)
        metrics, rows = kit.validation_results(call.function, result, key)
        tables = {"folds" if "cross" in call.function else "curve": rows} if rows else None
        self._evidence.fit_ended(
            estimator, generation, metrics=metrics, tables=tables, is_model=False
        )
        if call.function == "cross_val_predict":
            self._evidence.predicted(generation, result)

    # --- metrics ------------------------------------------------------------------------------

    def _end_score(
        self, call: Call, generation: FitGeneration, result: object, data: Sequence[DataSeen]
    ) -> None:
        self._evidence.predicted(generation, None, data)
        value = as_number(result)
        if value is None:
            return
        names = [item.name for item in data]
        key = self._prefix(generation, data, names) + kit.score_name(call.receiver)
        bound = self._evidence.bind([call.receiver], [], _NoDataflow())
        if bound is not None:
            digest = tuple(item.fingerprint.digest for item in data)
            self._evidence.metric_seen(key, value, bound, data_digest=digest)

    def _end_metric(self, call: Call, result: object, site: CallSite) -> None:
        arguments = call.arguments()
        truths = [arguments[name] for name in _TRUTHS if name in arguments]
        values = [v for v in (*call.args, *call.kwargs.values()) if _can_carry(v)]
        bound = self._evidence.bind(values, truths, site)
        if bound is None:
            return
        key = kit.metric_name(call.function)
        number = as_number(result)
        if number is None:
            self._evidence.table_seen(key, _rows_of(result), bound)
            return
        names = [site.name_of(value, "") for value in values]
        seen, prefix = self._seen(truths), ""
        if any(map(self._evidence.provenance.is_on_training_data, values)):
            prefix = "train."
        elif bound.generations:
            prefix = self._prefix(bound.generations[0], seen, names)
        digest = tuple(item.fingerprint.digest for item in seen)
        self._keep_truths(bound, truths, seen, site)
        self._evidence.metric_seen(prefix + key, number, bound, data_digest=digest)

    def _keep_truths(
        self, bound: Bound, truths: Sequence[object], seen: Sequence[DataSeen], site: CallSite
    ) -> None:
        """The true answers are data of the run as the inputs are."""
        if len(bound.generations) == 1 and len(truths) == len(seen):
            named = [
                DataSeen(site.name_of(value, "y_true"), item.role, item.fingerprint)
                for value, item in zip(truths, seen, strict=True)
            ]
            self._evidence.data_seen(bound.generations[0], named)

    def _seen(self, values: Sequence[object]) -> list[DataSeen]:
        return [
            DataSeen("", "test", *self._identify(value)) for value in values if _can_carry(value)
        ]

    def _prefix(
        self, generation: FitGeneration, data: Sequence[DataSeen], names: Sequence[str]
    ) -> str:
        """``train.`` for the training data; ``val.`` and so on where there are several sets."""
        if any(map(generation.was_trained_on, data)):
            return "train."
        suffixes = [name.rpartition("_")[2] for name in names]
        own = next((suffix for suffix in suffixes if suffix in SET_SUFFIXES), None)
        if own is None:
            return ""
        sets = {name.rpartition("_")[2] for name in self._namespace if "_" in name}
        return f"{own}." if len(sets & set(SET_SUFFIXES)) > 1 else ""

    # --- data ---------------------------------------------------------------------------------

    def _data(self, call: Call, site: CallSite, *, role: str) -> Iterator[DataSeen]:
        arguments = call.arguments()
        for name in _DATA_ARGUMENTS:
            value = arguments.get(name)
            if _can_carry(value):
                yield DataSeen(site.name_of(value, name), role, *self._identify(value))

    def _batch(self, call: Call, generation: FitGeneration) -> Iterator[DataSeen]:
        """The data of one more ``partial_fit``, by the names of the first."""
        given = (*call.args, *(call.kwargs[name] for name in ("X", "y") if name in call.kwargs))
        for value, first in zip(given, generation.seen.data, strict=False):
            if _can_carry(value):
                yield DataSeen(first.name, first.role, *self._identify(value))


class _NoDataflow:
    def levels(self) -> tuple[()]:
        """No names: the receiver says it all."""
        return ()


def _can_carry(value: object) -> bool:
    return value is not None and not issubclass(type(value), _SCALARS)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _scoring_name(call: Call, estimator: object) -> str:
    scoring = call.arguments().get("scoring")
    if isinstance(scoring, str):
        return kit.metric_name(scoring)
    return kit.score_name(estimator)


def _search_metrics(search: object) -> dict[str, float]:
    best = as_number(getattr(search, "best_score_", None))
    return {} if best is None or not math.isfinite(best) else {"cv.best": best}


def _best_params(search: object) -> dict[str, Json]:
    best = getattr(search, "best_params_", None)
    if not isinstance(best, dict):
        return {}
    return {f"best.{key}": as_json(value) for key, value in best.items()}


def _rows_of(result: object) -> list[dict[str, Json]]:
    """A matrix, report or curve as rows."""
    if isinstance(result, dict):
        return [
            {"label": str(key), **value}
            if isinstance(value, dict)
            else {"label": str(key), "value": as_json(value)}
            for key, value in result.items()
        ]
    if isinstance(result, str):
        return [{"text": line} for line in result.splitlines()]
    if isinstance(result, tuple):
        columns = [_flat(part) for part in result]
        length = max((len(column) for column in columns), default=0)
        return [
            {
                str(i): column[row] if row < len(column) else None
                for i, column in enumerate(columns)
            }
            for row in range(length)
        ]
    rows = result.tolist() if hasattr(result, "tolist") else []
    rows = rows if isinstance(rows, list) else [rows]
    return [
        {str(i): as_json(cell) for i, cell in enumerate(row if isinstance(row, list) else [row])}
        for row in rows
    ]


def _flat(part: object) -> list[Json]:
    values = part.ravel().tolist() if hasattr(part, "ravel") else [part]
    return [as_json(value) for value in values]
