"""Peaks: what the matched filter says, and each rule of acceptance by a peak that only this rule turns down."""
from dataclasses import replace

import numpy as np
import pytest
from crowdsource.cython_ext import detect as kernel

from crowdsource.config import DetectConfig
from crowdsource.core.flags import ENGINE
from crowdsource.core.matched_filter import MatchedFilter, correlated, local_maxima
from crowdsource.engine.design import model_image
from crowdsource.engine.detection import Peaks, Scene, apart, as_sharp, curvature, find_peaks
from crowdsource.psf.model import FieldPSF

SHAPE = (60, 70)
PSF = FieldPSF.moffat(SHAPE, 4.)
STAMP = PSF.stamp(19)
PEAK = STAMP[9, 9]
ERROR = 1/np.sqrt((STAMP**2).sum())
# every ratio off: a test switches on what it is about
OPEN = DetectConfig(threshold=5., split="ratio", edge_of="masked", candidate=2., bright_pixel=1e9, blend_ratio_first=0.,
                    blend_ratio=0., pixel_flux_ratio=0., pixel_significance_ratio=0., blend_passes=2, nodeblend_ratio=0.,
                    saturated_ratio=0., saturated_reach=0, sharpness=0.7, min_separation=1., edge=1)
EMPTY = np.zeros(SHAPE, np.float32)


def stars(*rows):
    """Noise-free image of stars given as (x, y, flux); the noise is 1."""
    x, y, flux = (np.array(c, dtype=float) for c in zip(*rows))
    return model_image(PSF, x, y, flux, np.full(len(x), 31), SHAPE)


def found(residual, config=OPEN, model=EMPTY, mask=None, ivar=None, passno=5):
    ivar = np.ones(SHAPE, np.float32) if ivar is None else ivar
    mask = np.where(ivar > 0, 0, ENGINE.bad).astype(np.uint16) if mask is None else mask
    peaks = find_peaks(Scene(residual=np.ascontiguousarray(residual, dtype=np.float32), model=model, mask=mask,
                             matched=MatchedFilter(STAMP, ivar), config=config, passno=passno))
    return {(round(x), round(y)) for x, y in zip(peaks.x, peaks.y)}, peaks


def test_significance_is_flux_over_its_error_and_noise_has_unit_scatter():
    ivar = np.full(SHAPE, 0.25, np.float32)
    matched = MatchedFilter(STAMP, ivar)
    significance = matched.significance(stars((30, 20, 100.)))
    assert matched.error[20, 30] == pytest.approx(2*ERROR, rel=1e-5)
    assert significance[20, 30] == pytest.approx(100/(2*ERROR), rel=2e-3)
    noise = np.random.default_rng(1).normal(0, 2, SHAPE).astype(np.float32)
    # 4,200 pixels of which some 25 are correlated: 170 independent ones give 5 %
    assert np.std(matched.significance(noise)) == pytest.approx(1, abs=0.15)


def test_masked_pixels_make_errors_larger_and_do_not_count():
    ivar = np.ones(SHAPE, np.float32)
    ivar[20, 31:] = 0
    matched, image = MatchedFilter(STAMP, ivar), stars((30, 20, 100.))
    image[20, 31:] = 1e6
    inside = STAMP.copy()
    inside[9, 10:] = 0
    assert matched.error[20, 30] == pytest.approx(1/np.sqrt((inside**2).sum()), rel=1e-5)
    assert matched.significance(image)[20, 30]*matched.error[20, 30] == pytest.approx(100, rel=2e-3)


def test_positions_between_pixels_fluxes_and_order():
    names, peaks = found(stars((20.3, 20.8, 300.), (45.6, 40.4, 900.), (8, 50, 60.)))
    assert names == {(20, 21), (46, 40), (8, 50)}
    # brightest first; a matched filter at the pixel's middle is a few per cent low for a star on its edge
    assert peaks.flux == pytest.approx([900, 300, 60], rel=0.06)
    assert np.abs(peaks.x-[45.6, 20.3, 8]).max() < 0.06 and np.abs(peaks.y-[40.4, 20.8, 50]).max() < 0.06


