"""Light curves, their scale and their means, how stars vary, and proper motions."""
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from crowdsource.joint.frame import powers
from crowdsource.joint.lightcurves import (
    CONSTANT_CHI,
    LARGEST_FLOOR,
    LightCurves,
    amplitude,
    calibrated,
    excess,
    light_curves,
    mean_fluxes,
    stetson_j,
)
from crowdsource.joint.motion import YEAR, change_of_motion, independent, proper_motions

IMAGES, STARS = 6, 3000


def curves(images=IMAGES, n=STARS, error=10., seed=1, confusion=0., flux=None):
    """Constant stars of many fluxes with noise; and these fluxes."""
    rng = np.random.default_rng(seed)
    flux = 10**rng.uniform(2, 5, n) if flux is None else np.full(n, float(flux))
    shape = images, n
    values = flux+rng.normal(0, error, shape)
    return LightCurves(flux=values, error=np.full(shape, error), confusion=np.full(shape, float(confusion))), flux


def hidden(found, share=0.3, seed=2):
    """The same where each image shows some of the stars only."""
    away = np.random.default_rng(seed).random(found.flux.shape) < share
    return LightCurves(**{name: np.where(away, np.nan, getattr(found, name)) for name in ("flux", "error", "confusion")})


def test_a_flux_weighs_as_its_noise_of_all_kinds_and_nothing_where_a_star_is_not_shown():
    found = LightCurves(flux=np.ones((1, 4)), error=np.array([[3., np.nan, 0, np.inf]]), confusion=np.array([[4., np.nan, 1, 1]]))
    assert found.weight.tolist() == [[0.04, 0, 0, 0]]


def test_means_and_their_errors_are_right():
    found, flux = curves()
    found = hidden(found)
    mean = mean_fluxes(found)
    seen = mean.images > 0
    assert np.array_equal(mean.images, np.isfinite(found.flux).sum(axis=0))
    pull = ((mean.flux-flux)/mean.error)[seen]
    assert abs(pull.mean()) < 0.06 and pull.std() == pytest.approx(1, abs=0.05)
    assert mean.error[seen] == pytest.approx(10/np.sqrt(mean.images[seen]))
    some = mean.images > 1
    assert mean.rchi2[some].mean() == pytest.approx(1, abs=0.05) and np.isnan(mean.rchi2[~some]).all()
    assert np.isnan(mean.flux[~seen]).all() and np.isnan(mean.error[~seen]).all()


def test_noise_that_all_images_share_does_not_average_out_of_a_mean():
    found, _ = curves(confusion=20.)
    assert mean_fluxes(found).error == pytest.approx(np.full(STARS, np.hypot(20, 10/np.sqrt(IMAGES))))


def planted(places, seed=3):
    """Maps of the scale of each image of up to some per cent, and what these make of stars at some places."""
    maps = np.random.default_rng(seed).normal(0, 0.01, (IMAGES, 6))
    return maps, 1+maps@powers(*places, 2).T


def test_a_map_of_the_scale_is_taken_out():
    found, flux = curves(error=8.)
    places = np.random.default_rng(8).uniform(-1, 1, (2, STARS))
    _, factor = planted(places)
    off = LightCurves(flux=found.flux*factor, error=found.error, confusion=found.confusion)
    mended = calibrated(off, places.T, np.zeros(IMAGES, int))
    bright = flux > 5000
    # what all images have in common is no matter of an image: their scales are relative to each other
    common = (factor*off.weight).sum(axis=0)/off.weight.sum(axis=0)
    before, after = (np.std(v.flux[:, bright]/(flux*common)[bright]-1) for v in (off, mended))
    assert before > 0.01 and after < 0.001
    assert np.abs(mended.scales@powers(*places, 2).T/(factor/common)-1).max() < 0.003
    assert np.mean(mean_fluxes(mended).rchi2[bright]) == pytest.approx(1, abs=0.12)
    assert np.array_equal(off.flux, found.flux*factor) and mended.floor.max() < 0.0003


