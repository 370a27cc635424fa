"""Columns of series: every number comes back, and few bytes are kept of them."""

import math
import random
import struct
import sys
import zlib
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.store.reading import arrays, series
from mlops_nb.store.reading.columns import (
    integers,
    pack_integers,
    pack_values,
    parse_integers,
    parse_values,
    values,
)
from mlops_nb.store.reading.series import Points, pack, spans_as_json, unpack

whole = st.integers(-(2**63), 2**63 - 1)
ORIGIN = ("e1", "explicit", None, False)
T0 = 1_793_534_400_000_000_000


@st.composite
def growing(draw):
    """Numbers that grow as steps and times do, with what disturbs them."""
    width = draw(st.sampled_from([0, 3, 200, 60_000, 4_000_000_000, 2**40]))
    count = draw(st.integers(0, 300))
    dice = random.Random(draw(st.integers(0, 10**6)))  # noqa: S311
    number, numbers = draw(st.integers(-(2**40), 2**62)), []
    for _ in range(count):
        numbers.append(number)
        number += dice.randint(0, width) if width else 1
        if dice.random() < 0.01:
            number += dice.choice([-(2**39), 2**41, -1])
    return numbers


@given(st.lists(whole, max_size=40) | growing())
@settings(max_examples=200)
def test_whole_numbers_come_back(numbers):
    column, end = parse_integers(pack_integers(array("q", numbers)) + b"more")
    assert integers(column).tolist() == numbers
    assert end == len(pack_integers(array("q", numbers)))


@given(st.lists(st.floats(allow_subnormal=True), max_size=40))
def test_every_bit_of_a_value_comes_back(numbers):
    column, _ = parse_values(pack_values(array("d", numbers)) + b"more")
    assert values(column).tobytes() == array("d", numbers).tobytes()


@given(st.lists(st.lists(whole, max_size=30) | growing(), max_size=4))
def test_numpy_reads_what_was_packed_without_it(chunks):
    blocks, steps, numbers = [], [], []
    for chunk in chunks:
        points = Points()
        for step in chunk:
            points.add(step, step / 7, step, ORIGIN)
        blocks.append((len(points), pack(points)))
        steps += chunk
        numbers += points.values
    found = arrays.read_arrays(blocks)
    assert [part.tolist() for part in found] == [steps, numbers, steps]
    assert arrays.read_values(blocks).tolist() == numbers


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        pytest.param(range(100_000), 40, id="one by one"),
        pytest.param([7] * 100_000, 40, id="always the same"),
        pytest.param([i % 1000 for i in range(100_000)], 1300, id="epochs that begin again"),
        pytest.param([i * 10**9 + i % 200 for i in range(100_000)], 400_100, id="a second apart"),
        pytest.param(
            [T0 + i * 5000 + (i // 1000) * 10**12 for i in range(100_000)], 1300, id="pauses"
        ),
    ],
)
def test_what_grows_evenly_takes_few_bytes(steps, most):
    assert len(pack_integers(array("q", steps))) <= most


def test_values_of_32_bits_take_four_bytes():
    narrow = np.random.default_rng(1).random(1000).astype(np.float32).astype(float)
    assert len(pack_values(array("d", narrow))) < 4 * 1000 + 40


def test_a_million_points_take_no_more_than_16_bytes_each():
    made = random.Random(7)  # noqa: S311
    points, at_ns = Points(), T0
    for step in range(100_000):
        at_ns += 900_000 + made.getrandbits(18)
        points.add(step, made.random(), at_ns, ORIGIN)
    assert len(pack(points)) <= 16 * len(points)


def deflated(points):
    """A block as the first version of this package wrote them."""
    shuffled = b""
    for column in (points.steps, points.values, points.at_ns):
        raw = column.tobytes()
        shuffled += b"".join(raw[i::8] for i in range(8))
    return zlib.compress(shuffled, 1)


@pytest.mark.skipif(sys.byteorder == "big", reason="makes blocks as a little machine did")
def test_blocks_of_the_first_version_are_still_read():
    points = Points()
    for step in range(1000):
        points.add(step, math.sin(step), T0 + step**2, ORIGIN)
    block = deflated(points)
    assert series.is_deflated(block)
    old = unpack(block, spans_as_json(points))
    assert list(old) == list(points)
    found = arrays.read_arrays([(1000, block), (1000, pack(points))])
    assert found[2].tolist() == 2 * list(points.at_ns)
    assert arrays.read_values([(1000, block)]).tolist() == list(points.values)


@pytest.mark.parametrize("cut", [0, 1, 5, 20, 60])
def test_a_block_that_is_cut_off_is_an_error_and_no_wrong_number(cut):
    points = Points()
    for step in range(20):
        points.add(step, step / 3, T0 + step**3, ORIGIN)
    block = pack(points)
    with pytest.raises((ValueError, struct.error, zlib.error)):
        arrays.read_arrays([(20, block[:cut])])
    with pytest.raises((ValueError, struct.error, zlib.error)):
        unpack(block[:cut], [])
