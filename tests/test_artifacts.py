"""What is no sky and no star is found by its shape: cosmic rays, hot pixels, columns, saturated cores; and no star is."""
import numpy as np
import pytest
from crowdsource.cython_ext import artifacts as kernel
from crowdsource.cython_ext import reference_artifacts as reference
from small_fields import GAIN, star_image

from crowdsource import FitConfig, Image, fit
from crowdsource.artifacts.clean import block_sky, cleaned, error_of
from crowdsource.artifacts.options import ArtifactsConfig
from crowdsource.artifacts.width import half_sample_mode, width_of_most
from crowdsource.core.flags import ENGINE
from crowdsource.exposure.results import detector_header
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import render_stars

SHAPE, SKY, NOISE = (240, 260), 100., 5.
CONFIG = ArtifactsConfig()
WIDTHS = 1.6, 3., 6.


def stars(fwhm, n=60, seed=1, brightest=3e4, ellipticity=0.):
    """Light of stars, and where they are."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(5, SHAPE[1]-6, n), rng.uniform(5, SHAPE[0]-6, n)
    peak = MoffatProfile.constant(SHAPE, fwhm).planes(5, 1, 59)[0][2, 2]
    flux = brightest*NOISE/peak*np.geomspace(1e-3, 1, n)
    profile = MoffatProfile.constant(SHAPE, fwhm, e1=ellipticity)
    return render_stars(SHAPE, profile, x, y, flux, np.full(n, 159)), x, y, flux


def exposed(light, seed=2, **facts):
    """An Image of light on a sky, with its photon noise and true weights."""
    variance = NOISE**2+np.maximum(light, 0)/GAIN
    data = SKY+light+np.random.default_rng(seed).normal(0, 1, SHAPE)*np.sqrt(variance)
    return data.astype(np.float32), (1/variance).astype(np.float32)


def flagged(image, bits=("cosmic", "hot", "saturated")):
    """Pixels that `cleaned` flags."""
    found = cleaned(image, CONFIG)
    return np.any([found.mask & getattr(ENGINE, bit) > 0 for bit in bits], axis=0)


@pytest.mark.parametrize("fwhm", [1.3, *WIDTHS, 12.])
@pytest.mark.parametrize("ellipticity", [0., 0.2])
def test_stars_are_no_artefacts(fwhm, ellipticity):
    for seed in range(3):
        light, *_ = stars(fwhm, seed=seed, ellipticity=ellipticity)
        image = Image.from_arrays(*exposed(light, seed))
        assert cleaned(image, CONFIG) is image


@pytest.mark.parametrize("fwhm", WIDTHS)
def test_hot_and_dead_pixels(fwhm):
    light, *_ = stars(fwhm)
    data, ivar = exposed(light)
    where = np.random.default_rng(3).choice(data.size, 200, replace=False)
    data.flat[where] += NOISE*np.geomspace(20, 1000, 200)*np.where(np.arange(200) % 4, 1, -1)
    found = flagged(Image.from_arrays(data, ivar), ("hot", "cosmic"))
    away = light.flat[where] < 3*NOISE
    assert found.flat[where[away]].mean() > 0.97 and found.sum() < 260
    image = cleaned(Image.from_arrays(data, ivar), CONFIG)
    assert (image.ivar[found] == 0).all() and (image.mask[found] & ENGINE.bad).all()


@pytest.mark.parametrize("fwhm", WIDTHS)
@pytest.mark.parametrize("angle", [0., 0.3, 0.78, 1.57])
def test_tracks_of_cosmic_rays(fwhm, angle):
    light, *_ = stars(fwhm)
    data, ivar = exposed(light)
    along = np.arange(0, 25, 1/16)
    track = np.zeros(SHAPE)
    for x0, y0 in ((30.3, 40.8), (120.1, 77.5), (200.6, 150.2)):
        np.add.at(track, (np.round(y0+along*np.sin(angle)).astype(int), np.round(x0+along*np.cos(angle)).astype(int)), 20*NOISE)
    found = flagged(Image.from_arrays((data+track).astype(np.float32), ivar), ("cosmic",))
    seen = (track > 40*NOISE) & (light < 15*NOISE)
    assert found[seen].mean() > 0.95 and found.sum() < 3*(track > 0).sum()


@pytest.mark.parametrize("fwhm", WIDTHS[1:])
def test_a_track_across_the_flank_of_a_star_is_masked_with_its_rim(fwhm):
    """The pixels around its rim that it leaves are nearer to the star, and brighter than the rim."""
    rng, along = np.random.default_rng(4), np.arange(0, 30, 1/16)
    at = np.array([(40.+60*i, 40.+60*j) for i in range(4) for j in range(4)])
    flux = 1500*NOISE/MoffatProfile.constant(SHAPE, fwhm).planes(5, 1, 59)[0][2, 2]
    light = render_stars(SHAPE, MoffatProfile.constant(SHAPE, fwhm), *at.T, np.full(16, flux), np.full(16, 159))
    track = np.zeros(SHAPE)
    for (x0, y0), angle in zip(at, rng.uniform(0, np.pi, 16)):
        x = x0+1.5*fwhm*np.sin(angle)+(along-15)*np.cos(angle)
        y = y0-1.5*fwhm*np.cos(angle)+(along-15)*np.sin(angle)
        i, j = np.floor(x).astype(int), np.floor(y).astype(int)
        for right, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = np.abs(1-right-(x-i))*np.abs(1-down-(y-j))
            np.add.at(track, (j+down, i+right), 150/16*NOISE*share)
    data, ivar = exposed(light+track)
    found = flagged(Image.from_arrays(data, ivar), ("cosmic",))
    assert found[track*np.sqrt(ivar) > 8].mean() > 0.97


def test_a_column_that_is_too_bright():
    light, *_ = stars(3.)
    data, ivar = exposed(light)
    data[60:, 77] += 40*NOISE
    found = flagged(Image.from_arrays(data, ivar))
    assert found[60:, 77].mean() > 0.95 and not found[:55].any()


@pytest.mark.parametrize("fwhm", WIDTHS)
@pytest.mark.parametrize("kind", ["flat", "empty", "wrapped"])
def test_saturated_cores(fwhm, kind):
    light, *_ = stars(fwhm, n=30, brightest=300.)
    bright, x, y, _ = stars(fwhm, n=6, seed=9, brightest=2e5)
    level = 4000*NOISE
    data, ivar = exposed(light+bright)
    core = data > level
    data[core] = {"flat": level*np.random.default_rng(1).normal(0.95, 0.005, core.sum()), "empty": 0.,
                  "wrapped": data[core]-65536.}[kind]
    if kind == "flat":  # as much as half a per cent from pixel to pixel, whatever level the header gives
        ivar[core] = 1/(NOISE**2+level/GAIN)
    found = flagged(Image.from_arrays(data, ivar, saturation=2*level), ("saturated",))
    hidden = {(round(a), round(b)) for a, b in zip(x, y) if core[round(b), round(a)] and core[round(b)-1:round(b)+2,
                                                                                              round(a)-1:round(a)+2].all()}
    assert hidden and all(found[b, a] for a, b in hidden)
    # the rim belongs to it, and nothing else does
    assert found.sum() < 3*core.sum()+9*len(x)


def test_a_galaxy_is_not_saturated():
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    light, *_ = stars(3., brightest=300.)
    for scale in (6., 12., 30.):
        galaxy = 4000*NOISE*np.exp(-np.hypot(x-130, y-120)/scale)
        image = Image.from_arrays(*exposed(light+galaxy))
        assert not (cleaned(image, CONFIG).mask & ENGINE.saturated).any()


def test_the_width_is_what_most_stars_have():
    light, *_ = stars(3., brightest=3e3)
    data, ivar = exposed(light)
    rng = np.random.default_rng(5)
    data.flat[rng.choice(data.size, 300, replace=False)] += 1000*NOISE
    image = Image.from_arrays(data, ivar)
    image = cleaned(image, CONFIG)
    width, number = width_of_most(image.data-block_sky(image.data, image.good), error_of(image), image.good)
    assert width == pytest.approx([3.2]*4, rel=0.08) and number > 20
    assert width_of_most(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), np.ones(SHAPE, bool))[1] == 0
    assert half_sample_mode(np.r_[rng.normal(3, 0.01, 50), rng.uniform(0, 10, 60)]) == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("fwhm", WIDTHS)
def test_negative_ghosts_are_masked(fwhm):
    """To where they are as deep as the noise, and nothing else is; a field without them has none."""
    light, *_ = stars(fwhm, brightest=3e3)
    psf = MoffatProfile.constant(SHAPE, fwhm)
    x, y = np.array([60.3, 200.]), np.array([50.2, 180.])
    ghosts = render_stars(SHAPE, psf, x, y, np.full(2, 100*NOISE/psf.planes(5, 1, 59)[0][2, 2]), np.full(2, 159))
    found = flagged(Image.from_arrays(*exposed(light-ghosts)), ("negative",))
    alone = ghosts > np.maximum(light, 0)+4*NOISE
    assert found[alone].mean() > 0.95 and not found[ghosts < 0.2*NOISE].any()
    assert not flagged(Image.from_arrays(*exposed(light)), ("negative",)).any()


def test_stars_among_many_galaxies_are_not_masked():
    """Noise makes several peaks on the light of each galaxy, which would be most peaks of the image."""
    light, *_ = stars(6., n=4, brightest=3e3)
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for a, b in np.random.default_rng(3).uniform(20, SHAPE[0]-20, (12, 2)):
        light = light+60*NOISE*np.exp(-np.hypot(x-a, y-b)/12)
    assert not flagged(Image.from_arrays(*exposed(light))).any()


@pytest.mark.parametrize("fwhm", WIDTHS)
def test_a_fit_is_as_good_as_on_a_clean_image(fwhm):
    light, x, y, flux = stars(fwhm, n=40, brightest=3e3)
    data, ivar = exposed(light)
    rng = np.random.default_rng(6)
    dirty = data.copy()
    dirty.flat[rng.choice(data.size, 150, replace=False)] += (NOISE*np.geomspace(15, 1000, 150)).astype(np.float32)
    clean, found = (fit(Image.from_arrays(d, ivar)) for d in (data, dirty))
    assert abs(found.psf.fwhm()/clean.psf.fwhm()-1) < 0.02 and len(found.catalog) < len(clean.catalog)+8
    rows = {name: np.asarray(found.catalog[name]) for name in ("x", "y", "flux", "dflux")}
    for k in np.argsort(-flux)[:20]:
        star = np.argmin(np.hypot(rows["x"]-x[k], rows["y"]-y[k]))
        assert abs(rows["flux"][star]-flux[k]) < 5*rows["dflux"][star]+0.02*flux[k]


def test_saturated_stars_follow_the_psf_that_they_show():
    """For a width that is too small by a sixth fluxes from their wings are up to 1.7 times too large."""
    light, *_ = stars(6., n=20, brightest=300.)
    x, y, flux = np.array([60.2, 190.4, 70.1, 180.3]), np.array([60.8, 70.3, 180.4, 190.2]), np.array([4e7, 2e7, 2e7, 3e7])
    data, ivar = exposed(light+render_stars(SHAPE, MoffatProfile.constant(SHAPE, 6.), x, y, flux, np.full(4, 201)))
    data[data > 4000*NOISE] = 0
    passes = []
    result = fit(Image.from_arrays(data, ivar, gain=GAIN), FieldPSF.moffat(SHAPE, 5., 3.), observer=passes.append)
    first = passes[0].sources
    for k in range(4):
        star = np.argmin(np.hypot(first.x-x[k], first.y-y[k]))
        assert abs(first.flux[star]/flux[k]-1) < 0.02
    assert result.sky.min() > SKY-NOISE and len(result.catalog) < 30


def test_presets_and_options_leave_the_image():
    data = star_image((60, 70), [30.], [30.], [5000.])
    data[10, 10] += 1e4
    image = Image.from_arrays(data, np.full(data.shape, 0.1))
    off = ArtifactsConfig(sharp=False, saturated=False, negative=False)
    assert cleaned(image, off) is image
    assert not (fit(image, config=FitConfig(artifacts=off)).image.mask & ENGINE.hot).any()
    assert fit(image).image.mask[10, 10] & ENGINE.hot


def test_what_was_found_is_told(caplog):
    data = star_image((60, 70), [30.], [30.], [5000.])
    data[10, 10] += 1e4
    result = fit(Image.from_arrays(data, np.full(data.shape, 0.1)))
    sentence, = result.image.findings
    assert sentence.startswith("1 pixel (less than 0.1 %) are sharper") and sentence in caplog.text
    assert detector_header(result.image, result)["FOUND1"] == sentence
    assert not fit(result.image.with_mask(result.image.mask)).image.findings[1:]


def test_kernels_are_what_they_say():
    rng = np.random.default_rng(7)
    light, error = (20*rng.normal(size=(30, 31))).astype(np.float32), rng.uniform(0.5, 2, (30, 31)).astype(np.float32)
    error[rng.random(error.shape) < 0.1] = np.inf
    fall = np.array([[0.5, 0.2], [0.6, 0.3], [0.3, 0.1], [0.35, 0.15]])
    for name, arguments in (("standing_out", (3., 2., 0.02, fall)), ("dips", (2., 0.2))):
        fast, slow = np.zeros((2, *light.shape), np.uint8)
        getattr(kernel, name)(light, error, *arguments, fast)
        getattr(reference, name)(light, error, *arguments, slow)
        assert fast.any() and np.array_equal(fast, slow), name
    for low, high in ((-10., 10.), (-40., 40.), (-80., 10.), (0., 1e9)):
        assert kernel.any_beside(light, error, low, high) == reference.any_beside(light, error, low, high)
    y, x = np.nonzero(light > 15)
    light[error == np.inf] = np.nan
    for line in ((0, 1), (1, 0), (1, 1), (1, -1)):
        fast, slow = (module.axis_widths(light, y, x, *line, 6) for module in (kernel, reference))
        assert np.isfinite(fast).any() and np.isnan(fast).any()
        np.testing.assert_allclose(fast, slow, rtol=1e-5)
    x, y = rng.uniform(0, 30, (2, 200))
    x[:40], y[:40] = np.linspace(0, 30, 40), np.linspace(5, 20, 40)
    found = kernel.most_votes(x, y, 43., 0.9, 70)
    assert found == reference.most_votes(x, y, 43., 0.9, 70) and found[0] >= 40
