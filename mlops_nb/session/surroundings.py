"""What runs are made of beside their cells: files, code of the project, what is imported.

Around a cell this takes some microseconds; the rest is found out on threads of its own, and told
when it is known.
"""

from __future__ import annotations

import hashlib
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.model import ArtifactLogged, RunChanged, SessionChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlops_nb.capture.files import FileWatch
    from mlops_nb.capture.hooks import LiveExecution
    from mlops_nb.config import Settings
    from mlops_nb.environment.modules import ProjectModules
    from mlops_nb.session.background import Background
    from mlops_nb.store.spool import Spool
    from mlops_nb.tracking import LiveRun

_AUTORELOAD = "IPython.extensions.autoreload"

CACHE = "file-digests"
"""Name of the file below a local store where digests of files outlive the session."""


class Surroundings:
    """Files, code and imports of one session.

    Parameters
    ----------
    spool
        Takes the events.
    session
        The session's id.
    background
        Does what may take a while.
    on_code
        Called on that thread when the code of a run is known (``run.git``).
    """

    def __init__(
        self,
        spool: Spool,
        session: str,
        background: Background,
        on_code: Callable[[LiveRun], None],
    ) -> None:
        self._spool = spool
        self._session = session
        self._background = background
        self._on_code = on_code
        self._files: FileWatch | None = None
        self._kept: set[str] = set()
        self._modules: dict[str, str] = {}
        self._module_count = 0
        self._project: ProjectModules | None = None
        self._own: frozenset[str] = frozenset()

    def start(self, folder: Path, store: str, settings: Settings) -> None:
        """Watch the files below a folder, and those that cells name, from now on."""
        from mlops_nb.autolog.readers import watch_files

        is_local = "://" not in store
        ignored = [settings.state_dir, *([store] if is_local else [])]
        self._files = watch_files(
            [folder],
            self._spool.append,
            ignored=ignored,
            cache_file=Path(store) / CACHE if is_local else None,
            with_md5=settings.file_md5,
            budget_bytes=settings.file_budget_bytes,
        )
        self._files.start()

    def stop(self) -> None:
        """Tell what is still to tell, and let go of everything."""
        if self._files is not None:
            self._files.stop()

    @property
    def coverage(self) -> str:
        """By which means files are seen, as ``"adapters, fanotify, mentioned"``."""
        return "" if self._files is None else self._files.coverage

    def watch(self, notebook: Path) -> None:
        """Take note of where the notebook is; what saves it is no work of its cells."""
        if self._files is not None:
            self._files.ignore(notebook)
            self._files.watch(notebook.parent)

    def cell_started(self, live: LiveExecution, namespace: Mapping[str, object]) -> None:
        """A cell begins."""
        if self._files is not None:
            self._files.cell_started(live, namespace.get)

    def cell_ended(self, live: LiveExecution, namespace: Mapping[str, object]) -> tuple[str, ...]:
        """A cell has ended; gives the flags of its execution."""
        return () if self._files is None else self._files.cell_ended(live, namespace.get)

    # --- code ---------------------------------------------------------------------------------

    def describe(self, run: LiveRun, folder: Path) -> None:
        """Find out, in the background, what code of the project a run uses."""
        self._module_count = len(sys.modules)
        self._background.do(lambda: self._describe(run, folder))

    def follow(self, runs: Iterable[LiveRun], folder: Path) -> None:
        """Look again, in the background, if a cell may have loaded more or other code."""
        if len(sys.modules) == self._module_count and _AUTORELOAD not in sys.modules:
            return
        self._module_count = len(sys.modules)
        open_runs = list(runs)
        if open_runs:
            self._background.do(lambda: self._describe_again(open_runs, folder))

    def _describe_again(self, runs: Iterable[LiveRun], folder: Path) -> None:
        from mlops_nb.environment import changed_modules
        from mlops_nb.environment.modules import ProjectModules, project_root

        if self._project is None:
            self._project = ProjectModules(project_root(folder))
        known, self._own = self._own, frozenset(self._project.find(sys.modules.copy()))
        has_changed = bool(changed_modules(folder)) or self._own != known
        for run in runs if has_changed else ():
            self._describe(run, folder)

    def _describe(self, run: LiveRun, folder: Path) -> None:
        from mlops_nb.environment import code_state

        self._tell_modules()
        # What git reads for us is not what the cell that runs now has read.
        with self._files.own_children() if self._files is not None else nullcontext():
            state = code_state(folder)
        if state.git is None or state.git == run.git:
            return
        for name, mime, data in state.blobs:
            self._keep(run, name, mime, data)
        run.git = state.git
        self._spool.append(RunChanged(run.id, time.time_ns(), {"git": state.git}))
        self._on_code(run)

    def _keep(self, run: LiveRun, name: str, mime: str, data: bytes) -> None:
        """Keep bytes of code with a run, once for all runs of the session."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        is_new = digest not in self._kept
        self._kept.add(digest)
        event = ArtifactLogged(
            run.id,
            name,
            "code",
            mime,
            time.time_ns(),
            data if is_new else None,
            digest=digest,
            size_bytes=len(data),
        )
        self._spool.append(event)

    # --- imports ------------------------------------------------------------------------------

    def _tell_modules(self) -> None:
        """Tell which modules are there: the drainer finds out what they were installed with."""
        from mlops_nb.environment.modules import files_of

        modules: dict[str, str] = {}
        tops: set[str] = set()
        for name, file in files_of(sys.modules.copy()):
            # A namespace package has no file; any module inside of it stands for it.
            top = name.partition(".")[0]
            if name == top or top not in tops:
                modules[name] = file
            tops.add(top)
        new = {name: file for name, file in modules.items() if name not in self._modules}
        if new:
            self._modules.update(new)
            changes = {"modules": self._modules, "path": [str(entry) for entry in sys.path]}
            self._spool.append(SessionChanged(self._session, time.time_ns(), changes))
