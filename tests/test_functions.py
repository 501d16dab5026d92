"""Elementary functions against those of the C library, which are exact to about half of the last bit."""
import math

import numpy as np
import pytest
from scipy import special

from crowdsource.core import functions

RNG = np.random.default_rng(3)
LAST = np.finfo(float).eps


@pytest.mark.parametrize("name, x", [
    ("exp", np.r_[RNG.uniform(-700, 700, 5000), RNG.normal(0, 1, 5000), -740., 0., 709.7, -np.inf, np.inf, np.nan, 800., -800.]),
    ("log", np.r_[np.exp(RNG.uniform(-700, 700, 5000)), RNG.uniform(0.5, 2, 5000), 1., 5e-324, 1e-310, 0., np.inf, np.nan, -1.]),
    ("sin", np.r_[RNG.uniform(-1e4, 1e4, 5000), RNG.normal(0, 1, 5000), 0., 1e-300, np.pi, np.nan]),
    ("cos", np.r_[RNG.uniform(-1e4, 1e4, 5000), RNG.normal(0, 1, 5000), 0., 1e-300, np.pi/2, np.nan])])
def test_functions(name, x):
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x)
    np.testing.assert_allclose(getattr(functions, name)(x), wanted, rtol=3*LAST, atol=1e-323 if name in ("exp", "log") else LAST)


def test_powers():
    x, y = np.exp(RNG.uniform(-20, 20, 5000)), RNG.uniform(-5, 5, 5000)
    np.testing.assert_allclose(functions.power(x, y), x**y, rtol=200*LAST)
    for whole in (-3, -1, 0, 1, 2, 3, 5):
        np.testing.assert_allclose(functions.power(-x, whole), (-x)**float(whole), rtol=4*LAST)
    assert functions.power(0., 0.5) == 0 and functions.power(0., -0.5) == np.inf and math.isnan(functions.power(-1., 0.5))
    assert functions.power(2., [[1], [3]]).tolist() == [[2], [8]]


@pytest.mark.parametrize("y", [-2.7, -3., 0.3, 1e-5, 25.5, 80.25, np.nan, np.inf])
def test_many_powers_at_once_are_those_of_each_number(y):
    usual = np.r_[1., 1+LAST, np.sqrt(2), np.exp(RNG.uniform(-20, 20, 1000)), 1+10**RNG.uniform(-12, 3, 1000)]
    for x in (usual, np.r_[usual, 0.], np.r_[usual, 5e-324, 1e308, np.inf], np.r_[usual, np.nan, -1.], usual[:3]):
        one_by_one = np.array([functions.power(v, y) for v in x])
        assert np.array_equal(functions.power(x, y), one_by_one, equal_nan=True)
        mixed = np.where(np.arange(len(x)) % 50 < 25, y, 0.5)
        assert np.array_equal(functions.power(x, mixed)[mixed == y], one_by_one[mixed == y], equal_nan=True)


def test_angles():
    y, x = RNG.normal(size=(2, 5000))*10**RNG.uniform(-8, 8, 5000)
    np.testing.assert_allclose(functions.angle(y, x), np.arctan2(y, x), rtol=4*LAST)
    y, x = np.meshgrid([-1., 0., 1.], [-1., 0., 1.])
    np.testing.assert_allclose(functions.angle(y, x), np.arctan2(y, x), rtol=LAST)
    assert functions.angle(0., -2.) == np.pi and math.isnan(functions.angle(np.nan, 1.))


@pytest.mark.parametrize("name, exact, x", [
    ("sinh", np.sinh, np.r_[RNG.uniform(-60, 60, 2000), RNG.normal(0, 1, 2000), -1., 0., 1., 1e-9, 800.]),
    ("log10", np.log10, np.r_[np.exp(RNG.uniform(-700, 700, 5000)), 1., 1e3, 0.]),
    ("erf", special.erf, np.r_[RNG.uniform(-7, 7, 3000), 1e-9, 0., -40.])])
def test_functions_that_others_make(name, exact, x):
    with np.errstate(all="ignore"):
        wanted = exact(x)
    np.testing.assert_allclose(getattr(functions, name)(x), wanted, rtol=2e-15 if name == "erf" else 1e-14, atol=1e-15)


def test_gamma_function():
    for x in (0.1, 0.5, 1, 1.5, 2, 3.7, 9.9, 12, 60.5):
        assert functions.log_gamma(x) == pytest.approx(math.lgamma(x), rel=1e-14, abs=2e-14)


def test_complex_numbers():
    a, b, c = RNG.normal(size=(3, 4, 5))+1j*RNG.normal(size=(3, 4, 5))
    np.testing.assert_allclose(functions.times(a, b), a*b, rtol=1e-14)
    np.testing.assert_allclose(functions.times(a, c.real), a*c.real, rtol=1e-15)
    np.testing.assert_allclose(functions.times(c.real[0], a), a*c.real[0], rtol=1e-15)
    # parts in any order in memory, and one number alone
    for one, other in ((a.T, b.T), (a[::2], b[::2]), (a.conj(), b), (a.ravel()[0], b.ravel()[0])):
        found = functions.times(one, other)
        assert np.shape(found) == np.shape(one)
        # the same bits as where one is broadcast
        assert np.array_equal(found, functions.times(np.array([one, one]), other)[0])
    np.testing.assert_allclose(functions.squared_modulus(a), np.abs(a)**2, rtol=1e-14)
