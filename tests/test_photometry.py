"""The calls of photutils: the same columns, and on one field the same numbers, as photutils itself gives."""
import numpy as np
import pytest
from astropy import units
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

import crowdsource as cs
from crowdsource.psf.adopt import values_at

photutils = pytest.importorskip("photutils.psf", reason="photutils is not installed")
SHAPE, FWHM, SIGMA = (90, 90), 3.5, 4.
# far from each other, so that one fit and fits of single stars agree
X, Y = (v.ravel()+np.random.default_rng(3).uniform(-0.5, 0.5, (2, 9))[k] for k, v in enumerate(np.meshgrid([15., 45., 75.],
                                                                                                           [15., 45., 75.])))
FLUX = np.geomspace(3e3, 6e4, 9)


def model(kind="gauss"):
    return photutils.CircularGaussianPRF(fwhm=FWHM) if kind == "gauss" else photutils.MoffatPSF(alpha=3., beta=2.2)


def field(kind="gauss"):
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    light = sum(f*values_at(model(kind), xx-x, yy-y) for x, y, f in zip(X, Y, FLUX))
    return light+np.random.default_rng(1).normal(0, SIGMA, SHAPE)


@pytest.fixture(scope="module")
def calls():
    data, error = field(), np.full(SHAPE, SIGMA)
    start = Table(dict(id=np.arange(11, 20), x=X+0.3, y=Y-0.2))
    theirs = photutils.PSFPhotometry(model(), 9, aperture_radius=4.)
    ours = cs.PSFPhotometry(model(), 9, aperture_radius=4.)
    return data, error, theirs, ours, theirs(data, error=error, init_params=start), ours(data, error=error, init_params=start)


def test_columns_and_numbers_are_those_of_photutils(calls):
    data, error, theirs, ours, expected, table = calls
    # names that only newer versions of photutils have
    assert set(table.colnames) >= set(expected.colnames)-{"npixfit"} and table["id"].tolist() == expected["id"].tolist()
    for name in ("x", "y", "flux"):
        difference = np.abs(table[f"{name}_fit"]-expected[f"{name}_fit"])
        # of the same pixels' noise most is common; of 9x9 px and all pixels, and a sky that is fitted or none, some is not
        assert (difference < 0.7*expected[f"{name}_err"]).all()
        assert np.allclose(table[f"{name}_err"], expected[f"{name}_err"], rtol=0.15)
        truth = dict(x=X, y=Y, flux=FLUX)[name]
        assert (np.abs(table[f"{name}_fit"]-truth) < 4*table[f"{name}_err"]).all()
    assert np.allclose(table["qfit"], expected["qfit"], rtol=0.1, atol=2e-3)
    assert np.allclose(table["cfit"], expected["cfit"], atol=2e-3)
    assert (table["flags"] == 0).all() and (table["group_size"] == 9).all()


def test_model_and_residual_images(calls):
    data, error, theirs, ours, _, table = calls
    expected, residual = theirs.make_residual_image(data), ours.make_residual_image(data)
    assert np.std(residual) == pytest.approx(np.std(expected), rel=0.02)
    assert np.allclose(ours.make_model_image(SHAPE)+residual, data)
    whole = ours.make_residual_image(data, include_local_bkg=True)
    assert np.abs(whole-(residual-ours.result.sky)).max() < 1e-3
    with pytest.raises(cs.CrowdsourceError, match="the image that was fitted has"):
        ours.make_model_image((5, 5))
    with pytest.raises(cs.CrowdsourceError, match="nothing has been fitted yet"):
        cs.PSFPhotometry(model(), 5).make_model_image(SHAPE)


def test_fluxes_are_those_of_the_models_own_norm():
    # of this profile 0.3 % lie outside of the box of 59 px, of which a flux of the catalog is
    data, start = field("moffat"), Table(dict(x_0=X, y_0=Y))
    table = cs.PSFPhotometry(model("moffat"), 9)(data, error=np.full(SHAPE, SIGMA), init_params=start)
    in_box = cs.fit(data, model("moffat"), error=np.full(SHAPE, SIGMA), sources=dict(x=X, y=Y), fixed=False, refit=False)
    at = np.arange(-400, 401)
    whole = values_at(model("moffat"), *np.meshgrid(at, at))
    light = whole[371:430, 371:430].sum()/whole.sum()
    assert 0.996 < light < 0.998 and np.allclose(table["flux_fit"]/in_box.catalog["flux"].value, 1/light, atol=3e-4)
    # 1 sigma of the brightest is 0.1 %
    assert np.abs(table["flux_fit"][-1]/FLUX[-1]-1) < 0.0025


def test_fixed_positions_finder_search_units_and_masks():
    data, error = field()*units.nJy, np.full(SHAPE, SIGMA)*units.nJy
    fixed = model()
    fixed.x_0.fixed = fixed.y_0.fixed = True
    mask = np.zeros(SHAPE, bool)
    mask[int(Y[8]+0.5), int(X[8]+0.5)] = True
    table = cs.PSFPhotometry(fixed, 5)(data, error=error, mask=mask, init_params=Table(dict(x=X, y=Y)))
    assert np.array_equal(table["x_fit"], X) and table["flux_fit"].unit == units.nJy
    assert table["flags"].tolist() == [0]*8+[1] and table["n_pixels_fit"].tolist() == [25]*8+[24]
    asked = []

    def finder(plane, mask=None):
        asked.append((plane.unit, mask))
        return Table(dict(xcentroid=X[:3]+0.2, ycentroid=Y[:3]))
    ccd = CCDData(data.value, unit="nJy", uncertainty=StdDevUncertainty(error.value))
    found = cs.PSFPhotometry(model(), 5, finder=finder, min_passes=1, max_passes=3)(ccd)
    assert len(found) == 3 and asked == [(units.nJy, None)] and np.abs(found["x_fit"]-X[:3]).max() < 0.1
    assert cs.PSFPhotometry(model(), 5, finder=lambda *_, mask=None: None)(data) is None
    search = cs.PSFPhotometry(None, 5, threshold=6, min_passes=1, max_passes=3)
    own = search(data, error=error)
    assert len(own) == 9 and search.result.config.detect.threshold == 6
    assert np.abs(np.sort(own["flux_fit"].value)/FLUX-1).max() < 0.1


@pytest.mark.parametrize("call, message", [
    (lambda: cs.PSFPhotometry(model(), 4), "fit_shape is 4: odd numbers"),
    (lambda: cs.PSFPhotometry(model(), 5)(np.ones((9, 9)), init_params=Table(dict(a=[1.]))), "no column x_init or x"),
    (lambda: cs.PSFPhotometry(model(), 5, treshold=5)(np.ones((9, 9))), "did you mean threshold")])
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(cs.CrowdsourceError, match=message):
        call()
