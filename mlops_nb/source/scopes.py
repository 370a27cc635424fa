"""Names of a syntax tree by Python's scopes: read, bound, mutated, deleted, called.

One pass in the order of evaluation. The standard `symtable` parses a second time and knows
neither order nor mutation; the tests hold this reader against it over real modules.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mlops_nb.source.magics import find_magic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlops_nb.source.magics import Magic

Names: TypeAlias = "dict[str, None]"
"""A set that keeps the order in which names were met."""

PURE_CALLS = frozenset(
    "abs all any ascii bin bool bytes callable chr complex dict dir display divmod enumerate "
    "filter float format frozenset getattr hasattr hash help hex id int isinstance issubclass "
    "iter len list map max memoryview min next oct ord pow print range repr reversed round set "
    "slice sorted str sum super tuple type vars zip".split()
)
# What these give back shares its parts with what they were given.
_KEEPS_PARTS = frozenset(
    "dict enumerate filter getattr iter list map max memoryview min next reversed set sorted "
    "tuple vars zip".split()
)
_DYNAMIC_CALLS = frozenset({"exec", "eval", "globals", "__import__"})
_DYNAMIC_IF_BARE = frozenset({"locals", "vars", "dir"})
_SWALLOWS = frozenset({"suppress", "raises", "assertRaises"})
_LEAVES = (ast.Raise, ast.Return, ast.Break, ast.Continue)
_AT_NAME = re.compile(r"@([^\W\d]\w*)")


class Statement(NamedTuple):
    """One statement of a cell, with all that is inside it; lines are one-based.

    Attributes
    ----------
    reads
        Every name it loads, whether bound in the same cell or not, and locals of a function.
    """

    first_line: int
    last_line: int
    reads: tuple[str, ...]
    binds: tuple[str, ...]
    mutates: tuple[str, ...]
    calls: tuple[str, ...]


class _Marks:
    """What the statement that is open now has touched so far."""

    __slots__ = ("binds", "calls", "depth", "mutates", "reads")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.reads: Names = {}
        self.binds: Names = {}
        self.mutates: Names = {}
        self.calls: Names = {}

    def take(self, inner: _Marks) -> None:
        self.reads.update(inner.reads)
        self.binds.update(inner.binds)
        self.mutates.update(inner.mutates)
        self.calls.update(inner.calls)


class _Scope:
    """A function (names settled at its end), or a class or comprehension (settled at once)."""

    __slots__ = (
        "consumed",
        "globals",
        "is_comprehension",
        "is_function",
        "loads",
        "local",
        "mutated",
        "origins",
    )

    def __init__(self, *, is_function: bool = False, is_comprehension: bool = False) -> None:
        self.is_function = is_function
        self.is_comprehension = is_comprehension
        self.local: set[str] = set()
        self.globals: set[str] = set()
        self.loads: Names = {}
        self.mutated: Names = {}
        self.consumed: Names = {}
        self.origins: dict[str, tuple[str, ...]] = {}


class NameReader:
    """Reads one tree; the attributes are the answer (see `CellNames`)."""

    def __init__(self, parse: Callable[[str], ast.Module | None]) -> None:
        self._parse = parse
        self.reads: Names = {}
        self.binds: Names = {}
        self.mutates: Names = {}
        self.touches: Names = {}
        self.sets: Names = {}
        self.deletes: Names = {}
        self.calls: Names = {}
        self.imports: Names = {}
        self.consumes: Names = {}
        self.magics: Names = {}
        self.is_dynamic = False
        self.statements: list[Statement] = []
        self.bound: set[str] = set()
        self.origins: dict[str, tuple[str, ...]] = {}
        self._scopes: list[_Scope] = []
        self._marks: list[_Marks] = [_Marks(0)]
        self._line_offset = 0

    def read(self, tree: ast.Module) -> None:
        """Read a whole cell."""
        self._block(tree.body)

    # --- names ---------------------------------------------------------------------------------

    def _load(self, name: str, depth: int | None = None) -> None:
        """A name is loaded in the scope at `depth` (None: the innermost)."""
        if not self._scopes:
            self._marks[-1].reads[name] = None
            if name not in self.bound:
                self.reads[name] = None
            return
        for scope in self._outwards(depth):
            if name in scope.globals:
                break
            if scope.is_function:
                scope.loads[name] = None
                self._marks[-1].reads[name] = None
                return
            if name in scope.local:
                return
        self._marks[-1].reads[name] = None
        if name not in self.bound:
            self.reads[name] = None

    def _mutate(self, name: str, depth: int | None = None) -> None:
        """The value of a name may be changed in place."""
        if not self._scopes:
            self._marks[-1].mutates[name] = None
            (self.touches if name in self.bound else self.mutates)[name] = None
            return
        for scope in self._outwards(depth):
            if name in scope.globals:
                break
            if scope.is_function:
                scope.mutated[name] = None
                self._marks[-1].mutates[name] = None
                return
            if name in scope.local:
                self._mutate_origins(scope, name)
                return
        self._marks[-1].mutates[name] = None
        (self.touches if name in self.bound else self.mutates)[name] = None

    def _mutate_origins(self, scope: _Scope, name: str) -> None:
        """A local holds a part of outer values: changing it changes them."""
        depth = self._scopes.index(scope)
        for origin in scope.origins.get(name, ()):
            self._mutate(origin, depth)

    def _consume(self, name: str, depth: int | None = None) -> None:
        """A name is iterated over; only an iterator is changed by that."""
        for scope in self._outwards(depth):
            if scope.is_function:
                scope.consumed[name] = None
                return
            if name in scope.local:
                return
        self.consumes[name] = None

    def _outwards(self, depth: int | None) -> list[_Scope]:
        scopes = self._scopes if depth is None else self._scopes[:depth]
        return scopes[::-1]

    def _store(self, name: str, origins: tuple[str, ...] = ()) -> None:
        scope = self._binding_scope()
        self._marks[-1].binds[name] = None
        if scope is None:
            self.binds[name] = None
            self.bound.add(name)
        elif name in scope.globals:
            self.binds[name] = None
            return
        else:
            scope.local.add(name)
        known = self.origins if scope is None else scope.origins
        others = tuple(origin for origin in origins if origin != name)
        if others:
            known[name] = (*known.get(name, ()), *others)

    def _binding_scope(self) -> _Scope | None:
        """Where a name would be bound: a comprehension binds only its own targets."""
        for scope in reversed(self._scopes):
            if not scope.is_comprehension:
                return scope
        return None

    def _delete(self, name: str) -> None:
        scope = self._binding_scope()
        if scope is None or name in scope.globals:
            self.deletes[name] = None
            self.bound.discard(name)
        else:
            scope.local.add(name)

    # --- statements ----------------------------------------------------------------------------

    def _block(self, statements: Iterable[ast.stmt]) -> None:
        for node in statements:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        marks = _Marks(len(self._scopes))
        self._marks.append(marks)
        handler = _STATEMENTS.get(node.__class__)
        if handler is None:
            self._children(node)
        else:
            handler(self, node)
        self._marks.pop()
        outer = self._marks[-1]
        if outer.depth == marks.depth and len(self._marks) > 1:
            outer.take(marks)
        self.statements.append(
            Statement(
                node.lineno + self._line_offset,
                (node.end_lineno or node.lineno) + self._line_offset,
                tuple(marks.reads),
                tuple(marks.binds),
                tuple(marks.mutates),
                tuple(marks.calls),
            )
        )

    def _branches(self, *branches: list[ast.stmt]) -> None:
        """Only what every branch that goes on has bound is bound for certain."""
        before = self.bound
        after: set[str] | None = None
        for branch in branches:
            self.bound = set(before)
            self._block(branch)
            if not (branch and isinstance(branch[-1], _LEAVES)):
                after = self.bound if after is None else after & self.bound
        self.bound = before if after is None else after

    def _expression_statement(self, node: ast.Expr) -> None:
        self._expression(node.value)

    def _assign(self, node: ast.Assign) -> None:
        self._expression(node.value)
        for target in node.targets:
            self._target(target, node.value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        self._expression(node.annotation)
        if node.value is not None:
            self._expression(node.value)
            self._target(node.target, node.value)

    def _augmented(self, node: ast.AugAssign) -> None:
        self._expression(node.value)
        target = node.target
        if isinstance(target, ast.Name):
            self._load(target.id)
            self._mutate(target.id)
            self._store(target.id)
        else:
            self._target(target, None)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self._iterate(node.iter)
        before = set(self.bound)
        self._bind_parts(node.target, _roots_of_iterable(node.iter))
        self._block(node.body)
        self.bound = set(before)
        self._block(node.orelse)
        self.bound = before

    def _while(self, node: ast.While) -> None:
        self._expression(node.test)
        before = set(self.bound)
        self._block(node.body)
        self.bound = set(before)
        self._block(node.orelse)
        self.bound = before

    def _if(self, node: ast.If) -> None:
        self._expression(node.test)
        self._branches(node.body, node.orelse)

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        may_swallow = False
        for item in node.items:
            self._expression(item.context_expr)
            for name in _roots(item.context_expr):
                self._mutate(name)
            if item.optional_vars is not None:
                self._bind_parts(item.optional_vars, _roots(item.context_expr))
            may_swallow |= _last_name(item.context_expr) in _SWALLOWS
        before = set(self.bound)
        self._block(node.body)
        if may_swallow:
            self.bound = before

    def _try(self, node: ast.Try) -> None:
        before = set(self.bound)
        self._block(node.body)
        self._block(node.orelse)
        ends = [] if isinstance((node.orelse or node.body)[-1], _LEAVES) else [self.bound]
        for handler in node.handlers:
            self.bound = set(before)
            self._handler(handler)
            if not isinstance(handler.body[-1], _LEAVES):
                ends.append(self.bound)
        self.bound = set.intersection(*ends) if ends else before
        self._block(node.finalbody)

    def _handler(self, handler: ast.ExceptHandler) -> None:
        if handler.type is not None:
            self._expression(handler.type)
        if handler.name:
            self._store(handler.name)
        self._block(handler.body)
        if handler.name:
            self._delete(handler.name)

    def _match(self, node: ast.Match) -> None:
        self._expression(node.subject)
        before = set(self.bound)
        for case in node.cases:
            self.bound = set(before)
            self._pattern(case.pattern, _roots(node.subject))
            if case.guard is not None:
                self._expression(case.guard)
            self._block(case.body)
        self.bound = before

    def _pattern(self, pattern: ast.AST, origins: tuple[str, ...]) -> None:
        name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
        if name:
            self._store(name, origins)
        for child in ast.iter_child_nodes(pattern):
            if isinstance(child, ast.pattern):
                self._pattern(child, origins)
            elif isinstance(child, ast.expr):
                self._expression(child)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports[alias.name] = None
            self._store(alias.asname or alias.name.partition(".")[0])

    def _import_from(self, node: ast.ImportFrom) -> None:
        self.imports["." * node.level + (node.module or "")] = None
        for alias in node.names:
            if alias.name == "*":
                self.is_dynamic = True
            else:
                self._store(alias.asname or alias.name)

    def _global(self, node: ast.Global) -> None:
        if self._scopes:
            self._scopes[-1].globals.update(node.names)

    def _nonlocal(self, node: ast.Nonlocal) -> None:
        """The name belongs to a function further out, which binds it itself."""

    def _delete_statement(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._target(target, None)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self._expression(decorator)
        self._signature(node.args)
        if node.returns is not None:
            self._expression(node.returns)
        self._store(node.name)
        self._function_body(node.args, lambda: self._block(node.body))

    def _signature(self, arguments: ast.arguments) -> None:
        """Defaults and annotations are evaluated outside of the function."""
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self._expression(default)
        for argument in _all_arguments(arguments):
            if argument.annotation is not None:
                self._expression(argument.annotation)

    def _function_body(self, arguments: ast.arguments, read_body: Callable[[], None]) -> None:
        scope = _Scope(is_function=True)
        scope.local.update(argument.arg for argument in _all_arguments(arguments))
        bound = set(self.bound)
        self._scopes.append(scope)
        read_body()
        self._scopes.pop()
        self.bound = bound
        depth = self._depth_around_classes()
        for name in scope.loads:
            if name not in scope.local or name in scope.globals:
                self._load(name, depth)
        for name in scope.mutated:
            self._settle_mutation(scope, name, depth)
        for name in scope.consumed:
            if name not in scope.local:
                self._consume(name, depth)

    def _settle_mutation(self, scope: _Scope, name: str, depth: int) -> None:
        if name not in scope.local:
            self._mutate(name, depth)
            return
        for origin in scope.origins.get(name, ()):
            if origin not in scope.local:
                self._mutate(origin, depth)

    def _depth_around_classes(self) -> int:
        """A method does not see the names of its class."""
        depth = len(self._scopes)
        while depth and not (
            self._scopes[depth - 1].is_function or self._scopes[depth - 1].is_comprehension
        ):
            depth -= 1
        return depth

    def _class(self, node: ast.ClassDef) -> None:
        for expression in (*node.decorator_list, *node.bases):
            self._expression(expression)
        for keyword in node.keywords:
            self._expression(keyword.value)
        self._scopes.append(_Scope())
        self._block(node.body)
        self._scopes.pop()
        self._store(node.name)

    # --- targets -------------------------------------------------------------------------------

    def _target(self, target: ast.expr, value: ast.expr | None) -> None:
        self._bind_parts(target, _roots(value))

    def _bind_parts(self, target: ast.expr, origins: tuple[str, ...]) -> None:
        """Bind, or delete, a target; what it holds may share with `origins`."""
        kind = target.__class__
        if kind is ast.Name:
            name = target.id  # type: ignore[attr-defined]
            if target.ctx.__class__ is ast.Del:  # type: ignore[attr-defined]
                self._delete(name)
            else:
                self._store(name, origins)
        elif kind is ast.Attribute or kind is ast.Subscript:
            for name in _roots(target):
                self._mutate(name)
                self.sets[name] = None
            self._children(target)
        elif kind is ast.Starred:
            self._bind_parts(target.value, origins)  # type: ignore[attr-defined]
        else:
            for element in target.elts:  # type: ignore[attr-defined]
                self._bind_parts(element, origins)

    # --- expressions ---------------------------------------------------------------------------

    def _children(self, node: ast.AST) -> None:
        for field in _child_fields(node.__class__):
            value = getattr(node, field)
            kind = value.__class__
            if kind is list:
                for item in value:
                    self._child(item)
            elif value is not None and kind is not ast.Constant:
                self._child(value)

    def _child(self, node: object) -> None:
        if isinstance(node, ast.expr):
            self._expression(node)
        elif isinstance(node, ast.stmt):
            self._statement(node)
        elif isinstance(node, ast.AST):
            self._children(node)

    def _expression(self, node: ast.expr) -> None:
        kind = node.__class__
        if kind is ast.Name:
            self._load(node.id)  # type: ignore[attr-defined]
        elif kind is not ast.Constant:
            handler = _EXPRESSIONS.get(kind)
            if handler is None:
                self._children(node)
            else:
                handler(self, node)

    def _named(self, node: ast.NamedExpr) -> None:
        self._expression(node.value)
        self._target(node.target, node.value)

    def _lambda(self, node: ast.Lambda) -> None:
        self._signature(node.args)
        self._function_body(node.args, lambda: self._expression(node.body))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._generators(node.generators, [node.elt])

    def _dict_comprehension(self, node: ast.DictComp) -> None:
        self._generators(node.generators, [node.key, node.value])

    def _generators(self, generators: list[ast.comprehension], results: list[ast.expr]) -> None:
        self._iterate(generators[0].iter)
        scope = _Scope(is_comprehension=True)
        bound = set(self.bound)
        self._scopes.append(scope)
        for position, generator in enumerate(generators):
            if position:
                self._iterate(generator.iter)
            origins = _roots_of_iterable(generator.iter)
            for name in _target_names(generator.target):
                scope.local.add(name)
                scope.origins[name] = tuple(root for root in origins if root != name)
            for condition in generator.ifs:
                self._expression(condition)
        for result in results:
            self._expression(result)
        self._scopes.pop()
        self.bound = bound

    def _iterate(self, iterable: ast.expr) -> None:
        self._expression(iterable)
        for name in _roots(iterable):
            self._consume(name)

    def _call(self, node: ast.Call) -> None:
        magic = find_magic(node)
        if magic is not None:
            self._magic(magic, node)
            return
        function = node.func
        called = _dotted(function)
        self._marks[-1].calls[called] = None
        self.calls[called] = None
        if isinstance(function, ast.Attribute):
            self._method(function, node)
        elif isinstance(function, ast.Name):
            self._plain_call(function.id, node)
        self._expression(function)
        self._arguments(node, is_pure=called in PURE_CALLS)

    def _method(self, function: ast.Attribute, node: ast.Call) -> None:
        for name in _roots(function.value):
            self._mutate(name)
        if function.attr in {"query", "eval"}:
            # pandas finds ``@name`` inside the text.
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    for name in _AT_NAME.findall(argument.value):
                        self._load(name)
        if isinstance(function.value, ast.Call) and _dotted(function.value.func) == "get_ipython":
            self.is_dynamic = True

    def _plain_call(self, name: str, node: ast.Call) -> None:
        is_bare = not node.args and not node.keywords
        if name in _DYNAMIC_CALLS or (is_bare and name in _DYNAMIC_IF_BARE):
            self.is_dynamic = True

    def _arguments(self, node: ast.Call, *, is_pure: bool) -> None:
        touch = self._consume if is_pure else self._mutate
        for argument in node.args:
            self._argument(argument, touch)
        for keyword in node.keywords:
            self._argument(keyword.value, touch)

    def _argument(self, argument: ast.expr, touch: Callable[[str], None]) -> None:
        if argument.__class__ is ast.Constant:
            return
        self._expression(argument)
        for name in _roots(argument):
            touch(name)

    def _magic(self, magic: Magic, node: ast.Call) -> None:
        self.magics[magic.name] = None
        self.is_dynamic |= magic.is_dynamic
        for name in magic.reads:
            self._load(name)
        tree = self._parse(magic.python) if magic.python else None
        if tree is not None:
            self._magic_body(tree, magic, node)
        for name in magic.binds:
            self._store(name)

    def _magic_body(self, tree: ast.Module, magic: Magic, node: ast.Call) -> None:
        offset = self._line_offset
        self._line_offset += node.lineno - 1 + magic.first_line
        if magic.is_contained:
            nothing = ast.arguments([], [], None, [], [], None, [])
            self._function_body(nothing, lambda: self._block(tree.body))
        else:
            self._block(tree.body)
        self._line_offset = offset


def _all_arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from arguments.posonlyargs
    yield from arguments.args
    yield from arguments.kwonlyargs
    if arguments.vararg is not None:
        yield arguments.vararg
    if arguments.kwarg is not None:
        yield arguments.kwarg


def _roots(node: ast.expr | None) -> tuple[str, ...]:
    """Names whose values an expression's value is, or is a part of, or holds."""
    while True:
        kind = node.__class__
        if kind is ast.Name:
            return (node.id,)  # type: ignore[union-attr]
        if kind not in _PASSES_ON:
            break
        node = node.value  # type: ignore[union-attr]
    children = _HOLDS.get(kind)
    if children is None:
        return ()
    return tuple(name for child in children(node) for name in _roots(child))


