"""Reads statements of a cell in the order in which they run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, ClassVar

from mlops_nb.pipeline.dataflow import known
from mlops_nb.pipeline.dataflow.effects import SetUp
from mlops_nb.pipeline.dataflow.expressions import member_of
from mlops_nb.pipeline.dataflow.magic_calls import MagicCalls
from mlops_nb.pipeline.dataflow.secrets import reads_secret
from mlops_nb.pipeline.dataflow.values import (
    ATOM,
    UNKNOWN,
    Code,
    Frame,
    Value,
    all_nodes,
    either,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.pipeline.dataflow.effects import CellEffects, SiteKind

_LEAVES = (ast.Raise, ast.Return, ast.Break, ast.Continue)
_SWALLOWS = frozenset({"contextlib.suppress", "pytest.raises"})
_MOST_LOOPS = 1
_MANAGER = "contextlib.contextmanager"
_WRAPS = frozenset({"builtins.staticmethod", "builtins.classmethod", "builtins.property"})


class Statements(MagicCalls):
    """Reads statements."""

    loops = 0
    last_value = UNKNOWN
    shared_lines: frozenset[int] | set[int] = frozenset()

    def read(self, tree: ast.Module) -> None:
        """Read a whole cell."""
        self.depth = 0
        lines = [line for n in tree.body for line in {n.lineno, n.end_lineno or n.lineno}]
        self.shared_lines = {line for line in lines if lines.count(line) > 1}
        self.block(tree.body)

    def block(self, statements: list[ast.stmt]) -> None:
        """Read statements."""
        for node in statements:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        """Read one statement."""
        self.depth += 1
        if self.stack or (self.frame is not None and self.frame.kind == "comprehension"):
            self._dispatch(node)
        else:
            self.world.line = node.lineno + self.line_offset
            self.begin_statement()
            if self.depth == 1:
                self._at_top(node)
            else:
                self._dispatch(node)
        self.depth -= 1

    def _dispatch(self, node: ast.stmt) -> None:
        handler = self._STATEMENTS.get(node.__class__)
        if handler is not None:
            handler(self, node)

    def _at_top(self, node: ast.stmt) -> None:
        """Read a statement of the cell itself, and see whether it sets a library up."""
        cell, world = self.world.cell, self.world
        begin, changes, before = world.moment, len(cell.changes), _traces(cell)
        self._dispatch(node)
        world.settle()
        made = cell.changes[changes:]
        modules = [n for change in made for n in change.affected if n.startswith("<module:")]
        if not modules:
            return
        line = node.lineno + self.line_offset
        is_alone = _traces(cell) == before and all(
            name.startswith("<module:") for change in made for name in change.affected
        )
        is_alone = is_alone and node.lineno not in self.shared_lines
        needs = tuple(name for name, moment in cell.loads.items() if moment > begin)
        needs = tuple(name for name in needs if not name.startswith("<module:"))
        last = (node.end_lineno or node.lineno) + self.line_offset
        cell.set_ups.append(SetUp(cell.cell, line, last, tuple(modules), needs, is_alone))

    # --- assignments ---------------------------------------------------------------------------

    def _expression(self, node: ast.Expr) -> None:
        value = self.evaluate(node.value)
        if self.frame is None and not self.stack:
            self.last_value = value

    def _assign(self, node: ast.Assign) -> None:
        begin = self.world.moment
        value = self.evaluate(node.value)
        self._note_needs(begin)
        with self.binding(self._kind_of(node.value), node):
            for target in node.targets:
                self.target(target, value)
        self.needs = ()

    def _note_needs(self, begin: int) -> None:
        """Remember what the statement that begins here reads at once."""
        if self.frame is None and not self.stack:
            loads = self.world.cell.loads
            self.needs = tuple(name for name, moment in loads.items() if moment > begin)

    def _kind_of(self, value: ast.expr) -> SiteKind:
        """Say whether an assigned value can be made again anywhere from its statement."""
        if reads_secret(value, self._path_of):
            return "secret"
        if isinstance(value, ast.Name | ast.Attribute):
            # A copy of a function of the process's generator would draw from a copy of that.
            path = self._path_of(value)
            return "definition" if known.drawn_by_call(path) or path in known.SEEDS else "value"
        if not isinstance(value, ast.Call):
            return "value"
        return "definition" if self._path_of(value.func) in known.CONSTANT_MAKERS else "value"

    def _path_of(self, node: ast.expr) -> str:
        """Give the dotted path of something imported, without reading its name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        value = self.world.values.get(node.id)
        base = value.library if value is not None else f"builtins.{node.id}"
        return ".".join([base, *reversed(parts)]) if base else ""

    def _annotated(self, node: ast.AnnAssign) -> None:
        begin = self.world.moment
        self.evaluate(node.annotation)
        if node.value is not None:
            value = self.evaluate(node.value)
            self._note_needs(begin)
            with self.binding(self._kind_of(node.value), node):
                self.target(node.target, value)
            self.needs = ()

    def _augmented(self, node: ast.AugAssign) -> None:
        value = self.evaluate(node.value)
        target = node.target
        if not isinstance(target, ast.Name):
            self.target(target, self.fresh(value))
            return
        old = self.load(target.id)
        self.touch(old)
        self.world.change(old.nodes, is_shallow=old.kind not in {"array", ""})
        self.objects.hold(old.nodes, self.objects.known_parts(value.nodes))
        nodes = old.nodes | (value.nodes if not old.nodes else frozenset())
        self.store(target.id, Value(nodes=nodes, kind=old.kind))

    def target(self, target: ast.expr, value: Value) -> None:
        """Assign to a target."""
        if isinstance(target, ast.Name):
            self.store(target.id, self._as_bound(target.id, value))
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(target, value)
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, value)
        elif isinstance(target, ast.Starred):
            self.target(target.value, value)
        elif isinstance(target, ast.Tuple | ast.List):
            for element, part in self.unpack(target, value):
                self.target(element, part)

    def _as_bound(self, name: str, value: Value) -> Value:
        """What a name of the parameters cell holds is not known: it can be given."""
        if not self.is_of_parameters or self.frame is not None or value.text is None:
            return value
        return Value(nodes=value.nodes, kind=value.kind, text=f"{{{name}}}")

    def _assign_attribute(self, target: ast.Attribute, value: Value) -> None:
        base = self.evaluate(target.value)
        if base.library:
            self.set_part(Value(library=f"{base.library}.{target.attr}"), None, value)
            return
        setter = self.member(base, target.attr)
        if setter is not None and setter.code is not None and setter.code.kind == "property":
            self.invoke(base, [value])
        self.set_part(base, target.attr, value)

    def _assign_item(self, target: ast.Subscript, value: Value) -> None:
        inner = target.value
        name = target.slice.value if isinstance(target.slice, ast.Constant) else None
        if isinstance(name, str) and self.is_namespace(inner):
            self._store_global(name, value)
            return
        if isinstance(inner, ast.Attribute) and inner.attr in {"loc", "iloc", "at", "iat", "flat"}:
            inner = inner.value
        base = self.evaluate(inner)
        key = self.evaluate(target.slice)
        self.touch(base)
        if base.library:
            self.set_part(base, None, value)
            return
        is_text = isinstance(target.slice, ast.Constant) and isinstance(target.slice.value, str)
        if base.kind in {"frame", "array"}:
            # What is assigned is copied into the table.
            self.world.change(base.nodes)
            return
        self.world.change(base.nodes)
        self.objects.hold(base.nodes, value.nodes, key.text if is_text else None)

    def _store_global(self, name: str, value: Value) -> None:
        """``globals()["x"] = 1`` binds as an assignment would."""
        frame, self.frame = self.frame, None
        self.store(name, value)
        self.frame = frame

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._delete_target(target)

    def _delete_target(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.remove(target.id)
        elif isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._delete_target(element)
        elif isinstance(target, ast.Attribute):
            self.set_part(self.evaluate(target.value), None, UNKNOWN)
        elif isinstance(target, ast.Subscript):
            self.evaluate(target.slice)
            self.set_part(self.evaluate(target.value), None, UNKNOWN)

    # --- flow ----------------------------------------------------------------------------------

    def _branches(self, *branches: list[ast.stmt]) -> None:
        """Only what every branch that goes on has bound is bound for certain."""
        world = self.world
        before = world.cell.certain
        ends: list[set[str]] = []
        leaves = False
        world.branches += 1
        for branch in branches:
            world.cell.certain = set(before)
            self.block(branch)
            if branch and isinstance(branch[-1], _LEAVES):
                leaves = leaves or isinstance(branch[-1], ast.Return)
            else:
                ends.append(world.cell.certain)
        world.branches -= 1
        world.cell.certain = set.intersection(*ends) if ends else before
        # After a return that may have happened nothing is sure for who called.
        world.is_left = world.is_left or (leaves and bool(self.stack))

    def _if(self, node: ast.If) -> None:
        self.touch(self.evaluate(node.test))
        self._branches(node.body, node.orelse)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        iterable = self.evaluate(node.iter)
        self._loop(node.body, lambda: self.target(node.target, self.iterate(iterable)))
        with self.perhaps():
            self.block(node.orelse)

    def _while(self, node: ast.While) -> None:
        self._loop(node.body, lambda: self.touch(self.evaluate(node.test)), is_tested=True)
        with self.perhaps():
            self.block(node.orelse)

    def _loop(
        self, body: list[ast.stmt], begin: Callable[[], None], *, is_tested: bool = False
    ) -> None:
        """Read a body twice: what its end binds is there when it begins again."""
        if is_tested:
            begin()
        with self.perhaps():
            self.loops += 1
            for _ in range(1 if self.loops > _MOST_LOOPS else 2):
                begin()
                self.block(body)
            self.loops -= 1

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        may_swallow = False
        entered = []
        for item in node.items:
            value = self.evaluate(item.context_expr)
            entered.append(value)
            self.touch(value)
            if not self.objects.why_stuck(value.nodes):
                self.world.change(value.nodes)
            if item.optional_vars is not None:
                self.target(item.optional_vars, self._entered(value))
            call = item.context_expr
            if isinstance(call, ast.Call):
                may_swallow |= self._path_of(call.func) in _SWALLOWS
        if may_swallow:
            with self.perhaps():
                self.block(node.body)
        else:
            self.block(node.body)
        for value in entered:
            for opened in value.nodes & self.objects.stuck.keys():
                # It is closed, so nobody will want to pass it on.
                if self.objects.stuck[opened] in known.CLOSED:
                    del self.objects.stuck[opened]

    def _entered(self, value: Value) -> Value:
        entered = self.member(value, "__enter__") or self.member(value, "__aenter__")
        if entered is not None and entered.code is not None:
            return self.call_code(entered.code, [], receiver=value)
        return value

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        world = self.world
        before = world.cell.certain
        world.cell.certain = set(before)
        world.branches += bool(node.handlers)
        self.block(node.body)
        self.block(node.orelse)
        last = (node.orelse or node.body)[-1]
        ends = [] if isinstance(last, _LEAVES) else [world.cell.certain]
        for handler in node.handlers:
            world.cell.certain = set(before)
            self._handler(handler)
            if not isinstance(handler.body[-1], _LEAVES):
                ends.append(world.cell.certain)
        world.branches -= bool(node.handlers)
        world.cell.certain = set.intersection(*ends) if ends else before
        self.block(node.finalbody)

    def _handler(self, handler: ast.ExceptHandler) -> None:
        if handler.type is not None:
            self.evaluate(handler.type)
        if handler.name:
            self.store(handler.name, self.fresh())
        self.block(handler.body)
        if handler.name:
            self.remove(handler.name)

    def _match(self, node: ast.Match) -> None:
        subject = self.evaluate(node.subject)
        self.touch(subject)
        for case in node.cases:
            with self.perhaps():
                self._pattern(case.pattern, subject)
                if case.guard is not None:
                    self.evaluate(case.guard)
                self.block(case.body)

    def _pattern(self, pattern: ast.AST, subject: Value) -> None:
        name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
        if name:
            self.store(name, Value(nodes=subject.nodes | self.part(subject)))
        for child in ast.iter_child_nodes(pattern):
            if isinstance(child, ast.pattern):
                self._pattern(child, subject)
            elif isinstance(child, ast.expr):
                self.evaluate(child)

    def _return(self, node: ast.Return) -> None:
        value = self.evaluate(node.value) if node.value is not None else ATOM
        if self.frame is not None:
            self.frame.returned.append(value)

    def _values_of(self, node: ast.stmt) -> None:
        """``assert`` and ``raise`` only evaluate."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.touch(self.evaluate(child))

    # --- definitions ---------------------------------------------------------------------------

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            root = alias.name.partition(".")[0]
            library = alias.name if alias.asname else root
            self.import_module(alias.name)
            # All modules of a package bind the one name of the package.
            self.module = alias.name if not alias.asname and root != alias.name else ""
            single = ast.Import([alias if alias.asname else ast.alias(root)])
            with self.binding("import", single):
                self.store(alias.asname or root, Value(kind="module", library=library))
            self.module = ""

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        self.import_module(module)
        for alias in node.names:
            if alias.name == "*":
                self.star(module, node)
                continue
            single = ast.ImportFrom(node.module, [alias], node.level)
            with self.binding("import", single):
                value = Value(library=f"{module}.{alias.name}")
                self.store(alias.asname or alias.name, value)

    def _global(self, node: ast.Global) -> None:
        if self.frame is not None:
            self.frame.globals.update(node.names)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        begin = self.world.moment
        wrappers = [self._decorator(decorator) for decorator in node.decorator_list]
        defaults = self.defaults(node.args)
        if node.returns is not None:
            self.evaluate(node.returns)
        code, value = self.new_code(node, node.name)
        code.defaults = defaults
        self.objects.hold(value.nodes, all_nodes(defaults.values()))
        is_plain = not all_nodes(defaults.values())
        value, is_kept = self._decorated(code, value, wrappers)
        self._bind_code(node, value, begin, is_plain=is_plain and is_kept)

    def _bind_code(self, node: ast.stmt, value: Value, begin: int, *, is_plain: bool) -> None:
        self._note_needs(begin)
        if self.frame is None and not self.stack:
            self.world.line = node.lineno + self.line_offset
        with self.binding("definition" if is_plain else "value", node):
            self.store(node.name, value)  # type: ignore[attr-defined]
        self.needs = ()

    def _decorator(self, node: ast.expr) -> tuple[str, Value]:
        """Give the path of a decorator, and what it is."""
        if isinstance(node, ast.Call):
            path = self._path_of(node.func)
            if path in known.PLAIN_DECORATORS:
                for child in (*node.args, *(keyword.value for keyword in node.keywords)):
                    self.evaluate(child)
                self.evaluate(node.func)
                return path, UNKNOWN
        value = self.evaluate(node)
        return value.library or (value.method if value.method == "setter" else ""), value

    def _decorated(
        self, code: Code, value: Value, wrappers: list[tuple[str, Value]]
    ) -> tuple[Value, bool]:
        """Apply decorators from the innermost on; say whether it is still what it was."""
        is_kept = True
        for path, decorator in reversed(wrappers):
            if path in _WRAPS or path == _MANAGER:
                code.kind = path.partition(".")[2]
            if path in known.CACHES:
                code.is_cached = True
            if path in known.PLAIN_DECORATORS or path == "setter":
                continue
            is_kept = False
            value = self.call_value(decorator, self.given_of(value))
        return value, is_kept

    def _made_class(self, value: Value, bases: tuple[Value, ...], others: list[Value]) -> None:
        """Run what a metaclass or a base does when a class is made."""
        for base in bases:
            hook = member_of(base.code, "__init_subclass__") if base.code is not None else None
            if hook is not None and hook.code is not None:
                self.call_code(hook.code, [value], receiver=value)
        for other in others:
            if other.code is not None:
                self.call_code(other.code, [value])

    def _class(self, node: ast.ClassDef) -> None:
        begin = self.world.moment
        wrappers = [self._decorator(decorator) for decorator in node.decorator_list]
        bases = tuple(self.evaluate(base) for base in node.bases)
        others = [self.evaluate(keyword.value) for keyword in node.keywords]
        code, value = self.new_code(node, node.name)
        code.bases = bases
        self.objects.hold(value.nodes, all_nodes((*bases, *others)))
        frame = Frame(self.frame, "class")
        with self.inside(frame):
            self.block(node.body)
        code.members = frame.values
        for name, member in frame.values.items():
            self.objects.hold(value.nodes, member.nodes, name)
            if member.code is not None and not member.code.is_class:
                member.code.owner = code
        self._made_class(value, bases, others)
        value, is_kept = self._decorated(code, value, wrappers)
        self._bind_code(node, value, begin, is_plain=is_kept)

    _STATEMENTS: ClassVar[dict[type, Callable[..., None]]] = {
        ast.Expr: _expression,
        ast.Assign: _assign,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.Delete: _delete,
        ast.If: _if,
        ast.For: _for,
        ast.AsyncFor: _for,
        ast.While: _while,
        ast.With: _with,
        ast.AsyncWith: _with,
        ast.Try: _try,
        ast.TryStar: _try,
        ast.Match: _match,
        ast.Return: _return,
        ast.Assert: _values_of,
        ast.Raise: _values_of,
        ast.Import: _import,
        ast.ImportFrom: _import_from,
        ast.Global: _global,
        ast.FunctionDef: _function,
        ast.AsyncFunctionDef: _function,
        ast.ClassDef: _class,
    }


def _traces(cell: CellEffects) -> tuple[int, ...]:
    """How much a cell has done so far, other than change things in place."""
    return (len(cell.bound_at), sum(cell.bound_at.values()), len(cell.deletes), len(cell.files))


__all__ = ["Statements", "either"]
