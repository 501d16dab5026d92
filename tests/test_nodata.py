"""Pixels without data: areas of one exact value and of no weight; and skies that hold one value and are data."""
import numpy as np
import pytest

from crowdsource.core.errors import InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.core.nodata import constant
from crowdsource.core.noise import weightless

SIDE, SKY, NOISE = 256, 200., 7.
Y, X = np.mgrid[:SIDE, :SIDE]
ROTATED = (np.abs(X-128+Y-128) > 120) | (np.abs(X-Y) > 120)
GAP = (X > 120) & (X < 140)
BLOCK = (X > 60) & (X < 71) & (Y > 60) & (Y < 71)


def starlight(seed=1, n=40, beta=3., reach=25):
    """Moffat stars of FWHM 3 px and peaks of 1 to 2000, cut off some pixels from their centres."""
    rng = np.random.default_rng(seed)
    light = np.zeros((SIDE, SIDE))
    for x, y, peak in zip(*rng.uniform(0, SIDE, (2, n)), np.exp(rng.uniform(0, np.log(2000), n))):
        square = (X-x)**2+(Y-y)**2
        light += np.where(square < reach**2, peak*(1+square/1.5**2*(2**(1/beta)-1))**-beta, 0)
    return light


def field(seed=2, noise=NOISE):
    return SKY+starlight()+np.random.default_rng(seed).normal(0, noise, (SIDE, SIDE))


def found(data, used=True):
    return constant(np.asarray(data, np.float32), np.full(np.shape(data), True) & used)


@pytest.mark.parametrize("where", [ROTATED, GAP, BLOCK, Y == 100, X == 30, (Y == 100) & (X < 128)],
                         ids=["rotated", "gap", "block", "row", "column", "half a row"])
@pytest.mark.parametrize("sky, value", [(SKY, 0.), (0., 0.), (-50., 0.), (SKY, SKY+20*NOISE), (SKY, SKY), (SKY, -99.)])
def test_areas_of_one_value_are_found(where, sky, value):
    data = np.where(where, value, field()-SKY+sky)
    np.testing.assert_array_equal(found(data), where)


@pytest.mark.parametrize("noise", [0.5, 1., 1.5, 3.])
def test_gaps_in_whole_numbers_are_found(noise):
    data = np.round(field(noise=noise))
    np.testing.assert_array_equal(found(np.where(GAP, 0, data)), GAP)
    assert not found(data).any()


def test_areas_of_different_values_are_found():
    data = np.where(GAP & (Y < 100), 0, np.where(GAP, -1, field()))
    np.testing.assert_array_equal(found(data), GAP)


def test_few_pixels_of_one_value_are_data():
    data = field()
    data[60:69, 60:71] = 0
    assert not found(data).any()
    data[69, 60] = 0
    assert found(data).sum() == 100


def test_pixels_that_are_not_used_are_not_found():
    assert not found(np.where(ROTATED, 0, field()), ~ROTATED).any()
    image = Image.from_arrays(np.where(ROTATED, 0, field()), np.where(ROTATED, 0, NOISE**-2))
    assert image.findings == () and not (image.mask & ENGINE.nodata).any()
    assert not found(np.where(ROTATED, np.nan, field())).any()


def skies():
    rng = np.random.default_rng(3)
    light, noise = starlight(), rng.normal(0, 1, (SIDE, SIDE))
    crowded = starlight(4, 800)
    for level in (0.003, 0.1, 0.5, 1., 2.):
        yield f"photons {level}", rng.poisson(level+light/200)
        yield f"crowded photons {level}", rng.poisson(level+crowded/50)
        yield f"photons {level} over a time", rng.poisson(level+light/200)/(50+X/10)
    yield "counts of 0 to 3", rng.integers(0, 4, (SIDE, SIDE))
    for scatter in (0., 0.2, 1.):
        yield f"8 bits, noise of {scatter}", np.clip(np.round(20+light/10+scatter*noise), 0, 255)
        yield f"8 bits scaled, noise of {scatter}", np.clip(np.round(20+light/10+scatter*noise), 0, 255)/255
    yield "8 bits, black sky", np.clip(np.round(light/10), 0, 255)
    yield "8 bits, saturated", np.clip(np.round(20+10*light+noise), 0, 255)
    for clip in (-1, 0, 0.3, 1):
        yield f"clipped at {clip} sigma", np.maximum(light/NOISE+noise-clip, 0)
        yield f"crowded, clipped at {clip} sigma", np.maximum(crowded/NOISE+noise-clip, 0)
    yield "stars without noise", light
    yield "Gaussian without noise", 200+1e3*np.exp(-((X-128)**2+(Y-100)**2)/5)
    yield "Gaussian on nothing", 1e3*np.exp(-((X-128)**2+(Y-100)**2)/5)
    yield "photons of stars on nothing", rng.poisson(4*light)/4
    yield "each pixel twice", np.repeat(noise[:, ::2], 2, axis=1)
    yield "saturated", np.minimum(SKY+200*light+noise, 2e4)
    spilt = SKY+200*light+noise
    spilt[20:200, 60:63] = 2e4
    yield "charge that has spilt", np.minimum(spilt, 2e4)
    yield "one value", np.full((SIDE, SIDE), 5.)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in skies()])
