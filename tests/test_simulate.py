"""The simulated fields: fluxes, numbers of stars, noise, saturation, inverse variances, files."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from crowdsource.errors import ConfigError, DataFileError, OutputError
from crowdsource.io.simulation import read_simulation, write_simulation
from crowdsource.psf.moffat import MoffatWings
from crowdsource.simulate import (SIMULATED, Cluster, SimulationConfig, draw_stars, five_sigma_flux, render_stars,
                                  simulate_field, star_stamps, true_psf)

SMALL = SimulationConfig(shape=(128, 160), stars=150, bad_columns=2, seed=3)


@pytest.fixture(scope="module")
def field():
    return simulate_field(SMALL)


def test_stamp_holds_the_flux_inside_a_radius_that_moffat_gives():
    # enclosed flux of a circular Moffat: 1-(1+r^2/a^2)^(1-beta); the box holds the circle around the star that touches its
    # nearest side, and lies in the one through its farthest corner
    fwhm, beta, half = 4., 3., 40
    a2 = fwhm**2/(4*(2**(1/beta)-1))
    inner, outer = (1-(1+r*r/a2)**(1-beta) for r in (half+0.5-0.3, np.hypot(half+0.5+0.3, half+0.5+0.2)))
    total = star_stamps(np.array([[fwhm, 0, 0, beta]]), np.array([0.3]), np.array([-0.2]), 2*half+1).sum()
    assert inner < total < outer


def test_stamp_is_the_integral_over_pixels():
    # 41 x 41 midpoints in the pixel: their error is below 1e-5 of a profile with a core of 2 px
    fwhm, beta = 2., 2.5
    fine = (np.arange(41)-20)/41
    u, v = np.meshgrid(1+fine-0.3, -1+fine+0.4)
    a2 = fwhm**2/(4*(2**(1/beta)-1))
    expected = np.mean((beta-1)/(np.pi*a2)*(1+(u*u+v*v)/a2)**-beta)
    stamp = star_stamps(np.array([[fwhm, 0, 0, beta]]), np.array([0.3]), np.array([-0.4]), 5)
    assert stamp[0, 1, 3] == pytest.approx(expected, rel=3e-5)


def test_centroid_of_rendered_stars_is_their_position():
    psf = MoffatWings.constant((101, 101), 3.)
    x, y = np.array([50.37]), np.array([49.81])
    image = render_stars((101, 101), psf, x, y, np.array([2.]), np.array([81]))
    yy, xx = np.mgrid[:101, :101]
    inside = (np.abs(xx-x) < 9.4) & (np.abs(yy-y) < 9.4)
    # the box is cut at pixel edges, not at the star's: wings unbalanced by a fraction of a pixel at 9 px
    assert np.sum((xx*image)[inside])/image[inside].sum() == pytest.approx(x[0], abs=0.02)
    assert np.sum((yy*image)[inside])/image[inside].sum() == pytest.approx(y[0], abs=0.02)


def test_stars_off_the_image_shine_into_it():
    psf = MoffatWings.constant((40, 40), 4.)
    whole = render_stars((40, 60), MoffatWings.constant((40, 60), 4.), np.array([50.2]), np.array([20.]), np.ones(1),
                         np.array([101]))
    part = render_stars((40, 40), psf, np.array([50.2]), np.array([20.]), np.ones(1), np.array([101]))
    # the stamp is centred on the first column beyond the edge, and with it the pixels that are integrated finely: two and five
    # points differ by 3e-5 at 11 px
    assert part[20, 39] == pytest.approx(whole[20, 39], rel=1e-4)
    assert part[20, 39] > 1e-5


def test_five_sigma_flux_is_that_of_a_matched_filter():
    c = SimulationConfig(fwhm=6.)
    # 1/sum p^2 of an unpixelated Moffat; pixels of a sixth of the FWHM change it by less than 2 %
    a2 = c.fwhm**2/(4*(2**(1/c.beta)-1))
    area = np.pi*a2*(2*c.beta-1)/(c.beta-1)**2
    expected = 5*np.sqrt((c.sky/c.gain+(c.readnoise/c.gain)**2)*area)
    assert five_sigma_flux(c, true_psf(c)) == pytest.approx(expected, rel=0.02)


def test_luminosity_function_and_density():
    c = SimulationConfig(shape=(512, 512), stars=20000., saturated_stars=0)
    x, y, flux = draw_stars(c, true_psf(c), np.random.default_rng(5))
    f5 = five_sigma_flux(c, true_psf(c))
    inside = (np.abs(x-255.5) < 256) & (np.abs(y-255.5) < 256)
    # Poisson scatter of these counts is 0.7 %, 1.8 %
    assert (inside & (flux > f5)).sum() == pytest.approx(20000, rel=0.03)
    assert (inside & (flux > 10*f5)).sum() == pytest.approx(20000*10**-0.8, rel=0.07)
    assert flux.min() >= f5/3*0.999
    assert (np.diff(flux) <= 0).all()


def test_cluster_has_half_of_its_stars_within_its_radius():
    c = SimulationConfig(shape=(400, 400), stars=0., saturated_stars=0, clusters=(Cluster(200, 200, 20., 2000.),))
    x, y, _ = draw_stars(c, true_psf(c), np.random.default_rng(1))
    # about 4,800 stars: 0.7 % scatter of the fraction
    assert np.mean(np.hypot(x-200, y-200) < 20) == pytest.approx(0.5, abs=0.03)


def test_noise_is_that_of_gain_and_readnoise():
    s = simulate_field(SimulationConfig(shape=(256, 256), stars=0., saturated_stars=0, nebulosity=0., seed=4))
    variance = np.var(s.data-s.sky)
    # 65,536 pixels: 0.55 % scatter of a variance; rounding to whole counts adds 1/12
    assert variance == pytest.approx(300/4+(8/4)**2+1/12, rel=0.02)
    assert np.mean(s.data-s.sky) == pytest.approx(0, abs=4*np.sqrt(79/65536))


def test_ivar_is_right_on_average_and_independent_of_the_pixels_own_noise():
    s = simulate_field(SimulationConfig(shape=(256, 256), stars=0., saturated_stars=0, nebulosity=0., seed=4))
    z = (s.data-s.sky)*np.sqrt(s.ivar)
    assert np.std(z) == pytest.approx(1, abs=0.015)
    # a pixel's own count in its variance would give a correlation of -0.25; a ninth of it gives a tenth of that
    assert abs(np.corrcoef((s.data-s.sky).ravel(), s.ivar.ravel())[0, 1]) < 0.45
    weighted = np.sum((s.data-s.sky)*s.ivar)/np.sum(s.ivar)
    assert abs(weighted) < 0.6


def test_saturation_and_dead_columns_are_flagged_and_masked(field):
    saturated = field.dq & SIMULATED.saturated > 0
    assert saturated.sum() > 5
    assert (field.data[saturated & (field.dq & SIMULATED.bad_column == 0)] == SMALL.saturation).all()
    assert field.data.max() == SMALL.saturation
    assert (field.dq & SIMULATED.bad_column > 0).all(axis=0).sum() == 2
    assert (field.ivar[field.dq > 0] == 0).all()
    assert (field.ivar[field.dq == 0] > 0).all()


def test_sky_gradient_and_structure():
    s = simulate_field(SimulationConfig(shape=(300, 300), stars=0., saturated_stars=0, nebulosity=0.))
    assert s.sky[150, -1]-s.sky[150, 0] == pytest.approx(0.06*300, rel=0.01)
    assert s.sky[-1, 150]-s.sky[0, 150] == pytest.approx(-0.04*300, rel=0.01)
    n = simulate_field(SimulationConfig(shape=(300, 300), stars=0., saturated_stars=0, nebulosity=9.))
    assert np.std(n.sky-s.sky) == pytest.approx(9, rel=1e-3)
    # smooth: neighbours differ by far less than the structure
    assert np.std(np.diff(n.sky-s.sky, axis=1)) < 0.9


def test_saturated_stars_have_the_peaks_asked_for():
    c = SimulationConfig(shape=(300, 300), stars=50., saturated_stars=4, saturated_peaks=(10., 3.), brightest=100., seed=3)
    s = simulate_field(c)
    flux = np.sort(np.asarray(s.truth["flux"]))[::-1][:4]
    assert flux[0]/flux[-1] == pytest.approx(10/3, rel=1e-6)
    assert (s.dq & SIMULATED.saturated > 0).sum() > 40
    with pytest.raises(ConfigError, match="saturated_peaks"):
        simulate_field(replace(c, saturated_peaks=(1.,)))


def test_same_seed_same_field(field):
    again = simulate_field(SMALL)
    assert np.array_equal(field.data, again.data)
    assert np.array_equal(field.truth["flux"], again.truth["flux"])
    other = simulate_field(SimulationConfig(shape=(128, 160), stars=150, bad_columns=2, seed=4))
    assert not np.array_equal(field.data, other.data)


def test_truth_has_sky_positions_and_significance(field):
    ra, dec = WCS(field.header).all_pix2world(field.truth["x"], field.truth["y"], 0)
    assert np.array_equal(field.truth["ra"], ra)
    assert np.allclose(field.truth["snr"], 5*field.truth["flux"]/field.truth.meta["FLUX5"], rtol=1e-6)
    # one pixel is 0.26 arcsec
    assert dec[np.argmax(field.truth["y"])]-dec[np.argmin(field.truth["y"])] == pytest.approx(
        np.ptp(field.truth["y"])*0.26/3600, rel=1e-3)


def test_image_of_a_field(field):
    image = field.image()
    assert image.gain == 4 and image.saturation == 50000
    assert np.array_equal(image.good, field.dq == 0)


@pytest.mark.parametrize("name", ["field.fits", "field.fits.fz"])
def test_file_round_trip(field, tmp_path, name):
    path = tmp_path/name
    write_simulation(field, path)
    image, truth = read_simulation(path)
    assert np.array_equal(image.data, field.data)
    assert np.array_equal(image.dq, field.dq)
    assert np.array_equal(image.ivar == 0, field.ivar == 0)
    good = field.ivar > 0
    # seven bits of mantissa in the compressed one
    assert np.allclose(image.ivar[good], field.ivar[good], rtol=0 if name == "field.fits" else 2**-7)
    assert np.allclose(truth["flux"], field.truth["flux"], rtol=1e-6)
    assert truth.meta["FLUX5"] == pytest.approx(field.truth.meta["FLUX5"])
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with fits.open(path) as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "IMAGE", "IVAR", "DQ", "TRUTH"]
        assert hdus["DQ"].header["DQBIT0"] == "saturated"


def test_existing_file_is_not_replaced_unless_asked(field, tmp_path):
    path = tmp_path/"field.fits"
    path.write_text("mine")
    with pytest.raises(OutputError, match="field.fits"):
        write_simulation(field, path)
    assert path.read_text() == "mine"
    write_simulation(field, path, overwrite=True)
    assert read_simulation(path)[0].shape == SMALL.shape


def test_file_that_is_no_field(tmp_path):
    fits.PrimaryHDU(np.zeros((9, 9))).writeto(tmp_path/"a.fits")
    with pytest.raises(DataFileError, match="not a simulated field"):
        read_simulation(tmp_path/"a.fits")


@pytest.mark.parametrize("change", [dict(slope=0.9), dict(faintest=0.), dict(gain=0.), dict(shape=(3, 3)), dict(fwhm=0.),
                                    dict(stars=-1.), dict(bad_columns=9999), dict(saturation=10.)])
def test_values_out_of_range_are_named(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        simulate_field(SimulationConfig(**change))
