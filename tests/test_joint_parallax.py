"""Parallaxes: factors of images, least squares, joint fits of simulated images, and what cannot tell them."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.time import Time
from astropy.wcs import WCS
from small_epochs import Compared, names_of, plain, small_epochs
from small_fields import tan_wcs

from crowdsource import FitConfig
from crowdsource.core.errors import ConfigError, InputError
from crowdsource.core.parallax import parallax_factors
from crowdsource.core.world import pixels_of, sky_of
from crowdsource.joint.config import JointConfig, checked_joint
from crowdsource.joint.frame import Frame
from crowdsource.joint.loop import ImageSource, fit_joint, fit_sources
from crowdsource.joint.motion import YEAR, change_of_motion, proper_motions
from crowdsource.joint.parallax import (
    LARGEST_CONDITION,
    LEAST_IMAGES,
    change_of_parallax,
    check_dates,
    condition_of,
    factors_of,
    motions_and_parallaxes,
)
from crowdsource.joint.reference import BandUnits, Placement, Reference
from crowdsource.joint.register import Registration

MIDDLE = 266.4, -29.
PARALLAX = 40.
"""Mean of the simulated stars, mas."""


def scatter(values):
    """Robust standard deviation of values about 0."""
    return 1.4826*np.median(np.abs(values))


def seen_from_the_earth(ra, dec, parallax, mjd):
    """Right ascension and declination of a star at a place and of a parallax (degrees, mas), on a date."""
    place = SkyCoord(ra, dec, unit="deg").cartesian.xyz.value*(1000/parallax*648000/np.pi)
    place = place-get_body_barycentric("earth", Time(mjd, format="mjd")).xyz.to_value("au")
    return np.degrees(np.arctan2(place[1], place[0])) % 360, np.degrees(np.arcsin(place[2]/np.linalg.norm(place)))


@pytest.mark.parametrize("ra, dec", [(10., 20.), (266.4, -29.), (359.99, 66.), (100., -85.)])
def test_factors_are_where_the_earth_sees_a_star(ra, dec):
    times = 59000+np.linspace(0, 365, 7)
    for mjd, (east, north) in zip(times, parallax_factors(ra, dec, times)):
        there = SkyCoord(*seen_from_the_earth(ra, dec, 50., mjd), unit="deg")
        off = SkyCoord(ra, dec, unit="deg").spherical_offsets_to(there)
        # within what the Earth goes in a minute
        assert [v.to_value("mas") for v in off] == pytest.approx([50*east, 50*north], abs=2e-3)
        assert np.hypot(east, north) < 1.02


def galactic():
    """World coordinates in Galactic longitude and latitude, turned and mirrored."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.crval = ("GLON-TAN", "GLAT-TAN"), (80, 60), (30, 5)
    wcs.wcs.cd = np.array([[0.8, 0.6], [-0.6, 0.8]])@np.diag([1e-4, 1e-4])
    return wcs


@pytest.mark.parametrize("wcs", [tan_wcs((100, 100), *MIDDLE), galactic()])
def test_factors_along_the_axes_of_any_reference(wcs):
    frame = Frame.similarity(0.5, 0.3, (20., 10.), mirrored=True)
    reference = Reference(name="a", origin=(0, 0), wcs=wcs, wcs_origin=(7, 3), frame=frame, band="r")
    times, parallax, middle = 59000+np.array([0., 80., 200.]), 300., (60., 40.)
    factor, pixel = factors_of(reference, middle, times)
    x, y = (c[0]+o for c, o in zip(frame(*(np.array([m]) for m in middle)), (7, 3)))
    for mjd, f in zip(times, factor):
        there = pixels_of(wcs, *seen_from_the_earth(*sky_of(wcs, x, y), parallax, mjd))
        u, v = frame.inverse(*(np.atleast_1d(c-o) for c, o in zip(there, (7, 3))))
        assert [u[0]-middle[0], v[0]-middle[1]] == pytest.approx(f*parallax/pixel, abs=1e-3)
    with pytest.raises(InputError, match="a: the reference has no world coordinates there"):
        factors_of(replace(reference, wcs=None), middle, times)


