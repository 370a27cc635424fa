"""Small notebooks that are easy to split wrongly.

A line ``#[TAG …]`` begins a cell with these tags, as ``#[step:load prev:read]``; ``#[]`` one
without. What counts is the value of ``result`` at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_MARK = re.compile(r"^#\[([^\]\n]*)\]$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One notebook: `params` as given with ``-p``; `files` lie beside it."""

    text: str
    params: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    fused: bool = False
    refused: str = ""

    @property
    def cells(self) -> list[tuple[list[str], str]]:
        """Tags and source of each cell."""
        parts = _MARK.split(self.text.strip())
        return [
            (tags.split(), source.strip("\n"))
            for tags, source in zip(parts[1::2], parts[2::2], strict=True)
        ]


FLOW = {
    "values flow from step to step": Case("""
#[step:load]
numbers = [3, 1, 2]
#[step:sort]
ordered = sorted(numbers)
#[step:total]
result = [ordered, sum(numbers)]
"""),
    "a value skips a step": Case("""
#[step:first]
a = {"x": 1}
#[step:second]
b = 2
#[step:third]
result = (a, b)
"""),
    "a name is bound twice": Case("""
#[step:first]
x = 1
#[step:second]
y = x + 1
x = 10
#[step:third]
z = x + y
#[step:fourth]
x = 5
#[step:fifth]
result = [x, y, z]
"""),
    "branches that only read": Case("""
#[step:load]
import pandas as pd
frame = pd.DataFrame({"a": [1, 2, 3], "b": [4.0, 5.0, 6.0]})
#[step:left prev:load]
low = frame.a.min()
#[step:right prev:load]
high = frame.b.max()
#[step:join prev:left prev:right]
result = [int(low), float(high)]
"""),
    "a step of several cells": Case("""
#[step:load]
a = 1
#[]
b = a + 1
#[step:]
c = b + 1
#[step:end]
result = [a, b, c]
"""),
    "cells of one step apart": Case("""
#[step:load]
a = [1]
#[step:other]
b = [2]
#[step:load]
c = [3]
#[step:end]
result = a + b + c
"""),
    "untagged first cells run everywhere": Case("""
#[]
import math
base = 2
#[]
def power(n):
    return base ** n
#[step:one]
a = power(3)
#[step:two]
result = a + power(math.floor(1.5))
"""),
    "imports of an earlier step": Case("""
#[step:one]
import json
from collections import OrderedDict as Ordered
text = json.dumps([1])
#[step:two]
result = [json.loads(text), list(Ordered(a=1).items())]
"""),
    "tags of others": Case("""
#[step:one nbval-ignore-output hide-input remove-cell slideshow]
a = 1
#[skip]
a = 100
#[step:two raises-exception2 collapsed]
result = a
"""),
    "tags as Kale has them": Case(
        """
#[imports]
import math
#[functions]
def half(x):
    return x / 2
#[pipeline-parameters]
size = 10
#[block:load]
values = list(range(size))
#[block:halve prev:load]
halves = [half(v) for v in values]
#[block:end prev:halve]
result = math.fsum(halves)
""",
        params={"size": 4},
    ),
    "names of loops and comprehensions": Case("""
#[step:one]
x = 10
squares = [x * x for x in range(3)]
for i in range(4):
    pass
#[step:two]
result = [x, i, squares]
"""),
    "a name bound on one branch only": Case("""
#[step:one]
flag = False
x = 1
#[step:two]
if flag:
    x = 2
y = x
#[step:three]
result = [x, y]
"""),
    "a walrus and an unpacking": Case("""
#[step:one]
if (n := len([1, 2, 3])) > 2:
    first, *rest = range(n)
#[step:two]
result = [n, first, rest]
"""),
    "a name is deleted": Case("""
#[step:one]
x = 1
y = 2
#[step:two]
del x
#[step:three]
try:
    found = x
except NameError:
    found = "gone"
result = [found, y]
"""),
    "a deleted name shows a builtin": Case("""
#[step:one]
max = min
#[step:two]
del max
#[step:three]
result = max([1, 5])
"""),
    "names beyond ASCII": Case("""
#[step:eins]
größe = 3
#[step:zwei]
result = größe * 2
"""),
    "type annotations and conditional imports": Case("""
#[step:one]
try:
    import not_there_at_all as fast
except ImportError:
    import json as fast
count: int = 3
#[step:two]
result = [fast.dumps([1]), count]
"""),
    "an error that is caught": Case("""
#[step:one]
trace = []
try:
    trace.append("before")
    raise ValueError("no")
except ValueError as error:
    message = str(error)
#[step:two]
result = [trace, message]
"""),
}

