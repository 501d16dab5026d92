"""The PSF contract: pixel integrals, true gradients, norm, centre, sampling, frozen values."""
from dataclasses import replace

import numpy as np
import pytest

from crowdsource.core.errors import InputError
from crowdsource.psf.base import pixel
from crowdsource.psf.grid import area_width, basis, first_moment, nodes, planes_through, resampled, smeared, terms
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import GridProfile
from crowdsource.psf.profiles.halo import Halo
from crowdsource.psf.profiles.moffat import MoffatProfile, moffat
from crowdsource.psf.profiles.stamp import StampProfile
from crowdsource.testing import PSFContract

SHAPE, LARGE = (101, 121), (2001, 2401)
PHASES = [(0., 0.), (-0.5, 0.13), (0.25, -0.37), (0.49, 0.49), (-0.1, 0.3)]


def integrated(fx, fy, size, fwhm, beta, e1=0., e2=0.):
    """Moffat integrated over pixels with 20 x 20 Gauss-Legendre points in each: exact to 1e-9 for these widths."""
    point, weight = np.polynomial.legendre.leggauss(20)
    at = np.arange(size)-size//2
    u, v = ((at[:, None]+point/2-f).ravel() for f in (fx, fy))
    values = moffat(u[None, :], v[:, None], fwhm, e1, e2, beta).reshape(size, 20, size, 20)
    return np.einsum("jaib,a,b->ji", values, weight/2, weight/2)


def bumpy_core(order=0, size=19, seed=3):
    rng = np.random.default_rng(seed)
    at = np.arange(size)-size//2
    fade = np.exp(-(at[:, None]**2+at[None, :]**2)/18)
    smooth = rng.normal(size=(terms(order), 5, 5))
    wave = np.cos(np.outer(at, np.arange(5))*0.4)
    return 2e-3*fade*np.einsum("yj,kji,xi->kyx", wave, smooth, wave+0.3*np.sin(0.5*at)[:, None])


def turning_grid(oversampling, rows=3, columns=4):
    """Elongated stamps that turn over the image."""
    reach = 30*oversampling
    yy, xx = np.mgrid[-reach:reach+1, -reach:reach+1]/oversampling
    angles = np.linspace(0, 0.5, rows*columns).reshape(rows, columns)
    nodes = [[np.exp(-np.hypot(xx*np.cos(a)+yy*np.sin(a), 1.15*(yy*np.cos(a)-xx*np.sin(a))+0.3)**1.2/4) for a in row]
             for row in angles]
    return GridProfile.from_nodes(np.array(nodes), LARGE, oversampling)


def models():
    def lopsided(reach, step):
        yy, xx = np.mgrid[-reach:reach+1, -reach:reach+1]*step
        return np.exp(-np.hypot(xx-0.8, 1.1*yy+0.1*xx+0.5)**1.2/3)

    stamp = lopsided(30, 1.)
    varying = MoffatProfile(np.array([[4., 0.2, -0.1], [0.02, 0.03, 0.], [0., 0., 0.04], [3., 0., 0.1]]), LARGE, 1)
    return {
        "moffat": FieldPSF.moffat(SHAPE, 4., 2.7, 0.1, -0.06),
        "two samples a pixel": FieldPSF.moffat(SHAPE, 2.2),
        "three samples a pixel": FieldPSF.moffat(SHAPE, 1.5),
        "core": FieldPSF.of(MoffatProfile.constant(SHAPE, 4.), bumpy_core()),
        "core between samples": FieldPSF.of(MoffatProfile.constant(SHAPE, 1.5, 3., 0.05), bumpy_core(), 33),
        "varying": FieldPSF.of(varying, bumpy_core(2)),
        "halo": FieldPSF.of(replace(varying, halo=Halo.of([(0.15, 9, 2.5)], [(0.02, 30, 4, 0.02, 2, 9, 2)])), bumpy_core()),
        "thin in a halo": FieldPSF.of(MoffatProfile.constant(SHAPE, 2.2, halo=Halo.of([(0.2, 25, 1.5)]))),
        "stamp": FieldPSF.of(StampProfile.from_stamp(stamp, SHAPE)),
        "grid": FieldPSF.of(turning_grid(1), bumpy_core(0, 9)),
        "fine grid": FieldPSF.of(turning_grid(2)),
        "fine stamp": FieldPSF.of(StampProfile.from_stamp(lopsided(75, 1/3), SHAPE, 3)),
        "small norm box": FieldPSF.of(StampProfile.from_stamp(stamp, SHAPE), bumpy_core(), 21),
    }


