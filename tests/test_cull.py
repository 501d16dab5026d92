"""Which sources go: faint, gone from the image, too close, or not needed by the model."""
import numpy as np
import pytest

from crowdsource.config import CullConfig
from crowdsource.engine.cull import MARGIN, MAX_POSITION_INFLATION, acceptable, joined, marginal_error, removal_error, significant
from crowdsource.engine.sources import Sources

SHAPE = (50, 60)
CONFIG = CullConfig(min_significance=3., prune=4., min_separation=1.)


def sources(rows, error=1., bright=()):
    x, y, flux = np.array(rows, dtype=float).T
    s = Sources.new(x, y, flux, np.full(len(x), error))
    return s.with_values(bright=np.isin(np.arange(len(x)), bright))


def cull(s, config, shape):
    return s.subset(acceptable(s, config, shape))


def prune(s, significance, least, reach):
    return s.subset(significant(s, significance, least, reach))


def test_faint_sources_go_and_negative_ones():
    s = sources([(10, 10, 2.9), (20, 10, 3.1), (30, 10, -50)])
    assert cull(s, CONFIG, SHAPE).flux.tolist() == [3.1]
    assert cull(s, CullConfig(min_significance=0.), SHAPE).flux.tolist() == [2.9, 3.1]


@pytest.mark.parametrize("least", [0., 3.])
def test_sources_whose_error_is_not_known_go(least):
    s = sources([(10, 10, 1e9), (20, 10, 100)]).with_values(error=np.array([np.inf, 1.]))
    assert cull(s, CullConfig(min_significance=least), SHAPE).flux.tolist() == [100]


def test_sources_far_off_the_image_go():
    far = MARGIN+0.1
    rows = [(-far, 10, 100), (59+far, 10, 100), (10, -far, 100), (10, 49+far, 100)]
    rows += [(-MARGIN+0.1, 20, 101), (20, 49+MARGIN-0.1, 102)]
    assert cull(sources(rows), CONFIG, SHAPE).flux.tolist() == [101, 102]


def test_listed_bright_stars_stay():
    rows = [(10, 10, -5), (-100, 10, 500), (10.2, 10, 100)]
    assert cull(sources(rows, bright=(0, 1)), CONFIG, SHAPE).flux.tolist() == [-5, 500, 100]


def test_the_fainter_of_a_close_pair_goes():
    rows = [(10, 10, 50), (10.9, 10, 100), (30, 30, 50), (31.1, 30, 100)]
    assert cull(sources(rows), CONFIG, SHAPE).flux.tolist() == [100, 50, 100]
    assert len(cull(sources(rows), CullConfig(min_separation=0.), SHAPE)) == 4
    assert len(cull(sources(rows), CullConfig(min_separation=1.2), SHAPE)) == 2


def test_the_light_of_those_that_go_moves_the_one_that_stays():
    kept = sources([(10, 10, 300), (11, 11, 50), (30, 30, 100), (40, 40, 80)], bright=(3,))
    gone = sources([(10.8, 10, 100), (10.4, 10.4, 200), (30.5, 30, -40), (20, 20, 500), (40.5, 40, 80)])
    after = joined(kept, gone, 1.)
    assert after.flux.tolist() == [600, 50, 100, 80]
    assert after.x == pytest.approx([(3000+1080+2080)/600, 11, 30, 40]) and after.y[0] == pytest.approx((3000+1000+2080)/600)
    assert joined(kept, gone, 0.) is kept and joined(kept, gone.subset([]), 1.) is kept


def test_a_chain_loses_every_second_one_from_the_brightest():
    # the middle one goes to the first, which leaves the third alone
    assert cull(sources([(10, 10, 300), (10.8, 10, 200), (11.6, 10, 100)]), CONFIG, SHAPE).flux.tolist() == [300, 100]
    assert cull(sources([(10, 10, 100), (10.8, 10, 300), (11.6, 10, 200)]), CONFIG, SHAPE).flux.tolist() == [300]


def test_bright_fluxes_are_exempt_from_the_separation():
    rows = [(10, 10, 900), (10.5, 10, 1100), (30, 30, 80), (30.5, 30, 90)]
    assert cull(sources(rows), CullConfig(keep_flux=500.), SHAPE).flux.tolist() == [900, 1100, 90]


@pytest.mark.parametrize("rows", [[(10, 10, 100)], np.zeros((0, 3))])
def test_one_source_and_none(rows):
    s = sources(rows)
    assert len(cull(s, CONFIG, SHAPE)) == len(rows)
    assert len(prune(s, s.flux/removal_error(np.tile(np.eye(3), (len(rows), 1, 1))), 4., 5.)) == len(rows)


def covariance(sigma):
    out = np.zeros((len(sigma), 3, 3))
    out[:, 0, 0] = np.square(sigma)
    return out


def test_pruning_looks_at_the_error_with_neighbours_marginalised():
    s = sources([(10, 10, 100), (30, 10, 100), (50, 10, 100)], bright=(2,))
    kept = prune(s, s.flux/removal_error(covariance([24., 26., 99.])), 4., 5.)
    assert kept.x.tolist() == [10, 50]


def test_of_two_that_rob_each_other_only_one_goes_at_a_time():
    s = sources([(10, 10, 60), (12, 10, 50), (40, 10, 50)])
    assert prune(s, s.flux/removal_error(covariance([20., 20., 20.])), 4., 5.).flux.tolist() == [60]
    # the lonely third and the lesser of the pair went; next time the first stands alone and is significant
    assert prune(s, s.flux/removal_error(covariance([20., 20., 20.])), 4., 1.).flux.tolist() == []


def test_unknown_covariance_is_no_need():
    s = sources([(10, 10, 100), (30, 10, 100)])
    assert prune(s, s.flux/removal_error(covariance([np.inf, 1.])), 4., 5.).x.tolist() == [30]


def test_what_goes_takes_its_position_with_it():
    # a source whose flux and position are one thing, another whose are not, one of which nothing is known
    inverse = np.array([[[1., 0.6, 0], [0.6, 1, 0], [0, 0, 1]], np.eye(3), [[1, 0.999, 0], [0.999, 1, 0], [0, 0, 1]]])
    c = np.concatenate([np.linalg.inv(inverse), np.full((1, 3, 3), np.inf)])
    error = removal_error(c)
    assert error[:2] == pytest.approx([1, 1]) and marginal_error(c)[0] == pytest.approx(1.25)
    assert error[2] == pytest.approx(marginal_error(c)[2]/MAX_POSITION_INFLATION) and error[2] > 5 and error[3] == np.inf


def test_two_peaks_of_noise_do_not_keep_each_other():
    """Two sources on one star are as significant together as the star; two peaks of noise beside each other are not."""
    for apart, kept in ((0.2, [True, False]), (1.4, [False, False])):
        s = Sources.new([50., 50.+3*apart], [50., 50.]).with_values(flux=np.array([3., 2.5]), error=np.ones(2))
        assert significant(s, s.flux/s.error, 4.5, 4.5, 3., 3.24).tolist() == kept
