"""What an edit changed, one line a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.compare.table import short_labels
from mlops_nb.display.blocks import Span, line
from mlops_nb.display.formats import one_line, shortened
from mlops_nb.display.view import View, command
from mlops_nb.documents import edit_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.display.blocks import Block
    from mlops_nb.display.view import Place
    from mlops_nb.model import Json, RunEdit
    from mlops_nb.store import Store

EDITS_MIME = "application/vnd.mlops-nb.edits.v1+json"

_WIDEST = 60
# A flag: what it says when it is set, when it no longer is, and the verb that takes it back.
_FLAGS = {
    "starred": ("★ starred", "no longer starred", ""),
    "archived": ("archived", "back from the archive", "unarchive"),
    "deleted": ("deleted", "brought back", "undelete"),
}


@dataclass(frozen=True, slots=True, repr=False)
class EditsView(View):
    """What changed, and how to take it back.

    Attributes
    ----------
    edits
        In the order in which they were made; several of one run stand together.
    place
        Where the reader is.
    """

    edits: tuple[RunEdit, ...]
    place: Place = "notebook"

    mime: ClassVar[str] = EDITS_MIME
    title: ClassVar[str] = "Edits"

    def document(self) -> dict[str, Any]:
        """Give the edits as JSON."""
        return {"edits": [edit_document(edit) for edit in self.edits]}

    def blocks(self) -> tuple[Block, ...]:
        """Give one line for each run that changed."""
        if not self.edits:
            return (line("Nothing to change: it is so already."),)
        labels = short_labels(dict.fromkeys(edit.run for edit in self.edits))
        return tuple(line(*self._line(run, label)) for run, label in labels.items())

    def _line(self, run: str, label: str) -> Iterator[Span]:
        edits = [edit for edit in self.edits if edit.run == run]
        yield Span("run ")
        yield Span(label, "strong", run)
        yield Span(f"  {_short(edits[0].name)}", "plain", edits[0].name)
        for place, edit in enumerate(edits):
            yield Span("   " if place == 0 else " · ")
            yield from _change(edit)
        back = next((b for b in map(_way_back, edits) if b), "")
        if back:
            yield Span("   to undo: ", "muted")
            yield Span(command(self.place, back, label), "code")


def view_edits(
    store: Store,
    references: Sequence[str],
    changes: Mapping[str, Json],
    *,
    query: str | None = None,
    since: int | None = None,
    place: Place = "notebook",
) -> EditsView:
    """Change runs, those named and those that match a query, and say what changed.

    Parameters
    ----------
    store
        An open one.
    references, changes, since
        As `Store.edit_runs` takes them.
    query
        Also all that match; archived ones only to bring them back, or if it asks about them.
    place
        Where the reader is.
    """
    chosen = list(references)
    if query is not None:
        is_back = changes.get("archived") is False
        found = store.runs(query, archived=is_back)
        chosen += [run.id for run in found if run.is_archived or not is_back]
    return EditsView(tuple(store.edit_runs(chosen, changes, since=since)), place)


def _change(edit: RunEdit) -> Iterator[Span]:
    if edit.field in _FLAGS:
        is_now, was, _ = _FLAGS[edit.field]
        yield Span(is_now if edit.after else was, "strong")
    else:
        yield Span(f"{edit.field.replace('tags.', 'tag ', 1)} ")
        yield from _values(edit.before, edit.after)
    if edit.replaces:
        yield Span(f" (before: by {one_line(edit.replaces)})", "warn")


def _values(before: Json, after: Json) -> Iterator[Span]:
    if before not in {None, ""}:
        yield Span(_short(before), "muted", str(before))
        yield Span(" → ")
    if after in {None, ""}:
        yield Span("none", "muted")
    else:
        yield Span(_short(after), "strong", str(after))


def _short(value: Json) -> str:
    return shortened(one_line(str(value)), _WIDEST)


def _way_back(edit: RunEdit) -> str:
    return _FLAGS[edit.field][2] if edit.field in _FLAGS and edit.after else ""
