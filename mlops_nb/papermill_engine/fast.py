"""The papermill engine without a kernel: cells run in a process forked with the imports done.

Everything but the kernel itself is that of the engine ``mlops_nb``: the same requests, the same
outputs in the same places, tracking, saving, timeouts and signals. Where forking would not be
safe, or could be told from a kernel, the notebook runs in a kernel, and the log says once why.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.utils import run_sync
from papermill.log import logger

from mlops_nb.papermill_engine.engine import BatchClient, Engine
from mlops_nb.papermill_engine.preloading import early_imports, shadowed
from mlops_nb.papermill_engine.servers import ForkRefused
from mlops_nb.papermill_engine.worker_client import WorkerManager

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec

    from mlops_nb.papermill_engine.batch import Batch
    from mlops_nb.papermill_engine.saving import PartialNotebook

FORKING = ("linux", "darwin")

_LAUNCHER = ("-m", "ipykernel_launcher", "-f", "{connection_file}")
_OF_A_KERNEL = re.compile(
    r"%\s*(?:connect_info|qtconsole|gui|subshell|debug)\b|get_connection_(?:file|info)"
    r"|connect_qtconsole|embed_kernel|debugpy|zmq"
)
_WIDGETS = re.compile(
    r"^\s*(?:import|from)\s+(?:ipywidgets|anywidget|ipympl|bqplot|ipyleaflet|k3d|ipycanvas"
    r"|ipyvolume|pythreejs|nglview)\b|tqdm\.(?:notebook|auto)|%\s*matplotlib\s+(?!inline|agg)",
    re.MULTILINE,
)
_said: set[str] = set()


class FastEngine(Engine):
    """``papermill --engine mlops_nb_fast``: as the engine ``mlops_nb``, without a kernel's start.

    It takes the same arguments.
    """

    name = "mlops_nb_fast"

    @classmethod
    def client(cls, nb_man: PartialNotebook, told: Batch, **arguments: Any) -> BatchClient:
        """Make what runs the cells: in a worker, else in a kernel."""
        spec = _spec_of(arguments.get("kernel_name"))
        reason = why_kernel(nb_man.nb, spec, _folder(arguments))
        if reason or spec is None:
            say_once(told.shown, reason)
            return super().client(nb_man, told, **arguments)
        return FastClient(nb_man, told, spec=spec, **arguments)


class FastClient(BatchClient):
    """Runs the cells of one notebook in a worker.

    Parameters
    ----------
    spec
        Of the kernel that the worker stands for.
    """

    start_expression = (
        "{'run': session.start_batch(info), 'store': (__import__("
        "'mlops_nb.papermill_engine.worker', fromlist=['worker']"
        ").lend_drainer(session.active().spool), session.active().store_name)[1]}"
    )

    def __init__(
        self, nb_man: PartialNotebook, batch: Batch, *, spec: KernelSpec, **arguments: Any
    ) -> None:
        super().__init__(nb_man, batch, **arguments)
        self._spec = spec

    def create_kernel_manager(self) -> Any:
        """Make the worker's manager in place of a kernel's."""
        imports = early_imports(_sources(self.nb))
        folder = _folder({"resources": self.resources})
        if imports and shadowed(folder, imports):
            imports = ()
        self.km = WorkerManager(self._spec, self.kernel_name, imports)
        return self.km

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        """Fork a worker; where that cannot be done, start a kernel."""
        try:
            await super().async_start_new_kernel(**kwargs)
        except ForkRefused as refused:
            say_once(self.batch.shown, str(refused))
            self.km = super().create_kernel_manager()
            await super().async_start_new_kernel(**kwargs)

    start_new_kernel = run_sync(async_start_new_kernel)


def why_kernel(notebook: Any, spec: KernelSpec | None, folder: Path) -> str:
    """Say why a notebook has to run in a kernel.

    Parameters
    ----------
    notebook
        As papermill has prepared it.
    spec
        Of its kernel; None if that is not installed.
    folder
        Where it runs.

    Returns
    -------
    str
        A clause; empty if a worker can run it.
    """
    if sys.platform not in FORKING or not hasattr(os, "fork"):
        return f"{sys.platform} does not fork processes"
    if spec is None:
        return "its kernel is not installed"
    if problem := _why_not_ours(spec):
        return problem
    path = os.environ.get("PYTHONPATH", "")
    if not all(Path(entry).is_absolute() for entry in path.split(os.pathsep) if path):
        return "PYTHONPATH has a folder that hangs on where a process starts"
    for source in _sources(notebook):
        if _WIDGETS.search(source):
            return "it shows widgets"
        if found := _OF_A_KERNEL.search(source):
            return f"it asks for a kernel ({found[0].strip()})"
    if found_file := shadowed(folder, ()):
        return f"{found_file} in its folder has the name of a module that is loaded already"
    return ""


def _why_not_ours(spec: KernelSpec) -> str:
    """Say why a kernel is not the one of this very environment, started as usual."""
    if (spec.language or "python").lower() != "python":
        return f"its kernel runs {spec.language}"
    argv = list(spec.argv)
    if tuple(argv[-len(_LAUNCHER) :]) != _LAUNCHER:
        return "its kernel is not started as ipykernel usually is"
    if not all(flag.startswith(("-X", "-W")) for flag in argv[1 : -len(_LAUNCHER)]):
        return "its kernel is not started as ipykernel usually is"
    if not _is_this_python(argv[0]):
        return f"its kernel is of another environment ({argv[0]})"
    if (spec.metadata or {}).get("kernel_provisioner"):
        return "its kernel is started by a provisioner"
    return "" if spec.interrupt_mode == "signal" else "its kernel is interrupted by messages"


def _is_this_python(program: str) -> bool:
    """Whether jupyter_client would start this very interpreter, of this very environment."""
    version = sys.version_info
    usual = {"python", f"python{version.major}", f"python{version.major}.{version.minor}"}
    if program in usual:
        return True
    here, there = Path(sys.executable), Path(program)
    is_beside = here.parent.absolute() == there.parent.absolute()
    return is_beside and here.exists() and there.exists() and here.samefile(there)


def _spec_of(kernel_name: object) -> KernelSpec | None:
    from jupyter_client.kernelspec import NoSuchKernel

    try:
        return KernelSpecManager().get_kernel_spec(str(kernel_name))
    except NoSuchKernel:
        return None


def _folder(arguments: Any) -> Path:
    """Say where the notebook will run."""
    resources = arguments.get("resources") or {}
    return Path((resources.get("metadata") or {}).get("path") or Path.cwd())


def _sources(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def say_once(shown: str, reason: str) -> None:
    """Log once for each reason why a kernel is started."""
    if reason not in _said:
        _said.add(reason)
        logger.warning(f"{shown} runs in a kernel, not in a forked worker: {reason}.")