MUTATION = {
    "a list grows in a later step": Case("""
#[step:one]
rows = [1]
#[step:two]
rows.append(2)
#[step:three]
result = rows
"""),
    "a function changes its argument": Case("""
#[step:one]
def add(values):
    values.append(len(values))
rows = []
#[step:two]
add(rows)
#[step:three]
add(rows)
#[step:four]
result = rows
"""),
    "two names of one list": Case("""
#[step:one]
a = [1]
b = a
#[step:two]
a.append(2)
#[step:three]
result = [a, b, a is b]
"""),
    "the second name comes in a later step": Case("""
#[step:one]
a = [1]
#[step:two]
b = a
#[step:three]
b.append(2)
#[step:four]
a.append(3)
#[step:five]
result = [a, b, a is b]
"""),
    "augmented assignment changes the list in place": Case("""
#[step:one]
a = [1]
b = a
#[step:two]
b += [2]
#[step:three]
result = [a, b]
"""),
    "a list inside of a tuple and a dict": Case("""
#[step:one]
inner = [0]
box = {"inner": (inner, 1)}
#[step:two]
box["inner"][0].append(5)
#[step:three]
result = [inner, box]
"""),
    "a view of an array": Case("""
#[step:one]
import numpy as np
whole = np.arange(6)
part = whole[2:4]
#[step:two]
part[:] = 0
#[step:three]
result = whole.tolist() + part.tolist()
"""),
    "the view is made in a later step": Case("""
#[step:one]
import numpy as np
whole = np.zeros(4)
#[step:two]
part = whole.reshape(2, 2)
#[step:three]
part[0, 0] = 7
#[step:four]
result = whole.tolist()
"""),
    "an array shuffled in place": Case("""
#[step:one]
import random
values = list(range(10))
#[step:two]
random.Random(3).shuffle(values)
#[step:three]
result = values
"""),
    "two names of one frame": Case("""
#[step:one]
import pandas as pd
frame = pd.DataFrame({"a": [1, 2]})
same = frame
#[step:two]
same["b"] = [3, 4]
#[step:three]
result = frame.to_dict("list")
"""),
    "a selection is a copy": Case("""
#[step:one]
import pandas as pd
frame = pd.DataFrame({"a": [1, 2, 3]})
few = frame[frame.a > 1].copy()
#[step:two]
few["a"] = 0
#[step:three]
result = [frame.a.tolist(), few.a.tolist()]
"""),
    "branches that change one frame": Case("""
#[step:load]
import pandas as pd
frame = pd.DataFrame({"a": [1, 2]})
#[step:left prev:load]
frame["left"] = frame.a * 2
#[step:right prev:load]
frame["right"] = frame.a * 3
#[step:join prev:left prev:right]
result = [list(frame.columns), frame.to_numpy().tolist()]
"""),
    "a frame is changed by method": Case("""
#[step:load]
import pandas as pd
frame = pd.DataFrame({"a": [2, 1], "b": [0, 0]})
#[step:drop]
frame.drop(columns="b", inplace=True)
#[step:sort]
frame.sort_values("a", inplace=True)
#[step:end]
result = frame.to_dict("list")
"""),
    "an attribute of an object": Case("""
#[step:one]
class Counter:
    total = 0
counter = Counter()
#[step:two]
counter.total += 3
#[step:three]
counter.total += 4
#[step:four]
result = [counter.total, Counter.total]
"""),
    "a method bound to a list": Case("""
#[step:one]
rows = []
push = rows.append
#[step:two]
push(1)
#[step:three]
push(2)
#[step:four]
result = rows
"""),
    "a partial holds a list": Case("""
#[step:one]
from functools import partial
def put(target, value):
    target.append(value)
    return len(target)
store = []
put_in_store = partial(put, store)
#[step:two]
put_in_store(5)
#[step:three]
result = store
"""),
    "a default argument accumulates": Case("""
#[step:one]
def collect(value, seen=[]):
    seen.append(value)
    return list(seen)
#[step:two]
first = collect(1)
#[step:three]
second = collect(2)
#[step:four]
result = [first, second]
"""),
    "a function counts its calls": Case("""
#[step:one]
def called():
    called.count += 1
called.count = 0
#[step:two]
called()
#[step:three]
called()
#[step:four]
result = called.count
"""),
    "an attribute of a class": Case("""
#[step:one]
class Registry:
    names = []
    @classmethod
    def add(cls, name):
        cls.names.append(name)
#[step:two]
Registry.add("a")
#[step:three]
Registry.add("b")
#[step:four]
result = Registry.names
"""),
    "a list of the first cells": Case("""
#[]
log = []
#[step:one]
log.append(1)
#[step:two]
log.append(2)
#[step:three]
result = log
"""),
    "a default dict with a lambda": Case("""
#[step:one]
from collections import defaultdict, deque
counts = defaultdict(lambda: [0])
last = deque(maxlen=2)
#[step:two]
for letter in "abca":
    counts[letter][0] += 1
    last.append(letter)
#[step:three]
result = [dict(counts), list(last), counts["new"]]
"""),
    "an item of a loop": Case("""
#[step:one]
rows = [{"n": 1}, {"n": 2}]
#[step:two]
for row in rows:
    row["n"] *= 10
last = row
#[step:three]
last["n"] = 0
#[step:four]
result = rows
"""),
    "del of an item and setitem by operator": Case("""
#[step:one]
import operator
d = {"a": 1, "b": 2}
#[step:two]
del d["a"]
operator.setitem(d, "c", 3)
#[step:three]
result = d
"""),
    "a library changes its argument": Case("""
#[step:one]
import heapq
import bisect
heap = [5, 3, 8]
ordered = [1, 4]
#[step:two]
heapq.heapify(heap)
bisect.insort(ordered, 2)
#[step:three]
result = [heap, ordered]
"""),
    "out= of NumPy": Case("""
#[step:one]
import numpy as np
a = np.ones(3)
target = np.zeros(3)
#[step:two]
np.add(a, 1, out=target)
#[step:three]
result = target.tolist()
"""),
    "setdefault gives what it holds": Case("""
#[step:one]
groups = {}
first = groups.setdefault("a", [])
#[step:two]
first.append(1)
#[step:three]
result = groups
"""),
    "a model refitted later": Case("""
#[step:load]
from sklearn.linear_model import LinearRegression
X = [[0.0], [1.0], [2.0]]
model = LinearRegression()
#[step:first]
model.fit(X, [0.0, 1.0, 2.0])
before = model.predict([[3.0]]).tolist()
#[step:second]
model.fit(X, [0.0, 2.0, 4.0])
#[step:end]
result = [before, model.predict([[3.0]]).tolist()]
"""),
    "fit gives the model itself": Case("""
#[step:load]
from sklearn.preprocessing import StandardScaler
rows = [[0.0], [2.0]]
scaler = StandardScaler()
fitted = scaler.fit(rows)
#[step:change]
scaler.set_params(with_mean=False)
scaler.mean_[:] = 7.0
#[step:end]
result = [fitted is scaler, fitted.mean_.tolist(), fitted.get_params()]
"""),
    "partial_fit goes on": Case("""
#[step:load]
import numpy as np
from sklearn.linear_model import SGDClassifier
X = np.array([[0.0], [1.0], [2.0], [3.0]])
y = np.array([0, 0, 1, 1])
model = SGDClassifier(random_state=0)
#[step:one]
model.partial_fit(X, y, classes=[0, 1])
#[step:two]
model.partial_fit(X, y)
#[step:end]
result = model.coef_.tolist() + [model.t_]
"""),
}

