"""What can go wrong with pipelines; loaded only by who works with them."""

from __future__ import annotations

from mlops_nb.errors import MlopsNbError


class PipelineRefused(MlopsNbError):
    """A notebook cannot be split so that it stays equal to the whole.

    Parameters
    ----------
    notebook
        Its path.
    problem
        What is in the way, with step and cell.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, notebook: str, problem: str, remedy: str) -> None:
        super().__init__(notebook, problem, remedy)
        self.notebook, self.problem, self.remedy = notebook, problem, remedy

    def __str__(self) -> str:
        return f"{self.notebook}: {self.problem}. {self.remedy}"


class BadCron(MlopsNbError, ValueError):
    """A cron expression cannot be read, or never fires.

    Parameters
    ----------
    expression
        The whole of it.
    field
        Name of the field that is wrong; empty if it is the whole.
    problem
        What is wrong, as a clause; may be empty where `part` says it.
    part
        What stands in that field.
    allowed
        What may stand there.
    """

    def __init__(
        self, expression: str, field: str, problem: str, part: str = "", allowed: str = ""
    ) -> None:
        super().__init__(expression, field, problem, part, allowed)
        self.expression, self.field, self.problem = expression, field, problem
        self.part, self.allowed = part, allowed

    def __str__(self) -> str:
        if not self.field:
            return f'"{self.expression}" is no schedule: {self.problem}.'
        why = f": {self.problem}" if self.problem else ""
        return (
            f'"{self.expression}": "{self.part}" does not fit the {self.field}{why}. '
            f"Allowed: *, {self.allowed}; lists (1,2), ranges (1-5) and steps (*/2)."
        )


class UnknownZone(MlopsNbError, LookupError):
    """There is no time zone of this name.

    Parameters
    ----------
    name
        What was given.
    close
        Names that may have been meant.
    is_without_data
        Whether this machine knows no zones at all.
    """

    def __init__(
        self, name: str, close: tuple[str, ...] = (), is_without_data: bool = False
    ) -> None:
        super().__init__(name, close, is_without_data)
        self.name, self.close, self.is_without_data = name, close, is_without_data

    def __str__(self) -> str:
        if self.is_without_data:
            return (
                f'The time zone "{self.name}" cannot be looked up: this machine has no zone data. '
                "Install it: pip install tzdata"
            )
        near = f" Do you mean {' or '.join(self.close)}?" if self.close else ""
        return f'There is no time zone "{self.name}".{near} Zones are written as Europe/Brussels.'


class ScheduleNotFound(MlopsNbError, LookupError):
    """No schedule has this name or id.

    Parameters
    ----------
    reference
        What was asked for.
    close
        What may have been meant, as ``"nightly (7f3a)"``.
    """

    def __init__(self, reference: str, close: tuple[str, ...] = ()) -> None:
        super().__init__(reference, close)
        self.reference, self.close = reference, close

    def __str__(self) -> str:
        near = f" Close: {', '.join(self.close)}." if self.close else ""
        return f'No schedule matches "{self.reference}".{near} List them: mlops-nb schedule list'


class AmbiguousSchedule(ScheduleNotFound):
    """More than one schedule is meant; `close` names them."""

    def __str__(self) -> str:
        return (
            f'"{self.reference}" could be any of {", ".join(self.close)}. '
            "Give the name in full, or more characters of the id."
        )


class ScheduleRefused(MlopsNbError, ValueError):
    """A schedule cannot be made, changed or fired as asked; nothing was changed.

    Parameters
    ----------
    name
        Of the schedule.
    problem
        What is in the way, as a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(name, problem, remedy)
        self.name, self.problem, self.remedy = name, problem, remedy

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}. {self.remedy}"


