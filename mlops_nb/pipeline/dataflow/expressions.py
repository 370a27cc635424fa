"""Reads expressions in the order of evaluation, and says what is known of their values."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, ClassVar

from mlops_nb.pipeline.dataflow import known
from mlops_nb.pipeline.dataflow.scopes import Scopes
from mlops_nb.pipeline.dataflow.values import (
    ATOM,
    UNKNOWN,
    Code,
    Frame,
    Value,
    all_nodes,
    either,
    same_objects,
)
from mlops_nb.source.parts import all_arguments, target_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_METHODS = known.PURE_METHODS | known.STORES | known.TAKES_OUT | known.FITS | known.PART
# What a table gives as it is; all else is a copy.
_LIVE = frozenset({"loc", "iloc", "at", "iat", "index", "columns", "attrs", "flags", "axes"})
EMPTY = "[]"
"""Stands for the text of a list without elements."""

IMPLICIT = frozenset(
    {"__init__", "__new__", "__post_init__", "__class_getitem__", "__init_subclass__"}
)
"""Methods that run when an instance is made, and not again."""


class Expressions(Scopes):
    """Evaluates expressions to values."""

    def call(self, node: ast.Call) -> Value:
        """Read a call."""
        raise NotImplementedError

    def call_code(self, code: Code, given: list[Value], *, receiver: Value | None = None) -> Value:
        """Follow a function of the notebook."""
        raise NotImplementedError

    def invoke(self, value: Value, given: list[Value]) -> Value:
        """Call whatever functions a value may run."""
        raise NotImplementedError

    def evaluate(self, node: ast.expr) -> Value:
        """Read an expression."""
        handler = self._KINDS.get(node.__class__)
        if handler is not None:
            return handler(self, node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(child)
        return UNKNOWN

    def evaluate_all(self, nodes: list[ast.expr]) -> list[Value]:
        """Read several expressions."""
        return [self.evaluate(node) for node in nodes]

    def _constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, str):
            return Value(kind="atom", text=node.value)
        if isinstance(node.value, int | float):
            return Value(kind="atom", text=str(node.value))
        return ATOM

    def _name(self, node: ast.Name) -> Value:
        return self.load(node.id)

    def _attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.evaluate(node.value), node.attr)

    def attribute(self, base: Value, name: str) -> Value:
        """Give an attribute of a value."""
        if base.library:
            return Value(nodes=base.nodes, library=f"{base.library}.{name}")
        member = self.member(base, name)
        if member is not None:
            return self._member_of(base, name, member)
        if name == "__class__":
            return self.class_of(base)
        if base.kind == "atom" or name in known.ATOM_ATTRIBUTES:
            return self._path_attribute(base, name)
        if base.kind == "lazy":
            return Value(self.fresh(base).nodes, kind="lazy", receiver=base, method=name)
        if base.kind == "frame" and name not in _LIVE:
            return Value(self.fresh().nodes, kind="frame", receiver=base, method=name)
        nodes = base.nodes if name in _METHODS or name in known.SAME else self.part(base, name)
        return Value(nodes, self.objects.common_kind(nodes), receiver=base, method=name)

    def _path_attribute(self, base: Value, name: str) -> Value:
        if base.text is None:
            return Value(kind="atom", receiver=base, method=name)
        text = base.text
        if name == "parent":
            text = text.rpartition("/")[0] or "."
        elif name in {"name", "stem", "suffix"}:
            return Value(kind="atom", text=text.rpartition("/")[2] if name == "name" else "{…}")
        return Value(kind="atom", text=text, receiver=base, method=name)

    def _member_of(self, base: Value, name: str, member: Value) -> Value:
        code = member.code
        if code is not None and not code.is_class:
            if code.kind == "property":
                return self.call_code(code, [], receiver=base)
            return Value(nodes=base.nodes | member.nodes, receiver=base, method=name)
        self.objects.hold(base.nodes, member.nodes, name)
        return either((Value(nodes=self.part(base, name)), member))

    def part(self, base: Value, key: str | None = None) -> frozenset[int]:
        """Give what may be found in a value; something new where it holds nothing known."""
        return self.objects.part(base.nodes, key) or self.fresh().nodes

    # --- classes of the notebook ---------------------------------------------------------------

    def classes(self, value: Value) -> list[Code]:
        """Give the classes of the notebook that a value is, or may be an instance of."""
        if value.code is not None:
            return [value.code] if value.code.is_class else []
        kinds = self.objects.kinds(value.nodes)
        return [code for kind in kinds for code in self.objects.codes.get(kind, ())]

    def class_of(self, value: Value) -> Value:
        """Give what ``type`` gives: the classes of the notebook, of others nothing is known."""
        found = [Value(frozenset((c.node,)), code=c) for c in self.classes(value)]
        return either(found) if found and value.code is None else ATOM

    def member(self, value: Value, name: str) -> Value | None:
        """Find a name in the classes of a value and their bases."""
        found = [m for code in self.classes(value) if (m := member_of(code, name)) is not None]
        return either(found) if found else None

    def touch(self, value: Value) -> None:
        """Something is done to a value that may run methods behind its operators."""
        for code in self.classes(value) if value.nodes and value.code is None else ():
            key = (code.node, value.nodes)
            if key in self.touched:
                continue
            self.touched.add(key)
            for name, member in code.members.items():
                method = member.code
                is_special = name.startswith("__") and name not in IMPLICIT
                if method is not None and is_special and name != "__call__":
                    self.call_code(method, [], receiver=value)

    # --- operators -----------------------------------------------------------------------------

    def _operation(self, node: ast.BinOp) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        self.touch(left)
        self.touch(right)
        text = _text_of_operation(node.op, left, right)
        if not left.nodes and not right.nodes:
            return Value(kind="atom", text=text)
        kinds = {left.kind, right.kind}
        kind = "frame" if "frame" in kinds else "array" if "array" in kinds else ""
        result = self.fresh(kind=kind, is_plain=True)
        if not kind:
            parts = self.objects.known_parts(left.nodes | right.nodes)
            self.objects.hold(result.nodes, parts)
        return result

    def _comparison(self, node: ast.Compare) -> Value:
        name = _text_constant(node.left)
        if name and len(node.comparators) == 1 and self.is_namespace(node.comparators[0]):
            self.load(name)
            return ATOM
        for operand in (node.left, *node.comparators):
            self.touch(self.evaluate(operand))
        return self.fresh()

    def _inverted(self, node: ast.UnaryOp) -> Value:
        operand = self.evaluate(node.operand)
        self.touch(operand)
        return ATOM if operand.kind == "atom" else self.fresh(kind=operand.kind)

    def _choice(self, node: ast.BoolOp) -> Value:
        first, *others = node.values
        values = [self.evaluate(first)]
        with self.perhaps():
            values += self.evaluate_all(others)
        return either(values)

    def _condition(self, node: ast.IfExp) -> Value:
        self.touch(self.evaluate(node.test))
        with self.perhaps():
            body = self.evaluate(node.body)
        with self.perhaps():
            return either((body, self.evaluate(node.orelse)))

    def _named(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.depth += 1
        self.store(node.target.id, value)
        self.depth -= 1
        return value

    def _passed_on(self, node: ast.Await | ast.Starred) -> Value:
        return self.evaluate(node.value)

    def _given_out(self, node: ast.Yield | ast.YieldFrom) -> Value:
        if node.value is not None and self.frame is not None:
            self.frame.returned.append(self.evaluate(node.value))
        return UNKNOWN

    def _joined(self, node: ast.JoinedStr) -> Value:
        texts = []
        for value in node.values:
            found = self.evaluate(value)
            written = "{…}" if isinstance(value, ast.FormattedValue) else ""
            if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
                written = f"{{{value.value.id}}}"
            texts.append(written if found.text is None else found.text)
        return Value(kind="atom", text="".join(texts))

    def _formatted(self, node: ast.FormattedValue) -> Value:
        value = self.evaluate(node.value)
        self.touch(value)
        if node.format_spec is not None:
            self.evaluate(node.format_spec)
            return ATOM
        return value

    # --- containers ----------------------------------------------------------------------------

    def _tuple(self, node: ast.Tuple) -> Value:
        values = tuple(self.evaluate_all(node.elts))
        has_star = any(isinstance(element, ast.Starred) for element in node.elts)
        nodes = self.fresh(*values, is_plain=True).nodes if all_nodes(values) else frozenset()
        kind = "" if nodes else "atom"
        return Value(nodes=nodes, kind=kind, elements=None if has_star else values)

    def _list(self, node: ast.List | ast.Set) -> Value:
        values = self.evaluate_all(node.elts)
        made = self.fresh(*values, kind="list", is_plain=True)
        return made if values else Value(made.nodes, kind="list", text=EMPTY)

    def _dict(self, node: ast.Dict) -> Value:
        result = self.fresh(kind="dict", is_plain=True)
        for key, item in zip(node.keys, node.values, strict=True):
            name = self.evaluate(key).text if key is not None else None
            value = self.evaluate(item)
            held = value.nodes if key is not None else self.objects.known_parts(value.nodes)
            self.objects.hold(result.nodes, held, name)
        return result

    def _subscript(self, node: ast.Subscript) -> Value:
        name = _text_constant(node.slice)
        if name and self.is_namespace(node.value):
            return self.load(name)
        base = self.evaluate(node.value)
        key = self.evaluate(node.slice)
        return self.item(base, node.slice, key)

    def is_namespace(self, node: ast.expr) -> bool:
        """Whether an expression is the notebook's own dict of names."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            return False
        is_here = self.frame is None and node.func.id in {"locals", "vars", "dir"}
        return (node.func.id == "globals" or is_here) and node.func.id not in self.world.values

    def item(self, base: Value, index: ast.expr, key: Value) -> Value:
        """Give what stands at a place in a value."""
        self.touch(base)
        if base.library:
            return Value(kind="atom" if base.library == "os.environ" else "", library="")
        if base.elements is not None and isinstance(index, ast.Constant):
            place = index.value
            if type(place) is int and -len(base.elements) <= place < len(base.elements):
                return base.elements[place]
        if base.kind == "lazy":
            return base
        if base.kind in {"atom", "frame"}:
            return Value(self.fresh().nodes, kind="frame") if base.kind == "frame" else ATOM
        if base.receiver is not None and base.receiver.kind == "frame":
            return Value(self.fresh().nodes, kind="frame")
        if isinstance(index, ast.Slice) and base.kind == "list":
            copied = self.fresh(kind="list", is_plain=True)
            self.objects.hold(copied.nodes, self.part(base))
            return copied
        name = key.text if isinstance(index, ast.Constant) and type(index.value) is str else None
        nodes = self.part(base, name)
        kind = "array" if base.kind == "array" else self.objects.common_kind(nodes)
        return Value(nodes, kind)

    def _slice(self, node: ast.Slice) -> Value:
        for bound in (node.lower, node.upper, node.step):
            if bound is not None:
                self.evaluate(bound)
        return ATOM

    # --- functions and comprehensions ----------------------------------------------------------

    def _lambda(self, node: ast.Lambda) -> Value:
        defaults = self.defaults(node.args)
        code, value = self.new_code(node, "lambda")
        code.defaults = defaults
        self.objects.hold(value.nodes, all_nodes(defaults.values()))
        return value

    def defaults(self, arguments: ast.arguments) -> dict[str, Value]:
        """Evaluate what parameters are if they are not given."""
        positional = [*arguments.posonlyargs, *arguments.args]
        last = positional[len(positional) - len(arguments.defaults) :]
        found = {
            argument.arg: self.evaluate(default)
            for argument, default in zip(last, arguments.defaults, strict=True)
        }
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if default is not None:
                found[argument.arg] = self.evaluate(default)
        for annotated in all_arguments(arguments):
            if annotated.annotation is not None:
                self.evaluate(annotated.annotation)
        return found

    def _comprehension(self, node: ast.ListComp | ast.SetComp) -> Value:
        with self._generators(node.generators):
            element = self.evaluate(node.elt)
        return self.fresh(element, kind="list", is_plain=True)

    def _dict_comprehension(self, node: ast.DictComp) -> Value:
        with self._generators(node.generators):
            self.evaluate(node.key)
            element = self.evaluate(node.value)
        return self.fresh(element, kind="dict", is_plain=True)

    def _generator(self, node: ast.GeneratorExp) -> Value:
        with self._generators(node.generators):
            element = self.evaluate(node.elt)
        result = self.fresh(element, kind="iterator", is_plain=True)
        self.objects.stuck[next(iter(result.nodes))] = "a generator"
        return result

    def _generators(self, generators: list[ast.comprehension]) -> _Reading:
        return _Reading(self, generators)

    def iterate(self, value: Value) -> Value:
        """Give what a loop over a value gives."""
        self.touch(value)
        self.consume(value)
        if value.item is not None:
            return value.item
        if value.elements:
            return either(value.elements)
        if value.kind in {"atom", "dict"}:
            return ATOM
        if value.kind == "frame":
            return Value(self.fresh().nodes, kind="frame")
        nodes = self.part(value)
        kind = "array" if value.kind == "array" else self.objects.common_kind(nodes)
        return Value(nodes, kind)

    def consume(self, value: Value) -> None:
        """An iterator is used up, and what it takes its elements from."""
        if value.kind == "iterator" or value.nodes & self.objects.iterators:
            used = self.objects.below(value.nodes) & self.objects.iterators
            self.world.change(value.nodes | used, is_shallow=True)
            self.invoke(value, [])

    def unpack(self, target: ast.expr, value: Value) -> Iterator[tuple[ast.expr, Value]]:
        """Spread a value over the elements of a target."""
        elements: list[ast.expr] = target.elts  # type: ignore[attr-defined]
        has_star = any(isinstance(element, ast.Starred) for element in elements)
        known_apart = value.elements
        if known_apart is not None and len(known_apart) == len(elements) and not has_star:
            yield from zip(elements, known_apart, strict=True)
            return
        if value.kind == "several":
            # What a library gives back as a tuple, it has made for each place.
            for element in elements:
                yield element, self.fresh()
            return
        part = self.iterate(value) if value.nodes or value.elements else value
        if value.item is not None:
            part = Value(nodes=self.part(value))
        for element in elements:
            if isinstance(element, ast.Starred):
                yield (
                    element.value,
                    Value(nodes=self.fresh(part, is_plain=True).nodes, kind="list"),
                )
            else:
                yield element, part

    _KINDS: ClassVar[dict[type, Callable[..., Value]]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.Slice: _slice,
        ast.Call: lambda self, node: self.call(node),
        ast.BinOp: _operation,
        ast.Compare: _comparison,
        ast.UnaryOp: _inverted,
        ast.BoolOp: _choice,
        ast.IfExp: _condition,
        ast.NamedExpr: _named,
        ast.Await: _passed_on,
        ast.Starred: _passed_on,
        ast.Yield: _given_out,
        ast.YieldFrom: _given_out,
        ast.JoinedStr: _joined,
        ast.FormattedValue: _formatted,
        ast.Tuple: _tuple,
        ast.List: _list,
        ast.Set: _list,
        ast.Dict: _dict,
        ast.Lambda: _lambda,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.DictComp: _dict_comprehension,
        ast.GeneratorExp: _generator,
    }


