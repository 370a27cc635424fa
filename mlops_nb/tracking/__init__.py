"""A run is born, fed and ended."""

from __future__ import annotations

from mlops_nb.tracking.evidence import Evidence
from mlops_nb.tracking.fits import DataSeen, FitGeneration, FitSeen
from mlops_nb.tracking.runs import LiveRun
from mlops_nb.tracking.tracker import Tracker

__all__ = ["DataSeen", "Evidence", "FitGeneration", "FitSeen", "LiveRun", "Tracker"]
