"""Functions and classes: what they read, bind and change when they run.

Each notebook with exactly what its steps take and give.
"""

from __future__ import annotations

import pytest
from dataflow_notebooks import flow, plan

FLOWS = {
    "an instance puts itself into a global list": (
        """
#[step:a]
ALL = []
class Item:
    def __init__(self, n):
        self.n = n
        ALL.append(self)
#[step:b]
one = Item(1)
#[step:c]
one.n = 5
#[step:d]
result = [i.n for i in ALL]
""",
        """
a: -> ALL
b: ALL<a -> (ALL one); def Item
c: ALL<b one<b -> ALL; def Item
d: ALL<c ->; def Item
""",
    ),
    "a function changes a global object by its method": (
        """
#[step:a]
class Store:
    def __init__(self): self.rows = []
    def add(self, r): self.rows.append(r)
store = Store()
def put(r): store.add(r)
#[step:b]
put(1)
#[step:c]
put(2)
#[step:d]
result = store.rows
""",
        """
a: -> store
b: store<a -> store; def Store put
c: store<b -> store; def Store put
d: store<c ->; def Store
""",
    ),
    "a property reads a global": (
        """
#[step:a]
rate = 2
class P:
    @property
    def price(self): return rate * 3
p = P()
#[step:b]
rate = 5
#[step:c]
result = p.price
""",
        """
a: -> p
b: -> rate
c: p<a rate<b ->; def P
""",
    ),
    "an object that is called reads a global": (
        """
#[step:a]
class Scale:
    def __init__(self, k): self.k = k
    def __call__(self, x): return x * self.k * FACTOR
FACTOR = 2
s = Scale(3)
#[step:b]
FACTOR = 7
#[step:c]
result = s(2)
""",
        """
a: -> s
b: -> FACTOR
c: FACTOR<b s<a ->; def Scale
""",
    ),
    "a function given to apply changes a global list": (
        """
#[step:a]
import pandas as pd
seen = []
df = pd.DataFrame({"a": [1, 2]})
def note(row):
    seen.append(row.a)
    return row.a
#[step:b]
out = df.apply(note, axis=1)
#[step:c]
result = seen
""",
        """
a: -> df seen
b: df<a seen<a -> seen; def note
c: seen<b ->
""",
    ),
    "a key of sorted reads a global": (
        """
#[step:a]
order = {"x": 2, "y": 1}
words = ["x", "y"]
#[step:b]
order = {"x": 0, "y": 1}
#[step:c]
result = sorted(words, key=lambda w: order[w])
""",
        """
a: -> words
b: -> order
c: order<b words<a ->
""",
    ),
    "functions that stand after a step": (
        """
#[step:a]
x = 1
#[functions]
def f(v):
    return v + 1
#[step:b]
y = f(x)
""",
        """
a: -> x
b: x<a ->
""",
    ),
    "a closure gives out what it keeps": (
        """
#[step:a]
def outer():
    acc = []
    def inner(x):
        acc.append(x)
        return acc
    return inner
g = outer()
#[step:b]
view = g(1)
#[step:c]
view.append(5)
#[step:d]
print(g(2))
""",
        """
a: -> g
b: g<a -> (g view)
c: g<b view<b -> g
d: g<c ->
""",
    ),
    "a function gives a list twice": (
        """
#[step:a]
def pair():
    shared = []
    return shared, [shared]
x, y = pair()
#[step:b]
x.append(1)
#[step:c]
print(y)
""",
        """
a: -> (x y)
b: x<a y<a -> y
c: y<b ->
""",
    ),
    "a pipeline fits the estimators that it holds": (
        """
#[step:a]
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.linear_model import LogisticRegression
scaler = StandardScaler()
pipe = Pipeline([("s", scaler), ("m", LogisticRegression())])
#[step:b]
pipe.fit([[0.], [1.]], [0, 1])
#[step:c]
print(scaler.mean_)
""",
        """
a: -> (pipe scaler)
b: pipe<a scaler<a -> scaler
c: scaler<b ->
""",
    ),
    "a lambda with a default in a list": (
        """
#[step:a]
acc = []
fs = [lambda x, a=acc: a.append(x)]
#[step:b]
fs[0](1)
#[step:c]
print(acc)
""",
        """
a: -> acc fs
b: acc<a fs<a -> acc
c: acc<b ->
""",
    ),
    "a decorator with arguments": (
        """
#[step:a]
log = []
def tagged(name):
    def wrap(f):
        def inner(*a):
            log.append(name)
            return f(*a)
        return inner
    return wrap
#[step:b]
@tagged("x")
def g(a): return a
#[step:c]
v = g(1)
#[step:d]
print(log)
""",
        """
a: -> log
b: -> g; def tagged
c: g<b log<a -> log
d: log<c ->
""",
    ),
    "a base class keeps a list of its subclasses": (
        """
#[step:a]
registry = []
class Base:
    def __init_subclass__(cls):
        registry.append(cls.__name__)
#[step:b]
class Child(Base): pass
#[step:c]
print(registry)
""",
        """
a: -> registry
b: registry<a -> registry; def Base
c: registry<b ->
""",
    ),
    "a context manager of the notebook": (
        """
#[step:a]
from contextlib import contextmanager
events = []
@contextmanager
def section(name):
    events.append(name)
    yield name
#[step:b]
with section("x") as s:
    pass
#[step:c]
print(events, s)
""",
        """
a: -> events
b: events<a -> events s; def contextmanager section
c: events<b s<b ->
""",
    ),
    "an operator of a class changes a global": (
        """
#[step:a]
seen = []
class V:
    def __init__(self, n): self.n = n
    def __add__(self, o):
        seen.append(1)
        return V(self.n + o.n)
a, b = V(1), V(2)
#[step:b]
c = a + b
#[step:c]
print(seen, c.n)
""",
        """
a: -> a b seen
b: a<a b<a seen<a -> c seen; def V
c: c<b seen<b ->
""",
    ),
    "a list in a dataclass": (
        """
#[step:a]
from dataclasses import dataclass, field
@dataclass
class Config:
    names: list = field(default_factory=list)
cfg = Config()
#[step:b]
cfg.names.append("x")
#[step:c]
print(cfg.names)
""",
        """
a: -> cfg
b: cfg<a -> cfg
c: cfg<b ->
""",
    ),
    "a network of torch": (
        """
#[step:a]
import torch
from torch import nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(2, 1)
    def forward(self, x): return self.l(x)
#[step:b]
net = Net()
#[step:c]
opt = torch.optim.SGD(net.parameters(), lr=0.1)
loss = net(torch.ones(1, 2)).sum()
loss.backward()
opt.step()
#[step:d]
print([p.sum() for p in net.parameters()])
""",
        """
a: -> <rng:torch>
b: <rng:torch><a -> <rng:torch> net; def nn Net
c: net<b -> net; def torch nn Net
d: net<c ->; def nn Net
""",
    ),
    "an estimator of the notebook": (
        """
#[step:a]
from sklearn.base import BaseEstimator
class Mean(BaseEstimator):
    def fit(self, X, y=None):
        self.m_ = sum(X) / len(X)
        return self
    def predict(self, X): return [self.m_ for _ in X]
#[step:b]
X = [1, 2, 3]
m = Mean().fit(X)
#[step:c]
print(m.predict(X))
""",
        """
a: ->
b: -> X m; def BaseEstimator Mean
c: X<b m<b ->; def BaseEstimator Mean
""",
    ),
    "a class body reads at once, its methods later": (
        """
#[step:a]
size = 3
#[step:b]
class Box:
    default = size
    def volume(self):
        return size ** 3
#[step:c]
size = 4
#[step:d]
print(Box.default, Box().volume())
""",
        """
a: -> size
b: size<a -> Box
c: -> size
d: Box<b size<c ->
""",
    ),
    "a default is read at once": (
        """
#[step:a]
base = 2
#[step:b]
def power(x, n=base):
    return x ** n
#[step:c]
base = 5
#[step:d]
print(power(3))
""",
        """
a: -> base
b: base<a -> power
c: ->
d: power<b ->
""",
    ),
    "an alias through a function that returns its argument": (
        """
#[step:a]
def same(x):
    return x
a = []
b = same(a)
#[step:b]
b.append(1)
#[step:c]
print(a)
""",
        """
a: -> (a b)
b: a<a b<a -> a
c: a<b ->
""",
    ),
    "a function that copies makes no alias": (
        """
#[step:a]
def doubled(x):
    y = list(x)
    y.append(0)
    return y
a = [1]
b = doubled(a)
#[step:b]
b.append(1)
#[step:c]
print(a)
""",
        """
a: -> a b
b: b<a ->
c: a<a ->
""",
    ),
    "a function that hands its argument on to another": (
        """
#[step:a]
def inner(v):
    v.append(1)
def outer(v):
    inner(v)
rows = []
#[step:b]
outer(rows)
#[step:c]
print(rows)
""",
        """
a: -> rows
b: rows<a -> rows; def inner outer
c: rows<b ->
""",
    ),
    "a recursive function changes its argument": (
        """
#[step:a]
def fill(rows, n):
    if n:
        rows.append(n)
        fill(rows, n - 1)
rows = []
#[step:b]
fill(rows, 3)
#[step:c]
print(rows)
""",
        """
a: -> rows
b: rows<a -> rows; def fill
c: rows<b ->
""",
    ),
    "star arguments": (
        """
#[step:a]
def add_all(*targets, **named):
    for target in targets:
        target.append(1)
    named["last"].append(2)
a, b, c = [], [], []
#[step:b]
add_all(a, b, last=c)
#[step:c]
print(a, b, c)
""",
        """
a: -> a b c
b: a<a b<a c<a -> a b c; def add_all
c: a<b b<b c<b ->
""",
    ),
    "a method of a list kept in a dict": (
        """
#[step:a]
rows = []
actions = {"add": rows.append}
#[step:b]
actions["add"](1)
#[step:c]
print(rows)
""",
        """
a: -> (actions rows)
b: actions<a rows<a -> rows
c: rows<b ->
""",
    ),
    "a generator function reads a global while it runs": (
        """
#[step:a]
limit = 3
def count():
    n = 0
    while n < limit:
        n += 1
        yield n
#[step:b]
limit = 5
#[step:c]
print(list(count()))
""",
        """
a: ->
b: -> limit
c: limit<b ->; def count
""",
    ),
    "a nested function is returned with what it has seen": (
        """
#[step:a]
def make(rows):
    def add(x):
        rows.append(x)
    return add
kept = []
add = make(kept)
#[step:b]
add(1)
#[step:c]
print(kept)
""",
        """
a: -> (add kept)
b: add<a kept<a -> kept
c: kept<b ->
""",
    ),
    "a thread pool in a function is no problem": (
        """
#[step:a]
from concurrent.futures import ThreadPoolExecutor
def work(items):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(len, items))
#[step:b]
sizes = work(["a"])
#[step:c]
print(sizes)
""",
        """
a: ->
b: -> sizes; def ThreadPoolExecutor work
c: sizes<b ->
""",
    ),
    "a dictionary of functions that call each other by name": (
        """
#[step:a]
rate = 2
def low(x):
    return x * rate
def high(x):
    return low(x) + 1
table = {"low": low, "high": high}
#[step:b]
print(table["high"](1))
#[step:c]
rate = 3
#[step:d]
print(table["low"](1))
""",
        """
a: -> rate table
b: rate<a table<a ->; def low high
c: -> rate
d: rate<c table<a ->; def low high
""",
    ),
    "a class gets another method after an instance was made": (
        """
#[step:a]
class A:
    def f(self): return 1
a = A()
#[step:b]
A.f = lambda self: 2
#[step:c]
print(a.f())
""",
        """
a: -> (A a)
b: A<a a<a -> a
c: a<b ->
""",
    ),
    "an attribute of the class by way of an instance": (
        """
#[step:a]
class A:
    n = 0
a = A()
b = A()
#[step:b]
type(a).n = 5
#[step:c]
print(b.n)
""",
        """
a: -> (a b)
b: a<a b<a -> b
c: b<b ->
""",
    ),
    "a method counts on its class": (
        """
#[step:a]
class A:
    n = 0
    def bump(self):
        self.__class__.n += 1
a = A()
b = A()
#[step:b]
a.bump()
#[step:c]
print(b.n, A.n)
""",
        """
a: -> (A a b)
b: A<a a<a b<a -> (A b)
c: A<b b<b ->
""",
    ),
    "map looks at a global when it is used": (
        """
#[step:a]
k = 2
m = map(lambda x: x * k, [1, 2])
#[step:b]
k = 10
#[step:c]
print(list(m))
""",
        """
a: -> m
b: -> k
c: k<b m<a ->
""",
    ),
    "tasks change a global list": (
        """
#[step:a]
import asyncio
seen = []
async def work(n):
    seen.append(n)
#[step:b]
await asyncio.gather(work(1), work(2))
#[step:c]
print(seen)
""",
        """
a: -> seen
b: seen<a -> seen; def asyncio work
c: seen<b ->
""",
    ),
    "a function inside of a function binds a global": (
        """
#[step:a]
n = 0
def outer():
    def inner():
        global n
        n += 1
    inner()
#[step:b]
outer()
#[step:c]
print(n)
""",
        """
a: -> n
b: n<a -> n; def outer
c: n<b ->
""",
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_what_functions_touch_flows_exactly_so(name):
    text, expected = FLOWS[name]
    assert flow(plan(text)) == expected.strip("\n")
