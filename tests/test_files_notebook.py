"""Files that cells use, in a real IPython shell and a real kernel."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from files_notebook import Notebook

pytest_plugins = ["files_fixtures"]

# --- what a cell is told to have done ---------------------------------------------------------


def test_a_reader_tells_its_columns(notebook):
    (notebook.folder / "flowers.csv").write_text("a,b\n1,2\n")
    (use,) = notebook.run("import pandas as pd; pd.read_csv('flowers.csv', usecols=['a'])")
    assert (use.mode, use.evidence, use.assurance) == ("r", "adapter", "exact")
    assert use.detail == {"function": "pandas.read_csv", "columns": ["a"]}
    assert use.size_bytes == 8


def test_a_read_is_told_of_the_cell_it_happened_in(notebook):
    (notebook.folder / "a.txt").write_text("a")
    (notebook.folder / "b.txt").write_text("b")
    assert notebook.uses("open('a.txt').read()") == {("a.txt", "r"): "adapter"}
    assert notebook.uses("open('b.txt').read()") == {("b.txt", "r"): "adapter"}
    assert notebook.uses("1 + 1") == {}


def test_a_read_by_a_child_is_seen_without_being_told(notebook):
    (notebook.folder / "a.txt").write_text("a")
    cell = "import subprocess; name = 'a' + '.txt'; subprocess.run(['wc', name], stdout=-3)"
    assert notebook.uses(cell)["a.txt", "r"] == "kernel:dir"


@pytest.fixture
def own_group():
    """A process group without children that earlier tests have left."""
    before = os.getpgrp()
    with suppress(PermissionError):  # the leader of a session stays what it is
        os.setpgid(0, 0)
    yield
    with suppress(PermissionError):
        os.setpgid(0, before)


@pytest.mark.usefixtures("own_group")
def test_what_another_process_reads_by_chance_is_not_the_cells(notebook, tmp_path):
    import subprocess

    (notebook.folder / "a.txt").write_text("a")
    go, done = tmp_path.parent / "go", tmp_path.parent / "done"
    script = (
        "import os, time, sys\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.005)\n"
        f"open({str(notebook.folder / 'a.txt')!r}).read(); open({str(done)!r}, 'w')\n"
    )
    # Not of our process group, as the server, an editor or a backup is not.
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as other:
        cell = (
            f"import os, time\nos.mkdir({str(go)!r})\n"
            f"while not os.path.exists({str(done)!r}): time.sleep(0.005)"
        )
        used = notebook.uses(cell)
        other.wait(10)
    assert ("a.txt", "r") not in used


def test_a_path_in_the_source_that_nothing_else_saw_is_only_mentioned(notebook, tmp_path):
    (notebook.folder / "a.txt").write_text("a")
    (use,) = notebook.run("place = 'a.txt'  # and 'b.txt'")
    assert (use.evidence, use.mode, use.detail) == ("mentioned", "r", {"opened": False})


def test_a_path_that_a_variable_holds_is_mentioned(notebook):
    (notebook.folder / "data").mkdir()
    (notebook.folder / "data" / "a.txt").write_text("a")
    notebook.run("from pathlib import Path; FOLDER = Path('data')")
    assert notebook.uses("place = FOLDER / 'a.txt'") == {("data/a.txt", "r"): "mentioned"}


def test_a_comment_mentions_nothing(notebook):
    (notebook.folder / "a.txt").write_text("a")
    assert notebook.uses("x = 1  # see 'a.txt'") == {}


def test_written_then_read_is_the_same_content(notebook):
    written, read = notebook.run("_ = open('a.txt', 'w').write('x' * 9)\nopen('a.txt').read()")
    assert (written.mode, read.mode) == ("w", "r")
    assert written.digest == read.digest != ""


def test_read_and_then_written_is_torn(notebook):
    (notebook.folder / "a.txt").write_text("old")
    told = {
        each.mode: each
        for each in notebook.run("open('a.txt').read(); open('a.txt', 'w').write('n')")
    }
    assert (told["r"].assurance, told["r"].digest) == ("torn", "")
    assert told["w"].assurance == "exact"


def test_read_and_rewritten_by_the_next_cell_is_not_taken_for_the_new_content(notebook):
    (notebook.folder / "a.txt").write_text("old")
    for number in range(20):
        del notebook.told[:]
        notebook.shell.run_cell("open('a.txt').read()")
        notebook.shell.run_cell(f"_ = open('a.txt', 'w').write('new{number:03}')")
        notebook.watch.flush()
        read = next(each for each in notebook.told if each.mode == "r")
        if read.assurance == "exact":
            # The hash was quicker than the next cell.
            written = next(each for each in notebook.told if each.mode == "w")
            assert read.digest != written.digest
        else:
            assert (read.assurance, read.digest) == ("torn", "")


def test_a_file_that_comes_and_goes_inside_a_cell_is_nothing(notebook):
    cell = "import os\nfd = os.open('t.bin', os.O_CREAT | os.O_WRONLY); os.write(fd, b'x'); os.close(fd); os.remove('t.bin')"
    assert notebook.uses(cell) == {}


def test_a_folder_made_by_a_cell_is_watched_at_once(notebook):
    cell = "import os, pandas as pd\nos.makedirs('out/deep')\npd.DataFrame({'a': [1]}).to_csv('out/deep/a.csv')"
    assert notebook.uses(cell)["out/deep/a.csv", "w"] == "adapter"
    assert notebook.uses("import os; os.close(os.open('out/deep/a.csv', os.O_RDONLY))") == {
        ("out/deep/a.csv", "r"): "kernel:pid"
    }


def test_a_file_moved_into_place_is_written(notebook):
    cell = "import os\nfd = os.open('.part', os.O_CREAT | os.O_WRONLY); os.write(fd, b'x'); os.close(fd); os.replace('.part', 'a.bin')"
    assert notebook.uses(cell) == {("a.bin", "w"): "kernel:pid"}


def test_a_nested_cell_has_its_own_files(notebook):
    (notebook.folder / "a.txt").write_text("a")
    (notebook.folder / "b.txt").write_text("b")
    told = notebook.run("open('a.txt').read(); get_ipython().run_cell(\"open('b.txt').read()\")")
    assert {Path(each.uri).name for each in told} == {"a.txt", "b.txt"}
    assert len({each.execution for each in told}) == 2


def test_notebooks_code_and_the_store_are_no_data(notebook):
    (notebook.folder / "project_code.py").write_text("x = 1")
    (notebook.folder / "other.ipynb").write_text("{}")
    (notebook.folder / ".mlops").mkdir()
    (notebook.folder / ".mlops" / "store.db").write_text("{}")
    notebook.watch.ignore(notebook.folder / "out.txt")
    cell = (
        "import sys, os; sys.path.insert(0, '.'); sys.dont_write_bytecode = True\n"
        "import project_code\n"
        "for name in ('other' + '.ipynb', '.mlops/' + 'store.db', 'out' + '.txt'):\n"
        "    os.close(os.open(name, os.O_RDONLY | os.O_CREAT))\n"
        "sys.path.pop(0)"
    )
    assert notebook.uses(cell) == {}


def test_a_url_is_told_without_its_credentials(notebook):
    from mlops_nb.capture.files import Told

    class Reader:
        """A reader that tells of a call, as those of `Readers` do."""

        def __call__(self, place: str) -> None:
            now = time.time_ns()
            notebook.watch.reader_told(
                Told(place, "r", {"function": "pandas.read_csv"}, str(notebook.folder), now, now)
            )

    notebook.shell.user_ns["read"] = Reader()
    (use,) = notebook.run("read('https://ann:pass@example.org/a.csv?X-Amz-Signature=abc#x')")
    assert (use.uri, use.assurance, use.digest) == ("https://example.org/a.csv", "opaque", "")


def test_many_files_of_a_folder_are_told_as_the_folder(notebook):
    (notebook.folder / "parts").mkdir()
    for number in range(150):
        (notebook.folder / "parts" / f"{number}.csv").write_text(str(number))
    (use,) = notebook.run("import glob\nfor one in glob.glob('par*/*.csv'): open(one).read()")
    assert (use.uri, use.assurance) == (str(notebook.folder / "parts"), "exact")
    assert use.detail["files"] == 150
    assert notebook.watch.state(use) == "same"
    (notebook.folder / "parts" / "7.csv").write_text("?")
    assert notebook.watch.state(use) == "changed"


def test_what_our_own_git_reads_is_not_the_cells(notebook):
    (notebook.folder / "a.txt").write_text("a")
    notebook.shell.user_ns["watch"] = notebook.watch
    cell = "import subprocess\nwith watch.own_children():\n    subprocess.run(['cat', 'a' + '.txt'], stdout=-3)"
    assert notebook.uses(cell) == {}
    assert notebook.uses("subprocess.run(['cat', 'a' + '.txt'], stdout=-3)") != {}


# --- the alarm --------------------------------------------------------------------------------


def test_bytes_that_nothing_explains_raise_the_alarm(notebook, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "big.bin"
    elsewhere.write_bytes(bytes(4_000_000))
    code = "import os; fd = os.open(bytes({0}).decode(), 0); n = len(os.read(fd, 10**7)); os.close(fd)"
    notebook.run(code.format(list(os.fsencode(elsewhere))))
    assert notebook.flags[-1] == ("reads_incomplete",)


def test_bytes_of_files_that_were_seen_raise_none(notebook):
    (notebook.folder / "big.bin").write_bytes(bytes(4_000_000))
    notebook.run(
        "import os; fd = os.open('big' + '.bin', 0); n = len(os.read(fd, 10**7)); os.close(fd)"
    )
    notebook.run("a = open('big.bin', 'rb').read(); b = open('big.bin', 'rb').read()")
    assert notebook.flags == [(), ()]


def test_imports_raise_no_alarm(new_kernel):
    kernel = new_kernel(sys.executable)
    code = (
        "import sys; sys.path.insert(0, {tests!r})\n"
        "from files_notebook import Notebook; from pathlib import Path\n"
        "n = Notebook(get_ipython(), Path.cwd())"
    )
    kernel.run(code.format(tests=str(Path(__file__).parent)), silent=True)
    kernel.run("import sklearn.ensemble, polars, matplotlib.pyplot")
    assert kernel.evaluate("n.flags") == [()]


# --- a real kernel ----------------------------------------------------------------------------

IN_KERNEL = """
import sys, json; sys.path.insert(0, {tests!r})
from pathlib import Path
from files_notebook import Notebook
n = Notebook(get_ipython(), Path.cwd())
"""


def test_in_a_kernel_all_ways_of_reading_are_seen(kernel, tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.csv").write_text("b\n1\n")
    reply = kernel.run(IN_KERNEL.format(tests=str(Path(__file__).parent)), silent=True)
    assert reply.status == "ok", reply.content
    kernel.run("open('a.csv').read()")
    kernel.run("!cat b.csv")
    kernel.run("%%bash\ncat a.csv")
    kernel.run(
        "from threading import Thread\nt = Thread(target=lambda: Path('b.csv').read_text()); t.start(); t.join()"
    )
    found = kernel.evaluate(
        "n.watch.flush() and [(Path(e.uri).name, e.mode, e.evidence) for e in n.told]"
    )
    assert found == [
        ("a.csv", "r", "adapter"),
        ("b.csv", "r", "kernel:dir"),
        ("a.csv", "r", "kernel:dir"),
        ("b.csv", "r", "adapter"),
    ]


def test_after_the_end_every_function_is_as_it_was(shell, tmp_path, monkeypatch):
    import sqlite3
    from pathlib import Path as PathClass

    import pandas as pd

    monkeypatch.chdir(tmp_path)
    before = (pd.read_csv.__code__, sqlite3.connect, PathClass.read_text.__code__, open)
    one = Notebook(shell, tmp_path)
    assert pd.read_csv.__code__ is not before[0]
    one.close()
    assert (pd.read_csv.__code__, sqlite3.connect, PathClass.read_text.__code__, open) == before
