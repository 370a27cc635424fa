"""Loaded before all else by the process that steps are forked from."""

from __future__ import annotations

import sys

# Builds a grammar for a second whenever nbformat is imported; no notebook has IRIs to check.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
