"""Every measured column against its definition, on sources of which it is known; see also the kernel's slow twin."""
import numpy as np
import pytest
from crowdsource.cython_ext.measure import COLUMNS

from crowdsource.core.image import Image
from crowdsource.engine.design import model_image
from crowdsource.engine.measure import SPREAD_SCALE, extent_significance, inner_side, measure
from crowdsource.engine.sources import Sources
from crowdsource.psf.base import pixel
from crowdsource.psf.model import FieldPSF

SHAPE = (90, 100)
PSF = FieldPSF.moffat(SHAPE, 4.)
BOX = 19


def image_of(data=None, ivar=None):
    return Image.from_arrays(np.zeros(SHAPE) if data is None else data, np.ones(SHAPE) if ivar is None else ivar)


def stars(x, y, flux):
    return model_image(PSF, *(np.array(v, dtype=float) for v in (x, y, flux)), np.full(len(x), 31), SHAPE)


def measured(x, y, flux, residual, model=None, ivar=None, psf=PSF):
    x, y, flux = (np.array(v, dtype=float) for v in (x, y, flux))
    model = stars(x, y, flux) if model is None else model
    return measure(image_of(ivar=ivar), residual, model, psf, Sources.new(x, y, flux))


def cut(image, x, y):
    px, py = pixel(x), pixel(y)
    return image[py-9:py+10, px-9:px+10]


EMPTY = np.zeros(SHAPE, np.float32)


def test_all_columns_are_given_and_finite_whatever_comes():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-30, 130, 40), rng.uniform(-30, 120, 40)
    ivar = np.where(rng.random(SHAPE) < 0.3, 0, 1.)
    ivar[:30] = 0
    m = measured(x, y, rng.normal(0, 100, 40), rng.normal(size=SHAPE), ivar=ivar)
    assert tuple(m) == COLUMNS
    assert all(np.isfinite(v).all() and v.shape == (40,) for v in m.values())
    nothing = (x < -10) | (x > 110)
    assert nothing.any() and all((m[c][nothing] == 0).all() for c in COLUMNS if c != "fwhm")


def test_qf_is_the_psf_weighted_fraction_of_good_pixels():
    ivar = np.ones(SHAPE)
    ivar[:, 52:] = 0
    m = measured([50., 20.], [40., 40.], [100.]*2, EMPTY, ivar=ivar)
    p = PSF.render([50.], [40.], BOX)[0].astype(float)
    assert m["qf"] == pytest.approx([p[:, :11].sum()/p.sum(), 1], rel=1e-5)
    # pixels off the image are not good
    assert measured([0.], [40.], [100.], EMPTY)["qf"][0] == pytest.approx(p[:, 9:].sum()/p.sum(), rel=1e-5)


def test_rchi2_is_the_psf_weighted_mean_of_squared_residuals():
    rng = np.random.default_rng(2)
    ivar = rng.uniform(0.5, 2, SHAPE)
    ivar[41, 47:53] = 0
    residual = rng.normal(size=SHAPE)/np.sqrt(np.maximum(ivar, 0.1))
    p, w, r = PSF.render([50.2], [39.7], BOX)[0].astype(float), cut(ivar, 50.2, 39.7), cut(residual, 50.2, 39.7)
    expected = (p*r**2*w).sum()/p[w > 0].sum()
    assert measured([50.2], [39.7], [100.], residual, ivar=ivar)["rchi2"][0] == pytest.approx(expected, rel=1e-5)
    grid = np.meshgrid(np.arange(12., 90, 8), np.arange(12., 80, 8))
    many = measured(*(g.ravel() for g in grid), [1.]*grid[0].size, residual, ivar=ivar)
    # 90 values, each the mean of some 25 pixels
    assert np.mean(many["rchi2"]) == pytest.approx(1, abs=0.1)


def test_fracflux_is_the_stars_own_part_of_the_light():
    x, y, flux = [40., 45.], [40., 41.], [1000., 3000.]
    ivar = np.random.default_rng(3).uniform(0.5, 2, SHAPE)
    m = measured(x, y, flux, EMPTY, ivar=ivar)
    for k in range(2):
        p = PSF.render(x[k:k+1], y[k:k+1], BOX)[0].astype(float)
        w, total = cut(ivar, x[k], y[k]), cut(stars(x, y, flux), x[k], y[k])
        assert m["fracflux"][k] == pytest.approx((w*p*flux[k]*p).sum()/(w*p*total).sum(), rel=1e-4)
    assert m["fracflux"][0] < 0.6 < m["fracflux"][1]
    assert measured([40.], [40.], [1000.], EMPTY)["fracflux"][0] == pytest.approx(1, abs=1e-4)


