"""What is known of a value by the text that makes it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.objects import NO_NODES
from mlops_nb.source.parts import all_arguments, target_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlops_nb.pipeline.dataflow.objects import Nodes


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression gives, as far as its text says.

    Attributes
    ----------
    nodes
        The objects it may be; none for what nobody can change: numbers, texts.
    kind
        ``atom``, ``frame``, ``array``, ``dict``, ``list``, ``iterator``, ``module``, ``rng``,
        ``several`` (a new tuple of a library, or one thing); empty if
        it is not known.
    library
        Dotted path of something imported or built in: ``"numpy.random.rand"``.
    text
        A path or text; parts that are not known stand in braces.
    elements
        Of a tuple that is written out.
    code
        The function or class that it is, if it is just one.
    receiver, method
        Of a bound method.
    item
        What an iterator gives, where that has parts that are known apart.
    """

    nodes: Nodes = NO_NODES
    kind: str = ""
    library: str = ""
    text: str | None = None
    elements: tuple[Value, ...] | None = None
    code: Code | None = None
    receiver: Value | None = None
    method: str = ""
    item: Value | None = None


UNKNOWN = Value()
ATOM = Value(kind="atom")


def either(values: Iterable[Value]) -> Value:
    """Join what may be one of several values."""
    distinct = [*dict.fromkeys(values)]
    if not distinct:
        return UNKNOWN
    first = distinct[0]
    for other in distinct[1:]:
        first = _joined(first, other)
    return first


def _joined(one: Value, other: Value) -> Value:
    same = one.elements is not None and other.elements is not None
    elements = None
    if same and len(one.elements or ()) == len(other.elements or ()):
        pairs = zip(one.elements or (), other.elements or (), strict=True)
        elements = tuple(_joined(*pair) for pair in pairs)
    is_same_method = (one.method, one.receiver) == (other.method, other.receiver)
    return Value(
        nodes=one.nodes | other.nodes,
        kind=one.kind if one.kind == other.kind else "",
        library=one.library if one.library == other.library else "",
        text=one.text if one.text == other.text else None,
        elements=elements,
        code=one.code if one.code is other.code else None,
        receiver=one.receiver if is_same_method else None,
        method=one.method if is_same_method else "",
        item=one.item if one.item == other.item else None,
    )


def all_nodes(values: Iterable[Value]) -> Nodes:
    """Give the objects that any of several values may be."""
    return frozenset().union(*(value.nodes for value in values))


def same_objects(value: Value, **known: object) -> Value:
    """Give a value that is the same objects, with other things known of it."""
    return replace(Value(nodes=value.nodes), **known)  # type: ignore[arg-type]


@dataclass(eq=False, slots=True)
class Frame:
    """Names of a function, class body or comprehension while it is read.

    Attributes
    ----------
    parent
        Where names are looked up that are not its own; None for the notebook.
    owned
        Names that are local though they have no value yet.
    node
        Of the names as an object, once a function inside closes over them.
    """

    parent: Frame | None
    kind: str
    values: dict[str, Value] = field(default_factory=dict)
    owned: frozenset[str] = frozenset()
    globals: set[str] = field(default_factory=set)
    code: Code | None = None
    returned: list[Value] = field(default_factory=list)
    node: int | None = None


@dataclass(eq=False, slots=True)
class Code:
    """A function, lambda or class of the notebook.

    Attributes
    ----------
    node
        Of the object that it is.
    frame
        Where it was defined; None for the notebook itself.
    defaults
        Values of parameters that are not given.
    bases
        Of a class.
    members
        What a class body binds.
    owner
        The class that a method belongs to.
    """

    tree: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
    name: str
    node: int
    frame: Frame | None
    defaults: dict[str, Value] = field(default_factory=dict)
    bases: tuple[Value, ...] = ()
    members: dict[str, Value] = field(default_factory=dict)
    owner: Code | None = None
    kind: str = "function"
    is_cached: bool = False
    _owned: frozenset[str] | None = None
    _is_generator: bool | None = None

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return isinstance(self.tree, ast.ClassDef)

    @property
    def owned(self) -> frozenset[str]:
        """Names that the function binds for itself."""
        if self._owned is None:
            self._owned = _owned_names(self.tree)
        return self._owned

    @property
    def is_generator(self) -> bool:
        """Whether calling it gives a generator."""
        if self._is_generator is None:
            self._is_generator = any(
                isinstance(node, ast.Yield | ast.YieldFrom) for node in _inside(self.tree)
            )
        return self._is_generator


def _owned_names(tree: ast.AST) -> frozenset[str]:
    """Names that are bound in a function, and not declared to be somebody else's."""
    found: set[str] = set()
    others: set[str] = set()
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        found.update(argument.arg for argument in all_arguments(tree.args))
    for node in _inside(tree):
        if isinstance(node, ast.Global | ast.Nonlocal):
            others.update(node.names)
        else:
            found.update(_bound_by(node))
    return frozenset(found - others)


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


_OWN_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def _inside(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a function's own scope; of a comprehension only what it binds outside (``:=``)."""
    body = getattr(tree, "body", [])
    waiting: list[ast.AST] = [*body] if isinstance(body, list) else [body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _OWN_SCOPES):
            waiting += ast.iter_child_nodes(node)
        elif isinstance(node, _OWN_SCOPES[4:]):
            waiting += [n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]


def names_of_target(target: ast.expr) -> tuple[str, ...]:
    """Names that a target binds."""
    return tuple(target_names(target))