@pytest.mark.parametrize("significance, accepted", [(4.9, False), (5.1, True)])
def test_threshold(significance, accepted):
    names, _ = found(stars((30, 20, significance*ERROR)))
    assert names == ({(30, 20)} if accepted else set())


def test_kinds_are_told_by_the_single_pixel():
    config = replace(OPEN, bright_pixel=20.)
    _, peaks = found(stars((20, 20, 19/PEAK), (45, 40, 21/PEAK)), config)
    assert peaks.bright.tolist() == [True, False]


def test_bright_peaks_beside_a_mask_are_not_accepted_but_faint_ones_are():
    ivar = np.ones(SHAPE, np.float32)
    ivar[20, 31], ivar[40, 46] = 0, 0
    image = stars((30, 20, 40/PEAK), (45, 40, 10/PEAK))
    config = replace(OPEN, bright_pixel=20.)
    assert found(image, config, ivar=ivar)[0] == {(45, 40)}
    assert found(image, replace(config, bright_pixel=100.), ivar=ivar)[0] == {(45, 40), (30, 20)}
    # two pixels away it is accepted, unless the edge is that wide
    ivar[20, 31], ivar[20, 32] = 1, 0
    assert (30, 20) in found(image, config, ivar=ivar)[0]
    assert (30, 20) not in found(image, replace(config, edge=2), ivar=ivar)[0]


def test_bright_peaks_beside_a_dead_column_are_accepted_where_only_saturated_rims_are_shunned():
    ivar, mask = np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint16)
    ivar[:, 31] = 0
    config = replace(OPEN, bright_pixel=20., edge_of="saturated")
    image = stars((30, 20, 40/PEAK))
    assert (30, 20) in found(image, config, ivar=ivar)[0]
    mask[:, 31] = ENGINE.saturated
    assert (30, 20) not in found(image, config, ivar=ivar, mask=mask)[0]


def test_a_star_hidden_by_a_compact_blob_is_found_and_one_beside_it_keeps_its_place():
    image = stars((30, 20, 5000.))
    ivar = np.ones(SHAPE, np.float32)
    ivar[18:23, 28:33] = 0
    assert found(image, ivar=ivar, passno=0)[0] == {(30, 20)}
    # a blob in the star's wing is no star
    ivar = np.ones(SHAPE, np.float32)
    ivar[18:22, 33:36] = 0
    assert found(image, ivar=ivar, passno=0)[0] == {(30, 20)}


def test_centres_without_weight_are_accepted_in_the_first_pass_only():
    ivar = np.ones(SHAPE, np.float32)
    ivar[19:22, 29:32] = 0
    image = stars((30, 20, 500.))
    assert any(abs(x-30) < 2 and abs(y-20) < 2 for x, y in found(image, ivar=ivar, passno=0)[0])
    assert not any(abs(x-30) < 2 and abs(y-20) < 2 for x, y in found(image, ivar=ivar, passno=1)[0])


def test_masked_centres_on_the_edge_of_a_mask_are_accepted_in_every_pass():
    ivar = np.ones(SHAPE, np.float32)
    ivar[:, 30:34] = 0
    image = stars((30, 20, 500.))
    # the first masked column has good neighbours; two columns further in nothing is known
    assert any(x in (29, 30) and y == 20 for x, y in found(image, ivar=ivar, passno=3)[0])
    ivar[:, 27:30] = 0
    assert not any(x == 30 for x, y in found(image, ivar=ivar, passno=3)[0])


def test_a_saturated_blob_is_one_source_at_its_middle_in_the_first_pass():
    image, mask = stars((30, 25, 20000.)), np.zeros(SHAPE, np.uint16)
    blob = image > 300
    mask[blob] = ENGINE.saturated
    assert blob.sum() > 20
    ivar = np.where(blob, 0, 1).astype(np.float32)
    names, peaks = found(np.where(blob, 300, image), ivar=ivar, mask=mask, passno=0)
    near = np.hypot(peaks.x-30, peaks.y-25) < 8
    assert near.sum() == 1
    assert peaks.x[near][0] == pytest.approx(30, abs=0.1) and peaks.y[near][0] == pytest.approx(25, abs=0.1)
    # its flux comes from the good pixels around, so that it is of the right order
    assert 0.3 < peaks.flux[near][0]/20000 < 3


