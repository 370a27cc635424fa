"""A unit of values as files, and back: the one place where formats, digests and trust meet."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import (
    CannotStore,
    CorruptValue,
    NotWritten,
    PickleRefused,
    UntrustedValue,
)
from mlops_nb.fingerprint.plain import class_path
from mlops_nb.model.pipelines import Packed, PackedFile
from mlops_nb.packaging.ambient import ambient_objects
from mlops_nb.packaging.digest import digest_of
from mlops_nb.packaging.fitting import Unfit, failures
from mlops_nb.packaging.formats import UNSAFE, formats_for, read_format
from mlops_nb.packaging.places import Place
from mlops_nb.packaging.signature import sign, verify_signature

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlops_nb.model.terms import Json
    from mlops_nb.packaging.aliases import Reach
    from mlops_nb.packaging.digest import Digest

PARTS = "parts"
"""Format of a unit of several values that share nothing: each is in a format of its own."""

_LIBRARIES = ("numpy", "pandas", "pyarrow", "polars", "scipy", "sklearn", "torch", "xgboost")


def pack(
    values: Mapping[str, object],
    folder: Path,
    *,
    namespace: Mapping[str, object],
    definitions: Collection[str] = (),
    may_pickle: bool = True,
) -> Packed:
    """Write one unit of values into a folder.

    Parameters
    ----------
    values
        By name; values that share an object share it again when they are loaded.
    folder
        Made if it is missing; files of the same names are replaced.
    namespace
        Of the notebook: functions that come from it go to the reader's.
    definitions
        Names of functions and classes that stand as source in other steps as well.
    may_pickle
        Whether what fits no other format may become a pickle.

    Returns
    -------
    Packed
        Signed if it takes trust to load it.

    Raises
    ------
    CannotStore
        A value, or a part of it, belongs to this process.
    PickleRefused
        Only a pickle would do, and `may_pickle` is not set.
    NotWritten
        The folder cannot be written to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> unit = pack({"auc": 0.9}, folder, namespace={})
    >>> unit.format, unpack(unit, folder, namespace={})
    ('json', {'auc': 0.9})
    """
    from mlops_nb.store.private import make_private

    place = Place(folder)
    writing = _Writing(dict(values), namespace, frozenset(definitions), may_pickle)
    try:
        make_private(folder)
        packed = writing.unit(place)
        return sign(packed) if _needs_signature(packed) else packed
    except OSError as error:
        if isinstance(error, NotWritten | UntrustedValue):
            raise
        place.clear()
        problem = f"{', '.join(values)} cannot be written ({error.strerror or error})"
        raise NotWritten(str(folder), problem, "Make room or choose another folder.") from None
    except BaseException:
        place.clear()
        raise


def unpack(
    packed: Packed, folder: Path, *, namespace: dict[str, Any], step: str = ""
) -> dict[str, object]:
    """Read a unit back.

    Parameters
    ----------
    packed
        What `pack` said of it.
    folder
        Where its files are.
    namespace
        Of the notebook that reads; functions get it as their globals.
    step
        Which step saved it, for messages.

    Returns
    -------
    dict
        Values by name, in the order in which they were given.

    Raises
    ------
    CorruptValue
        A file is missing, or not what was written; nothing of it was parsed.
    UntrustedValue
        It would run code, and is not signed with a key of this user or team.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> unpack(pack({"cut": (1, 2)}, folder, namespace={}), folder, namespace={})
    {'cut': (1, 2)}
    """
    for file in packed.files:
        _check(file, folder, packed, step)
    is_trusted = _trust(packed)
    return _read(packed, folder, namespace, step, is_trusted=is_trusted)


# --- writing ----------------------------------------------------------------------------------


class _Writing:
    """One unit while it is written."""

    def __init__(
        self,
        values: dict[str, object],
        namespace: Mapping[str, object],
        definitions: frozenset[str],
        may_pickle: bool,
    ) -> None:
        self._values = values
        self._namespace = namespace
        self._definitions = definitions
        self._may_pickle = may_pickle

    def unit(self, place: Place) -> Packed:
        """Write all values: each by itself, unless they share an object."""
        digests = {
            name: digest_of(value, namespace=self._namespace)
            for name, value in self._values.items()
        }
        if len(self._values) == 1:
            ((name, value),) = self._values.items()
            return self._packed(place, *self._one(name, value, place), digests)
        pairs = self._shared_pairs()
        if pairs:
            name = ", ".join(self._values)
            detail = self._pickled(name, self._values, place, "its values share an object")
            return self._packed(place, "pickle", detail, digests, pairs)
        return self._apart(place, digests)

    def _shared_pairs(self) -> tuple[tuple[str, str], ...]:
        from mlops_nb.packaging.aliases import shares

        return shares(self._values, skip=ambient(self._namespace))

    def _apart(self, place: Place, digests: dict[str, Digest]) -> Packed:
        parts = []
        for number, (name, value) in enumerate(self._values.items()):
            inner = Place(place.folder, f"{number}-")
            try:
                kind, detail = self._one(name, value, inner)
            finally:
                place.names += inner.names
            parts.append({"name": name, "format": kind, "prefix": inner.prefix, "detail": detail})
        return self._packed(place, PARTS, {"parts": parts}, digests)

    def _one(self, name: str, value: object, place: Place) -> tuple[str, dict[str, Json]]:
        """Write a value in the first format that gives it back."""
        why = "it has no other format"
        for one in formats_for(value):
            try:
                return one.name, {**one.write(value, place), "reader": one.reader}
            except Unfit as problem:
                place.clear()
                why = str(problem)
        reach = self._reach(value)
        if self._may_pickle and self._is_for_joblib(value, reach):
            from mlops_nb.packaging.models import write_joblib

            try:
                return "joblib", {**write_joblib(value, place), "reader": "estimator"}
            except _pickling_failures():
                place.clear()
        return "pickle", self._pickled(name, {name: value}, place, why)

    def _reach(self, value: object) -> Reach:
        from mlops_nb.packaging.aliases import reach_of

        return reach_of(value, skip=ambient(self._namespace))

    def _is_for_joblib(self, value: object, reach: Reach) -> bool:
        from mlops_nb.packaging.aliases import views_in
        from mlops_nb.packaging.models import is_estimator

        if not is_estimator(value) or reach.is_own or reach.has_met_skipped:
            return False
        try:
            return not views_in(reach)
        except Unfit:
            return False

    def _pickled(
        self, name: str, values: dict[str, object], place: Place, why: str
    ) -> dict[str, Json]:
        kind = class_path(type(next(iter(values.values())))) if len(values) == 1 else "several"
        if not self._may_pickle:
            raise PickleRefused(name, kind, why)
        from mlops_nb.packaging import pickling
        from mlops_nb.packaging.aliases import views_in

        try:
            views = views_in(self._reach(values))
            places = pickling.dump(
                values,
                place.file("value.pickle"),
                place.file("buffers.bin"),
                namespace=self._namespace,
                definitions=self._definitions,
                values=list(values.values()),
                views=views,
            )
        except Unfit as problem:
            raise CannotStore(name, kind, str(problem)) from None
        except OSError as problem:
            if problem.errno is not None:  # the disk's, not an object's
                raise
            raise self._explained(values, problem) from None
        except _pickling_failures() as problem:
            raise self._explained(values, problem) from None
        if not places:
            place.names.remove(place.prefix + "buffers.bin")
            (place.folder / (place.prefix + "buffers.bin")).unlink(missing_ok=True)
        return {"buffers": [list(one) for one in places]}

    def _explained(self, values: Mapping[str, object], problem: BaseException) -> CannotStore:
        from mlops_nb.packaging.unstorable import explain, failing

        for name, value in values.items():
            if len(values) == 1 or failing(value, self._namespace) is not None:
                return explain(name, value, problem, self._namespace)
        return explain(next(iter(values)), values, problem, self._namespace)

    def _packed(
        self,
        place: Place,
        kind: str,
        detail: dict[str, Json],
        digests: dict[str, Digest],
        pairs: tuple[tuple[str, str], ...] = (),
    ) -> Packed:
        files = tuple(_packed_file(place.folder, name) for name in place.names)
        texts = {name: one.text for name, one in digests.items()}
        if not all(texts.values()):
            # Nothing is known of such a value but what it was written as.
            whole = _digest_of(*[file.digest for file in files])
            texts = {name: text or whole for name, text in texts.items()}
        lines = [f"{name} {texts[name]}" for name in sorted(texts)] + [" ".join(p) for p in pairs]
        return Packed(
            names=tuple(self._values),
            format=kind,
            files=files,
            digest=next(iter(texts.values())) if len(texts) == 1 else _digest_of(*lines),
            digests=texts,
            assurance=_least(one.assurance for one in digests.values()),
            size_bytes=sum(file.size_bytes for file in files),
            detail={**detail, "written_by": _versions()},
        )


def _least(assurances: Any) -> str:
    return "opaque" if "opaque" in set(assurances) else "exact"


def _digest_of(*lines: str) -> str:
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _packed_file(folder: Path, name: str) -> PackedFile:
    path = folder / name
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return PackedFile(name, f"sha256:{digest}", path.stat().st_size)


def _versions() -> dict[str, Json]:
    found: dict[str, Json] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if type(version) is str:
            found[name] = version
    return found


def ambient(namespace: Mapping[str, object]) -> list[object]:
    """List what every process has of its own, and no value brings along."""
    return [one for one, _ in ambient_objects(namespace)]


def _pickling_failures() -> tuple[type[BaseException], ...]:
    import pickle

    return (*failures(), pickle.PickleError)


# --- reading ----------------------------------------------------------------------------------


def _check(file: PackedFile, folder: Path, packed: Packed, step: str) -> None:
    """Make sure that a file is the one that was written."""
    if Path(file.name).name != file.name:
        raise CorruptValue(packed.names, step, f"{file.name} is no name of a file of it")
    path = folder / file.name
    try:
        if path.stat().st_size != file.size_bytes:
            problem = f"has {path.stat().st_size} bytes instead of {file.size_bytes}"
            raise CorruptValue(packed.names, step, f"{path} {problem}")
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise CorruptValue(packed.names, step, problem) from None
    if f"sha256:{digest}" != file.digest:
        raise CorruptValue(packed.names, step, f"{path} is not what was written")


def is_pickled(packed: Packed) -> bool:
    """Tell whether a pickle is read when a unit is loaded."""
    parts = packed.detail["parts"] if packed.format == PARTS else ({"format": packed.format},)
    return any(part["format"] in UNSAFE for part in parts)


def _needs_signature(packed: Packed) -> bool:
    if packed.format != PARTS:
        return packed.format in UNSAFE or bool(packed.detail.get("imports"))
    parts = packed.detail["parts"]
    return any(part["format"] in UNSAFE or part["detail"].get("imports") for part in parts)


def _trust(packed: Packed) -> bool:
    """Say whether a unit is signed; one that has to be, and is not, raises."""
    if not packed.signature and not _needs_signature(packed):
        return False
    problem = verify_signature(packed)
    if problem and _needs_signature(packed):
        raise UntrustedValue(", ".join(packed.names), packed.format, problem)
    return not problem


def _read(
    packed: Packed, folder: Path, namespace: dict[str, Any], step: str, *, is_trusted: bool
) -> dict[str, object]:
    from mlops_nb.packaging.plain import ImportNotAllowed

    _check_python(packed, step)
    try:
        if packed.format == PARTS:
            parts = packed.detail["parts"]
        else:
            parts = [{"format": packed.format, "prefix": "", "detail": packed.detail}]
        found: dict[str, object] = {}
        known = frozenset(file.name for file in packed.files)
        for part in parts:
            # Only files whose bytes were checked are opened.
            place = Place(folder, part["prefix"], known=known)
            names = packed.names if packed.format != PARTS else (part["name"],)
            found |= _read_part(part, place, names, namespace, is_trusted=is_trusted)
        if set(found) != set(packed.names):
            raise CorruptValue(packed.names, step, "other names are in it")
        return {name: found[name] for name in packed.names}
    except ImportNotAllowed as error:
        problem = f"it names the class {error} without a signature"
        raise UntrustedValue(", ".join(packed.names), packed.format, problem) from None
    except _pickling_failures() as error:
        if isinstance(error, CorruptValue | UntrustedValue):
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CorruptValue(packed.names, step, f"it cannot be loaded ({text})") from error


def _read_part(
    part: Mapping[str, Any],
    place: Place,
    names: tuple[str, ...],
    namespace: dict[str, Any],
    *,
    is_trusted: bool,
) -> dict[str, object]:
    detail = part["detail"]
    if part["format"] in UNSAFE and not is_trusted:
        raise UntrustedValue(", ".join(names), part["format"], "it is not signed")
    if part["format"] != "pickle":
        value = read_format(
            part["format"], detail.get("reader", ""), place, detail, is_trusted=is_trusted
        )
        return {names[0]: value}
    from mlops_nb.packaging import building

    places = [(int(start), int(size)) for start, size in detail["buffers"]]
    buffers = place.file("buffers.bin") if places else Path()
    found = building.load(place.file("value.pickle"), buffers, places, namespace)
    if not isinstance(found, dict):
        raise ValueError("the pickle holds no values by name")  # noqa: TRY004  # the file's fault
    return found


def _check_python(packed: Packed, step: str) -> None:
    """Refuse code that another Python has compiled: this one would run it wrong, or crash."""
    here = platform.python_version()
    there = (packed.detail.get("written_by") or {}).get("python", here)
    if _needs_signature(packed) and there.split(".")[:2] != here.split(".")[:2]:
        problem = f"it was written by Python {there}, and this is Python {here}"
        raise CorruptValue(packed.names, step, problem)


__all__ = ["PARTS", "ambient", "pack", "unpack"]
