"""Arrays in column order, of many bands: the digest and the chunks are those of row order."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.fingerprint import fingerprint

ODD_NAN = np.array([0xFFF8000000000123], "u8").view("f8")[0]
# One of each way of turning, and their neighbours.
WIDTHS = [2, 5, 8, 9, 16, 30, 31, 64, 257]


def digests(array):
    found = fingerprint(array)
    assert found.assurance == "exact"
    return found.digest, found.chunks


def numbers(width, size_bytes=11_000_000):
    """Draw more than two bands, with a part of a chunk at the end."""
    rows = size_bytes // (8 * width) + 3
    return np.random.default_rng(width).standard_normal((rows, width))


@pytest.mark.parametrize("width", WIDTHS)
def test_column_order_has_the_chunks_of_row_order(width):
    array = numbers(width)
    assert digests(np.asfortranarray(array)) == digests(array)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_nan_in_any_band_is_made_the_usual_one(width):
    array = numbers(width)
    array[[0, len(array) // 2, -1], [width - 1, 0, width // 2]] = ODD_NAN
    array[3] = np.inf
    array[4] = -np.inf
    usual = np.where(np.isnan(array), np.nan, array)
    turned = np.asfortranarray(array)
    assert np.isnan(turned).sum() == 3
    assert digests(turned) == digests(usual)
    # The value itself stays as it was.
    assert (turned.view("u8") == np.asfortranarray(array).view("u8")).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_last_bit_of_any_place_counts(width):
    array = np.asfortranarray(numbers(width, 5_000_000))
    before, chunks = digests(array)
    at_once = fingerprint(array).chunk_rows
    for row, place in [(0, 0), (at_once, width - 1), (len(array) - 1, width // 2)]:
        array.view("u8")[row, place] ^= 1
        after, changed = digests(array)
        assert after != before
        pairs = zip(chunks, changed, strict=True)
        assert [i for i, (old, new) in enumerate(pairs) if old != new] == [row // at_once]
        array.view("u8")[row, place] ^= 1


@pytest.mark.parametrize("width", WIDTHS)
def test_a_part_of_column_order_is_read_as_its_copy(width):
    array = np.asfortranarray(numbers(width, 2_000_000))
    parts = [
        array[7:-5],
        array[::3],
        array[::-1],
        array[:, ::-1],
        array[1:, : width // 2 + 1],
        array[:, ::2],
    ]
    for part in parts:
        assert digests(part) == digests(part.copy(order="C"))


@pytest.mark.parametrize("width", [4, 8, 20, 64])
def test_columns_a_power_of_two_apart_are_read_too(width):
    memory = np.random.default_rng(0).standard_normal((width, 2**15))
    assert digests(memory.T) == digests(memory.T.copy(order="C"))


def test_rows_that_overlap_in_memory_are_read_like_others():
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(5_000.0), 6)
    for overlapping in (windows, windows.T, windows[:, ::2], windows[:, ::-1]):
        assert digests(overlapping) == digests(overlapping.copy(order="C"))


def test_columns_too_far_apart_for_a_record_are_read_too(monkeypatch):
    array = np.asfortranarray(numbers(5))
    expected = digests(array)
    module = importlib.import_module("mlops_nb.fingerprint.numpy_values")
    monkeypatch.setattr(module, "_LONGEST_RECORD", 1_000)
    assert digests(array) == expected


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 70),
    rows=st.integers(1, 60),
    dtype=st.sampled_from(
        ["f8", "f4", "f2", "i8", "i2", "?", "c8", "M8[s]", "m8[us]", "S3", ">f4"]
    ),
    seed=st.integers(0, 2**32),
)
def test_layout_does_not_count_for_any_dtype(width, rows, dtype, seed):
    array = np.random.default_rng(seed).integers(0, 100, (rows, width)).astype(dtype)
    if array.dtype.kind in "fc":
        array[seed % rows, seed % width] = np.nan
    expected = digests(array)
    wide = np.zeros((rows + 5, width), dtype, order="F")
    wide[2:-3] = array
    for same in (np.asfortranarray(array), wide[2:-3], np.asfortranarray(array[::-1])[::-1]):
        assert digests(same) == expected
