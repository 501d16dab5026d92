"""Structured background: what the detector finds and what it leaves, what the loop does with it, files and the command."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from crowdsource.instruments.decam.bits import FLAGS
from small_fields import GAIN, NOISE, SKY, star_image, write_fits
from test_decam import SHAPE as CCD_SHAPE
from test_decam import write_exposure
from tiny_network import write_network

from crowdsource.cli.main import main
from crowdsource.config import FitConfig, NebulosityConfig, from_mapping
from crowdsource.core.errors import ConfigError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.engine import stages
from crowdsource.engine.loop import fit
from crowdsource.nebulosity.detector import structured, white
from crowdsource.nebulosity.find import Structure
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import render_stars

SIDE, FWHM = 320, 4.
DETECT = replace(FitConfig(), nebulosity=NebulosityConfig(method="detect"))
BITS = ENGINE.nebulous | ENGINE.nodeblend | ENGINE.sharp


def crowd(seed, shape=(SIDE, SIDE), stars=1500):
    """x, y, flux of a crowd, a third of it below 5 sigma (which is at about 140)."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, shape[1], stars), rng.uniform(0, shape[0], stars), 60*(1-rng.random(stars))**(-1/0.8)


def filament(shape=(SIDE, SIDE), counts=25., width=5*FWHM):
    """A bent filament across the field."""
    y, x = np.indices(shape)
    return counts*np.exp(-4*np.log(2)*((y-shape[0]/2-30*np.sin(x/40))/width)**2)


def field(seed=1, light=0., shape=(SIDE, SIDE)):
    """An image of the crowd with light added, and the stars."""
    stars = crowd(seed, shape)
    data = star_image(shape, *stars, seed=seed, fwhm=FWHM)+light
    data += np.random.default_rng(seed+100).normal(0, 1, shape)*np.sqrt(light/GAIN)
    variance = NOISE**2+np.maximum(data-SKY, 0)/GAIN
    return Image.from_arrays(data, 1/variance, gain=GAIN), stars


def known(image, stars, least):
    """The model of the stars brighter than a flux, and its PSF."""
    x, y, flux = (v[stars[2] > least] for v in stars)
    light = render_stars(image.shape, MoffatProfile.constant(image.shape, FWHM), x, y, flux, np.full(len(x), 51))
    return light.astype(np.float32), FieldPSF.moffat(image.shape, FWHM)


