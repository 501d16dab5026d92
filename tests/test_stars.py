"""PSF stars: every test that a star must pass, and stamps without neighbours."""
from dataclasses import replace

import numpy as np
import pytest

from crowdsource.config import FitConfig, PSFConfig, SolveConfig
from crowdsource.core.image import Image
from crowdsource.engine.design import model_image
from crowdsource.engine.loop import initialize
from crowdsource.engine.psf_stars import psf_stars, select
from crowdsource.engine.sources import Sources
from crowdsource.psf.model import FieldPSF

SHAPE = (100, 120)
PSF = FieldPSF.moffat(SHAPE, 4.)
PLACES = [(20., 20.), (50.3, 20.4), (80., 20.), (20., 60.), (50., 60.), (80., 60.)]
FLUX = np.array([6000., 5000., 4000., 3000., 2000., 1000.])
CONFIG = PSFConfig(min_snr=20., max_shift=0.5, min_fracflux=0.5, min_lbs_ratio=0.2, max_spread=4., max_stars=400,
                   stamp=39)


def state(config=CONFIG, extra=(), ivar=None, shift=None, error=10., light=None):
    """Six stars that pass every test, in a perfect model, and what a case adds."""
    x, y, flux = (np.array(v) for v in zip(*[(*p, f) for p, f in zip(PLACES, FLUX)], *extra))
    model = model_image(PSF, x, y, flux, np.full(len(x), 59), SHAPE)
    image = Image.from_arrays(model if light is None else model+light, np.ones(SHAPE) if ivar is None else ivar)
    sources = Sources.new(x, y, flux, np.full(len(x), error))
    if shift is not None:
        sources = sources.with_values(shift=shift)
    config = FitConfig(psf=config, solve=SolveConfig(stamp_sizes=(59, 149)))
    return replace(initialize(image, PSF, config, None, None, None), sources=sources, model=model)


def test_all_good_stars_brightest_first():
    assert select(state()).tolist() == [0, 1, 2, 3, 4, 5]
    assert select(state(extra=[(100., 85., 5500.)])).tolist() == [0, 6, 1, 2, 3, 4, 5]


def test_only_the_brightest_when_there_are_many():
    assert select(state(replace(CONFIG, max_stars=3))).tolist() == [0, 1, 2]


@pytest.fixture
def many(monkeypatch):
    """Six stars are enough without those that have masked pixels."""
    monkeypatch.setattr("crowdsource.engine.psf_stars.ENOUGH_WHOLE", 5)


def test_a_masked_pixel_near_the_middle_rejects_where_there_are_others(many):
    ivar = np.ones(SHAPE)
    ivar[21, 52] = 0
    assert select(state(ivar=ivar)).tolist() == [0, 2, 3, 4, 5]
    ivar[21, 52], ivar[20, 50+15] = 1, 0
    assert select(state(ivar=ivar)).tolist() == [0, 1, 2, 3, 4, 5]


def test_few_stars_count_by_the_pixels_that_they_have():
    ivar = np.ones(SHAPE)
    ivar[21, 52] = 0
    assert select(state(ivar=ivar)).tolist() == [0, 1, 2, 3, 4, 5]
    ivar[18:24, 48:54] = 0
    assert select(state(ivar=ivar)).tolist() == [0, 2, 3, 4, 5]


def test_stars_on_the_edge_and_off_the_image_are_rejected(many):
    assert select(state(extra=[(2., 85., 9000.), (-3., 85., 9000.), (60., 99.4, 9000.)])).tolist() == [0, 1, 2, 3, 4, 5]


def test_faint_stars_are_rejected():
    assert select(state(error=120.)).tolist() == [0, 1, 2, 3]


def test_stars_that_still_move_are_rejected():
    shift = np.zeros((6, 2))
    shift[1, 0], shift[3, 1], shift[4, 0] = 0.6, -0.6, 0.4
    assert select(state(shift=shift)).tolist() == [0, 2, 4, 5]


def test_stars_in_the_light_of_others_are_rejected():
    # star 5 stands beside one of ten times its flux, which is a good star itself
    assert select(state(extra=[(85., 60., 10000.)])).tolist() == [6, 0, 1, 2, 3, 4]
    assert 5 in select(state(replace(CONFIG, min_fracflux=0.05), extra=[(85., 60., 10000.)]))


