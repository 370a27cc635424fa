"""An IPython extension for the kernel that replays: secrets come from its environment.

The cells keep their ``⟨secret:NAME⟩`` wherever their text can be seen: in the notebook, the
history, the record, a traceback. Only the syntax tree that is compiled gets the value.
"""

from __future__ import annotations

import ast
import json
import os
import re
from typing import TYPE_CHECKING, Any

from mlops_nb.replay.secrets import MAP_VARIABLE
from mlops_nb.replay.trees import python_inside

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK = re.compile(r"⟨secret:([^⟩\n]{1,200})⟩")
_BYTES = re.compile(r"(?<![\w])([rR]?)[bB]([rR]?)(['\"])([^'\"\n]*⟨secret:[^⟩\n]+⟩[^'\"\n]*)\3")


def load_ipython_extension(shell: Any) -> None:
    """Have marks in cells stand for the values of environment variables."""
    variables = json.loads(os.environ.get(MAP_VARIABLE) or "{}")
    if variables:
        shell.ast_transformers.append(SecretValues(variables))
        shell.input_transformers_cleanup.append(_bytes_as_text)


def _bytes_as_text(lines: list[str]) -> list[str]:
    """Write ``b"⟨secret:X⟩"`` as text that is encoded: a mark is no ASCII, so no bytes literal."""
    return [_BYTES.sub(r'\1\2\3\4\3.encode("utf-8")', line) for line in lines]


class SecretValues(ast.NodeTransformer):
    """Replaces marks in the strings of a cell's syntax tree.

    Parameters
    ----------
    variables
        Environment variable for each name of a secret.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Leave alone what will be compiled by itself: a value in source text would be seen."""
        if python_inside(node):
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Put the value in."""
        if isinstance(node.value, str) and "⟨secret:" in node.value:
            value = _MARK.sub(self._value, node.value)
            return ast.copy_location(ast.Constant(value, kind=node.kind), node)
        return node

    def _value(self, found: re.Match[str]) -> str:
        variable = self._variables.get(found[1])
        return os.environ.get(variable, found[0]) if variable else found[0]
