"""Every usual way to read or write a file is seen, by each layer that can see it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import duckdb
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest
from files_notebook import WAYS

pytest_plugins = ["files_fixtures"]

IMPORTS = """
import gzip, io, json, mmap, os, pickle, sqlite3, subprocess, sys, threading, zipfile
from pathlib import Path
import duckdb, joblib, numpy as np, pandas as pd, polars as pl, pyarrow as pa
import pyarrow.csv, pyarrow.dataset, pyarrow.feather, pyarrow.json, pyarrow.orc, pyarrow.parquet
import pyarrow.ipc
"""

# For each: the file, the cell, and whether a reader tells.
READERS = {
    "pandas.read_csv": ("t.csv", "pd.read_csv('t.csv')", True),
    "pandas.read_csv by chunks": ("t.csv", "list(pd.read_csv('t.csv', chunksize=1))", True),
    "pandas.read_csv by Arrow": ("t.csv", "pd.read_csv('t.csv', engine='pyarrow')", True),
    "pandas.read_csv of a path": ("t.csv", "pd.read_csv(Path('t.csv'))", True),
    "pandas.read_csv of an open file": ("t.csv", "with open('t.csv') as f: pd.read_csv(f)", True),
    "pandas.read_table": ("t.csv", "pd.read_table('t.csv', sep=',')", True),
    "pandas.read_fwf": ("t.csv", "pd.read_fwf('t.csv')", True),
    "pandas.read_json": ("t.json", "pd.read_json('t.json')", True),
    "pandas.read_pickle": ("t.pkl", "pd.read_pickle('t.pkl')", True),
    "pandas.read_parquet": ("t.parquet", "pd.read_parquet('t.parquet')", True),
    "pandas.read_feather": ("t.feather", "pd.read_feather('t.feather')", True),
    "pandas.read_orc": ("t.orc", "pd.read_orc('t.orc')", True),
    "pandas.read_stata": ("t.dta", "pd.read_stata('t.dta')", True),
    "pandas.read_xml": ("t.xml", "pd.read_xml('t.xml', parser='etree')", True),
    "pandas.read_sql": (
        "t.db",
        "con = sqlite3.connect('t.db'); pd.read_sql('select * from t', con); con.close()",
        True,
    ),
    "pyarrow.csv": ("t.csv", "pa.csv.read_csv('t.csv')", True),
    "pyarrow.json": ("t.ndjson", "pa.json.read_json('t.ndjson')", True),
    "pyarrow.parquet.read_table": ("t.parquet", "pa.parquet.read_table('t.parquet')", True),
    "pyarrow.parquet.ParquetFile": (
        "t.parquet",
        "with pa.parquet.ParquetFile('t.parquet') as file: file.read()",
        True,
    ),
    "pyarrow.dataset": ("t.parquet", "pa.dataset.dataset('t.parquet').to_table()", True),
    "pyarrow.feather": ("t.feather", "pa.feather.read_table('t.feather')", True),
    "pyarrow.memory_map": (
        "t.feather",
        "pa.ipc.open_file(pa.memory_map('t.feather')).read_all()",
        True,
    ),
    "pyarrow.orc": ("t.orc", "pa.orc.read_table('t.orc')", False),
    "polars.read_csv": ("t.csv", "pl.read_csv('t.csv')", True),
    "polars.scan_csv": ("t.csv", "pl.scan_csv('t.csv').collect()", True),
    "polars.read_parquet": ("t.parquet", "pl.read_parquet('t.parquet')", True),
    "polars.scan_parquet of a pattern": (
        "t.parquet",
        "pl.scan_parquet('*.parquet').collect()",
        True,
    ),
    "polars.read_ipc": ("t.feather", "pl.read_ipc('t.feather')", True),
    "polars.read_ndjson": ("t.ndjson", "pl.read_ndjson('t.ndjson')", True),
    "polars.read_json": ("t.json", "pl.read_json('t.json')", True),
    "duckdb.sql": ("t.csv", "duckdb.sql(\"select * from 't.csv'\").fetchall()", False),
    "duckdb.read_parquet": ("t.parquet", "duckdb.read_parquet('t.parquet').fetchall()", True),
    "duckdb connection": (
        "t.csv",
        "con = duckdb.connect(); con.execute(\"select * from read_csv('t.csv')\").fetchall()",
        False,
    ),
    "a DuckDB database": (
        "t.duckdb",
        "con = duckdb.connect('t.duckdb', read_only=True); con.sql('from t').fetchall(); con.close()",
        True,
    ),
    "numpy.load": ("t.npy", "np.load('t.npy')", True),
    "numpy.load, mapped": ("t.npy", "np.load('t.npy', mmap_mode='r').sum()", True),
    "numpy.loadtxt": ("t.txt", "np.loadtxt('t.txt')", True),
    "numpy.genfromtxt": ("t.txt", "np.genfromtxt('t.txt')", True),
    "numpy.fromfile": ("t.npy", "np.fromfile('t.npy', dtype='u1')", False),
    "numpy.memmap": ("t.npy", "np.memmap('t.npy', mode='r').sum()", False),
    "joblib.load": ("t.joblib", "joblib.load('t.joblib')", True),
    "open": ("t.txt", "open('t.txt').read()", True),
    "open in a function": ("t.txt", "def read(): return open('t.txt').read()\nread()", True),
    "io.open": ("t.txt", "io.open('t.txt').read()", False),
    "os.open": ("t.txt", "fd = os.open('t.txt', 0); os.read(fd, 9); os.close(fd)", False),
    "mmap": (
        "t.txt",
        "with open('t.txt') as f: mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[:]",
        True,
    ),
    "pickle": ("t.pkl", "pickle.load(open('t.pkl', 'rb'))", True),
    "json": ("t.json", "json.load(open('t.json'))", True),
    "gzip": ("t.gz", "gzip.open('t.gz').read()", False),
    "zipfile": ("t.zip", "zipfile.ZipFile('t.zip').namelist()", False),
    "Path.read_text": ("t.txt", "Path('t.txt').read_text()", True),
    "Path.read_bytes": ("t.txt", "Path('t.txt').read_bytes()", True),
    "Path.open": ("t.txt", "Path('t.txt').open().read()", True),
    "sqlite3": (
        "t.db",
        "con = sqlite3.connect('t.db'); con.execute('select * from t').fetchall(); con.close()",
        True,
    ),
    "a subprocess": ("t.txt", "subprocess.run(['cat', 't' + '.txt'], stdout=-3)", False),
    "a shell command": ("t.txt", "x = !cat t*xt", False),
    "a Python child": (
        "t.txt",
        "subprocess.run([sys.executable, '-Sc', 'open(\"t.\" + \"txt\").read()'])",
        False,
    ),
    "a forked child": (
        "t.txt",
        "pid = os.fork()\nif not pid:\n    open('t.txt').read(); os._exit(0)\n_ = os.waitpid(pid, 0)",
        False,
    ),
    "a thread": (
        "t.txt",
        "t = threading.Thread(target=lambda: open('t.txt').read()); t.start(); t.join()",
        True,
    ),
}
CHILDREN = {"a subprocess", "a shell command", "a Python child", "a forked child"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("data")
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_json(folder / "t.json", orient="records")
    frame.to_json(folder / "t.ndjson", orient="records", lines=True)
    frame.to_pickle(folder / "t.pkl")
    frame.to_parquet(folder / "t.parquet")
    frame.to_stata(folder / "t.dta")
    frame.to_xml(folder / "t.xml", parser="etree")
    table = pa.Table.from_pandas(frame)
    pyarrow.feather.write_feather(table, folder / "t.feather", compression="uncompressed")
    pyarrow.orc.write_table(table, folder / "t.orc")
    with sqlite3.connect(folder / "t.db") as connection:
        connection.execute("create table t (a)")
    connection.close()
    with duckdb.connect(folder / "t.duckdb") as connection:
        connection.execute("create table t as select 1 as a")
    np.save(folder / "t.npy", np.arange(3))
    np.savetxt(folder / "t.txt", np.arange(3))
    joblib.dump([1], folder / "t.joblib")
    import gzip
    import zipfile

    (folder / "t.gz").write_bytes(gzip.compress(b"x"))
    with zipfile.ZipFile(folder / "t.zip", "w") as archive:
        archive.writestr("a", "a")
    return folder


@pytest.fixture
def watched(new_notebook, data, tmp_path, shell):
    """A notebook in a copy of the data, with the libraries bound."""
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)

    def start(way: str):
        notebook = new_notebook(**WAYS[way])
        notebook.run(IMPORTS)
        return notebook

    return start


@pytest.mark.parametrize("way", WAYS)
def test_every_reader_is_seen(watched, way):
    notebook = watched(way)
    wrong = {}
    for name, (file, cell, is_told) in READERS.items():
        used = notebook.uses(cell)
        expected = expected_evidence(way, name, cell, file, is_told=is_told)
        found = {
            evidence for (path, mode), evidence in used.items() if (path, mode) == (file, "r")
        }
        if found != expected or set(used) - {(file, "r")}:
            wrong[name] = (expected, used)
    assert wrong == {}


def expected_evidence(way: str, name: str, cell: str, file: str, *, is_told: bool) -> set[str]:
    readers = WAYS[way]["readers"]
    if readers and is_told:
        return {"adapter"}
    if way == "readers alone" and name == "numpy.fromfile":
        return {"adapter"}  # which calls `open`, and that is followed then
    if way == "readers alone":
        return {"mentioned"} if f"'{file}'" in cell or name == "gzip" else set()
    if way == "inotify alone" or name in CHILDREN:
        return {"kernel:dir"}
    return {"kernel:pid"}


WRITERS = {
    "DataFrame.to_csv": ("o.csv", "frame.to_csv('o.csv')", True),
    "DataFrame.to_json": ("o.json", "frame.to_json('o.json')", True),
    "DataFrame.to_parquet": ("o.parquet", "frame.to_parquet('o.parquet')", True),
    "DataFrame.to_feather": ("o.feather", "frame.to_feather('o.feather')", True),
    "DataFrame.to_pickle": ("o.pkl", "frame.to_pickle('o.pkl')", True),
    "Series.to_csv": ("s.csv", "frame['a'].to_csv('s.csv')", True),
    "pyarrow.parquet.write_table": (
        "w.parquet",
        "pa.parquet.write_table(pa.table({'a': [1]}), 'w.parquet')",
        True,
    ),
    "pyarrow.csv.write_csv": ("w.csv", "pa.csv.write_csv(pa.table({'a': [1]}), 'w.csv')", True),
    "pyarrow.feather": (
        "w.feather",
        "pa.feather.write_feather(pa.table({'a': [1]}), 'w.feather')",
        True,
    ),
    "polars.write_parquet": (
        "p.parquet",
        "pl.DataFrame({'a': [1]}).write_parquet('p.parquet')",
        True,
    ),
    "polars.sink_csv": ("p.csv", "pl.LazyFrame({'a': [1]}).sink_csv('p.csv')", True),
    "duckdb copy": ("d.csv", "duckdb.sql(\"copy (select 1) to 'd.csv'\")", False),
    "duckdb relation": ("d.parquet", "duckdb.sql('select 1').write_parquet('d.parquet')", True),
    "numpy.save": ("o.npy", "np.save('o.npy', np.arange(3))", True),
    "numpy.savez": ("o.npz", "np.savez('o.npz', a=np.arange(3))", True),
    "numpy.savetxt": ("o.txt", "np.savetxt('o.txt', np.arange(3))", True),
    "joblib.dump": ("o.joblib", "joblib.dump([1], 'o.joblib')", True),
    "open": ("o.bin", "_ = open('o.bin', 'wb').write(b'x')", True),
    "open for more": ("o.bin", "_ = open('o.bin', 'ab').write(b'x')", True),
    "Path.write_text": ("p.txt", "Path('p.txt').write_text('x')", True),
    "os.open": (
        "f.bin",
        "fd = os.open('f' + '.bin', os.O_CREAT | os.O_RDWR); os.write(fd, b'x'); os.close(fd)",
        False,
    ),
    "mapped memory": (
        "m.npy",
        "m = np.lib.format.open_memmap('m' + '.npy', 'w+', shape=(3,)); m[:] = 1; m.flush(); del m",
        False,
    ),
    "a shell command": ("c.txt", "x = !echo 1 > c''.txt", False),
}


@pytest.mark.parametrize("way", ["all layers", "fanotify alone", "inotify alone"])
def test_every_writer_is_seen(watched, way):
    notebook = watched(way)
    notebook.run("frame = pd.DataFrame({'a': [1, 2]})")
    wrong = {}
    for name, (file, cell, is_told) in WRITERS.items():
        used = notebook.uses(cell)
        evidence = (
            "kernel:dir" if way == "inotify alone" or name == "a shell command" else "kernel:pid"
        )
        expected = "adapter" if is_told and WAYS[way]["readers"] else evidence
        if used.get((file, "w")) != expected or set(used) - {(file, "w"), (file, "r")}:
            wrong[name] = used
    assert wrong == {}


def test_a_database_that_is_written_is_both_read_and_written(watched):
    notebook = watched("all layers")
    cell = "con = sqlite3.connect('n.db'); con.execute('create table t (a)'); con.commit(); con.close()"
    assert notebook.uses(cell) == {("n.db", "r"): "adapter", ("n.db", "w"): "kernel:pid"}


def test_a_partitioned_table_is_one_use_of_its_folder(watched):
    notebook = watched("all layers")
    notebook.run("pd.read_csv('t' + '.csv').to_parquet('parts', partition_cols=['a'])")
    (read,) = notebook.run("pd.read_parquet('parts')")
    assert Path(read.uri).name == "parts"
    assert (read.assurance, read.digest) == ("exact", read.digest)
    assert notebook.watch.state(read) == "same"
    next(Path(read.uri).rglob("*.parquet")).unlink()
    assert notebook.watch.state(read) == "changed"


def test_what_a_reader_knows_is_kept(watched):
    notebook = watched("all layers")
    cells = {
        "pd.read_parquet('t.parquet', columns=['a'], filters=[('a', '>', 1)])": {
            "function": "pandas.read_parquet",
            "columns": ["a"],
            "filters": [["a", ">", 1]],
        },
        "pa.parquet.read_table('t.parquet', filters=pa.dataset.field('a') > 1)": {
            "function": "pyarrow.parquet.read_table",
            "filters": "(a > 1)",
        },
        "pl.read_csv('t.csv', columns=['b'], n_rows=1)": {
            "function": "polars.read_csv",
            "columns": ["b"],
            "rows": 1,
        },
        "duckdb.sql(\"select a from 't.csv' where b < 1\").fetchall()": {
            "sql": "select a from 't.csv' where b < 1",
        },
    }
    assert {cell: dict(notebook.run(cell)[0].detail) for cell in cells} == cells


def test_a_library_that_reads_for_the_user_counts_once(watched):
    notebook = watched("all layers")
    # pandas itself calls pyarrow.parquet.
    (use,) = notebook.run("pd.read_parquet('t.parquet')")
    assert use.detail == {"function": "pandas.read_parquet"}


def test_a_reader_that_fails_has_read_nothing(watched):
    notebook = watched("readers alone")
    cell = "try:\n    pd.read_csv('missing' + '.csv')\nexcept FileNotFoundError:\n    pass"
    assert notebook.uses(cell) == {}


def test_followed_functions_look_as_before(watched):
    import inspect
    import pickle

    before = {
        function: (inspect.signature(function), pickle.dumps(function))
        for function in (pd.read_csv, pl.scan_csv, joblib.load, np.load, pd.DataFrame.to_csv)
    }
    watched("all layers")
    for function, (signature, pickled) in before.items():
        assert inspect.signature(function) == signature
        assert pickle.dumps(function) == pickled
        assert pickle.loads(pickled) is function  # noqa: S301  # just made


def test_what_stands_in_for_a_function_in_c_passes_for_it(watched):
    import copy
    import inspect
    import pickle

    import cloudpickle

    before = sqlite3.connect
    signature, pickled = inspect.getdoc(before), pickle.dumps(before)
    watched("all layers")
    assert sqlite3.connect is not before
    assert sqlite3.connect.__name__ == "connect"
    assert inspect.getdoc(sqlite3.connect) == signature
    for loaded in (
        pickle.loads(pickle.dumps(sqlite3.connect)),  # noqa: S301  # just made
        pickle.loads(cloudpickle.dumps(sqlite3.connect)),  # noqa: S301  # just made
        pickle.loads(pickled),  # noqa: S301  # just made
        copy.deepcopy(sqlite3.connect),
    ):
        assert loaded is before


def test_a_warning_of_a_reader_is_about_the_cell(watched):
    import linecache
    import warnings

    notebook = watched("all layers")
    notebook.shell.user_ns["warnings"] = warnings
    notebook.run(
        "with warnings.catch_warnings(record=True) as found:\n"
        "    warnings.simplefilter('always')\n"
        "    pd.read_csv('t.csv', sep='[,]')\n"
    )
    (found,) = notebook.shell.user_ns["found"]
    assert "pd.read_csv" in linecache.getline(found.filename, found.lineno)


HOSTILE = """
class Liar:
    @property
    def __class__(self): raise RuntimeError('who asks?')
    def __fspath__(self): raise KeyError('no path')
    def __getattr__(self, name): raise ZeroDivisionError(name)
    def __len__(self): return -1