FUNCTIONS = {
    "a function of an earlier step": Case("""
#[step:one]
factor = 3
def times(x):
    return x * factor
#[step:two]
result = times(2)
"""),
    "a global is bound anew between definition and call": Case("""
#[step:one]
factor = 3
def times(x):
    return x * factor
#[step:two]
factor = 10
#[step:three]
result = times(2)
"""),
    "a global is bound after the definition": Case("""
#[step:one]
def times(x):
    return x * later
#[step:two]
later = 4
#[step:three]
result = times(2)
"""),
    "a function binds a global": Case("""
#[step:one]
count = 0
def step():
    global count
    count += 1
#[step:two]
step()
#[step:three]
step()
#[step:four]
result = count
"""),
    "a function binds a new global": Case("""
#[step:one]
def configure():
    global settings
    settings = {"a": 1}
#[step:two]
configure()
#[step:three]
result = settings
"""),
    "a function that calls another, defined later": Case("""
#[step:one]
def outer(x):
    return inner(x) + 1
#[step:two]
def inner(x):
    return x * 2
#[step:three]
a = outer(3)
#[step:four]
def inner(x):
    return x * 100
#[step:five]
result = [a, outer(3)]
"""),
    "mutual recursion": Case("""
#[step:one]
def even(n):
    return True if n == 0 else odd(n - 1)
def odd(n):
    return False if n == 0 else even(n - 1)
#[step:two]
result = [even(10), odd(7)]
"""),
    "a closure keeps state": Case("""
#[step:one]
def make():
    n = 0
    def count():
        nonlocal n
        n += 1
        return n
    return count
count = make()
#[step:two]
a = count()
#[step:three]
result = [a, count()]
"""),
    "two closures share state": Case("""
#[step:one]
def make():
    state = []
    return state.append, lambda: list(state)
put, get = make()
#[step:two]
put(1)
#[step:three]
put(2)
#[step:four]
result = get()
"""),
    "a decorator registers": Case("""
#[step:one]
registry = {}
def register(function):
    registry[function.__name__] = function
    return function
#[step:two]
@register
def double(x):
    return x * 2
#[step:three]
@register
def triple(x):
    return x * 3
#[step:four]
result = [sorted(registry), registry["double"](2), registry["double"] is double]
"""),
    "a decorator wraps": Case("""
#[step:one]
import functools
calls = []
def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        calls.append(function.__name__)
        return function(*args)
    return wrapper
#[step:two]
@logged
def add(a, b):
    return a + b
#[step:three]
total = add(1, 2)
#[step:four]
result = [total, calls]
"""),
    "lambdas in a dict use globals": Case("""
#[step:one]
scale = 2
handlers = {"up": lambda x: x * scale, "down": lambda x: x / scale}
#[step:two]
scale = 10
#[step:three]
result = [handlers["up"](1), handlers["down"](5)]
"""),
    "lambdas of a loop": Case("""
#[step:one]
late = [lambda: i for i in range(3)]
early = [lambda i=i: i for i in range(3)]
#[step:two]
result = [[f() for f in late], [f() for f in early]]
"""),
    "a class uses globals": Case("""
#[step:one]
rate = 2
class Price:
    def __init__(self, value):
        self.value = value
    def total(self):
        return self.value * rate
price = Price(3)
#[step:two]
rate = 5
#[step:three]
result = [price.total(), Price(1).total(), isinstance(price, Price)]
"""),
    "inheritance across steps": Case("""
#[step:one]
class Base:
    def name(self):
        return "base"
#[step:two]
class Derived(Base):
    def name(self):
        return "derived of " + super().name()
thing = Derived()
#[step:three]
result = [thing.name(), isinstance(thing, Base), type(thing) is Derived, Derived.__mro__[1] is Base]
"""),
    "dataclasses, enums, named tuples": Case("""
#[step:one]
from collections import namedtuple
from dataclasses import dataclass, field
from enum import Enum
@dataclass
class Item:
    name: str
    tags: list = field(default_factory=list)
class Color(Enum):
    RED = 1
    BLUE = 2
Point = namedtuple("Point", "x y")
#[step:two]
item = Item("a", ["t"])
color = Color.RED
point = Point(1, 2)
#[step:three]
result = [
    item == Item("a", ["t"]), color is Color.RED, Color(2).name, point == Point(1, 2), point.x,
    type(point) is Point, isinstance(item, Item),
]
"""),
    "properties, static and class methods": Case("""
#[step:one]
class Box:
    made = 0
    def __init__(self):
        Box.made += 1
    @property
    def count(self):
        return Box.made
    @staticmethod
    def twice(x):
        return 2 * x
    @classmethod
    def new(cls):
        return cls()
#[step:two]
a = Box.new()
#[step:three]
b = Box()
#[step:four]
result = [a.count, b.count, Box.twice(3), Box.made]
"""),
    "a cached function": Case("""
#[step:one]
from functools import lru_cache
@lru_cache(maxsize=None)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
#[step:two]
result = fibonacci(30)
"""),
    "a function of the notebook in a pipeline of scikit-learn": Case("""
#[step:one]
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
shift = 1.0
def moved(values):
    return values + shift
pipe = make_pipeline(FunctionTransformer(moved), StandardScaler())
#[step:two]
pipe.fit(np.array([[0.0], [2.0]]))
#[step:three]
shift = 3.0
#[step:four]
result = pipe.transform(np.array([[1.0]])).tolist()
"""),
    "a metaclass and __slots__": Case("""
#[step:one]
class Named(type):
    def __new__(mcls, name, bases, members):
        members["label"] = name.lower()
        return super().__new__(mcls, name, bases, members)
class Thing(metaclass=Named):
    __slots__ = ("x",)
thing = Thing()
thing.x = 4
#[step:two]
result = [thing.label, thing.x, type(type(thing)).__name__]
"""),
    "the source of a function": Case("""
#[step:one]
def documented(x):
    # a remark
    return x
#[step:two]
import inspect
result = [inspect.getsource(documented), documented.__name__]
"""),
}