def test_blend_ratio_depends_on_the_pass():
    model, image = stars((30, 20, 1000.)), stars((36, 20, 200.))
    under = MatchedFilter(STAMP, np.ones(SHAPE, np.float32)).significance(model)[20, 36]
    over = MatchedFilter(STAMP, np.ones(SHAPE, np.float32)).significance(image)[20, 36]
    assert 0.5 < over/under < 1.5
    config = replace(OPEN, blend_ratio_first=1.05*over/under, blend_ratio=0.95*over/under)
    assert [found(image, config, model, passno=p)[0] for p in range(4)] == [set(), set(), {(36, 20)}, {(36, 20)}]
    assert found(image, replace(config, blend_passes=1), model, passno=1)[0] == {(36, 20)}
    # away from the model nothing needs to be split
    assert found(stars((60, 50, 200.)), config, model, passno=0)[0] == {(60, 50)}


def test_nodeblend_pixels_are_stricter():
    model, image = stars((30, 20, 1000.)), stars((36, 20, 200.), (24, 20, 200.))
    mask = np.zeros(SHAPE, np.uint16)
    mask[:, :30] = ENGINE.nodeblend
    assert found(image, replace(OPEN, nodeblend_ratio=5.), model, mask)[0] == {(36, 20)}
    assert found(image, replace(OPEN, nodeblend_ratio=0.05), model, mask)[0] == {(36, 20), (24, 20)}
    # it never makes acceptance easier
    assert found(image, replace(OPEN, nodeblend_ratio=0.05, blend_ratio=5.), model, mask)[0] == set()


def test_near_saturated_pixels_it_is_as_strict():
    model, image = stars((30, 20, 1000.)), stars((36, 20, 200.), (24, 20, 200.))
    mask = np.zeros(SHAPE, np.uint16)
    mask[20, 39] = ENGINE.saturated
    strict = replace(OPEN, saturated_ratio=5., saturated_reach=3)
    assert found(image, strict, model, mask)[0] == {(24, 20)}
    assert found(image, replace(strict, saturated_reach=2), model, mask)[0] == {(36, 20), (24, 20)}


def test_pixel_over_model_flux():
    model, image = stars((30, 20, 1000.)), stars((34, 20, 100.))
    ratio = image[20, 34]/model[20, 34]
    assert found(image, replace(OPEN, pixel_flux_ratio=0.9*ratio), model)[0] == {(34, 20)}
    assert found(image, replace(OPEN, pixel_flux_ratio=1.1*ratio), model)[0] == set()


def test_pixel_significance_over_the_models():
    model, image = stars((30, 20, 1000.)), stars((34, 20, 100.))
    ratio = image[20, 34]/MatchedFilter(STAMP, np.ones(SHAPE, np.float32)).significance(model)[20, 34]
    assert found(image, replace(OPEN, pixel_significance_ratio=0.9*ratio), model)[0] == {(34, 20)}
    assert found(image, replace(OPEN, pixel_significance_ratio=1.1*ratio), model)[0] == set()


def test_a_peak_of_its_neighbours_alone_is_no_source():
    # a hole in the middle of a ring: significant when convolved, but its own pixel is empty
    model, ring = stars((30, 20, 1000.)), stars((30, 20, 400.))
    ring[20, 30] = -5
    assert (30, 20) not in found(ring, OPEN, model)[0]
    # noise may have emptied the pixel of a faint star, unless more is asked of it
    ring[20, 30] = -2
    assert (30, 20) in found(ring, OPEN, model)[0]
    for strict in (dict(pixel_flux_ratio=0.01), dict(pixel_significance_ratio=0.01)):
        assert (30, 20) not in found(ring, replace(OPEN, **strict), model)[0]


