"""Names, objects with several names, and what changes them.

Each notebook with exactly what its steps take and give.
"""

from __future__ import annotations

import pytest
from dataflow_notebooks import flow, plan

FLOWS = {
    "a list is sorted in place, a copy of it is not": (
        """
#[step:a]
v = [3, 1]
w = v[:]
#[step:b]
v.sort()
#[step:c]
result = [v, w]
""",
        """
a: -> v w
b: v<a -> v
c: v<b w<a ->
""",
    ),
    "one list three times in another": (
        """
#[step:a]
inner = [1]
grid = [inner] * 3
copy = list(grid)
#[step:b]
copy[0].append(2)
#[step:c]
result = [grid, inner]
""",
        """
a: -> (copy grid inner)
b: copy<a grid<a inner<a -> (grid inner)
c: grid<b inner<b ->
""",
    ),
    "a slice of a list holds the same elements": (
        """
#[step:a]
grid = [[1], [2]]
part = grid[:1]
#[step:b]
part[0].append(9)
#[step:c]
result = grid
""",
        """
a: -> (grid part)
b: grid<a part<a -> grid
c: grid<b ->
""",
    ),
    "a copy of a dict holds the same values": (
        """
#[step:a]
base = {"a": []}
other = base.copy()
third = dict(base)
#[step:b]
other["a"].append(1)
#[step:c]
result = [base, third]
""",
        """
a: -> (base other third)
b: base<a other<a third<a -> (base third)
c: base<b third<b ->
""",
    ),
    "a deep copy shares nothing": (
        """
#[step:a]
import copy
base = {"a": []}
other = copy.deepcopy(base)
#[step:b]
other["a"].append(1)
#[step:c]
result = base
""",
        """
a: -> base other
b: other<a ->
c: base<a ->
""",
    ),
    "two names are swapped": (
        """
#[step:a]
a, b = [1], [2]
#[step:b]
a, b = b, a
#[step:c]
a.append(3)
#[step:d]
result = [a, b]
""",
        """
a: -> a b
b: a<a b<a -> a b
c: a<b -> a
d: a<c b<b ->
""",
    ),
    "a list deep in an object": (
        """
#[step:a]
class N: pass
n = N()
n.child = N()
n.child.items = []
items = n.child.items
#[step:b]
items.append(1)
#[step:c]
result = n.child.items
""",
        """
a: -> (items n)
b: items<a n<a -> n; def N
c: n<b ->; def N
""",
    ),
    "two models are trained side by side": (
        """
#[]
import pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
#[parameters]
path = "data.csv"
trees = 10
#[step:load]
df = pd.read_csv(path)
df = df.dropna()
#[step:split prev:load]
X_train, X_test, y_train, y_test = train_test_split(df.drop(columns="y"), df["y"], random_state=0)
#[step:forest prev:split]
rf = RandomForestClassifier(n_estimators=trees, random_state=0)
rf.fit(X_train, y_train)
acc_rf = accuracy_score(y_test, rf.predict(X_test))
#[step:linear prev:split]
lr = LogisticRegression()
lr.fit(X_train, y_train)
acc_lr = accuracy_score(y_test, lr.predict(X_test))
#[step:choose prev:forest prev:linear]
best = rf if acc_rf > acc_lr else lr
print(best)
""",
        """
load: -> df; par path
split: df<load -> X_test X_train y_test y_train
forest: X_test<split X_train<split y_test<split y_train<split -> acc_rf rf; par trees
linear: X_test<split X_train<split y_test<split y_train<split -> acc_lr lr
choose: acc_lr<linear acc_rf<forest lr<linear rf<forest ->
""",
    ),
    "one helper changes a frame, another only reads it": (
        """
#[functions]
def add_ratio(frame):
    frame["ratio"] = frame["a"] / frame["b"]
    return frame
def only_reads(frame):
    return frame["a"].sum()
#[step:load]
import pandas as pd
df = pd.DataFrame({"a": [1], "b": [2]})
#[step:left]
s = only_reads(df)
#[step:right]
df2 = add_ratio(df)
#[step:end]
result = [list(df.columns), list(df2.columns), s]
""",
        """
load: -> df
left: df<load -> s
right: df<load -> (df df2)
end: df<right df2<right s<left ->
""",
    ),
    "names of a while loop": (
        """
#[step:a]
n = 0
while n < 3:
    n += 1
    last = n
#[step:b]
result = n + last
""",
        """
a: -> last n
b: last<a n<a ->
""",
    ),
    "cells of a step around another that only reads": (
        """
#[step:a]
x = [1]
#[step:b]
z = len(x)
#[step:a]
y = x + [3]
#[step:c]
print(x, y, z)
""",
        """
a: -> x y
b: x<a -> z
c: x<a y<a z<b ->
""",
    ),
    "pieces put their results into one dict": (
        """
#[step:a]
names = ["a", "b"]
scores = {}
#[step:each foreach:names]
for name in names:
    scores[name] = len(name)
#[step:end]
print(scores)
""",
        """
a: -> names scores
each: names<a scores<a -> scores
end: scores<each ->
""",
    ),
    "two names of the first cells": (
        """
#[]
base = [1]
alias = base
#[step:a]
base.append(2)
#[step:b]
print(alias)
""",
        """
a: -> alias
b: alias<a ->
""",
    ),
    "a name that may not be there": (
        """
#[step:a]
try:
    df
except NameError:
    df = [1]
#[step:b]
print(df)
""",
        """
a: -> df
b: df<a ->
""",
    ),
    "augmented assignment to a view of an array": (
        """
#[step:a]
import numpy as np
m = np.zeros((2, 2))
row = m[0]
#[step:b]
row += 1
#[step:c]
print(m)
""",
        """
a: -> (m row)
b: m<a row<a -> m
c: m<b ->
""",
    ),
    "augmented assignment to an item": (
        """
#[step:a]
counts = {"a": 0}
#[step:b]
counts["a"] += 1
#[step:c]
print(counts)
""",
        """
a: -> counts
b: counts<a -> counts
c: counts<b ->
""",
    ),
    "a frame is changed by loc, columns and index": (
        """
#[step:a]
import pandas as pd
df = pd.DataFrame({"a": [1, 2]})
#[step:b]
df.loc[0, "a"] = 5
#[step:c]
df.columns = ["z"]
#[step:d]
df.index.name = "i"
#[step:e]
print(df)
""",
        """
a: -> df
b: df<a -> df
c: df<b -> df
d: df<c -> df
e: df<d ->
""",
    ),
    "inplace as a variable": (
        """
#[step:a]
import pandas as pd
df = pd.DataFrame({"a": [2, 1]})
here = True
#[step:b]
df.sort_values("a", inplace=here)
#[step:c]
print(df)
""",
        """
a: -> df here
b: df<a here<a -> df
c: df<b ->
""",
    ),
    "a search fits copies": (
        """
#[step:a]
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
base = SVC()
search = GridSearchCV(base, {"C": [1, 2]})
#[step:b]
search.fit([[0.], [1.], [2.], [3.]] * 5, [0, 1, 0, 1] * 5)
#[step:c]
print(base, search.best_params_)
""",
        """
a: -> base search
b: search<a -> search
c: base<a search<b ->
""",
    ),
    "a walrus in a comprehension": (
        """
#[step:a]
vals = [y := x * 2 for x in range(3)]
#[step:b]
print(y, vals)
""",
        """
a: -> vals y
b: vals<a y<a ->
""",
    ),
    "match takes a list out of a dict": (
        """
#[step:a]
cmd = {"k": [1]}
match cmd:
    case {"k": items}:
        pass
#[step:b]
items.append(2)
#[step:c]
print(cmd)
""",
        """
a: -> (cmd items)
b: cmd<a items<a -> cmd
c: cmd<b ->
""",
    ),
    "try, except and finally": (
        """
#[step:a]
try:
    v = int("x")
except ValueError:
    v = 0
finally:
    done = True
#[step:b]
print(v, done)
""",
        """
a: -> done v
b: done<a v<a ->
""",
    ),
    "a name that is only rebound is not taken": (
        """
#[step:a]
x = 1
#[step:b]
x = 2
y = x
#[step:c]
print(x, y)
""",
        """
a: ->
b: -> x y
c: x<b y<b ->
""",
    ),
    "augmented assignment reads and binds": (
        """
#[step:a]
n = 1
#[step:b]
n += 1
#[step:c]
print(n)
""",
        """
a: -> n
b: n<a -> n
c: n<b ->
""",
    ),
    "a comprehension keeps its names to itself": (
        """
#[step:a]
x = 10
#[step:b]
squares = [x * x for x in range(3)]
#[step:c]
print(x, squares)
""",
        """
a: -> x
b: -> squares
c: squares<b x<a ->
""",
    ),
    "a value that nobody reads is not given": (
        """
#[step:a]
x = 1
unused = [2]
#[step:b]
print(x)
""",
        """
a: -> x
b: x<a ->
""",
    ),
    "a loop may bind nothing": (
        """
#[step:a]
last = 0
rows = [1, 2]
#[step:b]
for row in rows:
    last = row
#[step:c]
print(last)
""",
        """
a: -> last rows
b: last<a rows<a -> last
c: last<b ->
""",
    ),
    "a frame passed to libraries stays what it is": (
        """
#[step:a]
import numpy as np
import pandas as pd
df = pd.DataFrame({"a": [1, 2]})
#[step:b]
total = np.sum(df["a"])
table = pd.merge(df, df, on="a")
#[step:c]
print(df.describe(), df.head(), df.groupby("a").size())
#[step:d]
print(df, total, table)
""",
        """
a: -> df
b: df<a -> table total; def np pd
c: df<a ->
d: df<a table<b total<b ->
""",
    ),
    "selections of a frame are copies": (
        """
#[step:a]
import pandas as pd
df = pd.DataFrame({"a": [1, 2], "y": [0, 1]})
X, y = df[["a"]], df["y"]
#[step:b]
X["new"] = 1
#[step:c]
print(df, y)
#[step:d]
print(X)
""",
        """
a: -> X df y
b: X<a -> X
c: df<a y<a ->
d: X<b ->
""",
    ),
    "two columns of an unknown table may be one object": (
        """
#[step:a]
import somewhere
data = somewhere.load()
X, y = data["X"], data["y"]
#[step:b]
X.shift(1)
X.normalise()
#[step:c]
print(data, y)
""",
        """
a: -> (X data) y
b: X<a data<a -> data
c: data<b y<a ->
""",
    ),
    "an alias that nobody changes makes no unit with what comes later": (
        """
#[step:a]
a = [1]
#[step:b]
b = a
#[step:c]
print(a)
#[step:d]
print(b)
""",
        """
a: -> a
b: a<a -> b
c: a<a ->
d: b<b ->
""",
    ),
    "a container travels with what is changed in it": (
        """
#[step:a]
model = {"w": [0]}
box = [model]
#[step:b]
model["w"].append(1)
#[step:c]
print(box)
""",
        """
a: -> (box model)
b: box<a model<a -> box
c: box<b ->
""",
    ),
    "a container that only grows leaves its parts alone": (
        """
#[step:a]
first = [1]
box = [first]
#[step:b]
box.append([2])
#[step:c]
print(first)
#[step:d]
print(box)
""",
        """
a: -> box first
b: box<a -> box
c: first<a ->
d: box<b ->
""",
    ),
    "a name bound in the first cells and changed in a step": (
        """
#[]
threshold = 1
names = []
#[step:a]
names.append("a")
#[step:b]
threshold = 2
#[step:c]
print(threshold, names)
#[step:d]
print(names)
""",
        """
a: -> names
b: -> threshold
c: names<a threshold<b ->
d: names<a ->
""",
    ),
    "a loop over two frames keeps the branches after it apart": (
        """
#[step:load]
import pandas as pd
train, test = pd.read_csv("a.csv"), pd.read_csv("b.csv")
#[step:clean]
both = [train, test]
for frame in both:
    frame["sex"] = frame["sex"].map({"m": 0, "f": 1})
    frame["title"] = frame.name.apply(lambda name: name.strip())
#[step:first]
from sklearn.linear_model import LogisticRegression
one = LogisticRegression().fit(train, train["y"])
#[step:second]
from sklearn.naive_bayes import GaussianNB
two = GaussianNB()
two.fit(train, train["y"])
#[step:end]
print(one, two, test)
""",
        """
load: -> test train
clean: test<load train<load -> test train
first: train<clean -> one
second: train<clean -> two
end: one<first test<clean two<second ->
""",
    ),
    "an iterator inside of another": (
        """
#[step:a]
data = [1, 2, 3]
it = iter(data)
pairs = zip(it, it)
#[step:b]
first = next(pairs)
#[step:c]
print(next(it), first)
""",
        """
a: -> (it pairs)
b: it<a pairs<a -> first it
c: first<b it<b ->
""",
    ),
    "a loop uses an iterator up": (
        """
#[step:a]
it = iter([1, 2, 3])
#[step:b]
for x in it:
    break
#[step:c]
print(list(it), x)
""",
        """
a: -> it
b: it<a -> it x
c: it<b x<b ->
""",
    ),
    "the lists of a dict grow": (
        """
#[step:a]
groups = {"a": [1], "b": [2]}
#[step:b]
for key, values in groups.items():
    values.append(len(key))
#[step:c]
print(groups)
""",
        """
a: -> groups
b: groups<a -> groups
c: groups<b ->
""",
    ),
    "a comprehension changes its elements": (
        """
#[step:a]
rows = [[3, 1], [2, 0]]
#[step:b]
[r.sort() for r in rows]
#[step:c]
print(rows)
""",
        """
a: -> rows
b: rows<a -> rows
c: rows<b ->
""",
    ),
    "one of two lists": (
        """
#[step:a]
a, b = [1], [2]
flag = True
c = a if flag else b
#[step:b]
c.append(9)
#[step:c]
print(a, b)
""",
        """
a: -> (a b c)
b: a<a b<a c<a -> a b
c: a<b b<b ->
""",
    ),
    "an empty dict or another": (
        """
#[step:a]
cache = {}
view = cache or {}
#[step:b]
view["x"] = 1
#[step:c]
print(cache)
""",
        """
a: -> (cache view)
b: cache<a view<a -> cache
c: cache<b ->
""",
    ),
    "the rest of an unpacking": (
        """
#[step:a]
v = [[1], [2], [3]]
head, *tail = v
#[step:b]
tail[0].append(5)
#[step:c]
print(v)
""",
        """
a: -> (tail v)
b: tail<a v<a -> v
c: v<b ->
""",
    ),
    "functions of NumPy that change an array": (
        """
#[step:a]
import numpy as np
a = np.zeros((2, 2))
#[step:b]
np.fill_diagonal(a, 1)
a.sort(axis=0)
#[step:c]
a *= 2
#[step:d]
np.random.default_rng(0).shuffle(a)
#[step:e]
print(a)
""",
        """
a: -> a
b: a<a -> a; def np
c: a<b -> a
d: a<c -> a; def np
e: a<d ->
""",
    ),
    "setattr": (
        """
#[step:a]
class C: pass
c = C()
#[step:b]
setattr(c, "n", 5)
#[step:c]
print(getattr(c, "n"))
""",
        """
a: -> c
b: c<a -> c; def C
c: c<b ->; def C
""",
    ),
    "vars of an object": (
        """
#[step:a]
class C: pass
c = C()
#[step:b]
vars(c)["n"] = 5
#[step:c]
print(c.n)
""",
        """
a: -> c
b: c<a -> c; def C
c: c<b ->; def C
""",
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_values_flow_exactly_so(name):
    text, expected = FLOWS[name]
    assert flow(plan(text)) == expected.strip("\n")
