"""The label that a replay gives a run, and how long it stands."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json
    from mlops_nb.replay.records import Replay

LABEL = "verified"


def verified(before: Mapping[str, Json] | None, replay: Replay, at_ns: int) -> dict[str, Json]:
    """Make the verdict of a run that was verified; what it was before stays in its reasons.

    Parameters
    ----------
    before
        Its verdict until now.
    replay
        What verified it.
    at_ns
        When, in nanoseconds since the epoch.
    """
    old = without_label(before)
    at = datetime.fromtimestamp(at_ns / 1e9, tz=timezone.utc).isoformat(timespec="seconds")
    short = (replay.replayed_by or "")[:4]
    data, metrics = replay.count("exact", "data"), replay.count("exact", "metric")
    text = f"replayed as {short}: {data} data and {metrics} metrics exact"
    if old.get("label"):
        text += f"; before, it was {old['label']}"
    return {
        "label": LABEL,
        "reasons": [{"kind": LABEL, "text": text}, *(old.get("reasons") or [])],
        "was": old.get("label"),
        "replayed_by": replay.replayed_by,
        "at": at.replace("+00:00", "Z"),
    }


def without_label(verdict: Mapping[str, Json] | None) -> dict[str, Json]:
    """Give the verdict as it was before a replay verified it."""
    found = dict(verdict or {})
    if found.get("label") != LABEL:
        return found
    reasons = [reason for reason in found.get("reasons") or () if reason.get("kind") != LABEL]
    return {"label": found["was"], "reasons": reasons} if found.get("was") else {}
