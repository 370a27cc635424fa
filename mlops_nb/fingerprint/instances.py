"""Objects whose content is their attributes: estimators, modules of a network, splitters.

Attributes are read from ``__dict__``, so no property and no method of a class is run; a class
that keeps content anywhere else is opaque.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.plain import attribute_of, class_mro, class_path, instance_dict
from mlops_nb.fingerprint.scheme import (
    OpaqueValueError,
    OverBudgetError,
    as_text,
    digest_of,
    schema_digest,
)
from mlops_nb.model import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.fingerprint.scheme import Pass


class _Plain:
    pass


def is_own(cls: type, library: str) -> bool:
    """Tell whether a class is what its library has under its name, and no liar."""
    name = class_path(cls)
    return name.partition(".")[0] == library and attribute_of(name) is cls


def has_base(cls: type, name: str) -> bool:
    """Tell whether a class inherits from the one that a loaded module has under a name."""
    base = attribute_of(name)
    return base is not None and any(one is base for one in class_mro(cls))


def attributes_of(value: object, cls: type) -> dict[str, Any]:
    """Return all that an object holds, if that is its ``__dict__``.

    Raises
    ------
    OpaqueValueError
        There are slots, or the class is built on one of an extension, which may hold more.
    """
    if not keeps_attributes_only(cls):
        raise OpaqueValueError(class_path(cls))
    found = instance_dict(value)
    if found is None:
        raise OpaqueValueError(class_path(cls))
    return found


def keeps_attributes_only(cls: type) -> bool:
    """Tell whether instances have a ``__dict__`` and no room for anything else."""
    return type.__dict__["__dictoffset__"].__get__(cls) != 0 and (
        _size_bytes(cls) <= _size_bytes(_Plain)
    )


def _size_bytes(cls: type) -> int:
    size: int = type.__dict__["__basicsize__"].__get__(cls)
    return size


def encode_attributes(
    value: object, cls: type, tracker: Pass, attributes: Callable[[], dict[str, Any]]
) -> bytes:
    """Encode an object by its class and attributes; it may contain itself."""

    def content() -> bytes:
        return tracker.encoder.composite(f"instance {class_path(cls)}", [attributes()])

    return tracker.encoder.container(value, content)


def read_instance(
    value: object, cls: type, tracker: Pass, encode: Callable[[Any, type, Pass], bytes]
) -> Fingerprint:
    """Fingerprint a value that has neither rows nor columns."""
    kind = class_path(cls)
    schema = schema_digest(kind, ())
    try:
        digest = digest_of(kind.encode(), b"\0", encode(value, cls, tracker))
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget")
    return Fingerprint(kind, as_text(digest), schema)


def reduced(value: Any) -> list[object]:
    """Return arguments and state by which an object of a library's own class is built again."""
    answer = value.__reduce__()
    if type(answer) is not tuple or any(part is not None for part in answer[3:]):
        raise OpaqueValueError
    return list(answer[1:3])


def is_known_function(module: str) -> bool:
    """Tell whether functions of a module are known by their name: those of no user."""
    from mlops_nb.fingerprint import is_handled

    library = module.partition(".")[0]
    return (library in sys.stdlib_module_names and library != "__main__") or is_handled(library)