MODELS = models()
every_model = pytest.mark.parametrize("psf", MODELS.values(), ids=MODELS.keys())


class TestModels(PSFContract):
    @pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
    def psf(self, request):
        return request.param


@pytest.mark.parametrize("fwhm, tolerance", [(1.2, 3e-4), (1.5, 1e-4), (1.6, 1e-3), (2., 4e-4), (2.5, 1.5e-4), (3.6, 1e-3),
                                             (4., 6e-4), (8., 3e-5)])
def test_render_is_the_moffat_integrated_over_pixels(fwhm, tolerance):
    # tolerances of the peak: what quintic splines leave between samples, largest just above where the sampling changes
    psf = FieldPSF.moffat(SHAPE, fwhm, 2.8)
    norm = integrated(0, 0, 59, fwhm, 2.8).sum()
    for fx, fy in PHASES:
        true = integrated(fx, fy, 19, fwhm, 2.8)/norm
        stamp = psf.render([60+fx], [50+fy], 19)[0].astype(float)
        assert np.abs(stamp-true).max() < tolerance*true.max()
        # fluxes measured with it
        assert (stamp*true).sum()/(true**2).sum() == pytest.approx(1, abs=1e-4)


def test_ellipse_lies_as_its_parameters_say():
    along, diagonal = (FieldPSF.moffat(SHAPE, 5., 3., *e).stamp(19) for e in ((0.3, 0), (0, 0.3)))
    at = np.arange(19)-9
    xx, yy, xy = ((along*m).sum() for m in (at[None, :]**2, at[:, None]**2, np.outer(at, at)))
    assert xx > 1.2*yy and abs(xy) < 1e-6
    assert (diagonal*np.outer(at, at)).sum() > 0.05*xx
    assert FieldPSF.moffat(SHAPE, 5., 3., 0.3).fwhm() == pytest.approx(5, rel=0.02)


@every_model
def test_derivatives_are_those_of_the_rendered_stamps(psf):
    # a varying model changes with the position too, by some 1e-4 in a pixel, which the derivatives leave out
    step = 2e-3
    for x, y in ((60.2, 50.4), (59.61, 49.7), (20.3, 80.12)):
        _, ddx, ddy = psf.render([x], [y], 23, derivatives=True)
        for slope, dx, dy in ((ddx, step, 0), (ddy, 0, step)):
            high, low = (psf.render([x+s*dx], [y+s*dy], 23)[0].astype(float) for s in (1, -1))
            difference = (high-low)/(2*step)
            scale = np.abs(difference).max()
            # float32 stamps: 6e-8 of the peak over the step is 3e-5 of a slope that is about the peak over the FWHM
            assert np.abs(slope[0]-difference).max() < (2e-3 if psf.varies else 4e-4)*scale


@every_model
def test_sum_over_the_norm_box_is_one_everywhere(psf):
    for x, y in ((60., 50.), (0., 0.), (120., 100.), (17., 88.), (2500., -30.)):
        assert psf.render([x], [y], psf.norm_size)[0].sum(dtype=float) == pytest.approx(1, abs=3e-6)


@every_model
def test_position_is_the_centroid_of_the_central_19_pixels(psf):
    for x, y in ((60., 50.), (3., 99.), (2100., 300.)):
        inner = psf.render([x], [y], 19)[0].astype(float)
        # float32: 361 pixels of up to 9 px times 1e-8
        assert first_moment(inner, 1) == pytest.approx(0, abs=3e-6)
        assert first_moment(inner, 0) == pytest.approx(0, abs=3e-6)


@every_model
def test_stamp_is_centred_on_the_pixel_that_holds_the_star(psf):
    for x in (60.49, 60.5, 59.5, 60.):
        wide = psf.render([x], [50.2], 41)[0]
        peak = np.unravel_index(wide[10:31, 10:31].argmax(), (21, 21))
        assert abs(peak[1]-10-(x-pixel(x))) <= 1.01
    # the stamps on both sides of a pixel's edge are the same star, one pixel apart
    below, above = psf.render([60.4999999, 60.5], [50., 50.], 21)
    assert np.allclose(below[:, 1:], above[:, :-1], atol=1e-6*below.max(), rtol=1e-3 if psf.varies else 0)


