"""The simulated fields: fluxes, numbers of stars, noise, saturation, inverse variances, files."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import median_filter

from crowdsource.core.errors import ConfigError, DataFileError, OutputError
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import (
    SIMULATED,
    Cluster,
    SimulationConfig,
    draw_nebula,
    draw_stars,
    five_sigma_flux,
    render_stars,
    simulate_field,
    star_stamps,
    true_psf,
)
from crowdsource.simulate.detector import bled
from crowdsource.simulate.files import read_simulation, write_simulation
from crowdsource.simulate.stars import blurred

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
    psf = MoffatProfile.constant((101, 101), 3.)
    x, y = np.array([50.37]), np.array([49.81])
    image = render_stars((101, 101), psf, x, y, np.array([2.]), np.array([81]))
    yy, xx = np.mgrid[:101, :101]
    inside = (np.abs(xx-x) < 9.4) & (np.abs(yy-y) < 9.4)
    # the box is cut at pixel edges, not at the star's: wings unbalanced by a fraction of a pixel at 9 px
    assert np.sum((xx*image)[inside])/image[inside].sum() == pytest.approx(x[0], abs=0.02)
    assert np.sum((yy*image)[inside])/image[inside].sum() == pytest.approx(y[0], abs=0.02)


def test_stars_off_the_image_shine_into_it():
    psf = MoffatProfile.constant((40, 40), 4.)
    whole = render_stars((40, 60), MoffatProfile.constant((40, 60), 4.), np.array([50.2]), np.array([20.]), np.ones(1),
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
                                    dict(stars=-1.), dict(bad_columns=9999), dict(saturation=10.),
                                    dict(nebula_area=1.), dict(nebula_scales=(9., 3.)), dict(bleeding=2.), dict(cosmic_rays=-1.),
                                    dict(rim=600)])
def test_values_out_of_range_are_named(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        simulate_field(SimulationConfig(**change))


STARLESS = SimulationConfig(shape=(300, 260), stars=0., saturated_stars=0, nebulosity=0., seed=8)


def test_local_nebulae_cover_their_part_and_nothing_else():
    plain = simulate_field(STARLESS)
    nebula = draw_nebula(replace(STARLESS, nebula_area=0.25, nebula_peak=400.))
    assert np.mean(nebula > 0) == pytest.approx(0.25, abs=0.001)
    assert 200 < nebula.max() <= 400 and draw_nebula(STARLESS) is None
    s = simulate_field(replace(STARLESS, nebula_area=0.25, nebula_peak=400.))
    assert np.allclose(s.sky-plain.sky, nebula, atol=1e-3)
    # sharper than the sky of 20x20 pixels that a fit takes off: structure is left after a median of that size
    inside = nebula > 100
    assert np.std((nebula-median_filter(nebula, 21))[inside]) > 20


def test_truth_tells_which_stars_shine_through_a_nebula():
    c = replace(STARLESS, stars=500., nebula_area=0.3)
    s = simulate_field(c)
    x, y = (np.clip(np.rint(s.truth[n]).astype(int), 0, m-1) for n, m in zip("xy", (260, 300)))
    assert np.array_equal(s.truth["nebulosity"], draw_nebula(c)[y, x]) and 0.2 < np.mean(s.truth["nebulosity"] > 0) < 0.4
    assert "nebulosity" not in simulate_field(STARLESS).truth.colnames


def test_bleeding_keeps_the_charge_and_fills_the_column():
    data = np.full((200, 9), 10.)
    data[100:103, 4] = 1010., 2010., 1010.
    out, trails = bled(data, 110., 1.)
    # 3,700 counts above the level run up and down, where each pixel takes 100: 18 full ones and a half on each side
    assert out.sum() == pytest.approx(data.sum())
    assert (out[82:121, 4] == 110).all() and out[81, 4] == out[121, 4] == 60 and (out[:, 5] == 10).all()
    assert trails[79:124, 4].all() and not trails[:79].any() and trails[100, 6] and not trails[100, 7]
    assert bled(data, 110., 0.5)[0].sum() == pytest.approx(data.sum()-1850)
    # at the edge it is lost
    edge = np.full((20, 3), 10.)
    edge[0, 1] = 1110.
    assert bled(edge, 110., 1.)[0].sum() == pytest.approx(edge.sum()-500)


def test_two_saturated_stars_in_a_column_lose_no_charge():
    data = np.full((200, 1), 10.)
    data[60, 0] = data[70, 0] = 3110.
    assert bled(data, 110., 1.)[0].sum() == pytest.approx(data.sum())


def test_cosmic_rays_are_sharp_and_most_are_flagged():
    plain = simulate_field(STARLESS)
    s = simulate_field(replace(STARLESS, cosmic_rays=40.))
    hit = (s.data-plain.data) > 100
    flagged = s.dq & SIMULATED.cosmic_ray > 0
    # nothing else changes
    assert hit.sum() > 100 and np.mean(s.data == plain.data) > 0.95
    assert 0.7 < np.mean(flagged[hit]) < 1 and (s.ivar[flagged] == 0).all()
    none = simulate_field(replace(STARLESS, cosmic_rays=40., cosmic_rays_flagged=0.))
    assert np.array_equal(none.data, s.data) and not (none.dq & SIMULATED.cosmic_ray).any()


def test_saturated_stars_bleed_along_columns():
    c = SimulationConfig(shape=(300, 300), stars=50., saturated_peaks=(40., 3.), bleeding=1., rim=4, seed=3)
    s = simulate_field(c)
    star = s.truth[0]
    column = s.dq[:, int(np.rint(star["x"]))] & (SIMULATED.bleed | SIMULATED.saturated) > 0
    row = s.dq[int(np.rint(star["y"]))] & (SIMULATED.bleed | SIMULATED.saturated) > 0
    assert column.sum() > 2*row.sum()
    rim = s.dq & SIMULATED.rim > 0
    assert rim.sum() == 300*300-292*292 and not rim[4:-4, 4:-4].any() and (s.ivar[rim] == 0).all()


def test_a_camera_spreads_light():
    class Disk:
        def picture(self, reach):
            y, x = np.mgrid[-reach:reach+1, -reach:reach+1]
            disk = (np.hypot(x, y) < 20).astype(float)
            return 0.1*disk/disk.sum()+0.9*(np.hypot(x, y) == 0)

    stars = np.zeros((101, 101))
    stars[50, 50] = 1000.
    spread = blurred(stars, Disk().picture(50))
    # the disk of 20 px lies in the image
    assert spread.sum() == pytest.approx(1000) and spread[50, 60] == pytest.approx(100/1257, rel=0.01)
    assert spread[50, 50] == pytest.approx(900+100/1257, rel=1e-4)
    c = replace(STARLESS, stars=100., saturated_stars=0)
    seen, plain = simulate_field(c, halo=Disk()), simulate_field(c)
    assert np.mean(seen.data != plain.data) > 0.2
    # what is left in the core tells a star from noise, the disk hardly
    assert np.allclose(seen.truth["flux"], plain.truth["flux"]/0.9, rtol=0.02)
    assert np.allclose(seen.truth["snr"], plain.truth["snr"], rtol=1e-5)


def test_stars_of_another_image_are_those_of_the_truth():
    # drawn ones handed in, faintest first, give the truth of the field that draws them; its noise is drawn after them
    config = replace(SMALL, saturated_stars=0)
    drawn = draw_stars(config, true_psf(config), np.random.default_rng(config.seed))
    given, own = (simulate_field(config, stars=s) for s in (tuple(v[::-1] for v in drawn), None))
    for name in ("x", "y", "flux"):
        np.testing.assert_array_equal(given.truth[name], own.truth[name])
    assert given.truth.meta["FLUX5"] == own.truth.meta["FLUX5"]
    moved = simulate_field(SMALL, stars=([40.], [50.], [2e5]))
    assert len(moved.truth) == 1 and np.unravel_index(np.argmax(moved.data*(moved.dq == 0)), SMALL.shape) == (50, 40)
