# ruff: noqa: S102  # cells are run
"""Functions and classes of a notebook in other processes: theirs by code, the reader's by name."""

from __future__ import annotations

import inspect
import linecache
import pickle
import subprocess
import sys
import textwrap
import traceback

import pytest

from mlops_nb.errors.values import CannotStore, CorruptValue
from mlops_nb.packaging import digest_of, pack, unpack


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "config" / "config.toml"))
    monkeypatch.delenv("MLOPS_NB_TEAM_KEY", raising=False)


class Notebook:
    """A namespace as a kernel has it, and cells with their text."""

    cells = 0

    def __init__(self, source=""):
        self.namespace = {"__name__": "__main__"}
        self.run(source)

    def run(self, source):
        type(self).cells += 1
        filename = f"<ipython-input-{self.cells}-{id(self)}>"
        source = textwrap.dedent(source).lstrip("\n")
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec", dont_inherit=True), self.namespace)
        return self

    def __getitem__(self, name):
        return self.namespace[name]

    def give(self, folder, *names, to, **options):
        """Pack names as one unit here, and unpack them there."""
        unit = pack(
            {name: self[name] for name in names}, folder, namespace=self.namespace, **options
        )
        to.namespace.update(unpack(unit, folder, namespace=to.namespace))
        return to


def given(tmp_path, source, *names, reader=""):
    return Notebook(source).give(tmp_path / "unit", *names, to=Notebook(reader))


def test_a_function_sees_the_globals_of_who_reads_it(tmp_path):
    reader = given(tmp_path, "K = 1\ndef f(): return K", "f", reader="K = 5")
    assert reader["f"]() == 5
    reader.run("K = 6")
    assert reader["f"]() == 6
    assert reader["f"].__globals__ is reader.namespace


def test_a_function_can_bind_globals_of_the_reader(tmp_path):
    reader = given(
        tmp_path, "n = 0\ndef tick():\n    global n\n    n += 1", "tick", reader="n = 7"
    )
    reader["tick"]()
    assert reader["n"] == 8


def test_the_globals_of_the_writer_do_not_travel_along(tmp_path):
    reader = given(tmp_path, "secret = 'x' * 10\ndef f(): return secret", "f")
    assert "secret" not in reader.namespace
    with pytest.raises(NameError):
        reader["f"]()


def test_closures_that_share_a_variable_still_share_it(tmp_path):
    source = """
    def counter():
        n = 0
        def tick():
            nonlocal n
            n += 1
        def count():
            return n
        return tick, count
    tick, count = counter()
    tick()
    """
    reader = given(tmp_path, source, "tick", "count")
    reader["tick"]()
    assert reader["count"]() == 2


def test_functions_that_call_themselves_and_each_other_come_back(tmp_path):
    source = """
    def outer():
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        return even
    even = outer()
    def fact(n): return 1 if n < 2 else n * fact(n - 1)
    """
    reader = given(tmp_path, source, "even", "fact")
    assert reader["even"](10)
    assert reader["fact"](5) == 120


def test_lambdas_partials_decorators_and_bound_methods_come_back(tmp_path):
    source = """
    import functools
    def noisy(f):
        @functools.wraps(f)
        def inner(*args): return ("noisy", f(*args))
        inner.mark = [1]
        return inner
    @noisy
    def double(x): return 2 * x
    class Scale:
        def __init__(self, by): self.by = by
        def up(self, x): return x * self.by
    tools = {"double": double, "triple": lambda x: 3 * x, "seven": functools.partial(double, 7), "up": Scale(4).up}
    """
    reader = given(tmp_path, source, "tools")
    tools = reader["tools"]
    assert tools["double"](2) == ("noisy", 4)
    assert tools["double"].mark == [1]
    assert tools["double"].__name__ == "double"
    assert tools["triple"](2) == 6
    assert tools["seven"]() == ("noisy", 14)
    assert tools["up"](2) == 8