def test_a_floor_of_the_scale_is_found_and_goes_into_the_errors():
    found, flux = curves(error=2.)
    floor = np.array([0.004, 0.004, 0.004, 0.012, 0.004, 0.004])
    noisy = found.flux*(1+floor[:, None]*np.random.default_rng(6).normal(size=found.flux.shape))
    mended = calibrated(LightCurves(flux=noisy, error=found.error, confusion=found.confusion), np.zeros((STARS, 2)),
                        np.zeros(IMAGES, int))
    assert mended.floor == pytest.approx(floor, rel=0.2)
    assert mended.factor == pytest.approx(np.ones(IMAGES), abs=0.1)
    assert mended.error/mended.factor[:, None] == pytest.approx(np.hypot(2, mended.floor[:, None]*mended.flux), rel=0.02)
    bright = flux > 5000
    assert np.mean(mean_fluxes(mended).rchi2[bright]) == pytest.approx(1, abs=0.15)


def test_saturated_stars_do_not_make_the_errors_of_others():
    found, flux = curves(error=2.)
    bright = np.broadcast_to(flux > np.quantile(flux, 0.8), found.flux.shape)
    noisy = found.flux*np.where(bright, 1+0.01*np.random.default_rng(6).normal(size=bright.shape), 1)
    told, untold = (calibrated(LightCurves(flux=noisy, error=found.error, confusion=found.confusion, saturated=saturated),
                               np.zeros((STARS, 2)), np.zeros(IMAGES, int)) for saturated in (bright, None))
    assert untold.floor.min() > 0.003 and told.floor.max() < 0.0003


def test_light_that_widens_a_star_is_the_same_on_all_images():
    rng = np.random.default_rng(5)
    n, wide, scale = 50, (3., 6.), (1., 2.)
    typical = rng.uniform(5, 10, n)
    def epoch(k):
        sources, psf = SimpleNamespace(flux=np.full(n, 100.*scale[k])), SimpleNamespace(fwhm=lambda: wide[k])
        state = SimpleNamespace(sources=sources, psf=psf)
        return SimpleNamespace(state=state, frame=SimpleNamespace(scale=1.), scale=scale[k], rows=np.arange(n), band=k)
    class Stars(SimpleNamespace):
        def __len__(self):
            return n
    state = SimpleNamespace(stars=Stars(x=rng.uniform(0, 9, n), y=rng.uniform(0, 9, n)), epochs=[epoch(0), epoch(1)],
                            grid=SimpleNamespace(u0=0, v0=0, steps=1, shape=(10, 10)))
    catalogs = [Table(dict(dflux=np.full(n, 3.*s), flags=np.zeros(n, int))) for s in scale]
    def errors(widened):
        fits = [SimpleNamespace(typical=typical*s, confusion=typical*s*w) for s, w in zip(scale, widened)]
        return light_curves(state, fits, catalogs)
    same, widened = errors((1., 1.)), errors((rng.uniform(1, 10, n), 1.))
    assert np.array_equal(same.error, widened.error) and not np.array_equal(same.confusion, widened.confusion)
    assert (same.error > 3.01).all()