class ExportRefused(MlopsNbError, ValueError):
    """A notebook cannot be written as a workflow, line or unit of another system.

    Parameters
    ----------
    format_
        Name of the exporter.
    problem
        What cannot be said there, as a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, format_: str, problem: str, remedy: str) -> None:
        super().__init__(format_, problem, remedy)
        self.format_, self.problem, self.remedy = format_, problem, remedy

    def __str__(self) -> str:
        return f"Not exported to {self.format_}: {self.problem}. {self.remedy}"


class BadDefinition(MlopsNbError, ValueError):
    """A file ``pipeline.yaml`` cannot be used.

    Parameters
    ----------
    path
        The file.
    line
        One-based, 0 where it is about the whole file.
    key
        As ``steps[2].after``; empty where it is about the whole file.
    problem
        What is wrong, as a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, path: str, line: int, key: str, problem: str, remedy: str) -> None:
        super().__init__(path, line, key, problem, remedy)
        self.path, self.line, self.key = path, line, key
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        where = f"{self.path}, line {self.line}" if self.line else self.path
        key = f"{self.key}: " if self.key else ""
        return f"{where}: {key}{self.problem}. {self.remedy}"


class NotOverwritten(MlopsNbError, FileExistsError):
    """Files that a person has made or changed stand where a pipeline would be written.

    Parameters
    ----------
    folder
        Where it would be written.
    problem
        What is there, as a clause.
    files
        Those that would be lost, relative to the folder.
    """

    def __init__(self, folder: str, problem: str, files: tuple[str, ...] = ()) -> None:
        super().__init__(folder, problem)
        self.args = (folder, problem, files)
        self.errno, self.strerror, self.filename = None, problem, folder
        self.folder, self.problem, self.files = folder, problem, files

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args

    def __str__(self) -> str:
        listed = f": {', '.join(self.files)}" if self.files else ""
        return (
            f"{self.folder}: {self.problem}{listed}. Nothing was written. "
            "Give another folder with -o, or overwrite with --force."
        )


class NotWritten(MlopsNbError, OSError):
    """A pipeline's folder cannot be written; what was there before is untouched.

    Parameters
    ----------
    folder
        Where it would be written.
    problem
        Why not, as a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, folder: str, problem: str, remedy: str) -> None:
        super().__init__(folder, problem)
        self.args = (folder, problem, remedy)
        self.errno, self.strerror, self.filename = None, problem, folder
        self.folder, self.problem, self.remedy = folder, problem, remedy

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args

    def __str__(self) -> str:
        return f"{self.folder}: {self.problem}. {self.remedy}"


class BadPipeline(MlopsNbError, ValueError):
    """The tags of a notebook make no pipeline.

    Attributes
    ----------
    notebook
        Its path.
    problems
        All that is wrong, each as a sentence with step and cell that says what to do.
    """

    def __init__(self, notebook: str, problems: tuple[str, ...]) -> None:
        super().__init__(notebook, problems)
        self.notebook, self.problems = notebook, problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.notebook}: {self.problems[0]}"
        listed = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{self.notebook}: {len(self.problems)} things are wrong with its steps:{listed}"


class StepTaken(MlopsNbError):
    """Another process runs a step, or has run it, that this one took for its own.

    Parameters
    ----------
    pipeline_run
        Id of the run of the pipeline.
    step
        The step's name.
    """

    def __init__(self, pipeline_run: str, step: str) -> None:
        super().__init__(pipeline_run, step)
        self.pipeline_run, self.step = pipeline_run, step

    def __str__(self) -> str:
        return (
            f"Step {self.step} of run {self.pipeline_run[:4]} is run by another process. "
            f"See which: mlops-nb status {self.pipeline_run[:4]}"
        )


class StepNotKnown(MlopsNbError, LookupError):
    """No run of a pipeline in the store has a step of this name.

    Parameters
    ----------
    step
        What was asked for.
    known
        Steps that there are.
    """

    def __init__(self, step: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(step, known)
        self.step, self.known = step, known

    def __str__(self) -> str:
        have = (
            f"There are: {', '.join(self.known[:12])}." if self.known else "Nothing has run yet."
        )
        return f'No step "{self.step}" has run here. {have} See: mlops-nb status'


class CorruptValue(MlopsNbError):
    """Kept values of a step are not there, or not what they were; they must not be used.

    Parameters
    ----------
    names
        Of the values, or the path of a file.
    step
        Which step saved them, empty if that is not known.
    problem
        What is wrong, as a clause.
    """

    def __init__(self, names: tuple[str, ...], step: str, problem: str) -> None:
        super().__init__(names, step, problem)
        self.names, self.step, self.problem = names, step, problem

    def __str__(self) -> str:
        whose = f" of step {self.step}" if self.step else ""
        return (
            f"{', '.join(self.names)}{whose}: {self.problem}. "
            "Run the step again; the store is looked over with: mlops-nb store check"
        )


class BadStepFile(MlopsNbError, ValueError):
    """What a step was told, or what it said, cannot be read.

    Attributes
    ----------
    path, problem
        The file, and what is wrong with it, as a clause.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. Run the step again."


