"""Where the files of a unit lie while it is written and read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class Place:
    """Files of one value in the folder of a unit.

    Attributes
    ----------
    folder
        Of the unit.
    prefix
        Before each file's name, where the unit holds several values.
    names
        Of the files that were asked for, in order.
    known
        The only files that there are, while a unit is read; None while it is written.
    """

    folder: Path
    prefix: str = ""
    names: list[str] = field(default_factory=list)
    known: frozenset[str] | None = None

    def file(self, name: str) -> Path:
        """Say where a file of this name goes, or is."""
        whole = self.prefix + name
        if self.known is not None and whole not in self.known:
            raise ValueError(f"there is no file {whole} in the unit")
        path = self.folder / whole
        if whole not in self.names:
            self.names.append(whole)
            if self.known is None:
                # A reader may have mapped a file of this name: it keeps its own.
                path.unlink(missing_ok=True)
        return path

    def clear(self) -> None:
        """Remove what was begun."""
        for name in self.names:
            (self.folder / name).unlink(missing_ok=True)
        self.names.clear()


__all__ = ["Place"]
