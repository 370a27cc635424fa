"""The driver: which step runs now, where, and what its end means for the others."""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb.engines import Ended, Job, Said
from mlops_nb.errors.values import CorruptValue
from mlops_nb.model.pipelines import Fact
from mlops_nb.pipeline.passing.task import TASK_VARIABLE
from mlops_nb.pipeline.running.artifacts import restore_files
from mlops_nb.pipeline.running.conditions import judged
from mlops_nb.pipeline.running.debugging import keep_work
from mlops_nb.pipeline.running.executing import cached_of, task_path
from mlops_nb.pipeline.running.ledger import Ledger
from mlops_nb.pipeline.running.lookup import Lookup
from mlops_nb.pipeline.running.outcomes import StepOutcome
from mlops_nb.pipeline.running.pages import JOB_NAME as PAGES
from mlops_nb.pipeline.running.pages import Pages
from mlops_nb.pipeline.running.parameters import effective_values
from mlops_nb.pipeline.running.parts import Part
from mlops_nb.pipeline.running.pieces import count_in_child
from mlops_nb.pipeline.running.planning import above, new_board
from mlops_nb.pipeline.running.recording import end_step_run, made_in, metrics_of
from mlops_nb.pipeline.running.repairing import ROUNDS, Replanning, facts_shown, sentence
from mlops_nb.pipeline.running.surroundings import step_environment
from mlops_nb.pipeline.running.watching import Seen
from mlops_nb.pipeline.running.work import StepDone, done_from_document, work_document
from mlops_nb.pipeline.running.works import Works

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.engines import Engine
    from mlops_nb.model import Json, RunStatus
    from mlops_nb.model.pipelines import CachedStep, Step
    from mlops_nb.pipeline.running.lookup import RunRequest
    from mlops_nb.pipeline.running.planning import Board
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.surroundings import RunFolders
    from mlops_nb.pipeline.running.watching import Observer
    from mlops_nb.store import Store

JOB = "mlops_nb.pipeline.running.executing:step_job"
DRAINER = "mlops_nb.store.intake.drainer"
"""In the command line of what takes in a kernel's spool, which ends by itself."""

_LISTEN_S = 5.0
_LONGEST_WAIT_S = 60.0