def test_sources_are_as_sharp_as_the_peaks_that_they_were():
    # a star, a close pair of equal ones that one source stands for, and what a smooth bump leaves of a source
    image = stars((15, 30, 500.), (34, 30, 500.), (38, 30, 500.))
    bump = 40*np.exp(-0.5*((np.indices(SHAPE)[1]-55)**2+(np.indices(SHAPE)[0]-30)**2)/6**2)
    rows = (15, 30, 500.), (36, 30, 900.), (55, 30, 2500.)
    matched = MatchedFilter(STAMP, np.ones(SHAPE, np.float32))
    left = (image+bump-stars(*rows)).astype(np.float32)
    x, y, flux = (np.array(c) for c in zip(*rows))
    peaks = matched.significance((image+bump).astype(np.float32))
    sharp = as_sharp(matched.significance(left), y, x, matched, OPEN, flux)
    assert list(sharp) == [True, False, False] == list(as_sharp(peaks, y, x, matched, OPEN))


def test_sharp_pixels_want_peaks_as_curved_as_the_psf():
    broad = FieldPSF.moffat(SHAPE, 9.).render([30.], [20.], 39)[0]*3000
    image = stars((55, 20, 300.))
    image[1:40, 11:50] += broad
    mask = np.full(SHAPE, ENGINE.sharp, np.uint16)
    assert found(image)[0] == {(30, 20), (55, 20)}
    assert found(image, mask=mask)[0] == {(55, 20)}
    assert found(image, replace(OPEN, sharpness=0.05), mask=mask)[0] == {(30, 20), (55, 20)}
    half = mask.copy()
    half[:, :40] = 0
    assert found(image, mask=half)[0] == {(30, 20), (55, 20)}


def test_curvature_is_the_drop_to_the_four_neighbours():
    image = np.zeros((5, 5))
    image[2, 2], image[2, 1], image[1, 2] = 4, 2, 2
    assert curvature(image, np.array([2, 0]), np.array([2, 0])) == pytest.approx([1-1/4, 0])


def test_candidates_near_sources_may_be_fainter_where_the_fit_judges_them():
    model, image = stars((30, 20, 1000.)), stars((36, 20, 3*ERROR), (60, 50, 3*ERROR), (10, 50, 6*ERROR))
    fit_judges = replace(OPEN, split="chi2", candidate=2.)
    assert found(image, fit_judges, model)[0] == {(36, 20), (10, 50)}
    assert found(image, replace(fit_judges, candidate=4.), model)[0] == {(10, 50)}
    assert found(image, OPEN, model)[0] == {(10, 50)}


def test_empty_image_and_small_images():
    assert len(found(EMPTY)[1]) == 0
    ivar = np.ones((5, 5), np.float32)
    image = np.zeros((5, 5), np.float32)
    image[0, 4] = 100
    peaks = find_peaks(Scene(residual=image, model=np.zeros_like(image), mask=np.zeros((5, 5), np.uint16),
                             matched=MatchedFilter(STAMP, ivar), config=OPEN, passno=0))
    assert len(peaks) == 1 and (peaks.x[0], peaks.y[0]) == pytest.approx((4, 0), abs=0.51)


def test_apart_from_known_sources():
    peaks = Peaks(*(np.array(v, dtype=float) for v in ([10, 11.2, 30], [10, 10, 30], [1, 1, 1])), np.zeros(3, bool))
    assert apart(peaks, np.array([10.5]), np.array([10.]), 0.6).tolist() == [False, True, True]
    assert apart(peaks, np.array([10.5]), np.array([10.]), 0.).all()
    assert apart(peaks, np.array([]), np.array([]), 5.).all()
    assert peaks.subset(np.array([2])).x.tolist() == [30]


def test_bands_change_nothing():
    rng = np.random.default_rng(4)
    # equal neighbours across the edge of a band, at row 256, count once
    image = rng.integers(0, 4, (600, 70)).astype(np.float32)
    y, x = kernel.local_maxima(image, 2.)
    assert [v.tolist() for v in local_maxima(image, 2.)] == [y.tolist(), x.tolist()]
    stamp, weight, factor = rng.random((9, 9)).astype(np.float32), *rng.random((2, 600, 70)).astype(np.float32)
    assert np.array_equal(correlated(image, stamp, map, weight, factor), kernel.correlate(image*weight, stamp)*factor)
    assert np.array_equal(correlated(image, stamp), kernel.correlate(image, stamp))
