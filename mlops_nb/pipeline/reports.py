"""A run of a pipeline as a report for CI: JUnit's XML, and Markdown for a summary page.

Both are made from the document that ``mlops-nb run --format json`` prints, and from nothing else.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from xml.etree.ElementTree import Element

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~@$&])")
_MARKS = {
    "done": "✓",
    "cached": "✓",
    "failed": "✕",
    "skipped": "○",
    "upstream_failed": "–",
    "running": "◐",
}
_WORDS = {"upstream_failed": "not run"}
_NOT_RUN = frozenset({"skipped", "upstream_failed", "pending", "ready"})
_MOST_LETTERS = 20_000


def junit_report(document: Mapping[str, Any]) -> str:
    """Write what became of a run as JUnit's XML, a test case for each step.

    Parameters
    ----------
    document
        As of ``mlops-nb run --format json``.

    Returns
    -------
    str
        A failed step is a failure with cell, line and error; one that did not run is skipped.

    Examples
    --------
    >>> steps = [{"name": "load", "step_state": "done", "duration_s": 1.5}]
    >>> report = junit_report({"id": "7f3a", "status": "finished", "steps": steps})
    >>> '<testcase name="load" classname="pipeline" time="1.500"' in report
    True
    """
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    steps = _steps(document)
    states = [state_of(step) for step in steps]
    name = _xml(str(document.get("pipeline") or "pipeline"))
    root = Element("testsuites")
    suite = SubElement(
        root,
        "testsuite",
        {
            "name": name,
            "package": name,
            "id": "0",
            "timestamp": _timestamp(document),
            "hostname": "localhost",
            "tests": str(len(steps)),
            "failures": str(states.count("failed")),
            "errors": "0",
            "skipped": str(sum(state in _NOT_RUN for state in states)),
            "time": _seconds(document.get("duration_s") or _total(steps)),
        },
    )
    properties = SubElement(suite, "properties")
    for key in ("id", "status", "notebook"):
        if document.get(key):
            SubElement(properties, "property", {"name": key, "value": _xml(document[key])})
    for key, value in (document.get("params") or {}).items():
        said = {"name": _xml(f"params.{key}"), "value": _xml(value)}
        SubElement(properties, "property", said)
    for step in steps:
        _add_case(suite, step, name)
    SubElement(suite, "system-out").text = _xml("\n".join(_log(steps)))
    SubElement(suite, "system-err").text = _xml("\n".join(document.get("warnings") or ()))
    indent(root)
    written: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{written}\n'


def markdown_report(document: Mapping[str, Any]) -> str:
    """Write what became of a run as GitHub Markdown: a table of steps, and what failed.

    Parameters
    ----------
    document
        As of ``mlops-nb run --format json``.

    Examples
    --------
    >>> steps = [{"name": "load", "step_state": "cached", "cached": True}]
    >>> print(markdown_report({"id": "7f3a", "status": "finished", "steps": steps}))
    ## ✓ pipeline: finished
    <BLANKLINE>
    1 step · 1 cached · run `7f3a`
    <BLANKLINE>
    |   | step | state | time | note |
    |---|------|-------|-----:|------|
    | ✓ | load | cached | – |  |
    <BLANKLINE>
    """
    return "\n".join([*_markdown_lines(document), ""])


def state_of(step: Mapping[str, Any]) -> str:
    """Give the scheduler's word for a step of a run's document.

    Examples
    --------
    >>> state_of({"cached": True}), state_of({"status": "finished"})
    ('cached', 'done')
    """
    state = step.get("step_state")
    if state:
        return str(state)
    if step.get("cached"):
        return "cached"
    status = str(step.get("status") or "skipped")
    return {"finished": "done", "lost": "failed", "interrupted": "failed"}.get(status, status)


def said_of(error: Mapping[str, Any]) -> str:
    """Write an error of a run's document as its type and message."""
    return ": ".join(filter(None, (str(error.get(key) or "") for key in ("type", "message"))))


def where_of(error: Mapping[str, Any]) -> str:
    """Write where an error came up; empty if nothing is known.

    Examples
    --------
    >>> where_of({"cell": 7, "line": 3})
    'cell 7, line 3'
    """
    parts = [f"{word} {error[word]}" for word in ("cell", "line") if error.get(word) is not None]
    return ", ".join(parts)


def why_of(step: Mapping[str, Any]) -> str:
    """Write why a step ran, did not, or need not; empty if the document does not say."""
    reasons = step.get("reasons") or ([step["reason"]] if step.get("reason") else [])
    error = step.get("error")
    if not reasons and error and state_of(step) in _NOT_RUN:
        reasons = [error.get("message") or ""]
    return "; ".join(map(str, reasons))


# --- JUnit -------------------------------------------------------------------------------------


def _add_case(suite: Element, step: Mapping[str, Any], classname: str) -> None:
    from xml.etree.ElementTree import SubElement

    taken = _seconds(step.get("duration_s"))
    said = {"name": _xml(step["name"]), "classname": classname, "time": taken}
    case = SubElement(suite, "testcase", said)
    state, error = state_of(step), step.get("error") or {}
    if state == "failed":
        head = {"message": _xml(_headline(error)), "type": _xml(error.get("type") or "failed")}
        SubElement(case, "failure", head).text = _xml(_failure_text(step, error))
    elif state in _NOT_RUN:
        SubElement(case, "skipped", {"message": _xml(why_of(step) or _WORDS.get(state, state))})


def _headline(error: Mapping[str, Any]) -> str:
    where = where_of(error)
    said = said_of(error) or "the step failed"
    return f"{where}: {said}" if where else said