def test_white_noise_of_a_band():
    # numerically: the sum of the squared difference of two Gaussians
    at = np.arange(-60, 61.)
    one = [np.exp(-0.5*(at/s)**2)/np.sqrt(2*np.pi)/s for s in (2., 9.)]
    assert white(2., 9.) == pytest.approx(((np.outer(one[0], one[0])-np.outer(one[1], one[1]))**2).sum(), rel=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_crowd_is_not_nebulous(seed):
    image, stars = field(seed)
    model, psf = known(image, stars, 140.)
    # stars below 5 sigma, and all of a model that is wrong by a tenth, are left in the image
    assert structured(image, model, psf, DETECT.nebulosity).mean() < 0.003
    assert structured(image, np.float32(0.97)*model, psf, DETECT.nebulosity).mean() < 0.003


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_filament_is_found(seed):
    light = filament()
    image, stars = field(seed, light)
    where = structured(image, *known(image, stars, 140.), DETECT.nebulosity)
    assert where[light > 12].mean() > 0.9 and where[light < 0.1].mean() < 0.05


def test_what_does_no_harm_is_left():
    # significant in any case; a star's significance changes by 25 counts, over noise of 3, times sum p / root sum p^2, about 8
    light = filament()
    image, stars = field(1, light)
    model, psf = known(image, stars, 140.)
    assert structured(image, model, psf, replace(DETECT.nebulosity, contrast=25.))[light > 20].mean() > 0.5
    assert not structured(image, model, psf, replace(DETECT.nebulosity, contrast=75.)).any()


def test_masked_and_lonely_pixels_tell_nothing():
    image, stars = field(1)
    dead = np.zeros(image.shape, bool)
    dead[100:180, 60:200] = True
    data = np.where(dead, 5000, image.data)
    model, psf = known(image, stars, 140.)
    assert structured(Image.from_arrays(data, np.where(dead, 0, image.ivar)), model, psf, DETECT.nebulosity).mean() < 0.003
    still = Image.from_arrays(np.zeros((70, 50)), np.ones((70, 50)))
    assert not structured(still, np.zeros(still.shape, np.float32), psf, DETECT.nebulosity).any()
    alone = Image.from_arrays(data, np.arange(data.size).reshape(data.shape) == 500)
    assert not structured(alone, model, psf, DETECT.nebulosity).any()


@pytest.fixture(scope="module")
def fits_of_a_filament():
    """The light, the stars, and the results without and with the detector."""
    light = filament()
    image, stars = field(4, light)
    return light, stars, fit(image), fit(image, config=DETECT)


def test_the_loop_marks_and_searches_by_the_rules_there(fits_of_a_filament):
    light, stars, off, on = fits_of_a_filament
    assert not (off.image.mask & BITS).any() and off.probabilities is None
    where = on.image.mask & ENGINE.nebulous > 0
    assert where[light > 12].mean() > 0.9 and (on.image.mask[where] & BITS == BITS).all()

    real = (light[pixels(*stars[:2])] > 12).sum()
    inside = [light[pixels(r.catalog["x"].value, r.catalog["y"].value)] > 12 for r in (off, on)]
    assert inside[1].sum() < 0.5*inside[0].sum() and inside[1].sum() < real
    flags = np.asarray(on.catalog["flags"]) >> 32
    assert (flags[inside[1]] & ENGINE.nebulous > 0).mean() > 0.9 and not (flags[~inside[1]] & ENGINE.nebulous).all()
    # a search comes after the marking
    assert [h["kind"] for h in on.history[:3]] == ["search"]*3


def test_bright_stars_in_it_are_found_with_their_fluxes(fits_of_a_filament):
    light, (x, y, flux), _, on = fits_of_a_filament
    rows = on.catalog
    chosen = np.flatnonzero((flux > 1500) & (light[pixels(x, y)] > 12))
    nearest = [np.argmin(np.hypot(rows["x"].value-x[k], rows["y"].value-y[k])) for k in chosen]
    assert len(chosen) > 5
    # a few are blends with stars of similar flux
    assert np.median(np.abs(rows["flux"].value[nearest]/flux[chosen]-1)) < 0.05


def pixels(x, y):
    """Index of the pixels that hold positions, the nearest ones of the image."""
    return tuple(np.clip(np.round(v), 0, SIDE-1).astype(int) for v in (y, x))


def test_off_is_the_default_and_leaves_all_as_it_was():
    assert FitConfig().nebulosity.method == "off"
    image, _ = field(5, shape=(100, 110))
    result = fit(image)
    assert (result.image.mask == image.mask).all() and "prob_light" not in result.catalog.colnames


def test_forced_fits_mark_and_keep_their_sources():
    light = filament()
    image, (x, y, flux) = field(6, light)
    bright = flux > 300
    result = fit(image, config=DETECT, sources=dict(x=x[bright], y=y[bright]))
    inside = light[pixels(x[bright], y[bright])] > 12
    marked = np.asarray(result.catalog["flags"]) >> 32 & ENGINE.nebulous > 0
    assert len(result.catalog) == bright.sum() and marked[inside].mean() > 0.9 and marked[~inside].mean() < 0.3


@pytest.mark.parametrize("values, message", [
    (dict(method="file.txt"), "give off, detect, or the .json or .h5"), (dict(mode="soft"), "hard, continuous or mean"),
    (dict(method="detect", mode="continuous"), "name a network"), (dict(passno=0), "at least 1"),
    (dict(shift=0), "at least 1 pixel"),
    (dict(scales=[30., 3.]), "that grow"), (dict(faintest=7.), "at most nebulosity.threshold"), (dict(grow=-1.), "not negative")])
def test_options_are_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(dict(nebulosity=values))


@pytest.fixture
def left_half(monkeypatch):
    """Makes the detector find the left half of any image."""
    monkeypatch.setattr(stages, "find", lambda image, *_: Structure(np.indices(image.shape)[1] < image.shape[1]//2))


def test_decam_has_a_bit_of_its_own(tmp_path, left_half):
    path = write_exposure(tmp_path, ccds=("N4", "S7"))
    out = tmp_path/"o.fits"
    told = ["--nebulosity", "detect", "--out", str(out), "--model-out", str(tmp_path/"m.fits")]
    assert main(["decam", path, "--quiet", *told]) == 0
    for ccd in ("N4", "S7"):
        flags = fits.getdata(tmp_path/"m.fits", f"{ccd}_MSK")
        half = CCD_SHAPE[1]//2
        assert (flags[:, :half] & FLAGS.diffuse > 0).all() and not (flags[:, half:] & FLAGS.diffuse).any()
        assert (flags[:, :half] >> 32 & BITS == BITS).all()
        rows = Table.read(out, hdu=f"{ccd}_CAT")
        assert len(rows) == 2 and ((rows["flags"] & FLAGS.diffuse > 0) == (rows["x"] < half-0.5)).all()


@pytest.mark.parametrize("mode, planes", [("hard", 0), ("continuous", 4)])
def test_a_network_gives_probabilities(tmp_path, mode, planes):
    path = write_exposure(tmp_path, ccds=("N4",))
    write_network(tmp_path/"net.json")
    out = tmp_path/"o.fits"
    assert main(["decam", path, "--quiet", "--nebulosity", str(tmp_path/"net.h5"), "--nebulosity-mode", mode, "--out", str(out),
                 "--model-out", str(tmp_path/"m.fits")]) == 0
    rows = Table.read(out, hdu="N4_CAT")
    names = ["prob_nebulosity", "prob_light", "prob_normal", "prob_error"]
    assert sum(np.asarray(rows[n]) for n in names) == pytest.approx(1, abs=1e-5)
    header = fits.getheader(out)
    assert [header[f"IN00{k}"].rpartition("/")[2] for k in (4, 5)] == ["net.json", "net.h5"]
    with fits.open(tmp_path/"m.fits") as hdus:
        assert [h.name for h in hdus[4:]] == [f"N4_{n.upper()}" for n in names[:planes]]
        if planes:
            plane = hdus["N4_PROB_NORMAL"]
            assert plane.data.shape == (8, 10)
            # pixel 0 of the plane is in the middle of pixels 0 to 7 of the image
            assert 1/plane.header["LTM1_1"] == 8 and plane.header["LTV1"] == 3.5/8
            assert plane.header["CDELT2"] == pytest.approx(8*hdus["N4_SKY"].header["CDELT2"])
            assert 8*(plane.header["CRPIX1"]-0.5)+0.5 == pytest.approx(hdus["N4_SKY"].header["CRPIX1"])


@pytest.mark.parametrize("asked, message", [
    (["absent.h5"], "absent.json: there is no such file"), (["words"], "give off, detect, or"),
    (["broken.h5"], "broken.h5: cannot be read as HDF5"), (["detect", "--nebulosity-mode", "continuous"], "name a network")])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_networks_are_checked_before_any_work(tmp_path, monkeypatch, capsys, asked, message, more):
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", star_image((64, 64), [30.], [30.], [5000.]))
    write_network(tmp_path/"broken.json")
    (tmp_path/"broken.h5").write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    assert main(["generic", "im.fits", "--nebulosity", *asked, *more]) == 2
    assert message in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before


def test_other_weights_are_another_run(tmp_path, caplog):
    def dark(ccd, plane):
        return plane*0 if ccd == "S7" else plane

    path = write_exposure(tmp_path, w=dark)
    write_network(tmp_path/"net.json")
    command = ["decam", path, "--nebulosity", str(tmp_path/"net.json"), "--out", str(tmp_path/"o.fits"), "--resume"]
    # one CCD has no good pixel: the parts stay
    assert main(command) == 1 and main(command) == 1
    assert "of other inputs or settings" not in caplog.text
    write_network(tmp_path/"net.json", seed=2)
    assert main(command) == 1
    assert "of other inputs or settings" in caplog.text
