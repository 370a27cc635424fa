"""Chance, settings, magics and secrets.

Each notebook with exactly what its steps take and give.
"""

from __future__ import annotations

import pytest
from dataflow_notebooks import flow, plan

FLOWS = {
    "a generator of chance in a class": (
        """
#[step:a]
import numpy as np
class Sampler:
    rng = np.random.default_rng(0)
    def draw(self): return self.rng.normal()
s = Sampler()
#[step:b]
x = s.draw()
#[step:c]
result = s.draw()
""",
        """
a: -> s
b: s<a -> s
c: s<b ->
""",
    ),
    "only a splitter that shuffles draws": (
        """
#[]
import numpy as np
np.random.seed(1)
#[step:a]
from sklearn.model_selection import KFold, cross_val_score
from sklearn.tree import DecisionTreeClassifier
X = np.random.rand(30, 2); y = (X[:,0] > .5).astype(int)
#[step:b]
scores = cross_val_score(DecisionTreeClassifier(), X, y, cv=KFold(3, shuffle=True))
#[step:c]
scores2 = cross_val_score(DecisionTreeClassifier(random_state=0), X, y, cv=KFold(3))
#[step:d]
result = [scores, scores2, np.random.rand()]
""",
        """
a: -> <rng:numpy> X y
b: <rng:numpy><a X<a y<a -> <rng:numpy> scores; def KFold cross_val_score DecisionTreeClassifier
c: X<a y<a -> scores2; def KFold cross_val_score DecisionTreeClassifier
d: <rng:numpy><b scores<b scores2<c -> <rng:numpy>
""",
    ),
    "a star import hides a builtin": (
        """
#[step:a]
from numpy import *
x = array([[1, 2]])
#[step:b]
result = sum(x, 0), mean(x)
""",
        """
a: -> x
b: x<a ->; def <setup:0:1-1>
""",
    ),
    "a secret is read again": (
        """
#[step:a]
import os
API_KEY = os.environ["API_KEY"]
data = [API_KEY[:1]]
#[step:b]
print(len(API_KEY), data)
""",
        """
a: -> data
b: data<a ->; def os API_KEY
""",
    ),
    "a tagged name is read again": (
        """
#[step:a secret:token]
token = open("token.txt").read()
#[step:b]
print(len(token))
""",
        """
a: ->
b: ->; def token
""",
    ),
    "the last result is the object itself": (
        """
#[step:a]
x = [1]
#[]
x
#[]
y = _
#[step:b]
y.append(2)
#[step:c]
print(x)
""",
        """
a: -> (x y)
b: x<a y<a -> x
c: x<b ->
""",
    ),
    "a loop over _": (
        """
#[step:a]
for _ in range(3):
    pass
#[step:b]
print(_)
""",
        """
a: -> _
b: _<a ->
""",
    ),
    "a star import of functions that draw": (
        """
#[step:a]
from numpy.random import *
seed(0)
#[step:b]
x = rand(3)
#[step:c]
result = rand(2)
""",
        """
a: -> <rng:numpy>
b: <rng:numpy><a -> <rng:numpy>; def <setup:0:1-1>
c: <rng:numpy><b -> <rng:numpy>; def <setup:0:1-1>
""",
    ),
    "a star import binds a name anew": (
        """
#[step:a]
e = 5
#[step:b]
from math import *
#[step:c]
result = e
""",
        """
a: ->
b: -> e
c: e<b ->; def <setup:1:1-1>
""",
    ),
    "a condition looks at a value": (
        """
#[step:a]
auc = 0.5
#[pipeline-metrics]
print(auc)
#[step:b when:metrics.auc>0.9]
print("good")
""",
        """
a: -> auc
b: auc<a ->
""",
    ),
    "text that nobody knows runs": (
        """
#[step:a]
code = "z = x + 1"
x = 1
#[step:b]
exec(open("c.py").read())
#[step:c]
print(z, x)
""",
        """
a: -> code x
b: code<a x<a -> z
c: x<a z<b ->
""",
    ),
    "a look whether a name is there": (
        """
#[step:a]
if "model" not in globals():
    model = [1]
#[step:b]
model.append(2)
#[step:c]
print(model)
""",
        """
a: -> model
b: model<a -> model
c: model<b ->
""",
    ),
    "an estimator without a seed draws when it is fitted": (
        """
#[step:a]
import numpy as np
np.random.seed(0)
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
X = np.random.rand(20, 2); y = np.arange(20) % 2
rf = RandomForestClassifier(n_estimators=2)
#[step:b]
s = cross_val_score(rf, X, y, cv=2)
#[step:c]
print(s, np.random.rand())
""",
        """
a: -> <rng:numpy> X rf y
b: <rng:numpy><a X<a rf<a y<a -> <rng:numpy> s; def cross_val_score
c: <rng:numpy><b s<b -> <rng:numpy>; def np
""",
    ),
    "seeded in a step and drawn later": (
        """
#[step:a]
import random
random.seed(3)
#[step:b]
x = 1
#[step:c]
print(random.random(), x)
""",
        """
a: -> <rng:random>
b: -> x
c: <rng:random><a x<b -> <rng:random>; def random
""",
    ),
    "drawn without any seed: no order": (
        """
#[step:a]
import random
x = random.random()
#[step:b]
y = random.random()
#[step:c]
print(x, y)
""",
        """
a: -> <rng:random> x
b: -> <rng:random> y; def random
c: x<a y<b ->
""",
    ),
    "another name of a function that draws": (
        """
#[step:a]
import numpy as np
np.random.seed(0)
draw = np.random.rand
#[step:b]
x = draw()
#[step:c]
print(draw(), x)
""",
        """
a: -> <rng:numpy>
b: <rng:numpy><a -> <rng:numpy> x; def np draw
c: <rng:numpy><b x<b -> <rng:numpy>; def np draw
""",
    ),
    "shuffle draws and changes": (
        """
#[]
import random
random.seed(1)
#[step:a]
rows = [1, 2, 3]
#[step:b]
random.shuffle(rows)
#[step:c]
print(rows, random.random())
""",
        """
a: -> rows
b: rows<a -> <rng:random> rows
c: <rng:random><b rows<b -> <rng:random>
""",
    ),
    "a random state is passed on with who uses it": (
        """
#[step:a]
import numpy as np
from sklearn.model_selection import train_test_split
rng = np.random.RandomState(0)
X = [1, 2, 3, 4]
#[step:b]
one, two = train_test_split(X, random_state=rng)
#[step:c]
print(rng.rand(), one, two)
""",
        """
a: -> X rng
b: X<a rng<a -> one rng two; def train_test_split
c: one<b rng<b two<b ->
""",
    ),
    "a seed in a helper of unknown kind": (
        """
#[step:a]
import lightning
lightning.seed_everything(1)
#[step:b]
import numpy as np
x = np.random.rand()
#[step:c]
print(np.random.rand(), x)
""",
        """
a: -> <rng:numpy> <rng:random> <rng:torch>
b: <rng:numpy><a -> <rng:numpy> x
c: <rng:numpy><b x<b -> <rng:numpy>; def np
""",
    ),
    "options reach all later steps": (
        """
#[step:a]
import pandas as pd
pd.set_option("display.precision", 2)
#[step:b]
x = 1
#[step:c]
y = 2
""",
        """
a: -> <options:pandas>
b: <options:pandas><a ->
c: <options:pandas><a ->
""",
    ),
    "environment by magic": (
        """
#[step:a]
%env MODE=fast
#[step:b]
import os
print(os.environ["MODE"])
""",
        """
a: -> <environ>
b: <environ><a ->
""",
    ),
    "a module's attribute is set again in later steps": (
        """
#[step:a]
import plotly.io as pio
pio.templates.default = "simple"
#[step:b]
print(pio.templates.default)
""",
        """
a: ->
b: ->; def pio <setup:0:2-2>
""",
    ),
    "an extension is loaded again in later steps": (
        """
#[step:a]
%load_ext sql
#[step:b]
x = 1
""",
        """
a: ->
b: ->; def <setup:0:1-1>
""",
    ),
    "the environment is asked for a plain value": (
        """
#[step:a]
import os
user = os.environ.get("USER", "?")
#[step:b]
print(user)
""",
        """
a: -> user
b: user<a ->
""",
    ),
    "the last result passes on": (
        """
#[step:a]
rows = [1]
rows
#[step:b]
_.append(2)
#[step:c]
print(rows)
""",
        """
a: -> (_ rows)
b: _<a rows<a -> rows
c: rows<b ->
""",
    ),
    "a cell magic that times": (
        """
#[step:a]
%%timeit
x = 1
#[step:b]
print("done")
""",
        """
a: ->
b: ->
""",
    ),
    "modules of one package, imported in several steps": (
        """
#[step:a]
import os.path
import xml.dom
#[step:b]
import xml.sax
#[step:c]
print(os.path.join("a"), xml.dom, xml.sax)
""",
        """
a: ->
b: ->
c: ->; def os xml <setup:0:2-2>
""",
    ),
    "an imported name is bound to something else": (
        """
#[step:a]
import numpy as np
#[step:b]
np = None
#[step:c]
print(np)
""",
        """
a: ->
b: -> np
c: np<b ->
""",
    ),
    "a class of a library gets a method in all later steps": (
        """
#[step:a]
import pandas as pd
def shout(self): return "x"
pd.DataFrame.shout = shout
#[step:b]
print(pd.DataFrame().shout())
""",
        """
a: ->
b: ->; def pd shout <setup:0:3-3>
""",
    ),
    "eval and exec of texts that are written out": (
        """
#[step:a]
a = 2
#[step:b]
r = eval("a * 3")
#[step:c]
exec("b = r + a")
#[step:d]
print(b)
""",
        """
a: -> a
b: a<a -> r
c: a<a r<b -> b
d: b<c ->
""",
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_state_flows_exactly_so(name):
    text, expected = FLOWS[name]
    assert flow(plan(text)) == expected.strip("\n")
