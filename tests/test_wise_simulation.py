"""Simulated tiles of WISE: files, headers, both bands of the same stars, truth, mask; images written again; what a fit finds."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from crowdsource.instruments.wise import Wise
from crowdsource.instruments.wise.atlas import atlas
from crowdsource.instruments.wise.bits import FLAGS, MASK_BITS, bits_of, flags_of
from crowdsource.instruments.wise.noise import SATURATED, full_ivar, invvar_of
from crowdsource.instruments.wise.psf import PSF_VARIABLE, SAMPLES, PolarModel, built_in, orientation, profile_over
from crowdsource.instruments.wise.shapes import BRIGHT, GHOST, GHOSTLY, LATENTS, around_stars
from crowdsource.instruments.wise.simulation import (
    BANDS,
    FINER,
    NORM,
    PixelGrid,
    add_stars,
    conditions_of,
    configured,
    simulate_tile,
)
from crowdsource.instruments.wise.simulation import SAMPLES as TRUE_SAMPLES
from crowdsource.instruments.wise.writing import tile_header, write_images

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, InputError, InstrumentError, OutputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.evaluate import compare

COADD, SHAPE = "1866p257", (300, 320)
NAMES = [f"unwise-{COADD}-w{b}-{p}" for b in BANDS for p in ("img-m.fits", "invvar-m.fits.gz", "n-m.fits.gz", "n-u.fits.gz")]
NAMES += [f"unwise-{COADD}-msk.fits.gz", f"unwise-{COADD}-truth.fits"]


@pytest.fixture(scope="module", autouse=True)
def without_models():
    """The built-in PSF, whatever the environment has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(PSF_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    """(folder, what it returned) of the middle of a tile."""
    folder = tmp_path_factory.mktemp("tile")
    return folder, simulate_tile(folder/COADD, shape=SHAPE, stars=600., brightest=2000., saturated_stars=1,
                                 saturated_peaks=(3., 3.), seed=5)


def truth_of(folder, band):
    return Table.read(folder/NAMES[-1], hdu=f"W{band}")


def read(folder, band):
    exposure = Wise().open(COADD, band=band, dir=str(folder))
    return exposure.read(exposure.tasks()[0])


def test_files_and_headers(tile):
    folder, files = tile
    assert [p.name for p in files] == NAMES and sorted(files) == sorted(folder.iterdir())
    for path, kind in zip(files, ["f4", "f4", "i2", "i2"]*2+["i4"]):
        data, header = fits.getdata(path, header=True)
        assert data.shape == SHAPE and data.dtype == np.dtype(kind).newbyteorder(">")
        # as a cut-out of the tile whose middle is at 1024.5
        assert (header["CRVAL1"], header["CRPIX1"], header["CRPIX2"]) == (186.667667, 160.5, 150.5)
        assert header["MAGZP"] == 22.5 and WCS(header).wcs.cd[0, 0] == pytest.approx(-2.75/3600)
    assert [fits.getheader(p)["BAND"] for p in files[:8:4]] == [1, 2]


def test_noise_is_that_of_real_coadds(tile):
    for band, invvar in zip(BANDS, (0.4675, 0.0325)):
        image = read(tile[0], band)
        # 161 in a real cut-out of this tile; simulated numbers change by 3 % over it
        assert np.median(image.meta["seen"]) == pytest.approx(161, abs=6)
        assert np.median(fits.getdata(tile[1][4*band-3])) == pytest.approx(invvar, rel=0.05)
        assert image.ivar[image.good].max() < full_ivar(np.zeros(1), np.array([invvar*1.2]), band)[0]


def test_both_bands_have_the_same_stars(tile):
    one, two = (truth_of(tile[0], b) for b in BANDS)
    assert (one["x"] == two["x"]).all() and (one["primary"] == two["primary"]).all()
    colour = 2.5*np.log10(two["flux"]/one["flux"])
    assert np.mean(colour) == pytest.approx(0.1, abs=0.02) and np.std(colour) == pytest.approx(0.2, abs=0.02)
    # W2 is shallower, by noise and width
    assert 3.5 < two.meta["FLUX5"]/one.meta["FLUX5"] < 5
    assert one["snr"] == pytest.approx(5*one["flux"]/one.meta["FLUX5"], rel=1e-6)
    inside = (np.abs(one["x"]-159.5) < 160) & (np.abs(one["y"]-149.5) < 150)
    # 600 expected
    assert abs((inside & (one["snr"] > 5)).sum()-600) < 4*np.sqrt(600)
    assert (one["primary"] == inside).all()


def test_positions_are_those_of_the_world_coordinates(tile):
    truth = truth_of(tile[0], 1)
    x, y = atlas().pixels(atlas().index(COADD), np.asarray(truth["ra"]), np.asarray(truth["dec"]))
    # the cut-out's first pixel is at 864, 874 of the tile; the atlas rounds its centres at 1e-6 degrees
    assert x-864 == pytest.approx(np.asarray(truth["x"]), abs=1e-3) and y-874 == pytest.approx(np.asarray(truth["y"]), abs=1e-3)
    image = read(tile[0], 1)
    star = truth[(truth["snr"] > 100) & (truth["snr"] < 5000) & truth["primary"]][0]
    px, py = image.wcs.all_world2pix(star["ra"], star["dec"], 0)
    near = image.data[int(py)-2:int(py)+4, int(px)-2:int(px)+4]
    assert near.max() > 0.05*star["flux"]


def test_the_saturated_star(tile):
    truth = truth_of(tile[0], 1)
    star = truth[np.argmax(truth["flux"]*truth["primary"])]
    at = int(round(star["y"])), int(round(star["x"]))
    image = read(tile[0], 1)
    assert image.mask[at] & ENGINE.saturated and not image.good[at] and image.meta["seen"][at] == 0
    names = FLAGS.decode(image.dq[at])
    assert {"core_wings", "circular_halo", "saturation", "possible_bright_star_centroid", "crowdsat"} <= set(names)
    assert image.data.max() == SATURATED and 30 < (~image.good).sum() < 200


@pytest.mark.parametrize("band", BANDS)
def test_shapes_of_the_mask(band):
    bits = np.zeros((2048, 2048), np.int32)
    # scans 30 degrees from y towards -x
    around_stars(bits, band, 30., np.array([1000., 2060.]), np.array([1000., 500.]), np.array([20*BRIGHT, BRIGHT]))
    dq, mask = flags_of(bits, band)
    along = np.array([-0.5, np.sqrt(0.75)])
    for name, distance in (("ghost", GHOST), ("first_latent", LATENTS[0])):
        for side in (1, -1):
            x, y = np.rint(1000+side*distance*along).astype(int)
            assert dq[y, x] & getattr(FLAGS, name) and bits[y, x] & 1 << MASK_BITS[name][band-1][(1-side)//2]
    assert GHOSTLY < 20*BRIGHT and not dq[1000, 1000+int(GHOST)] & FLAGS.ghost
    # spikes at 45 degrees from the scan: at 75 degrees from y
    x, y = np.rint(1000+90*np.array([-np.sin(np.radians(75)), np.cos(np.radians(75))])).astype(int)
    assert FLAGS.decode(dq[y, x]) == ["psf_spike", "geom_spike"] and dq[1000, 1090] == 0
    # a radius of 3 times 12 px from 12 px beyond the edge
    assert dq[500, 2047] & FLAGS.bright_off_edge and mask[500, 2030] & ENGINE.sharp and not mask[500, 2020] & ENGINE.sharp
    assert (flags_of(bits, 3-band)[0] & ~np.uint32(FLAGS.bright_off_edge) == 0).all()


def test_what_is_written_is_read(tile, tmp_path):
    images = [read(tile[0], band) for band in BANDS]
    spoilt = np.array(images[0].data)
    spoilt[5, 7] = np.nan
    first = Image.from_arrays(spoilt, np.array(images[0].ivar), images[0].dq, images[0].mask, wcs=images[0].wcs, band="W1",
                              meta=images[0].meta)
    write_images([first, images[1]], tmp_path/NAMES[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(NAMES[:-1])
    for band, old in zip(BANDS, (first, images[1])):
        new = read(tmp_path, band)
        assert (new.data == old.data).all() and (new.dq == old.dq).all() and (new.mask == old.mask).all()
        # what is stored is rounded to float32, as what is read
        assert new.ivar == pytest.approx(old.ivar, rel=1e-6) and (new.meta["seen"] == old.meta["seen"]).all()
    part = images[0].cutout(30, 130, 50, 120)
    (tmp_path/"part").mkdir()
    write_images([part], tmp_path/"part"/COADD)
    again = read(tmp_path/"part", 1)
    assert (again.data == part.data).all()
    assert np.allclose(again.wcs.all_pix2world(0, 0, 0), part.wcs.all_pix2world(30, 50, 0), rtol=0, atol=1e-9)


def test_the_inverse_variance_goes_to_and_fro():
    data, invvar = np.array([[-3., 0., 50., 8e4, 5.]], np.float32), np.array([[0.5, 0.01, 0.5, 0.5, 0.]])
    for band in BANDS:
        back = invvar_of(data, full_ivar(data, invvar, band), band)
        # at 80,000 the invvar's part of the variance is 1e-3, and float32 rounds the sum at 1e-7
        assert back == pytest.approx(invvar, rel=1e-3)
    # less noise than reading adds cannot be said: none is left
    assert full_ivar(data, invvar_of(data, np.full(data.shape, 1e3), 1), 1)[0, 0] == pytest.approx(1/0.5**2)


def test_every_flag_has_its_bit():
    for band in BANDS:
        for name in MASK_BITS:
            dq = np.full((1, 1), getattr(FLAGS, name), np.uint32)
            assert flags_of(bits_of(dq, np.zeros((1, 1), np.uint16), band), band)[0] == dq
        sharp = bits_of(np.zeros((1, 1), np.uint32), np.full((1, 1), ENGINE.sharp, np.uint16), band)
        assert [plane[0, 0] for plane in flags_of(sharp, band)] == [0, ENGINE.sharp]


def test_what_cannot_be_written(tile, tmp_path):
    image = read(tile[0], 1)
    for images in ([], [image, image]):
        with pytest.raises(InputError, match="no tile"):
            write_images(images, tmp_path/COADD)
    with pytest.raises(OutputError, match="exists already"):
        write_images([image], tile[0]/COADD)
    with pytest.raises(OutputError, match="end it with a tile's name"):
        write_images([image], tmp_path/"field.fits")


@pytest.mark.parametrize("out, changes, error, words", [
    ("1866p258", {}, InputError, "no tile of the unWISE atlas"), ("field.fits", {}, OutputError, "end it with a tile's name"),
    (COADD, dict(fwhm=3.), ConfigError, "fwhm of a WISE tile is the survey's"),
    (COADD, dict(shape=(9, 3000)), ConfigError, "2048"),
    (COADD, dict(slope=0.5), ConfigError, "slope"), (COADD, dict(detectors=("N4",)), InstrumentError, "no detectors N4")])
def test_what_cannot_be_simulated(tmp_path, out, changes, error, words):
    with pytest.raises(error, match=words):
        simulate_tile(tmp_path/out, **changes)
    assert list(tmp_path.iterdir()) == []


def test_numbers_go_with_the_area():
    assert configured({}).stars == 60000 and configured(dict(shape=(512, 512))).stars == 60000/16
    assert configured(dict(shape=(512, 512), stars=7.)).stars == 7 and configured(dict(shape=(9, 9))).saturated_stars == 1


def test_the_command_gives_the_same_bytes(tile, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["simulate", COADD, "--instrument", "wise", "--shape", "300", "320", "--stars", "600", "--brightest", "2000",
             "--saturated-stars", "1", "--saturated-peaks", "3", "3", "--seed", "5"]
    assert main(words) == 0
    assert capsys.readouterr().out.split() == NAMES
    for name, path in zip(NAMES, tile[1]):
        assert Path(name).read_bytes() == path.read_bytes()
    assert main(words) == 2 and "exists already" in capsys.readouterr().err


def test_the_true_psf_is_that_of_direct_evaluation():
    """Four samples a pixel against the model drawn with eight; the fit's two against the true four, between pixels."""
    pixels = PixelGrid(WCS(tile_header(COADD, (101, 101), 1)), (101, 101))
    true = conditions_of(pixels, 1, np.random.default_rng(1)).psf
    model = PolarModel.of(built_in(1))
    fine = replace(model, side=101).stamp(orientation(pixels.wcs, 50., 50.), 8)
    rng = np.random.default_rng(3)
    whole, eighths = rng.integers(40, 60, (2, 30)), rng.integers(-3, 4, (2, 30))
    x, y = whole+eighths/8
    middle = len(fine)//2
    at = 8*np.arange(-29, 30)
    norm = fine[np.ix_(middle+at, middle+at)].sum()
    direct = np.array([fine[np.ix_(middle+at-v, middle+at-u)] for u, v in eighths.T])/norm
    stamps = true.render(x, y, NORM)
    # quintic splines of four samples a pixel: 7e-6 of the peak
    assert np.abs(stamps-direct).max() < 2e-5*direct.max()
    fit = FieldPSF.of(profile_over(model, pixels, SAMPLES, NORM), norm_size=NORM)
    error = fit.render(x, y, NORM)-stamps
    # quintic splines of two samples a pixel of a star of 2.2 px: 2e-4 of the peak and 1e-5 of the flux
    assert 5e-5*direct.max() < np.abs(error).max() < 4e-4*direct.max()
    assert np.abs(error.sum(axis=(1, 2))).max() < 5e-5 and (TRUE_SAMPLES, FINER) == (2*SAMPLES, 2)


def test_stamps_leave_out_less_than_the_noise():
    s = conditions_of(PixelGrid(WCS(tile_header(COADD, (161, 161), 1)), (161, 161)), 1, np.random.default_rng(1))
    # each of a size of its own
    for flux in (20., 300., 3000., 30000.):
        image = np.zeros((161, 161), np.float32)
        add_stars(image, s, np.array([80.]), np.array([80.]), np.array([flux]))
        assert np.abs(image-flux*s.psf.stamp(161)).max() < 0.011*s.noise


@pytest.mark.parametrize("band", BANDS)
def test_a_fit_finds_the_stars(tile, tmp_path, band):
    out = tmp_path/"o.cat.fits"
    assert main(["wise", COADD, str(band), "--dir", str(tile[0]), "--out", str(out), "--quiet"]) == 0
    c = compare(Table.read(out, hdu="CAT"), truth_of(tile[0], band), avoid=read(tile[0], band).dq & FLAGS.crowdsat > 0)
    # some 250 and 90 stars above 10 sigma: pulls to 8 %, twice, and more for their tails
    assert c.found > 75 and c.spurious < 5 and abs(c.bias) < 1 and 0.8 < c.pull < 1.3 and 0.8 < c.position_pull < 1.25
