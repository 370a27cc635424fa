"""What formats have in common: how one says that it cannot hold a value."""

from __future__ import annotations

import sys

from mlops_nb.fingerprint.scheme import FAILURES

_FOREIGN = (
    ("pyarrow", "ArrowException"),
    ("polars.exceptions", "PolarsError"),
    ("xgboost.core", "XGBoostError"),
    ("lightgbm.basic", "LightGBMError"),
    ("skops.io.exceptions", "UntrustedTypesFoundException"),
    ("struct", "error"),
    ("zipfile", "BadZipFile"),
    ("zlib", "error"),
)


class Unfit(Exception):
    """A format cannot give this very value back; the text says why, as a clause."""


def unequal(what: str) -> Unfit:
    """Say that a value came back otherwise."""
    return Unfit(f"{what} would not come back as it was")


def failures() -> tuple[type[BaseException], ...]:
    """List what writing or reading a value can raise; libraries have errors of their own kind."""
    foreign = [getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN]
    return (*FAILURES, *[error for error in foreign if error is not None])


__all__ = ["Unfit", "failures", "unequal"]