class Text(str):
    def __len__(self): raise ValueError
    def __eq__(self, other): raise ValueError
    __hash__ = str.__hash__
class Stream(io.StringIO):
    @property
    def name(self): raise OSError('no name')
liars, text, paths = (Liar(),), Text('t.csv'), [Text('x'), Liar()]
"""


def test_values_that_raise_and_lie_disturb_nobody(watched):
    notebook = watched("all layers")
    notebook.run(HOSTILE)
    for argument in ("liars[0]", "paths", "liars", "None", "'\\0'", "''", "'x' * 100_000"):
        for reader in (
            "pd.read_csv",
            "np.load",
            "open",
            "joblib.load",
            "duckdb.sql",
            "pl.scan_csv",
        ):
            before = notebook.shell.user_ns.pop("error", None)
            notebook.run(
                f"try:\n    {reader}({argument})\nexcept Exception as e: error = repr(type(e))"
            )
            with_us = notebook.shell.user_ns.get("error", before)
            assert with_us != "RuntimeError"
    (use,) = notebook.run("pd.read_csv(text); pd.read_csv(Stream('a,b'))")
    assert Path(use.uri).name == "t.csv"


def test_an_interrupted_reader_is_followed_again(watched):
    notebook = watched("all layers")
    cell = (
        "class Handle(io.StringIO):\n"
        "    def read(self, *_): raise KeyboardInterrupt\n"
        "try:\n    pd.read_csv(Handle('x'))\nexcept KeyboardInterrupt:\n    pass\n"
        "pd.read_csv('t.csv')"
    )
    assert notebook.uses(cell) == {("t.csv", "r"): "adapter"}


def test_an_error_shows_no_frame_of_ours(watched):
    import traceback

    notebook = watched("all layers")
    notebook.run(
        "try:\n    pd.read_csv('no' + '.csv')\nexcept FileNotFoundError as error:\n    kept = error"
    )
    shown = "".join(traceback.format_exception(notebook.shell.user_ns["kept"]))
    assert "mlops_nb/" not in shown
    assert "No such file" in shown


def test_data_that_a_library_brings_along_is_not_the_users(watched):
    notebook = watched("all layers")
    assert notebook.uses("from sklearn.datasets import load_iris; load_iris().data.shape") == {}


def test_two_watches_of_one_module_are_both_told(tmp_path, monkeypatch):
    import importlib
    import sys

    from mlops_nb.autolog.imports import ImportWatch

    (tmp_path / "twice_watched.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    told = []
    watches = [
        ImportWatch(["twice_watched"], lambda module: told.append(module.value)) for _ in "ab"
    ]
    for watch in watches:
        watch.start()
    importlib.import_module("twice_watched")
    for watch in watches:
        watch.stop()
    del sys.modules["twice_watched"]
    assert told == [1, 1]


def test_duckdb_finds_the_tables_that_are_variables(watched):
    notebook = watched("all layers")
    notebook.run("frame = pd.DataFrame({'a': [1, 2]})")
    notebook.run("total = duckdb.sql('select sum(a) from frame').fetchall()[0][0]")
    notebook.run(
        "def count(other): return duckdb.execute('from other').fetchall()\nrows = count(frame)"
    )
    assert notebook.shell.user_ns["total"] == 3
    assert notebook.shell.user_ns["rows"] == [(1,), (2,)]
