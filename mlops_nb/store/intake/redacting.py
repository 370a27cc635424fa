"""The second line of redaction, for the events of one spool, by whoever drains it.

An event may name bytes that an earlier one brought by the digest they had then. Where those were
redacted, a file in the spool's folder says what they are called now, for whoever drains the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.model import ArtifactLogged, MetricLogged, ParamLogged, TagSet
from mlops_nb.redact import redact, redact_event
from mlops_nb.redact.full import FAILURES
from mlops_nb.store.private import open_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlops_nb.model import Event

_KEYED = (MetricLogged, ParamLogged, TagSet)
# In a loop the same few come again and again.
_clean_key = lru_cache(maxsize=1_000)(redact)

RENAMED = "redacted-digests"
_log = logging.getLogger(__name__)


class Redaction:
    """What makes events of a spool fit to be kept.

    Parameters
    ----------
    folders
        Of the spool, those that are there.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._file = folders[0] / RENAMED if folders else None
        self._renamed: dict[str, tuple[str, int]] = {}
        for folder in folders:
            try:
                for line in (folder / RENAMED).read_text("utf-8").splitlines():
                    before, after, size = json.loads(line)
                    self._renamed[before] = (after, size)
            except (OSError, ValueError):  # nothing was renamed, or a line is half written
                continue

    def apply(self, event: Event) -> Event:
        """Replace secrets in an event; the same object where there are none.

        What goes wrong here must not keep an event from the store: the quick patterns have seen
        it already, where it was told.
        """
        if isinstance(event, _KEYED) and isinstance(event.key, str):
            key = _clean_key(event.key)
            event = event if key == event.key else replace(event, key=key)
        if type(event) is MetricLogged and not event.detail:
            return event
        try:
            clean = redact_event(event)
        except FAILURES as error:
            name, problem = type(event).__name__, type(error).__name__
            _log.warning("a %s was not looked at a second time for secrets: %s", name, problem)
            return event
        return self._named_anew(event, clean) if isinstance(clean, ArtifactLogged) else clean

    def _named_anew(self, event: Event, clean: ArtifactLogged) -> ArtifactLogged:
        """Let the digest of an artifact follow its bytes."""
        if not clean.digest:
            return clean
        if clean.data is None:
            known = clean.digest, clean.size_bytes
            digest, size = self._renamed.get(clean.digest, known)
            is_same = (digest, size) == known
            return clean if is_same else replace(clean, digest=digest, size_bytes=size)
        if clean is event:
            return clean
        digest = f"sha256:{hashlib.sha256(clean.data).hexdigest()}"
        if digest != clean.digest:
            self._remember(clean.digest, digest, len(clean.data))
        return replace(clean, digest=digest, size_bytes=len(clean.data))

    def _remember(self, before: str, after: str, size_bytes: int) -> None:
        if before not in self._renamed:
            self._renamed[before] = (after, size_bytes)
            if self._file is None:
                return
            with open_private(self._file, "ab") as file:
                file.write(json.dumps([before, after, size_bytes]).encode() + b"\n")
