"""Names and digests of cells, by their text."""

from __future__ import annotations

import ast
import subprocess
import symtable
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.source import CellNames, analyse, code_digest, statement_at, statements_of, transform

REAL_MODULES = [
    "dataclasses",
    "enum",
    "functools",
    "inspect",
    "typing",
    "IPython.core.magics.execution",
    "pandas.io.parsers.readers",
    "sklearn.base",
    "sklearn.model_selection._search",
]


def source_of(module: str) -> str:
    top, _, rest = module.partition(".")
    path = Path(find_spec(top).origin)
    if rest:
        path = path.parent.joinpath(*rest.split(".")).with_suffix(".py")
    source = path.read_text(encoding="utf-8")
    # With it annotations are no references, and a cell's may well be evaluated.
    return source.replace("from __future__ import annotations", "")


def names(source: str) -> dict[str, set[str]]:
    found = analyse(source)
    return {
        "reads": set(found.reads),
        "binds": set(found.binds),
        "mutates": set(found.mutates),
        "deletes": set(found.deletes),
    }


# --- against Python's own symbol tables -------------------------------------------------------


def global_names(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """Names of the module that are referenced, and bound, anywhere in a source."""
    referenced, bound = set(), set()
    for symbol in table.get_symbols():
        is_module = table.get_type() == "module"
        if not (is_module or symbol.is_global()):
            continue
        if symbol.is_referenced():
            referenced.add(symbol.get_name())
        if symbol.is_assigned() or symbol.is_imported():
            bound.add(symbol.get_name())
    for child in table.get_children():
        inner_referenced, inner_bound = global_names(child)
        referenced |= inner_referenced
        bound |= inner_bound
    return referenced, bound


@pytest.mark.parametrize("module", REAL_MODULES)
def test_scopes_agree_with_pythons_symbol_table(module):
    source = source_of(module)
    referenced, bound = global_names(symtable.symtable(source, module, "exec"))
    found = analyse(source)
    read = {name for statement in statements_of(source) for name in statement.reads}
    # Inside of a function a statement tells its locals too, so this side is the larger one.
    assert referenced - read == set()
    assert set(found.reads) <= referenced
    assert set(found.binds) == bound


def class_names(table: symtable.SymbolTable) -> set[str]:
    """Names that classes bind; one read before that is a global, which the table leaves out."""
    own = {s.get_name() for s in table.get_symbols() if table.get_type() == "class"}
    return own.union(*(class_names(child) for child in table.get_children()))


@pytest.mark.parametrize("module", REAL_MODULES)
def test_top_level_statements_read_just_the_globals(module):
    source = source_of(module)
    table = symtable.symtable(source, module, "exec")
    referenced, _ = global_names(table)
    tops = {node.lineno for node in ast.parse(source).body}
    statements = {s.first_line: s for s in reversed(statements_of(source))}
    read = {name for line in tops for name in statements[line].reads}
    assert referenced - read == set()
    assert read - referenced <= class_names(table)


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        pytest.param("y = x + 1", {"x"}, id="a plain read"),
        pytest.param("x = 1\nprint(x)", {"print"}, id="bound before it is read"),
        pytest.param("x = x + 1", {"x"}, id="read before it is bound"),
        pytest.param("if a:\n    x = 1\nprint(x)", {"a", "x", "print"}, id="bound in one branch"),
        pytest.param("if a:\n    x = 1\nelse:\n    x = 2\nx", {"a"}, id="bound in both branches"),
        pytest.param("if a:\n    x = 1\nelse:\n    raise E\nx", {"a", "E"}, id="else it leaves"),
        pytest.param("for i in r:\n    x = i\nx", {"r", "x"}, id="a loop may not run"),
        pytest.param("with f() as g:\n    x = g\nx", {"f"}, id="a with block runs"),
        pytest.param("with suppress(E):\n    x = 1\nx", {"suppress", "E", "x"}, id="suppressed"),
        pytest.param("try:\n    x = 1\nexcept E:\n    pass\nx", {"E", "x"}, id="try may fail"),
        pytest.param("try:\n    x = 1\nexcept E:\n    raise\nx", {"E"}, id="failing leaves"),
        pytest.param("[x for x in y if x]", {"y"}, id="a comprehension's own name"),
        pytest.param("def f(a):\n    b = a\n    return a + b + c", {"c"}, id="a function's own"),
        pytest.param("lambda a: a + b", {"b"}, id="a lambda's own name"),
        pytest.param("class A:\n    k = 1\n    def f(self):\n        return k", {"k"}, id="class"),
        pytest.param("x += 1", {"x"}, id="augmented"),
        pytest.param("df.query('a > @limit')", {"df", "limit"}, id="names inside of a query"),
        pytest.param("f'{x:{w}}'", {"x", "w"}, id="f-string"),
        pytest.param("match x:\n    case [a, *b]:\n        a", {"x"}, id="match"),
        pytest.param("x = await f()", {"f"}, id="top-level await"),
        pytest.param("!ls {folder} $name", {"folder", "name"}, id="shell"),
        pytest.param("%cd {folder}", {"folder"}, id="line magic"),
        pytest.param("%mlops_log acc=score(y) step=3", {"score", "y"}, id="our own log"),
    ],
)
def test_reads_are_the_values_from_before_the_cell(source, reads):
    assert names(source)["reads"] == reads


