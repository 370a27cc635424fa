"""Every exception that mlops_nb raises, as one tree.

Each says what happened and what to do next, carries its facts as attributes, and survives
pickling (facts are positional), so that it can come back from a worker process.
"""

from __future__ import annotations


class MlopsNbError(Exception):
    """Base of all errors of this package.

    Attributes
    ----------
    exit_code
        What the command line returns for it: 1 a check said no, 2 bad input, 3 a cell failed.
    """

    exit_code = 2


class BadNotebook(MlopsNbError, ValueError):
    """A file cannot be used as a notebook.

    Attributes
    ----------
    path
        The file, as the user wrote it.
    problem
        What is wrong with it, as a clause: ``"it is not JSON (line 3: …)"``.
    remedy
        What to do next, as a sentence.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(path, problem, remedy)
        self.path, self.problem, self.remedy = path, problem, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}"


class BadParameter(MlopsNbError, ValueError):
    """A parameter given with ``-p`` does not fit the notebook.

    Attributes
    ----------
    path, name
        The notebook and the parameter.
    problem
        What is wrong, as a clause.
    remedy
        What to do next, as a sentence.
    """

    def __init__(self, path: str, name: str, problem: str, remedy: str) -> None:
        super().__init__(path, name, problem, remedy)
        self.path, self.name, self.problem, self.remedy = path, name, problem, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}"


class MissingKernel(MlopsNbError, LookupError):
    """The notebook asks for a kernel that is not installed.

    Attributes
    ----------
    path, kernel
        The notebook and the kernel's name.
    installed
        The names of the kernels that are installed.
    """

    def __init__(self, path: str, kernel: str, installed: tuple[str, ...] = ()) -> None:
        super().__init__(path, kernel, installed)
        self.path, self.kernel, self.installed = path, kernel, installed

    def __str__(self) -> str:
        have = ", ".join(self.installed) or "none"
        return (
            f'{self.path} asks for the kernel "{self.kernel}", which is not installed '
            f"(installed: {have}). Choose one with --kernel NAME."
        )


class KernelNotReady(MlopsNbError, RuntimeError):
    """A kernel is installed, but did not start.

    Attributes
    ----------
    path, kernel
        The notebook and the kernel's name.
    problem
        What its starter said.
    """

    def __init__(self, path: str, kernel: str, problem: str) -> None:
        super().__init__(path, kernel, problem)
        self.path, self.kernel, self.problem = path, kernel, problem

    def __str__(self) -> str:
        return (
            f'{self.path}: the kernel "{self.kernel}" did not start ({self.problem}). '
            f"Try it by itself: jupyter console --kernel {self.kernel}"
        )


class CellFailed(MlopsNbError, RuntimeError):
    """A cell of a notebook raised while the notebook ran as a batch.

    Attributes
    ----------
    path
        The executed notebook, with what ran until then.
    cell
        Zero-based index of the cell in the notebook.
    error_type, message
        The exception's class name and text.
    """

    exit_code = 3

    def __init__(self, path: str, cell: int, error_type: str, message: str) -> None:
        super().__init__(path, cell, error_type, message)
        self.path, self.cell, self.error_type, self.message = path, cell, error_type, message

    def __str__(self) -> str:
        return (
            f"Cell {self.cell} raised {self.error_type}: {self.message}. "
            f"What ran is in {self.path}; see the run with: mlops-nb show @-1"
        )


class RunNotFound(MlopsNbError, LookupError):
    """No run has this reference.

    Attributes
    ----------
    reference
        What was asked for.
    close
        References that are close to it, as ``"7f3a (churn)"``.
    """

    def __init__(self, reference: str, close: tuple[str, ...] = ()) -> None:
        super().__init__(reference, close)
        self.reference, self.close = reference, close

    def __str__(self) -> str:
        near = f" Close: {', '.join(self.close)}." if self.close else ""
        return f'No run matches "{self.reference}".{near} List them: mlops-nb runs'


class AmbiguousReference(RunNotFound):
    """More than one run has this prefix; `close` names them."""

    def __str__(self) -> str:
        return (
            f'"{self.reference}" could be any of {", ".join(self.close)}. '
            "Give more characters of the id."
        )


class RunDeleted(RunNotFound):
    """The run that is meant was deleted; `close` has its id."""

    def __str__(self) -> str:
        id_ = next(iter(self.close), self.reference)
        return f"Run {id_} was deleted. Bring it back: mlops-nb undelete {id_}"


class EditRefused(MlopsNbError, ValueError):
    """A change to a run cannot be made as asked; nothing was changed.

    Attributes
    ----------
    problem
        What is wrong, as a clause.
    remedy
        What to do next, as a sentence.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem[:1].upper()}{self.problem[1:]}. {self.remedy} Nothing was changed."


