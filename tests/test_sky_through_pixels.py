"""From pixels to objects: images of the same stars, fitted, brought together, averaged."""
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from crowdsource.cli.main import main
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.files import write_simulation
from crowdsource.survey.objects.release import open_release
from crowdsource.survey.store.store import open_store

SHAPE, SCALE, CENTRE = (128, 128), 0.27, (150.1, 2.2)
EPOCHS = (("g", 59000., 3., 27.5), ("r", 59010., 3.4, 27.2), ("r", 59020., 3.8, 27.9))
"""Band, date, FWHM in pixels and zero point of each image."""


def world(k):
    """World coordinates of an image, shifted and turned, or of the sky's own plane."""
    wcs, angle = WCS(naxis=2), np.radians(0. if k is None else 3*(k-1))
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), CENTRE
    wcs.wcs.crpix = (64.5, 64.5) if k is None else (64.5+3.3*k, 64.5-2.7*k)
    wcs.wcs.cd = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])*SCALE/3600
    return wcs


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Objects of three images of 30 stars, all bright, some of them close to each other, and the truth."""
    folder, rng = tmp_path_factory.mktemp("sky"), np.random.default_rng(4)
    # one in each cell of a grid, so that no two are one to an image
    x, y = (np.stack(np.meshgrid(np.arange(6), np.arange(5)), -1).reshape(-1, 2)*(16, 19)+(24, 26)+rng.uniform(-4, 4, (30, 2))).T
    ra, dec = world(None).all_pix2world(x, y, 0)
    mags = dict(g=rng.uniform(18, 20, 30))
    mags["r"] = mags["g"]-0.7
    for k, (band, mjd, fwhm, zeropoint) in enumerate(EPOCHS):
        wcs, flux = world(k), 10**(0.4*(zeropoint-mags[band]))
        config = SimulationConfig(shape=SHAPE, fwhm=fwhm, zeropoint=zeropoint, nebulosity=0., seed=k+1)
        made = simulate_field(config, wcs, stars=(*wcs.all_world2pix(ra, dec, 0), flux))
        made.header.update({"FILTER": band, "MJD-OBS": mjd})
        image = folder/f"image{k}.fits"
        write_simulation(made, image)
        assert main(["generic", f"{image}:IMAGE", "--ivar", f"{image}:IVAR", "--dq", f"{image}:DQ", "--quiet", "--out",
                     str(folder/f"image{k}.cat.fits")]) == 0
    store = str(folder/"store")
    assert main(["healpix", "init", store, "--bands", "g", "r", "--quiet"]) == 0
    assert main(["healpix", "ingest", store, str(folder), "--quiet"]) == 0
    assert main(["healpix", "assemble", store, "--release", "one", "--quiet"]) == 0
    release = open_release(open_store(store), "one")
    objects = np.concatenate([release.objects(p) for p in release.pixels])
    places = SkyCoord(objects["ra"], objects["dec"], unit="deg")
    nearest, separation, _ = SkyCoord(ra, dec, unit="deg").match_to_catalog_sky(places)
    return open_store(store).snapshot(), objects, nearest, separation.mas, mags


def test_what_headers_tell_of_images_reaches_the_store(sky):
    images = sky[0].images
    order = np.argsort(images.exposure)
    assert [str(v) for v in np.asarray(images.band)[order]] == ["g", "r", "r"]
    # the header has the start of an exposure of one second, the catalog the middle
    np.testing.assert_allclose(np.asarray(images.mjd)[order], [e[1]+0.5/86400 for e in EPOCHS], atol=1e-8)
    np.testing.assert_allclose(np.asarray(images.zeropoint)[order], [e[3] for e in EPOCHS], atol=1e-9)
    np.testing.assert_allclose(np.asarray(images.pixel_scale), SCALE, rtol=1e-6)


def test_each_bright_star_is_one_object_of_three_detections(sky):
    _, objects, nearest, separation, _ = sky
    assert len(set(nearest)) == 30
    stars = objects[nearest]
    np.testing.assert_array_equal(stars["n_det"], 3)
    np.testing.assert_array_equal(stars["n_used_g"], 1)
    np.testing.assert_array_equal(stars["n_used_r"], 2)
    # what else is there is noise
    others = np.delete(objects, nearest)
    assert np.all(others["n_det"] < 3)
    # errors hold the floor of the astrometry, 20 mas for each of three, which these images do not have
    assert separation.max() < 4*20/np.sqrt(3)


def test_mean_fluxes_are_right_within_their_errors(sky):
    _, objects, nearest, _, mags = sky
    stars = objects[nearest]
    for band in "gr":
        pull = (stars[f"flux_{band}"]-10**(0.4*(22.5-mags[band])))/stars[f"flux_error_{band}"]
        # 30 pulls of unit scatter: 4 sigma is one in 500 runs, and the seed is fixed
        assert np.abs(pull).max() < 4 and 0.6 < pull.std() < 1.5
        # errors of 0.05 mag each make one of 0.01 of the median of 30
        assert abs(np.median(stars[f"mag_{band}"]-mags[band])) < 0.02
    assert np.all(stars["first_mjd"] < 59001) and np.all(stars["last_mjd"] > 59019)
