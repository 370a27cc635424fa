"""The tags of a cell, understood: Kale's, papermill's and ours; all others are somebody else's."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import field
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Role: TypeAlias = Literal["prelude", "parameters", "injected", "skip", "metrics"]

ROLES: Mapping[str, Role] = {
    "imports": "prelude",
    "functions": "prelude",
    "parameters": "parameters",
    "pipeline-parameters": "parameters",
    "injected-parameters": "injected",
    "skip": "skip",
    "skip-execution": "skip",
    "pipeline-metrics": "metrics",
}
STEP_HEADS = ("step", "block")
_LONGEST_NAME = 60
_NAME = re.compile(rf"\w[\w-]{{0,{_LONGEST_NAME - 1}}}")
_SECONDS = re.compile(r"\d+(?:\.\d+)?")
_LONGEST_S = 366 * 86_400.0
_MOST_RETRIES = 100
# Words of other tools that are close to one of ours, and no mistakes.
_FOREIGN = frozenset(
    """
    skip-execution nbval-skip nbval_skip raises-exception remove-cell remove-input remove-output
    hide-cell hide-input hide-output interactive export exports report-output test tests
    """.split()  # noqa: SIM905 - a list of words reads better than one of strings
)


@record
class CellTags:
    """What the tags of one cell say.

    Attributes
    ----------
    role
        What the cell is, if it is no part of a step; None if it may be one.
    role_tag
        The tag that says so.
    step
        The step that it begins or continues: a name, empty for the step above, None if untagged.
    after
        Steps named with ``prev:``.
    options
        Fields of `StepOptions`, each with the value given here.
    pipeline
        The pipeline's name, where a tag gives it; else empty.
    problems, warnings
        Clauses such as ``"retry:x is no whole number"``, and sentences.
    """

    role: Role | None = None
    role_tag: str = ""
    step: str | None = None
    after: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    pipeline: str = ""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_tags(tags: Iterable[str]) -> CellTags:
    """Understand the tags of a cell, all at once: what is wrong is listed, not raised.

    Parameters
    ----------
    tags
        As they stand in the cell's metadata.

    Examples
    --------
    >>> found = read_tags(["step:train", "prev:load", "retry:2", "hide-input"])
    >>> found.step, found.after, dict(found.options)
    ('train', ('load',), {'retry': 2})
    """
    reader = _Reader()
    for tag in dict.fromkeys(tags):
        reader.read(tag)
    return reader.result()


def is_step_name(name: str) -> bool:
    """Say whether a step may have this name: letters, digits, ``_`` and ``-``, at most 60.

    Examples
    --------
    >>> is_step_name("load_data-2"), is_step_name("-x"), is_step_name("a b")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def slug_of(text: str) -> str:
    """Make a step's name of a text; empty if nothing in it can be one.

    Examples
    --------
    >>> slug_of("2. Train the *model*"), slug_of("…")
    ('train_the_model', '')
    """
    plain = unicodedata.normalize("NFC", text).lower()
    words = re.sub(r"[^\w-]+", "_", plain).strip("_-")
    named = re.sub(r"^[\d_-]+(?=[^\W\d])", "", words) or words
    return named[:_LONGEST_NAME].rstrip("_-")


