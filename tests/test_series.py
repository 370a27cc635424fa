"""How the values of a metric are packed and merged."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.store.reading.series import (
    CHUNK_POINTS,
    Points,
    chunks_to_merge,
    pack,
    spans_as_json,
    unpack,
)

origins = st.tuples(
    st.none() | st.sampled_from(["e1", "e2"]),
    st.sampled_from(["explicit", "object"]),
    st.none() | st.sampled_from(["f1", "f2"]),
    st.booleans(),
)
integers = st.integers(-(2**63), 2**63 - 1)
points_strategy = st.lists(
    st.tuples(integers, st.floats(allow_subnormal=True), integers, origins), max_size=50
)


def made(items):
    points = Points()
    for item in items:
        points.add(*item)
    return points


def exact(points):
    """Every bit, since a NaN is not equal to itself."""
    return [(s, struct.pack("d", v), t, o) for s, v, t, o in points]


@given(points_strategy)
def test_packed_points_come_back_to_the_bit(items):
    points = made(items)
    assert exact(unpack(pack(points), spans_as_json(points))) == exact(points)


@given(points_strategy, st.integers(1, 7))
def test_pieces_hold_all_points_in_order(items, size):
    points = made(items)
    pieces = list(points.split(size))
    assert all(len(piece) <= size for piece in pieces)
    assert [p for piece in pieces for p in exact(piece)] == exact(points)


@given(points_strategy)
def test_parting_by_fit_loses_nothing(items):
    points = made(items)
    theirs, others = points.part("f1")
    assert exact(theirs) == [p for p in exact(points) if p[3][2] == "f1"]
    assert exact(others) == [p for p in exact(points) if p[3][2] != "f1"]


def test_a_step_beyond_64_bits_is_the_largest_there_is():
    assert made([(10**30, 0.0, 0, (None, "explicit", None, False))]).steps[0] == 2**63 - 1


def test_steps_are_counted_again_only_where_we_counted_them():
    counted, given_ = (None, "explicit", None, True), (None, "explicit", None, False)
    points = made([(7, 0.0, 0, counted), (30, 0.0, 0, given_), (9, 0.0, 0, counted)])
    points.count_steps()
    assert list(points.steps) == [0, 30, 31]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60))
@settings(max_examples=50)
def test_a_series_stays_in_few_chunks_whatever_the_batches(batches):
    counts = []
    for added in batches * 8:
        merged = chunks_to_merge(counts, added)
        total = added + sum(counts[len(counts) - merged :])
        counts[len(counts) - merged :] = [total]
    total = sum(batches) * 8
    assert sum(counts) == total
    assert len(counts) <= 4 * math.log(total + 1, 4) + 2 * total / CHUNK_POINTS + 8
    assert max(counts) < 4 * CHUNK_POINTS


def test_a_point_is_rewritten_only_a_few_times():
    counts, written = [], 0
    for _ in range(20_000):
        merged = chunks_to_merge(counts, 50)
        total = 50 + sum(counts[len(counts) - merged :])
        counts[len(counts) - merged :] = [total]
        written += total
    assert written / sum(counts) < 6


@pytest.mark.parametrize("count", [1, 1000, CHUNK_POINTS])
def test_a_usual_series_takes_few_bytes(count):
    origin = ("e1", "explicit", None, True)
    points = made((i, 1 / (i + 1), 10**18 + i * 1000, origin) for i in range(count))
    assert len(pack(points)) < 40 + 12 * count