def test_a_function_keeps_defaults_annotations_and_text(tmp_path):
    source = '''
    # A comment above.
    def f(a: int, *, b: list = [1]) -> str:
        """Say something."""
        raise ValueError(a)
    '''
    writer = Notebook(source)
    filename = writer["f"].__code__.co_filename
    unit = pack({"g": [writer["f"]]}, tmp_path, namespace=writer.namespace)
    del linecache.cache[filename]
    found = unpack(unit, tmp_path, namespace=Notebook().namespace)["g"][0]
    assert found.__annotations__ == {"a": int, "b": list, "return": str}
    assert found.__kwdefaults__ == {"b": [1]}
    assert inspect.getsource(found).startswith("def f(a: int")
    with pytest.raises(ValueError, match="3") as caught:
        found(3)
    assert "raise ValueError(a)" in "".join(traceback.format_exception(caught.value))


def test_a_secret_in_the_text_of_a_function_is_not_written(tmp_path):
    source = (
        'def f():\n    password = "correct-horse-battery"  # never\n    return len(password)\n'
    )
    writer = Notebook(source)
    pack({"g": [writer["f"]]}, tmp_path, namespace=writer.namespace)
    written = (tmp_path / "value.pickle").read_bytes()
    assert b'"correct-horse-battery"  # never' not in written


CLASSES = """
import abc, dataclasses, enum

class Base:
    count = 0
    def name(self): return "base of " + OWNER

class Model(Base):
    def __init__(self): super().__init__(); self.x = 1
    def name(self): return super().name() + "!"
    @property
    def double(self): return 2 * self.x
    @classmethod
    def made(cls): return cls()
    @staticmethod
    def fixed(): return OWNER
    class Inner:
        y = 2

class Colour(enum.Enum):
    RED = 1
    BLUE = "b"

@dataclasses.dataclass(order=True)
class Row:
    a: int
    b: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    at: float

class Tag(type):
    def __new__(mcs, name, bases, content): return super().__new__(mcs, name, bases, {**content, "tag": name})

class Tagged(metaclass=Tag): pass

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Square(Shape):
    __slots__ = ("side",)
    def __init__(self, side): self.side = side
    def area(self): return self.side ** 2

box = [Model(), Colour.RED, Row(1, [2]), Cut(0.5), Tagged(), Square(3), Model.Inner()]
"""


def test_instances_of_classes_of_the_notebook_come_back(tmp_path):
    reader = given(tmp_path, CLASSES, "box", reader="OWNER = 'ann'")
    model, colour, row, cut, tagged, square, inner = reader["box"]
    assert model.name() == "base of ann!"
    assert (model.double, type(model).made().x, model.fixed()) == (2, 1, "ann")
    assert colour is type(colour)("b").__class__.RED
    assert row == type(row)(1, [2])
    assert row < type(row)(2, [])
    assert (cut.at, hash(cut)) == (0.5, hash(type(cut)(0.5)))
    assert tagged.tag == "Tagged"
    assert square.area() == 9
    with pytest.raises(TypeError, match="abstract"):
        type(square).__mro__[1]()
    assert inner.y == 2


def test_classes_with_slots_cached_properties_and_fields_stay_what_they_are(tmp_path):
    source = """
    import functools, typing
    class Slotted:
        __slots__ = ("a",)
    class Cached:
        calls = 0
        @functools.cached_property
        def value(self):
            type(self).calls += 1
            return [1]
    class Pair(typing.NamedTuple):
        x: int
        y: list
    @functools.singledispatch
    def kind(value): return "any"
    @kind.register
    def _(value: int): return "int"
    @kind.register
    def _(value: Pair): return "pair"
    slotted = Slotted(); slotted.a = 1
    cached = Cached(); cached.value
    box = [slotted, cached, Pair(1, [2]), kind, Cached()]
    """
    slotted, cached, pair, kind, fresh = given(tmp_path, source, "box")["box"]
    with pytest.raises(AttributeError):
        slotted.b = 1
    assert (slotted.a, cached.value, type(cached).calls) == (1, [1], 1)
    assert (fresh.value, type(cached).calls) == ([1], 2)
    assert (pair.y, pair._replace(x=3).x) == ([2], 3)
    assert [kind(1), kind("a"), kind(pair)] == ["int", "any", "pair"]