class _Reader:
    """Takes one tag after the other."""

    def __init__(self) -> None:
        self._roles: dict[str, Role] = {}
        self._steps: list[str] = []
        self._after: list[str] = []
        self._options: dict[str, object] = {}
        self._said: dict[str, str] = {}
        self._pipeline = ""
        self._problems: list[str] = []
        self._warnings: list[str] = []

    def read(self, tag: str) -> None:
        """Understand one tag."""
        written = tag.strip()
        head, colon, value = (part.strip() for part in written.partition(":"))
        if written in ROLES:
            self._roles[written] = ROLES[written]
        elif not colon and written in _FLAGS:
            field_, flag = _FLAGS[written]
            self._set(field_, flag, written)
        elif colon and head in STEP_HEADS:
            self._begin(value, written)
        elif colon and head in _VALUED:
            _VALUED[head](self, value, written)
        else:
            self._look_closer(written)

    def result(self) -> CellTags:
        """Give what was understood, once all tags are read."""
        role_tag, role = self._role()
        steps = list(dict.fromkeys(self._steps))
        named = [name for name in steps if name]
        if len(named) > 1:
            self._problems.append(f"it is tagged as two steps, {_listed(named)}")
        if named and role not in {None, "skip"}:
            self._problems.append(f"it is tagged both {role_tag} and step:{named[0]}")
        step = next(iter((*named, *steps)), None)
        return CellTags(
            role=role,
            role_tag=role_tag,
            step=step,
            after=tuple(dict.fromkeys(self._after)),
            options=self._options,
            pipeline=self._pipeline,
            problems=tuple(self._problems),
            warnings=tuple(self._warnings),
        )

    def _role(self) -> tuple[str, Role | None]:
        if not self._roles:
            return "", None
        for tag, role in self._roles.items():
            if role == "skip":
                return tag, role
        if len(set(self._roles.values())) > 1:
            self._problems.append(f"it is tagged both {' and '.join(self._roles)}")
        return next(iter(self._roles.items()))

    def _begin(self, name: str, written: str) -> None:
        if self._is_legal(name, written, may_be_empty=True):
            self._steps.append(unicodedata.normalize("NFC", name))

    def _is_legal(self, name: str, written: str, *, may_be_empty: bool = False) -> bool:
        if is_step_name(name) or (may_be_empty and not name):
            return True
        if not name:
            self._problems.append(f"{written} names no step")
            return False
        better = slug_of(name)
        hint = f", as {better}" if better else ""
        self._problems.append(
            f"{_shown(written)} is no legal name: a step is named with at most {_LONGEST_NAME} "
            f"letters, digits, _ and -{hint}"
        )
        return False

    def _set(self, field_: str, value: object, written: str) -> None:
        if field_ in self._options and self._options[field_] != value:
            self._problems.append(f"{written} contradicts {self._said[field_]}")
            return
        self._options[field_], self._said[field_] = value, written

    def _add(self, field_: str, *values: str) -> None:
        already = self._options.get(field_, ())
        assert isinstance(already, tuple)  # noqa: S101 - of the fields that hold several
        self._options[field_] = tuple(dict.fromkeys((*already, *values)))

    # --- one method a kind of value -----------------------------------------------------------

    def _take_after(self, value: str, written: str) -> None:
        for name in (part.strip() for part in value.split(",")):
            # Kale's own cells come before all steps; some notebooks say so.
            if name not in ROLES and self._is_legal(name, written):
                self._after.append(unicodedata.normalize("NFC", name))

    def _take_retry(self, value: str, written: str) -> None:
        if re.fullmatch(r"\d{1,3}", value, re.ASCII) and int(value) <= _MOST_RETRIES:
            self._set("retry", int(value), written)
            return
        self._problems.append(f"{_shown(written)} is no whole number from 0 to {_MOST_RETRIES}")

    def _take_timeout(self, value: str, written: str) -> None:
        from mlops_nb.expressions import times

        seconds = -1.0
        if _SECONDS.fullmatch(value):
            seconds = float(value)
        elif re.fullmatch(times.DURATION, value, re.IGNORECASE):
            seconds = times.seconds(value)
        if 0 < seconds <= _LONGEST_S:
            self._set("timeout_s", seconds, written)
            return
        self._problems.append(f"{_shown(written)} is no number of seconds above 0, nor as 10m")

    def _take_when(self, value: str, written: str) -> None:
        from mlops_nb.errors import BadQuery
        from mlops_nb.expressions.conditions import parse_condition

        try:
            parse_condition(value)
        except BadQuery as error:
            why = error.problem.rstrip(".")
            self._problems.append(f"{_shown(written)} is no condition ({why})")
            return
        self._set("when", value, written)

    def _take_foreach(self, value: str, written: str) -> None:
        if value.isidentifier():
            self._set("foreach", value, written)
            return
        self._problems.append(f"{_shown(written)} names no variable")

    def _take_names(self, value: str, written: str, field_: str) -> None:
        names = [name.strip() for name in value.split(",")]
        bad = [name for name in names if not name.isidentifier()]
        if bad:
            self._problems.append(f"{_shown(written)} names no variable")
            return
        self._add(field_, *names)

    def _take_outputs(self, value: str, written: str) -> None:
        self._take_names(value, written, "outputs")

    def _take_secrets(self, value: str, written: str) -> None:
        self._take_names(value, written, "secrets")

    def _take_report(self, value: str, _written: str) -> None:
        self._add("reports", value or "default")

    def _take_kernel(self, value: str, written: str) -> None:
        self._take_text(value, written, "kernel")

    def _take_image(self, value: str, written: str) -> None:
        self._take_text(value, written, "image")

    def _take_text(self, value: str, written: str, field_: str) -> None:
        if value and value.isprintable():
            self._set(field_, value, written)
        else:
            self._problems.append(f"{_shown(written)} says nothing after the colon")

    def _take_cache(self, value: str, written: str) -> None:
        words = {"enabled": True, "disabled": False}
        if value.lower() in words:
            self._set("is_cached", words[value.lower()], written)
        else:
            self._problems.append(f"{_shown(written)} is neither cache:enabled nor cache:disabled")

    def _take_pair(self, value: str, written: str) -> None:
        head = written.partition(":")[0].strip()
        # A key may hold a slash and dots; what comes after the next colon is the value.
        key, colon, said = (part.strip() for part in value.partition(":"))
        if not (key and colon):
            self._problems.append(f"{_shown(written)} is not of the form {head}:KEY:VALUE")
            return
        already = self._options.get(_PAIRS[head], {})
        assert isinstance(already, dict)  # noqa: S101 - of the fields that hold pairs
        if already.get(key, said) != said:
            self._problems.append(f"{_shown(written)} contradicts {head}:{key}:{already[key]}")
            return
        self._options[_PAIRS[head]] = {**already, key: said}

    def _take_pipeline(self, value: str, written: str) -> None:
        if value:
            self._pipeline = value
        else:
            self._problems.append(f"{written} names no pipeline")

    # --- what may be a mistake ----------------------------------------------------------------

    def _look_closer(self, written: str) -> None:
        """Warn about a tag that is nearly one of ours; all others are somebody else's."""
        meant = near_miss(written)
        if meant:
            self._warnings.append(f"The tag {_shown(written)} says nothing here; {meant}")


