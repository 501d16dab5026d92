"""The PSF of unWISE coadds: turned and blurred as brute force has it, by the published numbers, and right between pixels."""
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from crowdsource.instruments.wise.atlas import atlas
from crowdsource.instruments.wise.psf import (
    MODEL_SIDE,
    Orientation,
    PolarModel,
    built_in,
    centroid,
    cleaned,
    field_psf,
    nodes_along,
    orientation,
    read_model,
)
from scipy import ndimage
from test_wise_atlas import tile_wcs

from crowdsource.core.errors import DataFileError
from crowdsource.core.image import Image
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import GridProfile
from crowdsource.psf.profiles.moffat import pixel_moffat

PUBLISHED = Path(__file__).resolve().parents[2]/"shared"/"data"/"wise"/"psf"


def of_tile(name):
    a = atlas()
    k = a.index(name)
    return tile_wcs(a.ra[k], a.dec[k])


def lobed(side=101):
    """A star of 3 px with a lobe 20 px up."""
    picture = pixel_moffat(side, (3., 0.1, 0.05, 4.))
    yy, xx = np.indices(picture.shape)-side//2
    return picture+2e-3*np.exp(-(xx**2+(yy-20)**2)/8)


def test_the_published_numbers():
    where = orientation(of_tile("1866p257"), 1023.5, 1023.5)
    assert (where.angle, where.latitude, where.spread) == (pytest.approx(26.10, abs=0.005), pytest.approx(26.11, abs=0.005),
                                                            pytest.approx(0.866, abs=5e-4))
    assert Orientation(0., 0.).spread == pytest.approx(0.777, abs=5e-4)
    assert Orientation(0., 90.).spread == 90
    assert [nodes_along(b) for b in (0., 60., 80., 84., 89.9)] == [4, 4, 8, 13, 16]


def test_a_lobe_moves_to_the_position_angle():
    stamp = PolarModel.of(lobed()).stamp(Orientation(30., 0.))
    yy, xx = np.indices(stamp.shape)-50
    stamp[np.hypot(xx, yy) < 12] = 0
    # the scans come from both sides: half of the lobe lies opposite
    upper = np.where(yy > 0, stamp, 0)
    assert tuple(np.array(np.unravel_index(upper.argmax(), stamp.shape))-50) == (17, -10)
    assert stamp == pytest.approx(stamp[::-1, ::-1], abs=1e-12)


@pytest.mark.parametrize("angle, latitude", [(30., 20.), (-105., 70.), (160., 85.)])
def test_stamps_agree_with_the_mean_of_turned_copies(angle, latitude):
    model, where = lobed(), Orientation(angle, latitude)
    dx, dy = centroid(model)
    middle = ndimage.shift(model, (-dy, -dx), order=5)
    copies = 25
    total = 0.
    for turn in angle+where.spread*((np.arange(copies)+0.5)/copies-0.5):
        for scan in (0, 180):
            # scipy turns from the first axis towards the second: clockwise where y runs up
            total = total+ndimage.rotate(middle, -(turn+scan), reshape=False, order=5)
    total /= total.sum()
    # quintic splines of a star of 3 px: 1e-4 of the peak; a sign or a degree off would be 1e-2
    assert np.abs(PolarModel.of(model).stamp(where)-total).max() < 2e-4*total.max()


def test_samples_of_any_number_agree():
    polar = PolarModel.of(lobed())
    one, two = (polar.stamp(Orientation(12., 40.), k) for k in (1, 2))
    # both sum to 1 a pixel, over pixels of which the rim's differ
    assert np.abs(two[::2, ::2]-one).max() < 1e-4*one.max()
    assert centroid(one) == pytest.approx((0, 0), abs=1e-6)


