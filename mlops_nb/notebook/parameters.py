"""The parameters cell: what it offers, and whether what was given fits. By ast, never executed."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadNotebook, BadParameter
from mlops_nb.notebook.types import TypeRule, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model import Json
    from mlops_nb.notebook.reading import Notebook

TAGS = ("parameters", "pipeline-parameters")

_TYPE_COMMENT = re.compile(r"type:\s*([\w.]+(?:\[[^#]*\])?(?:\s*\|\s*[\w.]+)*)\s*(.*)")
_MAGIC = re.compile(r"^\s*[%!?]")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One name that the parameters cell binds.

    Attributes
    ----------
    type
        Its annotation or type comment, else the type of its default; empty if neither says.
    default
        Its value where that is a literal, else None.
    written
        The default as it stands in the cell.
    comment
        What the cell says about it.
    is_declared
        Whether `type` was written by the author.
    """

    name: str
    type: str
    default: Json
    written: str = ""
    comment: str = ""
    is_declared: bool = False


def parameters(notebook: Notebook) -> tuple[Parameter, ...]:
    """List the parameters of a notebook.

    Parameters
    ----------
    notebook
        The first cell tagged ``parameters`` (or ``pipeline-parameters``) is looked at.

    Returns
    -------
    tuple of Parameter
        In the order of the cell, the last binding of each name; empty without such a cell.

    Raises
    ------
    BadNotebook
        The cell is not Python.
    """
    cell = next((c for c in notebook.code_cells if set(TAGS) & set(c.tags)), None)
    if cell is None:
        return ()
    # A magic keeps its line, so that comments stay beside what they belong to.
    lines = [
        "pass" if _MAGIC.match(line) else line for line in cell.source.splitlines(keepends=False)
    ]
    source = "\n".join(lines)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else error
        problem = f"its parameters cell (cell {cell.index}) is not Python ({where})"
        raise BadNotebook(notebook.path, problem, "Correct the cell.") from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        for name, value, annotation in _bindings(statement):
            comment = comments.get(statement.end_lineno or 0, "")
            found.pop(name, None)
            found[name] = _parameter(name, value, annotation, comment)
    return tuple(found.values())


def check_parameters(
    notebook: Notebook, given: Mapping[str, object], path: str | None = None
) -> dict[str, Any]:
    """Check values against the parameters of a notebook, and give each its type.

    Parameters
    ----------
    notebook
        The notebook that is to run.
    given
        By name. A text is read as the parameter's type (``"0.5"`` for a number); other values
        come from a file or from Python and must fit.
    path
        What to call the notebook in errors, if not by its own path.

    Returns
    -------
    dict
        The same names, with typed values.

    Raises
    ------
    BadParameter
        The notebook has no such parameter, or the value does not fit it.
    """
    if not given:
        return {}
    shown = path or notebook.path
    known = {parameter.name: parameter for parameter in parameters(notebook)}
    checked = {}
    for name, value in given.items():
        if name not in known:
            raise _unknown(shown, name, known)
        checked[name] = _typed(known[name], value, shown)
    return checked


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.expr, str]]:
    """Give each (name, value, annotation) that a statement binds."""
    if isinstance(statement, ast.AnnAssign):
        if isinstance(statement.target, ast.Name) and statement.value is not None:
            yield statement.target.id, statement.value, _annotation(statement.annotation)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from ((name, value, "") for name, value in _pairs(target, statement.value))


def _annotation(node: ast.expr) -> str:
    """Write an annotation as text; one in quotes is the text in the quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Match names with values, through ``a, b = 1, 2``."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif (
        isinstance(target, ast.Tuple | ast.List)
        and isinstance(value, ast.Tuple | ast.List)
        and len(target.elts) == len(value.elts)
    ):
        for inner, part in zip(target.elts, value.elts, strict=True):
            yield from _pairs(inner, part)


def _parameter(name: str, value: ast.expr, annotation: str, comment: str) -> Parameter:
    declared, text = annotation, comment
    if match := _TYPE_COMMENT.match(comment):
        declared, text = annotation or match[1], match[2]
    try:
        default = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return Parameter(name, declared, None, ast.unparse(value), text, bool(declared))
    inferred = "" if default is None else type(default).__name__
    return Parameter(
        name, declared or inferred, default, ast.unparse(value), text, is_declared=bool(declared)
    )


def _comments(source: str) -> dict[int, str]:
    """Find the comment at the end of each line."""
    found = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.lstrip("#").strip()
    except (tokenize.TokenError, IndentationError):
        # ast has read it, so this is a corner that tokenize sees otherwise: no comments, then.
        return found
    return found


def _unknown(shown: str, name: str, known: Mapping[str, Parameter]) -> BadParameter:
    problem = f'it has no parameter "{name}"'
    if not known:
        remedy = 'Tag the cell that sets its parameters with "parameters".'
        return BadParameter(shown, name, problem, remedy)
    listed = ", ".join(f"{p.name} ({p.type})" if p.type else p.name for p in known.values())
    lowered = {other.lower(): other for other in known}
    close = get_close_matches(name.lower(), lowered, n=1)
    hint = f'Did you mean "{lowered[close[0]]}"? ' if close else ""
    return BadParameter(shown, name, problem, f"{hint}It has: {listed}.")


def _typed(parameter: Parameter, value: object, shown: str) -> object:
    rule = rule_of(parameter.type, is_declared=parameter.is_declared)
    fits, typed = _read(rule, value) if isinstance(value, str) else rule.fit(value)
    if fits:
        return typed
    article = "an" if parameter.type[:1] in "aeiouAEIOU" else "a"
    told = json.dumps(value, ensure_ascii=False, default=str)
    problem = (
        f'"{parameter.name}" is {article} {parameter.type} in the notebook '
        f"({parameter.name} = {_cut(parameter.written)}), you gave {_cut(told)}"
    )
    remedy = f"Give {rule.wanted}: -p {parameter.name}={rule.example(parameter.default)}"
    raise BadParameter(shown, parameter.name, problem, remedy)


def _read(rule: TypeRule, text: str) -> tuple[bool, object]:
    """Read a text as what the rule wants: as it stands for a text, else as a literal."""
    fits, typed = rule.fit(text)
    if fits:
        return True, typed
    for read in (_literal, _json):
        try:
            value = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        fits, typed = rule.fit(value)
        if fits:
            return True, typed
    takes_anything = not (rule.kinds or rule.choices)
    return takes_anything, text


def _literal(text: str) -> object:
    return ast.literal_eval(text.strip())


def _json(text: str) -> object:
    words = {"true": True, "false": False, "null": None, "yes": True, "no": False}
    words |= {"on": True, "off": False, "none": None}
    lowered = text.strip().lower()
    if lowered in words:
        return words[lowered]
    if lowered in {"nan", "inf", "-inf", "+inf", "infinity", "-infinity"}:
        return math.nan if lowered == "nan" else float(lowered)
    return json.loads(text)


def _cut(text: str, limit: int = 60) -> str:
    """Cut a long text in the middle."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}…{text[-limit // 2 + 1 :]}"