class EditConflict(MlopsNbError, RuntimeError):
    """Somebody else changed the same field of a run meanwhile; nothing was changed.

    Attributes
    ----------
    run, field
        The run's id and the field.
    by, revision
        Who changed it, and the run's revision since then.
    seen
        What it is now, as a clause.
    """

    def __init__(self, run: str, field: str, by: str, revision: int, seen: str) -> None:
        super().__init__(run, field, by, revision, seen)
        self.run, self.field, self.by = run, field, by
        self.revision, self.seen = revision, seen

    def __str__(self) -> str:
        return (
            f"{self.by or 'Somebody'} changed {self.field} of run {self.run[:4]} meanwhile: "
            f"{self.seen}. Nothing was changed. To replace it, repeat with --since "
            f"{self.revision} (since={self.revision})."
        )


class BadQuery(MlopsNbError, ValueError):
    """A query for runs cannot be understood.

    Attributes
    ----------
    query
        The whole text.
    position
        Zero-based offset of the first character that does not fit.
    problem
        What was found and what was expected, as a sentence.
    """

    def __init__(self, query: str, position: int, problem: str) -> None:
        super().__init__(query, position, problem)
        self.query, self.position, self.problem = query, position, problem

    def __str__(self) -> str:
        shown, before = _around(self.query, self.position)
        return f"{self.problem}\n  {shown}\n  {' ' * _width(before)}^"


_SHOWN = 72  # of a long query, letters that stand around the place


def _around(text: str, position: int) -> tuple[str, str]:
    """Give the line of a text that a place is in, cut where it is long, and what is before it."""
    start = max(text.rfind(end, 0, position) for end in "\r\n") + 1
    line = text[start:].splitlines()[0] if text[start:].strip("\r\n") else ""
    at = position - start
    first = max(0, at - _SHOWN // 2) if len(line) > _SHOWN else 0
    last = max(at, first) + _SHOWN // 2 if first else _SHOWN
    before = "…" * bool(first) + _visible(line[first:at])
    return before + _visible(line[at:last]) + "…" * (last < len(line)), before


def _visible(text: str) -> str:
    """Keep control characters, also those that turn the direction, out of a terminal."""
    text = text.replace("\t", " ")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _width(text: str) -> int:
    """Count the columns that a text takes in a terminal."""
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text
    )


class StoreError(MlopsNbError):
    """Base of what can be wrong with a store; `location` names it without credentials."""

    def __init__(self, location: str, problem: str = "", remedy: str = "") -> None:
        super().__init__(location, problem, remedy)
        self.location, self.problem, self.remedy = location, problem, remedy

    def __str__(self) -> str:
        return f"{self.location}: {self.problem}. {self.remedy}"


class _StoreFileError(StoreError, OSError):
    """A store error that is an `OSError` too, which takes its arguments for other things."""

    def __init__(self, location: str, problem: str = "", remedy: str = "") -> None:
        super().__init__(location, problem, remedy)
        self.args = (location, problem, remedy)
        self.errno, self.strerror, self.filename = None, problem or None, location

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, vars(self)


class StoreNotFound(_StoreFileError, FileNotFoundError):
    """There is no store here yet, and none may be made."""

    def __str__(self) -> str:
        return (
            f"No store at {self.location} or above it. Turn tracking on in a notebook there "
            "(%load_ext mlops_nb, then %mlops_track), or give one with --store PATH."
        )


class StoreTooNew(StoreError):
    """The store was written by a newer version of this package."""

    def __init__(self, location: str, written_by: str, schema: str, ours: str) -> None:
        super().__init__(location, f"it was written by a newer version, {written_by}")
        self.args = (location, written_by, schema, ours)
        self.written_by, self.schema, self.ours = written_by, schema, ours

    def __str__(self) -> str:
        from mlops_nb import __version__

        return (
            f"{self.location}: this store was written by mlops-nb {self.written_by} (schema "
            f"{self.schema}); this is {__version__} (schema {self.ours}). "
            "Upgrade: pip install -U mlops-nb. Nothing was changed."
        )


