"""The comparison with truth, on catalogs whose score is known beforehand."""
import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table

from crowdsource.core.errors import InputError
from crowdsource.validate.evaluate import compare, match_stars, robust_scatter, unexplained


def truth(n=4000, seed=1, size=2000.):
    rng = np.random.default_rng(seed)
    cell = np.arange(n)
    side = int(np.ceil(np.sqrt(n)))
    x, y = (cell % side+0.5)*size/side, (cell//side+0.5)*size/side
    return Table(dict(x=x, y=y, flux=100*rng.random(n)**(-1/0.8)), meta=dict(FLUX5=100.))


def catalog(t, error=5., position_error=0.1, seed=2):
    rng = np.random.default_rng(seed)
    n = len(t)
    return Table(dict(x=t["x"]+rng.normal(0, position_error, n), y=t["y"]+rng.normal(0, position_error, n),
                      flux=t["flux"]+rng.normal(0, error, n), dflux=np.full(n, error), dx=np.full(n, position_error),
                      dy=np.full(n, position_error)))


def test_a_catalog_with_right_errors_has_pulls_of_one():
    t = truth()
    c = compare(catalog(t), t)
    assert c.found == 100 and c.spurious == 0
    assert c.stars == len(t)
    # 2,300 stars above 10 sigma: 1.6 % scatter of a robust sigma from 2 values each for positions
    assert c.pull == pytest.approx(1, abs=0.06)
    assert c.position_pull == pytest.approx(1, abs=0.05)
    assert abs(c.bias) < 0.3


def test_errors_too_small_by_three_give_a_pull_of_three():
    t = truth()
    rows = catalog(t)
    rows["dflux"] /= 3
    rows["dx"] /= 2
    rows["dy"] /= 2
    c = compare(rows, t)
    assert c.pull == pytest.approx(3, rel=0.06)
    assert c.position_pull == pytest.approx(2, rel=0.06)


def test_bias_missing_and_spurious_are_counted():
    t = truth()
    rows = catalog(t, error=0.1)
    rows["flux"] *= 1.1
    kept = rows[np.arange(len(rows)) % 4 > 0]
    extra = kept[:100].copy()
    extra["x"] += 15.
    extra["flux"] = 200.
    both = Table({n: np.r_[kept[n], extra[n]] for n in kept.colnames})
    c = compare(both, t)
    assert c.bias == pytest.approx(10, abs=0.2)
    assert c.found == pytest.approx(75, abs=1e-9)
    assert c.spurious == pytest.approx(100*100/3100, rel=1e-6)


def test_flux_off_by_more_than_a_factor_is_not_found():
    t = truth(100)
    rows = catalog(t, error=1e-3)
    rows["flux"][:50] *= 1.6
    assert compare(rows, t).found == pytest.approx(50)


def test_units_masked_values_and_nan_rows():
    t = truth(100)
    rows = QTable(catalog(t, error=0.1))
    rows["x"] = rows["x"]*u.pixel
    rows["flux"][0] = np.nan
    c = compare(rows, t)
    assert c.rows == 99 and c.found == pytest.approx(99)


def test_edges_and_avoided_pixels_are_left_out():
    t = truth(100, size=200.)
    avoid = np.zeros((200, 200), bool)
    assert compare(catalog(t), t, shape=(200, 200), edge=20).stars == 64
    avoid[90, 90] = True
    # stars at 10, 30, ..., 190: those at (90, 90) and its four neighbours lie within 25 px
    assert compare(catalog(t), t, avoid=avoid, edge=20, avoid_radius=25).stars == 64-5


def test_brighter_star_gets_the_row():
    stars = dict(x=np.array([10., 10.4]), y=np.array([10., 10.]), flux=np.array([100., 1000.]))
    rows = dict(x=np.array([10.2]), y=np.array([10.]), flux=np.array([900.]))
    assert match_stars(stars, rows).tolist() == [-1, 0]


def test_match_is_one_to_one_and_prefers_the_right_flux():
    stars = dict(x=np.array([10., 10.5]), y=np.array([10., 10.]), flux=np.array([100., 1000.]))
    rows = dict(x=np.array([10.4, 10.1]), y=np.array([10., 10.]), flux=np.array([100., 1000.]))
    assert match_stars(stars, rows).tolist() == [0, 1]


def test_second_row_on_one_star_is_unexplained_and_a_blend_is_not():
    stars = dict(x=np.array([10., 50., 51.]), y=np.array([10., 50., 50.]), flux=np.array([1000., 500., 500.]))
    rows = dict(x=np.array([10., 10.5, 50.5]), y=np.array([10., 10., 50.]), flux=np.array([950., 300., 1000.]))
    assert unexplained(stars, rows).tolist() == [False, True, False]


def test_empty_catalog():
    t = truth(100)
    c = compare(dict(x=[], y=[], flux=[]), t)
    assert c.found == 0 and c.rows == 0 and np.isnan(c.pull) and np.isnan(c.spurious)
    assert len(c.lines()) == 3+len(c.bins)


def test_missing_columns_and_limit_are_named():
    t = truth(10)
    with pytest.raises(InputError, match="flux"):
        compare(Table(dict(x=[1.], y=[2.])), t)
    with pytest.raises(InputError, match="flux5"):
        compare(catalog(t), Table(t, meta={}, copy=True)["x", "y", "flux"].__class__(dict(t)))


def test_robust_scatter_ignores_outliers():
    values = np.random.default_rng(0).normal(size=20000)
    values[:200] = 1e6
    assert robust_scatter(values) == pytest.approx(1, abs=0.04)
    assert np.isnan(robust_scatter(values[:3]))
