"""Sorting by whole numbers, and rows in an order: as NumPy does both, in the last row."""
import numpy as np
import pytest
from crowdsource.cython_ext import order as kernel
from crowdsource.cython_ext import reference_sky
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crowdsource.survey.sorting import STRIP, StackedTables, order_by, sorted_rows, take_rows

LEAST, GREATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
FEW = st.sampled_from([LEAST, LEAST+1, -2049, -1, 0, 1, 2047, 2048, 1 << 57, GREATEST-1, GREATEST])
ROW = np.dtype([("name", "S3"), ("key", "i8"), ("flux", "f4")])
OTHER = np.dtype([("key", "i8"), ("seen", "?")])


def rows(n, dtype=ROW, seed=1):
    """Rows of any bytes."""
    return np.random.default_rng(seed).integers(0, 256, (n, dtype.itemsize), np.uint8).reshape(-1).view(dtype)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([FEW, st.integers(LEAST, GREATEST), st.integers(-3, 3)]), st.integers(1, 3))
def test_order_is_that_of_lexsort(data, values, number):
    n = data.draw(st.integers(0, 50))
    keys = [data.draw(hnp.arrays(np.int64, n, elements=values)) for _ in range(number)]
    assert np.array_equal(order_by(*keys), np.lexsort(keys[::-1]))
    assert np.array_equal(kernel.order_of(keys[0], order_by(*keys[1:])), reference_sky.order_of(keys[0], order_by(*keys[1:])))


@pytest.mark.parametrize("bits", [1, 11, 12, 30, 63])
def test_long_tables_are_sorted_by_all_their_digits(bits):
    keys = np.random.default_rng(bits).integers(0, 1 << bits, 100_000)-(1 << bits-1)
    assert np.array_equal(order_by(keys), np.argsort(keys, kind="stable"))
    assert np.array_equal(order_by(np.sort(keys)), np.arange(len(keys)))


def test_keys_of_other_types_and_strides():
    table = rows(1000)
    assert np.array_equal(order_by(table["key"]), np.argsort(table["key"], kind="stable"))
    assert np.array_equal(order_by(np.array([3, 1, 2], np.int16), np.array([1, 1, 1], bool)), [1, 2, 0])


def test_what_is_no_order_is_refused():
    keys = np.arange(3)
    for before in ([0, 1], [0, 1, 3], [-1, 0, 1]):
        with pytest.raises(ValueError):
            kernel.order_of(keys, np.array(before, np.intp))
    table = rows(3)
    for wrong in ([3], [-1]):
        with pytest.raises(ValueError, match="is no row of 3"):
            take_rows([(table, np.arange(3))], np.array(wrong), ROW)
        with pytest.raises(ValueError, match="is no row of 3"):
            take_rows([(table, np.array(wrong))], np.array([0]), ROW)
    with pytest.raises(ValueError, match="different tables"):
        kernel.Rows([(np.zeros((2, 4), np.int8), np.arange(2)), (np.zeros((2, 5), np.int8), np.arange(2))])


def test_rows_of_parts_in_an_order():
    first, second = rows(40), rows(30, seed=2)
    some = np.array([7, 7, 39, 0])
    parts = [(first, some), (second[::3], np.arange(10)), (first[:0], np.arange(0))]
    whole = np.concatenate([first[some], second[::3]])
    order = np.random.default_rng(3).permutation(14)
    assert take_rows(parts, order, ROW).tobytes() == whole[order].tobytes()
    assert sorted_rows(whole, whole["key"]).tobytes() == whole[np.argsort(whole["key"], kind="stable")].tobytes()
    wider = np.dtype([("name", "S5"), ("key", "i8"), ("flux", "f4")])
    assert np.array_equal(take_rows(parts, order, wider)["name"], whole["name"][order])
    assert not len(take_rows(parts, np.arange(0), ROW))


@pytest.mark.parametrize("dtypes", [[], [ROW], [ROW, ROW], [ROW, OTHER, ROW], [OTHER, ROW, OTHER]])
def test_strips_hold_each_row_once_in_its_place(dtypes):
    tables = [rows(3*STRIP//4+k, dtype, seed=k) for k, dtype in enumerate(dtypes)]
    keys = np.concatenate([t["key"] for t in tables]) if tables else np.zeros(0, np.int64)
    order = order_by(keys)[::2]
    found, seen = np.zeros(len(order), np.int64), np.zeros(len(order), int)
    for at, part in StackedTables(tables).strips(order):
        assert len(part) <= STRIP
        found[at] = part["key"]
        seen[at] += 1
    assert np.array_equal(found, keys[order]) and (seen == 1).all()