def wandering(images=10, n=1500, seed=6):
    """Shifts of stars that move and have a parallax, each image's errors an ellipse of its own."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(56000, 56000+2*YEAR, images))
    factor = parallax_factors(*MIDDLE, times)
    motion, place, parallax = rng.normal(0, 0.05, (n, 2)), rng.normal(0, 0.05, (n, 2)), rng.normal(0, 0.1, n)
    roots = rng.normal(0, 0.005, (images, n, 2, 2))+rng.uniform(0.02, 0.06, (images, 1, 1, 1))*np.eye(2)
    shift = np.einsum("knij,knj->kni", roots, rng.normal(size=(images, n, 2)))+place
    shift += motion*((times-times.mean())/YEAR)[:, None, None]+factor[:, None]*parallax[:, None]
    information = np.linalg.inv(roots@roots.transpose(0, 1, 3, 2))
    information = (information+information.transpose(0, 1, 3, 2))/2
    away = rng.random((images, n)) < 0.3
    information[away], shift[away] = 0, 0
    return information, shift, times, factor, motion, parallax


def test_parallaxes_are_found_with_honest_errors():
    information, shift, times, factor, motion, parallax = wandering()
    of_motion, covariance, _, found, error = motions_and_parallaxes(information, shift, times, factor)
    known = np.isfinite(found)
    assert known.mean() > 0.95 and np.array_equal(known, np.isfinite(error)) and np.median(error[known]) < 0.03
    pull = ((found-parallax)/error)[known]
    assert abs(pull.mean()) < 0.08 and pull.std() == pytest.approx(1, abs=0.06)
    off = (of_motion-motion)[known]
    chi2 = np.einsum("ni,nij,nj->n", off, np.linalg.inv(covariance[known]), off)
    assert chi2.mean() == pytest.approx(2, abs=0.15)
    # without parallaxes motions are wrong
    off, covariance, _ = proper_motions(information, shift, times)
    off = (off-motion)[known]
    assert np.einsum("ni,nij,nj->n", off, np.linalg.inv(covariance[known]), off).mean() > 4


def test_few_images_or_similar_dates_tell_no_parallax():
    information, shift, times, factor, *_ = wandering(images=8, n=4)
    information[:] = np.eye(2)*1e3
    information[LEAST_IMAGES-1:, 0] = information[:, 1] = 0
    found = motions_and_parallaxes(information, shift, times, factor)
    assert np.isfinite(found[3]).tolist() == np.isfinite(found[4]).tolist() == [False, False, True, True]
    # there are motions nevertheless, as they are without parallaxes
    assert np.array_equal(found[0][:2], proper_motions(information, shift, times)[0][:2], equal_nan=True)
    assert np.isfinite(found[0][[0, 2, 3]]).all() and np.isnan(found[0][1]).all()
    for dates in (times[0]+YEAR*np.arange(8), np.repeat(times[0], 8), times[0]+np.arange(8.), np.repeat(times[[0, 4]], 4)):
        assert np.isnan(motions_and_parallaxes(information, shift, dates, parallax_factors(*MIDDLE, dates))[3]).all()


def test_changes_of_motion_and_parallax_are_those_of_least_squares():
    information, shift, times, factor, *_ = wandering(n=20)
    weight, years = np.trace(information, axis1=2, axis2=3), (times-times.mean())/YEAR
    parallax = change_of_parallax(shift, weight, years, factor)
    motion = change_of_motion(shift-factor[:, None]*parallax[:, None], weight, years)
    for k in np.flatnonzero(parallax):
        design = np.array([[[1, 0, t, 0, f[0]], [0, 1, 0, t, f[1]]] for t, f in zip(years, factor)])*weight[:, k, None, None]**0.5
        best = np.linalg.lstsq(design.reshape(-1, 5), (shift[:, k]*weight[:, k, None]**0.5).ravel(), rcond=None)[0]
        assert best[2:] == pytest.approx([*motion[k], parallax[k]], abs=1e-9)
        scaled = design/np.r_[1, 1, np.full(2, np.sqrt((weight[:, k]*years**2).sum()/weight[:, k].sum())), 1]
        assert condition_of(weight[:, [k]], times, factor)[0] == pytest.approx(np.linalg.cond(scaled.reshape(-1, 5)), rel=0.4)
    assert (parallax != 0).sum() > 15
    # nor is anything known of one date
    assert not change_of_parallax(shift, weight, np.zeros(10), np.repeat(factor[:1], 10, axis=0)).any()


def test_dates_that_cannot_tell_are_refused():
    season = 59000+np.linspace(0, 456, 6)
    check_dates(season, parallax_factors(*MIDDLE, season))
    for times in (59000+YEAR*np.arange(6), 59000+np.arange(6)*6., np.full(6, 59000.)):
        factor = parallax_factors(*MIDDLE, times)
        assert condition_of(np.ones((6, 1)), times, factor)[0] > LARGEST_CONDITION
        with pytest.raises(InputError, match="cannot tell parallaxes from positions and motions.*three seasons at least"):
            check_dates(times, factor)
    with pytest.raises(InputError, match="3 images cannot tell parallaxes: give 4 at least"):
        check_dates(season[:3], parallax_factors(*MIDDLE, season[:3]))


@pytest.fixture(scope="module")
def field():
    return small_epochs(images=6, motion=0.1, years=1.25, parallax=PARALLAX, variables=0., fwhm=(3.4, 3.8), dither=20.)


@pytest.fixture(scope="module")
def result(field):
    return fit_joint([e.image(world=True) for e in field[1]], names=names_of(field[1]), joint=JointConfig(parallax=True))


def test_parallaxes_of_bright_stars_are_found(field, result):
    one, objects = Compared(*field, result), result.objects
    assert str(objects["parallax"].unit) == str(objects["dparallax"].unit) == "mas" and "pm_x" in objects.colnames
    bright = one.found(15) & one.alone & np.isfinite(plain(objects, "parallax"))[one.row]
    row, true = one.row[bright], np.asarray(field[0]["parallax"])[bright]
    found, error = plain(objects, "parallax")[row], plain(objects, "dparallax")[row]
    # what all stars have in common, linearly in their places, is in the frames: parallaxes are relative to each other
    terms = np.stack([np.ones(len(row)), plain(objects, "x")[row], plain(objects, "y")[row]], axis=1)
    off = found-true-terms@np.linalg.lstsq(terms/error[:, None], (found-true)/error, rcond=None)[0]
    assert len(row) > 40 and 0.6 < scatter(off/error) < 1.5
    very = one.snr[bright] > 100
    assert very.sum() > 10 and np.median(np.abs(off[very])) < 0.1*PARALLAX < 0.2*np.std(true[very])
    scale = np.linalg.lstsq(np.c_[terms, true]/error[:, None], found/error, rcond=None)[0][3]
    assert scale == pytest.approx(1, abs=0.1)


def test_stars_that_few_images_show_have_no_parallax(result):
    ids, count = np.unique(result.light_curves["object_id"], return_counts=True)
    assert np.array_equal(ids, np.sort(result.objects["object_id"]))
    few, found = count < LEAST_IMAGES, plain(result.objects[np.argsort(result.objects["object_id"])], "parallax")
    assert few.any() and np.isnan(found[few]).all() and np.isfinite(found[~few]).mean() > 0.9


def test_a_part_of_the_field_may_tell_no_parallax(field, result):
    numbers = [0, 3]
    sources = [ImageSource(f"night-{k}", field[1][k].image(world=True), None, FitConfig()) for k in numbers]
    joint = JointConfig(parallax=True, min_passes=2, max_passes=2)
    whole = fit_sources(sources, JointConfig(min_passes=2, max_passes=2))
    bands = {"r": BandUnits(image="night-0", scale=1., unit="", zeropoint=np.nan)}
    reference = Reference(name="whole", origin=(0, 0), wcs=tan_wcs((200, 200), *MIDDLE), wcs_origin=(0, 0),
                          frame=Frame.identity(), band="r", bands=bands)
    placed = {n: Registration(frame=f, scale=1., stars=50, rms=0.1) for n, f in zip(whole.names, whole.frames)}
    objects = fit_sources(sources, joint, placement=Placement(placed, reference)).objects
    assert objects.colnames[:8] == result.objects.colnames[:8] and len(objects) > 50
    assert np.isnan(plain(objects, "parallax")).all() and np.isnan(plain(objects, "dparallax")).all()


def test_what_they_need_is_told(field):
    images = [e.image(world=True) for e in field[1]]
    for changed, told in (([replace(i, wcs=None) for i in images], "the reference has no world coordinates"),
                          ([replace(i, mjd=np.nan) for i in images], "its date is not known"),
                          (images[:3], "3 images cannot tell parallaxes"),
                          ([replace(i, mjd=59000.+k) for k, i in enumerate(images)], "cannot tell parallaxes from positions")):
        with pytest.raises(InputError, match=told):
            fit_joint(changed, joint=JointConfig(parallax=True, first_passes=1))
    with pytest.raises(ConfigError, match="joint.parallax must be true or false"):
        checked_joint(JointConfig(parallax=1))


def test_stars_without_parallaxes_have_none(field):
    found = fit_joint([e.image() for e in field[1][:3]], joint=JointConfig(motion=True, max_passes=2, min_passes=2))
    assert "pm_x" in found.objects.colnames and "parallax" not in found.objects.colnames


def test_simulated_images_agree_on_the_sky():
    truth, epochs = small_epochs(images=3, dither=20., rotation=10.)
    sky = [sky_of(e.image(world=True).wcs, e.x, e.y) for e in epochs]
    assert np.allclose(sky[0], sky[1:], rtol=0, atol=1e-9) and all(e.image().wcs is None for e in epochs)
    moved = small_epochs(images=3, dither=20., rotation=10., parallax=500., years=0.5)
    assert np.array_equal(moved[0]["x"], truth["x"]) and not truth["parallax"].any()
    star = int(np.argmax(moved[0]["parallax"]))
    for epoch in moved[1]:
        there = seen_from_the_earth(*sky[0][:, star], moved[0]["parallax"][star], epoch.mjd)
        assert sky_of(epoch.image(world=True).wcs, epoch.x[star], epoch.y[star]) == pytest.approx(there, abs=1e-6)