class StoreUnwritable(_StoreFileError, PermissionError):
    """The store's folder may not be written, or its disk is full."""


class StoreNotOurs(_StoreFileError, PermissionError):
    """The store belongs to another user and is not listed as safe."""

    def __str__(self) -> str:
        return (
            f"{self.location} belongs to another user, so it is not used. If you trust it, set "
            "safe_stores in your user configuration (mlops-nb doctor shows the file), or give "
            "your own with --store PATH."
        )


class BadSetting(MlopsNbError, ValueError):
    """A setting in a file or the environment cannot be used."""

    def __init__(self, name: str, source: str, problem: str) -> None:
        super().__init__(name, source, problem)
        self.name, self.source, self.problem = name, source, problem

    def __str__(self) -> str:
        return f"Setting {self.name} (from {self.source}): {self.problem}."


class NoSuchMetric(MlopsNbError, LookupError):
    """None of the runs has the metric to sort or compare by.

    Attributes
    ----------
    metric
        What was asked for.
    known
        The metrics that the runs have, the closest ones first.
    """

    def __init__(self, metric: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(metric, known)
        self.metric, self.known = metric, known

    def __str__(self) -> str:
        have = f"They have: {', '.join(self.known)}." if self.known else "They have no metrics."
        return f'None of these runs has a metric "{self.metric}". {have}'


class MissingExtra(MlopsNbError, ImportError):
    """A feature needs a library that is not installed."""

    def __init__(self, feature: str, library: str) -> None:
        super().__init__(feature, library)
        self.feature, self.library = feature, library

    def __str__(self) -> str:
        return f"{self.feature} needs {self.library}. Install it: pip install {self.library}"


class NotTracking(MlopsNbError, RuntimeError):
    """A call needs a tracked kernel, and tracking is off."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} needs tracking. Turn it on: %load_ext mlops_nb, then %mlops_track"


class AlreadyTracking(MlopsNbError, RuntimeError):
    """A process logs runs, and cannot log into another store meanwhile; `location` is its own."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location

    def __str__(self) -> str:
        return (
            f"Tracking is on in this process, into {self.location}. "
            "Turn it off first: %mlops_track --off"
        )


class CannotFingerprint(MlopsNbError, TypeError):
    """No handler is registered for the type of the value."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return f"Cannot fingerprint a {self.kind}. Register a handler for it, or pass version=."


class BadValue(MlopsNbError, TypeError):
    """A value given to a logging call cannot be stored as asked."""

    def __init__(self, kind: str, problem: str, remedy: str) -> None:
        super().__init__(kind, problem, remedy)
        self.kind, self.problem, self.remedy = kind, problem, remedy

    def __str__(self) -> str:
        return f"A {self.kind} {self.problem}. {self.remedy}."


class BadExpression(MlopsNbError, SyntaxError):
    """An expression given to a magic does not compile."""

    def __init__(self, expression: str, problem: str) -> None:
        super().__init__(problem)
        self.args = (expression, problem)  # SyntaxError takes a second one for a place
        self.expression, self.problem = expression, problem

    def __str__(self) -> str:
        return (
            f"{self.expression!r} is no expression ({self.problem}). Write: %mlops_log name=value"
        )


class ArtifactUnreadable(MlopsNbError, FileNotFoundError):
    """A file given to be kept cannot be read."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.args = (path, problem)
        self.errno, self.strerror, self.filename = None, problem, path
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, vars(self)

    def __str__(self) -> str:
        return f"{self.path} cannot be kept: {self.problem}. Nothing was logged; give another path"


class NotTrusted(MlopsNbError, PermissionError):
    """A replay would run code that somebody else recorded.

    Attributes
    ----------
    run
        The run's id.
    why
        Why it is not taken for the user's own, as a clause.
    """

    def __init__(self, run: str, why: str) -> None:
        super().__init__(run, why)
        self.args = (run, why)
        self.run, self.why = run, why

    def __str__(self) -> str:
        short = self.run[:4]
        return (
            f"Replaying run {short} would run code that you may not have recorded: {self.why}. "
            f"Read it first (mlops-nb restore {short}), then replay with --trust (trust=True)."
        )
