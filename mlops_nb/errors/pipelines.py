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


__all__ = [
    "BadDefinition",
    "BadPipeline",
    "NoPipelineHere",
    "NotOverwritten",
    "NothingToDebug",
    "NothingToResume",
    "PipelineRefused",
    "RunHeld",
    "SplitNotEqual",
    "StepInputsMissing",
    "StepNotKnown",
    "StepTaken",
    "UnknownStep",
]
