"""Fits that would take more work than an image of their size deserves: they end, and say which input looks wrong."""
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from small_fields import NOISE, star_image

from crowdsource import Image
from crowdsource.config import FitConfig, from_mapping
from crowdsource.core.errors import ConfigError, InputError
from crowdsource.engine import budget
from crowdsource.engine.design import sizes
from crowdsource.engine.loop import fit
from crowdsource.engine.savings import scatter_of_most
from crowdsource.engine.sources import Sources
from crowdsource.engine.state import PRUNE, SEARCH
from crowdsource.joint.loop import fit_joint
from crowdsource.psf.model import FieldPSF

SHAPE = 64, 72
LITTLE = FitConfig(max_work=0.016)
"""Far less than these small images may take."""


def image_of(data, noise=NOISE):
    """An image whose noise is said to be the same everywhere."""
    return Image.from_arrays(data.astype(np.float32), ivar=np.full(data.shape, noise**-2., np.float32), saturation=1e12)


def texture(seed=2):
    """An image all of whose light is like stars, and has the wrong noise map."""
    rough = np.random.default_rng(seed).normal(0, 1e5, SHAPE)
    return image_of(ndimage.gaussian_filter(rough, 1.7)+100)


def followed(image, config, **arguments):
    """The result of a fit, and its states after each pass."""
    states = []
    result = fit(image, FieldPSF.moffat(image.shape, 4.), config, observer=states.append, **arguments)
    return result, states


def test_overlap_is_that_of_the_stamps():
    rng = np.random.default_rng(3)
    size = rng.choice([19, 31, 59], 60)
    sources = Sources.new(rng.uniform(-5, 404, 60), rng.uniform(-5, 305, 60))
    count = np.zeros((300, 400))
    for px, py, half in zip(*sources.pixels, size//2):
        count[max(0, py-half):max(0, py+half+1), max(0, px-half):max(0, px+half+1)] += 1
    # counted in cells of 4 pixels
    assert budget.overlap(sources, size, (300, 400)) == pytest.approx((count**2).mean(), rel=0.05)
    whole = Sources.new([2., 2.], [3., 3.])
    assert budget.overlap(whole, np.array([199, 199]), (32, 40)) == pytest.approx(4)


def test_a_fit_of_what_is_no_field_of_stars_ends_and_tells_why(caplog):
    result, states = followed(texture(), LITTLE)
    spent, most = states[-1].spent, LITTLE.max_work*budget.SMALL/np.prod(SHAPE)
    kinds = [s.kind for s in states]
    assert spent.over and spent.largest == 31 and kinds.count(SEARCH) < 8 and kinds[-2] == PRUNE
    for state in states:
        # they have moved since
        assert budget.overlap(state.sources, sizes(state, state.sources), SHAPE) <= 1.1*budget.SOLVE*most
    # no search goes on when all is spent: what is added is one pass over, pruning, and the last
    assert spent.overlap <= (budget.ALL_SOLVES+6*budget.SOLVE)*most
    assert spent.lost <= budget.TRIALS*most*np.prod(SHAPE)+1e6
    (told,) = [f for f in result.image.findings if "crowded fields of its size" in f]
    assert "no stamp is larger than 31 px and the search ended early" in told and "check the noise map" in told
    assert told.partition(":")[0] in caplog.text
    assert len(result.catalog) > 10


def test_without_a_bound_it_goes_on():
    result, states = followed(texture(), replace(LITTLE, max_work=np.inf, min_passes=1, max_passes=3))
    assert not states[-1].spent.over and states[-1].spent.largest == np.inf
    _, bounded = followed(texture(), replace(LITTLE, min_passes=1, max_passes=3))
    assert len(states[-1].sources) > len(bounded[-1].sources)
    assert not [f for f in result.image.findings if "crowded fields" in f]


def test_a_field_of_stars_is_far_from_its_bound():
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, SHAPE[1], 90), rng.uniform(0, SHAPE[0], 90)
    image = image_of(star_image(SHAPE, x, y, 10**rng.uniform(2.3, 4, 90)))
    bounded, states = followed(image, FitConfig())
    free, _ = followed(image, FitConfig(max_work=np.inf))
    assert np.array_equal(bounded.model, free.model) and len(free.catalog) > 50
    assert states[-1].spent.overlap < 0.1*budget.ALL_SOLVES*budget.share(states[-1])


def test_positions_that_are_given_stay_all_or_are_refused():
    y, x = (v.ravel().astype(float) for v in np.mgrid[2:SHAPE[0]:3, 2:SHAPE[1]:3])
    image = image_of(star_image(SHAPE))
    with pytest.raises(InputError, match=f"{len(x)} positions on 72 x 64 pixels overlap more .*max_work, 0.016"):
        followed(image, LITTLE, sources=dict(x=x, y=y))
    result, _ = followed(image, replace(LITTLE, max_work=10., min_passes=1, max_passes=3), sources=dict(x=x, y=y))
    assert len(result.catalog) == len(x)


def test_an_image_without_end_is_left_out_of_a_joint_fit():
    rng = np.random.default_rng(5)
    x, y, flux = rng.uniform(8, 56, 12), rng.uniform(8, 56, 12), rng.uniform(3e3, 9e3, 12)
    images = [image_of(star_image(SHAPE, x, y, flux, seed=k)) for k in (1, 2)]
    result = fit_joint([*images, texture()], config=replace(LITTLE, max_work=0.05), names=["a", "b", "c"])
    assert list(result.refused) == ["c"]
    assert "crowded fields of its size" in result.refused["c"]


def test_noise_that_is_wrong_in_places_is_seen():
    data = np.random.default_rng(6).normal(100, NOISE, (128, 128)).astype(np.float32)
    ivar = np.full(data.shape, NOISE**-2., np.float32)
    assert scatter_of_most(Image.from_arrays(data, ivar=ivar)) == pytest.approx(1, abs=0.05)
    ivar[::2, ::2] *= 1e6
    assert scatter_of_most(Image.from_arrays(data, ivar=ivar)) > 300


def test_psf_stars_are_fewer_where_their_stamps_are_wide():
    _, states = followed(texture(), replace(LITTLE, min_passes=1, max_passes=2))
    state = replace(states[-1], config=FitConfig(), sources=Sources.new(np.ones(1000), np.ones(1000)))
    assert budget.most_psf_stars(state, 39) == int(20*budget.SMALL/39**2)
    assert budget.most_psf_stars(state, 999) == budget.LEAST_PSF_STARS
    assert budget.most_psf_stars(replace(state, config=FitConfig(max_work=np.inf)), 999) == 1000


def test_the_option_is_positive():
    assert from_mapping(dict(max_work=3)).max_work == 3 and from_mapping(dict(max_work=np.inf)).max_work == np.inf
    for odd in (0., -1., np.nan):
        with pytest.raises(ConfigError, match="max_work"):
            from_mapping(dict(max_work=odd))
