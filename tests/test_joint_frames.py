"""Frames of images, the pattern of bright stars, and the registration of one image on another."""
import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import Sip
from scipy import ndimage
from scipy.spatial import cKDTree
from small_fields import tan_wcs

from crowdsource.core.errors import InputError
from crowdsource.joint.detection import Corners
from crowdsource.joint.frame import Frame, exponents, powers, slopes
from crowdsource.joint.grid import Grid
from crowdsource.joint.pattern import common_pattern, triangles
from crowdsource.joint.register import StarList, degree_for, mutual, refined, register, weighted_median

SIDE = 400
SHAPE = (SIDE, SIDE)


def places(n=200, seed=1, side=SIDE):
    return np.random.default_rng(seed).uniform(0, side-1, (2, n))


def bent(degree=3):
    """A frame with all terms of a degree, turned and shifted."""
    middle, half = (190., 205.), 210.
    bend = np.random.default_rng(7).normal(0, 0.8, (2, len(exponents(degree))))
    bend[:, 0] += 150., 160.
    bend[:, 1:3] += half*1.1*np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    return Frame(coefficients=bend, degree=degree, middle=middle, half=half)


def test_the_terms_of_a_polynomial():
    u, v = places(20, side=2)
    assert exponents(2) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    assert np.allclose(powers(u, v, 2), np.stack([u**0, u, v, u*u, u*v, v*v], axis=1))
    by_u, by_v = slopes(u, v, 3)
    assert np.allclose(by_u, (powers(u+1e-5, v, 3)-powers(u-1e-5, v, 3))/2e-5, atol=1e-8)
    assert np.allclose(by_v, (powers(u, v+1e-5, 3)-powers(u, v-1e-5, 3))/2e-5, atol=1e-8)