_FLAGS: Mapping[str, tuple[str, object]] = {
    "join": ("is_join", True),
    "nocache": ("is_cached", False),
    "no-cache": ("is_cached", False),
    "gate": ("is_gate", True),
    "deploy": ("is_deploy", True),
}
_PAIRS: Mapping[str, str] = {"annotation": "annotations", "label": "labels", "limit": "limits"}
_VALUED: Mapping[str, Callable[[_Reader, str, str], None]] = {
    "prev": _Reader._take_after,  # noqa: SLF001 - of this module
    "retry": _Reader._take_retry,  # noqa: SLF001
    "timeout": _Reader._take_timeout,  # noqa: SLF001
    "when": _Reader._take_when,  # noqa: SLF001
    "foreach": _Reader._take_foreach,  # noqa: SLF001
    "output": _Reader._take_outputs,  # noqa: SLF001
    "secret": _Reader._take_secrets,  # noqa: SLF001
    "report": _Reader._take_report,  # noqa: SLF001
    "kernel": _Reader._take_kernel,  # noqa: SLF001
    "image": _Reader._take_image,  # noqa: SLF001
    "cache": _Reader._take_cache,  # noqa: SLF001
    "notebook": _Reader._take_pipeline,  # noqa: SLF001
    **dict.fromkeys(_PAIRS, _Reader._take_pair),  # noqa: SLF001
}
_HEADS = (*STEP_HEADS, *_VALUED)
_WORDS = (*ROLES, *_FLAGS)


def near_miss(tag: str) -> str:
    """Say what a tag that means nothing was probably meant to be; empty if nothing is near.

    Examples
    --------
    >>> near_miss("stpe:train")
    'did you mean step:train?'
    >>> near_miss("slideshow:skip")
    ''
    """
    from difflib import get_close_matches

    lowered = tag.lower()
    if lowered in _FOREIGN:
        return ""
    found = re.fullmatch(r"([\w-]+)(\s*[:=]\s*|\s+)(.*)", lowered, re.DOTALL)
    if found is not None:
        head = get_close_matches(found[1], _HEADS, n=1, cutoff=0.75)
        # Without a colon only a word that is ours counts: people tag in sentences.
        if head and (":" in found[2] or "=" in found[2] or found[1] in _HEADS):
            value = tag[found.start(3) :].strip()
            return f"did you mean {head[0]}:{_shown(value)}?"
    word = get_close_matches(lowered, _WORDS, n=1, cutoff=0.85)
    return f"did you mean {word[0]}?" if word else ""


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def _shown(text: str) -> str:
    """Give a tag as a message can hold it."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:61])
    return plain if len(plain) <= 60 else f"{plain[:60]}…"  # noqa: PLR2004 - a message, not a page


__all__ = ["ROLES", "CellTags", "Role", "is_step_name", "near_miss", "read_tags", "slug_of"]