def test_stamps_wider_than_the_model_are_zero_outside():
    yy, xx = np.mgrid[-7:8, -7:8]
    psf = FieldPSF.of(StampProfile.from_stamp(np.exp(-(xx**2+yy**2)/8.), SHAPE))
    wide = psf.stamp(61)
    # the spline rings past the edge and fades by a factor of two in a pixel
    assert np.abs(wide[:20]).max() < 1e-10 and wide.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("gradient, tolerance", [(0.03, 2e-4), (0.1, 2.5e-3)])
@pytest.mark.parametrize("order", [1, 2])
def test_varying_wings_are_the_local_profile_everywhere(gradient, tolerance, order):
    # pixels bend with the width even where the width is linear: planes of first order would be off by 0.3 % and 3 %
    c = np.zeros((4, terms(order)))
    c[:, 0], c[0, 1], c[1, 2] = (4, 0, 0, 3), 4*gradient, 0.05
    profile = MoffatProfile(c, SHAPE, order)
    psf = FieldPSF.of(profile)
    for x, y in ((0, 0), (30, 50), (60, 50), (120, 13)):
        fwhm, e1, e2, beta = profile.at([x], [y])[0]
        true = integrated(0, 0, 19, fwhm, beta, e1, e2)/integrated(0, 0, 59, fwhm, beta, e1, e2).sum()
        assert np.abs(psf.render([x], [y], 19)[0]-true).max() < tolerance*true.max()


def test_core_adds_what_it_says_where_it_holds_no_flux_and_no_moment():
    # an even wave with no sum stays as it is: 2 cos - ... made by hand
    core = np.zeros((1, 19, 19))
    core[0, 9, 9], core[0, 9, [6, 12]], core[0, [6, 12], 9] = 4e-3, -1e-3, -1e-3
    bare = FieldPSF.moffat(SHAPE, 4.)
    psf = FieldPSF.of(bare.profile, core)
    assert np.allclose(psf.stamp(19)-bare.stamp(19), core[0], atol=1e-8)
    fine = FieldPSF.of(MoffatProfile.constant(SHAPE, 1.5), core)
    assert fine.oversampling == 3
    assert np.allclose(fine.stamp(19)-FieldPSF.moffat(SHAPE, 1.5).stamp(19), core[0], atol=1e-7)


