"""Whether a step has to run: what it takes, its key, and results that may stand for it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import StepInputsMissing
from mlops_nb.pipeline.caching import explain, find_hit, nearest_to, reasons_against
from mlops_nb.pipeline.running.keys import key_of_part
from mlops_nb.pipeline.running.parts import Part
from mlops_nb.pipeline.running.pieces import piece_count
from mlops_nb.pipeline.running.planning import Choice, above, borrowed_steps
from mlops_nb.pipeline.running.tasks import Piece, units_for
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from mlops_nb.capture.files.digest import Digests
    from mlops_nb.model.pipelines import CachedStep, Step
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.store import Store

_NEAREST = 20
_NEWEST = 5


@record
class RunRequest:
    """How a pipeline is to run.

    Attributes
    ----------
    params
        Given values, typed.
    jobs
        Steps that may run at once.
    timeout_s
        Of each step that says none itself.
    retry_after_s
        Before the second attempt; each later one waits twice as long.
    has_pages
        Whether executed notebooks are kept as HTML, too.
    group
        What all runs of this pipeline share.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 1
    choice: Choice = field(default_factory=Choice)
    is_fast: bool = False
    timeout_s: float | None = None
    retry_after_s: float = 1.0
    has_pages: bool = True
    kernel: str = ""
    experiment: str = ""
    group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class Lookup:
    """What is known of earlier results, for one plan.

    Parameters
    ----------
    prepared
        The plan.
    store
        Where results are.
    request
        Values of parameters, and what is to run in any case.
    environment
        Variables of the steps' processes.
    given
        What steps that may not run have given; found in the store if left out.
    count
        Makes what a step is fanned out over, and counts it.

    Attributes
    ----------
    results
        By name of a step, what it has given; several for its pieces.
    made
        What this very run has made, by name and key: it is used whatever was asked for.
    distrusted
        Runs whose kept values are not what they were.
    """

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        request: RunRequest,
        environment: Mapping[str, str],
        *,
        given: Mapping[str, tuple[CachedStep, ...]] | None = None,
        count: Callable[[Step], int] | None = None,
    ) -> None:
        self.prepared = prepared
        self._count = count
        self._counted: dict[tuple[str, tuple[str, ...]], int] = {}
        self._given = given
        self.results: dict[str, tuple[CachedStep, ...]] = {}
        self.made: dict[tuple[str, str], CachedStep] = {}
        self.distrusted: set[str] = set()
        self._store, self._request, self._environment = store, request, environment
        self._digests = _digests(store)

    def step(self, name: str) -> Step:
        """Give a step by its name."""
        return next(step for step in self.prepared.pipeline.steps if step.name == name)

    def begin(self, prepared: Prepared) -> None:
        """Take over another plan; what this run has made stays."""
        self.prepared, self.results = prepared, {}

    def parts_of(self, step: Step, params: Mapping[str, Any]) -> list[Part]:
        """Give the pieces of a step that is fanned out, else the step itself.

        Raises
        ------
        PipelineRefused
            Nobody knows how many pieces there are.
        """
        value = step.options.foreach
        if not value:
            return [Part(step)]
        source = self.results.get(step.inputs.get(value, ""), ())
        known = (value, tuple(result.run for result in source))
        if known not in self._counted:
            self._counted[known] = piece_count(
                self.prepared, step, self.results, params, self._store, made=self._count
            )
        count = self._counted[known]
        return [Part(step, Piece(value, index, count)) for index in range(count)]

    def identify(self, part: Part) -> bool:
        """Find what a part takes, and its key; False if a step above has given nothing."""
        pipeline, step = self.prepared.pipeline, part.step
        if not set(step.inputs.values()) <= self.results.keys():
            return False
        part.units = units_for(pipeline, step, self.results, part.piece)
        part.key, part.parts = key_of_part(
            self.prepared,
            step,
            part.units,
            self._request.params,
            environ=self._environment,
            piece=part.piece,
            digests=self._digests,
        )
        return True

    def hit(self, part: Part) -> CachedStep | None:
        """Find results that may stand for a part."""
        made = self.made.get((part.name, part.key))
        if made is not None:
            return made
        if self._is_forced(part) or not part.step.options.is_cached:
            return None
        return find_hit(
            self._store,
            part.key,
            part.parts,
            folder=self.prepared.place,
            digests=self._digests,
            without=self.distrusted,
        )

    def why(self, part: Part) -> tuple[str, ...]:
        """Say, in sentences, why a part has to run."""
        if self._is_forced(part):
            return (f"{part.name} ran because of --force",)
        known = self._store.cached_steps(self.prepared.pipeline.name, part.name, limit=_NEAREST)
        known = [one for one in known if one.run not in self.distrusted]
        nearest = nearest_to(part.parts, known)
        against: tuple[str, ...] = ()
        if nearest is not None and nearest.key == part.key:
            place = self.prepared.place
            against = reasons_against(nearest, part.parts, folder=place, digests=self._digests)
        return explain(part.parts, nearest, against=against)

    def borrow(self, chosen: Collection[str], params: Mapping[str, Any]) -> tuple[str, ...]:
        """Find results of steps that are needed although they may not run.

        Returns
        -------
        tuple of str
            Their names.

        Raises
        ------
        StepInputsMissing
            Nothing is kept of one of them.
        """
        pipeline = self.prepared.pipeline
        needed = borrowed_steps(pipeline, chosen)
        others = {*above(pipeline, chosen), *needed} - set(chosen) if needed else set()
        for step in (step for step in pipeline.steps if step.name in others):
            found = self._found(step, params)
            if found:
                self.results[step.name] = found
            elif step.name in needed:
                raise StepInputsMissing(pipeline.name, step.name, self._wanted_of(step))
        return tuple(name for name in self.results if name in needed)

    def distrust(self, part: Part) -> None:
        """Use nothing more of what the steps above a part have kept: some of it was changed."""
        sources = set(part.step.inputs.values())
        spoilt = {result.run for name in sources for result in self.results.get(name, ())}
        self.distrusted |= spoilt
        self.made = {key: made for key, made in self.made.items() if made.run not in spoilt}

    def _found(self, step: Step, params: Mapping[str, Any]) -> tuple[CachedStep, ...]:
        if self._given is not None:
            return self._given.get(step.name, ())
        return self._by_key(step, params) or self._newest(step)

    def _is_forced(self, part: Part) -> bool:
        force = self._request.choice.force
        return "*" in force or part.step.name in force

    def _by_key(self, step: Step, params: Mapping[str, Any]) -> tuple[CachedStep, ...]:
        """Find the results that a step would have now; empty if it would have to run."""
        parts = self.parts_of(step, params)
        for part in parts:
            part.result = self.hit(part) if self.identify(part) else None
        found = tuple(part.result for part in parts if part.result is not None)
        return found if len(found) == len(parts) else ()

    def _newest(self, step: Step) -> tuple[CachedStep, ...]:
        """Find the last results of a step, whatever they were made from."""
        wanted = {name for unit in step.outputs for name in unit}
        name = self.prepared.pipeline.name
        for found in self._store.cached_steps(name, step.name, limit=_NEWEST):
            if wanted <= {name for unit in found.units for name in unit.names}:
                return (found,)
        return ()

    def _wanted_of(self, step: Step) -> tuple[str, ...]:
        steps = self.prepared.pipeline.steps
        wanted = (n for s in steps for n, source in s.inputs.items() if source == step.name)
        return tuple(dict.fromkeys(wanted))


def _digests(store: Store) -> Digests:
    """Make what reads files; in a folder, what a session has read need not be read again."""
    from mlops_nb.capture.files.digest import Digests

    return Digests(None if store.folder is None else store.folder / "file-digests")
