"""What can go wrong with values that become files, and with parameters."""

from __future__ import annotations

from mlops_nb.errors import MlopsNbError


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


__all__ = [
    "BadSigningKey",
    "BadStepFile",
    "BadStoreAddress",
    "CannotJoin",
    "CannotRender",
    "CannotStore",
    "CorruptValue",
    "NoSuchArtifact",
    "NotWritten",
    "PickleRefused",
    "SecretCrosses",
    "UntrustedValue",
    "ValueMissing",
]