def _roots_of_iterable(node: ast.expr) -> tuple[str, ...]:
    """Like `_roots`, for what a loop gives: ``table.items()`` gives parts of ``table``."""
    if isinstance(node, ast.Call):
        parts: list[ast.expr] = [*node.args]
        if isinstance(node.func, ast.Attribute):
            parts.append(node.func.value)
        return tuple(name for part in parts for name in _roots(part))
    return _roots(node)


def _parts_of_call(node: ast.Call) -> list[ast.expr]:
    is_container = isinstance(node.func, ast.Name) and node.func.id in _KEEPS_PARTS
    return node.args if is_container else []


_PASSES_ON = frozenset({ast.Attribute, ast.Subscript, ast.Starred, ast.Await, ast.NamedExpr})
_HOLDS: dict[type, Callable[..., Iterable[ast.expr | None]]] = {
    ast.Tuple: lambda node: node.elts,
    ast.List: lambda node: node.elts,
    ast.Set: lambda node: node.elts,
    ast.Dict: lambda node: node.values,
    ast.IfExp: lambda node: (node.body, node.orelse),
    ast.BoolOp: lambda node: node.values,
    ast.Call: _parts_of_call,
}


@lru_cache(maxsize=256)
def _child_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """Fields of a node that hold expressions or statements."""
    return tuple(name for name in kind._fields if name not in _CHILDLESS)


