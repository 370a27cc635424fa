"""A run in a fresh kernel, compared with its record."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import NotTrusted
from mlops_nb.model import RunChanged, TagSet, new_run_id
from mlops_nb.replay.causes import Circumstances, likely_causes
from mlops_nb.replay.code import changed_code
from mlops_nb.replay.evidence import gather
from mlops_nb.replay.execution import INSIDE_VARIABLE, execute
from mlops_nb.replay.files import input_states
from mlops_nb.replay.folded import Side, compare_folded
from mlops_nb.replay.judging import compare_evidence, in_run_order, outcome_of
from mlops_nb.replay.recording import family_of, label_of, recall, why_not
from mlops_nb.replay.records import Replay
from mlops_nb.replay.restoring import first_cell
from mlops_nb.replay.secrets import find_secrets, variable_of
from mlops_nb.replay.trust import stranger
from mlops_nb.replay.verdicts import verified
from mlops_nb.store.reading.references import REPLAY_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.model import Event, Execution, Run
    from mlops_nb.replay.files import InputState
    from mlops_nb.replay.recording import Recording
    from mlops_nb.replay.records import Value
    from mlops_nb.store import Store

_SETTLE_S = 15.0
_LOOK_EVERY_S = 0.1
_MOST_NAMED = 4
_STDIN_ERROR = "StdinNotImplementedError"


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who watches a replay.

    Attributes
    ----------
    on_begin
        Called before the first cell with a line to show and the number of cells.
    on_note
        Called with what is good to know before it runs.
    on_progress
        Called with (cell index, number of cells, ``started`` | ``done`` | ``failed``).
    ask
        Shown the sources and why they are not trusted; says whether to run them.
    """

    on_note: Callable[[str], None] = lambda _text: None
    on_progress: Callable[[int, int, str], None] | None = None
    ask: Callable[[Sequence[str], str], bool] | None = None


def replay(
    store: Store,
    run: Run,
    *,
    trust: bool = False,
    output: Path | None = None,
    folder: Path | None = None,
    watcher: Watcher | None = None,
) -> Replay:
    """Run a run's recorded cells in a fresh kernel, and compare all they leave.

    Parameters
    ----------
    store, run
        The run, and where it is; the replay is a run in the same store.
    trust
        Whether cells that this user may not have recorded are run without asking.
    output
        Where the executed notebook goes; in the store if left out.
    folder
        Where the cells run; the notebook's folder if left out.
    watcher
        Is told of the progress, and asked.

    Returns
    -------
    Replay
        Also of a run that cannot be replayed: its outcome says so.

    Raises
    ------
    NotTrusted
        Nobody was there to ask, or the answer was no.
    KeyboardInterrupt
        After the kernel has ended.
    """
    watcher = watcher or Watcher()
    recording = recall(store, run, folder=folder)
    stop = _cannot(recording) or why_not(recording)
    if stop is not None:
        return Replay(run, "not-replayable", (stop,), recording.executions)
    secrets = find_secrets(recording.secrets, os.environ)
    if lacking := [name for name, variable in secrets.items() if variable is None]:
        return Replay(run, "needs-secret", _lacking(lacking), recording.executions)
    _require_trust(store, recording, trust=trust, watcher=watcher)
    states = input_states(recording.executions, recording.top, recording.folder)
    notes = tuple(_notes(recording, states))
    for note in notes:
        watcher.on_note(note)
    given = {name: variable for name, variable in secrets.items() if variable is not None}
    attempt = _Attempt(store, recording, states, notes, new_run_id())
    return attempt.run(output, given, watcher)


def _cannot(recording: Recording) -> str | None:
    """Say what is wrong with replaying from here; None for nothing."""
    if os.environ.get(INSIDE_VARIABLE):
        return "this is a replay already"
    return None if recording.folder.is_dir() else f"{recording.folder} is no folder"