def test_stars_whose_flux_is_a_background_are_rejected():
    # the model takes 60 counts a pixel around star 4 for a star of thrice its flux
    light = np.zeros(SHAPE)
    own = PSF.render([50.], [60.], 39)[0]*2000
    light[41:80, 31:70] = -0.9*own
    assert select(state(light=light)).tolist() == [0, 1, 2, 3, 5]
    assert 4 in select(state(replace(CONFIG, min_lbs_ratio=0.05, min_fracflux=0.05), light=light))


GRID = [(x, y, 4000.-10*k) for k, (x, y) in enumerate((x, y) for x in (15., 40., 65., 90.) for y in (15., 40., 65.))]


def grid_state(light, config=CONFIG):
    """Twelve stars alone, and light that their model does not hold."""
    x, y, flux = (np.array(v) for v in zip(*GRID))
    model = model_image(PSF, x, y, flux, np.full(12, 59), SHAPE)
    rng = np.random.default_rng(3)
    image = Image.from_arrays(model+light+rng.normal(0, 1, SHAPE), np.ones(SHAPE))
    sources = Sources.new(x, y, flux, np.full(12, 10.))
    return replace(initialize(image, PSF, replace(FitConfig(), psf=config), None, None, None), sources=sources, model=model)


def difference(x, y, flux, part):
    """Light that turns part of a star into something as wide as a galaxy, or a pair of stars 3 px apart."""
    return model_image(PSF, *(np.array(v) for v in zip((x-1.5, y, part/2*flux), (x+1.5, y, part/2*flux), (x, y, -part*flux))),
                       np.full(3, 31), SHAPE)


def test_extended_sources_are_rejected():
    light = difference(*GRID[2], 1.)
    assert 2 not in select(grid_state(light)) and len(select(grid_state(light))) == 11
    assert 2 in select(grid_state(light, replace(CONFIG, max_spread=np.inf)))
    assert len(select(grid_state(np.zeros(SHAPE)))) == 12


def test_clipped_stars_are_rejected():
    light = np.zeros(SHAPE)
    light[40, 40] = -0.6*GRID[4][2]*PSF.stamp(1)[0, 0]
    light[40, 39] = light[40, 41] = light[39, 40] = light[41, 40] = -light[40, 40]*0.2
    chosen = select(grid_state(light))
    assert GRID[4][:2] == (40., 40.) and 4 not in chosen and len(chosen) == 11


def test_stamps_hold_the_star_alone():
    s = state(extra=[(28., 25., 3000.)])
    stamps = psf_stars(s)
    assert stamps.size == 39 and stamps.shape == SHAPE and len(stamps) == 7
    for k in range(7):
        alone = PSF.render(stamps.x[k:k+1], stamps.y[k:k+1], 39)[0]*stamps.flux[k]
        inside = stamps.ivar[k] > 0
        # float32 images of up to 300 counts; past the image nothing is known
        assert np.abs(stamps.data[k]-alone)[inside].max() < 0.01
    # the first star's stamp begins at the image's second row and column
    assert (stamps.ivar[0] > 0).all()


def test_no_sources():
    s = replace(state(), sources=Sources.new([], []))
    assert len(select(s)) == 0
    assert len(psf_stars(s)) == 0 and psf_stars(s).data.shape == (0, 39, 39)


def test_sources_are_values():
    s = Sources.new([1., 2.], [3., 4.], bright=True, passno=2)
    t = s.with_values(flux=np.array([5., 6.]))
    assert s.flux.tolist() == [0, 0] and t.flux.tolist() == [5, 6] and t.bright.all() and t.passno.tolist() == [2, 2]
    both = s.joined(t)
    assert len(both) == 4 and both.subset(both.flux > 5).x.tolist() == [2]
    assert [p.tolist() for p in Sources.new([0.5, -0.5, 1.49], [2.5, 0., -0.51]).pixels] == [[1, 0, 1], [3, 0, -1]]


@pytest.mark.parametrize("size", [29, 39])
def test_stamps_of_stars_near_the_edge_know_nothing_beyond_it(size):
    s = state(replace(CONFIG, stamp=size), extra=[(110.2, 50., 8000.)])
    stamps = psf_stars(s)
    k = np.flatnonzero(stamps.x > 105)[0]
    past = 110+np.arange(size)-size//2 > 119
    assert (stamps.ivar[k][:, past] == 0).all() and (stamps.ivar[k][:, ~past] > 0).all()