_CHILDLESS = frozenset(
    "arg asname attr conversion ctx id is_async kind level module n name names op ops s simple "
    "type_comment type_ignores".split()
)


def _target_names(target: ast.expr) -> Iterator[str]:
    """Names that a loop's target binds."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _target_names(element)
    elif isinstance(target, ast.Starred):
        yield from _target_names(target.value)


def _last_name(node: ast.expr) -> str:
    """``contextlib.suppress(OSError)`` -> ``suppress``."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _dotted(node: ast.expr) -> str:
    """``np.random.seed`` where it starts with a name, else what is after the last dot."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
        return ".".join(reversed(parts))
    return parts[0] if parts else ""


_STATEMENTS: dict[type, Callable[..., None]] = {
    ast.Expr: NameReader._expression_statement,
    ast.Assign: NameReader._assign,
    ast.AnnAssign: NameReader._annotated,
    ast.AugAssign: NameReader._augmented,
    ast.For: NameReader._for,
    ast.AsyncFor: NameReader._for,
    ast.While: NameReader._while,
    ast.If: NameReader._if,
    ast.With: NameReader._with,
    ast.AsyncWith: NameReader._with,
    ast.Try: NameReader._try,
    ast.TryStar: NameReader._try,
    ast.Match: NameReader._match,
    ast.Import: NameReader._import,
    ast.ImportFrom: NameReader._import_from,
    ast.Global: NameReader._global,
    ast.Nonlocal: NameReader._nonlocal,
    ast.Delete: NameReader._delete_statement,
    ast.FunctionDef: NameReader._function,
    ast.AsyncFunctionDef: NameReader._function,
    ast.ClassDef: NameReader._class,
}
_EXPRESSIONS: dict[type, Callable[..., None]] = {
    ast.NamedExpr: NameReader._named,
    ast.Lambda: NameReader._lambda,
    ast.ListComp: NameReader._comprehension,
    ast.SetComp: NameReader._comprehension,
    ast.GeneratorExp: NameReader._comprehension,
    ast.DictComp: NameReader._dict_comprehension,
    ast.Call: NameReader._call,
}
