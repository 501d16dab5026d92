"""The WISE adapter: files wherever they lie, noise, saturation, flags, identifiers, the command."""
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from crowdsource.instruments.wise import Wise
from crowdsource.instruments.wise.bits import FLAGS, MASK_BITS, flags_of
from crowdsource.instruments.wise.names import files_of
from crowdsource.instruments.wise.noise import crowd_saturated, full_ivar
from crowdsource.instruments.wise.psf import Orientation, PolarModel, built_in, orientation

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.config import FitConfig
from crowdsource.core.errors import CrowdsourceError, DataFileError, InputError, InstrumentError
from crowdsource.core.flags import ENGINE
from crowdsource.testing import InstrumentContract

SHARED = Path(__file__).resolve().parents[2]/"shared"/"data"/"wise"
COADD, SHAPE = "1866p257", (90, 110)
X, Y, FLUX = (30.3, 70.6, 55.1), (20.2, 60.7, 41.4), (3000., 8000., 900.)


def header():
    h = fits.Header(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=186.667667, CRVAL2=25.745556, CRPIX1=103.5, CRPIX2=384.5))
    h.update(dict(CD1_1=-2.75/3600, CD1_2=0., CD2_1=0., CD2_2=2.75/3600, MAGZP=22.5, MJDMIN=55356., MJDMAX=58266., BAND=1))
    return h


@cache
def stars(band):
    """Stars of the built-in model where and as the scans pass."""
    from astropy.wcs import WCS

    from crowdsource.psf.model import FieldPSF
    from crowdsource.psf.profiles.gridded import GridProfile
    stamp = PolarModel.of(built_in(band)).stamp(orientation(WCS(header()), 50., 40.), 2)
    image = np.zeros(SHAPE, np.float32)
    psf = FieldPSF.of(GridProfile.from_nodes(stamp[None, None], SHAPE, 2))
    psf.add_to(image, np.array(X), np.array(Y), np.array(FLUX), 161)
    return image


