"""The environment of this process, read in a millisecond."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import TYPE_CHECKING

from mlops_nb.environment import machine
from mlops_nb.environment.distributions import folder_times, installed
from mlops_nb.model import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json

VARIABLES = (
    "BLIS_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "LOKY_MAX_CPU_COUNT",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTHONOPTIMIZE",
    "TF_DETERMINISTIC_OPS",
    "TOKENIZERS_PARALLELISM",
    "TZ",
    "VECLIB_MAXIMUM_THREADS",
)
"""The only environment variables that are ever kept: others may hold secrets."""

_VALUE_CAP = 200

_last: tuple[tuple[Json, ...], Environment] | None = None


def read_environment() -> Environment:
    """Read what this process runs on, in about a millisecond; again, in microseconds.

    Nothing in it changes by itself: no free memory, no load. `content` has ``python``,
    ``packages``, ``os``, ``hardware``, ``variables``, and ``software``, the digest of all but
    the hardware: two machines with the same installation share it.

    Returns
    -------
    Environment
        Equal digests mean equal content.

    Examples
    --------
    >>> environment = read_environment()
    >>> environment.digest == read_environment().digest
    True
    """
    global _last  # noqa: PLW0603  a cache of one, replaced as a whole
    key = (*folder_times(), *map(os.environ.get, VARIABLES))
    last = _last
    if last is None or last[0] != key:
        last = _last = (key, _read_environment())
    return last[1]


def _read_environment() -> Environment:
    content: dict[str, Json] = {
        "python": _python(),
        "packages": {name: one.version for name, one in installed().items()},
        "os": machine.operating_system(),
        "variables": _variables(),
    }
    content["software"] = _digest(content)
    content["hardware"] = machine.hardware()
    return Environment(_digest(content), content)


def _digest(content: Mapping[str, Json]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _python() -> dict[str, Json]:
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "release": sys.version_info.releaselevel,
    }


def _variables() -> dict[str, str]:
    return {name: os.environ[name][:_VALUE_CAP] for name in VARIABLES if name in os.environ}