class CannotStore(MlopsNbError, TypeError):
    """A value cannot become a file.

    Attributes
    ----------
    name
        Where it stands: ``"model"``, or ``'box["handle"]'`` for a part of a value.
    type
        Its class.
    why
        As a clause.
    """

    def __init__(self, name: str, type: str, why: str) -> None:  # noqa: A002  # what it is
        super().__init__(name, type, why)
        self.name, self.type, self.why = name, type, why

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.type}) cannot be stored: {self.why}. Make it in the step that "
            "uses it, or put both steps under one tag."
        )


class PickleRefused(MlopsNbError, TypeError):
    """Only a pickle could hold a value, and pickles are not allowed.

    Attributes
    ----------
    name, type
        Of the value.
    why
        What keeps it from every other format, as a clause.
    """

    def __init__(self, name: str, type: str, why: str) -> None:  # noqa: A002  # what it is
        super().__init__(name, type, why)
        self.name, self.type, self.why = name, type, why

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.type}) can only be stored as a pickle, which is not allowed here "
            f"({self.why}). Make it plain values, arrays or tables, or allow pickles."
        )


class UntrustedValue(MlopsNbError, PermissionError):
    """A value that can run code when it is loaded has no signature of somebody trusted.

    Attributes
    ----------
    names, format
        Of the unit.
    problem
        What is wrong with the signature, as a clause.
    """

    def __init__(self, names: str, format: str, problem: str) -> None:  # noqa: A002  # what it is
        super().__init__(names, format, problem)
        self.names, self.format, self.problem = names, format, problem

    def __str__(self) -> str:
        return (
            f"{self.names} is stored as {self.format}, which can run code when it is loaded, and "
            f"{self.problem}. Nothing was loaded. Run the step that makes it again yourself, or "
            "share a key with your team in MLOPS_NB_TEAM_KEY."
        )


class BadSigningKey(MlopsNbError, PermissionError):
    """The key that stored values are signed with cannot be used.

    Attributes
    ----------
    place, problem
        The file or variable, and what is wrong, as a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        super().__init__(place, problem, remedy)
        self.place, self.problem, self.remedy = place, problem, remedy

    def __str__(self) -> str:
        return f"The signing key {self.place} cannot be used: {self.problem}. {self.remedy}"


class SplitNotEqual(MlopsNbError, RuntimeError):
    """A step did what the plan of its pipeline does not allow for; its values are not used.

    Attributes
    ----------
    step
        Name of the step.
    facts
        What it did, as sentences.
    """

    exit_code = 1

    def __init__(self, step: str, facts: tuple[str, ...]) -> None:
        super().__init__(step, facts)
        self.step, self.facts = step, facts

    def __str__(self) -> str:
        return (
            f"Step {self.step} did what the plan does not allow for: {'; '.join(self.facts)}. "
            "Nothing of it is used. Run the whole notebook once with mlops-nb run, which plans "
            "again by itself and remembers; then convert it again."
        )


class ValueMissing(MlopsNbError, NameError):
    """A value that a step takes or gives is not there.

    Attributes
    ----------
    step
        Name of the step.
    name
        Of the value.
    problem
        As a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, step: str, name: str, problem: str, remedy: str) -> None:
        super().__init__(step, name, problem, remedy)
        self.step, self.name, self.problem, self.remedy = step, name, problem, remedy

    def __str__(self) -> str:
        return f"Step {self.step}, {self.name}: {self.problem}. {self.remedy}"


