"""A value with everything a reader may want of it: text, Markdown, HTML, JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from mlops_nb.display.html import write_html, write_html_page
from mlops_nb.display.markdown import write_markdown
from mlops_nb.display.text import write_text

if TYPE_CHECKING:
    from mlops_nb.display.blocks import Block

Place: TypeAlias = Literal["notebook", "shell"]
"""Where the reader is, so that the next action is one that works there."""


class View:
    """Base of all views: a subclass gives blocks and a document, and has the rest from here.

    A view is returned, never printed: what shows it chooses among its types.
    """

    __slots__ = ()

    mime: ClassVar[str]
    title: ClassVar[str] = "mlops_nb"

    def blocks(self) -> tuple[Block, ...]:
        """Give what there is to say."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """Give the JSON of the view's own MIME type."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """The view as plain text, as wide as the terminal, or 120 columns in a notebook."""
        return self.to_text()

    def to_text(self, *, columns: int | None = None, color: bool = False) -> str:
        """Write the view as plain text of a given width, in a terminal's colours if wanted."""
        return write_text(self.blocks(), columns=columns, color=color)

    @property
    def markdown(self) -> str:
        """The view as GitHub Markdown."""
        return write_markdown(self.blocks())

    @property
    def html(self) -> str:
        """The view as an HTML fragment that survives a notebook that is not trusted."""
        return write_html(self.blocks())

    def html_page(self, *, columns: int | None = None) -> str:
        """Write the view as a whole HTML file, readable in a light and a dark theme.

        Parameters
        ----------
        columns
            Letters that have room beside each other; None for all columns, however many.
        """
        return write_html_page(self.blocks(), title=self.title, columns=columns)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Give all types of one output, so that each reader finds one it can show."""
        del include, exclude  # IPython itself keeps to these
        return {"text/plain": self.text, "text/html": self.html, self.mime: self.document()}


def command(place: Place, verb: str, *arguments: str) -> str:
    """Name a command as it is typed where the reader is."""
    start = f"%mlops_{verb}" if place == "notebook" else f"mlops-nb {verb}"
    return " ".join((start, *arguments))
