"""Secrets out of an event, before it is kept: every text in it, by what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb import model
from mlops_nb.redact.assigned import is_telling, looks_secret
from mlops_nb.redact.full import redact_bytes, redact_fully
from mlops_nb.redact.marks import mark

if TYPE_CHECKING:
    from collections.abc import Mapping

# What holds text of the user's; digests, ids, numbers and times do not.
_FIELDS: Mapping[type, tuple[str, ...]] = {
    model.ExecutionStarted: ("source", "transformed"),
    model.ExecutionEnded: ("error",),
    model.RunStarted: ("name", "experiment", "group"),
    model.RunChanged: ("changes",),
    model.SessionChanged: ("changes",),
    model.ParamLogged: ("value",),
    model.TagSet: ("value",),
    model.MetricLogged: ("detail",),
    model.ModelFitted: ("name",),
    model.ArtifactLogged: ("name",),
    model.FileSeen: ("uri", "detail"),
    model.OutputSeen: (),
}
_WITH_BYTES = (model.OutputSeen, model.ArtifactLogged)
# Deeper than anything that could be written to a spool.
_DEEPEST = 200


def redact_event(event: model.Event) -> model.Event:
    """Replace secrets in an event.

    Parameters
    ----------
    event
        As it comes from a spool.

    Returns
    -------
    Event
        The same object where nothing was found.

    Examples
    --------
    >>> event = model.TagSet("r", "db_password", "hunter22", 0)
    >>> redact_event(event).value
    '⟨secret:db_password⟩'
    """
    fields = _FIELDS.get(type(event))
    if fields is None:
        return event
    changes: dict[str, Any] = {}
    for name in fields:
        before = getattr(event, name)
        after = redact_value(before, str(getattr(event, "key", "")))
        if after is not before:
            changes[name] = after
    if isinstance(event, _WITH_BYTES) and event.data is not None:
        data = redact_bytes(event.data, event.mime)
        if data is not event.data:
            changes["data"] = data
    return replace(event, **changes) if changes else event


def redact_value(value: Any, name: str = "") -> Any:
    """Replace secrets in a JSON value; `name` is what it was given to.

    Examples
    --------
    >>> redact_value({"user": "ann", "api_key": "abc123def"})
    {'user': 'ann', 'api_key': '⟨secret:api_key⟩'}
    """
    return _redact_value(value, name, _DEEPEST)


def _redact_value(value: Any, name: str, depth: int) -> Any:
    if isinstance(value, str):
        return _redact_text(value, name)
    if depth and isinstance(value, dict):
        made = {key: _redact_value(item, str(key), depth - 1) for key, item in value.items()}
        return value if all(made[key] is item for key, item in value.items()) else made
    if depth and isinstance(value, list | tuple):
        items = [_redact_value(item, name, depth - 1) for item in value]
        is_same = all(new is old for new, old in zip(items, value, strict=True))
        return value if is_same else type(value)(items)
    return value


def _redact_text(text: str, name: str) -> str:
    if not text:
        return text
    is_secret = is_telling(name) if name else False
    if is_secret is not False and looks_secret(text, is_doubtful=is_secret is None):
        return mark(name)
    return redact_fully(text)[0]