def test_a_class_is_the_readers_own_where_it_stands_in_its_notebook(tmp_path):
    reader = given(tmp_path, CLASSES, "box", reader=CLASSES)
    model, colour, row, cut, *_ = reader["box"]
    assert type(model) is reader["Model"]
    assert colour is reader["Colour"].RED
    assert isinstance(row, reader["Row"])
    assert cut == reader["Cut"](0.5)


def test_a_class_of_other_code_is_not_mistaken_for_the_readers(tmp_path):
    reader = given(
        tmp_path, CLASSES, "box", reader="class Model:\n    def name(self): return 'mine'"
    )
    assert type(reader["box"][0]) is not reader["Model"]


def test_a_class_is_one_class_in_all_units_of_a_process(tmp_path):
    writer, reader = Notebook(CLASSES), Notebook()
    writer.run("first, second = Model(), Model()")
    for name in ("first", "Model", "second"):
        writer.give(tmp_path / name, name, to=reader)
    assert type(reader["first"]) is type(reader["second"]) is reader["Model"]


def test_data_of_a_class_travels_with_the_class_only(tmp_path):
    writer = Notebook(CLASSES).run("model = Model(); Base.count = 5")
    reader = writer.give(tmp_path / "1", "model", to=Notebook(CLASSES))
    assert reader["Base"].count == 0
    had = reader["Base"]
    writer.give(tmp_path / "2", "Base", to=reader)
    assert reader["Base"] is had
    assert had.count == 5


def test_a_plain_function_is_the_readers_own_where_it_stands_there(tmp_path):
    source = "def f(x): return x + 1"
    reader = Notebook(source)
    mine = reader["f"]
    writer = Notebook("# moved down\n\n" + source).run("g = [f]")
    writer.give(tmp_path, "g", to=reader, definitions=["f"])
    assert reader["g"][0] is mine


def test_a_function_with_a_list_as_default_brings_what_it_has_gathered(tmp_path):
    source = "def add(x, seen=[]):\n    seen.append(x)\n    return seen"
    writer = Notebook(source)
    writer["add"](1)
    reader = writer.give(tmp_path, "add", to=Notebook(source))
    assert reader["add"](2) == [1, 2]


def test_a_cached_function_with_results_is_refused(tmp_path):
    writer = Notebook("import functools\n@functools.lru_cache\ndef f(x): return [x]")
    reader = writer.give(tmp_path / "1", "f", to=Notebook())
    assert reader["f"](1) == [1]
    writer["f"](1)
    with pytest.raises(CannotStore, match="results of earlier calls"):
        writer.give(tmp_path / "2", "f", to=Notebook())


def test_a_view_of_a_dict_still_follows_it(tmp_path):
    reader = given(
        tmp_path, "d = {1: 2}\nkeys, values = d.keys(), d.values()", "d", "keys", "values"
    )
    reader["d"][5] = 6
    assert list(reader["keys"]) == [1, 5]
    assert list(reader["values"]) == [2, 6]


def test_the_namespace_itself_is_the_readers(tmp_path):
    writer = Notebook("ns = globals()\nbig = [0] * 10\nbox = {'ns': ns, 'f': lambda: ns['K']}")
    unit = pack({"box": writer["box"]}, tmp_path, namespace=writer.namespace)
    reader = Notebook("K = 9")
    box = unpack(unit, tmp_path, namespace=reader.namespace)["box"]
    assert box["ns"] is reader.namespace
    reader.namespace["ns"] = box["ns"]
    assert box["f"]() == 9
    assert "big" not in reader.namespace