def write_tile(folder, band=1, skip=(), **changes):
    """The files of a small tile; `changes` are functions of a plane by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(band)
    planes = {"img-m": stars(band)+rng.normal(0, 1.5, SHAPE), "invvar-m": np.full(SHAPE, 1/1.4**2), "n-m": np.full(SHAPE, 150),
              "n-u": np.full(SHAPE, 160), "msk": np.zeros(SHAPE, np.int32)}
    for name in (n for n in planes if n not in skip):
        plane = changes.get(name.replace("-", "_"), lambda p: p)(planes[name])
        file = f"unwise-{COADD}-msk.fits.gz" if name == "msk" else f"unwise-{COADD}-w{band}-{name}.fits"
        dtype = np.float32 if name in ("img-m", "invvar-m") else np.int32 if name == "msk" else np.int16
        fits.PrimaryHDU(plane.astype(dtype), header()).writeto(folder/file)
    return folder/f"unwise-{COADD}-w{band}-img-m.fits"


def read(path, **options):
    exposure = Wise().open(str(path), **options)
    return exposure.read(exposure.tasks()[0])


class TestContract(InstrumentContract):
    written = f"unwise-{COADD}-w1-img-m.fits"

    @pytest.fixture
    def sample(self, tmp_path):
        return Wise(), str(write_tile(tmp_path/"sample")), {}

    def test_missing_file_is_an_error_of_ours(self, tmp_path):
        with pytest.raises(CrowdsourceError, match="no img-m plane of 1866p257"):
            Wise().open(COADD, band=1, dir=str(tmp_path))


def test_files_are_found_flat_nested_and_by_epoch(tmp_path):
    write_tile(tmp_path/"flat")
    write_tile(tmp_path/"deep"/"186"/COADD)
    write_tile(tmp_path/"epochs"/"e005"/"186"/COADD, skip=("msk",))
    write_tile(tmp_path/"epochs"/"fulldepth"/"186"/COADD, 2)
    for folder in ("flat", "deep"):
        assert Wise().open(COADD, band=1, dir=str(tmp_path/folder)).identity == "1866p257w1"
    exposure = Wise().open(COADD, band="w1", dir=str(tmp_path/"epochs"), epoch=5)
    assert exposure.identity == "1866p257w1e005" and len(exposure.inputs) == 5
    assert "fulldepth" in str(files_of(tmp_path/"epochs", COADD, 1, 5)["msk"])


def test_the_name_of_the_image_is_enough(tmp_path, monkeypatch):
    path = write_tile(tmp_path/"tiles")
    monkeypatch.chdir(tmp_path)
    image = cs.read_image("tiles/"+path.name)
    assert image.meta["instrument"].name == "wise" and np.array_equal(image.ivar, read(path).ivar)
    next(path.parent.glob("*n-m*")).unlink()
    with pytest.raises(DataFileError, match="no n-m plane .* have the image read by generic, which takes what there is"):
        cs.read_image(path)
    image = cs.read_image(path, instrument="generic")
    assert image.magnitude_system == "AB" and not image.ivar_estimated


def test_missing_planes_are_named_or_allowed(tmp_path):
    path = write_tile(tmp_path, skip=("msk", "n-u"))
    with pytest.raises(DataFileError, match=r"no n-u plane .*`allow_missing=True`"):
        Wise().open(str(path))
    assert read(path, allow_missing=True).good.all()
    path.unlink()
    with pytest.raises(DataFileError, match="no img-m plane"):
        Wise().open(COADD, band=1, dir=str(tmp_path), allow_missing=True)


@pytest.mark.parametrize("subject, options, error, words", [
    ("1866p258", dict(band=1), InputError, "no tile of the unWISE atlas"),
    ("stars.fits", dict(band=1), InstrumentError, "no tile; name"),
    (COADD, dict(band=3), InstrumentError, "W3 and W4"), (COADD, {}, InstrumentError, "the band is missing"),
    (COADD, dict(band=1, epoch=-1), InstrumentError, "0 to 254")])
def test_what_cannot_be_opened(subject, options, error, words):
    with pytest.raises(error, match=words):
        Wise().open(subject, **options)


def test_noise_that_the_inverse_variance_leaves_out():
    ivar = full_ivar(np.array([-5., 100., 100., 1.]), np.array([0.5, 0.5, 0., np.nan]), 1)
    assert ivar == pytest.approx([1/(2+0.25), 1/(2+0.25+0.15**2*100), 0, 0])
    assert full_ivar(np.array([100.]), np.array([0.5]), 2) == pytest.approx(1/(2+4+0.09*100))


@pytest.mark.parametrize("band", [1, 2])
def test_every_bit_of_the_mask_has_its_flag(band):
    for name, bits in MASK_BITS.items():
        for bit in bits[band-1]:
            dq, _ = flags_of(np.array([[1 << bit]]), band)
            assert FLAGS.decode(dq[0, 0]) == [name]
    # bits of the other band alone say nothing
    other = {b for bits in MASK_BITS.values() for b in bits[2-band]}-{b for bits in MASK_BITS.values() for b in bits[band-1]}
    assert all(flags_of(np.array([[1 << b]]), band)[0] == 0 for b in other)
    for bit, wanted in ((9, ENGINE.nodeblend), (7, ENGINE.sharp), (8, ENGINE.sharp), (10, 0)):
        assert flags_of(np.array([[1 << bit]]), band)[1] == wanted


def test_saturation_is_told_by_mask_value_and_exposures():
    data, bits, kept, every = np.zeros((40, 40)), np.zeros((40, 40), int), np.full((40, 40), 9), np.full((40, 40), 9)
    data[5, 5], bits[20, 20], kept[35, 5], kept[5, 35], every[5, 35] = 90000, 1 << 4, 0, 0, 1
    where = crowd_saturated(data, bits, (kept, every), 1)
    # discs of 3 px: 29 pixels each; the fourth was seen once only
    assert where.sum() == 3*29 and where[5, 8] and where[20, 23] and where[35, 2] and not where[5, 35]


def test_the_image(tmp_path):
    def masked(plane):
        plane[40, 50] |= 1 << 4
        return plane

    image = read(write_tile(tmp_path, msk=masked))
    assert (image.band, image.zeropoint, image.magnitude_system, image.mjd) == ("W1", 22.5, "Vega", pytest.approx(56811))
    assert not image.good[40, 53] and image.good[40, 54] and image.mask[40, 50] & ENGINE.saturated
    assert FLAGS.decode(image.dq[40, 50]) == ["saturation", "crowdsat"] and FLAGS.decode(image.dq[40, 52]) == ["crowdsat"]


def test_planes_of_different_shapes_are_refused(tmp_path):
    with pytest.raises(DataFileError, match="files of one tile"):
        read(write_tile(tmp_path, n_m=lambda p: p[:-1]))


def test_the_command_gives_the_catalog(tmp_path):
    write_tile(tmp_path)
    out = tmp_path/"o.cat.fits"
    assert main(["wise", COADD, "1", "--dir", str(tmp_path), "--out", str(out), "--release", "1", "--quiet"]) == 0
    rows = Table.read(out, hdu="CAT")
    rows = rows[np.argsort(-rows["flux"])][:3]
    assert rows["x"] == pytest.approx(np.array(X)[[1, 0, 2]], abs=0.05)
    # noise of 2 to 60 counts a pixel, over some 20 pixels
    assert np.abs((rows["flux"]-np.array(FLUX)[[1, 0, 2]])/rows["dflux"]).max() < 4
    assert rows["flux"] == pytest.approx(np.array(FLUX)[[1, 0, 2]], rel=0.05)
    assert rows["mag"] == pytest.approx(22.5-2.5*np.log10(rows["flux"]), abs=1e-4)
    assert {str(v) for v in rows["coadd_id"]} == {COADD} and (rows["band"] == 1).all() and (rows["nm"] == 150).all()
    assert sorted(str(v) for v in rows["unwise_detid"])[0] == "1866p257w1o0000000r1"
    assert rows["primary"].dtype == bool and len(set(rows["detection_id"])) == 3
    assert (rows["detection_id"] >> 40 & 1 == 0).all()


def test_flags_reach_the_catalog(tmp_path, capsys):
    def masked(plane):
        plane[:] |= 1 << 27 | 1 << 9
        return plane

    write_tile(tmp_path, msk=masked)
    out = tmp_path/"o.cat.fits"
    assert main(["wise", COADD, "1", "--dir", str(tmp_path), "--out", str(out), "--quiet"]) == 0
    rows, header = Table.read(out, hdu="CAT"), fits.getheader(out)
    assert (header["BAND"], header["MAGSYS"]) == ("W1", "Vega")
    assert (rows["flags_unwise"] == 1 << 1).all() and (rows["flags_info"] == (1 << 1 | 1 << 6)).all()
    assert main(["flags", "514", "--instrument", "wise"]) == 0
    assert capsys.readouterr().out == "psf_spike resolved_galaxy\n"


def test_the_largest_stamps_hold_the_whole_psf(tmp_path):
    image = read(write_tile(tmp_path))
    sizes = Wise().fit_config(image, FitConfig()).solve.stamp_sizes
    psf = Wise().psf_prior(image)
    beyond = [psf.stamp(325).sum()-psf.stamp(size).sum() for size in sizes[-2:]]
    # the model fades out at its rim; a star at saturation has 600,000: stamps of 149 px would leave 1,000 of them
    assert beyond[0] > 1e-3 and beyond[1] < 1e-4


def test_bright_stars_by_their_k_magnitudes(tmp_path):
    image = read(write_tile(tmp_path))
    table = Table(dict(x=[30., 70., 55., 9.], y=[20., 60., 41., 9.], Kmag=[4.9, 5.0, 2.0, np.nan], mag=[9., 1., 1., 1.]))
    rows = Wise().bright_stars(image, table)
    assert list(rows["x"]) == [30, 55]
    table.rename_column("Kmag", "h_m")
    with pytest.raises(InputError, match="no K magnitudes; name their column k_m or kmag"):
        Wise().bright_stars(image, table)
    table["k_m"] = np.ma.masked_equal([1., 9., 9., 9.], 9.)
    assert list(Wise().bright_stars(image, table)["x"]) == [30]


def test_bright_stars_reach_the_fit(tmp_path, capsys):
    write_tile(tmp_path)
    Table(dict(x=X[:2], y=Y[:2], k_m=[3., 7.])).write(tmp_path/"k.csv")
    command = ["wise", COADD, "1", "--dir", str(tmp_path), "--out", str(tmp_path/"o.fits"), "--bright-stars", f"{tmp_path}/k.csv"]
    assert main([*command, "--dry-run"]) == 0
    assert "1 bright stars of" in capsys.readouterr().out
    assert main([*command, "--quiet"]) == 0


def test_structured_background_splits_blends(tmp_path, monkeypatch):
    from crowdsource.engine import stages
    from crowdsource.nebulosity.find import Structure
    monkeypatch.setattr(stages, "find", lambda image, *_: Structure(np.ones(image.shape, bool)))
    write_tile(tmp_path)
    out = tmp_path/"o.cat.fits"
    assert main(["wise", COADD, "1", "--dir", str(tmp_path), "--out", str(out), "--nebulosity", "detect", "--quiet"]) == 0
    rows = Table.read(out, hdu="CAT")
    # bits 13 and 15 are 5 and 7 of the second column
    assert len(rows) == 3 and (rows["flags_info"] == (1 << 5 | 1 << 7)).all()
    assert (np.asarray(rows["flags"]) >> 32 & ENGINE.nodeblend == 0).all()


def test_a_network_of_three_classes_gives_three_columns(tmp_path):
    from tiny_network import layers, write_network
    write_tile(tmp_path)
    write_network(tmp_path/"net.json", layers(3), out=[np.zeros((6, 3)), np.log([0.2, 0.3, 0.5])])
    out = tmp_path/"o.cat.fits"
    assert main(["wise", COADD, "1", "--dir", str(tmp_path), "--out", str(out), "--nebulosity", str(tmp_path/"net.h5"), "--quiet",
                 "--model-out", str(tmp_path/"m.fits")]) == 0
    rows = Table.read(out, hdu="CAT")
    assert [n for n in rows.colnames if n.startswith("prob_")] == ["prob_nebulosity", "prob_light", "prob_normal"]
    assert [rows[f"prob_{n}"][0] for n in ("nebulosity", "light", "normal")] == pytest.approx([0.5, 0.2, 0.3], abs=1e-5)
    # half of 0.5 is not the largest
    assert (rows["flags_info"] == 0).all()
    with fits.open(tmp_path/"m.fits") as hdus:
        assert [h.name for h in hdus[4:]] == ["PROB_NEBULOSITY", "PROB_LIGHT", "PROB_NORMAL"]



@pytest.mark.skipif(not SHARED.is_dir(), reason="no real coadds beside this project")
@pytest.mark.parametrize("band", [1, 2])
def test_real_cutouts(tmp_path, band):
    out = tmp_path/"o.cat.fits"
    folders = ["--dir", str(SHARED/"coadd"), "--psf-dir", str(SHARED/"psf")]
    assert main(["wise", COADD, str(band), *folders, "--out", str(out), "--quiet"]) == 0
    rows = Table.read(out, hdu="CAT")
    assert len(rows) >= 5 and (rows["nm"] > 140).all() and (rows["flags_unwise"] == 0).all()
    assert np.hypot(rows["ra"][0]-186.7, rows["dec"][0]-25.5) < 0.5
    image = read(SHARED/"coadd"/f"unwise-{COADD}-w{band}-img-m.fits")
    where = orientation(image.wcs, 12., 12.)
    # a cut-out far from the tile's middle is turned a little less than it
    assert where.angle == pytest.approx(26.1, abs=1) and where.latitude != pytest.approx(26.11, abs=0.01)
    assert isinstance(where, Orientation)
