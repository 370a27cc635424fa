"""What capture tells of cells that run in a real kernel, with IPython 9 and 8."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Kernel, ipython8_python

from mlops_nb.capture.dataflow import Watch
from mlops_nb.capture.values import Origins
from mlops_nb.source import analyse

TESTS = Path(__file__).parent
OURS = "__import__('recording')"


@pytest.fixture(scope="module")
def shared_kernel(kernel_python, tmp_path_factory):
    """One kernel for the tests of this file: each records anew, and cleans up its names."""
    kernel = Kernel(
        kernel_python, tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    )
    kernel.run(f"import sys; sys.path.insert(0, {str(TESTS)!r}); del sys", silent=True)
    yield kernel
    kernel.close()


def joined(started: dict, ended: dict) -> dict:
    """An execution as a store would keep it."""
    return {**started, **ended, "flags": started["flags"] + ended.get("flags", ())}


class Recorded:
    """A kernel that is recorded, and what was told so far."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.folder = kernel.folder

    def start(self, **given) -> None:
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        self.kernel.run(f"{OURS}.start({arguments})", silent=True)

    def run(self, code: str, **given):
        return self.kernel.run(code, **given)

    def quietly(self, code: str) -> None:
        """Run code that is not recorded."""
        reply = self.kernel.run(code, silent=True)
        assert reply.status == "ok", reply.content

    def major(self, library: str) -> int:
        """Major version of a library in the kernel."""
        return self.kernel.evaluate(f"__import__({library!r}).version_info[0]")

    def report(self) -> SimpleNamespace:
        told = self.kernel.evaluate(f"{OURS}.recorder.report()")
        assert told["faults"] == []
        ended = {each["id"]: each for each in told["ended"]}
        told["executions"] = [joined(each, ended.get(each["id"], {})) for each in told["started"]]
        return SimpleNamespace(**told)

    def only(self) -> SimpleNamespace:
        """The one execution there is."""
        (execution,) = self.report().executions
        return SimpleNamespace(**execution)

    def outputs(self) -> list[tuple]:
        """(order of the execution, position, kind, name or MIME type, text or bytes)."""
        report = self.report()
        orders = {each["id"]: each["order"] for each in report.started}
        return [
            (
                orders[each["execution"]],
                each["position"],
                each["kind"],
                each["name"] or each["mime"],
                each["data"] if each["mime"].startswith("image/png") else each["data"].decode(),
            )
            for each in report.outputs
        ]


@pytest.fixture
def recorded(shared_kernel):
    """The shared kernel, recorded from the first cell of the test on."""
    told = Recorded(shared_kernel)
    told.start()
    yield told
    shared_kernel.run(f"{OURS}.stop(); {OURS}.forget()", silent=True)


# --- names ------------------------------------------------------------------------------------