def test_skies_and_stars_of_one_value_are_data(data):
    assert not found(data).any()


def test_noise_is_estimated_without_what_is_no_data():
    data = np.where(ROTATED, 0, field())
    image, known = Image.from_arrays(data, gain=4.), Image.from_arrays(data, gain=4., bad=ROTATED)
    np.testing.assert_array_equal(image.ivar, known.ivar)
    np.testing.assert_array_equal(image.mask, np.where(ROTATED, ENGINE.nodata | ENGINE.bad, 0))
    assert image.findings == (f"{ROTATED.sum():,} pixels ({100*ROTATED.mean():.1f} %) hold one exact value and count as no data",)
    weighted = Image.from_arrays(data, weight=np.ones(data.shape))
    assert (weighted.good == ~ROTATED).all() and weighted.noise == pytest.approx(NOISE, rel=0.1)


def test_saturated_stars_stay_saturated():
    data = np.minimum(field()+100*starlight(7, 6), 2e4)
    image = Image.from_arrays(data, saturation=2e4)
    np.testing.assert_array_equal(image.mask, np.where(data >= 2e4, ENGINE.saturated | ENGINE.bad, 0))


def test_an_image_with_data_everywhere_does_not_change():
    data = field().astype(np.float32)
    ivar = np.random.default_rng(5).uniform(1e-3, 1, data.shape).astype(np.float32)
    image = Image.from_arrays(data, ivar)
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_array_equal(image.ivar, ivar)
    assert not image.mask.any() and image.findings == ()
    assert Image.from_arrays(data).good.all()


def test_an_image_of_one_value_is_what_it_was():
    assert Image.from_arrays(np.full((50, 50), 7.)).good.all()
    with pytest.raises(InputError, match="no good pixel"):
        Image.from_arrays(np.full((50, 50), np.nan))


@pytest.mark.parametrize("kind", ["ivar", "weight"])
def test_huge_errors_mean_no_data(kind):
    rng = np.random.default_rng(6)
    hidden = np.maximum(abs(X-128), abs(Y-128)) > 70
    noise_map = np.where(hidden, 10**rng.uniform(-20, -16, hidden.shape), NOISE**-2)
    image = Image.from_arrays(field(), **{kind: noise_map})
    assert hidden.mean() > 0.6 and (image.good == ~hidden).all()
    np.testing.assert_array_equal(image.mask, np.where(hidden, ENGINE.nodata | ENGINE.bad, 0))
    assert image.noise == pytest.approx(NOISE, rel=1e-6 if kind == "ivar" else 0.1)
    assert "next to no weight" in image.findings[0]


def test_maps_of_very_different_weights_are_kept():
    rng = np.random.default_rng(8)
    weight = (10**rng.uniform(-3, 0, (SIDE, SIDE))).astype(np.float32)
    assert not weightless(weight).any()
    # weights by mistake on few pixels do not make the others weightless
    weight.flat[rng.choice(SIDE**2, 100, replace=False)] = 1e12
    assert not weightless(weight).any()
    # a few pixels of little weight do no harm
    weight.flat[:99] = 1e-12
    assert not weightless(weight).any()
    weight.flat[:100] = 1e-12
    assert weightless(weight).sum() == 100
    assert not weightless(np.zeros((5, 5), np.float32)).any()