STATE = {
    "NumPy's generator goes on": Case("""
#[]
import numpy as np
np.random.seed(7)
#[step:one]
a = np.random.rand(3)
#[step:two]
b = np.random.rand(2)
#[step:three]
result = a.tolist() + b.tolist() + [np.random.rand()]
"""),
    "Python's generator goes on": Case("""
#[step:one]
import random
random.seed(1)
#[step:two]
a = random.random()
#[step:three]
b = random.gauss(0, 1)
#[step:four]
result = [a, b, random.random(), random.gauss(0, 1)]
"""),
    "a step between draws by way of a library": Case("""
#[]
import numpy as np
import pandas as pd
np.random.seed(0)
#[step:one]
frame = pd.DataFrame({"a": range(100)})
#[step:two]
few = frame.sample(5)
#[step:three]
result = few.a.tolist() + np.random.rand(2).tolist()
"""),
    "a split without a seed of its own": Case("""
#[]
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
np.random.seed(3)
#[step:load]
X = np.random.rand(60, 3)
y = (X[:, 0] > 0.5).astype(int)
#[step:split]
X_train, X_test, y_train, y_test = train_test_split(X, y)
#[step:train]
model = RandomForestClassifier(n_estimators=5).fit(X_train, y_train)
#[step:end]
result = [model.predict_proba(X_test).tolist(), np.random.rand()]
"""),
    "a function of the notebook draws": Case("""
#[]
import random
random.seed(5)
def noise():
    return random.random()
#[step:one]
a = noise()
#[step:two]
b = noise()
#[step:three]
result = [a, b]
"""),
    "a generator object goes on": Case("""
#[step:one]
import numpy as np
rng = np.random.default_rng(0)
#[step:two]
a = rng.normal(size=2)
#[step:three]
b = rng.integers(100)
#[step:four]
result = a.tolist() + [int(b), rng.random()]
"""),
    "a model shares a generator": Case("""
#[step:one]
import numpy as np
from sklearn.ensemble import RandomForestClassifier
rng = np.random.RandomState(0)
X = rng.rand(40, 2)
y = (X[:, 0] > 0.5).astype(int)
model = RandomForestClassifier(n_estimators=3, random_state=rng)
#[step:two]
model.fit(X, y)
#[step:three]
result = [rng.rand(), model.predict_proba(X[:3]).tolist()]
"""),
    "environment variables": Case("""
#[step:one]
import os
os.environ["PIPELINE_CASE"] = "set"
#[step:two]
seen = os.environ.get("PIPELINE_CASE")
os.environ.pop("PIPELINE_CASE")
#[step:three]
result = [seen, os.environ.get("PIPELINE_CASE")]
"""),
    "the working folder": Case("""
#[step:one]
import os
from pathlib import Path
Path("below").mkdir(exist_ok=True)
os.chdir("below")
#[step:two]
Path("note.txt").write_text("here")
#[step:three]
os.chdir("..")
#[step:four]
result = [Path("below/note.txt").read_text(), Path.cwd().name != "below"]
"""),
    "%cd": Case("""
#[step:one]
import os
os.makedirs("inside", exist_ok=True)
%cd -q inside
#[step:two]
result = os.path.basename(os.getcwd())
"""),
    "options of pandas": Case("""
#[step:one]
import pandas as pd
pd.set_option("display.max_rows", 7)
pd.options.display.precision = 2
#[step:two]
result = [pd.get_option("display.max_rows"), str(pd.Series([1.23456]))]
"""),
    "options of NumPy": Case("""
#[step:one]
import numpy as np
np.set_printoptions(precision=2)
np.seterr(divide="ignore")
#[step:two]
result = [str(np.array([1.23456])), np.geterr()["divide"]]
"""),
    "state of plots": Case("""
#[]
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
#[step:one]
plt.rcParams["lines.linewidth"] = 5
#[step:two]
line, = plt.plot([1, 2])
width = line.get_linewidth()
#[step:three]
result = [width, plt.rcParams["lines.linewidth"]]
"""),
    "a figure is drawn upon": Case("""
#[]
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
#[step:one]
figure, axes = plt.subplots()
axes.plot([1, 2])
#[step:two]
axes.plot([3, 4])
axes.set_title("two")
#[step:three]
result = [len(axes.lines), figure.axes[0] is axes, axes.get_title()]
"""),
    "the search path and a module written": Case("""
#[step:write]
from pathlib import Path
Path("lib").mkdir(exist_ok=True)
Path("lib/written_here.py").write_text("value = 5\\n")
#[step:path]
import sys
sys.path.insert(0, "lib")
#[step:end]
import written_here
result = written_here.value
"""),
    "a module keeps state": Case(
        """
#[]
import keeps_state
#[step:one]
keeps_state.count += 1
#[step:two]
keeps_state.count += 1
#[step:three]
result = keeps_state.count
""",
        files={"keeps_state.py": "count = 0\n"},
    ),
    "a function of a module keeps state": Case(
        """
#[]
import keeps_state
#[step:one]
keeps_state.add(1)
#[step:two]
keeps_state.add(2)
#[step:three]
result = list(keeps_state.seen)
""",
        files={"keeps_state.py": "seen = []\ndef add(x):\n    seen.append(x)\n"},
    ),
    "warning filters": Case("""
#[step:one]
import warnings
warnings.filterwarnings("error", message="strict.*")
#[step:two]
try:
    warnings.warn("strict now", UserWarning, stacklevel=1)
    result = "passed"
except UserWarning:
    result = "raised"
"""),
    "a value made of the clock": Case("""
#[]
import uuid
import time
ticket = uuid.uuid4().hex
began = time.time()
#[step:one]
first = (ticket, began)
#[step:two]
result = first == (ticket, began)
"""),
    "the decimal context": Case("""
#[step:one]
import decimal
decimal.getcontext().prec = 5
#[step:two]
result = str(decimal.Decimal(1) / decimal.Decimal(3))
"""),
    "a setting of scikit-learn": Case("""
#[step:one]
import sklearn
from sklearn.preprocessing import StandardScaler
sklearn.set_config(transform_output="pandas")
#[step:two]
import pandas as pd
frame = pd.DataFrame({"a": [0.0, 2.0]})
result = type(StandardScaler().fit_transform(frame)).__name__
"""),
}