def test_the_identity_leaves_all_in_place():
    u, v = places()
    frame = Frame.identity()
    assert np.array_equal(frame(u, v), (u, v)) and frame.scale == 1
    assert np.array_equal(frame.jacobian(u, v), np.tile(np.eye(2), (200, 1, 1)))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_similarity_has_one_scale_an_angle_and_a_parity(mirrored):
    u, v = places()
    frame = Frame.similarity(1.4, 0.7, (30., -8.), mirrored)
    turned = 30-8j+1.4*np.exp(0.7j)*(u+1j*(-v if mirrored else v))
    assert np.allclose(frame(u, v), (turned.real, turned.imag))
    assert frame.scale == pytest.approx(1.4)
    assert np.linalg.det(frame.jacobian(u, v)) == pytest.approx(np.full(200, -1.96 if mirrored else 1.96))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_the_inverse_leads_back(degree):
    frame, (u, v) = bent(degree), places()
    assert np.allclose(frame.inverse(*frame(u, v)), (u, v), atol=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_the_jacobian_is_that_of_finite_differences(degree):
    frame, (u, v) = bent(degree), places()
    by_u, by_v = (np.subtract(frame(u+a, v+b), frame(u-a, v-b))/2e-3 for a, b in ((1e-3, 0), (0, 1e-3)))
    assert np.allclose(frame.jacobian(u, v), np.stack([by_u, by_v], axis=-1).transpose(1, 0, 2), atol=1e-7)


def test_a_fit_finds_the_frame_whatever_the_weights():
    (u, v), frame = places(), bent()
    for weight in (None, np.random.default_rng(3).uniform(1, 100, 200)):
        found, used = Frame.fitted(u, v, *frame(u, v), 3, weight)
        assert used.all() and np.allclose(found(u, v), frame(u, v), atol=1e-8)


def test_pairs_that_do_not_agree_are_left_out_of_a_fit():
    rng, (u, v), frame = np.random.default_rng(2), places(), bent(2)
    x, y = frame(u, v)+rng.normal(0, 0.05, (2, 200))
    wrong = np.arange(200) < 30
    x[wrong] += rng.uniform(0.7, 5, 30)
    found, used = Frame.fitted(u, v, x, y, 2)
    assert not used[wrong].any() and used[~wrong].mean() > 0.97
    # six coefficients of 170 stars of 0.05 pixels
    assert np.abs(np.subtract(found(u, v), frame(u, v))).max() < 0.04


def test_weights_say_what_a_fit_follows():
    (u, v), frame, rng = places(), bent(1), np.random.default_rng(5)
    sigma = np.where(np.arange(200) < 100, 0.02, 0.06)
    x, y = frame(u, v)+sigma*rng.normal(size=(2, 200))
    x[100:] += 0.1
    off = [np.abs(np.subtract(Frame.fitted(u, v, x, y, 1, w)[0](u, v), frame(u, v))).max() for w in (1/sigma**2, None)]
    assert 2*off[0] < 0.04 < off[1]


def test_a_frame_is_moved_by_what_stars_say_but_not_by_the_wrong_ones():
    (u, v), frame = places(), bent()
    other = replace(frame, coefficients=frame.coefficients+np.random.default_rng(3).normal(0, 0.1, frame.coefficients.shape))
    shift = np.subtract(other(u, v), frame(u, v)).T
    moved = frame.moved(u, v, shift, np.ones(200))
    assert np.allclose(moved(u, v), other(u, v), atol=1e-9)
    noisy = shift+np.random.default_rng(4).normal(0, 0.02, shift.shape)
    noisy[:20] += 0.8
    assert np.abs(np.subtract(frame.moved(u, v, noisy, np.ones(200))(u, v), other(u, v))).max() < 0.03


def test_a_grid_holds_what_all_images_show():
    frames = Frame.identity(), Frame.similarity(1.3, 0.5, (40., -70.)), Frame.similarity(0.8, -2., (300., 280.), True)
    shapes = SHAPE, (200, 300), (350, 320)
    for fwhm, steps in ((3., 1), (2., 2)):
        grid = Grid.around(frames, shapes, fwhm)
        assert grid.steps == steps
        for frame, (ny, nx) in zip(frames, shapes):
            row, column = grid.points(*frame.inverse(np.array([0., nx-1, 0, nx-1]), np.array([0., 0, ny-1, ny-1])))
            assert (np.minimum(row, column) >= 0).all() and (row < grid.shape[0]).all() and (column < grid.shape[1]).all()
        assert np.allclose(grid.points(*grid.positions([3, 40], [5, 17])), ([3, 40], [5, 17]))
        x, y = grid(frames[1], slice(4, 7))
        assert x.shape == y.shape == (3, grid.shape[1])
        u, v = grid.positions(5, 9)
        assert np.allclose((x[1, 9], y[1, 9]), np.ravel(frames[1](np.array([u]), np.array([v]))))


def two_lists(frame, n=120, seed=1, missing=0.25, noise=0.1, side=SIDE):
    """Stars of a reference and of an image of a frame, the brightest first, some only on one, the order not quite the same."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-side/2, 1.5*side, (2, 4*n))
    mag = rng.exponential(1, 4*n)
    x, y = frame(u, v)+rng.normal(0, noise, (2, 4*n))
    lists = []
    for a, b in ((u, v), (x, y)):
        own = mag+rng.normal(0, 0.1, 4*n)
        shown = (a > 0) & (b > 0) & (a < side) & (b < side) & (rng.random(4*n) > missing)
        order = np.argsort(own)
        order = order[shown[order]]
        lists += [a[order], b[order]]
    return lists


def agree(found, frame, side=SIDE):
    u, v = places(50, 9, side)
    return found is not None and np.hypot(*np.subtract(found(u, v), frame(u, v))).max() < 3


@pytest.mark.parametrize("scale, angle, shift, mirrored", [
    (1., 0., (25., -40.), False), (1., 3.1, (20., 35.), False), (0.7, 0.9, (-40., 20.), False), (1.6, -0.05, (-30., -10.), False),
    (1., 0.5, (30., 50.), True), (1.3, -2.2, (-10., 25.), True)])
def test_the_pattern_of_stars_tells_shift_angle_scale_and_parity(scale, angle, shift, mirrored):
    centred = Frame.similarity(scale, angle, shift, mirrored)
    middle = np.subtract(SIDE/2, centred(*np.full((2, 1), SIDE/2))).ravel()
    frame = Frame.similarity(scale, angle, 2*np.array(shift)+middle, mirrored)
    found = common_pattern(*two_lists(frame))
    assert agree(found, frame)
    assert found.scale == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_half_of_a_field_in_common_is_enough(seed):
    frame = Frame.similarity(1., 0.03, (0.4*SIDE, -0.1*SIDE))
    assert agree(common_pattern(*two_lists(frame, 200, seed)), frame)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [40, 150, 300])
def test_lists_of_different_fields_have_no_pattern_in_common(seed, n):
    assert common_pattern(*places(n, seed), *places(n, seed+10)) is None


def test_few_stars_have_no_pattern():
    for n in range(5):
        assert common_pattern(*places(n), *places(n)) is None
        corners, shape = triangles(places(n).T)
        assert len(corners) == len(shape)
    # and stars all in one place none either
    assert common_pattern(*np.full((4, 30), 7.)) is None


def star_lists(frame, scale=1., seed=1, with_wcs=(None, None), n=150):
    """Lists of stars of a reference and of an image; the fluxes of the latter are `scale` of those of the former."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-SIDE/2, 1.5*SIDE, (2, 4*n))
    flux = np.sort(1000*(1+rng.pareto(1.2, 4*n)))[::-1]
    out = []
    for place, factor, wcs in zip(((u, v), frame(u, v)), (1., scale), with_wcs):
        x, y = place+rng.normal(0, 0.03, (2, 4*n))
        keep = (x > 0) & (y > 0) & (x < SIDE) & (y < SIDE)
        own = factor*flux[keep]+rng.normal(0, 20, keep.sum())
        order = np.argsort(-own)
        out.append(StarList(x=x[keep][order], y=y[keep][order], flux=own[order], error=np.full(keep.sum(), 20.), fwhm=3.5,
                            shape=SHAPE, wcs=wcs))
    return out


def good(found, frame, scale=1.):
    u, v = places(50, 9)
    inside = np.hypot(*np.subtract(found.frame(u, v), frame(u, v)))
    return inside.max() < 0.15 and found.scale == pytest.approx(scale, rel=0.01) and found.stars > 40 and found.rms < 0.08


def test_images_without_world_coordinates_are_registered_by_their_pattern():
    frame = Frame.similarity(1.02, 0.3, (40., -50.))
    assert good(register(*star_lists(frame, 0.6)), frame, 0.6)


def test_images_with_world_coordinates_are_registered_by_these():
    one, two = tan_wcs(SHAPE), tan_wcs(SHAPE, ra=150.004, dec=2.003)
    # a shift and a turn that its header does not know of
    middle = np.array(two.world_to_pixel(one.pixel_to_world(0., 0.)))+(0.9, -0.7)
    frame = Frame.similarity(1., 0.001, middle)
    lists = star_lists(frame, 1.7, with_wcs=(one, two), n=60)
    assert good(register(*lists), frame, 1.7)
    # neither mirrored nor few stars matter then: a pattern of nine would not do
    few = [replace(s, **{name: getattr(s, name)[:25] for name in ("x", "y", "flux", "error")}) for s in lists]
    assert register(*few).stars > 8 and register(*few).frame.degree == 1


def test_wrong_world_coordinates_are_told_and_the_pattern_is_taken(caplog):
    frame = Frame.similarity(1.02, 0.3, (40., -50.))
    lists = star_lists(frame, with_wcs=(tan_wcs(SHAPE), tan_wcs(SHAPE, ra=150.01)))
    with caplog.at_level(logging.WARNING):
        found = register(*lists, "night-7")
    assert good(found, frame)
    assert "night-7: its world coordinates do not bring its stars onto those of the reference" in caplog.text


def test_an_image_of_another_field_is_refused():
    one, _ = star_lists(Frame.identity(), seed=1)
    other, _ = star_lists(Frame.identity(), seed=2)
    with pytest.raises(InputError, match="night-7: its bright stars show no pattern of the reference's.*leave it out, or give"):
        register(one, other, "night-7")
    with pytest.raises(InputError, match="no pattern"):
        register(replace(one, wcs=tan_wcs(SHAPE)), replace(other, wcs=tan_wcs(SHAPE, ra=151.)))


def distorted(wcs):
    """World coordinates with a SIP distortion, which converges on and near the image only."""
    bend = np.zeros((2, 3, 3))
    bend[0, 2, 0] = bend[1, 0, 2] = 1e-5
    wcs.sip = Sip(*bend, None, None, wcs.wcs.crpix)
    wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    wcs.wcs.set()
    return wcs


@pytest.mark.parametrize("kind", ["far", "opposite", "distorted"])
def test_world_coordinates_anywhere_on_the_sky_are_no_more_than_wrong(kind, caplog):
    one, two = tan_wcs(SHAPE), tan_wcs(SHAPE, ra=330. if kind == "opposite" else 200., dec=-2.)
    if kind == "distorted":
        one, two = distorted(one), distorted(two)
    frame = Frame.similarity(1.02, 0.3, (40., -50.))
    assert good(register(*star_lists(frame, with_wcs=(one, two))), frame)
    assert "their pattern is tried" in caplog.text


def test_an_image_of_few_stars_is_refused():
    one, two = star_lists(Frame.identity(), with_wcs=(tan_wcs(SHAPE), tan_wcs(SHAPE)))
    for n in (0, 1, 5):
        few = replace(two, **{name: getattr(two, name)[:n] for name in ("x", "y", "flux", "error")})
        with pytest.raises(InputError, match="no pattern"):
            register(one, few)


def test_a_guess_that_is_nearly_right_is_refined_and_one_that_is_not_is_none():
    frame = bent(2)
    lists = star_lists(frame, n=300)
    off = replace(frame, coefficients=frame.coefficients+np.array([[1.5], [-1.]])*(np.arange(6) == 0))
    found = refined(*lists, off)
    assert good(found, frame) and found.frame.degree > 1
    assert refined(*lists, Frame.similarity(1., 0., (900., 900.))) is None


def test_the_degree_follows_the_number_of_stars():
    assert [degree_for(n) for n in (6, 59, 119, 120, 199, 200, 3000)] == [1, 1, 1, 2, 2, 3, 3]


def test_mutual_pairs_and_the_weighted_median():
    first, second = mutual(np.array([[0., 0], [0.6, 0], [9, 9]]), cKDTree([[0.5, 0], [9, 9.1], [50, 50]]), 1.)
    assert first.tolist() == [1, 2] and second.tolist() == [0, 1]
    assert weighted_median(np.array([3., 1, 2]), np.ones(3)) == 2
    assert weighted_median(np.array([3., 1, 2]), np.array([10., 1, 1])) == 3


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_grid_has_the_positions_of_its_points(degree):
    frame, u, v = bent(degree), np.linspace(-20, 420, 23), np.linspace(-10, 410, 17)
    x, y = frame.on_grid(u, v)
    columns, rows = np.meshgrid(u, v)
    assert x.shape == y.shape == (17, 23)
    assert np.allclose((x.ravel(), y.ravel()), frame(columns.ravel(), rows.ravel()), rtol=0, atol=1e-9)
    grid = Grid(u0=-3., v0=5., shape=(11, 7), steps=2)
    there = grid(frame, slice(2, 5))
    assert np.allclose(there[0][1], frame(*grid.positions(np.full(7, 3), np.arange(7)))[0], rtol=0, atol=1e-9)


def test_pixels_around_places_are_interpolated_linearly():
    plane, rng = np.random.default_rng(3).normal(size=(9, 12)), np.random.default_rng(4)
    x, y = np.r_[rng.uniform(-2, 13, 300), 0, 11, 11, 5], np.r_[rng.uniform(-2, 10, 300), 0, 8, 0, 8]
    wanted = ndimage.map_coordinates(plane, (y, x), order=1, mode="constant")
    assert np.allclose(Corners(x, y, plane.shape).mean(lambda *at: plane[at]), wanted, rtol=0, atol=1e-12)
    assert Corners(x, y, (1, 1)).mean(lambda *at: np.ones(len(at[0]))).sum() == 1