def test_local_sky_flux_is_blind_to_a_constant_and_its_error_is_its_scatter():
    base = measured([50.3], [40.1], [1000.], EMPTY)
    raised = measured([50.3], [40.1], [1000.], EMPTY+25)
    assert base["fluxlbs"][0] == pytest.approx(1000, rel=1e-4)
    assert raised["fluxlbs"][0] == pytest.approx(1000, rel=1e-3)
    rng = np.random.default_rng(4)
    x, y = np.full(400, 50.3), np.full(400, 40.1)
    ivar = np.full(SHAPE, 0.25)
    ivar[40, 44:48] = 0
    values = [measured(x[:1], y[:1], [1000.], rng.normal(0, 2, SHAPE), ivar=ivar)["fluxlbs"][0] for _ in range(400)]
    error = measured(x[:1], y[:1], [1000.], EMPTY, ivar=ivar)["dfluxlbs"][0]
    # 400 values: 3.5 % on a standard deviation
    assert np.std(values) == pytest.approx(error, rel=0.12)
    assert np.mean(values) == pytest.approx(1000, abs=4*error/20)
    p, w = PSF.render(x[:1], y[:1], BOX)[0].astype(float).ravel(), cut(ivar, 50.3, 40.1).ravel()
    design = np.stack([p, np.ones_like(p)])
    assert error == pytest.approx(np.sqrt(np.linalg.inv((design*w)@design.T)[0, 0]), rel=1e-5)


def test_fwhm_is_that_of_the_psf_where_the_star_is():
    p = PSF.render([50.3], [40.1], BOX)[0].astype(float)
    p /= p.sum()
    m = measured([50.3, 1.2, -4.], [40.1, 88.9, 40.], [10.]*3, EMPTY)
    assert m["fwhm"][0] == pytest.approx(1.18/np.sqrt(np.pi*(p**2).sum()), rel=1e-5)
    # the same for stars whose stamps leave the image: their phases differ by a little, their widths must not
    assert m["fwhm"] == pytest.approx(m["fwhm"][0], rel=0.02)


def test_isolated_fit_finds_what_flux_and_position_are_off():
    true, told, flux = (50.35, 40.), (50.2, 40.1), 1000.
    data = stars([true[0]], [true[1]], [flux])
    m = measured([told[0]], [told[1]], [900.], data-stars([told[0]], [told[1]], [900.]))
    # first order in an offset of 0.15 px
    assert m["fluxiso"][0] == pytest.approx(flux, rel=0.01)
    assert (m["xiso"][0], m["yiso"][0]) == (pytest.approx(0.15, abs=0.005), pytest.approx(-0.1, abs=0.005))


def test_isolated_fit_is_weighted_least_squares():
    rng = np.random.default_rng(5)
    ivar, residual = rng.uniform(0.3, 2, SHAPE), rng.normal(size=SHAPE)
    planes = [v[0].astype(float).ravel() for v in PSF.render([50.2], [39.7], BOX, derivatives=True)]
    w, r = cut(ivar, 50.2, 39.7).ravel(), cut(residual, 50.2, 39.7).ravel()
    design = np.stack(planes)
    a, b, c = np.linalg.solve((design*w)@design.T, (design*w)@(r+200*planes[0]))
    m = measured([50.2], [39.7], [200.], residual, ivar=ivar)
    assert (m["fluxiso"][0], m["xiso"][0], m["yiso"][0]) == pytest.approx((a, b/a, c/a), rel=1e-4)


def test_spread_model_is_zero_for_stars_and_signed_for_what_is_wider_or_thinner():
    x, y, flux = np.array([50.3]), np.array([40.1]), 1000.
    scale = SPREAD_SCALE*PSF.fwhm()
    wide = PSF.render_smeared(x, y, BOX, 2*scale)[0]*flux
    spike = np.zeros((BOX, BOX))
    spike[9, 9] = flux
    own = PSF.render(x, y, BOX)[0]*flux
    values = []
    for light in (own, wide, spike):
        residual = EMPTY.copy()
        cut(residual, x[0], y[0])[...] = light-own
        values.append(measured(x, y, [flux], residual)["spread_model"][0])
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values[1] > 0.002 and values[2] < -0.01
    # the definition of Desai et al. (2012) on the wide one
    p, g = own.astype(float)/flux, PSF.render_smeared(x, y, BOX, scale)[0].astype(float)
    assert values[1] == pytest.approx((g*wide).sum()/(p*wide).sum()-(g*p).sum()/(p*p).sum(), abs=1e-6)


def test_the_heart_of_a_star_shows_its_own_width_and_not_the_light_around_it():
    side, extents = inner_side(PSF), {}
    assert side == 7
    for name, distance in (("companion", 2.), ("neighbour", 6.)):
        residual = stars([50.+distance], [40.], [100.])
        columns = [measure(image_of(), residual, residual, PSF, Sources.new([50.], [40.], [1000.]), side=s) for s in (side, BOX)]
        extents[name] = [extent_significance(c)[0] for c in columns]
    heart, whole = extents["companion"]
    assert heart > 0.8*whole > 1
    heart, whole = extents["neighbour"]
    assert heart < 0.4*whole


def test_error_of_spread_model_is_its_scatter():
    rng = np.random.default_rng(6)
    values, errors = [], []
    for _ in range(300):
        m = measured([50.3], [40.1], [800.], rng.normal(0, 2, SHAPE), ivar=np.full(SHAPE, 0.25))
        values.append(m["spread_model"][0])
        errors.append(m["dspread_model"][0])
    assert np.std(values) == pytest.approx(np.median(errors), rel=0.15)


def test_no_sources():
    assert all(v.shape == (0,) for v in measured([], [], [], EMPTY, EMPTY).values())