@pytest.mark.parametrize("new", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("old", [1, 2, 3])
def test_resampling_at_any_step(old, new):
    at = np.arange(-12*old, 12*old+1)/old
    samples = np.exp(-(at[:, None]**2+(at[None, :]-0.4)**2)/8)
    out = resampled(samples, old, new)
    fine = np.arange(-12*new, 12*new+1)/new
    true = np.exp(-(fine[:, None]**2+(fine[None, :]-0.4)**2)/8)
    # a Gaussian of sigma 2 samples is 5e-5 off between samples
    assert out.shape == true.shape and np.abs(out-true).max() < 1e-4


@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_fine_stamps_give_what_the_profile_gives(oversampling):
    """A stamp with several samples a pixel, each an integral over a pixel, is the PSF at all phases."""
    fwhm, side = 3.7, 2*20*oversampling+1
    at = (np.arange(side)-side//2)/oversampling
    whole = FieldPSF.moffat(SHAPE, fwhm, 3.)
    fine = np.empty((side, side))
    for j in range(side):
        near = np.round(at)
        y = np.full(side, 50-(at[j]-near[j]))
        stamps = whole.render(60-(at-near), y, 61)
        rows = (30+near[j]+50-pixel(y)).astype(int)
        fine[j] = stamps[np.arange(side), rows, (30+near+60-pixel(60-(at-near))).astype(int)]
    psf = FieldPSF.of(StampProfile.from_stamp(fine, SHAPE, oversampling), norm_size=41)
    for fx, fy in PHASES:
        stamp = psf.render([60+fx], [50+fy], 15)[0]
        true = whole.render([60+fx], [50+fy], 15)[0]/whole.stamp(41).sum()
        assert np.abs(stamp-true).max() < 1.5e-3*true.max()


@pytest.mark.parametrize("off", [(0.3, -0.2), (1.6, 0.9)])
@pytest.mark.parametrize("oversampling", [1, 3])
def test_a_stamp_that_is_off_centre_is_moved(off, oversampling):
    at = np.arange(-45, 46)/oversampling
    stamp = np.exp(-((at[:, None]-off[1])**2+(at[None, :]-off[0])**2)/8)
    psf = FieldPSF.of(StampProfile.from_stamp(stamp, SHAPE, oversampling), norm_size=27)
    middle = np.arange(-9, 10)
    centred = np.exp(-(middle[:, None]**2+middle[None, :]**2)/8)
    assert np.abs(psf.stamp(19)-centred/centred.sum()).max() < 3e-4*psf.stamp(1).max()


@pytest.mark.parametrize("stamp, message", [
    (np.ones((4, 4)), "odd"), (np.ones((5, 7)), "odd"), (np.ones(5), "odd"), (np.zeros((5, 5)), "empty"),
    (-np.ones((5, 5)), "empty"), (np.where(np.eye(5) > 0, np.nan, 1.), "NaN")])
def test_stamps_that_are_none(stamp, message):
    with pytest.raises(InputError, match=message):
        StampProfile.from_stamp(stamp, SHAPE)


@pytest.mark.parametrize("fwhm", [2.5, 4., 9., 25.])
def test_fwhm_is_that_of_the_integrated_profile(fwhm):
    # a pixel widens a profile: its second moment adds 1/12 px^2 to that of a Gaussian of the same width
    wider = np.sqrt(fwhm**2+8*np.log(2)/12)
    assert FieldPSF.moffat(SHAPE, fwhm, norm_size=101).fwhm() == pytest.approx(wider, rel=0.02)


def test_width_ignores_noise_away_from_the_star():
    stamp = FieldPSF.moffat(SHAPE, 4.).stamp(59)
    noisy = stamp.copy()
    noisy[5, 5:9] = stamp.max()
    assert area_width(noisy) == area_width(stamp)


def test_smearing_is_a_convolution_with_an_exponential_disc():
    m, scale = 81, 3.
    point = np.zeros((1, m, m))
    point[0, 40, 40] = 1
    disc = smeared(point, scale)[0]
    assert disc.sum() == pytest.approx(1)
    # exp(-r/h) falls by e^-2 over two scale lengths; its second moment per axis is 3 h^2
    assert disc[40, 52]/disc[40, 46] == pytest.approx(np.exp(-2), rel=0.02)
    assert (disc*(np.arange(m)-40)**2).sum() == pytest.approx(3*scale**2, rel=0.01)


@every_model
def test_smeared_stamps_keep_flux_and_spread(psf):
    sharp, wide = psf.render([60.], [50.], 59)[0], psf.render_smeared([60.], [50.], 59, 0.5)[0]
    assert wide.sum() == pytest.approx(sharp.sum(), abs=2e-3)
    assert wide.max() < sharp.max()
    at = np.arange(59)-29
    if psf is MODELS["moffat"]:
        middle = np.s_[19:40, 19:40]
        broader = ((wide-sharp)[middle]*at[19:40][None, :]**2).sum()
        # 3 h^2 = 0.75, less what a box of 21 px cuts from wings that grew
        assert broader == pytest.approx(0.75, rel=0.15)


def test_basis_runs_from_minus_one_to_one_and_stops_at_the_edge():
    b = basis([0, 120, 60, 400], [0, 100, 50, -9], SHAPE, 2)
    assert np.array_equal(b[:, 1], [-1, 1, 0, 1]) and np.array_equal(b[:, 2], [-1, 1, 0, -1])
    assert np.array_equal(b[:, 4], b[:, 1]*b[:, 2])
    assert basis([0.], [0.], (1, 1), 1).shape == (1, 3)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_planes_go_through_what_a_polynomial_can_follow(order):
    rng = np.random.default_rng(order)
    planes = rng.normal(size=(terms(order), 3, 3))
    x, y = nodes(SHAPE, order)
    stamps = np.tensordot(basis(x, y, SHAPE, order), planes, axes=1)
    assert np.allclose(planes_through(stamps, x, y, SHAPE, order), planes, atol=1e-12)


def test_a_changed_copy_does_not_render_the_old_model():
    psf = FieldPSF.moffat(SHAPE, 4.)
    old = psf.stamp(19)
    other = replace(psf, profile=MoffatProfile.constant(SHAPE, 6.))
    assert other.stamp(19).max() < 0.6*old.max()


@every_model
def test_what_was_rendered_before_does_not_matter(psf):
    fresh, used = replace(psf), replace(psf)
    for size in (301, 149, 61, 9):
        used.render([60.3], [50.8], size)
    for size in (9, 19, 61, 149):
        assert np.array_equal(fresh.render([60.3], [50.8], size), used.render([60.3], [50.8], size))
