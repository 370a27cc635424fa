"""Values that wait to be hashed, and what can be told of them before."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field, replace
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.plain import class_module

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from mlops_nb.fingerprint.known import Claim, Reached
    from mlops_nb.fingerprint.memory import Region
    from mlops_nb.fingerprint.pacing import Allowance
    from mlops_nb.fingerprint.unchanged import Unchanged
    from mlops_nb.model import Fingerprint

    Then = Callable[[Fingerprint], None]

_KERNEL_MODULES = frozenset(
    {"IPython", "ipykernel", "zmq", "tornado", "debugpy", "pydevd", "_pydevd_bundle", "mlops_nb"}
)


@dataclass(eq=False, slots=True)
class Job:
    """A value that is to be hashed.

    Attributes
    ----------
    value
        Held until it was read.
    address, regions
        The value's id and memory, to know whether a cell reaches it.
    sample
        As the value was when it was handed over, where there is no oracle.
    is_open
        The cell that handed it over is not over.
    is_put_off
        It waits for the end of that cell, to know how long it may take.
    is_reached
        A cell may have changed it.
    inner, is_reached_inside
        What it holds beside plain memory, and whether a cell may have changed something there.
    found
        What was read, as long as that is not known to be true.
    is_plain
        All of its content is in plain memory, or in objects that cannot change.
    is_exposed
        Others than cells could write to it: threads, other processes.
    """

    value: Any
    ref: weakref.ref[Any] | None
    outline: Fingerprint
    then: list[Then]
    allowance: Allowance | None
    address: int
    regions: list[Region]
    unchanged: Unchanged | None = None
    target: Any = None
    sample: Fingerprint | None = None
    claim: Claim | None = None
    size_bytes: int = 0
    is_open: bool = False
    is_put_off: bool = False
    is_reached: bool = False
    inner: Reached | None = None
    is_reached_inside: bool = False
    is_settled: bool = False
    found: Fingerprint | None = None
    is_plain: bool = False
    is_exposed: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def is_untouched(self) -> bool:
        """Whether no cell can have changed what was read."""
        return not self.is_reached and (self.is_plain or not self.is_reached_inside)

    @property
    def has_objects(self) -> bool:
        """Whether it may hold objects, which take longer than numbers."""
        return self.unchanged is None or self.unchanged.has_objects


def outline_of(value: object) -> Fingerprint:
    """Say what can be said without reading the content."""
    found = fingerprint(value, budget_bytes=-1)
    if found.assurance == "exact":
        # Nothing in it had to be read.
        return replace(found, assurance="skipped:budget", digest="", columns={}, index=())
    return replace(found, assurance="skipped:budget", size_bytes=0)


def with_sample(outline: Fingerprint, sample: Fingerprint | None) -> Fingerprint | None:
    """Give an outline the digest of a sample."""
    if sample is None:
        return None
    return replace(
        outline,
        digest=sample.digest,
        assurance="sampled",
        size_bytes=sample.size_bytes,
        cost_ns=max(outline.cost_ns, sample.cost_ns),
        columns={},
        index=(),
        chunks=(),
    )


def is_same_sample(one: Fingerprint, other: Fingerprint | None) -> bool:
    """Tell whether two samples show no difference."""
    return other is not None and one.digest == other.digest and one.shape == other.shape


def has_strangers(harmless: Container[threading.Thread | None]) -> bool:
    """Tell whether there are threads of the user, which may write at any time."""
    main = threading.main_thread()
    return any(
        thread is not main and thread not in harmless and not _is_kernels(thread)
        for thread in threading.enumerate()
    )


def _is_kernels(thread: threading.Thread) -> bool:
    """Whether a thread belongs to the kernel, by where its class or its work is defined."""
    work = object.__getattribute__(thread, "__dict__").get("_target")
    modules = [class_module(type(thread)), class_module(type(work))]
    if type(work) is MethodType:
        modules.append(class_module(type(work.__self__)))
    elif type(work) is FunctionType:
        modules.append(str(work.__module__))
    return any(module.partition(".")[0] in _KERNEL_MODULES for module in modules)


def weakly(value: object) -> weakref.ref[Any] | None:
    """Refer to a value without keeping it alive; None where that cannot be."""
    try:
        return weakref.ref(value)
    except TypeError:
        return None