def _failure_text(step: Mapping[str, Any], error: Mapping[str, Any]) -> str:
    parts = [_headline(error), _source(error), _traceback(error)]
    if step.get("notebook"):
        parts.append(f"executed notebook: {step['notebook']}")
    if step.get("run"):
        parts.append(f"see: mlops-nb show {str(step['run'])[:8]} --errors")
    return "\n\n".join(part for part in parts if part)


def _log(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        state = state_of(step)
        why = why_of(step)
        yield f"{step['name']}: {_WORDS.get(state, state)}{f' ({why})' if why else ''}"


def _timestamp(document: Mapping[str, Any]) -> str:
    """Give the start of the run as JUnit wants it: in UTC, without a zone and fractions."""
    written = document.get("started_at")
    at = datetime.now(tz=timezone.utc)
    if isinstance(written, str):
        with suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(written).astimezone(timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S")


def _seconds(value: object) -> str:
    is_number = isinstance(value, int | float) and value == value and abs(value) < 1e12  # noqa: PLR0124, PLR2004 - no NaN, nothing endless
    return f"{value if is_number else 0:.3f}"


def _total(steps: Sequence[Mapping[str, Any]]) -> float:
    return sum(float(step.get("duration_s") or 0) for step in steps)


def _xml(value: object) -> str:
    """Give a text without what XML cannot hold; the writer escapes the rest."""
    text = _ESCAPES.sub("", str(value))
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)[:_MOST_LETTERS]


# --- Markdown ----------------------------------------------------------------------------------


def _markdown_lines(document: Mapping[str, Any]) -> Iterator[str]:
    steps = _steps(document)
    status = str(document.get("status") or "")
    mark = {"finished": "✓", "failed": "✕"}.get(status, "■")
    name = str(document.get("pipeline") or "pipeline")
    yield f"## {mark} {_plain(name)}: {_plain(status)}"
    yield ""
    yield " · ".join(_counts(document, steps))
    if steps:
        yield ""
        yield "|   | step | state | time | note |"
        yield "|---|------|-------|-----:|------|"
        for step in steps:
            yield _row(step)
    for step in steps:
        if state_of(step) == "failed":
            yield from _failure(step)
    for warning in (*(document.get("repairs") or ()), *(document.get("warnings") or ())):
        yield ""
        yield f"> {_plain(warning)}"


def _counts(document: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    states = [state_of(step) for step in steps]
    yield f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
    for state in ("cached", "failed", "skipped", "upstream_failed"):
        if state in states:
            yield f"{states.count(state)} {_WORDS.get(state, state)}"
    if document.get("duration_s") is not None:
        yield _taken(document["duration_s"])
    if document.get("saved_s"):
        yield f"{_taken(document['saved_s'])} saved by cache"
    if document.get("id"):
        yield f"run `{_code(str(document['id'])[:8])}`"


def _row(step: Mapping[str, Any]) -> str:
    state = state_of(step)
    attempt = step.get("attempt") or 1
    tries = f", try {attempt}" if attempt > 1 else ""
    error = step.get("error") or {}
    note = _headline(error) if state == "failed" else why_of(step)
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in _numbers(step))
    cells = [
        _MARKS.get(state, "·"),
        _plain(step["name"]),
        f"{_WORDS.get(state, state)}{tries}",
        "–" if state in _NOT_RUN or step.get("duration_s") is None else _taken(step["duration_s"]),
        _plain("; ".join(filter(None, [metrics, note]))),
    ]
    return f"| {' | '.join(cells)} |"


def _numbers(step: Mapping[str, Any]) -> list[tuple[str, float]]:
    metrics = step.get("metrics") or {}
    return [(k, v) for k, v in metrics.items() if isinstance(v, int | float)]


def _failure(step: Mapping[str, Any]) -> Iterator[str]:
    error = step.get("error") or {}
    yield ""
    yield f"### ✕ {_plain(step['name'])}"
    yield ""
    yield _plain(_headline(error))
    if source := _source(error):
        yield from _fenced(source, "python")
    if traceback := _traceback(error):
        yield ""
        yield "<details><summary>traceback</summary>"
        yield from _fenced(traceback, "text")
        yield ""
        yield "</details>"
    if step.get("notebook"):
        yield ""
        yield f"Executed notebook: `{_code(step['notebook'])}`"
    if step.get("run"):
        yield ""
        yield f"See: `mlops-nb show {_code(str(step['run'])[:8])} --errors`"


def _fenced(text: str, language: str) -> Iterator[str]:
    """Write text between fences that are longer than any in it."""
    plain = _xml(text)
    longest = max((len(run) for run in re.findall(r"`+", plain)), default=0)
    fence = "`" * max(3, longest + 1)
    yield ""
    yield f"{fence}{language}"
    yield plain
    yield fence


def _source(error: Mapping[str, Any]) -> str:
    lines = error.get("lines")
    return "\n".join(map(str, lines)) if isinstance(lines, list | tuple) else str(lines or "")


def _traceback(error: Mapping[str, Any]) -> str:
    lines = error.get("traceback")
    return "\n".join(map(str, lines)) if isinstance(lines, list | tuple) else str(lines or "")


def _taken(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - of a minute
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s"


def _plain(value: object) -> str:
    """Write a text in one line of Markdown, so that nothing in it is markup."""
    return _MARKDOWN.sub(r"\\\1", " ".join(_xml(value).split()))


def _code(value: object) -> str:
    return " ".join(_xml(value).split()).replace("`", "'")


def _steps(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return tuple(document.get("steps") or ())


__all__ = ["junit_report", "markdown_report", "said_of", "state_of", "where_of", "why_of"]
