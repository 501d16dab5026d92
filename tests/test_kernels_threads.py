"""Kernels in many threads at once: each gives the bits that it gives alone, on the same arrays and on others."""
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from crowdsource.cython_ext import order
from kernel_inputs import all_calls

THREADS, TURNS = 8, 6
CALLS = [all_calls(seed) for seed in (1, 2)]


def bits(values):
    """All values as bytes: NaN is equal to itself, and -0 is not 0."""
    return [np.asarray(value).tobytes() if value is not None else None for value in values]


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


@pytest.mark.parametrize("name", CALLS[0])
def test_a_kernel_gives_the_same_in_many_threads(pool, name):
    alone = [bits(calls[name]()) for calls in CALLS]
    start = threading.Barrier(THREADS)

    def several(thread):
        start.wait()
        return [bits(CALLS[(thread+turn) % 2][name]()) == alone[(thread+turn) % 2] for turn in range(TURNS)]

    assert all(all(same) for same in pool.map(several, range(THREADS)))


def test_different_kernels_run_beside_each_other(pool):
    alone = [{name: bits(call()) for name, call in calls.items()} for calls in CALLS]
    names, start = list(CALLS[0]), threading.Barrier(THREADS)

    def all_from(thread):
        start.wait()
        rotated = names[5*thread:]+names[:5*thread]
        return [name for name in rotated if bits(CALLS[thread % 2][name]()) != alone[thread % 2][name]]

    assert list(pool.map(all_from, range(THREADS))) == [[]]*THREADS


def test_rows_are_taken_by_many_threads_at_once(pool):
    rows = np.random.default_rng(3).integers(-99, 99, (500, 24)).astype(np.int8)
    table, start = order.Rows([(rows, np.arange(500))]), threading.Barrier(THREADS)

    def taken(thread):
        which = np.random.default_rng(thread).integers(0, 500, 300)
        start.wait()
        return all(np.array_equal(table.take(which), rows[which]) for _ in range(TURNS))

    assert all(pool.map(taken, range(THREADS)))
