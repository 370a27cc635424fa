"""Bad data in a real session: the user's cell ends as if nobody looked, and no "same" is wrong."""

from __future__ import annotations

import sys
import time

import pytest
from conftest import Kernel

from mlops_nb.store import Store

LOADING = "%load_ext mlops_nb\n%mlops_track --interactive"
SETUP = '''
import threading
import mlops_nb as mn
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

class Anything(BaseEstimator):
    """Fits whatever it is given, without a look at it."""

    def __init__(self, option=None):
        self.option = option

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return [0, 1]

def raises(*args, **kwargs):
    raise RuntimeError("hostile")

def hangs(*args, **kwargs):
    threading.Event().wait()

def exits(*args, **kwargs):
    raise SystemExit("hostile")

PROPERTIES = {"__class__", "__dict__", "__array_interface__", "shape", "dtype", "columns"}
METHODS = (
    "__repr__ __str__ __eq__ __hash__ __reduce__ __reduce_ex__ __getstate__ __len__ __bool__ "
    "__iter__ __getitem__ __contains__ __getattr__ __getattribute__ __array__ __sizeof__ "
    "__copy__ __deepcopy__ __float__ __int__ __index__ __dataframe__ __arrow_c_stream__ "
    "__arrow_c_array__ __array_ufunc__ __array_function__ items keys values item to_numpy"
).split()

def hostile(name, what, base=object):
    body = {name: property(what) if name in PROPERTIES else what}
    if name == "__eq__":
        body["__hash__"] = object.__hash__
    return base.__new__(type("Hostile", (base,), body))

def uses(value):
    """Give a value to all that is looked at."""
    model = Anything().fit(value)
    Anything().fit([value, {"a": value}])
    model.predict(value)
    Anything(option=value).fit([1])
    mn.log_param("value", value)
    with mn.run("by hand") as run:
        run.log_param("value", value)
        model.fit(value)
'''
USE_ALL = """
for name in [*METHODS, *PROPERTIES]:
    for base in (object, list, dict, str, int, float):
        if not (base is not object and name in PROPERTIES):
            held = hostile(name, {what}, base)
            uses(held)
            del held
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    started = Kernel(
        sys.executable, tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    )
    for cell in (LOADING, SETUP):
        assert started.run(cell).error is None
    yield started
    started.close()


def run(kernel, source):
    reply = kernel.run(source)
    assert reply.error is None, reply.error
    assert not reply.stderr
    return reply


def stored(kernel, name):
    with Store.open(kernel.folder / ".mlops") as store:
        store.refresh()
        return next(run for run in store.runs() if run.name == name)


@pytest.mark.parametrize("what", ["raises", "hangs", "exits"])
def test_no_method_of_an_object_given_to_a_fit_is_run(kernel, what):
    run(kernel, USE_ALL.format(what=what))
    assert run(kernel, "1 + 1").result == "2"


LIARS = {
    "equal to all": "class Liar:\n    def __init__(self, x): self.x = x\n"
    "    __eq__ = lambda a, b: True\n    __hash__ = lambda a: 1",
    "an array of zeros": "class Liar:\n    def __init__(self, x): self.x = x\n"
    "    __array__ = lambda self, *a, **k: np.zeros(3)\n    shape = (3,)",
    "pickled as nothing": "class Liar:\n    def __init__(self, x): self.x = x\n"
    "    __reduce__ = lambda self: (list, ())",
    "a list without items": "class Liar(list):\n    def __init__(self, x): self.append(x)\n"
    "    __len__ = lambda self: 0\n    __iter__ = lambda self: iter(())",
    "another class": "class Liar:\n    def __init__(self, x): self.x = x\n"
    "    __class__ = property(lambda self: list)",
    "a frame of other values": "class Liar(pd.DataFrame):\n"
    "    def __init__(self, x): super().__init__({'a': [x]})\n"
    "    to_numpy = lambda self, *a, **k: np.zeros((1, 1))\n"
    "    __eq__ = lambda a, b: True\n    __len__ = lambda self: 7",
    "written the same": "class Liar:\n    def __init__(self, x): self.x = x\n"
    "    __repr__ = __str__ = lambda self: 'Liar()'",
}


@pytest.mark.parametrize("liar", list(LIARS))
def test_objects_that_lie_are_never_said_to_be_the_same(kernel, liar):
    run(kernel, LIARS[liar])
    for number in (1, 2):
        run(
            kernel,
            f"data = Liar({number})\nwith mn.run('liar {number}'):\n    _ = Anything().fit(data)",
        )
    bundle = run(kernel, "%mlops_diff 'liar 1' 'liar 2'").bundles("execute_result")[0]
    document = bundle["application/vnd.mlops-nb.diff.v1+json"]
    assert document["same"]["data"]["kind"] != "same"
    uses = [stored(kernel, f"liar {number}").data[0] for number in (1, 2)]
    assert not uses[0].digest or uses[0].digest != uses[1].digest


def test_containers_that_hold_themselves_are_data_like_others(kernel):
    run(
        kernel,
        """
knot = [1]; knot.append(knot)
loop = {}; loop["self"] = loop
pair = ([], []); pair[0].append(pair[1]); pair[1].append(pair[0])
deep = []
for _ in range(100_000):
    deep = [deep]
cells = np.empty(1, dtype=object); cells[0] = cells
frame = pd.DataFrame({"a": [0]}, dtype=object); frame.iloc[0, 0] = frame
for value in (knot, loop, pair, deep, cells, frame):
    with mn.run("knots") as run:
        _ = Anything(option=value).fit(value)
        run.log_param("value", value)
""",
    )
    assert stored(kernel, "knots").data
    run(kernel, "del deep, frame, cells")


def test_a_file_deleted_or_rewritten_while_it_is_read_is_not_exact(kernel):
    run(
        kernel,
        """
from pathlib import Path
for name in ("deleted.csv", "rewritten.csv", "replaced.csv"):
    Path(name).write_text("a,b\\n" + "1,2\\n" * 50_000)
""",
    )
    run(
        kernel,
        """
with open("deleted.csv") as gone, open("rewritten.csv") as changed, open("replaced.csv") as moved:
    heads = gone.read(1000), changed.read(1000), moved.read(1000)
    Path("deleted.csv").unlink()
    Path("rewritten.csv").write_text("a,b\\n" + "3,4\\n" * 50_000)
    Path("other.csv").write_text("a,b\\n" + "5,6\\n" * 50_000)
    Path("other.csv").replace("replaced.csv")
    tails = gone.read(), changed.read(), moved.read()
with mn.run("torn"):
    _ = Anything().fit(pd.DataFrame({"n": [len(tail) for tail in tails]}))
""",
    )
    run(kernel, "mn.log_metric('x', 1)")
    end = time.monotonic() + 30
    wanted = {"deleted.csv", "rewritten.csv", "replaced.csv"}
    with Store.open(kernel.folder / ".mlops") as store:
        while True:
            store.refresh()
            run_ = next(r for r in store.runs() if r.name == "torn")
            (execution,) = store.executions(run_.body)
            reads = {u.uri.rpartition("/")[2]: u for u in execution.files if u.mode == "r"}
            if wanted <= reads.keys():
                break
            assert time.monotonic() < end, reads
            time.sleep(0.1)
    assert not any(reads[name].digest and reads[name].assurance == "exact" for name in wanted)