NAMES = {
    "a first binding": ("", "x = 1", {"binds": "x"}),
    "a read": ("x = 1", "x + 1", {"reads": "x"}),
    "bound before it is read": ("x = 1", "x = 2\nprint(x)", {"binds": "x"}),
    "bound to what it was": ("x = 1", "x = 1", {"binds": "x"}),
    "a branch not taken": ("x = 1", "if not x:\n    x = 2", {"reads": "x"}),
    "a branch taken": ("x = 1", "if x:\n    x = 2", {"reads": "x", "binds": "x"}),
    "a loop that may rebind a list": (
        "xs = [1]",
        "for i in range(0):\n    xs = []",
        {"reads": "xs", "binds": "xs"},
    ),
    "a weakly held value that stays": (
        "class A: pass\na = A()",
        "for i in range(0):\n    a = A()",
        {"reads": "A"},
    ),
    "an imported module": ("", "import math\ny = math.pi", {"binds": "math y"}),
    "deleted": ("x = 1", "del x", {"deletes": "x"}),
    "bound and deleted": ("", "x = 1\ndel x", {}),
    "exception name": (
        "",
        "try:\n    1/0\nexcept Exception as e:\n    s = str(e)",
        {"binds": "s"},
    ),
    "a method changes its receiver": ("a = []", "a.append(1)", {"reads": "a", "mutates": "a"}),
    "text cannot be changed": ("a = ''", "a.strip()", {"reads": "a"}),
    "an item": ("d = {}", "d['k'] = 1", {"reads": "d", "mutates": "d"}),
    "an attribute of a class": (
        "class A: pass",
        "A.k = 1",
        {"reads": "A", "mutates": "A"},
    ),
    "an attribute of a module": (
        "import math",
        "math.e = math.e",
        {"reads": "math", "mutates": "math"},
    ),
    "an argument": (
        "a = []\nadd = list.append",
        "add(a, 1)",
        {"reads": "add a", "mutates": "a"},
    ),
    "a pure builtin": ("a = [2, 1]", "b = sorted(a)", {"reads": "a", "binds": "b"}),
    "an iterator is used up": (
        "it = iter([1])",
        "for x in it: pass",
        {"reads": "it", "binds": "x", "mutates": "it"},
    ),
    "a function reads a global": (
        "k = 1\ndef f(): return k",
        "f()",
        {"reads": "f k"},
    ),
    "a function calls another": (
        "k = []\ndef g(): k.append(1)\ndef f(): g()",
        "f()",
        {"reads": "f g k", "mutates": "k"},
    ),
    "a function binds a global": (
        "k = 1\ndef f():\n    global k\n    k = 2",
        "f()",
        {"reads": "f", "binds": "k"},
    ),
    "a function binds a new global": (
        "def f():\n    global fresh\n    fresh = 2",
        "f()",
        {"reads": "f", "binds": "fresh"},
    ),
    "a function deletes a global": (
        "k = 1\ndef f():\n    global k\n    del k",
        "f()",
        {"reads": "f", "deletes": "k"},
    ),
    "a method of the notebook's class": (
        "k = []\nclass A:\n    def go(self): k.append(1)\na = A()",
        "a.go()",
        {"reads": "a k", "mutates": "a k"},
    ),
    "a wrapped function": (
        "import functools\nk = 1\n@functools.lru_cache\ndef f(): return k",
        "f()",
        {"reads": "f k", "mutates": "f"},
    ),
    "what a function uses is the cell's own": (
        "k = 1\ndef f(): return k",
        "k = 2\nf()",
        {"reads": "f", "binds": "k"},
    ),
    "exec": ("x = 1", "exec('y = x')", {"binds": "y"}),
    "exec that rebinds and deletes": (
        "x = 1\nz = 1",
        "exec('x = []; del z')",
        {"binds": "x", "deletes": "z"},
    ),
    "import star": ("", "from math import *", {"binds": "*"}),
    "the last result": ("x = 1", "y = _", {"reads": "_", "binds": "y"}),
    "an earlier result": ("x = 1", "y = Out", {"reads": "_", "binds": "y"}),
    "a part of another value": (
        "rows = [[1]]",
        "row = rows[0]\nrow.append(2)",
        {"reads": "rows", "binds": "row", "mutates": "rows"},
    ),
    "a loop over parts": (
        "rows = [[1]]",
        "for row in rows:\n    row.append(2)",
        {"reads": "rows", "binds": "row", "mutates": "rows"},
    ),
    "pandas by query": (
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\nlimit = 1",
        "high = df.query('a > @limit')",
        {"reads": "df limit", "binds": "high", "mutates": "df"},
    ),
    "a number of NumPy cannot be changed": (
        "import numpy as np\nn = np.float64(1)",
        "n.round()",
        {"reads": "n"},
    ),
    "time": ("x = 1", "%%time\ny = x", {"reads": "x", "binds": "y"}),
    "timeit": ("x = []", "%timeit -n 1 -r 1 x.append(1)", {"reads": "x", "mutates": "x"}),
    "shell": ("folder = '.'", "files = !ls {folder}", {"reads": "folder", "binds": "files"}),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_a_cell(recorded, name):
    setup, cell, expected = NAMES[name]
    recorded.quietly(setup)
    recorded.quietly("_ = 1")
    recorded.run(cell)
    told = recorded.only()
    assert told.status == "ok", told.error
    if expected.get("binds") == "*":
        assert {"pi", "sqrt"} <= set(told.binds)
        return
    found = {kind: set(getattr(told, kind)) for kind in ("reads", "binds", "mutates", "deletes")}
    wanted = {kind: set(expected.get(kind, "").split()) for kind in found}
    # What a later issue can prove to be unchanged may be missing among the mutated.
    unproven = found.pop("mutates") - wanted.pop("mutates")
    assert unproven == set()
    assert found == wanted


def test_a_change_through_another_name_is_told_of_both(recorded):
    recorded.run("rows = [[1]]")
    recorded.run("first = rows[0]")
    recorded.run("first.append(2)")
    assert set(recorded.report().executions[-1]["mutates"]) == {"first", "rows"}


def test_names_that_no_longer_share_are_told_apart(recorded):
    recorded.run("rows = [[1]]\nfirst = rows[0]")
    recorded.run("first = []")
    recorded.run("first.append(2)")
    assert recorded.report().executions[-1]["mutates"] == ("first",)


def test_after_an_error_only_what_changed_is_bound(recorded):
    recorded.quietly("x, y, z = 1, 1, []")
    recorded.run("x = 2\n1 / 0\ny = 2\nz = []")
    told = recorded.only()
    # Whether the list is still the same one cannot be known: it counts as bound, and as read.
    assert set(told.binds) == {"x", "z"}
    assert told.reads == ("z",)


class Unlooked(dict):
    """A namespace that nobody may look through as a whole."""

    def _refuse(self, *_args):
        raise AssertionError("looked at the whole namespace")

    __iter__ = items = keys = values = copy = _refuse


def test_only_named_and_new_names_are_looked_at():
    namespace = Unlooked({f"name_{i}": [i] for i in range(1000)})
    watch = Watch(namespace, analyse("a = name_1\nname_2.append(a)\nprint(name_3)"), ())
    namespace.update(a=1, b=2)
    touched = watch.finish(Origins(), is_complete=True)
    assert set(touched.binds) == {"a", "b"}
    assert set(touched.reads) == {"name_1", "name_2", "name_3"}


# --- events -----------------------------------------------------------------------------------


def test_a_cell_is_told_as_typed_with_place_times_and_number(recorded):
    recorded.run("import time\nfor i in range(200_000): pass\ntime.sleep(0.05)")
    told = recorded.only()
    assert told.source == "import time\nfor i in range(200_000): pass\ntime.sleep(0.05)"
    assert told.transformed is None
    assert told.status == "ok"
    assert told.error is None
    assert told.duration_s >= 0.05
    assert 0 < told.cpu_s < told.duration_s
    assert told.execution_count == told.order
    assert told.flags == ()


def test_the_beginning_is_told_before_the_cell_runs(recorded):
    reply = recorded.run(f"len({OURS}.recorder.started), len({OURS}.recorder.ended)")
    assert reply.result == "(1, 0)"


def test_a_cell_with_magics_is_told_as_run_too(recorded):
    recorded.run("%time x = 1")
    assert recorded.only().transformed == "get_ipython().run_line_magic('time', 'x = 1')\n"


def test_secrets_in_a_source_are_replaced(recorded):
    recorded.run("password = 'correct-horse'")
    assert recorded.only().source == "password = '⟨secret:password⟩'"


def test_an_empty_cell_is_no_execution(recorded):
    for source in ("", "  \n "):
        recorded.run(source)
    recorded.run("x = 1")
    assert recorded.only().source == "x = 1"


def test_a_cell_of_remarks_is_one(recorded):
    recorded.run("# nothing\n")
    assert (recorded.only().status, recorded.only().binds) == ("ok", ())


def test_a_syntax_error_is_told_with_its_line(recorded):
    reply = recorded.run("\n\nx = 1\ndef (\n")
    told = recorded.only()
    assert reply.error.startswith("SyntaxError")
    assert told.status == "syntax"
    assert (told.error["type"], told.error["line"]) == ("SyntaxError", 4)
    assert (told.reads, told.binds) == ((), ())
    assert [(o[2], o[3]) for o in recorded.outputs()] == [("error", "SyntaxError")]


@pytest.mark.parametrize(
    ("source", "kind", "message", "line"),
    [
        ("x = 1\n1 / 0", "ZeroDivisionError", "division by zero", 2),
        ("\n\nx = 1\n1 / 0", "ZeroDivisionError", "division by zero", 4),
        ("def f():\n    return 1 / 0\n\nf()", "ZeroDivisionError", "division by zero", 2),
        ("import json\njson.loads('{')", "JSONDecodeError", None, 2),
        ("%%time\nx = 1\n1 / 0", "ZeroDivisionError", "division by zero", 3),
        ("raise SystemExit(3)", "SystemExit", "3", 1),
        ("raise ValueError('token=\"abc123\"')", "ValueError", 'token="⟨secret:token⟩"', 1),
        ("import asyncio\nawait asyncio.sleep(0)\n1 / 0", "ZeroDivisionError", None, 3),
        ("eval('1 +')", "SyntaxError", None, 1),
    ],
)
def test_an_error_is_told_with_type_message_and_line(recorded, source, kind, message, line):
    recorded.run(source)
    told = recorded.only()
    if source.startswith("%%time") and recorded.major("IPython") < 9:
        # There %%time shows the error itself, and the cell has succeeded.
        assert (told.status, recorded.outputs()[-1][3]) == ("ok", kind)
        return
    assert told.status == "error"
    assert (told.error["type"], told.error["line"]) == (kind, line)
    assert message is None or told.error["message"] == message
    assert kind in told.error["traceback"]
    assert "\x1b" not in told.error["traceback"]


def test_the_traceback_is_the_one_that_was_shown(recorded):
    reply = recorded.run("def f():\n    raise KeyError('k')\nf()")
    (shown,) = [m["content"] for m in reply.messages if m["msg_type"] == "error"]
    told = recorded.only().error["traceback"]
    assert len(told.splitlines()) == len("\n".join(shown["traceback"]).splitlines())
    assert "----> 3 f()" in told


def test_frames_of_ours_are_in_no_traceback(recorded):
    reply = recorded.run(
        "from IPython.display import publish_display_data\n"
        "publish_display_data({'text/plain': object()})"
    )
    shown = [m["content"]["traceback"] for m in reply.messages if m["msg_type"] == "error"]
    assert "mlops_nb" not in json.dumps(shown)


def test_a_long_message_is_capped(recorded):
    recorded.run("raise ValueError('x' * 200_000)")
    error = recorded.only().error
    assert len(error["message"]) == 10_000
    assert len(error["traceback"]) <= 100_000


def test_an_error_that_cannot_be_shown_does_no_harm(recorded):
    recorded.run("class E(Exception):\n    def __str__(self): raise RuntimeError('no')\nraise E")
    told = recorded.kernel.evaluate(f"{OURS}.recorder.ended[-1]")
    assert told["status"] == "error"
    recorded.run("x = 1")
    assert recorded.kernel.evaluate(f"{OURS}.recorder.ended[-1]['status']") == "ok"


@pytest.mark.parametrize(
    "wait",
    [
        "import time\ntime.sleep(30)",
        "import asyncio\nfor _ in range(300): await asyncio.sleep(0.1)",
    ],
    ids=["blocking", "async"],
)
def test_an_interrupted_cell_is_told_so(recorded, wait, tmp_path):
    running = tmp_path / "running"
    thread = threading.Thread(target=recorded.kernel.interrupt_when, args=(running,))
    thread.start()
    recorded.run(f"open({str(running)!r}, 'w').close()\n{wait}")
    thread.join()
    recorded.run("x = 1")
    first, second = recorded.report().executions
    assert first["status"] == "interrupted"
    assert (second["status"], second["parent"]) == ("ok", None)


def test_a_silent_request_is_no_execution_and_disturbs_none(recorded):
    recorded.run("x = 1")
    recorded.run("y = 2", silent=True)
    recorded.run("z = x")
    assert [e["source"] for e in recorded.report().executions] == ["x = 1", "z = x"]


def test_a_request_without_history_is_an_execution_without_number(recorded):
    recorded.run("x = 1", store_history=False)
    recorded.run("y = 2")
    first, second = recorded.report().executions
    assert (first["execution_count"], first["flags"]) == (None, ("no-history",))
    assert second["execution_count"] is not None
    assert second["order"] == first["order"] + 1


def test_a_cell_run_inside_of_a_cell_has_a_parent(recorded):
    recorded.run("ip = get_ipython()\na = 1\nip.run_cell('b = a')\nc = b")
    outer, inner = recorded.report().executions
    assert inner["parent"] == outer["id"]
    assert inner["source"] == "b = a"
    assert (inner["reads"], inner["binds"]) == (("a",), ("b",))
    assert set(outer["binds"]) == {"ip", "a", "b", "c"}
    assert outer["duration_s"] > inner["duration_s"]


def test_a_cell_silently_run_inside_of_a_cell_makes_it_dynamic(recorded):
    recorded.quietly("ip = get_ipython()\nfar = []")
    recorded.run("ip.run_cell('far = {}; b = 1', silent=True)")
    told = recorded.only()
    assert set(told.binds) == {"far", "b"}
    assert "dynamic" in told.flags


def test_a_captured_cell_is_a_child_and_its_output_the_users(recorded):
    recorded.run("%%capture out\nx = 1\nprint('hidden')")
    outer, inner = recorded.report().executions
    assert inner["parent"] == outer["id"]
    assert set(outer["binds"]) == {"out", "x"}
    assert "dynamic" not in outer["flags"]
    assert recorded.outputs() == []
    assert recorded.run("out.stdout").result == "'hidden\\n'"


def test_an_error_in_a_nested_cell_is_the_childs(recorded):
    recorded.run("ip = get_ipython()\nip.run_cell('1 / 0')\nx = 1")
    outer, inner = recorded.report().executions
    assert (outer["status"], inner["status"]) == ("ok", "error")
    assert inner["error"]["line"] == 1


def test_a_script_that_is_run_belongs_to_its_cell(recorded):
    (recorded.folder / "script.py").write_text("from_script = 1\n")
    recorded.run("%run script.py")
    told = recorded.only()
    assert told.binds == ("from_script",)
    assert "dynamic" in told.flags


def test_a_notebook_that_is_run_belongs_to_its_cell(recorded):
    import nbformat.v4 as nb

    notebook = nb.new_notebook(cells=[nb.new_code_cell("a_nb = 1"), nb.new_code_cell("b_nb = 2")])
    (recorded.folder / "other.ipynb").write_text(json.dumps(notebook))
    recorded.run("%run other.ipynb")
    recorded.run("x = a_nb")
    first, second = recorded.report().executions
    assert set(first["binds"]) == {"a_nb", "b_nb"}
    assert second["parent"] is None


def test_top_level_await_is_one_execution(recorded):
    recorded.run("import asyncio\nx = await asyncio.sleep(0.02, result=5)")
    told = recorded.only()
    assert (told.status, set(told.binds)) == ("ok", {"asyncio", "x"})
    assert told.duration_s >= 0.02


def test_cell_id_and_metadata_are_those_of_the_request(recorded):
    recorded.run("x = 1", metadata={"cellId": "abc", "mine": {"path": "a.ipynb"}})
    assert recorded.only().cell_id == "abc"
    lives = f"[live.cell_meta for live in {OURS}.recorder.lives]"
    told = recorded.kernel.evaluate(lives)
    metadata = {"cellId": "abc", "mine": {"path": "a.ipynb"}}
    assert told == ([metadata] if recorded.major("IPython") >= 9 else [None])


def test_the_file_name_is_that_of_the_cells_code(recorded):
    recorded.run("def here():\n    return here.__code__.co_filename")
    recorded.run("%matplotlib --list\ndef there():\n    return there.__code__.co_filename")
    names = f"[live.filename for live in {OURS}.recorder.lives]"
    told = recorded.kernel.evaluate(names)
    assert told == [recorded.kernel.evaluate("here()"), recorded.kernel.evaluate("there()")]


def test_the_current_execution_is_known_in_the_cell_and_in_its_threads(recorded):
    recorded.run(
        "import threading\nseen = []\n"
        f"look = lambda: seen.append({OURS}.capture.current.order)\n"
        "look()\nthread = threading.Thread(target=look)\nthread.start()\nthread.join()"
    )
    order = recorded.only().order
    assert recorded.kernel.evaluate("seen") == [order, order]
    assert recorded.kernel.evaluate(f"{OURS}.capture.current") is None


def test_a_subshell_runs_beside_the_main_shell(new_kernel):
    kernel = new_kernel(sys.executable)
    kernel.run(f"import sys; sys.path.insert(0, {str(TESTS)!r}); {OURS}.start()", silent=True)
    request = kernel.client.session.msg("create_subshell_request")
    kernel.client.control_channel.send(request)
    subshell = kernel.client.get_control_msg(timeout=30)["content"]["subshell_id"]
    main = kernel.send("import threading\ngate = threading.Event()\ngate.wait(30)\nmain = 1")
    while kernel.client.get_iopub_msg(timeout=30)["msg_type"] != "execute_input":
        pass
    side = kernel.send("print('side')\nside = 1\ngate.set()", subshell_id=subshell)
    done = set()
    while done != {main, side}:
        message = kernel.client.get_shell_msg(timeout=30)
        done.add(message["parent_header"]["msg_id"])
    report = kernel.evaluate(f"{OURS}.recorder.report()")
    assert report["faults"] == []
    # Either may begin first, and once the gate is open either may be through first.
    started = {each["source"].partition("\n")[0]: each for each in report["started"]}
    assert set(started) == {"import threading", "print('side')"}
    assert [each["parent"] for each in report["started"]] == [None, None]
    assert {e["id"] for e in report["ended"]} == {each["id"] for each in started.values()}
    assert [e["status"] for e in report["ended"]] == ["ok", "ok"]
    told = [(output["execution"], output["data"]) for output in report["outputs"]]
    assert told == [(started["print('side')"]["id"], b"side\n")]


# --- before tracking --------------------------------------------------------------------------


def test_earlier_cells_are_told_as_inferred_in_their_order(kernel):
    kernel.run(f"import sys; sys.path.insert(0, {str(TESTS)!r}); del sys", silent=True)
    kernel.run("a = [1]\nprint(a)")
    kernel.run("")
    kernel.run("b = a")
    kernel.run("import recording\nrecording.start(backfill=True)\nc = b")
    kernel.run("d = c")
    report = kernel.evaluate(f"{OURS}.recorder.report()")
    told = sorted(report["started"], key=lambda each: each["order"])
    assert [each["order"] for each in told] == [1, 2, 3, 4]
    assert [each["is_inferred"] for each in told] == [True, True, False, False]
    assert [each["source"].splitlines()[0] for each in told][:2] == ["a = [1]", "b = a"]
    assert told[2]["flags"] == ("joined",)
    ended = {each["id"]: each for each in report["ended"]}
    second, third, fourth = (ended[each["id"]] for each in told[1:])
    assert (second["reads"], second["binds"]) == (("a",), ("b",))
    assert (third["reads"], third["execution_count"]) == (("b",), 3)
    assert set(third["binds"]) == {"recording", "c"}
    assert (fourth["reads"], fourth["execution_count"]) == (("c",), 4)
    assert report["outputs"] == []
    assert report["faults"] == []


# --- outputs ----------------------------------------------------------------------------------


def test_outputs_are_told_in_order_with_the_types_of_a_bundle_together(recorded):
    recorded.run(
        "import sys\nprint('one')\nprint('two')\nsys.stdout.flush()\n"
        "print('bad', file=sys.stderr)\nsys.stderr.flush()\n"
        "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n'result'"
    )
    order = recorded.only().order
    told = recorded.outputs()
    assert [o[:4] for o in told] == [
        (order, 0, "stream", "stdout"),
        (order, 1, "stream", "stderr"),
        (order, 2, "display", "text/plain"),
        (order, 2, "display", "text/html"),
        (order, 3, "result", "text/plain"),
    ]
    assert told[0][4] == "one\ntwo\n"
    assert told[3][4] == "<b>x</b>"
    assert told[4][4] == "'result'"


def test_pieces_of_one_stream_share_a_position(recorded):
    recorded.run("import sys\nfor i in range(3):\n    print(i)\n    sys.stdout.flush()")
    told = recorded.outputs()
    assert {o[1] for o in told} == {0}
    assert "".join(o[4] for o in told) == "0\n1\n2\n"


def test_a_stream_begins_anew_after_another_output(recorded):
    recorded.run(
        "import sys\nprint('a', flush=True)\nprint('b', file=sys.stderr, flush=True)\n"
        "print('c', flush=True)"
    )
    assert [(o[1], o[4]) for o in recorded.outputs()] == [(0, "a\n"), (1, "b\n"), (2, "c\n")]


def test_a_figure_is_told_as_bytes(recorded):
    recorded.run("%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    pictures = [o for o in recorded.outputs() if o[3] == "image/png"]
    assert len(pictures) == 1
    assert pictures[0][2] == "display"
    assert pictures[0][4].startswith(b"\x89PNG\r\n")


def test_structured_types_are_told_as_json(recorded):
    recorded.run("from IPython.display import JSON, display\ndisplay(JSON({'a': [1, 'ä']}))")
    told = {o[3]: o[4] for o in recorded.outputs()}
    assert json.loads(told["application/json"]) == {"a": [1, "ä"]}


def test_what_a_thread_prints_after_its_cell_has_ended_is_its_cells(recorded, tmp_path):
    go, done = tmp_path / "go", tmp_path / "done"
    recorded.run(
        "import threading, time, os, sys\n"
        "def late():\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "    print('late', flush=True)\n"
        f"    open({str(done)!r}, 'w').close()\n"
        "thread = threading.Thread(target=late)\nthread.start()"
    )
    go.touch()
    while not done.exists():
        time.sleep(0.01)
    order = recorded.only().order
    assert recorded.outputs() == [(order, 0, "stream", "stdout", "late\n")]


def test_text_flushed_after_the_cell_has_ended_is_its_own(recorded):
    recorded.run("print('buffered', end='')")
    recorded.run("x = 1")
    order = recorded.report().executions[0]["order"]
    assert recorded.outputs() == [(order, 0, "stream", "stdout", "buffered")]


def test_an_update_takes_the_place_of_its_display(recorded):
    recorded.run(
        "from IPython.display import display\n"
        "print('before', flush=True)\nhandle = display('one', display_id=True)"
    )
    recorded.run("handle.update('two')")
    first = recorded.report().executions[0]["order"]
    told = [o for o in recorded.outputs() if o[2] == "display"]
    assert told == [
        (first, 1, "display", "text/plain", "'one'"),
        (first, 1, "display", "text/plain", "'two'"),
    ]


def test_large_text_is_cut_between_characters_and_says_so(recorded):
    recorded.start(text_cap_bytes=10)
    recorded.run("print('ä' * 100)")
    told = recorded.report().outputs
    assert b"".join(each["data"] for each in told).decode() == "äääää"
    assert sum(each["size_bytes"] for each in told) == 201
    assert told[-1]["is_cut"]


def test_a_stream_is_cut_as_a_whole_not_by_piece(recorded):
    recorded.start(text_cap_bytes=10)
    recorded.run("for i in range(5):\n    print('x' * 7, flush=True)")
    told = recorded.report().outputs
    assert sum(len(each["data"]) for each in told) == 10
    assert sum(each["size_bytes"] for each in told) == 40
    assert [each["is_cut"] for each in told] == [False, True, True, True, True]


def test_a_picture_that_is_too_large_is_left_out_and_says_so(recorded):
    recorded.start(image_cap_bytes=10)
    recorded.run(
        "from IPython.display import publish_display_data\n"
        "publish_display_data({'image/png': b'x' * 11, 'text/plain': 'picture'})"
    )
    told = {each["mime"]: each for each in recorded.report().outputs}
    assert (told["image/png"]["data"], told["image/png"]["is_cut"]) == (b"", True)
    assert told["image/png"]["size_bytes"] == 11
    assert told["text/plain"]["data"] == b"picture"


def test_secrets_in_outputs_are_replaced_and_the_users_own_output_is_not(recorded):
    reply = recorded.run("print('postgresql://ann:hunter2@db')")
    assert reply.stdout == "postgresql://ann:hunter2@db\n"
    assert recorded.outputs()[0][4] == "postgresql://ann:⟨secret:URL_PASSWORD⟩@db\n"


# --- the user's shell -------------------------------------------------------------------------

CELLS = [
    "print('a')\n'result'",
    "import sys\nprint('b', file=sys.stderr)",
    "1 / 0",
    "def (",
    "%%time\nx = 1",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>'), display_id='d')",
    "%%capture out\nprint(1)",
    "raise KeyboardInterrupt",
    "",
]


def what_is_seen(reply) -> list:
    """What a frontend shows, without times."""
    seen = []
    for message in reply.messages:
        content = {k: v for k, v in message["content"].items() if k != "execution_count"}
        if "text" in content and seen and seen[-1][1].get("name") == content["name"]:
            seen[-1][1]["text"] += content["text"]
            continue
        if "traceback" in content:
            content["traceback"] = len(content["traceback"])
        seen.append((message["msg_type"], content))
    for _, content in seen:  # a text may have come in pieces
        if "Wall time" in content.get("text", ""):
            content["text"] = "times"
    return seen


def test_the_user_sees_the_same_with_and_without_capture(recorded):
    hooked = [what_is_seen(recorded.run(cell)) for cell in CELLS]
    recorded.quietly(f"{OURS}.stop()")
    plain = [what_is_seen(recorded.run(cell)) for cell in CELLS]
    assert hooked == plain


def test_installing_twice_is_installing_once_and_uninstalling_restores_everything(recorded):
    recorded.quietly(f"{OURS}.stop()")
    hooks = f"repr({OURS}.hooks())"
    before = recorded.kernel.evaluate(hooks)
    recorded.start()
    on = recorded.kernel.evaluate(hooks)
    recorded.quietly(f"{OURS}.capture.install()")
    assert recorded.kernel.evaluate(hooks) == on != before
    recorded.quietly(f"{OURS}.stop()")
    assert recorded.kernel.evaluate(hooks) == before


def test_a_broken_listener_costs_the_user_nothing(recorded):
    recorded.quietly(f"{OURS}.recorder.fails = True")
    replies = [recorded.run(f"x = {number}\nprint(x)") for number in range(5)]
    assert [reply.stdout for reply in replies] == ["0\n", "1\n", "2\n", "3\n", "4\n"]
    assert {reply.stderr for reply in replies} == {""}
    faults = recorded.kernel.evaluate(
        "len(__import__('mlops_nb.capture.guard').capture.guard.faults)"
    )
    assert faults > 0


def test_a_broken_analysis_costs_the_user_nothing(recorded):
    recorded.quietly("import mlops_nb.capture.hooks as h\nkept, h.Watch = h.Watch, None")
    replies = [recorded.run(f"x = {number}\nx") for number in range(5)]
    recorded.quietly("h.Watch = kept")
    assert [reply.result for reply in replies] == ["0", "1", "2", "3", "4"]


# --- without a kernel -------------------------------------------------------------------------

TERMINAL = """
import sys; sys.path.insert(0, sys.argv[1])
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config(HistoryManager={"hist_file": ":memory:"}))
import recording
recording.start()
shell.run_cell("x = 1", store_history=True)
shell.run_cell("display('shown')\\nx + 1", store_history=True)
shell.run_cell("1 / 0", store_history=True)
recording.stop()
report = recording.recorder.report()
keep = ("status", "binds", "reads", "execution_count")
told = {
    "ended": [{k: each[k] for k in keep} for each in report["ended"]],
    "error": report["ended"][-1]["error"],
    "outputs": [(each["kind"], each["data"].decode()) for each in report["outputs"]],
    "faults": report["faults"],
}
import json
print("\\n" + json.dumps(told))
"""


@pytest.mark.parametrize("python", [lambda: sys.executable, ipython8_python], ids=["9", "8"])
def test_a_terminal_is_captured_too(python, tmp_path):
    answer = subprocess.run(
        [python(), "-c", TERMINAL, str(TESTS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path), "PATH": ""},
    )
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["faults"] == []
    assert [(e["status"], e["execution_count"]) for e in told["ended"]] == [
        ("ok", 1),
        ("ok", 2),
        ("error", 3),
    ]
    assert told["ended"][1]["reads"] == ["x"]
    assert told["outputs"] == [["display", "'shown'"], ["result", "2"]]
    assert (told["error"]["type"], told["error"]["line"]) == ("ZeroDivisionError", 1)
    assert "ZeroDivisionError: division by zero" in told["error"]["traceback"]
