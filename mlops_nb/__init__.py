"""MLOps inside the notebook: track, compare, explain and repeat what your cells did."""

from __future__ import annotations

__version__ = "0.1.0"