MAGICS = {
    "%%capture": Case("""
#[step:one]
%%capture held
print("spoken")
a = 1
#[step:two]
result = [held.stdout, a]
"""),
    "%time binds": Case("""
#[step:one]
%time a = sum(range(10))
#[step:two]
result = a
"""),
    "%%time binds": Case("""
#[step:one]
rows = [1]
#[step:two]
%%time
rows.append(2)
b = len(rows)
#[step:three]
result = [rows, b]
"""),
    "a command of the system": Case("""
#[step:one]
word = "hello"
lines = !echo $word {word.upper()}
#[step:two]
result = list(lines)
"""),
    "%run binds": Case(
        """
#[step:one]
base = 2
%run -i made.py
#[step:two]
result = [made, base]
""",
        files={"made.py": "made = base * 21\n"},
    ),
    "top-level await": Case("""
#[step:one]
import asyncio
async def later(x):
    await asyncio.sleep(0)
    return x
a = await later(4)
#[step:two]
result = [a, await later(a + 1)]
"""),
    "exec": Case("""
#[step:one]
exec("hidden = 41")
#[step:two]
result = hidden + 1
"""),
    "globals()": Case("""
#[step:one]
for name in ("p", "q"):
    globals()[name] = name * 2
#[step:two]
result = p + q
"""),
    "eval reads": Case("""
#[step:one]
secret_number = 7
#[step:two]
text = "secret_number * 2"
#[step:three]
result = eval(text)
"""),
    "a star import": Case("""
#[step:one]
from math import *
#[step:two]
result = [floor(2.5), sqrt(16)]
"""),
    "a star import of a file beside": Case(
        """
#[step:one]
from beside import *
#[step:two]
result = [helper(2), CONSTANT]
""",
        files={"beside.py": "CONSTANT = 3\ndef helper(x):\n    return x + CONSTANT\n"},
    ),
    "the last result": Case("""
#[step:one]
6 * 7
#[step:two]
result = _
"""),
    "%%writefile and import": Case("""
#[step:one]
%%writefile from_a_cell.py
def answer():
    return 42
#[step:two]
import from_a_cell
result = from_a_cell.answer()
"""),
    "%%bash writes a file": Case("""
#[step:one]
%%bash
printf one > by_shell.txt
#[step:two]
result = open("by_shell.txt").read()
"""),
}