class _Reading:
    """The inside of a comprehension."""

    def __init__(self, reader: Expressions, generators: list[ast.comprehension]) -> None:
        self._reader, self._generators = reader, generators

    def __enter__(self) -> None:
        reader = self._reader
        names = frozenset(n for g in self._generators for n in target_names(g.target))
        first = reader.evaluate(self._generators[0].iter)
        self._inside = reader.inside(Frame(reader.frame, "comprehension", owned=names))
        self._perhaps = reader.perhaps()
        self._inside.__enter__()
        self._perhaps.__enter__()
        for generator in self._generators:
            is_first = generator is self._generators[0]
            source = first if is_first else reader.evaluate(generator.iter)
            self._bind(generator.target, reader.iterate(source))
            for condition in generator.ifs:
                reader.touch(reader.evaluate(condition))

    def __exit__(self, *_: object) -> None:
        self._perhaps.__exit__(None, None, None)
        self._inside.__exit__(None, None, None)

    def _bind(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            frame = self._reader.frame
            if frame is not None:
                frame.values[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            for element, part in self._reader.unpack(target, value):
                self._bind(element, part)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)
        else:
            self._reader.evaluate(target)


def member_of(code: Code, name: str, seen: frozenset[Code] = frozenset()) -> Value | None:
    """Find a name in a class and its bases."""
    if name in code.members:
        return code.members[name]
    for base in code.bases:
        if base.code is not None and base.code not in seen:
            found = member_of(base.code, name, seen | {code})
            if found is not None:
                return found
    return None


def _text_of_operation(operator: ast.operator, left: Value, right: Value) -> str | None:
    """Put a path together: ``folder / "x.csv"``, ``name + ".csv"``."""
    if left.text is None and right.text is None:
        return None
    one, other = left.text or "{…}", right.text or "{…}"
    if isinstance(operator, ast.Add):
        return one + other
    if isinstance(operator, ast.Div):
        return f"{one.rstrip('/')}/{other}" if not other.startswith("/") else other
    if isinstance(operator, ast.Mod) and left.text is not None:
        return _percent(left.text)
    return None


def _text_constant(node: ast.expr) -> str:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(node.value) if is_text and isinstance(node, ast.Constant) else ""


def _percent(text: str) -> str:
    import re

    return re.sub(r"%[-+ #0-9.]*[a-zA-Z]", "{…}", text)


__all__ = ["Expressions", "member_of", "same_objects"]
