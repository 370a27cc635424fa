"""One `Settings` record, and where each of its values came from.

Read in this order, a later one wins: defaults, ``[tool.mlops_nb]`` of the project's
``pyproject.toml``, the user's configuration file, the environment, arguments. A project is other
people's text: it may name only a store inside itself, and never what to trust.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, TypeGuard

from mlops_nb.errors import BadSetting
from mlops_nb.record import record

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _default_config_file() -> Path:
    return _user_folder("XDG_CONFIG_HOME", ".config") / "config.toml"


def _user_folder(variable: str, below_home: str) -> Path:
    """Return this user's folder for us by the XDG rules, which ignore relative paths."""
    given = os.environ.get(variable, "")
    if Path(given).is_absolute():
        return Path(given) / "mlops_nb"
    try:
        return Path.home() / below_home / "mlops_nb"
    except RuntimeError:  # no HOME and no such user: containers with an arbitrary uid
        owner = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir()) / f"mlops_nb-{owner}" / below_home


@record
class Settings:
    """What a user, a project or a caller has chosen.

    Attributes
    ----------
    store
        Where runs are kept: the path of a store's folder, or the URL of a server; None means
        that it is found by walking up from the notebook.
    notebook
        Path of the notebook, given by someone who knows it.
    quiet
        Whether cards are left out.
    batch
        Whether the whole notebook is one run; None means that it is detected.
    text_cap_bytes, image_cap_bytes
        How much of one output is kept.
    file_budget_bytes
        How much of the files that one cell read or wrote is hashed.
    file_md5
        Whether files also get the MD5 that DVC writes.
    data_statistics
        Whether the store keeps what holds values of the data: least, greatest and mean value of
        each column. Fingerprints and counts are kept in any case.
    pickle
        ``deny``: what crosses from step to step is never stored as, nor loaded from, a pickle.
    safe_stores
        Stores of other users that may be used; ``*`` trusts them all.
    state_dir
        This user's folder for what must outlive a session.
    config_file
        This user's configuration, which may not exist.
    sources
        For each setting that was given, where: ``"--store"``, ``"MLOPS_NB_STORE"``, a file.
    """

    store: str | None = None
    notebook: str | None = None
    quiet: bool = False
    batch: bool | None = None
    text_cap_bytes: int = 1_000_000
    image_cap_bytes: int = 5_000_000
    file_budget_bytes: int = 1 << 30
    file_md5: bool = False
    data_statistics: bool = True
    pickle: str = "allow"
    safe_stores: tuple[str, ...] = ()
    state_dir: Path = field(default_factory=lambda: _user_folder("XDG_STATE_HOME", ".local/state"))
    config_file: Path = field(default_factory=_default_config_file)
    sources: Mapping[str, str] = field(default_factory=dict)

    def source_of(self, name: str) -> str:
        """Say where a setting came from; ``"default"`` if nobody gave it."""
        return self.sources.get(name, "default")


@record
class _Layer:
    """Raw values from one place; `folder` is what relative paths in it are relative to."""

    source: str
    values: Mapping[str, object]
    folder: Path
    is_project: bool = False


def load_settings(start: Path | None = None, **given: object) -> Settings:
    """Gather the settings for a notebook or command that starts in a folder.

    Parameters
    ----------
    start
        The folder from which ``pyproject.toml`` is looked for, upwards; the current one if None.
    **given
        Arguments, which win over everything; None means not given.

    Raises
    ------
    BadSetting
        A value has the wrong type, a name is unknown, a file cannot be read as TOML, or a
        project names a store outside itself.

    Examples
    --------
    >>> load_settings(quiet=True).source_of("quiet")
    'argument'
    """
    start = Path.cwd() if start is None else Path(start)
    config_file = Path(os.environ.get("MLOPS_NB_CONFIG") or _default_config_file())
    layers = [
        *_project_layer(start),
        *_user_layer(config_file),
        *_environment_layers(),
        _Layer("argument", {k: v for k, v in given.items() if v is not None}, Path.cwd()),
    ]
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for name, raw in layer.values.items():
            values[name] = _checked(name, raw, layer)
            sources[name] = layer.source
    values["config_file"] = config_file
    return Settings(**values, sources=MappingProxyType(sources))  # type: ignore[arg-type]


# --- the layers -------------------------------------------------------------------------------


def _project_layer(start: Path) -> list[_Layer]:
    for folder in (start.absolute(), *start.absolute().parents):
        file = folder / "pyproject.toml"
        # Not by `Path.is_file`, which raises where a folder may not be looked into.
        if os.path.isfile(file):  # noqa: PTH113
            tool = _read_toml(file, about="mlops_nb").get("tool")
            values = tool.get("mlops_nb", {}) if isinstance(tool, dict) else {}
            return [_table_layer(values, file, is_project=True)]
    return []


