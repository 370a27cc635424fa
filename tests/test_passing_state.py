# ruff: noqa: NPY002, PTH109, S311  # the state of these generators is what is under test
"""State of the process that a step leaves comes back in another process exactly."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from mlops_nb.packaging import pack, unpack
from mlops_nb.pipeline.passing import state
from mlops_nb.pipeline.passing.guards import changed_states

try:
    import torch
except (ImportError, OSError):
    torch = None


@pytest.fixture(autouse=True)
def as_it_was(tmp_path, monkeypatch):
    """The whole state of this process, put back by means that are not under test."""
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "config" / "config.toml"))
    monkeypatch.chdir(tmp_path)
    before = random.getstate(), np.random.get_state(), list(sys.path), dict(os.environ)
    options = np.get_printoptions(), np.geterr()
    drawn = None if torch is None else torch.get_rng_state()
    with mpl.rc_context(), pd.option_context("display.max_rows", 60), warnings.catch_warnings():
        yield
    random.setstate(before[0])
    np.random.set_state(before[1])
    sys.path[:] = before[2]
    os.environ.clear()
    os.environ.update(before[3])
    np.set_printoptions(**options[0])
    np.seterr(**options[1])
    pd.reset_option("display.float_format")
    if torch is not None:
        torch.set_rng_state(drawn)


def stored(value, folder):
    """A value as it comes out of its files."""
    unit = pack({"state": value}, folder, namespace={})
    return unpack(unit, folder, namespace={})["state"]


def draw(name):
    return {
        "<rng:random>": lambda: [random.random(), random.gauss(0, 1)],
        "<rng:numpy>": lambda: np.random.standard_normal(3).tolist(),
        "<rng:torch>": lambda: torch.rand(3).tolist(),
    }[name]()


@pytest.mark.parametrize("name", ["<rng:random>", "<rng:numpy>", "<rng:torch>"])
def test_a_generator_goes_on_where_it_was(tmp_path, name):
    if name == "<rng:torch>" and torch is None:
        pytest.skip("torch is not there")
    start = state.start_here()
    # An odd number of normal draws leaves one kept for later.
    random.gauss(0, 1)
    np.random.standard_normal()
    kept = stored(state.read_state(name, start), tmp_path / "unit")
    expected = draw(name)
    draw(name)
    state.write_state(name, kept, start)
    assert draw(name) == expected


def test_another_kind_of_generator_goes_on_as_well(tmp_path):
    start = state.start_here()
    np.random.set_bit_generator(np.random.PCG64(3))
    try:
        kept = stored(state.read_state("<rng:numpy>", start), tmp_path / "unit")
        expected = draw("<rng:numpy>")
        np.random.set_bit_generator(np.random.MT19937(1))
        state.write_state("<rng:numpy>", kept, start)
        assert draw("<rng:numpy>") == expected
    finally:
        np.random.set_bit_generator(np.random.MT19937())


def test_options_come_back_and_those_set_back_are_reset(tmp_path):
    start = state.start_here()
    pd.set_option("display.max_rows", 7)
    pd.set_option("display.float_format", "{:.1f}".format)
    np.set_printoptions(precision=3)
    np.seterr(divide="ignore")
    mpl.rcParams["figure.figsize"] = (3, 4)
    mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=["red", "blue"])
    names = [name for name in state.STATES if name.startswith("<options")]
    kept = {name: stored(state.read_state(name, start), tmp_path / name[9:-1]) for name in names}
    pd.reset_option("display.max_rows")
    pd.reset_option("display.float_format")
    pd.set_option("display.width", 33)
    np.set_printoptions(precision=8)
    np.seterr(divide="warn")
    mpl.rcdefaults()
    mpl.rcParams["lines.linewidth"] = 9
    for name in names:
        state.write_state(name, kept[name], start)
    assert pd.get_option("display.max_rows") == 7
    assert pd.get_option("display.width") == 80
    assert str(pd.Series([1.25])).startswith("0   1.2")
    assert (np.get_printoptions()["precision"], np.geterr()["divide"]) == (3, "ignore")
    assert mpl.rcParams["figure.figsize"] == [3, 4]
    assert [one["color"] for one in mpl.rcParams["axes.prop_cycle"]] == ["red", "blue"]
    assert mpl.rcParams["lines.linewidth"] == mpl.rcParamsDefault["lines.linewidth"]


def test_changed_variables_only_are_kept(tmp_path):
    os.environ["OLD"] = "1"
    os.environ["GONE"] = "1"
    start = state.start_here()
    os.environ["NEW"] = "größe"
    os.environ["OLD"] = "2"
    del os.environ["GONE"]
    kept = stored(state.read_state("<environ>", start), tmp_path / "unit")
    assert kept == {"NEW": "größe", "OLD": "2", "GONE": None}
    os.environ.update(OLD="1", GONE="1")
    del os.environ["NEW"]
    state.write_state("<environ>", kept, start)
    assert (os.environ["NEW"], os.environ["OLD"], "GONE" in os.environ) == ("größe", "2", False)


def test_folders_below_the_start_move_with_the_pipeline(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place / "data").mkdir(parents=True)
    os.chdir(tmp_path / "here")
    start = state.start_here()
    os.chdir("data")
    sys.path.insert(0, str(tmp_path / "here" / "src"))
    sys.path.append("/elsewhere")
    kept = {name: state.read_state(name, start) for name in ("<cwd>", "<sys.path>")}
    sys.path[:] = start.path
    os.chdir(tmp_path / "there")
    there = state.start_here()
    for name, value in kept.items():
        state.write_state(name, stored(value, tmp_path / name[1:-1]), there)
    assert os.getcwd() == str(tmp_path / "there" / "data")
    assert sys.path[0] == str(tmp_path / "there" / "src")
    assert sys.path[1:] == [*start.path, "/elsewhere"]


def test_filters_of_warnings_come_back(tmp_path):
    start = state.start_here()
    warnings.filterwarnings("error", message="never .*", category=DeprecationWarning)
    kept = stored(state.read_state("<warnings>", start), tmp_path / "unit")
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    state.write_state("<warnings>", kept, start)
    with pytest.raises(DeprecationWarning):
        warnings.warn("never mind", DeprecationWarning, stacklevel=1)


def test_what_did_not_change_is_not_told():
    start = state.start_here()
    before = {name: state.read_state(name, start) for name in state.STATES}
    assert changed_states(before, start) == {}
    random.random()
    np.random.random()
    os.environ["X"] = "1"
    pd.set_option("display.max_rows", 3)
    assert set(changed_states(before, start)) == {
        "<rng:random>",
        "<rng:numpy>",
        "<environ>",
        "<options:pandas>",
    }


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        pytest.param("import numpy, pandas, matplotlib", [], id="only imported"),
        pytest.param("import numpy; numpy.random.seed(3)", ["<rng:numpy>"], id="seeded"),
        pytest.param("import numpy; numpy.random.random()", ["<rng:numpy>"], id="drawn"),
        pytest.param(
            "import pandas; pandas.set_option('display.max_rows', 3)",
            ["<options:pandas>"],
            id="option",
        ),
        pytest.param("import torch", [], id="torch only imported"),
        pytest.param("import torch; torch.manual_seed(3)", ["<rng:torch>"], id="torch seeded"),
    ],
)
def test_a_library_that_a_step_imports_itself_is_judged_from_its_beginning(code, changed):
    if "torch" in code and torch is None:
        pytest.skip("torch is not there")
    program = f"""
from mlops_nb.pipeline.passing import state
from mlops_nb.pipeline.passing.guards import changed_states
start = state.start_here()
before = {{name: state.read_state(name, start) for name in state.STATES}}
{code}
watched = [name for name in changed_states(before, start) if "rng" in name or "options" in name]
print([name for name in watched if name != "<options:numpy>"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == repr(changed), done.stderr