class SecretCrosses(MlopsNbError, PermissionError):
    """A value that holds a secret would be written down.

    Attributes
    ----------
    step, name
        The step and the value.
    """

    def __init__(self, step: str, name: str) -> None:
        super().__init__(step, name)
        self.step, self.name = step, name

    def __str__(self) -> str:
        return (
            f"Step {self.step} would store {self.name}, which holds a secret. Read it again in "
            f"each step that needs it, as from os.environ, or tag the cell secret:{self.name}."
        )


class CannotJoin(MlopsNbError, ValueError):
    """The pieces of a fanned-out step do not make one value.

    Attributes
    ----------
    name
        Of the value.
    problem
        What is in the way, with the pieces, as a clause.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return (
            f"The pieces of {self.name} cannot be joined: {self.problem}. Let each piece give a "
            "dict by its own key, or join them by hand in one step."
        )


class NoPipelineHere(MlopsNbError, LookupError):
    """A cell asks for values of a pipeline that is not in this folder.

    Attributes
    ----------
    pipeline
        Its name.
    folder
        Where it was looked for: there, above it and directly below it.
    others
        Pipelines that were found instead.
    """

    def __init__(self, pipeline: str, folder: str, others: tuple[str, ...] = ()) -> None:
        super().__init__(pipeline, folder, others)
        self.pipeline, self.folder, self.others = pipeline, folder, others

    def __str__(self) -> str:
        found = f" (there: {', '.join(self.others)})" if self.others else ""
        return (
            f"No pipeline.yaml of the pipeline {self.pipeline} in {self.folder}, above it or "
            f"directly below it{found}. Run the notebook from its pipeline's folder, or make it "
            "with: mlops-nb convert NOTEBOOK -o FOLDER"
        )


class UnknownStep(MlopsNbError, LookupError):
    """A pipeline has no step of this name.

    Parameters
    ----------
    pipeline
        The pipeline's name.
    step
        What was asked for.
    known
        Its steps, in order.
    """

    def __init__(self, pipeline: str, step: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(pipeline, step, known)
        self.pipeline, self.step, self.known = pipeline, step, known

    def __str__(self) -> str:
        import difflib

        close = difflib.get_close_matches(self.step, self.known, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        listed = ", ".join(self.known)
        return f'{self.pipeline} has no step "{self.step}".{hint} It has: {listed}.'


class StepInputsMissing(MlopsNbError, LookupError):
    """A step is to run without the ones above it, and what they would give is not known.

    Parameters
    ----------
    pipeline
        The pipeline's name.
    step
        The step that is not to run.
    names
        What is needed of it.
    """

    def __init__(self, pipeline: str, step: str, names: tuple[str, ...]) -> None:
        super().__init__(pipeline, step, names)
        self.pipeline, self.step, self.names = pipeline, step, names

    def __str__(self) -> str:
        return (
            f"No results of step {self.step} of {self.pipeline} are kept, and "
            f"{', '.join(self.names)} of it is needed. Run it too: leave out --from and --only, "
            f"or give --from {self.step}."
        )


class RunHeld(MlopsNbError, RuntimeError):
    """Another process runs this pipeline run.

    Parameters
    ----------
    run
        Id of the run.
    where
        Which process, as a clause; empty if that is not known.
    """

    def __init__(self, run: str, where: str = "") -> None:
        super().__init__(run, where)
        self.run, self.where = run, where

    def __str__(self) -> str:
        who = f" ({self.where})" if self.where else ""
        return (
            f"Run {self.run[:8]} is being run by another process{who}. "
            f"Wait for it, or end it first; see: mlops-nb status {self.run[:8]}"
        )


class NothingToDebug(MlopsNbError, LookupError):
    """What a step of a run was told cannot be had again.

    Parameters
    ----------
    run
        Id of the pipeline's run.
    step
        The step's name.
    problem
        What is in the way, as a clause.
    """

    def __init__(self, run: str, step: str, problem: str) -> None:
        super().__init__(run, step, problem)
        self.run, self.step, self.problem = run, step, problem

    def __str__(self) -> str:
        return (
            f"Step {self.step} of run {self.run[:8]} cannot be looked into: {self.problem}. "
            "Run the pipeline again, then debug that run."
        )


class NothingToResume(MlopsNbError, LookupError):
    """There is no run of this pipeline that could go on.

    Parameters
    ----------
    reference
        What was asked for.
    problem
        What is in the way, as a clause.
    """

    def __init__(self, reference: str, problem: str) -> None:
        super().__init__(reference, problem)
        self.reference, self.problem = reference, problem

    def __str__(self) -> str:
        return f"{self.reference}: {self.problem}. Begin a new run: leave out --resume."


class BadStoreAddress(MlopsNbError, ValueError):
    """An address that begins with ``mlops://`` cannot be read from or written to.

    Attributes
    ----------
    address, problem
        The address, and what is wrong with it, as a clause.
    remedy
        What to do, as a sentence.
    """

    def __init__(self, address: str, problem: str, remedy: str = "") -> None:
        super().__init__(address, problem, remedy)
        self.address, self.problem, self.remedy = address, problem, remedy

    def __str__(self) -> str:
        usual = "Read mlops://RUN/notebook or mlops://runs/RUN/artifacts/NAME, write mlops://NAME."
        return f"{self.address}: {self.problem}. {self.remedy or usual}"


class NoSuchArtifact(MlopsNbError, LookupError):
    """A run keeps nothing of this name.

    Attributes
    ----------
    run, name
        Its id, and what was asked for.
    have
        Names of what it keeps.
    """

    def __init__(self, run: str, name: str, have: tuple[str, ...] = ()) -> None:
        super().__init__(run, name, have)
        self.run, self.name, self.have = run, name, have

    def __str__(self) -> str:
        kept = ", ".join(self.have) or "nothing"
        return (
            f"Run {self.run[:4]} keeps no {self.name} (it keeps: {kept}). papermill keeps the "
            "executed notebook where the output is mlops:// and the engine mlops_nb."
        )


class CannotRender(MlopsNbError, TypeError):
    """A parameter cannot be written into a notebook so that exactly this value comes back.

    Attributes
    ----------
    name, type
        Of the parameter and of what is in the way, which may lie inside of its value.
    why
        As a clause.
    """

    def __init__(self, name: str, type: str, why: str) -> None:  # noqa: A002  # what it is
        super().__init__(name, type, why)
        self.name, self.type, self.why = name, type, why

    def __str__(self) -> str:
        return (
            f'Parameter "{self.name}" ({self.type}) cannot be written into the notebook: '
            f"{self.why}. Give plain values, or the path of a file that holds it."
        )


__all__ = [
    "AmbiguousSchedule",
    "BadCron",
    "BadDefinition",
    "BadPipeline",
    "BadSigningKey",
    "BadStepFile",
    "BadStoreAddress",
    "CannotJoin",
    "CannotRender",
    "CannotStore",
    "CorruptValue",
    "ExportRefused",
    "NoPipelineHere",
    "NoSuchArtifact",
    "NotOverwritten",
    "NotWritten",
    "NothingToDebug",
    "NothingToResume",
    "PickleRefused",
    "PipelineRefused",
    "RunHeld",
    "ScheduleNotFound",
    "ScheduleRefused",
    "SecretCrosses",
    "SplitNotEqual",
    "StepInputsMissing",
    "StepNotKnown",
    "StepTaken",
    "UnknownStep",
    "UnknownZone",
    "UntrustedValue",
    "ValueMissing",
]