def _user_layer(file: Path) -> list[_Layer]:
    return [_table_layer(_read_toml(file), file)] if os.path.isfile(file) else []  # noqa: PTH113


def _table_layer(values: object, file: Path, *, is_project: bool = False) -> _Layer:
    if not isinstance(values, dict):
        raise BadSetting("tool.mlops_nb", str(file), "it must be a table of settings")
    return _Layer(str(file), values, file.parent, is_project=is_project)


def _environment_layers() -> list[_Layer]:
    layers = []
    for name in _CHECKS:
        variable = f"MLOPS_NB_{name.upper()}"
        text = os.environ.get(variable)
        if text:  # an empty variable is the usual way to unset one
            value = tuple(text.split(os.pathsep)) if name == "safe_stores" else text
            layers.append(_Layer(variable, {name: value}, Path.cwd()))
    return layers


def _read_toml(file: Path, *, about: str = "") -> dict[str, object]:
    """Read a file; one that does not mention `about` is not parsed, which takes longer."""
    try:
        text = file.read_text(encoding="utf-8")
        return _parsed(text, file) if about in text else {}
    except UnicodeDecodeError as error:
        raise BadSetting("(all)", str(file), f"it is not TOML: {error}") from None
    except OSError as error:
        raise BadSetting("(all)", str(file), f"it cannot be read: {error.strerror}") from None


def _parsed(text: str, file: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting("(all)", str(file), f"it is not TOML: {error}") from None


# --- the values -------------------------------------------------------------------------------

_Check: TypeAlias = Callable[[str, object, _Layer], object]


def _checked(name: str, raw: object, layer: _Layer) -> object:
    check = _CHECKS.get(name)
    if check is None:
        import difflib

        near = difflib.get_close_matches(name, _CHECKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(_CHECKS)}"
        raise BadSetting(name, layer.source, f"there is no such setting{hint}")
    if layer.is_project and name in _NEVER_BY_PROJECT:
        problem = "a project may not set it; put it in your user configuration"
        raise BadSetting(name, layer.source, problem)
    return check(name, raw, layer)


def _text(name: str, raw: object, layer: _Layer) -> str:
    if not isinstance(raw, str | os.PathLike) or not str(raw).strip():
        raise BadSetting(name, layer.source, f"{raw!r} must be text that is not empty")
    return str(raw)


def _flag(name: str, raw: object, layer: _Layer) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if not isinstance(raw, str) or word not in _TRUE | _FALSE:
        raise BadSetting(name, layer.source, f"{raw!r} must be true or false")
    return word in _TRUE


def _permission(name: str, raw: object, layer: _Layer) -> str:
    if raw not in {"allow", "deny"}:
        raise BadSetting(name, layer.source, f"{raw!r} must be allow or deny")
    return str(raw)


def _size(name: str, raw: object, layer: _Layer) -> int:
    try:
        size = int(raw) if isinstance(raw, str) else raw
    except ValueError:
        size = None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadSetting(name, layer.source, f"{raw!r} must be a number of bytes, 0 or more")
    return size


def _path(name: str, raw: object, layer: _Layer) -> Path:
    return layer.folder / Path(_text(name, raw, layer)).expanduser()


def _paths(name: str, raw: object, layer: _Layer) -> tuple[str, ...]:
    if not _is_texts(raw):
        raise BadSetting(name, layer.source, f"{raw!r} must be a list of paths")
    return tuple(item if item == "*" else str(_path(name, item, layer)) for item in raw)


def _is_texts(raw: object) -> TypeGuard[list[str] | tuple[str, ...]]:
    return isinstance(raw, list | tuple) and all(isinstance(item, str) for item in raw)


def _notebook(name: str, raw: object, layer: _Layer) -> str:
    return str(_path(name, raw, layer)) if layer.is_project else _text(name, raw, layer)


def _store(name: str, raw: object, layer: _Layer) -> str:
    text = _text(name, raw, layer)
    if "://" in text:
        if layer.is_project:
            problem = "a project may only name a store inside itself, as a relative path"
            raise BadSetting(name, layer.source, f"{problem}; set a shared one for yourself")
        return text
    path = _path(name, text, layer)
    if layer.is_project and not path.resolve().is_relative_to(layer.folder.resolve()):
        problem = f'"{text}" is outside the project; a project may only name a store inside itself'
        raise BadSetting(name, layer.source, problem)
    return str(path)


_CHECKS: Mapping[str, _Check] = {
    "store": _store,
    "notebook": _notebook,
    "quiet": _flag,
    "batch": _flag,
    "text_cap_bytes": _size,
    "image_cap_bytes": _size,
    "file_budget_bytes": _size,
    "file_md5": _flag,
    "data_statistics": _flag,
    "pickle": _permission,
    "safe_stores": _paths,
    "state_dir": _path,
}
# What says whom to trust, or where this user's own files go.
_NEVER_BY_PROJECT = frozenset({"safe_stores", "state_dir"})