def _lacking(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"the secret {name} is not in the environment: set {variable_of(name)}" for name in names
    )


def _require_trust(store: Store, recording: Recording, *, trust: bool, watcher: Watcher) -> None:
    why = None if trust else stranger(store.folder, recording.session)
    if why is None:
        return
    sources = [execution.source for execution in recording.executions]
    if watcher.ask is None or not watcher.ask(sources, why):
        raise NotTrusted(recording.run.id, why)


def _notes(recording: Recording, states: Sequence[InputState]) -> list[str]:
    """Say before it runs what may keep it from being the same."""
    notes = []
    words = {"changed": "has changed since it was read", "gone": "is not there any more"}
    for state in states:
        if state.state in words:
            where = label_of(recording.executions[state.position])
            notes.append(f"input {state.path} {words[state.state]} in cell {where}")
    inferred = [label_of(each) for each in recording.executions if each.is_inferred]
    if inferred:
        named = ", ".join(inferred[:_MOST_NAMED])
        notes.append(f"cells from before tracking, taken from the history: {named}")
    old = recording.top.notebook
    if old and recording.notebook is not None and str(recording.notebook) != old:
        notes.append(f"it runs in {recording.folder}; it was recorded in {Path(old).parent}")
    return notes


class _Attempt:
    """One replay: what it runs, and what it comes to."""

    def __init__(
        self,
        store: Store,
        recording: Recording,
        states: tuple[InputState, ...],
        notes: tuple[str, ...],
        run_id: str,
    ) -> None:
        self.store, self.recording, self.states, self.run_id = store, recording, states, run_id
        self.notes = notes

    def run(self, output: Path | None, secrets: Mapping[str, str], watcher: Watcher) -> Replay:
        """Run the cells, and compare."""
        executed = execute(
            self.recording,
            batch=self._batch(),
            output=output or self._place(),
            secrets=secrets,
            on_progress=watcher.on_progress,
        )
        new = self._settled(wait=executed.problem is None)
        base = Replay(
            run=self.recording.run,
            outcome="not-replayable",
            executions=self.recording.executions,
            notes=(*self.notes, *executed.remarks),
            replayed_by=new.id if new is not None else None,
            notebook=str(executed.notebook) if executed.notebook.is_file() else None,
            duration_s=executed.duration_s,
        )
        if new is None or executed.problem is not None or not new.session:
            why = executed.problem or "its kernel did not record what ran"
            return replace(base, reasons=(why, *executed.remarks))
        judged = self._judge(new, base)
        self._write_verdict(judged, new)
        return judged

    def _batch(self) -> dict[str, Any]:
        run = self.recording.run
        return {
            "run": self.run_id,
            "name": f"replay of {run.id[:4]}",
            "experiment": run.experiment,
            "tags": {REPLAY_TAG: run.id},
            # The location of a server has no credentials; its kernel finds it as we did.
            "store": self.store.location if self.store.folder is not None else None,
        }

    def _place(self) -> Path:
        """Name the executed notebook after the run that the replay is."""
        name = f"replay-{self.recording.run.id[:4]}.ipynb"
        if self.store.folder is None:
            return self.recording.folder / name
        return self.store.folder / "runs" / self.run_id / name

    def _settled(self, *, wait: bool) -> Run | None:
        """Read the new run back once its kernel has written everything."""
        deadline = time.monotonic() + (_SETTLE_S if wait else 0)
        while True:
            self.store.refresh()
            # Connections that are older than what other processes did meanwhile may not see it.
            self.store.close()
            found = self.store.find_run(self.run_id)
            if found is not None and found.status != "running":
                return found
            if time.monotonic() > deadline:
                return found
            time.sleep(_LOOK_EVERY_S)

    # --- judging --------------------------------------------------------------------------

    def _judge(self, new: Run, base: Replay) -> Replay:
        recording, store = self.recording, self.store
        placed = dict(enumerate(recording.executions))
        before = gather(store, self._recorded_runs(), placed)
        family = family_of(store, new)
        now = self._placed_now(new)
        values = compare_evidence(before, gather(store, family, now), recording.subject)
        values = in_run_order((*values, *self._folded(family, now)))
        replayed = replace(base, values=values, outcome=outcome_of(values))
        first = replayed.first
        if first is None:
            return replace(replayed, reasons=_reasons(replayed))
        error = now[first.position].error if first.position in now else None
        if error is not None and error.type == _STDIN_ERROR:
            where = label_of(recording.executions[first.position])
            why = f"cell {where} asks its user for something"
            return replace(replayed, outcome="not-replayable", reasons=(why,))
        about = Circumstances(
            executions=recording.executions,
            runs=recording.family,
            files=self.states,
            before=recording.environment,
            after=store.environment(new.environment) if new.environment else None,
            code=changed_code(recording.top.git, recording.folder),
            commits=(_commit(recording.top), _commit(new)),
            error=(error.type, error.message) if error is not None else None,
        )
        causes = likely_causes(first, about)
        return replace(replayed, causes=causes, reasons=_reasons(replayed))

    def _folded(self, family: Sequence[Run], now: Mapping[int, Execution]) -> tuple[Value, ...]:
        recording = self.recording
        recorded = Side(recording.family, dict(enumerate(recording.executions)))
        return compare_folded(self.store, recorded, Side(family, now), recording.subject)

    def _recorded_runs(self) -> list[Run]:
        """List all runs that these cells fed: a cell may log to more than one."""
        recording = self.recording
        ids = {execution.id for execution in recording.executions}
        session = recording.top.session
        others = self.store.runs(f"session = '{session}'") if session else []
        fed = [run for run in others if not ids.isdisjoint(run.executions)]
        return list({run.id: run for run in (*fed, *recording.family)}.values())

    def _placed_now(self, new: Run) -> dict[int, Execution]:
        """Find the new execution of each recorded cell by its place in the notebook."""
        start, count = first_cell(self.recording), len(self.recording.executions)
        return {
            place: execution
            for execution in self.store.session_executions(new.session or "")
            if execution.parent is None and execution.cell_index is not None
            if 0 <= (place := execution.cell_index - start) < count
        }

    # --- writing --------------------------------------------------------------------------

    def _write_verdict(self, judged: Replay, new: Run) -> None:
        """Keep what came out: with the replay, and as the run's label if all is the same."""
        at_ns = time.time_ns()
        text = f"replay of {judged.run.id[:4]}: {judged.outcome}"
        verdict = {"label": "linear", "reasons": [{"kind": "replay", "text": text}]}
        events: list[Event] = [
            TagSet(new.id, "replay_outcome", judged.outcome, at_ns),
            RunChanged(new.id, at_ns, {"verdict": verdict}),
        ]
        if judged.outcome == "verified":
            events += [
                RunChanged(run.id, at_ns, {"verdict": verified(run.verdict, judged, at_ns)})
                for run in self.recording.family
                if run.id in self.recording.subject
            ]
        self.store.apply(events)


def _commit(run: Run) -> str | None:
    return (run.git or {}).get("commit")


def _reasons(replayed: Replay) -> tuple[str, ...]:
    """Say in sentences what the comparison came to."""
    first = replayed.first
    if first is not None:
        where = label_of(replayed.executions[first.position])
        name = f"{first.kind} {first.name}".strip() if first.kind != "outcome" else "the outcome"
        return (f"{name} of cell {where} is the first that differs",)
    if replayed.outcome == "not-replayable":
        notes = sorted({v.note for v in replayed.values if v.note and v.kind != "outcome"})
        because = f" ({', '.join(notes)})" if notes else ""
        return (f"none of its values could be compared{because}",)
    exact, close = replayed.count("exact"), replayed.count("close")
    said = f"{exact} values exact" + (f", {close} within 1e-9" if close else "")
    return (said,)
