"""Which rows of a catalog are good."""
import numpy as np
import pytest

from crowdsource import FitConfig, fit
from crowdsource.config import from_mapping
from crowdsource.config.mapping import as_mapping
from crowdsource.core.errors import ConfigError
from crowdsource.core.flags import ENGINE, MASK_SHIFT
from crowdsource.core.selection import NEAR_BRIGHT, SelectionConfig, is_good, near_bright
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.validate.evaluate import compare


@pytest.fixture(scope="module")
def field():
    return simulate_field(SimulationConfig(shape=(300, 300), stars=2200., seed=31))


@pytest.fixture(scope="module")
def catalog(field):
    return fit(field.image()).catalog


def columns(n=1, **other):
    values = dict(flux=100., dflux=10., qf=1., rchi2=1., flags=0)
    return {name: np.full(n, other.get(name, value)) for name, value in values.items()}


@pytest.mark.parametrize("other", [
    dict(flux=29.), dict(flux=-100.), dict(flux=np.nan), dict(dflux=np.nan), dict(qf=0.6), dict(rchi2=6.), dict(qf=np.nan),
    *(dict(flags=getattr(ENGINE, name) << MASK_SHIFT) for name in SelectionConfig().flags)])
def test_a_row_that_is_not_good_in_one_respect(other):
    assert is_good(columns(), SelectionConfig()).all()
    assert not is_good(columns(**other), SelectionConfig()).any()


def test_rows_of_which_nothing_is_known_are_not_near_a_bright_star():
    assert (near_bright([0.1, 0.5, 0., np.nan], [1., 1., 0., 1.]) >> MASK_SHIFT == [ENGINE.near_bright, 0, 0, 0]).all()


def test_bits_of_the_instrument_can_be_excluded():
    flagged = columns(flags=4)
    assert is_good(flagged, SelectionConfig()).all() and not is_good(flagged, SelectionConfig(bits=6)).any()
    # and flags that are only told of sources do not shift into others
    assert is_good(columns(flags=ENGINE.extended << MASK_SHIFT), SelectionConfig()).all()


def test_good_rows_are_purer(field, catalog):
    image, truth = field.image(), field.truth
    good = np.asarray(catalog["good"])
    assert 0.5 < good.mean() < 0.95
    snr = np.asarray(catalog["flux"])/np.asarray(catalog["dflux"])
    assert (snr[good] >= 3).all()
    near = np.asarray(catalog["flags"]) >> MASK_SHIFT & ENGINE.near_bright > 0
    assert np.array_equal(near, np.asarray(catalog["fracflux"]) < NEAR_BRIGHT) and near.any() and not (near & good).any()
    figures = [compare(rows, truth, flux5=truth.meta["FLUX5"], shape=image.shape) for rows in (catalog, catalog[good])]
    assert figures[1].spurious <= figures[0].spurious and figures[1].found > figures[0].found-12


def test_faint_rows_are_left_out_where_that_is_wanted(field, catalog):
    result = fit(field.image(), config=FitConfig(select=SelectionConfig(min_snr=3.)))
    kept = result.catalog
    assert np.array_equal(kept["flux"], catalog["flux"][np.asarray(catalog["flux"]) >= 3*np.asarray(catalog["dflux"])])
    # what the model has of each row goes with it
    assert len(result.model_flux) == len(kept) and np.abs(result.model_flux/np.asarray(kept["flux"])-1).max() < 0.12
    # a forced fit has a row for each position
    forced = fit(field.image(), sources=catalog[:50], config=FitConfig(select=SelectionConfig(min_snr=1e6))).catalog
    assert len(forced) == 50 and not forced["good"].all()


def test_names_in_configurations():
    config = from_mapping(dict(select=dict(flags=["bad"], good_snr=5)))
    assert config.select.flags == ("bad",) and config.select.good_snr == 5.
    assert from_mapping(as_mapping(config)) == config
    for wrong, message in ((["starry"], "must be among"), ([3], "list of names"), ("bad", "type tuple")):
        with pytest.raises(ConfigError, match=message):
            from_mapping(dict(select=dict(flags=wrong)))