VALUES = {
    "NumPy scalars keep their type": Case("""
#[step:one]
import numpy as np
a = np.float32(0.1)
b = np.int8(5)
c = np.datetime64("2024-01-02")
d = np.bool_(True)
#[step:two]
result = [type(x).__name__ for x in (a, b, c, d)] + [float(a), int(b), str(c)]
"""),
    "object arrays": Case("""
#[step:one]
import numpy as np
a = np.array([[1], "x", None], dtype=object)
shared = a[0]
#[step:two]
shared.append(2)
#[step:three]
result = [a[0], a[1], a[2], a.dtype.str]
"""),
    "arrays of Fortran order, structured and empty": Case("""
#[step:one]
import numpy as np
f = np.asfortranarray(np.arange(6).reshape(2, 3))
s = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
e = np.empty((0, 3), dtype="float32")
#[step:two]
f[0, 0] = 9
result = [f.tolist(), f.flags.f_contiguous, s["b"].tolist(), s.dtype.names, e.shape, e.dtype.str]
"""),
    "plain values of all kinds": Case("""
#[step:one]
import datetime as dt
import decimal
import pathlib
import zoneinfo
values = {
    1: (1, [2]), "s": {3, 4}, (5, 6): frozenset({7}), None: b"bytes", 2.5: float("inf"),
    "when": dt.datetime(2024, 3, 31, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Brussels")),
    "day": dt.date(2024, 2, 29), "span": dt.timedelta(days=1, microseconds=1),
    "money": decimal.Decimal("1.10"), "path": pathlib.Path("a/b"), "c": 1 + 2j,
    "big": 10**40, "text": "a\\ud800\\n\\x00",
}
#[step:two]
result = [
    list(values), str(values["when"].tzinfo), values["day"].isoformat(), str(values["money"]),
    values["path"].as_posix(), values["c"] * 2, values["big"] + 1, len(values["text"]),
    type(values[1]).__name__, sorted(values["s"]), values["span"].total_seconds(),
]
"""),
    "a frame with everything": Case("""
#[step:one]
import pandas as pd
frame = pd.DataFrame(
    {
        "n": pd.array([1, None], dtype="Int64"),
        "c": pd.Categorical(["b", "a"], categories=["b", "a", "z"], ordered=True),
        "t": pd.date_range("2024-01-01", periods=2, tz="Asia/Kolkata"),
        "s": ["x", None],
        ("tuple", 1): [1.5, float("nan")],
    },
    index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None]),
)
frame.attrs["source"] = "made"
#[step:two]
result = [
    [str(d) for d in frame.dtypes], frame.index.names, frame.attrs, [str(c) for c in frame.columns],
    frame["c"].cat.categories.tolist(), bool(frame["c"].cat.ordered), int(frame["n"].isna().sum()),
]
"""),
    "a series, an index, a period and an interval": Case("""
#[step:one]
import pandas as pd
series = pd.Series([1, 2], name="x", index=pd.period_range("2024-01", periods=2, freq="M"))
bins = pd.cut([1, 5, 9], 3)
index = pd.Index(["a", "b"], name="i")
#[step:two]
series.iloc[0] = 10
result = [series.name, str(series.index.dtype), series.tolist(), str(bins.dtype), index.name]
"""),
    "Polars and Arrow": Case("""
#[step:one]
import polars as pl
import pyarrow as pa
frame = pl.DataFrame({"a": [1, 2], "b": [["x"], []]})
table = pa.table({"n": [1, None]})
#[step:two]
result = [frame.to_dict(as_series=False), table.column("n").null_count, str(frame.schema)]
"""),
    "a sparse matrix": Case("""
#[step:one]
from scipy import sparse
m = sparse.random(5, 5, density=0.4, random_state=0, format="csr")
#[step:two]
m.data[:] = 1.0
#[step:three]
result = [m.format, m.toarray().tolist()]
"""),
    "a fitted search": Case("""
#[step:load]
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
#[step:train]
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=3).fit(X, y)
#[step:end]
result = [search.best_params_, search.predict(X[:3]).tolist(), round(search.best_score_, 12)]
"""),
    "a list that holds itself": Case("""
#[step:one]
loop = [1]
loop.append(loop)
#[step:two]
loop[0] = 2
#[step:three]
result = [loop[0], loop[1] is loop, len(loop)]
"""),
    "a compiled pattern, a range, a slice, a type": Case("""
#[step:one]
import re
pattern = re.compile("a+", re.I)
numbers = range(2, 10, 3)
cut = slice(1, 3)
kind = dict
missing = ...
#[step:two]
result = [pattern.findall("Aab"), list(numbers[cut]), kind(a=1), missing is Ellipsis]
"""),
    "grouped frames": Case("""
#[step:one]
import pandas as pd
frame = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
groups = frame.groupby("k")
#[step:two]
result = groups.v.sum().to_dict()
"""),
    "a generator cannot travel": Case(
        """
#[step:one]
numbers = (n * n for n in range(5))
#[step:two]
first = next(numbers)
#[step:three]
result = [first, list(numbers)]
""",
        fused=True,
    ),
    "a generator of a function cannot travel": Case(
        """
#[step:one]
def count():
    n = 0
    while True:
        n += 1
        yield n
ticks = count()
#[step:two]
a = next(ticks)
#[step:three]
result = [a, next(ticks)]
""",
        fused=True,
    ),
    "an open file cannot travel": Case(
        """
#[step:one]
handle = open("lines.txt", "w+")
handle.write("one\\n")
#[step:two]
handle.write("two\\n")
handle.seek(0)
#[step:three]
result = handle.read()
handle.close()
""",
        fused=True,
    ),
    "a connection cannot travel": Case(
        """
#[step:one]
import sqlite3
connection = sqlite3.connect(":memory:")
connection.execute("create table t (x)")
#[step:two]
connection.execute("insert into t values (5)")
#[step:three]
result = connection.execute("select x from t").fetchall()
""",
        fused=True,
    ),
    "a lock cannot travel": Case(
        """
#[step:one]
import threading
lock = threading.Lock()
def guarded(x):
    with lock:
        return x + 1
#[step:two]
a = guarded(1)
#[step:three]
result = guarded(a)
""",
        fused=True,
    ),
    "an iterator goes on": Case("""
#[step:one]
ids = iter([10, 20, 30])
#[step:two]
a = next(ids)
#[step:three]
result = [a, list(ids)]
"""),
    "views of a dict": Case(
        """
#[step:one]
d = {"a": 1}
keys = d.keys()
#[step:two]
d["b"] = 2
#[step:three]
result = sorted(keys)
""",
        fused=True,
    ),
}

