"""Reads calls: of functions and classes of the notebook, of methods, of magics."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.expressions import IMPLICIT, member_of
from mlops_nb.pipeline.dataflow.libraries import Libraries
from mlops_nb.pipeline.dataflow.values import ATOM, UNKNOWN, Code, Value, all_nodes
from mlops_nb.record import record
from mlops_nb.source.magics import find_magic

if TYPE_CHECKING:
    from collections.abc import Mapping

_AT_NAME = re.compile(r"@([^\W\d]\w*)")
_RUNS_TEXT = frozenset({"exec", "eval"})


@record
class Given:
    """Arguments of a call."""

    positional: tuple[Value, ...]
    keywords: Mapping[str, Value]
    rest: tuple[Value, ...] = ()

    @property
    def all(self) -> list[Value]:
        """All of them, in order."""
        return [*self.positional, *self.keywords.values(), *self.rest]


class Calls(Libraries):
    """Follows calls."""

    def magic(self, node: ast.Call, magic: object) -> Value:
        """Read a magic."""
        raise NotImplementedError

    def run_text(self, text: str) -> None:
        """Read text that runs in the notebook's namespace."""
        raise NotImplementedError

    def call(self, node: ast.Call) -> Value:
        """Read a call."""
        function = node.func
        if isinstance(function, ast.Attribute):
            found = find_magic(node) if isinstance(function.value, ast.Call) else None
            if found is not None:
                return self.magic(node, found)
            if _is_super(function.value):
                return self._call_super(function.attr, node)
            return self._call_attribute(function, node)
        called = self.evaluate(function)
        given = self._given(node)
        if called.library.startswith("builtins."):
            answer = self._builtin(called.library.partition(".")[2], node, given)
            if answer is not None:
                return answer
        return self.call_value(called, given)

    def _given(self, node: ast.Call) -> Given:
        positional: list[Value] = []
        rest: list[Value] = []
        for argument in node.args:
            value = self.evaluate(argument)
            if isinstance(argument, ast.Starred):
                rest += value.elements or [Value(nodes=self.part(value), kind=value.kind)]
            else:
                (rest or positional).append(value)
        keywords: dict[str, Value] = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value)
            if keyword.arg is None:
                rest.append(Value(nodes=self.part(value)))
            else:
                keywords[keyword.arg] = value
        return Given(tuple(positional), keywords, tuple(rest))

    def call_value(self, called: Value, given: Given) -> Value:
        """Call whatever a value is."""
        code = called.code
        if code is not None:
            return self._call_class(code, given) if code.is_class else self._follow(code, given)
        if called.receiver is not None and called.method:
            return self.call_method(called.receiver, called.method, given)
        if called.library:
            return self.call_library(called.library, given)
        call = self.member(called, "__call__")
        if call is not None and call.code is not None:
            return self._follow(call.code, given, receiver=called)
        for drawn in self.objects.drawn_by(called.nodes):
            self.world.change_state(drawn)
        # A list cannot be called: it is a method of one, out of a container.
        self.world.change(called.nodes & self.objects.plain, is_shallow=True)
        answer = self.invoke(called, given.all)
        return answer if answer.nodes else self.fresh(*given.all)

    # --- functions of the notebook -------------------------------------------------------------

    def _follow(self, code: Code, given: Given, *, receiver: Value | None = None) -> Value:
        values = self._parameters(code, given, receiver)
        if code.is_generator and code.kind != "contextmanager":
            return self._generator_of(code, values)
        answer = self.follow(code, values)
        if not code.is_cached or not answer.nodes:
            return answer
        # The next call gives the same object.
        self.objects.hold((code.node,), answer.nodes, "remembered")
        return Value(nodes=self.objects.part((code.node,), "remembered"))

    def _generator_of(self, code: Code, values: dict[str, Value]) -> Value:
        """A generator runs its body when it is used, so it carries its code."""
        given = self.follow(code, values)
        result = self.fresh(*values.values(), given, kind="iterator", is_plain=True)
        node = next(iter(result.nodes))
        self.objects.stuck[node] = "a generator"
        self.objects.hold((node,), (code.node,))
        return result

    def _parameters(self, code: Code, given: Given, receiver: Value | None) -> dict[str, Value]:
        """Give each parameter of a function its value."""
        assert not isinstance(code.tree, ast.ClassDef)  # noqa: S101 - tells the type checker
        arguments = code.tree.args
        positional = [*given.positional]
        if receiver is not None and code.kind != "staticmethod":
            positional.insert(0, receiver)
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        values = dict(zip(names, positional, strict=False))
        extra = positional[len(names) :]
        known_names = {*names, *(argument.arg for argument in arguments.kwonlyargs)}
        values |= {name: v for name, v in given.keywords.items() if name in known_names}
        others = [v for name, v in given.keywords.items() if name not in known_names]
        rest = self._rest(given.rest)
        for name in known_names - values.keys():
            values[name] = self._default(code, name, rest)
        if arguments.vararg is not None:
            packed = self.fresh(*extra, *given.rest, kind="list", is_plain=True)
            values[arguments.vararg.arg] = packed
        if arguments.kwarg is not None:
            packed = self.fresh(*others, *given.rest, kind="dict", is_plain=True)
            values[arguments.kwarg.arg] = packed
        return values

    def _rest(self, rest: tuple[Value, ...]) -> Value:
        """Put together what may stand for any parameter."""
        if len(rest) == 1 and rest[0].nodes <= self.objects.anything:
            return rest[0]
        return self.fresh(*rest) if rest else UNKNOWN

    def _default(self, code: Code, name: str, rest: Value) -> Value:
        default = code.defaults.get(name, UNKNOWN)
        if not rest.nodes:
            return default
        return Value(nodes=self.part(rest) | default.nodes)

    def call_code(self, code: Code, given: list[Value], *, receiver: Value | None = None) -> Value:
        """Follow a function of the notebook, whose parameters may be any of some values."""
        if code.is_class:
            return self._call_class(code, Given((), {}, tuple(given)))
        return self._follow(code, Given((), {}, tuple(given)), receiver=receiver)

    def invoke(self, value: Value, given: list[Value]) -> Value:
        """Call whatever functions a value may run, with anything that is at hand."""
        codes = self.objects.codes_of(value.nodes) if value.nodes else set()
        if not codes:
            return UNKNOWN
        key = (value.nodes, all_nodes(given))
        if key in self.invoked:
            return self.invoked[key]
        at_hand = (key[0] | key[1]) - self.objects.codes.keys()
        anything = Value(nodes=frozenset((self.objects.any_of(at_hand),)))
        self.invoked[key] = self.fresh(anything)
        answers: list[Value] = []
        is_nested = bool(self.invoking)
        # What runs already is called with anything there: it need not call itself; nor need
        # functions that call one another be followed in every order.
        left_out = self.invoking | (self.was_invoked if is_nested else set())
        for code in sorted(codes - left_out, key=lambda code: code.node):
            self.invoking.add(code)
            self.was_invoked.add(code)
            answers += self._invoke_one(code, value, anything)
            self.invoking.discard(code)
        answer = self.invoked[key] = Value(nodes=all_nodes(answers) | self.fresh().nodes)
        return answer

    def _invoke_one(self, code: Code, value: Value, anything: Value) -> list[Value]:
        if not code.is_class:
            # A method is called with the instance, by way of its class.
            return [self.call_code(code, [anything])] if code.owner is None else []
        receiver = Value(nodes=self.objects.instances_in(value.nodes, code.node))
        if code.node in value.nodes:
            receiver = self._call_class(code, Given((), {}, (anything,)))
        elif not receiver.nodes:
            return []
        methods = [
            member.code
            for name, member in code.members.items()
            if member.code is not None and not member.code.is_class and name not in IMPLICIT
        ]
        return [self.call_code(method, [anything], receiver=receiver) for method in methods]

    # --- classes -------------------------------------------------------------------------------

    def _call_class(self, code: Code, given: Given) -> Value:
        instance = self.fresh()
        self.objects.is_instance(instance.nodes, (code.node,))
        self.objects.draws |= {
            node: set(self.objects.draws[code.node])
            for node in instance.nodes
            if code.node in self.objects.draws
        }
        is_read = False
        for name in ("__new__", "__init__", "__post_init__"):
            member = member_of(code, name)
            if member is not None and member.code is not None:
                is_read = name != "__post_init__"
                first = Value(nodes=frozenset((code.node,)), code=code)
                receiver = instance if name != "__new__" else first
                self._follow(member.code, given, receiver=receiver)
        if not is_read:
            for name, value in given.keywords.items():
                self.objects.hold(instance.nodes, value.nodes, name)
            for value in (*given.positional, *given.rest):
                self.objects.hold(instance.nodes, value.nodes)
        return instance

    def _call_super(self, name: str, node: ast.Call) -> Value:
        given = self._given(node)
        code = self.stack[-1] if self.stack else None
        frame = self.frame
        if code is None or code.owner is None or frame is None:
            return self.fresh(*given.all)
        first = next(iter(_parameter_names(code)), "")
        receiver = frame.values.get(first, UNKNOWN)
        for base in code.owner.bases:
            member = member_of(base.code, name) if base.code is not None else None
            if member is not None and member.code is not None:
                return self._follow(member.code, given, receiver=receiver)
        if name == "__init__":
            self.objects.hold(receiver.nodes, all_nodes(given.all))
            return ATOM
        return Value(nodes=receiver.nodes | self.fresh(*given.all).nodes)

    # --- methods -------------------------------------------------------------------------------

    def _call_attribute(self, function: ast.Attribute, node: ast.Call) -> Value:
        first = node.args[0] if node.args else None
        name = first.value if isinstance(first, ast.Constant) else None
        if function.attr == "get" and isinstance(name, str) and self.is_namespace(function.value):
            self._given(node)
            return self.load(name)
        base = self.evaluate(function.value)
        given = self._given(node)
        if function.attr in {"query", "eval"}:
            self._names_in_query(node)
        if base.library:
            return self.call_library(f"{base.library}.{function.attr}", given)
        return self.call_method(base, function.attr, given)

    def _names_in_query(self, node: ast.Call) -> None:
        """Read what pandas finds as ``@name`` inside of a text."""
        for argument in node.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                for name in _AT_NAME.findall(argument.value):
                    self.load(name)

    def call_method(self, base: Value, name: str, given: Given) -> Value:
        """Call a method of a value."""
        member = self.member(base, name)
        if member is not None:
            method = member.code
            if method is not None and not method.is_class:
                return self._follow(method, given, receiver=base)
            return self.call_value(member, given)
        if base.method and base.receiver is not None and not base.nodes:
            base = base.receiver
        if self.objects.has_key(base.nodes, name):
            # What is called was put there before: a layer of a network.
            return self.call_value(Value(nodes=self.part(base, name)), given)
        if self.classes(base):
            self.invoke(base, given.all)
        return self.call_listed_method(base, name, given)

    # --- builtins that need the text of the call -----------------------------------------------

    def _builtin(self, name: str, node: ast.Call, given: Given) -> Value | None:
        if name in _RUNS_TEXT:
            return self._run_given_text(node, given)
        if name == "globals" or (name in {"locals", "vars"} and not node.args):
            if name == "globals" or self.frame is None:
                self._dynamic()
            return self.fresh(kind="dict", is_plain=True)
        if name == "dir" and not node.args:
            self._dynamic()
            return ATOM
        if name == "__import__":
            text = given.positional[0].text if given.positional else None
            return Value(library=text or "{…}")
        return self.call_builtin(name, given)

    def _run_given_text(self, node: ast.Call, given: Given) -> Value:
        text = given.positional[0].text if given.positional else None
        if text is None or "{" in text or len(node.args) > 1 or node.keywords:
            self._dynamic()
            return self.fresh()
        self.run_text(text)
        return self.fresh()

    def _dynamic(self) -> None:
        self.world.cell.dynamic = self.world.cell.dynamic or self.world.line


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _parameter_names(code: Code) -> list[str]:
    if isinstance(code.tree, ast.ClassDef):
        return []
    arguments = code.tree.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
