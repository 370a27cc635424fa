"""The parameters cell in two: the same values by default, and what follows follows."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.pipeline.writing.parameters_cell import split_parameters

CELLS = {
    "literals": "a = 1\nb = 'x'  # text\nc: float = 2.5",
    "one follows": "n = 10\nhalf = n // 2",
    "a chain": "n = 10\nhalf = n // 2\nquarter = half // 2\nlast = [quarter, n]",
    "an f-string": "root = 'data'\nfile = f'{root}/x.csv'",
    "a call that follows": "from pathlib import Path\nroot = Path('a')\nfile = root / 'b'",
    "a literal below": "n = 1\nm = n + 1\nk = 5",
    "remarks between": "# how many\nn = 10\n\n# half of them\nhalf = n // 2\n# the end",
    "over lines": "n = [\n    1,\n    2,\n]\nm = [\n    *n,\n    3,\n]",
    "a tuple": "a, b = 1, 2\nc = a + b",
    "two names at once": "a = b = 3\nc = a * b",
    "on one line": "a = 1; b = 2\nc = a + b",
    "annotated": "n: int = 10\nhalf: 'float' = n / 2",
    "a lambda": "n = 3\nf = lambda x=n: x + n\nm = f()",
    "a comprehension": "n = 3\nsquares = [x * x for x in range(n)]",
    "a name bound twice": "n = 1\nm = n\nn = 5",
    "augmented": "n = 1\nn += 1\nm = n",
    "a loop": "n = 3\ntotal = 0\nfor i in range(n):\n    total += i",
    "a condition": "debug = True\nif debug:\n    n = 1\nelse:\n    n = 10",
    "a long text": 'n = 1\ntext = f"""first\n  {n}\nlast"""',
    "unpacked": "pair = (1, 2)\na, b = pair",
    "a walrus": "n = (m := 3) + 1\nk = m",
    "a function": "def f():\n    return n\nn = 2\nm = f()",
    "an attribute": "class A:\n    pass\nA.x = 1\nm = A.x",
    "a print": "n = 1\nprint(n)\nm = n + 1",
    "a semicolon that follows": "n = 1\na = n; b = a",
    "a text that looks like a magic": "n = '''\n%time\n'''\nm = n * 2",
    "none by default": "n = None\nm = [n]",
}


def run(*sources, **given_):
    """Run cells as papermill does: given values below the first."""
    namespace = {}
    exec(sources[0], namespace)  # noqa: S102 - as a kernel does
    namespace.update(given_)
    for source in sources[1:]:
        exec(source, namespace)  # noqa: S102
    return {
        name: value
        for name, value in namespace.items()
        if not name.startswith("__") and not callable(value)
    }


@pytest.mark.parametrize("name", CELLS)
def test_by_default_the_values_are_those_of_the_cell(name):
    written = split_parameters([CELLS[name]])
    assert run(written.given, written.follows) == run(CELLS[name])


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        pytest.param("one follows", {"n": 4}, {"n": 4, "half": 2}, id="one follows"),
        pytest.param("one follows", {"half": 9}, {"n": 10, "half": 9}, id="given itself"),
        pytest.param("one follows", {"n": 4, "half": 9}, {"n": 4, "half": 9}, id="both given"),
        pytest.param("a literal below", {"n": 3, "k": 7}, {"n": 3, "m": 4, "k": 7}, id="below"),
        pytest.param("an f-string", {"root": "a"}, {"root": "a", "file": "a/x.csv"}, id="text"),
        pytest.param("a tuple", {"a": 5}, {"a": 5, "b": 2, "c": 7}, id="a tuple"),
        pytest.param("on one line", {"b": 5}, {"a": 1, "b": 5, "c": 6}, id="one line"),
        pytest.param("annotated", {"n": 4}, {"n": 4, "half": 2.0}, id="annotated"),
        pytest.param("none by default", {"n": 4}, {"n": 4, "m": [4]}, id="none"),
    ],
)
def test_given_values_are_followed_and_kept(name, values, expected):
    written = split_parameters([CELLS[name]])
    found = run(written.given, written.follows, **values)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    "name",
    [
        "a name bound twice",
        "augmented",
        "a loop",
        "a condition",
        "a long text",
        "unpacked",
        "a walrus",
        "a function",
        "a print",
        "a semicolon that follows",
    ],
)
def test_what_cannot_be_taken_apart_for_sure_stays_one_cell(name):
    written = split_parameters([CELLS[name]])
    assert (written.given, written.follows) == (CELLS[name], "")


def test_a_magic_keeps_the_cell_whole():
    source = "%matplotlib inline\nn = 1\nm = n"
    assert split_parameters([source]).given == source


def test_only_what_is_needed_and_what_that_follows_from():
    source = "a = 1\nb = 2\nc = a + 1\nd = c + 1"
    assert split_parameters([source], {"b"}).given == "b = 2"
    needed = split_parameters([source], {"c"})
    assert run(needed.given, needed.follows) == {"a": 1, "c": 2}
    assert split_parameters([source], set()).given == ""


def test_a_value_that_was_made_by_doing_something_is_never_left_out():
    assert "connect()" in split_parameters(["a = connect()\nb = 1"], {"b"}).given
    assert "import os" in split_parameters(["import os\nb = 1"], {"b"}).given


def test_a_name_that_is_bound_further_down_is_not_taken_for_it():
    source = "a = b\nb = 2"
    assert split_parameters([source]).given == source


def test_literals_of_two_cells_can_both_be_given():
    written = split_parameters(["n = 1\nm = n", "k = 3"])
    assert run(written.given, written.follows, k=5) == {"n": 1, "m": 1, "k": 5}


EXPRESSIONS = st.sampled_from(["1", "'x'", "{0}", "{0} * 2", "[{0}, {1}]", "str({1})", "({0}, 1)"])


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(st.tuples(st.sampled_from("abcd"), EXPRESSIONS), min_size=1, max_size=6))
def test_any_cell_of_assignments_gives_its_values(lines):
    source, bound = "", ["7"]
    for target, expression in lines:
        source += f"{target} = {expression.format(bound[-1], bound[0])}\n"
        bound.append(target)
    ast.parse(source)
    written = split_parameters([source])
    assert run(written.given, written.follows) == run(source)
