"""Every kernel refuses arguments that do not fit together, and none reads or writes outside its arrays, whatever it is given."""
import inspect

import numpy as np
import pytest
from crowdsource.cython_ext import design, order, render, sphere
from kernel_inputs import MODULES, SHAPE, all_calls, stamps_and_layout

CALLS = all_calls(1)
ARRAYS = [(name, argument) for name, call in CALLS.items() for argument, value in call.arguments.items()
          if isinstance(value, np.ndarray) and value.size]
NUMBERS = [(name, argument) for name, call in CALLS.items() for argument, value in call.arguments.items() if type(value) is int]


def test_the_calls_are_those_of_all_kernels():
    public = {f"{module.__name__.rpartition('.')[2]}.{name}" for module in MODULES for name, value in vars(module).items()
              if inspect.isroutine(value) and value.__module__ == module.__name__ and not name.startswith("_")}
    assert public == set(CALLS)
    for call in CALLS.values():
        call()


def damaged(array):
    """Arrays that are like a good one but for what a caller may get wrong, by name."""
    kinds = dict(none=None, empty=np.zeros((0,)*array.ndim, array.dtype), one=array[:1].copy(), short=array[:-1].copy(),
                 long=np.concatenate([array, array]))
    if array.ndim > 1:
        kinds |= dict(narrow=np.ascontiguousarray(array[..., :-1]), wide=np.concatenate([array, array], axis=-1),
                      low=np.ascontiguousarray(array[:, :-1]))
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        kinds |= {str(value): np.full_like(array, value) for value in (limits.min, limits.max, limits.max//4, 0, -1)
                  if limits.min <= value <= limits.max}
        kinds |= dict(reversed=array[::-1].copy(), doubled=2*array)
    if array.dtype.kind == "f":
        kinds |= {str(value): np.full_like(array, value) for value in (np.nan, np.inf, -np.inf, 3e38, -3e38, 0)}
    return kinds


def attempt(call, **other):
    """Run a kernel; it may refuse its arguments, but not in any other way."""
    try:
        call(**other)
    except (ValueError, TypeError, OverflowError, MemoryError):
        pass


@pytest.mark.parametrize("name, argument", ARRAYS)
def test_no_array_makes_a_kernel_fail(name, argument):
    call = CALLS[name]
    with np.errstate(all="ignore"):
        for value in damaged(call.arguments[argument]).values():
            attempt(call, **{argument: value})


@pytest.mark.parametrize("name, argument", NUMBERS)
def test_no_number_makes_a_kernel_fail(name, argument):
    for value in (-2**63, -2**31, -1, 0, 1, 2, 99, 2**62):
        attempt(CALLS[name], **{argument: value})


def changed_layout(row, column, value):
    """The layout of the calls with one number changed."""
    layout = CALLS["design.project"].arguments["layout"].copy()
    layout[row, column] = value
    return layout


@pytest.mark.parametrize("name", ["normal_equations", "project", "spread", "sparse_columns"])
@pytest.mark.parametrize("row, column, value, message", [
    (3, 0, -1, "source 3 leave the buffer"), (39, 0, 10**6, "source 39 leave the buffer"),
    (5, 1, 0, "source 5 has a stamp of 0 pixels"), (5, 1, -7, "size must be at least 1"), (5, 2, 9, "multiple of eight"),
    (7, 1, 25, "at least the size"),
    (39, 2, 1 << 20, "leave the buffer"), (7, 2, 1 << 62, "stride at least the size"), (2, 3, 2**31, "begins at"),
    (2, 4, -2**63, "begins at")])
def test_stamps_must_lie_in_their_buffer(name, row, column, value, message):
    with pytest.raises(ValueError, match=message):
        CALLS[f"design.{name}"](layout=changed_layout(row, column, value))
    with pytest.raises(ValueError, match="layout has 4 columns"):
        CALLS[f"design.{name}"](layout=np.zeros((40, 4), np.intp))


@pytest.mark.parametrize("name", ["project", "spread", "sparse_columns"])
@pytest.mark.parametrize("value", [0, 4, -1])
def test_sources_have_one_to_three_parameters(name, value):
    with pytest.raises(ValueError, match="n_parameters"):
        CALLS[f"design.{name}"](n_parameters=value)



def changed(array, at, value):
    """A copy with one number changed."""
    other = array.copy()
    other[at] = value
    return other


@pytest.mark.parametrize("name", ["design.normal_equations", "solve.conjugate_gradients", "solve.partners", "solve.product",
                                  "solve.local_covariance", "solve.trial_fluxes"])
def test_partners_must_be_sources(name):
    call, n = CALLS[name], 40
    indptr, indices = call.arguments["indptr"], call.arguments["indices"]
    for other, message in ((dict(indices=changed(indices, 4, n)), rf"indices\[4\] is {n}: there are {n}"),
                           (dict(indices=changed(indices, 4, -1)), r"indices\[4\] is -1"),
                           (dict(indptr=changed(indptr, 0, 1)), "indptr runs from 1"),
                           (dict(indptr=changed(indptr, n, len(indices)+1)), "stay within"),
                           (dict(indptr=changed(indptr, 9, len(indices))), "indptr descends"),
                           (dict(indptr=changed(indptr, 9, -3)), "indptr descends"),
                           (dict(indptr=indptr[:0]), "indptr has 0 numbers")):
        with pytest.raises(ValueError, match=message):
            call(**other)


@pytest.mark.parametrize("name", ["solve.local_covariance", "solve.trial_fluxes"])
@pytest.mark.parametrize("other, message", [
    (dict(most=65), "between 0 and 64"), (dict(most=-1), "between 0 and 64"),
    (dict(blocks=np.zeros((3, 9), np.float32)), "there are 3"), (dict(near=np.zeros(3, np.int32)), "near has 3 numbers"),
    (dict(diagonal=np.zeros((40, 6))), "need nine")])
def test_neighbours_must_have_blocks(name, other, message):
    with pytest.raises(ValueError, match=message):
        CALLS[name](**other)


@pytest.mark.parametrize("number", [10**6, -10**6-1])
def test_numbers_of_blocks_are_checked_at_both_ends_of_a_pair(number):
    call = CALLS["solve.local_covariance"]
    with pytest.raises(ValueError, match=r"near\[2\] is"):
        call(near=changed(call.arguments["near"], 2, number))


@pytest.mark.parametrize("name, other, message", [
    ("solve.conjugate_gradients", dict(blocks=np.zeros((3, 9), np.float32)), "as many rows as there are indices"),
    ("solve.conjugate_gradients", dict(n_parameters=2), "1 or 3, not 2"),
    ("solve.product", dict(blocks=np.zeros((3, 9), np.float32)), "as many rows as there are indices"),
    ("solve.product", dict(x=np.zeros((40, 2))), "three numbers for each of 40"),
    ("solve.trial_fluxes", dict(first=41), "not 41"), ("solve.trial_fluxes", dict(first=-1), "not -1"),
    ("solve.trial_fluxes", dict(rhs=np.zeros((40, 2))), "rhs needs three"),
    ("design.overlaps", dict(least=0), "at least 1"), ("design.overlaps", dict(cell=0), "at least 1"),
    ("design.overlaps", dict(shape=(-1, 9)), "numbers of pixels"),
    ("design.pack", dict(stride=1 << 62), "do not fit"), ("design.pack", dict(offset=np.full(12, 2**62)), "do not fit"),
    ("design.add_stamps", dict(stamps=np.zeros((12, 9, 8), np.float32)), "square"),
    ("measure.measure", dict(stamps=(np.zeros((20, 9, 9), np.float32),)*3), "3 arrays of stamps"),
    ("measure.measure", dict(stamps=(*[np.zeros((20, 9, 9), np.float32)]*3, np.zeros((20, 9, 7), np.float32))), "same shape"),
    ("measure.measure", dict(stamps=(*[np.zeros((20, 9, 9), np.float32)]*3, np.zeros((20, 7, 9), np.float32))), "same shape"),
    ("measure.cutouts", dict(side=0), "at least 1"),
    ("merge.group_steps", dict(stamps=(*[np.zeros((6, 3, 7, 7), np.float32)]*2, np.zeros((6, 3, 7, 5), np.float32))),
     "same shape"),
    ("merge.group_equations", dict(weight=np.zeros((6, 9, 7), np.float32)), "boxes square"),
    ("merge.group_models", dict(stamps=np.zeros((6, 3, 7, 5), np.float32)), "square"),
    ("centroid.centroids", dict(weight=np.zeros((20, 9, 7), np.float32)), "square"),
    ("render.render", dict(size=-1), "at least 1"), ("render.render_packed", dict(size=-1), "at least 1"),
    ("render.render", dict(oversampling=1 << 30), "at most"), ("render.render_packed", dict(stride=1 << 62), "apart"),
    ("render.render", dict(grids=np.zeros((0, 33, 33), np.float32), factors=np.zeros((20, 0), np.float32)), "at least one"),
    ("near.neighbours", dict(x=np.full(200, np.nan)), "finite"), ("near.neighbours", dict(reach=np.full(30, -1.)), "negative"),
    ("near.neighbours", dict(centre_y=np.full(30, np.inf)), "finite"),
    ("sky.block_statistics", dict(edges_y=np.array([0, 100, 40])), "descend from 100 to 40"),
    ("sky.block_statistics", dict(edges_x=np.array([0])), "two at least"),
    ("detect.correlate", dict(kernel=np.zeros((3, 5), np.float32)), "square"), ("detect.bits_near", dict(steps=-1), "steps, -1")])
def test_numbers_and_shapes_are_checked(name, other, message):
    with pytest.raises(ValueError, match=message):
        CALLS[name](**other)


def test_tables_of_rows_are_checked():
    for bad in ([], [(np.zeros(5, np.int8), np.zeros(1, np.intp))]):
        with pytest.raises(ValueError, match="at least one table"):
            order.Rows(bad)
    with pytest.raises(ValueError, match="7 is no row of 3"):
        order.Rows([(np.zeros((3, 5), np.int8), np.array([7]))])


def test_stars_at_positions_that_are_no_numbers_are_nowhere():
    grids, factors = np.ones((1, 33, 33), np.float32), np.ones((6, 1), np.float32)
    x, y = np.array([np.nan, np.inf, -np.inf, 1e300, -1e19, 5.]), np.array([5., 5., 5., 5., 5., np.nan])
    image = np.zeros(SHAPE, np.float32)
    render.add_rendered(image, grids, factors, x, y, np.ones(6), 9, 1)
    assert not image.any()
    value, ddx, _ = render.render(grids, factors, x, y, 9, 1, True)
    # a large number is a position like others, with no part of a pixel
    assert np.isnan(value[[0, 1, 2, 5]]).all() and np.isnan(ddx[[0, 1, 2]]).all() and np.allclose(value[3:5], 1, atol=1e-6)


@pytest.mark.parametrize("corner", [-2**63, 2**63-1, -2**31, 2**31])
def test_stamps_however_far_off_add_nothing(corner):
    at, near_by = np.full(2, corner), np.full(2, 3)
    image, stamps = np.zeros(SHAPE, np.float32), np.ones((2, 9, 9), np.float32)
    for x0, y0 in ((at, near_by), (near_by, at), (at, at)):
        design.add_stamps(image, stamps, x0, y0, np.ones(2))
        assert not image.any()
        assert not CALLS["measure.cutouts"](plane=image+1, x0=x0, y0=y0)[0].any()
        assert not CALLS["detect.bits_near"](mask=np.ones(SHAPE, np.uint16), bits=1, y=y0, x=x0)[0].any()


def test_rows_may_be_farther_apart_than_needed():
    buffer, layout = stamps_and_layout(np.random.default_rng(3), 20, (5,))
    call = CALLS["design.normal_equations"]
    wide, far = np.zeros(20*3*5*64, np.float32), layout.copy()
    far[:, 0], far[:, 2] = np.arange(20)*3*5*64, 64
    wide.reshape(-1, 64)[:, :8] = buffer[:-8].reshape(-1, 8)
    pairs = dict(zip(("indptr", "indices"), design.overlaps(layout, SHAPE)))
    for one, other in zip(call(buffer=buffer, layout=layout, **pairs), call(buffer=wide, layout=far, **pairs)):
        assert np.array_equal(one, other)


def test_points_at_the_ends_of_the_sky():
    points = sphere.Points(np.array([0., 360., 10.]), np.array([-90., 90., 0.]), 0.5)
    assert len(points) == 3 and points.order.tolist() == [0, 2, 1]
