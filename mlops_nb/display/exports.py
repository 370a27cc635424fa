"""What an export says, and where it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Code, Span, line
from mlops_nb.display.view import View
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.display.blocks import Block
    from mlops_nb.exporters import Exported

EXPORT_MIME = "application/vnd.mlops-nb.export.v1+json"

_LANGUAGES = {".yml": "yaml", ".service": "ini", ".timer": "ini"}
_MOST_LINES = 10_000


@dataclass(frozen=True, slots=True, repr=False)
class ExportView(View):
    """The files of an export.

    Attributes
    ----------
    exported
        What an exporter said.
    written
        Paths of the files, if they were written; in the same order.
    """

    exported: Exported
    written: tuple[str, ...] = ()

    mime: ClassVar[str] = EXPORT_MIME
    title: ClassVar[str] = "Export"

    def document(self) -> dict[str, Any]:
        """Give the files and notes as JSON."""
        files = [{"path": file.path, "text": plain(file.text)} for file in self.exported.files]
        return {
            "files": files,
            "written": [plain(path) for path in self.written],
            "notes": list(self.exported.notes),
            "next": list(self.exported.next),
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give what was written, or the files themselves, and what to do with them."""
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        if self.written:
            for path in self.written:
                yield line("written: ", Span(path, "strong"))
        else:
            for file in self.exported.files:
                yield line(Span(file.path, "strong"))
                ending = file.path[file.path.rfind(".") :]
                yield Code(file.text, _LANGUAGES.get(ending, ""), _MOST_LINES)
        for note in self.exported.notes:
            yield line(Span("note: ", "warn"), note)
        for step in self.exported.next:
            yield line(Span("then: ", "muted"), Span(step, "code"))
