"""The comparison fields of benchmarks/peers: rendering, bounds and scores against integrals, formulas and counts by hand."""
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy import integrate

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT/"benchmarks").is_dir(), reason="the source is not beside the tests")


@pytest.fixture(scope="module")
def peers():
    """The modules, by name."""
    sys.path.insert(0, str(ROOT))
    try:
        yield {name: import_module(f"benchmarks.peers.{name}") for name in ("moffat", "fields", "bounds", "score")}
    finally:
        sys.path.remove(str(ROOT))


def one_star(peers, beta=3.):
    """Profile of one sheared star."""
    return peers["moffat"].Profile.of([2.5], [0.02], [-0.03], beta)


@pytest.mark.parametrize("beta", [2.5, 3.])
def test_a_pixel_is_the_integral_of_the_profile(peers, beta):
    profile = one_star(peers, beta)
    xx, xy, yy, norm = (float(v[0]) for v in (profile.xx, profile.xy, profile.yy, profile.norm))
    expected, _ = integrate.dblquad(lambda y, x: norm*(1+xx*x*x+xy*x*y+yy*y*y)**-beta, -0.2, 0.8, 0.6, 1.6)
    value = profile.integrated(np.array([[0.3]]), np.array([[1.1]]), 5)[0, 0, 0]
    # what five points along each axis leave, half a pixel-width from the centre of so smooth a profile
    assert value == pytest.approx(expected, rel=1e-6)


def test_a_rendered_star_holds_its_flux_and_may_lie_off_the_image(peers):
    render, profile = peers["moffat"].render, one_star(peers)
    image = render((601, 601), np.array([300.3]), np.array([299.8]), np.array([1000.]), profile, np.array([290]))
    # the light beyond a radius r of a Moffat profile of beta 3 is (1+r^2/alpha^2)^-2
    assert image.sum() == pytest.approx(1000., rel=1e-6)
    beside = render((40, 50), np.array([-6.]), np.array([20.]), np.array([1000.]), profile, np.array([25]))
    assert 0 < beside.sum() < 100 and beside[:, 20:].max() == 0


def test_bounds_of_a_lone_star_are_those_of_the_formula(peers):
    fields, bounds = peers["fields"], peers["bounds"]
    alpha, variance = fields.scale_length(3., 3.), 79.
    truth = Table(dict(x=[40.2], y=[39.7], flux=[5000.], snr5=[50.], inside=[True], alpha=[alpha], g1=[0.], g2=[0.]),
                  meta=dict(NX=80, NY=80, BETA=3., FWHM=3., CORE=80))
    found = bounds.bounds_of(truth, np.zeros((80, 80), np.int32), np.full((80, 80), variance))
    # 1/integral of p^2 is pi alpha^2 (2 beta-1)/(beta-1)^2; pixels as wide as alpha/2 widen the star by some per cent
    expected = np.sqrt(variance*np.pi*alpha**2*5/4)
    assert found["sf_iso"][0] == pytest.approx(expected, rel=0.06) and found["sf_iso"][0] > expected
    # the flux of a lone symmetric star does not depend on its position
    assert found["sf_bfp"][0] == pytest.approx(found["sf_iso"][0], rel=1e-3)
    assert found.meta["CONF"] == 0


def test_the_flux_of_two_stars_in_one_place_is_bounded_worse(peers):
    truth = Table(dict(x=[40., 41.5], y=[40., 40.], flux=[5000., 5000.], snr5=[50., 50.], inside=[True, True],
                       alpha=[3., 3.], g1=[0., 0.], g2=[0., 0.]), meta=dict(NX=80, NY=80, BETA=3., FWHM=3., CORE=80))
    found = peers["bounds"].bounds_of(truth, np.zeros((80, 80), np.int32), np.full((80, 80), 79.))
    assert (found["sf_iso"] < found["sf_bf"]).all() and (found["sf_bf"] < found["sf_bfp"]).all()


def test_scores_count_what_is_found_and_what_is_spurious(peers):
    n, score = 40, peers["score"]
    x, y = 40.+25*(np.arange(n) % 8), 40.+25*(np.arange(n)//8)
    flux, one = np.full(n, 1000.), np.full(n, 1.)
    bounds = score.Bounds(x=x, y=y, flux=flux, snr=np.full(n, 60.), flux_bound=16*one, x_bound=0.1*one, y_bound=0.1*one,
                          isolated_bound=16*one, confusion=12., flux5=80., shape=(220, 300), saturated=None)
    rng = np.random.default_rng(1)
    rows = dict(x=x[:30]+rng.normal(0, 0.1, 30), y=y[:30]+rng.normal(0, 0.1, 30), flux=flux[:30]+rng.normal(0, 20, 30))
    # the last of the found has more than twice its flux; a row where no star is
    rows["flux"][29] = 2200.
    catalog = Table({name: np.append(v, new) for (name, v), new in zip(rows.items(), (52.5, 52.5, 500.))})
    catalog["dflux"] = 20.
    found = score.score(bounds, catalog)
    assert found.rows == found.checked == 31 and found.stars == (0, 0, 0, 0, 0, 40)
    assert found.found[-1] == pytest.approx(100*29/40) and found.found[0] is None
    assert found.spurious[0] == pytest.approx(100*2/31)
    level = found.levels["SN30+"]
    # robust scatter of 30 values is right to 20 %, twice that is allowed
    assert level.n == 30 and level.scatter == pytest.approx(1, rel=0.4) and level.pull == pytest.approx(1, rel=0.4)
    assert level.position_pull is None and found.bad_errors == 0
