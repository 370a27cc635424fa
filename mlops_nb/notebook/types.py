"""Types of parameters, as authors write them: which values fit, and how to say what is wanted."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field

_KINDS = {
    "int": "int",
    "float": "number",
    "number": "number",
    "bool": "bool",
    "str": "text",
    "string": "text",
    "path": "text",
    "pathlike": "text",
    "date": "text",
    "datetime": "text",
    "list": "list",
    "sequence": "list",
    "iterable": "list",
    "tuple": "list",
    "set": "list",
    "frozenset": "list",
    "dict": "mapping",
    "mapping": "mapping",
    "none": "none",
    "nonetype": "none",
}
_WANTED = {
    "int": "a whole number",
    "number": "a number",
    "bool": "true or false",
    "text": "a text",
    "list": "a list",
    "mapping": "a mapping",
    "none": "null",
}
_EXAMPLE = {
    "int": "10",
    "number": "0.5",
    "bool": "true",
    "text": "name",
    "list": "'[1, 2]'",
    "mapping": "'{\"key\": 1}'",
    "none": "null",
}


@dataclass(frozen=True, slots=True)
class TypeRule:
    """Which values a parameter takes.

    Attributes
    ----------
    kinds
        Of ``int``, ``number``, ``bool``, ``text``, ``list``, ``mapping``, ``none``; empty: any.
    choices
        Only these values, where the type is a ``Literal``.
    """

    kinds: frozenset[str] = frozenset()
    choices: tuple[object, ...] = field(default=())

    def fit(self, value: object) -> tuple[bool, object]:
        """Say whether a value fits, and give it in the type that is wanted."""
        if self.choices:
            return self._chosen(value)
        if not self.kinds:
            # A text may still be read as something better: `_read` tries that first.
            return not isinstance(value, str), value
        if isinstance(value, bool):
            return "bool" in self.kinds, value
        if isinstance(value, int):
            return bool(self.kinds & {"int", "number"}), value
        if isinstance(value, float):
            return self._fit_float(value)
        kind = {
            str: "text",
            list: "list",
            tuple: "list",
            set: "list",
            dict: "mapping",
            type(None): "none",
        }.get(type(value))
        return kind in self.kinds, value

    def _fit_float(self, value: float) -> tuple[bool, object]:
        if "number" in self.kinds:
            return True, value
        if "int" in self.kinds and value.is_integer():
            return True, int(value)
        return False, value

    def _chosen(self, value: object) -> tuple[bool, object]:
        for choice in self.choices:
            if choice == value and type(choice) is type(value):
                return True, choice
        return False, value

    @property
    def wanted(self) -> str:
        """What to give, as ``a number``."""
        if self.choices:
            return "one of " + ", ".join(json.dumps(c, default=str) for c in self.choices)
        order = [kind for kind in _WANTED if kind in self.kinds]
        if "number" in order and "int" in order:
            order.remove("int")
        return " or ".join(_WANTED[kind] for kind in order) or "a value"

    def example(self, default: object) -> str:
        """Write a value that fits, as one types it in a shell."""
        if self.choices:
            return str(self.choices[0])
        if "number" in self.kinds:
            return "0.5"
        if type(default) is int and "int" in self.kinds:
            return str(default)
        return next((_EXAMPLE[kind] for kind in _EXAMPLE if kind in self.kinds), "value")


def rule_of(type_text: str, *, is_declared: bool) -> TypeRule:
    """Read a type as an author writes it.

    Parameters
    ----------
    type_text
        As ``int``, ``Optional[list[str]]``, ``Literal["a", "b"]``, ``float | None``.
    is_declared
        Whether the author wrote it. A type taken from a default is not meant so strictly: where
        the default is ``1``, ``0.5`` is a number as well.

    Returns
    -------
    TypeRule
        One that takes anything, where the type says nothing we know.
    """
    try:
        node = ast.parse(type_text.strip() or "object", mode="eval").body
    except (SyntaxError, ValueError):
        return TypeRule()
    rule = _rule(node)
    if not is_declared and rule.kinds & {"int"}:
        return TypeRule(rule.kinds | {"number"})
    return rule


def _rule(node: ast.expr) -> TypeRule:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(_rule(node.left), _rule(node.right))
    if isinstance(node, ast.Constant):
        if node.value is None:
            return TypeRule(frozenset({"none"}))
        if isinstance(node.value, str):
            return rule_of(node.value, is_declared=True)
    if isinstance(node, ast.Subscript):
        return _subscript(_name(node.value), node.slice)
    kind = _KINDS.get(_name(node).lower())
    return TypeRule(frozenset({kind})) if kind else TypeRule()


def _subscript(outer: str, inner: ast.expr) -> TypeRule:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Literal":
        try:
            return TypeRule(choices=tuple(ast.literal_eval(part) for part in parts))
        except ValueError:
            return TypeRule()
    if outer == "Optional":
        return _either(_rule(inner), TypeRule(frozenset({"none"})))
    if outer == "Union":
        rule = _rule(parts[0])
        for part in parts[1:]:
            rule = _either(rule, _rule(part))
        return rule
    if outer in {"Annotated", "Final"}:
        return _rule(parts[0])
    kind = _KINDS.get(outer.lower())
    return TypeRule(frozenset({kind})) if kind else TypeRule()


def _either(one: TypeRule, other: TypeRule) -> TypeRule:
    if one.choices or other.choices:
        empty = [rule for rule in (one, other) if not rule.choices]
        if all(rule.kinds == {"none"} for rule in empty):
            extra = (None,) if empty else ()
            return TypeRule(choices=(*one.choices, *other.choices, *extra))
        return TypeRule()
    if not one.kinds or not other.kinds:
        return TypeRule()
    return TypeRule(one.kinds | other.kinds)


def _name(node: ast.expr) -> str:
    """Take the last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