def test_undersampled_stars_between_pixels():
    """Of 2.2 px, sampled once a pixel, against a truth of four samples a pixel."""
    truth = FieldPSF.of(GridProfile.from_nodes(pixel_moffat(61, (2.2, 0.05, 0., 4.), 4)[None, None], (90, 90), 4))
    once = PolarModel.of(pixel_moffat(61, (2.2, 0.05, 0., 4.))).stamp(Orientation(0., 0.), 2)
    psf = FieldPSF.of(GridProfile.from_nodes(once[None, None], (90, 90), 2))
    x, y = np.random.default_rng(2).uniform(40, 50, (2, 30))
    error = psf.render(x, y, 19)-truth.render(x, y, 19)
    # what a pixel of 2.2 px FWHM does not tell of the profile between its samples
    assert np.abs(error).max() < 0.01*truth.render(x, y, 19).max()
    assert np.abs(error.sum(axis=(1, 2))).max() < 5e-3


@pytest.mark.parametrize("band", [1, 2])
def test_the_built_in_model(band):
    model = built_in(band)
    assert model.shape == (MODEL_SIDE, MODEL_SIDE) and model.sum() == pytest.approx(1) and model.min() > 0
    assert centroid(model) == pytest.approx((0, 0), abs=1e-5)
    # spikes on the diagonals
    assert model[162+80, 162+80] > 3*model[162+113, 162]


def test_over_a_tile():
    wcs = of_tile("1866p257")
    image = Image.from_arrays(np.ones((2048, 2048), np.float32), np.ones((2048, 2048), np.float32), wcs=wcs)
    psf = field_psf(image, 1)
    assert psf.fwhm() == pytest.approx(2.2, abs=0.1) and psf.profile.weights.shape[:2] == (4, 4)
    polar = PolarModel.of(built_in(1))
    for x, y in ((100, 1900), (1500, 300)):
        wanted = polar.stamp(orientation(wcs, x, y))[1:-1, 1:-1]
        wanted /= wanted[161-29:161+30, 161-29:161+30].sum()
        # bilinear between nodes half a degree apart in direction
        assert np.abs(psf.stamp(323, x, y)-wanted).max() < 1e-4*wanted.max()


def test_over_a_tile_near_the_pole():
    """Where directions turn by a whole circle: the modes of the places give back the stamp of each."""
    polar = PolarModel.of(lobed())
    places = [[Orientation(40.*row+15.*column, 80.+row) for column in range(4)] for row in range(5)]
    psf = FieldPSF.of(polar.grid(places, (401, 301), 2))
    for row, column in ((0, 0), (2, 3), (4, 1)):
        wanted = polar.stamp(places[row][column])
        wanted /= wanted[50-29:50+30, 50-29:50+30].sum()
        # modes below 1e-5 of the peak are left out
        assert np.abs(psf.stamp(99, 100*column, 100*row)-wanted[1:-1, 1:-1]).max() < 5e-5*wanted.max()
        assert psf.stamp(59, 100*column, 100*row).sum() == pytest.approx(1, abs=1e-6)


def test_models_are_cleaned():
    rng = np.random.default_rng(1)
    raw = 1e7*pixel_moffat(MODEL_SIDE, (2.2, 0., 0., 3.))+rng.normal(0.5, 0.3, (MODEL_SIDE, MODEL_SIDE))
    model = cleaned(raw)
    assert model.sum() == pytest.approx(1) and model.min() >= 0 and (model[0] == 0).all() and (model[:, -1] == 0).all()
    # the same whatever the scale
    assert cleaned(raw/raw.sum()) == pytest.approx(model, abs=1e-12)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataFileError, match="no such PSF model"):
        read_model(tmp_path, 1)
    fits.PrimaryHDU(np.ones((5, 5), np.float32)).writeto(tmp_path/"psf_model_w2.fits")
    with pytest.raises(DataFileError, match="325 x 325"):
        read_model(tmp_path, 2)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="no published models beside this project")
@pytest.mark.parametrize("band", [1, 2])
def test_the_built_in_model_is_near_the_published_one(band):
    one, two = (PolarModel.of(m).stamp(Orientation(0., 0.)) for m in (built_in(band), read_model(PUBLISHED, band)))
    assert np.abs(one-two).max() < 0.012*two.max()
    assert np.abs(one-two).sum() < 0.06
