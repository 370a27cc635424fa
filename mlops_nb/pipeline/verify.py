"""The proof of a split: every step alone gives what it gives in the whole notebook."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_nb.errors.pipelines import StepInputsMissing
from mlops_nb.model.pipelines import Fact, SplitProof
from mlops_nb.papermill_engine.signals import sigterm_as_exit
from mlops_nb.pipeline.dataflow import dataflow_of
from mlops_nb.pipeline.running.surroundings import processors
from mlops_nb.pipeline.verifying.alone import Setting, run_alone
from mlops_nb.pipeline.verifying.comparing import compare, digest_in, sentence
from mlops_nb.pipeline.verifying.repairs import new_facts, repair_sentence
from mlops_nb.pipeline.verifying.whole import run_whole
from mlops_nb.pipeline.writing.document import notebook_digest, split_digest
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from mlops_nb.model.pipelines import Pipeline
    from mlops_nb.pipeline.drafts import Draft
    from mlops_nb.pipeline.verifying.alone import Alone
    from mlops_nb.pipeline.verifying.comparing import Compared
    from mlops_nb.pipeline.verifying.kernels import Failed
    from mlops_nb.pipeline.verifying.whole import Whole

T = TypeVar("T")

MOST_ROUNDS = 6
_MOST_JOBS = 4
_CANCEL_AGAIN_S = 5.0


@record
class Proven:
    """A split, and what a verification said of it.

    Attributes
    ----------
    pipeline
        With what had to be repaired.
    proof
        Its verdict is about this very pipeline.
    notes
        Sentences about values that are not the same in two runs of the whole notebook either.
    """

    pipeline: Pipeline
    proof: SplitProof
    notes: tuple[str, ...] = ()


def verify(draft: Draft, **how: Any) -> SplitProof:
    """Say whether a split gives what the whole notebook gives; arguments as of `prove`."""
    return prove(draft, **how).proof


def prove(
    draft: Draft,
    *,
    facts: Sequence[Fact] = (),
    jobs: int | None = None,
    place: str | Path | None = None,
    timeout_s: float | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Proven:
    """Run the whole notebook once, and every step alone on what it was handed there.

    What a step misses is found in the last step before it that gives it, and the split is made
    anew; what it does beyond the plan is added to it. Then all outputs are compared by content.

    Parameters
    ----------
    draft
        The notebook as steps.
    facts
        What earlier runs have shown.
    jobs
        How many kernels run at once; by the number of processors if left out.
    place
        Where the cells run; the notebook's folder if left out. What they write, they write.
    timeout_s
        For one cell; never if left out.
    on_note
        Called with sentences about the progress.

    Returns
    -------
    Proven
        The proof has the verdict ``equal``; ``differs``, with the first value that does; or
        ``failed``, where the whole notebook or a step alone did not come to its end.

    Raises
    ------
    PipelineRefused
        What the runs have shown leaves no split that is equal to the whole.
    MissingKernel, KernelNotReady
        A kernel cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-nb-proof-") as folder:
        proving = _Proving(
            draft,
            Path(folder),
            Path(place or Path(draft.notebook.path).absolute().parent),
            jobs or min(processors(), _MOST_JOBS),
            timeout_s,
            on_note or _say_nothing,
        )
        with sigterm_as_exit():
            return _waited_for(proving.prove(tuple(facts)))


def _say_nothing(_: str) -> None:
    """For who does not watch."""