FILES = {
    "a file between steps": Case("""
#[step:write]
import csv
with open("rows.csv", "w", newline="") as file:
    csv.writer(file).writerows([["a"], ["1"]])
#[step:read]
with open("rows.csv", newline="") as file:
    result = list(csv.reader(file))
"""),
    "a file written by pandas": Case("""
#[]
import pandas as pd
from pathlib import Path
folder = Path("data")
#[step:write]
folder.mkdir(exist_ok=True)
pd.DataFrame({"a": [1, 2]}).to_csv(folder / "frame.csv", index=False)
#[step:read]
result = pd.read_csv("data/frame.csv").a.tolist()
"""),
    "a file written twice": Case("""
#[step:first]
from pathlib import Path
Path("note.txt").write_text("first")
#[step:read]
seen = Path("note.txt").read_text()
#[step:second]
Path("note.txt").write_text("second")
#[step:end]
result = [seen, Path("note.txt").read_text()]
"""),
    "a file appended to": Case("""
#[step:first]
with open("log.txt", "w") as file:
    file.write("1")
#[step:second]
with open("log.txt", "a") as file:
    file.write("2")
#[step:third]
with open("log.txt", "a") as file:
    file.write("3")
#[step:end]
result = open("log.txt").read()
"""),
    "a folder of files": Case("""
#[]
from pathlib import Path
#[step:write]
Path("parts").mkdir(exist_ok=True)
for n in range(3):
    Path(f"parts/{n}.txt").write_text(str(n))
#[step:read]
result = [p.read_text() for p in sorted(Path("parts").glob("*.txt"))]
"""),
    "the first cells write a file": Case("""
#[]
from pathlib import Path
Path("journal.txt").write_text("start")
#[step:one]
with open("journal.txt", "a") as file:
    file.write(" one")
#[step:two]
with open("journal.txt", "a") as file:
    file.write(" two")
#[step:three]
result = Path("journal.txt").read_text()
"""),
    "a path in a variable": Case("""
#[step:one]
target = "out_" + str(1) + ".txt"
with open(target, "w") as file:
    file.write("x")
#[step:two]
result = open(target).read()
"""),
    "a file removed": Case("""
#[step:one]
from pathlib import Path
path = Path("gone.txt")
path.write_text("x")
#[step:two]
path.unlink()
#[step:three]
result = path.exists()
"""),
}