class Driver:
    """One run of a pipeline, from its first step to its last.

    Parameters
    ----------
    prepared
        What runs.
    store, location
        Where it is recorded, and how a child opens that.
    run
        Id of the pipeline's run, which is in the store.
    request, folders, engine
        How, where and by whom.
    observer
        Is told what happens.
    is_resumed
        Whether steps of this run are done already.
    given
        As of `Lookup`.

    Attributes
    ----------
    prepared
        The plan as it is now.
    ledger
        What became of its steps so far.
    saved_s
        Time that earlier results have saved.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        store: Store,
        location: str,
        run: str,
        request: RunRequest,
        folders: RunFolders,
        engine: Engine,
        observer: Observer,
        is_resumed: bool = False,
        given: Mapping[str, tuple[CachedStep, ...]] | None = None,
    ) -> None:
        self.prepared = prepared
        self._resources, self._is_warm = ExitStack(), False
        self.warnings: list[str] = []
        self.saved_s = 0.0
        self._store, self._run, self._request = store, run, request
        self._engine, self._tell = engine, observer
        self.ledger = Ledger(store, run, observer, is_resumed=is_resumed)
        self._environment = step_environment(os.environ, request.jobs)
        self.lookup = Lookup(
            prepared, store, request, self._environment, given=given, count=self._count_pieces
        )
        if is_resumed:
            self.lookup.made = made_in(store, run)
        self._works = Works(run, location, request, folders)
        self._plan = Replanning(prepared)
        self._pages = Pages(engine, location, self._environment)
        self._prelude: dict[str, str] = {}
        self._restarts = 0
        self._round = 0
        self._board: Board = new_board(prepared.pipeline, request.choice)
        self._open: dict[str, list[Part]] = {}
        self._queue: list[Part] = []
        self._running: dict[str, Part] = {}

    @property
    def results(self) -> dict[str, tuple[CachedStep, ...]]:
        """By name of a step, what it has given; several for its pieces."""
        return self.lookup.results

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was added to the plan, as sentences."""
        return tuple(map(sentence, self._plan.learned))

    @property
    def status(self) -> RunStatus:
        """Of the run, once nothing is left to run."""
        return "failed" if self._board.has_failed else "finished"

    @property
    def step_outcomes(self) -> tuple[StepOutcome, ...]:
        """What became of each step, in the order of the notebook."""
        found: list[StepOutcome] = []
        for step in self.prepared.pipeline.steps:
            parts = self._open.get(step.name) or [Part(step)]
            named = [
                self.ledger.outcomes[part.name]
                for part in parts
                if part.name in self.ledger.outcomes
            ]
            borrowed = [
                o for name, o in self.ledger.outcomes.items() if name.startswith(f"{step.name}[")
            ]
            is_chosen = step.name in self._board.chosen
            waiting = [StepOutcome(step.name, "pending")] if is_chosen else []
            found += named or borrowed or waiting
        return tuple(found)

    def run(self) -> None:
        """Run until nothing is left that could run.

        Raises
        ------
        RunHeld
            Another process has taken a step of this run.
        KeyboardInterrupt, SystemExit
            After all steps were asked to end, and have ended.
        """
        with self._resources:
            try:
                while self._run_round():
                    pass
                self._keep_facts()
            except (KeyboardInterrupt, SystemExit):
                self._interrupt()
                raise

    # --- rounds -------------------------------------------------------------------------------

    def _run_round(self) -> bool:
        """Run all steps by the plan as it is; True if the plan turned out to be another."""
        self._begin_round()
        while self._running or self._queue or self._unopened() or self._pages.are_due:
            self._open_ready()
            self._note_waiting()
            self._start_what_fits()
            self._listen()
        self._note_waiting()
        if not self._plan.is_outdated:
            return False
        self.prepared = self._plan.taken()
        return True

    def _begin_round(self) -> None:
        self._round += 1
        self._board = new_board(self.prepared.pipeline, self._request.choice)
        self._open, self._queue, self.saved_s = {}, [], 0.0
        self.lookup.begin(self.prepared)
        self.ledger.begin(self.prepared.pipeline.steps)
        self._borrow()

    def _borrow(self) -> None:
        """Use results of steps that are needed although they may not run."""
        for name in self.lookup.borrow(self._board.chosen, self._params()):
            for result in self.results[name]:
                text = "not asked for; its last results are used"
                outcome = StepOutcome(result.step, "cached", cached_from=result.run)
                self.ledger.outcomes[result.step] = replace(outcome, reasons=(text,))

    def _note_waiting(self) -> None:
        self.ledger.wait(self.prepared.pipeline.steps, self._board.chosen)

    # --- opening: can it run, must it run? ----------------------------------------------------

    def _unopened(self) -> list[str]:
        """List the steps that wait for nothing and were not looked at yet."""
        if self._plan.is_outdated:
            return []
        return [name for name in self._board.ready if name not in self._open]

    def _open_ready(self) -> None:
        while names := self._unopened():
            for name in names:
                self._open_step(self.lookup.step(name))

    def _open_step(self, step: Step) -> None:
        self._open[step.name] = []
        if step.options.when:
            is_so, text = judged(step.options.when, self._metrics_above(step), self._params())
            if not is_so:
                self._skip(step, text)
                return
        parts = self.lookup.parts_of(step, self._params())
        if not parts:
            self._skip(step, f"foreach: {step.options.foreach} has no elements")
            return
        self._open[step.name] = parts
        for part in parts:
            self._open_part(part)
        self._settle(step)

    def _count_pieces(self, step: Step) -> int:
        """Make what a step is fanned out over, and count it, in a process of its own."""
        part = Part(step)
        if not self.lookup.identify(part):
            return 0
        work = self._works.of(part, self.prepared, self._prelude)
        return count_in_child(work, step.options.foreach, self._environment)

    def _open_part(self, part: Part) -> None:
        self.lookup.identify(part)
        hit = self.lookup.hit(part)
        if hit is not None and self._restores(hit):
            self._use(part, hit)
            return
        part.state, part.reasons = "ready", self.lookup.why(part)
        self._queue.append(part)

    # --- ends ---------------------------------------------------------------------------------

    def _restores(self, hit: CachedStep) -> bool:
        """Put files back that a step had written; False if these results cannot be used."""
        prelude = _prelude_of(hit)
        if any(self._prelude.get(name, digest) != digest for name, digest in prelude.items()):
            return False  # its first cells found other values than those of this run
        try:
            restore_files(self._store, hit, self.prepared.place)
        except CorruptValue as error:
            self._tell(Seen("remark", hit.step, text=str(error)))
            return False
        return True

    def _use(self, part: Part, hit: CachedStep) -> None:
        """Let earlier results stand for a part."""
        part.state, part.result = "cached", hit
        is_own = (part.name, part.key) in self.lookup.made
        if is_own:
            part.state = "done"
        else:
            self._store.touch_cached(hit.key, hit.run)
        self._prelude.update(_prelude_of(hit))
        if is_own:
            known = {"run": hit.run, "duration_s": hit.duration_s}
        else:
            known, self.saved_s = {"cached_from": hit.run}, self.saved_s + hit.duration_s
        self.ledger.show(part, digest=hit.notebook, **known)

    def _settle(self, step: Step) -> None:
        """Give a step the state that its parts have come to, once all have."""
        parts = self._open[step.name]
        states = {part.state for part in parts}
        if states & {"pending", "ready", "running"}:
            return
        if states <= {"done", "cached"}:
            self.results[step.name] = tuple(p.result for p in parts if p.result is not None)
            self._set(step.name, "cached" if states == {"cached"} else "done")
        else:
            self._set(step.name, "failed")

    def _set(self, step: str, state: Any, text: str = "") -> None:
        """Move a step on the board, and record what that means for the steps below."""
        before = self._board
        self._board = before.with_state(step, state, text)
        for name, new in self._board.states.items():
            if name != step and before.states[name] != new:
                self._show_unrun(Part(self.lookup.step(name), state=new), self._board.texts[name])

    def _skip(self, step: Step, text: str) -> None:
        self._show_unrun(Part(step, state="skipped"), text)
        self._set(step.name, "skipped", text)

    def _show_unrun(self, part: Part, text: str) -> None:
        self.ledger.show(part, error={"type": "NotRun", "message": text})

    # --- starting -----------------------------------------------------------------------------

    def _start_what_fits(self) -> None:
        if self._plan.is_outdated:
            self._queue.clear()
        now = time.monotonic()
        for part in [part for part in self._queue if part.not_before <= now]:
            if len(self._running) >= self._request.jobs:
                break
            self._queue.remove(part)
            self._start(part)
        if self._running and self._request.has_pages:
            self._pages.prepare()

    def _start(self, part: Part) -> None:
        """Have the engine run a part, if nobody else has taken it."""
        self.ledger.claim(part)
        self._warm()
        part.started_ns, part.state, part.cell = time.time_ns(), "running", -1
        part.work = self._works.of(part, self.prepared, self._prelude)
        keep_work(part.work)
        self.ledger.start(part, part.work.run)
        limit = part.step.options.timeout_s or self._request.timeout_s
        self._running[part.name] = part
        self._board = self._board.with_state(part.step.name, "running")
        self._engine.start(
            Job(
                name=part.name,
                function=JOB,
                told=work_document(part.work),
                environment=self._environment,
                folder=str(self.prepared.place),
                timeout_s=limit,
                log=f"{part.work.folder}.log",
                spared=(DRAINER,),
                mark=f"{TASK_VARIABLE}={task_path(part.work)}",
            )
        )

    def _warm(self) -> None:
        """Start what forks workers for all steps, with the first step that needs one."""
        if self._request.is_fast and not self._is_warm:
            from mlops_nb.papermill_engine.servers import shared_server

            self._is_warm = True
            shared = self._resources.enter_context(shared_server(self._environment))
            self._environment = {**self._environment, **shared}

    # --- listening ----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Take in what the engine tells, for a while."""
        if not self._running and not self._pages.is_busy:
            if self._queue:
                time.sleep(max(0.0, min(self._pause_s(), _LONGEST_WAIT_S)))
            return
        for message in self._engine.wait(min(_LISTEN_S, max(0.0, self._pause_s()))):
            if isinstance(message, Said):
                self._hear(message)
            elif message.job == PAGES:
                self._pages.ended()
            else:
                self._end(message)
        for name in self.ledger.renew(list(self._running)):
            self._engine.cancel(name)

    def _pause_s(self) -> float:
        """Say how long nothing has to be begun."""
        if len(self._running) >= self._request.jobs or not self._queue:
            return _LISTEN_S
        return min(part.not_before for part in self._queue) - time.monotonic()

    def _hear(self, said: Said) -> None:
        part = self._running.get(said.job)
        if part is None:
            return
        content = said.content
        if "remark" in content:
            self._tell(Seen("remark", part.name, text=str(content["remark"])))
        elif "cell" in content:
            part.cell = content["cell"]
            word, total = str(content["what"]), content["total"]
            self._tell(Seen("cell", part.name, cell=content["cell"], total=total, word=word))

    def _end(self, ended: Ended) -> None:
        """Take in the end of an attempt."""
        part = self._running.pop(ended.job)
        done = self._done_of(part, ended)
        if self._request.has_pages:
            self._pages.add(done, part.name)
        if done.failure is None and not done.result.facts:
            self._succeed(part, done)
        elif done.failure is not None and done.failure["type"] == "CorruptValue":
            self._distrust(part, done)
        elif not self._learns(part, done):
            self._fail(part, done)

    def _done_of(self, part: Part, ended: Ended) -> StepDone:
        if ended.content is not None and not ended.problem:
            return done_from_document(ended.content)
        failure = {"cell": None, "line": None, **ended.error}
        if ended.problem == "timeout":
            limit = part.step.options.timeout_s or self._request.timeout_s
            failure["message"] = f"it took longer than {limit:g} s, and was ended"
        work = part.work
        if work is None:
            return StepDone("", failure=failure)
        self._store.refresh()
        end_step_run(self._store, work, work.run, "failed", failure)
        return StepDone(work.run, failure=failure, output=work.output)

    def _succeed(self, part: Part, done: StepDone) -> None:
        if part.work is None:
            return
        if not self._agrees(part, done):
            return
        part.state, part.result = "done", cached_of(part.work, done)
        self.lookup.made[part.name, part.key] = part.result
        self.ledger.show(
            part,
            run=done.run,
            duration_s=done.duration_s,
            notebook=done.output,
            digest=done.notebook,
        )
        self._settle(part.step)

    def _fail(self, part: Part, done: StepDone) -> None:
        """Try again if the author said so, else give up this step."""
        failure = done.failure or {}
        if part.attempt <= part.step.options.retry and failure.get("type") not in _FINAL:
            pause = self._request.retry_after_s * 2 ** (part.attempt - 1)
            # Steps that failed together should not come back together.
            pause *= random.uniform(0.5, 1.5)  # noqa: S311
            part.not_before, part.state = time.monotonic() + pause, "ready"
            text = f"attempt {part.attempt} failed ({_short(failure)}), again in {pause:.1f} s"
            self._tell(Seen("remark", part.name, text=text))
            part.attempt += 1
            self._queue.append(part)
            return
        part.state = "failed"
        self.ledger.show(
            part,
            run=done.run,
            duration_s=done.duration_s,
            notebook=done.output,
            digest=done.notebook,
            error=failure,
        )
        self._settle(part.step)

    # --- repairs ------------------------------------------------------------------------------

    def _learns(self, part: Part, done: StepDone) -> bool:
        """Make a better plan of what an attempt has shown; False if nothing follows from it."""
        facts = facts_shown(self.prepared, part.step, done)
        if not facts:
            return False
        problem = self._plan.learn(facts, may_repair=self._round < ROUNDS)
        if not problem:
            for fact in facts:
                self._tell(Seen("repair", part.name, text=sentence(fact)))
        elif done.result.facts:
            said = "; ".join(map(sentence, facts))
            text = f"{said}. So the split is not equal to the whole notebook: {problem}"
            failure = {"type": "SplitNotEqual", "message": text, "cell": None, "line": None}
            self._fail(part, replace(done, failure=failure))
        return not problem or bool(done.result.facts)

    def _agrees(self, part: Part, done: StepDone) -> bool:
        """Whether a step has found in the prelude what the others have found there."""
        seen = done.result.prelude_digests
        other = tuple(n for n, digest in seen.items() if self._prelude.get(n, digest) != digest)
        if not other:
            self._prelude.update(seen)
            return True
        text = f"{', '.join(other)} of the first cells is another value each time they run"
        fact = Fact(part.step.name, "differs", other, text=text)
        differs = replace(done, result=replace(done.result, facts=(fact,)))
        return not self._learns(part, differs)

    def _distrust(self, part: Part, done: StepDone) -> None:
        """Have the steps run again whose kept values are not what they were."""
        self._restarts += 1
        if self._restarts > ROUNDS:
            self._fail(part, done)
            return
        self.lookup.distrust(part)
        self._tell(Seen("remark", part.name, text=str((done.failure or {}).get("message"))))
        self._plan.is_outdated = True

    def _keep_facts(self) -> None:
        """Keep what was learned, for the next run; of a step that failed all the same, nothing."""
        pipeline, draft = self.prepared.pipeline, self.prepared.draft
        failed = {
            cell
            for step in pipeline.steps
            if self._board.states.get(step.name) == "failed"
            for cell in step.cells
        }
        cells = {} if draft is None else {step.name: set(step.cells) for step in draft.steps}
        kept = [fact for fact in self._plan.learned if not failed & cells.get(fact.step, failed)]
        self._store.save_facts(pipeline.name, kept)

    # --- being stopped ------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """Have all that runs end, and say so; a second interrupt no longer waits."""
        try:
            for name in self._running:
                self._engine.cancel(name)
            while self._running:
                for message in self._engine.wait(_LISTEN_S):
                    if isinstance(message, Ended) and message.job in self._running:
                        self._end_interrupted(message)
        except KeyboardInterrupt:
            self._engine.close()
        for part in list(self._running.values()):
            self._end_interrupted(Ended(part.name, None, "cancelled"))

    def _end_interrupted(self, ended: Ended) -> None:
        part = self._running.pop(ended.job)
        self._store.refresh()
        run = None if part.work is None else part.work.run
        if part.work is not None:
            told = {"type": "KeyboardInterrupt", "message": ""}
            end_step_run(self._store, part.work, part.work.run, "interrupted", told)
        self.ledger.interrupt(part, run)

    # --- what is known ------------------------------------------------------------------------

    def _params(self) -> dict[str, Any]:
        return effective_values(self.prepared.pipeline, self._request.params)

    def _metrics_above(self, step: Step) -> dict[str, float]:
        """Gather the metrics of the steps above a step, the later ones last."""
        found: dict[str, float] = {}
        for name in above(self.prepared.pipeline, [step.name]):
            for part in self._open.get(name, ()):
                shown = self.ledger.outcomes[part.name]
                found.update(metrics_of(self._store, shown.run or shown.cached_from))
        return found


_FINAL = frozenset({"MissingKernel", "SplitNotEqual", "BadNotebook", "BadParameter"})
"""Failures that another attempt cannot mend."""


def _short(failure: Mapping[str, Json]) -> str:
    message = str(failure.get("message", "")).strip().splitlines()
    return f"{failure.get('type')}: {message[0]}" if message else str(failure.get("type"))


def _prelude_of(hit: CachedStep) -> Mapping[str, str]:
    """Read what the prelude was when earlier results were made."""
    seen = hit.parts.get("seen") or {}
    found: Mapping[str, str] = seen.get("prelude") or {}
    return found