def test_a_scale_is_not_made_of_few_stars_or_single_images_or_other_bands():
    for found, _ in (curves(n=20), curves(images=1)):
        mended = calibrated(found, np.zeros((found.flux.shape[1], 2)), np.zeros(len(found.flux), int))
        assert np.array_equal(mended.flux, found.flux) and np.array_equal(mended.error, found.error)
        assert (mended.scales[:, 0] == 1).all() and not mended.scales[:, 1:].any() and not mended.floor.any()
    found, _ = curves(error=2.)
    red = LightCurves(flux=np.where(np.arange(IMAGES)[:, None] < 3, found.flux, 1.1*found.flux), error=found.error,
                      confusion=found.confusion)
    mended = calibrated(red, np.random.default_rng(8).uniform(-1, 1, (STARS, 2)), np.arange(IMAGES)//3)
    assert mended.flux[3:].sum()/mended.flux[:3].sum() == pytest.approx(1.1, rel=1e-3)


def test_variable_stars_do_not_make_a_scale():
    found, flux = curves(error=2.)
    varied = np.arange(STARS) % 5 == 0
    change = np.where(varied, 1.3, 1)*np.ones((IMAGES, 1))
    change[::2] = 1
    off = LightCurves(flux=found.flux*change, error=found.error, confusion=found.confusion)
    mended = calibrated(off, np.random.default_rng(8).uniform(-1, 1, (STARS, 2)), np.zeros(IMAGES, int))
    assert mended.scales[:, 0] == pytest.approx(np.ones(IMAGES), abs=0.002)
    assert np.median(mean_fluxes(mended).rchi2[varied & (flux > 5000)]) > 100
    assert CONSTANT_CHI*LARGEST_FLOOR < 0.13


def test_what_is_added_to_errors_makes_them_right():
    rng = np.random.default_rng(4)
    values = rng.normal(0, np.hypot(0.003, 0.006), 4000)
    assert excess(values, np.full(4000, 0.003)) == pytest.approx(0.006, rel=0.05)
    assert excess(0.1*values, np.full(4000, 0.003)) == 0
    assert excess(30*values, np.full(4000, 0.003)) == pytest.approx(LARGEST_FLOOR)


def pairs(images):
    """Times of images that come two in a night."""
    return np.repeat(np.arange((images+1)//2), 2)[:images]+0.01*(np.arange(images) % 2)


# the root of the square less 1 of a normal variable, with its sign, is -0.22 in the mean: what single images give
@pytest.mark.parametrize("times, nought", [(pairs(20), 0.), (np.arange(20.), -0.22), (np.full(20, np.nan), -0.22)])
def test_the_index_of_constant_stars_is_about_nought(times, nought):
    found, _ = curves(20)
    index = stetson_j(found, mean_fluxes(found), times)
    assert index.mean() == pytest.approx(nought, abs=0.06) and index.std() < 0.35
    found = hidden(found)
    index = stetson_j(found, mean_fluxes(found), times)
    assert -0.25 < index.mean() < 0.03 and index.std() < 0.5


def test_the_index_is_large_of_stars_that_vary_together_and_not_of_noise_that_does_not():
    found, _ = curves(20, flux=1000.)
    rng = np.random.default_rng(5)
    nightly = np.repeat(rng.normal(0, 50, (10, STARS)), 2, axis=0)
    alone = rng.normal(0, 50, (20, STARS))
    value = []
    for change in (nightly, alone):
        varied = LightCurves(flux=found.flux+change, error=found.error, confusion=found.confusion)
        value.append(stetson_j(varied, mean_fluxes(varied), pairs(20)))
    assert np.median(value[0]) > 2.5 and (value[0] > 1).mean() > 0.98
    assert abs(np.median(value[1])) < 0.3
    # without a partner the size of the changes alone tells
    varied = LightCurves(flux=found.flux+alone, error=found.error, confusion=found.confusion)
    assert np.median(stetson_j(varied, mean_fluxes(varied), np.arange(20.))) > 2.5


def test_the_index_needs_two_images():
    found, _ = curves(3)
    found.flux[1:, 0] = found.error[1:, 0] = np.nan
    index = stetson_j(found, mean_fluxes(found), np.arange(3.))
    assert np.isnan(index[0]) and np.isfinite(index[1:]).all()
    assert np.isnan(stetson_j(found.subset([0]), mean_fluxes(found.subset([0])), np.zeros(1))).all()


def test_amplitudes():
    mag = np.linspace(-0.25, 0.25, 101)
    flux = np.stack([10**(-0.4*mag), np.full(101, 5.), np.full(101, np.nan), np.full(101, -3.)], axis=1)
    flux[0, 2] = flux[4, 3] = 2.
    size = amplitude(LightCurves(flux=flux, error=np.ones(flux.shape), confusion=np.zeros(flux.shape)))
    assert size[:2] == pytest.approx([0.45, 0], abs=2e-3) and np.isnan(size[2:]).all()
    one = amplitude(LightCurves(flux=flux[:1], error=flux[:1], confusion=flux[:1]))
    assert np.isnan(one).all()


def moved(images=12, n=2000, seed=6, years=4.):
    """Shifts of stars that move, each image's errors an ellipse of its own; information, times and motions."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(56000, 56000+years*YEAR, images))
    motion, place = rng.normal(0, 0.02, (n, 2)), rng.normal(0, 0.05, (n, 2))
    roots = rng.normal(0, 0.005, (images, n, 2, 2))+rng.uniform(0.02, 0.06, (images, 1, 1, 1))*np.eye(2)
    shift = np.einsum("knij,knj->kni", roots, rng.normal(size=(images, n, 2)))+place
    shift += motion*((times-56000-years*YEAR/2)/YEAR)[:, None, None]
    information = np.linalg.inv(roots@roots.transpose(0, 1, 3, 2))
    return (information+information.transpose(0, 1, 3, 2))/2, shift, times, motion


def test_matrices_that_tell_all_parameters():
    rng = np.random.default_rng(8)
    half = rng.normal(size=(4, 4, 4))
    whole = half@half.transpose(0, 2, 1)
    # two parameters of which only the sum is known; no matrix is too small
    half[1, 3] = half[1, 2]
    whole = np.array([whole[0], half[1]@half[1].T, 1e-12*whole[2], np.diag([1e14, 1., 1., 1.])])
    assert independent(whole).tolist() == [True, False, True, False]


def test_proper_motions_are_found_with_honest_errors():
    information, shift, times, motion = moved()
    away = np.random.default_rng(7).random(shift.shape[:2]) < 0.3
    information[away], shift[away] = 0, 0
    found, covariance, epoch = proper_motions(information, shift, times)
    known = np.isfinite(found).all(axis=1)
    assert np.array_equal(known, (~away).sum(axis=0) > 2) and known.mean() > 0.99
    off, covariance = (found-motion)[known], covariance[known]
    chi2 = np.einsum("ni,nij,nj->n", off, np.linalg.inv(covariance), off)
    assert chi2.mean() == pytest.approx(2, abs=0.15) and np.median(chi2) == pytest.approx(1.386, abs=0.12)
    assert np.abs((off/np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))).mean(axis=0)).max() < 0.08
    assert np.median(np.abs(off)) < 0.75*np.median(np.abs(motion))
    weight = np.trace(information, axis1=2, axis2=3)
    assert epoch == pytest.approx((weight*times[:, None]).sum(axis=0)/weight.sum(axis=0))


def test_what_few_images_or_a_single_night_show_has_no_motion():
    information, shift, times, _ = moved(images=4, n=5)
    information[2:, 0] = information[3:, 1] = 0
    information[:, 2] = 0
    found, covariance, epoch = proper_motions(information, shift, times)
    known = np.isfinite(found).all(axis=1)
    assert known.tolist() == [False, True, False, True, True]
    assert np.isnan(covariance[~known]).all() and np.isfinite(epoch).all()
    night = proper_motions(information, shift, np.full(4, 56000.))
    assert np.isnan(night[0]).all() and np.isnan(night[1]).all()
    # what rounding leaves of equal dates is no time
    same, rng = np.full(5, 59000.3123), np.random.default_rng(8)
    assert not change_of_motion(rng.normal(size=(5, 50, 2)), rng.uniform(1, 3, (5, 50)), (same-same.mean())/YEAR).any()


def test_errors_are_those_that_repeats_show():
    found, flux = curves(error=8., n=1500)
    wrong = np.array([0.7, 1., 1., 1.3, 1., 1.])
    mended = calibrated(LightCurves(flux=found.flux, error=found.error*wrong[:, None], confusion=found.confusion),
                        np.zeros((1500, 2)), np.zeros(IMAGES, int))
    assert mended.factor == pytest.approx(np.clip(1/wrong, 0.8, 1.6), rel=0.15)


@pytest.mark.parametrize("factor", [1.3, 30., -1e3])
def test_gross_outliers_do_not_change_the_scales(factor):
    rng = np.random.default_rng(3)
    true, place = 10**rng.uniform(3, 5, 400), rng.uniform(-1, 1, (400, 2))
    error = np.tile(np.sqrt(true+100), (6, 1))
    flux = true+error*rng.normal(size=error.shape)
    flux[rng.random(flux.shape) < 0.15] *= factor
    found = calibrated(LightCurves(flux=flux, error=error, confusion=np.zeros_like(error)), place, np.zeros(6, int))
    # of means with the outliers in them 1.3 times the flux in one of six or seven makes all scales 0.93
    assert np.abs(found.scales[:, 0]-1).max() < 0.003 and np.abs(found.scales[:, 1:]).max() < 0.01 and found.floor.max() < 0.006
