"""Long series in few points: the shape stays, and so do gaps."""

import builtins
import math
import random
import subprocess
import sys

import numpy as np
import pytest
from events import T0, A, B, metric, run_started

from mlops_nb.errors import MissingExtra
from mlops_nb.store import Store
from mlops_nb.store.reading import arrays

COUNT = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A noisy loss with one spike, and a short one, and one with a single value."""
    folder = tmp_path_factory.mktemp("store") / ".mlops"
    made = random.Random(3)  # noqa: S311
    with Store.open(folder, create=True) as store:
        store.apply([run_started(A), run_started(B)])
        noisy = (1 / (1 + step / 500) + made.random() / 50 for step in range(COUNT))
        store.apply(
            [
                metric(A, "loss", 5.0 if step == 12_345 else value, step * 10, at_ns=T0 + step)
                for step, value in enumerate(noisy)
            ]
        )
        store.apply([metric(B, "short", value) for value in (3, 2, 1)])
        store.apply([metric(B, "single", 0.5)])
    return folder


@pytest.fixture
def store(folder):
    with Store.open(folder) as store:
        yield store


def test_a_series_is_three_numpy_arrays(store):
    series = store.series(A, "loss")
    assert [part.dtype.str for part in (series.steps, series.values, series.at_ns)] == [
        "<i8",
        "<f8",
        "<i8",
    ]
    assert series.steps.tolist() == list(range(0, COUNT * 10, 10))
    assert series.at_ns.tolist() == list(range(T0, T0 + COUNT))


@pytest.mark.parametrize("points", [3, 50, 1000])
def test_few_points_keep_first_last_and_the_spike(store, points):
    whole, few = store.series(A, "loss"), store.series(A, "loss", points=points)
    assert len(few.values) == len(few.steps) == len(few.at_ns) == points
    assert few.steps[0] == 0
    assert few.steps[-1] == (COUNT - 1) * 10
    assert 5.0 in few.values
    assert np.array_equal(whole.values[few.steps // 10], few.values)


def test_a_short_series_comes_whole(store):
    assert store.series(B, "short", points=1000).values.tolist() == [3, 2, 1]
    assert store.series(B, "single", points=1000).values.tolist() == [0.5]
    assert store.series(B, "nothing", points=1000).values.tolist() == []


def test_curves_of_many_runs_come_together(store):
    wanted = [(A, "loss"), (B, "short"), (B, "single"), (A, "nothing")]
    curves = store.curves(wanted, points=100)
    assert list(curves) == wanted
    assert len(curves[A, "loss"]) == 100
    assert max(curves[A, "loss"]) == 5.0
    assert curves[B, "short"] == (3, 2, 1)
    assert curves[A, "nothing"] == ()


def test_where_nothing_is_finite_a_gap_stays():
    values = np.sin(np.arange(10_000) / 100)
    values[3000:5000] = math.nan
    values[9000:] = math.inf
    shown = values[arrays.places_to_show(values, 200)]
    assert len(shown) <= 200
    is_gap = ~np.isfinite(shown)
    assert is_gap[60:100].sum() >= 30
    assert is_gap[-15:].all()
    assert np.isfinite(shown[:55]).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0, 1e308, -1e-320])
def test_a_curve_of_one_value_stays_in_its_points(value):
    values = np.full(5000, value)
    places = arrays.places_to_show(values, 100)
    assert 3 <= len(places) <= 100
    assert (np.diff(places) > 0).all()


def test_steps_that_do_not_grow_do_no_harm():
    values, steps = np.arange(5000.0), np.arange(5000) % 100
    places = arrays.places_to_show(values, 50, steps=steps)
    assert len(places) == 50


def test_without_the_library_it_is_named(store, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *arguments, **given):
        if name == "tsdownsample":
            raise ImportError(name)
        return imported(name, *arguments, **given)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra, match="tsdownsample"):
        store.series(A, "loss", points=100)
    assert len(store.curves([(A, "loss")], points=100)[A, "loss"]) == COUNT


def test_short_curves_are_read_without_numpy(folder):
    code = f"""
import sys
from mlops_nb.store import Store
with Store.open({str(folder)!r}) as store:
    assert store.curves([({B!r}, "short")])[{B!r}, "short"] == (3, 2, 1)
assert "numpy" not in sys.modules
assert "tsdownsample" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_numpy_a_series_is_arrays_of_python(folder):
    code = f"""
import sys
sys.modules["numpy"] = None
from mlops_nb.store import Store
from mlops_nb.errors import MissingExtra
with Store.open({str(folder)!r}) as store:
    assert store.series({A!r}, "loss").steps.tolist() == list(range(0, {COUNT * 10}, 10))
    assert store.series({B!r}, "single").values.tolist() == [0.5]
    try:
        store.series({A!r}, "loss", points=10)
    except MissingExtra:
        print("named")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "named\n"
