"""Two bands of a DECam field as one joint fit, through the adapter's files and a manifest."""
from functools import partial

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from crowdsource.instruments.decam import simulation
from crowdsource.instruments.decam.layout import ccd_of, wcs_cards

from crowdsource.cli.main import main
from crowdsource.io.tables import read_table
from crowdsource.simulate import simulate_field

CCD, SHAPE, STARS = "N4", (220, 200), 300
FIELD = dict(shape=SHAPE, saturated_stars=0, nebulosity=0., nebula_area=0., bad_columns=0)
NIGHTS = {"g": ("c4d_170316_062107_ooi_g_v1.fits", dict(seed=1, fwhm=3.6, sky=900., zeropoint=29.6, position=(150., 2.))),
          "r": ("c4d_170316_062507_ooi_r_v1.fits", dict(seed=2, fwhm=3.1, sky=1900., zeropoint=30.1, position=(150.0006, 2.001)))}


def placed(stars, position):
    """Pixels of some stars on the CCD of an exposure of some pointing."""
    world = WCS(wcs_cards(ccd_of(CCD), SHAPE, position, simulation.DEFAULTS.pixel_scale))
    return world, world.all_world2pix(stars["ra"], stars["dec"], 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exposure in each band of the same stars, of different pointing, and their joint fit; `stars.fits` is the truth."""
    folder, rng = tmp_path_factory.mktemp("decam"), np.random.default_rng(5)
    world, _ = placed(dict(ra=[], dec=[]), NIGHTS["g"][1]["position"])
    ra, dec = world.all_pix2world(*(rng.uniform(-20, side+20, STARS) for side in SHAPE[::-1]), 0)
    g = 16.5+5*rng.random(STARS)**0.6
    stars = Table(dict(ra=ra, dec=dec, g=g, r=g-rng.normal(0.7, 0.4, STARS)))
    for band, (name, options) in NIGHTS.items():
        _, (x, y) = placed(stars, options["position"])
        flux = 10**(-0.4*(stars[band]-options["zeropoint"]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulation, "simulate_field", partial(simulate_field, stars=(x, y, np.asarray(flux))))
            simulation.simulate_exposure(folder/name, (CCD,), **FIELD, **options)
    stars.write(folder/"stars.fits")
    plan = str(folder/"plan.ecsv")
    words = "--instrument", "decam", "--pattern", "*ooi_?_v1.fits", "--no-count", "--quiet"
    assert main(["plan", str(folder), "--out", plan, *words]) == 0
    assert main(["joint", plan, "--out-dir", str(folder/"joint"), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def matched(folder):
    """(objects, their stars): objects of which one star is within half an arcsecond, and no other within two."""
    objects, stars = read_table(str(folder/"joint"/"objects.fits")), Table.read(folder/"stars.fits")
    sky, places = SkyCoord(stars["ra"], stars["dec"], unit="deg"), SkyCoord(objects["ra"], objects["dec"], unit="deg")
    near, off, _ = places.match_to_catalog_sky(sky)
    alone = sky.match_to_catalog_sky(sky, 2)[1].arcsec > 2
    good = (off.arcsec < 0.5) & alone[near]
    return objects[good], stars[near[good]]


def test_one_list_of_stars_with_a_flux_in_each_band(folder, matched):
    images = Table.read(folder/"joint"/"objects.fits", hdu="IMAGES")
    assert sorted(images["band"]) == list(NIGHTS) and (np.asarray(images["registration_rms"]) < 0.1).all()
    objects, stars = matched
    assert len(objects) > 60
    assert all((folder/"joint"/name.replace(".fits", f"-{CCD}.cat.fits")).is_file() for name, _ in NIGHTS.values())
    # on the sky, by the world coordinates of the reference
    off = (objects["dec"]-stars["dec"])*3600/simulation.DEFAULTS.pixel_scale/objects["dy"]
    assert 0.6 < np.std(off) < 1.2


def test_colours_are_those_of_the_stars_within_errors(matched):
    objects, stars = matched
    mag, error, snr = ([np.asarray(objects[name.format(b)], float) for b in NIGHTS] for name in ("mag_{}", "dmag_{}", "flux_{}"))
    snr = [s/np.asarray(objects[f"dflux_{b}"], float) for s, b in zip(snr, NIGHTS)]
    seen = np.min(snr, axis=0) > 10
    off, own = (mag[0]-mag[1]-np.asarray(stars["g"]-stars["r"]))[seen], np.hypot(*error)[seen]
    assert seen.sum() > 50 and np.std(np.asarray(stars["g"]-stars["r"])[seen]) > 0.3
    assert abs(np.median(off)) < 0.01 and 0.5 < np.std(off/own) < 1.2 and np.abs(off/own).max() < 4
    bright = np.min(snr, axis=0)[seen] > 50
    assert bright.sum() > 10 and np.std(off[bright]) < 0.02