def test_what_each_process_has_of_its_own_is_the_readers(tmp_path, capsys):
    source = """
    import random, sys
    import numpy as np
    box = [sys.stdout, np.random.mtrand._rand, random._inst]
    """
    import random

    import numpy as np

    reader = given(tmp_path, source, "box")
    assert reader["box"][0] is sys.stdout
    assert reader["box"][1] is np.random.mtrand._rand
    assert reader["box"][2] is random._inst


def test_a_reader_without_a_name_that_a_pickle_asks_for_says_so(tmp_path):
    from mlops_nb.packaging.building import Unpickler

    data = pickle.dumps(Unpickler, protocol=5).replace(b"mlops_nb.packaging.building", b"__main__")
    data = b"\x80\x05c__main__\nmissing\n."
    import io

    with pytest.raises(pickle.UnpicklingError, match="the notebook has no missing here"):
        Unpickler(io.BytesIO(data), {}, []).load()


def test_a_unit_is_read_in_another_process(tmp_path):
    writer = Notebook(CLASSES)
    unit = pack({"box": writer["box"]}, tmp_path, namespace=writer.namespace)
    from mlops_nb.packaging import packed_document

    code = f"""
import json
from pathlib import Path
from mlops_nb.packaging import packed_from_document, unpack
unit = packed_from_document(json.loads({__import__("json").dumps(packed_document(unit))!r}))
OWNER = "bob"
box = unpack(unit, Path({str(tmp_path)!r}), namespace=globals())["box"]
print(box[0].name(), box[1], box[2], box[5].area())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split("\n")[0] == "base of bob! Colour.RED Row(a=1, b=[2]) 9", done.stderr


# --- digests ----------------------------------------------------------------------------------


def digest(source, name="f"):
    notebook = Notebook(source)
    return digest_of(notebook[name], namespace=notebook.namespace)


def test_a_comment_changes_no_digest_of_code():
    one = digest("def f(x):\n    return x + 1")
    other = digest("# why\n\n\ndef f(x):\n\n    # here\n    return x + 1  # so")
    assert one == other
    assert one.assurance == "exact"


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param("def f(x, y=[1]):\n    return x + 2", id="constant"),
        pytest.param("def f(x, y=[2]):\n    return x + 1", id="default"),
        pytest.param("def f(x, y=[1]):\n    return (lambda: x + 1)()", id="inner code"),
        pytest.param("def f(x, y=[1]):\n    return x + 1\nf.mark = 1", id="attribute"),
    ],
)
def test_a_change_of_code_changes_its_digest(changed):
    assert digest(changed) != digest("def f(x, y=[1]):\n    return x + 1")


def test_what_a_closure_holds_counts():
    source = "def make(n):\n    def f(): return n\n    return f\nf = make({})"
    assert digest(source.format("[1]")) != digest(source.format("[2]"))


def test_digests_of_opaque_values_are_those_of_another_process(tmp_path):
    source = (
        CLASSES
        + "\nOWNER = 'x'\ns = {'a', 'b', 'c', 'd', 1}\nbox.append(s); box.append(lambda: s)\n"
    )
    mine = digest(source, "box")
    (tmp_path / "cell.py").write_text(source)
    code = f"""
from mlops_nb.packaging import digest_of
ns = {{"__name__": "__main__"}}
exec(compile(open({str(tmp_path / "cell.py")!r}).read(), "cell", "exec"), ns)
print(digest_of(ns["box"], namespace=ns).text)
"""
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip() == mine.text, done.stderr


def test_a_damaged_pickle_is_corrupt_and_not_half_loaded(tmp_path):
    from dataclasses import replace

    from mlops_nb.packaging import sign

    writer = Notebook(CLASSES)
    unit = pack({"box": writer["box"]}, tmp_path, namespace=writer.namespace)
    path = tmp_path / "value.pickle"
    data = path.read_bytes()[:-20]
    path.write_bytes(data)
    import hashlib

    file = replace(
        unit.files[0], digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size_bytes=len(data)
    )
    with pytest.raises(CorruptValue, match="cannot be loaded"):
        unpack(sign(replace(unit, files=(file,))), tmp_path, namespace={})
