"""Writing the folder of a pipeline: all of it or nothing, and never over a person's work."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import BadDefinition, BadPipeline, NotOverwritten
from mlops_nb.errors.values import NotWritten
from mlops_nb.pipeline.drafts import NO_STEPS
from mlops_nb.pipeline.writing.definition import DEFINITION, load_definition
from mlops_nb.pipeline.writing.document import (
    definition_document,
    definition_text,
    notebook_digest,
    split_digest,
)
from mlops_nb.pipeline.writing.notebooks import notebook_text, step_notebook, step_paths
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model.pipelines import Pipeline, SplitProof
    from mlops_nb.model.terms import Json
    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.writing.definition import Definition

_STAGE = ".mlops-nb-writing-"
_LOCK_TIMEOUT_S, _LOCK_LOOK_S = 30.0, 0.02


@record
class Converted:
    """A pipeline that was written.

    Attributes
    ----------
    folder
        Where it lies.
    definition
        Its ``pipeline.yaml``.
    notebooks
        Name of each step to its notebook.
    pipeline
        What was written.
    removed
        Notebooks of steps that are no more, relative to the folder.
    is_unchanged
        Whether all of it stood there already, byte for byte.
    warnings
        About what was found there.
    """

    folder: Path
    definition: Path
    notebooks: Mapping[str, Path]
    pipeline: Pipeline
    removed: tuple[str, ...] = ()
    is_unchanged: bool = False
    warnings: tuple[str, ...] = field(default=())


def convert(
    pipeline: Pipeline,
    notebook: Notebook,
    folder: str | Path,
    *,
    force: bool = False,
    schedule: Mapping[str, Json] | None = None,
    proof: SplitProof | None = None,
) -> Converted:
    """Write a pipeline as ``pipeline.yaml`` and one notebook a step.

    Parameters
    ----------
    pipeline, notebook
        What `dataflow_of` made of it, and the whole.
    folder
        Made if it is not there. The same input gives the same bytes.
    force
        Whether files that a person has made or changed are overwritten. Only files that the
        pipeline needs are, and nothing but notebooks of former steps is ever removed.
    schedule, proof
        Written into ``pipeline.yaml``; what stands there already stays if left out, the proof
        only while it is about this very split.

    Returns
    -------
    Converted
        Where everything lies.

    Raises
    ------
    BadPipeline
        The notebook has no steps.
    PipelineRefused
        A definition that a step needs cannot be cut out of its cell.
    NotOverwritten
        Files that a person has made or changed are in the way; nothing was written.
    NotWritten
        The folder cannot be written; what was there is untouched.

    Examples
    --------
    >>> convert(pipeline, notebook, "churn").definition  # doctest: +SKIP
    PosixPath('churn/pipeline.yaml')
    """
    if not pipeline.steps:
        raise BadPipeline(notebook.path, (NO_STEPS,))
    target = Path(folder)
    check_writable(target, notebook)
    with _clear_errors(target), _one_at_a_time(target):
        old, warnings = _old_definition(target, force=force)
        texts = _texts(pipeline, notebook, target, old, schedule, proof)
        _check_files(target, old, texts, force=force)
        removed = _former(target, old, texts, force=force)
        is_unchanged = not removed and all(
            _digest_at(target / path) == _digest(text) for path, text in texts.items()
        )
        if not is_unchanged:
            _write(target, texts, removed)
    return Converted(
        folder=target,
        definition=target / DEFINITION,
        notebooks={step: target / path for step, path in step_paths(pipeline).items()},
        pipeline=pipeline,
        removed=removed,
        is_unchanged=is_unchanged,
        warnings=warnings,
    )


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[None]:
    """Wait for another conversion into the same folder: a mixture of two is neither."""
    try:
        import fcntl
    except ImportError:  # there are no such locks on Windows
        yield
        return
    home = next(one for one in target.absolute().parents if one.is_dir())
    descriptor = os.open(home, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    problem = "another conversion is writing there"
                    remedy = "Wait for it, or end it."
                    raise NotWritten(str(target), problem, remedy) from None
                time.sleep(_LOCK_LOOK_S)
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(descriptor)


# --- what is to stand there -------------------------------------------------------------------


def _texts(
    pipeline: Pipeline,
    notebook: Notebook,
    target: Path,
    old: Definition | None,
    schedule: Mapping[str, Json] | None,
    proof: SplitProof | None,
) -> dict[str, str]:
    """Write every file of the folder, by its path in it; the definition last."""
    paths = step_paths(pipeline)
    texts = {
        path: notebook_text(step_notebook(pipeline, notebook, step))
        for step, path in paths.items()
    }
    beside = replace(pipeline, notebook=_relative(notebook.path, target))
    document = definition_document(beside, paths=paths)
    document["notebook"]["digest"] = notebook_digest(notebook)
    found = dict(schedule if schedule is not None else old.schedule if old else {})
    if found:
        document["schedule"] = found
    document["files"] = {path: _digest(text) for path, text in texts.items()}
    if said := _proof(pipeline, notebook, old, proof):
        document["proof"] = said
    document |= old.extra if old else {}
    texts[DEFINITION] = definition_text(document)
    return texts


def _proof(
    pipeline: Pipeline, notebook: Notebook, old: Definition | None, proof: SplitProof | None
) -> dict[str, Json]:
    """Say what is proven about this very split; without the time, so that bytes stay the same."""
    if proof is not None:
        return {"split": proof.split, "verdict": proof.verdict}
    if old is None or not old.proof:
        return {}
    split = split_digest(pipeline, notebook_digest(notebook))
    return dict(old.proof) if old.proof.get("split") == split else {}


def _relative(notebook: str, target: Path) -> str:
    """Say where the notebook lies, seen from the folder; with slashes on every system."""
    source = Path(notebook).absolute()
    try:
        return Path(os.path.relpath(source.resolve(), target.absolute().resolve())).as_posix()
    except ValueError:
        # On another drive there is no way from here to there.
        return source.as_posix()


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _digest_at(path: Path) -> str | None:
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError:
        return None


# --- what stands there already ----------------------------------------------------------------


def check_writable(target: Path, notebook: Notebook) -> None:
    """Refuse what is no folder, the notebook's own folder, and one that cannot be written.

    Raises
    ------
    NotWritten
        Nothing could be written there; asked before anything takes time.
    """
    source = Path(notebook.path).absolute()
    with _clear_errors(target):
        if target.exists() and not target.is_dir():
            raise NotWritten(str(target), "it is a file, not a folder", "Give another with -o.")
        if target.exists() and target.resolve() == source.resolve().parent:
            problem = f"it is the folder of {source.name} itself"
            remedy = f"Give a folder of its own: -o {target / source.stem}"
            raise NotWritten(str(target), problem, remedy)
        home = next(one for one in (target, *target.absolute().parents) if one.exists())
        if not home.is_dir():
            raise NotWritten(
                str(target), f"{home} is a file, not a folder", "Give another with -o."
            )
        if not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError


def _old_definition(target: Path, *, force: bool) -> tuple[Definition | None, tuple[str, ...]]:
    """Read what was written there before; what is not ours is kept unless it may go."""
    if not target.is_dir() or not _has_content(target):
        return None, ()
    if not (target / DEFINITION).exists():
        if force:
            return None, ()
        raise NotOverwritten(str(target), "it has files in it, and no pipeline of ours")
    try:
        old = load_definition(target)
    except BadDefinition as error:
        if force:
            return None, (f"{error} It was written anew.",)
        raise
    return old, old.warnings


def _has_content(target: Path) -> bool:
    return any(not item.name.startswith(_STAGE) for item in target.iterdir())


def _check_files(
    target: Path, old: Definition | None, texts: Mapping[str, str], *, force: bool
) -> None:
    """Refuse to overwrite what a person has made or changed."""
    if target.is_dir():
        for path in texts:
            _check_inside(target, path)
    if force:
        return
    recorded = dict(old.files) if old else {}
    edited = [
        path
        for path, text in texts.items()
        if path != DEFINITION and _is_edited(target / path, recorded.get(path), _digest(text))
    ]
    if old is not None and old.is_edited and _digest_at(old.path) != _digest(texts[DEFINITION]):
        edited.append(DEFINITION)
    if edited:
        raise NotOverwritten(str(target), "it has files edited by hand", tuple(edited))


def _is_edited(path: Path, recorded: str | None, new: str) -> bool:
    """Say whether a file is there that is neither what was written nor what would be."""
    if not path.exists() and not path.is_symlink():
        return False
    return _digest_at(path) not in {recorded, new}


def _check_inside(target: Path, path: str) -> None:
    """Refuse to write through a link that leads out of the folder."""
    parent = (target / path).parent
    if parent.exists() and not parent.resolve().is_relative_to(target.resolve()):
        problem = f"{path} leads out of it by a link"
        raise NotWritten(str(target), problem, "Take the link away, or give another folder.")


def _former(
    target: Path, old: Definition | None, texts: Mapping[str, str], *, force: bool
) -> tuple[str, ...]:
    """List notebooks of steps that are no more; edited ones go only if that is wanted."""
    if old is None:
        return ()
    former = [path for path in old.files if path not in texts and (target / path).is_file()]
    edited = [path for path in former if _digest_at(target / path) != old.files[path]]
    if edited and not force:
        problem = "steps that are no more have notebooks edited by hand"
        raise NotOverwritten(str(target), problem, tuple(edited))
    for path in former:
        _check_inside(target, path)
    return tuple(former)


# --- doing it ---------------------------------------------------------------------------------


@contextmanager
def _clear_errors(target: Path) -> Iterator[None]:
    """Say in a sentence why a folder cannot be written."""
    try:
        yield
    except (NotOverwritten, NotWritten):
        raise
    except PermissionError:
        problem = "you may not write there"
        raise NotWritten(str(target), problem, "Give another folder with -o.") from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            problem = "the disk is full, and what was there before is untouched"
            raise NotWritten(str(target), problem, "Make room and convert again.") from None
        if error.errno == errno.EROFS:
            problem = "its disk can only be read"
            raise NotWritten(str(target), problem, "Give another folder with -o.") from None
        problem = error.strerror or str(error)
        raise NotWritten(str(target), problem, "Give another folder with -o.") from None


def _write(target: Path, texts: Mapping[str, str], removed: tuple[str, ...]) -> None:
    """Write everything beside, then put it into place: a full disk leaves the old as it was."""
    is_new = not target.exists()
    home = target.absolute().parent if is_new else target
    home.mkdir(parents=True, exist_ok=True)
    stage = home / f"{_STAGE}{secrets.token_hex(8)}"
    stage.mkdir()
    try:
        for path, text in texts.items():
            _write_durably(stage / path, text)
        if is_new:
            stage.rename(target)
            return
        for path in texts:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (stage / path).replace(target / path)
        for path in removed:
            (target / path).unlink(missing_ok=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_durably(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        # Else a power cut may keep the new name and lose the bytes.
        os.fsync(file.fileno())


def converted_document(converted: Converted) -> dict[str, Any]:
    """Describe what was written, as ``--format json`` does."""
    return {
        "folder": str(converted.folder),
        "definition": str(converted.definition),
        "notebooks": {step: str(path) for step, path in converted.notebooks.items()},
        "removed": list(converted.removed),
        "unchanged": converted.is_unchanged,
    }
