"""What calls of builtins, libraries and methods do, as far as it is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow import known
from mlops_nb.pipeline.dataflow.expressions import Expressions
from mlops_nb.pipeline.dataflow.values import ATOM, UNKNOWN, Value, all_nodes, either, same_objects

if TYPE_CHECKING:
    from mlops_nb.pipeline.dataflow.calls import Given

_SEED_NAMES = ("random_state", "seed", "rng", "generator")
_PATH_MAKERS = frozenset(
    {"pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "os.fspath", "builtins.str"}
)
_SAME_PATH = frozenset({"resolve", "absolute", "expanduser", "as_posix", "strip", "as_uri"})
_RANDOM_OBJECTS = frozenset(
    {"numpy.random.default_rng", "numpy.random.RandomState", "numpy.random.Generator"}
    | {"random.Random", "torch.Generator"}
)


class Libraries(Expressions):
    """Knows what is not code of the notebook."""

    def use_files(self, path: str, given: Given, base: Value | None) -> None:
        """Note which files a call reads and writes."""
        raise NotImplementedError

    # --- builtins ------------------------------------------------------------------------------

    def call_builtin(self, name: str, given: Given) -> Value | None:
        """Call a builtin; None for what is treated as any other library."""
        values = given.all
        if name == "print" or name in known.ATOMS:
            return self._call_atom(name, given)
        if name in known.CONTAINERS:
            return self._call_container(name, given)
        if name in known.ITERATORS:
            return self._call_iterator(name, given)
        if name == "next" and values:
            return self._next(given)
        if name == "type" and len(values) == 1:
            return self.class_of(values[0])
        if name in {"min", "max", "sum", "getattr"} and values:
            self._use(values)
            first = values[0]
            if name == "getattr" and len(values) > 1 and values[1].text is not None:
                return self.attribute(first, values[1].text)
            parts = self.iterate(first) if len(values) == 1 else either(values)
            return parts if name != "sum" else self.fresh(is_plain=True)
        return None

    def _call_atom(self, name: str, given: Given) -> Value:
        values = given.all
        for value in values:
            self.touch(value)
        if name in {"setattr", "delattr"} and values:
            key = values[1].text if len(values) > 1 else None
            self.set_part(values[0], key, values[2] if len(values) > 2 else UNKNOWN)  # noqa: PLR2004
        if f"builtins.{name}" in known.NOT_AGAIN:
            self._chance(f"{name}()")
        if name in {"any", "all"} and values:
            self.iterate(values[0])
        if name == "str" and values:
            return Value(kind="atom", text=values[0].text)
        return ATOM

    def _call_container(self, name: str, given: Given) -> Value:
        items = [self.iterate(value) for value in given.positional[:1]]
        for value in given.keywords.values():
            self.invoke(value, items)
        kind = "dict" if name == "dict" else "list"
        result = self.fresh(*items, kind=kind, is_plain=True)
        for key, value in given.keywords.items():
            self.objects.hold(result.nodes, value.nodes, key)
        if name == "dict":
            held = self.objects.known_parts(all_nodes(given.positional))
            self.objects.hold(result.nodes, held)
        return result

    def _call_iterator(self, name: str, given: Given) -> Value:
        values = given.all
        is_called = name in {"map", "filter"}
        source = given.positional[1:] if is_called else given.positional
        items = [self.iterate(value) for value in source]
        for value in given.positional[:1] if is_called else ():
            self.invoke(value, items)
        item: Value | None = None
        if name == "zip":
            item = Value(nodes=all_nodes(items), elements=tuple(items))
        elif name == "enumerate":
            item = Value(nodes=all_nodes(items), elements=(ATOM, *items[:1]))
        elif name in {"reversed", "iter", "filter"} and items:
            item = items[0]
        result = self.fresh(*values, *items, kind="iterator", is_plain=True)
        return same_objects(result, kind="iterator", item=item)

    def _next(self, given: Given) -> Value:
        first = given.positional[0]
        self.touch(first)
        self.consume(first)
        self.world.change(first.nodes, is_shallow=True)
        item = first.item or Value(nodes=self.part(first))
        return either((item, *given.positional[1:]))

    def _use(self, values: list[Value]) -> None:
        """Something of a library works with values: it may call what they carry."""
        for value in values:
            self.touch(value)
            if value.nodes and self.objects.codes:
                others = [other for other in values if other is not value]
                self.invoke(value, others)

    def _chance(self, why: str) -> None:
        self.world.cell.chance = self.world.cell.chance or (why, self.world.line)

    # --- functions of libraries ----------------------------------------------------------------

    def call_library(self, path: str, given: Given) -> Value:
        """Call something that was imported."""
        self._state_of_call(path, given)
        self.use_files(path, given, None)
        self._use(given.all)
        self._changed_arguments(path, given)
        if path in known.NOT_AGAIN or known.NETWORK.match(path):
            self._chance(f"{path}()")
        tail = path.rpartition(".")[2]
        values = given.all
        if path in _PATH_MAKERS or path in {"os.path.join", "pathlib.Path.joinpath"}:
            return _path_of(values)
        if path in known.STUCK:
            return self._stuck(known.STUCK[path], *values)
        if path in _RANDOM_OBJECTS:
            if not values:
                self._chance(f"{path}() without a seed")
            return self.fresh(*values, kind="rng")
        if path in known.COPIES:
            return self._copy(values)
        return self._result_of(path, tail, given)

    def _copy(self, values: list[Value]) -> Value:
        first = values[0] if values else UNKNOWN
        result = self.fresh(kind=first.kind, is_plain=bool(first.nodes & self.objects.plain))
        self.objects.is_instance(result.nodes, self.objects.kinds(first.nodes))
        for node in result.nodes:
            self.objects.draws[node] = self.objects.drawn_by(first.nodes)
            codes = self.objects.codes_of(first.nodes)
            self.objects.hold((node,), (code.node for code in codes))
        return result

    def _result_of(self, path: str, tail: str, given: Given) -> Value:
        values = given.all
        first = path.partition(".")[0]
        is_class = tail[:1].isupper()
        if first == "numpy" and tail in known.NUMPY_VIEWS:
            views = values[0] if values else UNKNOWN
            return Value(nodes=views.nodes or self.fresh().nodes, kind="array")
        if first == "copy" and values:
            source = values[0]
            result = self.fresh(kind=source.kind, is_plain=bool(source.nodes & self.objects.plain))
            self.objects.hold(result.nodes, self.objects.known_parts(source.nodes))
            self.objects.is_instance(result.nodes, self.objects.kinds(source.nodes))
            return result
        if path in {"operator.itemgetter", "operator.attrgetter"}:
            return ATOM
        is_fresh = known.FRESH_MODULES.match(path) and not known.HOLDS_ANYWAY.match(path)
        if is_fresh and not (first == "sklearn" and is_class):
            kind = {"pandas": "frame", "numpy": "array"}.get(first, "several")
            if kind in {"frame", "array"}:
                return self.fresh(kind=kind)
            carries = [value for value in values if self.objects.codes_of(value.nodes)]
            return self.fresh(*carries, kind=kind)
        result = self.fresh(*values, is_plain=known.CLONES.match(tail) is not None)
        for key, value in given.keywords.items():
            self.objects.hold(result.nodes, value.nodes, key)
        if known.drawn_by_call(path) == known.TENSORFLOW:
            for node in result.nodes:
                self.objects.draws[node] = {known.TENSORFLOW}
        elif first not in known.NOT_SCIKIT:
            self._random_object(tail, given, result)
        return result

    def _random_object(self, tail: str, given: Given, result: Value) -> None:
        """Remember that an estimator draws, from NumPy's generator, when it is fitted."""
        names = given.keywords.keys() & set(_SEED_NAMES)
        if names and not any(_is_none(given.keywords[name]) for name in names):
            return
        is_random = known.RANDOM_CLASSES.search(tail) and not known.NOT_ALWAYS_DRAWING.match(tail)
        shuffles = known.SPLITTERS.search(tail) and "shuffle" in given.keywords
        if tail[:1].isupper() and (is_random or shuffles):
            for node in result.nodes:
                self.objects.draws.setdefault(node, set()).add("<rng:numpy>")

    def _changed_arguments(self, path: str, given: Given) -> None:
        for place in known.CHANGES.get(path, ()):
            if place < len(given.positional):
                changed = given.positional[place]
                self.world.change(changed.nodes)
                if path in known.STORING_FUNCTIONS:
                    others = all_nodes(v for v in given.all if v is not changed)
                    self.objects.hold(changed.nodes, others)
        out = given.keywords.get("out")
        if out is not None:
            self.world.change(out.nodes)
        for name in _SEED_NAMES:
            source = given.keywords.get(name)
            if source is not None and source.nodes and not path.rpartition(".")[2][:1].isupper():
                self.world.change(source.nodes)

    def _state_of_call(self, path: str, given: Given) -> None:
        world = self.world
        tail = path.rpartition(".")[2]
        self._seeded_by_call(path, tail, given)
        self._drawn_by_call(path, tail, given)
        state = known.STATE_CALLS.get(path) or _state_of_path(path, tail)
        if state:
            world.change_state(state)
        elif known.SEABORN_SETTERS.match(path):
            world.change_state("<options:matplotlib>")
        elif known.SET_UPS.match(path):
            world.change_module(path.partition(".")[0])

    def _seeded_by_call(self, path: str, tail: str, given: Given) -> None:
        world = self.world
        seeded = known.seeded_by_call(path)
        if seeded and given.all:
            for name in seeded:
                world.set_state(name)
        elif seeded:
            world.change_state(seeded[0])
            self._chance(f"{path}() without a seed")
        elif known.SEEDS_ALL.match(tail) and not tail[:1].isupper():
            # A function that nobody knows may seed them, or not.
            for name in known.RNGS:
                world.change_state(name)
                world.set_state(name)

    def _drawn_by_call(self, path: str, tail: str, given: Given) -> None:
        drawn = known.drawn_by_call(path)
        is_told = any(n in given.keywords and not _is_none(given.keywords[n]) for n in _SEED_NAMES)
        if drawn and not is_told:
            self.world.change_state(drawn)
        if known.draws_unless_told(path) and not is_told and not _is_not_shuffled(given):
            self.world.change_state("<rng:numpy>")
        if not is_told and not (known.SPLITTERS.search(tail) or tail[:1].isupper()):
            for value in given.all:
                for name in self.objects.drawn_by(value.nodes):
                    self.world.change_state(name)

    # --- methods -------------------------------------------------------------------------------

    def call_listed_method(self, base: Value, name: str, given: Given) -> Value:
        """Call a method that is not the notebook's own."""
        self.use_files(name, given, base)
        self._method_state(base, name, given)
        values = given.all
        self._use(values)
        if base.kind == "code" or self.objects.codes:
            self.invoke(base, values)
        out = given.keywords.get("out")
        if out is not None:
            self.world.change(out.nodes)
        if base.kind == "atom" or (not base.nodes and base.text is not None):
            return self._method_of_atom(base, name, values)
        if base.kind == "rng":
            self.world.change(base.nodes)
            if name == "shuffle":
                self.world.change(all_nodes(values[:1]))
            return self.fresh(kind="array")
        inplace = given.keywords.get("inplace")
        if inplace is not None and inplace.text != "False":
            self.world.change(base.nodes)
            return ATOM
        return self._listed(base, name, given)

    def _listed(self, base: Value, name: str, given: Given) -> Value:
        if base.kind == "lazy" and name not in known.GROUPS:
            return self.fresh(kind="frame")
        if name in known.GROUPS:
            return self.fresh(base, *given.all, kind="lazy")
        if base.kind == "frame" and name not in known.FRAME_CHANGES:
            return self._given_by(base, name, given.all)
        if name in known.STORES and base.kind != "frame":
            return self._stored(base, name, given)
        if name in known.PART:
            return self._taken(base, name, given)
        if name in known.PURE_METHODS or name in known.SAME:
            return self._given_by(base, name, given.all)
        return self._changed_by(base, name, given)

    def _changed_by(self, base: Value, name: str, given: Given) -> Value:
        """Call a method that changes its receiver, or of which nobody knows that it does not."""
        if name in known.TAKES_OUT:
            self.world.change(base.nodes, is_shallow=bool(base.nodes & self.objects.plain))
            return ATOM
        is_deep = name == "set_params"
        self.world.change(self.objects.below(base.nodes) if is_deep else base.nodes)
        if name in known.GIVES_ITSELF:
            return base
        if name in known.FITS:
            return self.fresh(kind="array")
        if base.nodes & self.objects.stuck.keys():
            # A file takes what is written to it as bytes.
            stuck = known.STUCK_METHODS.get(name)
            return self._stuck(stuck, base) if stuck else self.fresh()
        self.objects.hold(base.nodes, all_nodes(given.all))
        if name in known.STUCK_METHODS:
            return self._stuck(known.STUCK_METHODS[name], base)
        return Value(nodes=self.part(base))

    def _stuck(self, why: str, *held: Value) -> Value:
        """Give what no file can hold."""
        result = self.fresh(*held, is_plain=True)
        self.objects.stuck[next(iter(result.nodes))] = why
        return result

    def _given_by(self, base: Value, name: str, values: list[Value]) -> Value:
        """Give the result of a method that changes nothing."""
        if base.kind == "dict" and name in {"keys", "values", "items"}:
            return self._view_of_dict(base, name)
        if name == "items":
            part = Value(nodes=self.part(base))
            return same_objects(
                self.fresh(base), kind="iterator", item=Value(part.nodes, elements=(ATOM, part))
            )
        if name in known.LAZY:
            return self.fresh(base, kind="")
        if name in known.SAME and base.kind != "frame":
            return Value(nodes=base.nodes, kind="array" if base.kind == "array" else "")
        if name in known.ATOM_METHODS and base.kind not in {"frame", "array"}:
            return ATOM
        if name == "copy" and base.kind not in {"frame", "array"}:
            result = self.fresh(kind=base.kind, is_plain=True)
            self.objects.hold(result.nodes, self.objects.known_parts(base.nodes))
            return result
        kind = base.kind if base.kind in {"frame", "array"} else ""
        if kind:
            return self.fresh(kind=kind)
        carries = [value for value in (base, *values) if self.objects.codes_of(value.nodes)]
        return self.fresh(*carries)

    def _view_of_dict(self, base: Value, name: str) -> Value:
        result = self._stuck("a view of a dict", base)
        part = Value(nodes=self.part(base))
        item = {"keys": ATOM, "values": part}.get(name, Value(part.nodes, elements=(ATOM, part)))
        return same_objects(result, item=item)

    def _stored(self, base: Value, name: str, given: Given) -> Value:
        """Call a method that puts its arguments into the receiver."""
        self.world.change(base.nodes, is_shallow=True)
        values = given.all
        key = values[0].text if name in {"setdefault", "__setitem__"} and values else None
        held = all_nodes(values)
        if name in {"extend", "update", "extendleft"}:
            held = frozenset(n for v in values for n in self.objects.known_parts(v.nodes))
            held |= all_nodes(given.keywords.values()) | all_nodes(self._shared(values))
        self.objects.hold(base.nodes, held, key)
        return Value(nodes=self.part(base, key)) if name == "setdefault" else ATOM

    def _shared(self, values: list[Value]) -> list[Value]:
        """What is not known to be a container is held itself: an iterator, an object."""
        return [value for value in values if not value.nodes & self.objects.plain]

    def _taken(self, base: Value, name: str, given: Given) -> Value:
        if name.startswith("pop"):
            self.world.change(base.nodes, is_shallow=bool(base.nodes & self.objects.plain))
        if base.kind == "frame":
            return Value(self.fresh().nodes, kind="frame")
        first = given.positional[0] if given.positional else None
        key = first.text if first is not None and first.kind == "atom" else None
        return Value(nodes=self.part(base, key) | all_nodes(given.positional[1:]))

    def _method_of_atom(self, base: Value, name: str, values: list[Value]) -> Value:
        if base.text is None or base.kind != "atom":
            return ATOM
        if name in _SAME_PATH:
            return Value(kind="atom", text=base.text)
        if name == "joinpath":
            return _path_of([base, *values])
        if name in {"format", "format_map"}:
            return Value(kind="atom", text=base.text)
        if name == "with_suffix" and values and values[0].text is not None:
            return Value(kind="atom", text=base.text.rpartition(".")[0] + values[0].text)
        if name == "with_name" and values and values[0].text is not None:
            return Value(kind="atom", text=f"{base.text.rpartition('/')[0]}/{values[0].text}")
        if name in {"glob", "rglob"}:
            return self.fresh(kind="iterator", is_plain=True)
        if name == "open":
            return self._stuck("an open file")
        return self.fresh(is_plain=True) if name in {"split", "rsplit", "iterdir"} else ATOM

    def _method_state(self, base: Value, name: str, given: Given) -> None:
        is_told = any(n in given.keywords and not _is_none(given.keywords[n]) for n in _SEED_NAMES)
        if name in known.FITS or name in {"split", "transform", "sample_posterior"}:
            for drawn in self.objects.drawn_by(base.nodes):
                self.world.change_state(drawn)
        if name == "sample" and not is_told and base.kind not in {"rng", "atom"}:
            self.world.change_state("<rng:numpy>")
        for key in _SEED_NAMES:
            source = given.keywords.get(key)
            if source is not None and source.nodes:
                self.world.change(source.nodes)

    def set_part(self, base: Value, key: str | None, value: Value) -> None:
        """A part of a value is assigned."""
        if base.library:
            self._set_in_library(base.library)
            return
        self.world.change(base.nodes, is_shallow=base.kind != "array" and key is not None)
        self.objects.hold(base.nodes, value.nodes, key)

    def _set_in_library(self, path: str) -> None:
        for prefix, state in known.STATE_PATHS:
            if path == prefix or path.startswith(f"{prefix}."):
                self.world.change_state(state)
                return
        self.world.change_module(path.partition(".")[0])


def _state_of_path(path: str, tail: str) -> str:
    """Name the state that a method of a library's object changes: ``os.environ.pop``."""
    changes = known.STORES | known.TAKES_OUT | {"pop", "popitem", "setdefault"}
    for prefix, state in known.STATE_PATHS:
        if path.startswith(f"{prefix}.") and tail in changes:
            return state
    return ""


def _is_none(value: Value) -> bool:
    return value.kind == "atom" and value.text is None and not value.library and not value.elements


def _is_not_shuffled(given: Given) -> bool:
    shuffle = given.keywords.get("shuffle")
    return shuffle is not None and shuffle.text == "False"


def _path_of(values: list[Value]) -> Value:
    if not values:
        return Value(kind="atom", text=".")
    texts = [value.text if value.text is not None else "{…}" for value in values]
    path = texts[0]
    for text in texts[1:]:
        path = text if text.startswith("/") else f"{path.rstrip('/')}/{text}"
    return Value(kind="atom", text=path)
