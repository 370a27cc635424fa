"""Large values hashed by one thread of ours, while the user goes on.

A digest is called exact only if it is of the state at the moment when the value was handed over.
That has two proofs. With a page oracle: nothing was written to the value's memory until it was
read. Without one: the session says that no cell since could have changed the value, no thread of
the user was there to do so, and a sample that was taken at once is still the same. Where neither
holds, the sample is all that is told, and where there is no sample, that the value was ``torn``.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.fingerprint import read_value
from mlops_nb.fingerprint.carrying import Carried
from mlops_nb.fingerprint.jobs import (
    Job,
    has_strangers,
    is_same_sample,
    outline_of,
    weakly,
    with_sample,
)
from mlops_nb.fingerprint.known import Reached, is_of_texts
from mlops_nb.fingerprint.memory import buffers_of, holds_only_atoms, is_shared, shared_memory
from mlops_nb.fingerprint.pacing import LEAST_BUDGET_S, SHARE_OF_CELL, Allowance, PacedPass
from mlops_nb.fingerprint.sampling import sampled
from mlops_nb.fingerprint.scheme import FAILURES, OverBudgetError
from mlops_nb.fingerprint.unchanged import Unchanged, stable_copy
from mlops_nb.fingerprint.weight import weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlops_nb.fingerprint.jobs import Then
    from mlops_nb.fingerprint.known import Known
    from mlops_nb.fingerprint.pages import PageOracle
    from mlops_nb.model import Fingerprint

SYNCHRONOUS_BYTES = 32_000_000
"""Values up to this are hashed by the caller at once; see `weight.weight_of`."""

HELD_BYTES = 2_000_000_000
"""Values that wait are kept alive; beyond this, further ones are sampled at once."""

_ATTEMPTS = 3
_FIRST_GUESS_PER_S = 2e9
_OBJECTS_ARE_SLOWER = 5


class Hasher:
    """Hashes large values on one daemon thread.

    Parameters
    ----------
    on_done
        Told of every final fingerprint, after the one who asked for it.
    oracle
        Page tracking, where there is any.
    known
        Is given every exact fingerprint; see `mlops_nb.fingerprint.known.Known`.
    guarded
        Makes the context in which others' functions are called: `mlops_nb.capture.guard`.
    least_budget_s, share_of_cell
        CPU time that hashing may take for one cell: so many seconds, or this share of the time
        that the cell takes itself if that is more.
    held_bytes
        Most memory that waiting values keep alive.
    harmless
        Threads that never write to the user's values, beside the kernel's own.

    Examples
    --------
    >>> import numpy as np
    >>> hasher, found = Hasher(), []
    >>> hasher.submit(np.zeros(10**6), cell_wall_s=0, then=found.append).shape
    (1000000,)
    >>> hasher.after_cell(())
    >>> hasher.finish(10)
    >>> found[0].rows, bool(found[0].digest)
    (1000000, True)
    """

    def __init__(
        self,
        on_done: Then | None = None,
        *,
        oracle: PageOracle | None = None,
        known: Known | None = None,
        guarded: Callable[[], AbstractContextManager[object]] = nullcontext,
        least_budget_s: float = LEAST_BUDGET_S,
        share_of_cell: float = SHARE_OF_CELL,
        held_bytes: int = HELD_BYTES,
        harmless: Iterable[threading.Thread] = (),
    ) -> None:
        self._on_done = on_done
        self._oracle = oracle
        self._known = known
        self._guarded = guarded
        self._budget = {"least_s": least_budget_s, "share": share_of_cell}
        self._held_bytes = held_bytes
        self._harmless = tuple(harmless)
        self._begin()
        _hashers.add(self)

    def _begin(self) -> None:
        """Have nothing to do, and no thread."""
        self._carried = Carried()
        self._bytes_per_s = [_FIRST_GUESS_PER_S, _FIRST_GUESS_PER_S / _OBJECTS_ARE_SLOWER]
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._queue: deque[Job] = deque()
        self._jobs: dict[Job, None] = {}
        self._current: Job | None = None
        self._thread: threading.Thread | None = None
        self._is_cancelled = False
        # It is made inside of a cell; cells can run inside of cells, and beside them.
        self._cells = 1
        self._allowance: Allowance | None = None
        self._cell: object = None
        self._pid = os.getpid()

    # --- the user's thread --------------------------------------------------------------------

    def submit(
        self,
        value: object,
        *,
        cell_wall_s: float | Callable[[], float],
        then: Then,
        cell: object = None,
    ) -> Fingerprint:
        """Hand over a value as it is now; never waits for its hash.

        Parameters
        ----------
        value
            A value too large to be hashed at once.
        cell_wall_s
            How long the cell took, or a function that tells it.
        then
            Called from the thread with the final fingerprint, unless that is returned.
        cell
            Whose budget it is, by any key; None for the cell since `before_cell`.

        Returns
        -------
        Fingerprint
            Final if it has a digest. Otherwise kind, schema, rows and shape, as
            ``skipped:budget``, which it stays if the process ends too early.
        """
        carried = self._carried.lookup(value)
        if carried is not None:
            return carried
        same = self._joined(value, then)
        if same is not None:
            return same
        size_bytes = weight_of(value)
        if self._held() + size_bytes > self._held_bytes and self._jobs:
            outline = outline_of(value)
            return with_sample(outline, sampled(value)) or outline
        job = self._job(value, size_bytes, then, self._allowance_of(cell, cell_wall_s))
        self._put(job)
        return job.outline

    def before_cell(self, reached: Iterable[object] | None, *, wait_s: float = 0.0) -> None:
        """Be told that a cell begins.

        Parameters
        ----------
        reached
            Values that it may change, themselves or what they hold; None for anything.
        wait_s
            How long it may wait for a value that the cell reaches and no oracle watches.
        """
        self._cells += 1
        if self._cells == 1:
            self._allowance = None
        self._touch(reached, time.monotonic() + wait_s)

    def after_cell(self, changed: Iterable[object] | None) -> None:
        """Be told that a cell ended.

        Parameters
        ----------
        changed
            Values that it may have changed since it handed them over; None for anything.
        """
        self._touch(changed, 0.0)
        self._cells = max(0, self._cells - 1)
        if self._cells:
            return
        with self._lock:
            for job in self._jobs:
                if job.is_open and (job.found is not None or job.is_put_off):
                    self._queue.append(job)
                job.is_open = job.is_put_off = False
            self._more.notify_all()

    def upgrade(self, value: object, *, timeout_s: float, then: Then) -> Fingerprint:
        """Hash a value before all others, without a budget, and wait for it.

        Returns
        -------
        Fingerprint
            As from `submit`: without a digest if the time was not enough; then `then` is
            called later.
        """
        carried = self._carried.lookup(value)
        if carried is not None:
            return carried
        found: list[Fingerprint] = []
        job = self._job(value, 0, found.append, None)
        # Who asks waits, so no cell goes on meanwhile.
        job.is_open = False
        self._put(job, first=True)
        job.done.wait(timeout_s)
        with self._lock:
            is_late = not job.is_settled
            if is_late:
                job.then.append(then)
        if not is_late:
            job.done.wait(timeout_s)
        return found[0] if found else job.outline

    def wait(self, timeout_s: float) -> bool:
        """Wait until all that was handed over is read; False if the time was not enough."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while self.is_busy:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._more.wait(left_s):
                    return False
        return True

    @property
    def is_busy(self) -> bool:
        """Whether anything waits to be read, or is being read."""
        return bool(self._queue) or self._current is not None

    def finish(self, timeout_s: float) -> None:
        """End: hash on for a while, then report what remains as it is, and stop the thread."""
        if self._pid != os.getpid():
            return
        self.wait(timeout_s)
        with self._lock:
            self._is_cancelled = True
            left = list(self._jobs)
            self._queue.clear()
            self._more.notify_all()
        for job in left:
            self._settle(job, with_sample(job.outline, job.sample) or job.outline)
        self._carried.clear()

    def forget(self, value: object) -> None:
        """Let go of a value, even of the weak reference to it.

        NumPy refuses to ``resize`` an array in place that anybody refers to.
        """
        self._carried.forget(value)
        if self._known is not None:
            self._known.forget(value)

    # --- jobs ---------------------------------------------------------------------------------

    def _job(self, value: object, size_bytes: int, then: Then, allowance: Allowance | None) -> Job:
        job = Job(value, weakly(value), outline_of(value), [then], allowance, id(value), [])
        job.size_bytes = size_bytes
        job.is_open = bool(self._cells)
        if self._oracle is not None and self._carried.is_worth_it(value):
            job.unchanged = Unchanged.begin(self._oracle, value)
        if job.unchanged is None or self._is_too_much(job):
            job.sample = sampled(value)
        if job.unchanged is None:
            job.target = stable_copy(value)
            job.is_exposed = self._has_strangers() or is_shared(value)
        else:
            job.target = job.unchanged.target
        job.regions = shared_memory(value)
        if job.unchanged is None or job.unchanged.has_objects:
            job.inner = Reached.through([value]) if buffers_of(value) is None else None
        job.claim = None if self._known is None else self._known.expect(value)
        return job

    def _put(self, job: Job, *, first: bool = False) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._is_cancelled = False
                self._thread = threading.Thread(
                    target=self._work, name="mlops_nb hashing", daemon=True
                )
                self._thread.start()
            self._jobs[job] = None
            if first:
                self._queue.appendleft(job)
            else:
                self._queue.append(job)
            self._more.notify_all()

    def _held(self) -> int:
        return sum(job.size_bytes for job in list(self._jobs) if job.value is not None)

    def _allowance_of(self, cell: object, cell_wall_s: float | Callable[[], float]) -> Allowance:
        if self._allowance is None or (cell is not None and cell != self._cell):
            self._allowance = Allowance(cell_wall_s, **self._budget)
            self._cell = cell
        self._allowance.know(cell_wall_s)
        return self._allowance

    def _joined(self, value: object, then: Then) -> Fingerprint | None:
        """Join a job for the same value in the same state."""
        for job in list(self._jobs):
            if job.value is not value or job.is_settled:
                continue
            unchanged, sample = job.unchanged, job.sample
            if unchanged is None and (job.is_reached or job.is_reached_inside):
                continue
            if unchanged is not None:
                is_same = unchanged.still_holds(value)[0]
            else:
                is_same = sample is not None and is_same_sample(sample, sampled(value))
            with self._lock:
                # It may have been settled, and its callers told, meanwhile.
                if is_same and not job.is_settled:
                    job.then.append(then)
                    job.is_open |= bool(self._cells)
                    return job.outline
        return None

    def _touch(self, values: Iterable[object] | None, deadline: float) -> None:
        """Mark what a cell reaches."""
        jobs = [job for job in list(self._jobs) if not job.is_reached]
        if not jobs:
            return
        reached = Reached.through(values)
        for job in jobs:
            if reached.has(job.address, job.regions):
                left_s = deadline - time.monotonic()
                if left_s > 0 and job.unchanged is None:
                    job.done.wait(left_s)
                with self._lock:
                    job.is_reached = True
            elif job.inner is not None and job.inner.meets(reached):
                with self._lock:
                    job.is_reached_inside = True

    def _has_strangers(self) -> bool:
        return has_strangers((*self._harmless, self._thread))

    # --- the thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    if self._is_cancelled:
                        self._thread = None
                        return
                    self._more.wait()
                job = self._current = self._queue.popleft()
            try:
                self._read(job)
            except FAILURES:
                self._settle(job, job.outline)
            finally:
                with self._lock:
                    self._current = None
                    self._more.notify_all()
            # Not the next wait: nothing of the user's may live on in a variable here.
            del job

    def _read(self, job: Job) -> None:
        if job.found is None and not job.is_settled:
            if self._is_put_off(job):
                return
            found, is_proved = self._hash_until_sure(job)
            job.found = found
            if is_proved:
                self._keep_watch(job, found)
                self._settle(job, found)
                return
            self._let_go(job)
        self._judge(job)

    def _is_put_off(self, job: Job) -> bool:
        """Whether to wait for the end of the cell, as a long cell allows for more."""
        with self._lock:
            job.is_put_off = job.is_open and self._is_too_much(job)
            return job.is_put_off

    def _hash_until_sure(self, job: Job) -> tuple[Fingerprint, bool]:
        """Hash, and tell whether what was found is known to be of the state of the beginning."""
        unchanged = job.unchanged
        found = self._hash(job)
        if found.assurance == "sampled" and job.sample is not None:
            # It was taken then.
            return found, True
        job.is_plain = self._is_plain(job, found)
        if unchanged is None:
            is_same = job.sample is None or is_same_sample(job.sample, sampled(job.target))
            job.is_reached |= not is_same
            return found, False
        # The objects were looked at before, so that this holds for them too.
        verdict = unchanged.verdict(found)
        for _ in range(_ATTEMPTS - 1):
            if verdict == "again" and found.assurance == "exact" and not job.is_settled:
                found = self._hash(job)
                job.is_plain = self._is_plain(job, found)
                verdict = unchanged.verdict(found)
        job.is_reached |= verdict == "lost"
        if found.assurance != "exact":
            return found, verdict != "lost"
        # Clean pages do not tell whether objects changed, unless they are such as cannot.
        return found, verdict == "certain" and job.is_plain

    def _is_plain(self, job: Job, found: Fingerprint) -> bool:
        """Whether what the memory of a value says cannot be changed elsewhere."""
        if job.inner is None or is_of_texts(found):
            return True
        if found.assurance != "exact":
            return False
        tracker = PacedPass(None, lambda: self._is_cancelled)
        try:
            return holds_only_atoms(job.target, tracker.step)
        except OverBudgetError:
            return False

    def _judge(self, job: Job) -> None:
        """Settle by the word of the session, or wait for it."""
        found = job.found or job.outline
        if found.assurance == "opaque":
            self._settle(job, found)
            return
        with self._lock:
            is_waiting = job.is_open and job.is_untouched
            is_true = not job.is_open and job.is_untouched
        if is_waiting:
            return
        if is_true and not job.is_exposed and not self._has_strangers():
            self._settle(job, found)
        else:
            weaker = with_sample(job.outline, job.sample)
            self._settle(job, weaker or replace(job.outline, assurance="torn"))

    def _hash(self, job: Job) -> Fingerprint:
        """Hash a value, or a sample of it when that would take too long."""
        if self._is_too_much(job):
            # One slow moment is not believed for ever.
            self._bytes_per_s[job.has_objects] *= 1.5
            return with_sample(job.outline, job.sample or sampled(job.target)) or job.outline
        tracker = PacedPass(job.allowance, lambda: self._is_cancelled or job.is_settled)
        try:
            found = read_value(job.target, tracker)
        except FAILURES:
            found = replace(job.outline, assurance="opaque")
        cost_s = tracker.cost_s
        if job.allowance is not None:
            job.allowance.spent_s += cost_s
        found = replace(found, size_bytes=tracker.size_bytes, cost_ns=int(cost_s * 1e9))
        if found.assurance == "skipped:budget" and not tracker.was_cancelled:
            return with_sample(found, job.sample or sampled(job.target)) or found
        if found.assurance == "exact" and cost_s > 0 and job.size_bytes:
            self._bytes_per_s[job.has_objects] = job.size_bytes / cost_s
        return found

    def _is_too_much(self, job: Job) -> bool:
        """Guess, by what was measured before, whether the budget will not be enough."""
        if job.allowance is None:
            return False
        return job.size_bytes / self._bytes_per_s[job.has_objects] > job.allowance.left_s

    def _let_go(self, job: Job) -> None:
        """Keep nothing alive any longer."""
        job.value = job.target = None
        if job.unchanged is not None:
            job.unchanged.end()
            job.unchanged = None

    def _settle(self, job: Job, final: Fingerprint) -> None:
        with self._lock:
            if job.is_settled:
                return
            job.is_settled = True
            self._jobs.pop(job, None)
            told, job.then = job.then, []
        self._let_go(job)
        if job.claim is not None and self._known is not None:
            self._known.fulfil(job.claim, final, is_plain=job.is_plain)
        try:
            for then in [*told, *([self._on_done] if self._on_done is not None else [])]:
                with self._guarded():
                    then(final)
        finally:
            job.done.set()

    def _keep_watch(self, job: Job, found: Fingerprint) -> None:
        """Go on to watch a value whose digest is known."""
        unchanged = job.unchanged
        value = job.ref() if job.ref is not None else None
        if unchanged is not None and value is not None and found.assurance == "exact":
            job.unchanged = None
            self._carried.keep(value, found, unchanged)

    def forget_in_child(self) -> None:
        """Drop everything in a child process: it has neither the thread nor the oracle."""
        self._begin()


_hashers: weakref.WeakSet[Hasher] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for hasher in list(_hashers):
        hasher.forget_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
