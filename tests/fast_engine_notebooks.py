"""Notebooks for the tests of the engine without a kernel, and what of them can be compared."""

from __future__ import annotations

import copy
import json
import re

import nbformat
import papermill
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}

TOGETHER = {
    "plain": ["x = 1", "x + 1", "md:# title", "print(x)", "", "   \n"],
    "streams in order": [
        "import sys\nfor i in range(3):\n    print('out', i)\n    print('err', i, file=sys.stderr)"
    ],
    "stream, result, stream": ["print('a')\ndisplay('b')\nprint('c')\n'd'"],
    "a subprocess": [
        "!echo out; echo err >&2",
        "import subprocess\nsubprocess.run(['echo', 'x'])",
    ],
    "the C library": [
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.puts(b'from C'); libc.fflush(None);",
        "import os; os.write(2, b'raw error\\n');",
        "os.system('echo hello')",
    ],
    "displays that are updated": [
        "h = display('first', display_id='d')",
        "h.update('second')",
        (
            "from IPython.display import update_display, HTML\n"
            "update_display(HTML('<b>3</b>'), display_id='d')"
        ),
        "display('again', display_id='d')",
        "update_display('both', display_id='d');",
    ],
    "cleared output": [
        "from IPython.display import clear_output\nprint('gone'); clear_output(); print('kept')",
        "print('gone'); clear_output(wait=True); print('kept')",
        "print('kept'); clear_output(wait=True)",
    ],
    "rich reprs": [
        (
            "class Rich:\n    def _repr_html_(self): return '<i>h</i>'\n"
            "    def _repr_markdown_(self): return '*m*'\nRich()"
        ),
        (
            "class Mime:\n    def _repr_mimebundle_(self, **k):\n"
            "        return {'application/json': {'a': [1]}, 'text/plain': 't'}, {'text/plain': {}}\n"
            "Mime()"
        ),
        (
            "from IPython.display import *\n"
            "display(Image(data=b'\\x89PNG\\r\\n\\x1a\\n', format='png'), Latex('$x$'), JSON({'a': 1}),"
            " SVG('<svg></svg>'), Javascript('1'), Markdown('m'))"
        ),
    ],
    "a repr that raises": [
        "class Bad:\n    def __repr__(self): raise ValueError('no repr')\nBad()"
    ],
    "errors": [
        "def f(x):\n    return 1 / x",
        "f(0)",
        "x = ",
        "if True:\nx = 1",
        "try:\n    {}['a']\nexcept KeyError as e:\n    raise RuntimeError('why') from e",
        "class Mine(Exception): pass\nraise Mine('x', 2)",
        "import sys; sys.exit(3)",
        "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
        "raise KeyboardInterrupt",
        "%debug_no_such_magic",
    ],
    "input": ["input('who? ')", "import getpass; getpass.getpass()"],
    "capture": ["%%capture got\nprint('x')\ndisplay('y')", "got.stdout, len(got.outputs)"],
    "magics": [
        "%pwd -q",
        "files = !echo a b\nfiles",
        "%env MY_VALUE=1\nimport os; os.environ['MY_VALUE']",
        "%time x = 1",
        "%timeit -n1 -r1 pass",
        "%%bash\necho bash; echo oops >&2; exit 3",
        "%%writefile written.txt\nhello",
        "%history -n 1-2",
        "%whos no_such_type",
    ],
    "await": [
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5",
        "await f()",
        "[await f() for _ in range(2)]",
        "await asyncio.sleep(0)\nraise ValueError('in await')",
        (
            "log = []\nasync def work():\n    for i in range(3):\n"
            "        log.append(i); await asyncio.sleep(0)\ntask = asyncio.create_task(work())"
        ),
        "await task\nlog",
        "asyncio.get_event_loop().is_running()",
    ],
    "threads print": [
        (
            "import threading\nt = threading.Thread(target=lambda: print('from a thread'))\n"
            "t.start(); t.join()"
        )
    ],
    "logging and warnings": [
        "import logging; logging.warning('careful')",
        "import warnings; warnings.warn('old')",
    ],
    "pickles of the notebook's own": [
        (
            "import pickle\nclass P:\n    pass\ndef g(): return 7\n"
            "q = pickle.loads(pickle.dumps(P())), pickle.loads(pickle.dumps(g))\n"
            "(q[0].__class__ is P, q[1](), P.__module__, __name__)"
        ),
        "import cloudpickle; cloudpickle.loads(cloudpickle.dumps(lambda: 3))()",
    ],
    "inspection": ["def f():\n    return 1\nimport inspect; print(inspect.getsource(f))", "f?"],
    "the shell's own names": [
        "1",
        "_ + 1",
        "len(In), len(Out)",
        "sorted(n for n in globals() if n.startswith('_') and not n[1:].isdigit() and n[1:2] != 'i')",
        "_dh, get_ipython().starting_dir",
    ],
    "the process": [
        "import os, sys\n(os.getcwd(), sys.path[:9], sys.argv, sys.flags, sys.executable)",
        (
            "import multiprocessing as m, threading\n"
            "(m.current_process().name, threading.current_thread().name, m.get_start_method())"
        ),
        (
            "import signal\n"
            "[signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]"
        ),
        "(sys.stdout.encoding, sys.stdout.isatty(), type(sys.stdout).__name__, sys.stdin.read())",
        "import gc\n(gc.get_threshold(), gc.isenabled(), sys.getrecursionlimit())",
        "sorted(os.environ)",
        "import locale\n(locale.getlocale(), os.nice(0), os.umask(0o22))",
        "os.getpid() == os.getpgrp() == os.getsid(0)",
        "(type(get_ipython()).__name__, 'IPKernelApp' in get_ipython().config)",
        "import warnings; [f[:3] for f in warnings.filters]",
        "len(sys.meta_path), len(sys.path_hooks)",
    ],
    "processes of one's own": [
        (
            "import multiprocessing as m\ndef f(x): return x * x\n"
            "with m.get_context('fork').Pool(2) as p: print(p.map(f, range(4)))"
        ),
        (
            "import os, sys\npid = os.fork()\nif not pid:\n"
            "    print('from the child'); sys.stdout.flush(); os._exit(0)\nos.waitpid(pid, 0)[1]"
        ),
    ],
    "long output": ["print('x' * 300_000)", "for i in range(2000): print(i)"],
    "unicode": ["print('é漢🎉\\u2028')"],
    "matplotlib": [
        "import matplotlib.pyplot as plt\nplt.rcParams['svg.hashsalt'] = 'x'\nplt.plot([1, 2])",
        "plt.plot([1]); plt.show(); print('after')",
        "fig, ax = plt.subplots(); ax.plot([1]); fig",
        "import matplotlib; matplotlib.get_backend()",
        "%config InlineBackend.figure_formats = ['svg']\nplt.plot([3]);",
    ],
    "pandas": [
        "import pandas as pd\npd.DataFrame({'a': [1, 2]})",
        "pd.Series([1.5])",
        "pd.options.display.max_rows",
    ],
    "files that are run": [
        "open('made.py', 'w').write('y = 5\\nprint(__name__)')",
        "%run made.py\ny",
        "import made; made.y",
    ],
    "comms": [
        (
            "import comm\nc = comm.create_comm(target_name='mine', data={'state': {}})\n"
            "c.send({'a': 1}); c.close()\ntype(c).__name__"
        )
    ],
    "future imports": [
        "from __future__ import annotations\ndef f(x: undefined_name): pass\nf.__annotations__"
    ],
    "reset": ["x = 1", "%reset -f", "'x' in globals()"],
}
"""Cells that run one after the other in one notebook, and may fail; the last ones change most."""

