"""Reads the names of a syntax tree in one pass, in the order of evaluation."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, ClassVar

from mlops_nb.source.magics import find_magic
from mlops_nb.source.parts import (
    all_arguments,
    child_fields,
    dotted_name,
    last_name,
    roots,
    roots_of_iterable,
    target_names,
)
from mlops_nb.source.scopes import Scope, ScopedNames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlops_nb.source.magics import Magic

_PURE = """
abs all any ascii bin bool bytes callable chr complex dict dir display divmod enumerate filter
float format frozenset getattr hasattr hash help hex id int isinstance issubclass iter len list
map max memoryview min next oct ord pow print range repr reversed round set slice sorted str sum
super tuple type vars zip
"""
PURE_CALLS = frozenset(_PURE.split())
"""Builtins that leave their arguments as they are, iterators aside."""

_DYNAMIC_CALLS = frozenset({"exec", "eval", "globals", "__import__"})
_DYNAMIC_IF_BARE = frozenset({"locals", "vars", "dir"})
_SWALLOWS = frozenset({"suppress", "raises", "assertRaises"})
_LEAVES = (ast.Raise, ast.Return, ast.Break, ast.Continue)
_AT_NAME = re.compile(r"@([^\W\d]\w*)")


class NameReader(ScopedNames):
    """Reads one tree; the attributes are the answer (see `CellNames`).

    Parameters
    ----------
    parse
        Parses the text that a magic runs; None for text that is no Python.
    """

    def __init__(self, parse: Callable[[str], ast.Module | None]) -> None:
        super().__init__()
        self._parse = parse
        self.line_offset = 0

    def read(self, tree: ast.Module) -> None:
        """Read a whole cell."""
        self._block(tree.body)

    # --- statements ----------------------------------------------------------------------------

    def _block(self, statements: Iterable[ast.stmt]) -> None:
        for node in statements:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        self.level += 1
        handler = self._STATEMENTS.get(node.__class__)
        if handler is None:
            self._children(node)
        else:
            handler(self, node)
        self.level -= 1
        self.finished += 1

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
            self.load(target.id)
            self.mutate(target.id)
            self.store(target.id)
        else:
            self._target(target, None)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self._iterate(node.iter)
        before = set(self.bound)
        self._bind_parts(node.target, roots_of_iterable(node.iter))
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
            for name in roots(item.context_expr):
                self.mutate(name)
            if item.optional_vars is not None:
                self._bind_parts(item.optional_vars, roots(item.context_expr))
            may_swallow |= last_name(item.context_expr) in _SWALLOWS
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
            self.store(handler.name)
        self._block(handler.body)
        if handler.name:
            self.delete(handler.name)

    def _match(self, node: ast.Match) -> None:
        self._expression(node.subject)
        before = set(self.bound)
        for case in node.cases:
            self.bound = set(before)
            self._pattern(case.pattern, roots(node.subject))
            if case.guard is not None:
                self._expression(case.guard)
            self._block(case.body)
        self.bound = before

    def _pattern(self, pattern: ast.AST, origins: tuple[str, ...]) -> None:
        name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
        if name:
            self.store(name, origins)
        for child in ast.iter_child_nodes(pattern):
            if isinstance(child, ast.pattern):
                self._pattern(child, origins)
            elif isinstance(child, ast.expr):
                self._expression(child)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports[alias.name] = None
            self.store(alias.asname or alias.name.partition(".")[0])

    def _import_from(self, node: ast.ImportFrom) -> None:
        self.imports["." * node.level + (node.module or "")] = None
        for alias in node.names:
            if alias.name == "*":
                self.is_dynamic = True
            else:
                self.store(alias.asname or alias.name)

    def _global(self, node: ast.Global) -> None:
        if self.scopes:
            self.scopes[-1].globals |= set(node.names)

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
        self.store(node.name)
        self._function_body(node.args, lambda: self._block(node.body))

    def _signature(self, arguments: ast.arguments) -> None:
        """Defaults and annotations are evaluated outside of the function."""
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self._expression(default)
        for argument in all_arguments(arguments):
            if argument.annotation is not None:
                self._expression(argument.annotation)

    def _function_body(
        self, arguments: ast.arguments, read_body: Callable[[], None], *, is_lambda: bool = False
    ) -> None:
        scope = Scope(is_function=True, is_lambda=is_lambda)
        scope.local.update(argument.arg for argument in all_arguments(arguments))
        bound = set(self.bound)
        self.scopes.append(scope)
        self.functions += 1
        read_body()
        self.functions -= 1
        self.scopes.pop()
        self.bound = bound
        self.settle(scope)

    def _class(self, node: ast.ClassDef) -> None:
        for expression in (*node.decorator_list, *node.bases):
            self._expression(expression)
        for keyword in node.keywords:
            self._expression(keyword.value)
        self.scopes.append(Scope())
        self._block(node.body)
        self.scopes.pop()
        self.store(node.name)

    # --- targets -------------------------------------------------------------------------------

    def _target(self, target: ast.expr, value: ast.expr | None) -> None:
        self._bind_parts(target, roots(value))

    def _bind_parts(self, target: ast.expr, origins: tuple[str, ...]) -> None:
        """Bind, or delete, a target; what it holds may share with `origins`."""
        kind = target.__class__
        if kind is ast.Name:
            name = target.id  # type: ignore[attr-defined]
            if target.ctx.__class__ is ast.Del:  # type: ignore[attr-defined]
                self.delete(name)
            else:
                self.store(name, origins)
        elif kind is ast.Attribute or kind is ast.Subscript:
            for name in roots(target):
                self.mutate(name)
                self.sets[name] = None
            self._children(target)
        elif kind is ast.Starred:
            self._bind_parts(target.value, origins)  # type: ignore[attr-defined]
        else:
            for element in target.elts:  # type: ignore[attr-defined]
                self._bind_parts(element, origins)

    # --- expressions ---------------------------------------------------------------------------

    def _children(self, node: ast.AST) -> None:
        for field in child_fields(node):
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
        while kind is ast.Attribute:
            node = node.value  # type: ignore[attr-defined]
            kind = node.__class__
        if kind is ast.Name:
            self.load(node.id)  # type: ignore[attr-defined]
        elif kind is not ast.Constant:
            handler = self._EXPRESSIONS.get(kind)
            if handler is None:
                self._children(node)
            else:
                handler(self, node)

    def _named(self, node: ast.NamedExpr) -> None:
        self._expression(node.value)
        was_bound = node.target.id in self.bound
        self._target(node.target, node.value)
        if self.scopes and not was_bound:
            # In a comprehension it may never come to it.
            self.bound.discard(node.target.id)

    def _subscript(self, node: ast.Subscript) -> None:
        self._expression(node.value)
        self._expression(node.slice)

    def _operation(self, node: ast.BinOp) -> None:
        self._expression(node.left)
        self._expression(node.right)

    def _comparison(self, node: ast.Compare) -> None:
        self._expression(node.left)
        for operand in node.comparators:
            self._expression(operand)

    def _elements(self, node: ast.Tuple | ast.List | ast.Set) -> None:
        for element in node.elts:
            self._expression(element)

    def _slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper, node.step):
            if bound is not None:
                self._expression(bound)

    def _joined(self, node: ast.JoinedStr | ast.BoolOp) -> None:
        for value in node.values:
            self._expression(value)

    def _formatted(self, node: ast.FormattedValue) -> None:
        self._expression(node.value)
        if node.format_spec is not None:
            self._expression(node.format_spec)

    def _inverted(self, node: ast.UnaryOp) -> None:
        self._expression(node.operand)

    def _lambda(self, node: ast.Lambda) -> None:
        self._signature(node.args)
        self._function_body(node.args, lambda: self._expression(node.body), is_lambda=True)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._generators(node.generators, [node.elt])

    def _dict_comprehension(self, node: ast.DictComp) -> None:
        self._generators(node.generators, [node.key, node.value])

    def _generators(self, generators: list[ast.comprehension], results: list[ast.expr]) -> None:
        self._iterate(generators[0].iter)
        scope = Scope(is_comprehension=True)
        self.scopes.append(scope)
        for generator in generators:
            if generator is not generators[0]:
                self._iterate(generator.iter)
            origins = roots_of_iterable(generator.iter)
            for name in target_names(generator.target):
                scope.local.add(name)
                if origins:
                    scope.origins[name] = tuple(root for root in origins if root != name)
            for condition in generator.ifs:
                self._expression(condition)
        for result in results:
            self._expression(result)
        self.scopes.pop()

    def _iterate(self, iterable: ast.expr) -> None:
        self._expression(iterable)
        for name in roots(iterable):
            self.consume(name)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if function.__class__ is ast.Name:
            called = function.id
            self.call(called)
            self._plain_call(called, node)
            self.load(called)
            self._arguments(node, is_pure=called in PURE_CALLS)
            return
        if function.__class__ is ast.Attribute:
            magic = find_magic(node) if function.value.__class__ is ast.Call else None
            if magic is not None:
                self._magic(magic, node)
                return
            self.call(dotted_name(function))
            self._method(function, node)
        else:
            self.call(dotted_name(function))
        self._expression(function)
        self._arguments(node, is_pure=False)

    def _method(self, function: ast.Attribute, node: ast.Call) -> None:
        for name in roots(function.value):
            self.mutate(name)
        if function.attr in {"query", "eval"}:
            # pandas finds ``@name`` inside the text.
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    for name in _AT_NAME.findall(argument.value):
                        self.load(name)
        if (
            isinstance(function.value, ast.Call)
            and dotted_name(function.value.func) == "get_ipython"
        ):
            self.is_dynamic = True

    def _plain_call(self, name: str, node: ast.Call) -> None:
        is_bare = not node.args and not node.keywords
        if name in _DYNAMIC_CALLS or (is_bare and name in _DYNAMIC_IF_BARE):
            self.is_dynamic = True

    def _arguments(self, node: ast.Call, *, is_pure: bool) -> None:
        touch = self.consume if is_pure else self.mutate
        for argument in node.args:
            self._argument(argument, touch)
        for keyword in node.keywords:
            self._argument(keyword.value, touch)

    def _argument(self, argument: ast.expr, touch: Callable[[str], None]) -> None:
        kind = argument.__class__
        if kind is ast.Constant:
            return
        if kind is ast.Name:
            self.load(argument.id)  # type: ignore[attr-defined]
            touch(argument.id)  # type: ignore[attr-defined]
            return
        self._expression(argument)
        for name in roots(argument):
            touch(name)

    def _magic(self, magic: Magic, node: ast.Call) -> None:
        self.magics[magic.name] = None
        self.is_dynamic |= magic.is_dynamic
        for name in magic.reads:
            self.load(name)
        tree = self._parse(magic.python) if magic.python else None
        if tree is not None:
            self._magic_body(tree, magic, node)
        for name in magic.binds:
            self.store(name)

    def _magic_body(self, tree: ast.Module, magic: Magic, node: ast.Call) -> None:
        offset = self.line_offset
        self.line_offset += node.lineno - 1 + magic.first_line
        if magic.is_contained:
            nothing = ast.arguments([], [], None, [], [], None, [])
            self._function_body(nothing, lambda: self._block(tree.body))
        else:
            self._block(tree.body)
        self.line_offset = offset

    _STATEMENTS: ClassVar[dict[type, Callable[..., None]]] = {
        ast.Expr: _expression_statement,
        ast.Assign: _assign,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.For: _for,
        ast.AsyncFor: _for,
        ast.While: _while,
        ast.If: _if,
        ast.With: _with,
        ast.AsyncWith: _with,
        ast.Try: _try,
        ast.TryStar: _try,
        ast.Match: _match,
        ast.Import: _import,
        ast.ImportFrom: _import_from,
        ast.Global: _global,
        ast.Nonlocal: _nonlocal,
        ast.Delete: _delete_statement,
        ast.FunctionDef: _function,
        ast.AsyncFunctionDef: _function,
        ast.ClassDef: _class,
    }
    _EXPRESSIONS: ClassVar[dict[type, Callable[..., None]]] = {
        ast.NamedExpr: _named,
        ast.Lambda: _lambda,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.DictComp: _dict_comprehension,
        ast.Call: _call,
        ast.Subscript: _subscript,
        ast.BinOp: _operation,
        ast.Compare: _comparison,
        ast.Tuple: _elements,
        ast.List: _elements,
        ast.Set: _elements,
        ast.Slice: _slice,
        ast.JoinedStr: _joined,
        ast.BoolOp: _joined,
        ast.FormattedValue: _formatted,
        ast.UnaryOp: _inverted,
    }
