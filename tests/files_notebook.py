"""A shell whose cells' files are watched, for tests and for kernels that tests start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlops_nb.autolog.readers import Readers
from mlops_nb.capture import guard as guards
from mlops_nb.capture.files import FileWatch
from mlops_nb.capture.files.kernel import open_sources
from mlops_nb.capture.hooks import Capture

if TYPE_CHECKING:
    from pathlib import Path

WAYS = {
    "all layers": {"readers": True},
    "fanotify alone": {"readers": False},
    "inotify alone": {"readers": False, "with_fanotify": False},
    "readers alone": {"readers": True, "sources": []},
}


class Notebook:
    """A shell whose cells are watched, in a folder of its own."""

    def __init__(self, shell, folder: Path, *, readers=True, with_fanotify=True, **given) -> None:
        self.shell = shell
        self.folder = folder
        self.flags: list[tuple] = []
        self.told: list = []
        given.setdefault("sources", open_sources(with_fanotify=with_fanotify))
        self.watch = FileWatch(
            [folder], self.told.append, readers=Readers() if readers else None, **given
        )
        self.capture = Capture(shell, "s" * 24, self)
        self.watch.start()
        self.capture.install()

    def execution_started(self, live) -> None:
        self.watch.cell_started(live, self.shell.user_ns.get)

    def execution_ended(self, live, event) -> None:
        self.flags.append(self.watch.cell_ended(live, self.shell.user_ns.get))

    def output_seen(self, event) -> None:
        """Outputs are not looked at here."""

    def run(self, cell: str) -> list:
        """Run a cell, and give what was told of it."""
        del self.told[:]
        result = self.shell.run_cell(cell)
        assert result.success, result.error_in_exec or result.error_before_exec
        assert self.watch.flush()
        return list(self.told)

    def uses(self, cell: str) -> dict[tuple[str, str], str]:
        """Run a cell; evidence by relative path and mode."""
        return {
            (os.path.relpath(each.uri, self.folder), each.mode): each.evidence
            for each in self.run(cell)
        }

    def close(self) -> None:
        self.capture.uninstall()
        self.watch.stop()
        assert not guards.faults, "\n".join(fault.where for fault in guards.faults)