@pytest.mark.parametrize(
    ("source", "binds"),
    [
        pytest.param("a = b = 1", {"a", "b"}, id="twice"),
        pytest.param("(a, [b, *c]) = x", {"a", "b", "c"}, id="unpacked"),
        pytest.param("import a.b, c as d\nfrom e import f as g", {"a", "d", "g"}, id="imports"),
        pytest.param("def f(): pass\nclass A: pass", {"f", "A"}, id="definitions"),
        pytest.param("for i in r: pass", {"i"}, id="loop"),
        pytest.param("with a as b: pass", {"b"}, id="with"),
        pytest.param("[(y := x) for x in xs]", {"y"}, id="walrus in a comprehension"),
        pytest.param("def f():\n    global g\n    g = 1", {"f", "g"}, id="global in a function"),
        pytest.param("a.b = 1\na[0] = 2", set(), id="parts are not bound"),
        pytest.param("%%time\nx = 1", {"x"}, id="body of %%time"),
        pytest.param("%time x = 1", {"x"}, id="line of %time"),
        pytest.param("%%timeit -n 3\nx = 1", set(), id="body of %%timeit"),
        pytest.param("%%capture out\nx = 1", {"out", "x"}, id="%%capture"),
        pytest.param("%%bash --out text\nls", {"text"}, id="%%bash --out"),
        pytest.param("%%mlops_track forest\nx = 1", {"x"}, id="our own cell magic"),
        pytest.param("files = !ls", {"files"}, id="shell output"),
        pytest.param("x: int", set(), id="annotation alone"),
    ],
)
def test_binds_are_names_of_the_notebook(source, binds):
    assert names(source)["binds"] == binds


@pytest.mark.parametrize(
    ("source", "mutates"),
    [
        pytest.param("model.fit(X, y)", {"model", "X", "y"}, id="receiver and arguments"),
        pytest.param("df['a'] = 1", {"df"}, id="item"),
        pytest.param("a.b.c = 1", {"a"}, id="attribute"),
        pytest.param("del d['k']", {"d"}, id="deleted item"),
        pytest.param("x += y", {"x"}, id="augmented"),
        pytest.param("len(x), print(x), sorted(x)", set(), id="pure builtins"),
        pytest.param("df['a'].fillna(0, inplace=True)", {"df"}, id="method of a part"),
        pytest.param("f([a, b], c=d)", {"a", "b", "d"}, id="inside of a list, by keyword"),
        pytest.param("for row in rows:\n    row.append(1)", {"row"}, id="loop variable"),
        pytest.param("[x.pop() for x in xs]", {"xs"}, id="elements in a comprehension"),
        pytest.param("def f():\n    log.append(1)", {"log"}, id="inside of a function"),
        pytest.param("def f(log):\n    log.append(1)", set(), id="a function's own"),
        pytest.param("a + b * c", set(), id="operators"),
        pytest.param("m = M()\nm.fit(X)", {"X"}, id="bound in the cell itself"),
    ],
)
def test_mutates_are_values_from_before_the_cell(source, mutates):
    found = names(source)["mutates"]
    assert found - {"row"} == mutates - {"row"}


