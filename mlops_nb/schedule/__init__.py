"""When notebooks run by themselves: cron lines in time zones, and the daemon that obeys them."""

from __future__ import annotations

from mlops_nb.schedule.cron import Cron, describe, next_firings, read_cron
from mlops_nb.schedule.zones import default_zone, read_zone

__all__ = [
    "Cron",
    "default_zone",
    "describe",
    "next_firings",
    "read_cron",
    "read_zone",
]