def _waited_for(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a thread: a loop may run here already, as in a kernel.

    There is another reason: nbclient answers Ctrl-C by ending one kernel, and nothing else. Here
    it ends the work, and with it all kernels, before it goes on its way.
    """
    found: list[T] = []
    raised: list[BaseException] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []
    is_over = threading.Event()

    async def watched() -> T:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await work

    def run() -> None:
        try:
            found.append(asyncio.run(watched()))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            raised.append(error)
        finally:
            is_over.set()

    threading.Thread(target=run, name="mlops-nb-verify").start()
    try:
        # Not by `join`: interrupted, it takes the thread for one that has ended.
        is_over.wait()
    except BaseException:
        told_at = -_CANCEL_AGAIN_S
        while not is_over.wait(0.05):
            # A library on the way may keep the word to itself; then it is said again.
            if running and time.monotonic() - told_at >= _CANCEL_AGAIN_S:
                loop, task = running[0]
                with contextlib.suppress(RuntimeError):  # the loop has just ended
                    if task is not None and loop.call_soon_threadsafe(task.cancel):
                        told_at = time.monotonic()
        raise
    if raised:
        raise raised[0]
    return found[0]


class _Proving:
    """One verification; holds what all rounds have in common."""

    def __init__(
        self,
        draft: Draft,
        folder: Path,
        place: Path,
        jobs: int,
        timeout_s: float | None,
        say: Callable[[str], None],
    ) -> None:
        self._draft, self._folder, self._place = draft, folder, place
        self._jobs, self._timeout_s, self._say = jobs, timeout_s, say
        self._repairs: list[str] = []

    async def prove(self, facts: tuple[Fact, ...]) -> Proven:
        """Run, repair, compare."""
        pipeline = dataflow_of(self._draft, facts=facts)
        for number in range(MOST_ROUNDS):
            whole = await self._whole(pipeline, f"whole-{number}")
            if whole.failed is not None:
                return self._failed(pipeline, _whole_sentence(whole.failed))
            alone: dict[str, Alone] = {}
            if not whole.unstorable:
                try:
                    alone = await self._alone(pipeline, whole, f"alone-{number}")
                except StepInputsMissing as missing:
                    names = ", ".join(missing.names)
                    text = f"The whole notebook binds no {names} in step {missing.step}"
                    return self._failed(pipeline, text)
            found = new_facts(self._draft, pipeline, whole, alone, facts)
            repaired = dataflow_of(self._draft, facts=(*facts, *found)) if found else pipeline
            if repaired == pipeline:
                break
            self._repairs += [repair_sentence(fact, repaired) for fact in found]
            self._say(f"repaired: {self._repairs[-1]}")
            facts, pipeline = (*facts, *found), repaired
        else:
            text = f"after {MOST_ROUNDS} rounds there is still something new to repair"
            return self._failed(pipeline, text)
        if whole.unstorable:
            step, text = next(iter(whole.unstorable.items()))
            return self._failed(pipeline, f"What step {step} hands on cannot be stored: {text}")
        if (failed := _first_failure(pipeline, alone)) is not None:
            return self._failed(pipeline, failed)
        return await self._compared(pipeline, whole, alone)

    async def _whole(self, pipeline: Pipeline, name: str) -> Whole:
        self._say(f"running the whole notebook, {len(pipeline.steps)} steps")
        return await run_whole(
            pipeline,
            self._draft.notebook,
            self._folder / name,
            place=self._place,
            environ=os.environ,
            timeout_s=self._timeout_s,
        )

    async def _alone(self, pipeline: Pipeline, whole: Whole, name: str) -> dict[str, Alone]:
        self._say(f"running every step alone, {self._jobs} at once")
        return await run_alone(
            Setting(
                pipeline,
                self._draft.notebook,
                whole,
                self._folder / name,
                self._place,
                os.environ,
                self._jobs,
                self._timeout_s,
            )
        )

    async def _compared(
        self, pipeline: Pipeline, whole: Whole, alone: Mapping[str, Alone]
    ) -> Proven:
        compared = compare(pipeline, whole, alone)
        different = [one for one in compared if not one.is_same]
        notes: tuple[str, ...] = ()
        chance: set[tuple[str, str]] = set()
        if different:
            self._say(f"{len(different)} values differ: running the whole notebook once more")
            again = await self._whole(pipeline, "whole-again")
            chance = {(one.step, one.name) for one in different if _varies(one, again)}
            notes = tuple(
                f"{name} of step {step} is not reproducible in the whole notebook either."
                for step, name in sorted(chance)
            )
        real = [one for one in different if (one.step, one.name) not in chance]
        proof = SplitProof(
            pipeline=pipeline.name,
            split=split_digest(pipeline, notebook_digest(self._draft.notebook)),
            verdict="differs" if real else "equal",
            at_ns=time.time_ns(),
            values=tuple(_document(one, chance) for one in compared),
            repairs=tuple(self._repairs),
            difference=sentence(real[0]) if real else "",
        )
        return Proven(pipeline, proof, notes)

    def _failed(self, pipeline: Pipeline, text: str) -> Proven:
        proof = SplitProof(
            pipeline=pipeline.name,
            split=split_digest(pipeline, notebook_digest(self._draft.notebook)),
            verdict="failed",
            at_ns=time.time_ns(),
            repairs=tuple(self._repairs),
            difference=text,
        )
        return Proven(pipeline, proof)


def _whole_sentence(failed: Failed) -> str:
    where = "" if failed.cell is None else f" in cell {failed.cell}"
    return f"The whole notebook fails{where}: {failed}"


def _first_failure(pipeline: Pipeline, alone: Mapping[str, Alone]) -> str | None:
    """Say which step did not come to its end alone; None if all did."""
    order = [step.name for step in pipeline.steps]
    for one in sorted(alone.values(), key=lambda one: order.index(one.step.partition("[")[0])):
        if one.result.facts:
            text = one.result.facts[0].text or ", ".join(one.result.facts[0].names)
            return f"Step {one.step} alone does what the split does not allow for: {text}"
        if one.failed is not None:
            return f"Step {one.step} alone fails, the whole notebook does not: {one.failed}"
    return None


def _varies(one: Compared, again: Whole) -> bool:
    """Say whether a second run of the whole notebook gives another value, too."""
    if one.name.startswith("<file:"):
        path = one.name.removeprefix("<file:").removesuffix(">")
        return again.after[one.step].digests.get(path, "") != one.whole
    units = [unit for unit in again.units.get(one.step, ()) if one.name in unit.names]
    return not units or digest_in(units[0], one.name) != one.whole


def _document(one: Compared, chance: set[tuple[str, str]]) -> dict[str, Any]:
    """Describe a compared value as a proof does."""
    found: dict[str, Any] = {
        "step": one.step,
        "name": one.name,
        "whole": one.whole,
        "split": one.split,
        "same": one.is_same,
    }
    if (one.step, one.name) in chance:
        found["reproducible"] = False
    return found


__all__ = ["MOST_ROUNDS", "Proven", "prove", "verify"]
