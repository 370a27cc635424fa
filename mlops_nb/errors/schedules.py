"""What can go wrong with schedules and exports."""

from __future__ import annotations

from mlops_nb.errors import MlopsNbError


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


__all__ = [
    "AmbiguousSchedule",
    "BadCron",
    "ExportRefused",
    "ScheduleNotFound",
    "ScheduleRefused",
    "UnknownZone",
]
