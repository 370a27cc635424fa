"""What makes pages of notebooks; it takes a second to load, so it is loaded ahead."""

from __future__ import annotations

from nbconvert.exporters import HTMLExporter
from nbformat.v4 import new_notebook

EXPORTER = HTMLExporter()  # type: ignore[no-untyped-call]  # it has no annotations
# Its templates are compiled with the first page.
EXPORTER.from_notebook_node(new_notebook())