ALONE = {
    "an error": (["print('before')\n1 / 0", "print('never')"], {}, {}),
    "a clean exit": (["import sys; sys.exit(0)", "print('never')"], {}, {}),
    "parameters": (["x = 1", "print(x)"], {0: ["parameters"]}, {"x": [1.5, "é"]}),
    "exit": (["print('a')\nexit()"], {}, {}),
}
"""Notebooks that end early, or need something of papermill's: sources, tags, parameters."""

_VOLATILE = [
    (re.compile(r"ipykernel_\d+"), "ipykernel_N"),
    (re.compile(r"/\w+/[^'\"]*?/?tmp\w+\.json"), "connection.json"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0xN"),
    (re.compile(r"(CPU times|Wall time|[\d.]+ (\\u00b5|[nm])?s \\u00b1)[^\"]*"), "TIME"),
    (re.compile(r"<dc:date>.*?</dc:date>"), "DATE"),
    (re.compile(r"Task-\d+"), "Task-N"),
]


def notebook(*sources, tags=None):
    """Make a notebook; what begins with ``md:`` is no code."""
    cells = [
        new_markdown_cell(source[3:], id=f"cell-{i}")
        if source.startswith("md:")
        else new_code_cell(source, id=f"cell-{i}")
        for i, source in enumerate(sources)
    ]
    for index, given in (tags or {}).items():
        cells[index].metadata["tags"] = list(given)
    metadata = {"kernelspec": dict(PYTHON), "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def run(made, engine, folder, **more):
    """Run a notebook in a folder; gives the executed one and what papermill raised."""
    path, output = folder / "in.ipynb", folder / f"{engine}.ipynb"
    nbformat.write(made, path)
    error = None
    try:
        papermill.execute_notebook(
            str(path), str(output), engine_name=engine, progress_bar=False, **more
        )
    except PapermillExecutionError as raised:
        error = (raised.ename, raised.evalue, raised.exec_count, raised.cell_index)
    return nbformat.read(output, 4), error


def own_cells(executed):
    """List the cells without those by which papermill points at an error."""
    tag = "papermill-error-cell-tag"
    return [cell for cell in executed.cells if tag not in cell.metadata.get("tags", ())]


def merged(outputs):
    """Join what is printed in pieces: where it is cut hangs on the clock."""
    found = []
    for output in map(copy.deepcopy, map(dict, outputs)):
        last = found[-1] if found else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            found.append(output)
    return found


def comparable(part):
    """Take out of a cell, or of a notebook's metadata, what differs from run to run."""
    part = copy.deepcopy(dict(part))
    if "outputs" in part:
        part["outputs"] = merged(part["outputs"])
    if "injected-parameters" in part["metadata"].get("tags", ()):
        part.pop("id")
    facts = part["metadata"].get("papermill", {})
    for key in ("start_time", "end_time", "duration", "output_path"):
        facts[key] = type(facts.get(key)).__name__
    part["metadata"]["timed"] = sorted(part["metadata"].pop("execution", None) or ())
    part["metadata"].get("mlops_nb", {}).pop("run", None)
    text = json.dumps(part, indent=1, sort_keys=True)
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return text.splitlines()