def test_what_a_cell_changes_of_its_own_names_is_told_apart():
    found = analyse("m = base\nm.fit(X)")
    assert (found.mutates, found.touches, found.origins) == (("X",), ("m",), {"m": ("base",)})


@pytest.mark.parametrize(
    "source",
    [
        "exec(text)",
        "from os.path import *",
        "globals()['x'] = 1",
        "%run other.py",
        "%load_ext somebody",
        "%unknown_magic",
        "%%unknown_magic\nx = 1",
        "get_ipython().run_cell('x = 1')",
        "locals()",
    ],
)
def test_a_cell_that_can_touch_anything_is_dynamic(source):
    assert analyse(source).is_dynamic


@pytest.mark.parametrize(
    "source", ["x = 1", "%matplotlib inline", "!pip list", "%%time\nx = 1", "vars(x)", "%cd .."]
)
def test_an_ordinary_cell_is_not_dynamic(source):
    assert not analyse(source).is_dynamic


def test_calls_are_dotted_where_they_start_with_a_name():
    found = analyse("np.random.seed(1)\nmake().fit(x)")
    assert found.calls == ("np.random.seed", "fit", "make")


def test_deletes_are_names():
    assert names("del a, b.c")["deletes"] == {"a"}


def test_names_of_text_that_is_no_python_are_none():
    for source in ("def (", "*** ???!"):
        assert analyse(source) == CellNames(source=source)


def test_a_tree_that_is_given_spares_parsing_and_changes_nothing():
    source = "given_tree = other.method(1)"
    given, parsed = analyse(source, ast.parse(source)), analyse(f"{source}  ")
    assert (given.reads, given.binds, given.mutates) == (("other",), ("given_tree",), ("other",))
    assert (parsed.reads, parsed.binds, parsed.mutates) == (
        given.reads,
        given.binds,
        given.mutates,
    )


# --- statements -------------------------------------------------------------------------------

CELL = """\
a = 1
for i in range(3):
    with f(i) as g:
        b = g.value(
            a,
        )

def h(x):
    y = x + a
    return y
"""


@pytest.mark.parametrize(
    ("line", "span"),
    [(1, (1, 1)), (2, (2, 6)), (3, (3, 6)), (5, (4, 6)), (7, None), (9, (9, 9)), (99, None)],
)
def test_the_innermost_statement_is_found_by_line(line, span):
    found = statement_at(CELL, line)
    assert (found and (found.first_line, found.last_line)) == span


def test_a_statement_tells_what_it_reads_even_if_the_cell_bound_it():
    statement = statement_at(CELL, 4)
    assert (statement.reads, statement.binds) == (("g", "a"), ("b",))


def test_a_function_does_not_bind_its_locals_in_the_notebook():
    definition = next(s for s in statements_of(CELL) if s.first_line == 8)
    assert (set(definition.reads), definition.binds) == ({"a"}, ("h",))


def test_a_lambda_keeps_its_names_from_its_statement():
    (statement,) = statements_of("f = lambda x, y=a: x.change(y) + b")
    assert (statement.reads, statement.mutates) == (("a", "b"), ())


def test_what_functions_read_after_the_cell_bound_it_is_known_by_position():
    found = analyse("alpha = 1\nscore = evaluate()")
    assert found.bound_at["alpha"] < found.read_at["evaluate"]
    found = analyse("score = evaluate()\nalpha = 1")
    assert not found.bound_at["alpha"] < found.read_at["evaluate"]


