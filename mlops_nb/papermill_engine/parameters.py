"""Parameters with their types, in the cell that papermill injects for our engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from papermill.translators import PythonTranslator, papermill_translators

from mlops_nb.notebook.rendering import is_name, is_plain_literal, render_parameters
from mlops_nb.tracking.values import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGE = "python, exactly"
"""What our engines call Python, so that papermill finds `ExactTranslator` for them alone."""


class ExactTranslator(PythonTranslator):  # type: ignore[misc]
    """Writes what JSON has as papermill does, and everything else so that it comes back exact."""

    @classmethod
    def codify(cls, parameters: Mapping[str, object], comment: str = "Parameters") -> str:
        """Write the injected cell.

        Raises
        ------
        CannotRender
            A value would not come back the same.
        """
        if all(map(is_name, parameters)) and all(map(is_plain_literal, parameters.values())):
            return str(super().codify(parameters, comment))
        return f"{cls.comment(comment)}\n{render_parameters(parameters)}"


def with_plain_metadata(notebook: Any) -> None:
    """Describe values in the notebook's metadata that JSON cannot hold, as runs do."""
    facts = notebook.metadata.get("papermill") or {}
    for key in ("parameters", "default_parameters"):
        if values := facts.get(key):
            facts[key] = {
                name: value if is_plain_literal(value) else as_json(value)
                for name, value in values.items()
            }


papermill_translators.register(LANGUAGE, ExactTranslator)