PARAMETERS = {
    "a parameter is given": Case(
        """
#[parameters]
n = 3
name = "a"
#[step:one]
rows = [name] * n
#[step:two]
result = [rows, n]
""",
        params={"n": 5},
    ),
    "a derived value follows": Case(
        """
#[parameters]
n = 3
half = n / 2
#[step:one]
a = half
#[step:two]
result = [a, half, n]
""",
        params={"n": 8},
    ),
    "a parameter is bound anew": Case(
        """
#[parameters]
n = 3
#[step:one]
n = n * 2
#[step:two]
m = n + 1
#[step:three]
result = [n, m]
""",
        params={"n": 10},
    ),
    "a list among the parameters grows": Case("""
#[parameters]
columns = ["a"]
#[step:one]
columns.append("b")
#[step:two]
columns.append("c")
#[step:three]
result = columns
"""),
    "a parameter of a function": Case(
        """
#[parameters]
rate: float = 0.5
#[step:one]
def scaled(x):
    return x * rate
#[step:two]
result = scaled(4)
""",
        params={"rate": 2.0},
    ),
    "the parameters come after the imports": Case(
        """
#[]
import math
#[parameters]
radius = 1  # type: float
area = math.pi * radius ** 2
#[]
doubled = area * 2
#[step:one]
a = area
#[step:two]
result = [a, doubled]
""",
        params={"radius": 2.0},
    ),
}

CASES: dict[str, Case] = {
    **FLOW,
    **MUTATION,
    **FUNCTIONS,
    **STATE,
    **MAGICS,
    **VALUES,
    **FILES,
    **PARAMETERS,
}