def test_lines_of_a_magic_body_count_from_the_top_of_the_cell():
    assert statement_at("%%time\n\nx = 1\ny = x\n", 4).binds == ("y",)


# --- digests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("x=f(1,2)", "x = f(\n    1,\n    2,\n)  # why", id="layout and comments"),
        pytest.param("x = 'a'", 'x = "a"', id="quotes"),
        pytest.param("def f():\n    'Doc.'\n    return 1", "def f(): return 1", id="docstring"),
        pytest.param("x = (1)", "x = 1", id="parentheses"),
        pytest.param("%%time\nx=1", "%%time\nx = 1", id="body of a magic"),
        pytest.param("\n\nx = 1\n", "x = 1", id="blank lines"),
        pytest.param("def ( ", "def (", id="unparsable, stripped"),
    ],
)
def test_layout_does_not_change_the_digest(one, other):
    assert code_digest(one) == code_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("x = 1", "x = 2", id="constant"),
        pytest.param("x = 1", "x = 1.0", id="type of a constant"),
        pytest.param("x = '1'", "x = 1", id="text or number"),
        pytest.param("x = y", "x = z", id="name"),
        pytest.param("f(a, b)", "f(b, a)", id="order"),
        pytest.param("f(a)", "f(*a)", id="star"),
        pytest.param("f(a=1)", "f(b=1)", id="keyword"),
        pytest.param("x[1:]", "x[:1]", id="slice"),
        pytest.param("a < b <= c", "a <= b < c", id="comparisons"),
        pytest.param("{**a}", "{a: a}", id="unpacked mapping"),
        pytest.param("f'{x}'", "f'{x!r}'", id="conversion"),
        pytest.param("f'{x:1}'", "f'{x:2}'", id="format"),
        pytest.param("[x for x in y]", "(x for x in y)", id="generator"),
        pytest.param("if a: b\nelse: c", "if a: c\nelse: b", id="branches"),
        pytest.param("'shown'", "'other'", id="text that is the result"),
        pytest.param("%%time\nx = 1", "%%prun\nx = 1", id="magic"),
        pytest.param("%%capture a\nx = 1", "%%capture b\nx = 1", id="line of a magic"),
        pytest.param("%%time\nx = 1", "%%time\nx = 2", id="body of a magic"),
        pytest.param("%cd a", "%cd b", id="line magic"),
        pytest.param("import a", "import a as b", id="import"),
        pytest.param("x: int = 1", "x: str = 1", id="annotation"),
        pytest.param("a = b = 1", "a = 1\nb = 1", id="targets"),
        pytest.param("global a", "global b", id="global"),
        pytest.param("def f(a, /, b): pass", "def f(a, b, /): pass", id="parameters"),
        pytest.param("not a", "-a", id="unary"),
    ],
)
def test_meaning_changes_the_digest(one, other):
    assert code_digest(one) != code_digest(other)


@pytest.mark.parametrize("module", REAL_MODULES)
def test_a_real_module_keeps_its_digest_when_it_is_written_anew(module):
    tree = ast.parse(source_of(module))
    assert code_digest(ast.unparse(tree)) == code_digest(source_of(module))


@given(st.text(max_size=200))
def test_any_text_has_a_digest_and_names(text):
    assert code_digest(text).startswith("xxh3:")
    analyse(text)


# --- transformation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("x = 1 % 2", "x = 1 % 2"),
        ("%pwd", "get_ipython().run_line_magic('pwd', '')"),
        ("%%time\nx = 1", "get_ipython().run_cell_magic('time', '', 'x = 1\\n')"),
        ("x = !ls", "x = get_ipython().getoutput('ls')"),
        ("len?", "get_ipython().run_line_magic('pinfo', 'len')"),
        ("def (", "def ("),
    ],
)
def test_ipythons_syntax_becomes_python(source, python):
    assert transform(source).strip() == python


def test_plain_python_needs_no_ipython():
    code = (
        "import sys; from mlops_nb import source; source.analyse('x = 1 + y'); "
        "source.code_digest('x'); source.transform('x = 1'); print('IPython' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
