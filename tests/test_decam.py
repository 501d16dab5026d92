"""The DECam adapter: planes and their names, codes and bits, the unstable amplifier, facts of the headers, the command."""
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from crowdsource.instruments.decam import Decam
from crowdsource.instruments.decam.bits import FLAGS, decoded, version
from crowdsource.instruments.decam.exposure import band_of
from crowdsource.instruments.decam.names import ccd_names, image_of
from crowdsource.instruments.decam.seam import seam_step
from small_fields import NOISE, star_image, tan_wcs

from crowdsource.cli.main import main
from crowdsource.core.errors import DataFileError, InstrumentError
from crowdsource.core.flags import ENGINE
from crowdsource.io.fits import read_image
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.testing import InstrumentContract

SHAPE = (64, 80)
STEM = "c4d_170316_062107_{}_z_v1.fits"
SHARED = Path(__file__).resolve().parents[2]/"shared"/"data"/"decam"/"planes"


def write_exposure(folder, ccds=("N4", "S7"), plver="V4.8.2", rim=0, ending="", band="VR DECam c0007 6300.0 2600.0",
                   **changes):
    """The three planes of a small exposure; `changes` are functions of (ccd, plane) by the plane's letter.

    The stars have no wings, so that the filter is one without static wings.
    """
    for letter in "iwd":
        hdus = [fits.PrimaryHDU(header=fits.Header(dict(
            INSTRUME="DECam", PLVER=plver, EXPNUM="630780", FILTER=band, EXPTIME=107.,
            MAGZERO=29.9, **{"MJD-OBS": 57828.26})))]
        for number, ccd in enumerate(ccds):
            rng = np.random.default_rng(number)
            data = star_image(SHAPE, [20.3, 55.6], [30.2, 15.1], [6000., 3000.])
            data += rng.normal(0, 0.01, SHAPE)
            plane = dict(i=data, w=np.full(SHAPE, NOISE**-2), d=np.zeros(SHAPE, np.int16))[letter]
            plane = changes.get(letter, lambda _, p: p)(ccd, plane)
            if rim and letter != "i":
                plane = np.pad(plane, rim)
            header = tan_wcs(SHAPE).to_header()
            header.update(dict(FWHM=3.9+number, CCDNUM=7+number, BUNIT="adu"))
            hdus.append(fits.ImageHDU(plane.astype(np.int16 if letter == "d" else np.float32), header, name=ccd))
        fits.HDUList(hdus).writeto(folder/(STEM.format(f"oo{letter}")+ending))
    return str(folder/(STEM.format("ooi")+ending))


def read(path, ccd="N4", **options):
    exposure = Decam().open(str(path), **options)
    return exposure.read(next(t for t in exposure.tasks() if t.detector == ccd))


class TestContract(InstrumentContract):
    written = "c4d_170316_062107_ooi_z_again.fits"

    @pytest.fixture
    def sample(self, tmp_path):
        return Decam(), write_exposure(tmp_path), {}


@pytest.mark.parametrize("text, wanted", [
    ("V4.8.2", (4, 8)), ("DES 1.13.1", (1, 13)), ("4.8.2a", (4, 8)), ("5.2.2LS", (5, 2)), ("5.0beta", (5, 0)),
    ("V3.5.3+1", (3, 5)), ("V3.9", (3, 9)), ("", None), (None, None)])
def test_versions_as_they_come(text, wanted):
    assert version(text) == wanted


def test_codes_and_bits_of_one_frame_mean_the_same():
    codes = np.array([[0, 1, 3, 4, 5, 7]])
    bits = np.array([[0, 1, 2, 64, 16, 128]])
    assert (decoded(codes, "V4.8.2") == decoded(bits, "V3.3.0")).all()
    # a value that is no code tells of bits, whatever the header says
    assert (decoded(bits, "V3.5.3") == decoded(codes, "V3.5.3")).all()
    words = [], ["bad"], ["saturated"], ["bleed"], ["cosmic"], ["difference"]
    assert tuple(FLAGS.decode(v) for v in decoded(codes, None)[0]) == words


def test_old_frames_keep_every_bit(caplog):
    assert FLAGS.decode(decoded(np.array([[2+64+16]]), "V3.3.0")[0, 0]) == ["saturated", "bleed", "cosmic"]
    assert not caplog.records
    assert FLAGS.decode(decoded(np.array([[1 << 9]]), "V3.3.0")[0, 0]) == ["bad"]
    assert "without a meaning" in caplog.text


@pytest.mark.parametrize("plane", "iwd")
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_any_plane_stands_for_the_exposure(tmp_path, plane, ending):
    write_exposure(tmp_path, ccds=("N4",), ending=ending)
    exposure = Decam().open(str(tmp_path/(STEM.format(f"oo{plane}")+ending)))
    assert [p.name.split("_")[3] for p in exposure.inputs] == ["ooi", "oow", "ood"]
    assert image_of(tmp_path/"c4d_170316_062107") == exposure.image


def test_missing_planes_and_ccds_are_named(tmp_path):
    path = write_exposure(tmp_path)
    with pytest.raises(DataFileError, match="no CCD N9; it has N4, S7"):
        Decam().open(path, ccds="N9")
    with pytest.raises(InstrumentError, match="N4 S7"):
        Decam().open(path, ccds="north")
    assert ccd_names("n4, S7") == ccd_names(["n4", "S7"]) == ("N4", "S7")
    elsewhere = tmp_path/"elsewhere.fits"
    (tmp_path/STEM.format("ood")).rename(elsewhere)
    with pytest.raises(DataFileError, match="`dq_plane=FILE`"):
        Decam().open(path)
    assert read(path, dq_plane=str(elsewhere)).good.all()


@pytest.mark.parametrize("hdu", ["S7", "2", "s7"])
@pytest.mark.parametrize("plane", "iwd")
def test_an_hdu_of_any_plane_is_that_ccd_only(tmp_path, hdu, plane):
    write_exposure(tmp_path)
    exposure = Decam().open(f"{tmp_path/STEM.format('oo'+plane)}:{hdu}")
    assert [t.detector for t in exposure.tasks()] == ["S7"] and dict(exposure.options)["ccds"] == ("S7",)
    assert exposure.read(exposure.tasks()[0]).meta["ccdnum"] == 8
    assert [t.detector for t in Decam().open(f"{tmp_path/'c4d_170316_062107'}:{hdu}").tasks()] == ["S7"]
    assert exposure.image.name == STEM.format("ooi") and exposure.identity == "decam-630780"


@pytest.mark.parametrize("hdu, message", [
    ("N9", "has no HDU N9"), ("7", "has no HDU 7"), ("0", "holds no image"), ("N4:0", "name the HDU only"),
    (":0", "name the HDU only"), ("N4:0:1", "cannot be read as FILE"), ("GUIDE", "is no CCD of the image's; it has N4, S7")])
def test_hdus_that_are_no_ccd_are_refused(tmp_path, hdu, message):
    path = write_exposure(tmp_path)
    fits.append(path, np.zeros(SHAPE, np.float32), fits.Header(dict(EXTNAME="GUIDE")))
    with pytest.raises(DataFileError, match=message):
        Decam().open(f"{path}:{hdu}")
    with pytest.raises(InstrumentError, match="name them once"):
        Decam().open(f"{path}:N4", ccds="N4")


def test_an_hdu_of_another_plane_is_for_one_ccd(tmp_path):
    path = write_exposure(tmp_path)
    good = np.zeros(SHAPE, np.int16)
    bad = good.copy()
    bad[7, 9] = 1
    fits.HDUList([fits.PrimaryHDU(good), fits.ImageHDU(bad, name="MINE")]).writeto(tmp_path/"dq.fits")
    for hdu, spoiled in (("0", False), ("1", True), ("MINE", True)):
        image = read(path, dq_plane=f"{tmp_path/'dq.fits'}:{hdu}", ccds="N4")
        assert image.good[7, 9] != spoiled and image.good.sum() == image.good.size-spoiled
    assert read(f"{path}:N4", weight_plane=f"{tmp_path/STEM.format('oow')}:S7").good.all()
    with pytest.raises(DataFileError, match="has no HDU YOURS"):
        read(path, dq_plane=f"{tmp_path/'dq.fits'}:YOURS", ccds="N4")
    with pytest.raises(InstrumentError, match="given for 2 CCDs; name one"):
        Decam().open(path, dq_plane=f"{tmp_path/'dq.fits'}:MINE")


def test_the_command_takes_an_hdu(tmp_path, capsys):
    path = write_exposure(tmp_path)
    assert main(["decam", f"{path}:S7", "--out", str(tmp_path/"out.fits"), "--quiet"]) == 0
    with fits.open(tmp_path/"out.fits") as hdus:
        assert "S7_CAT" in hdus and "N4_CAT" not in hdus
    assert main(["decam", f"{path}:N9", "--out", str(tmp_path/"other.fits")]) == 2
    assert "it has no HDU N9; it has images in HDU 1 (N4), 2 (S7)" in capsys.readouterr().err


def test_pixels_that_may_not_be_used(tmp_path):
    def flagged(_, plane):
        plane[5, 5], plane[6, 6], plane[30, 20] = 5, 7, 3
        return plane

    def weak(_, plane):
        plane[8, 8], plane[9, 9] = 0, 1e-9
        return plane

    def broken(_, plane):
        plane[10, 10] = np.nan
        return plane

    path = write_exposure(tmp_path, d=flagged, w=weak, i=broken)
    image = read(path)
    assert sorted(zip(*np.nonzero(~image.good))) == [(5, 5), (8, 8), (10, 10), (30, 20)]
    assert FLAGS.decode(image.dq[6, 6]) == ["difference"] and image.mask[30, 20] & ENGINE.saturated
    assert not read(path, wcutoff=1e-6).good[9, 9]


def test_planes_with_a_rim_are_trimmed(tmp_path):
    image = read(write_exposure(tmp_path, rim=1))
    assert image.shape == SHAPE and image.good.all()
    (tmp_path/"odd").mkdir()
    with pytest.raises(DataFileError, match="planes of one exposure"):
        read(write_exposure(tmp_path/"odd", rim=3))


def test_facts_of_the_headers(tmp_path):
    path = write_exposure(tmp_path, band="z DECam SDSS c0004 9260.0 1520.0")
    exposure, image = Decam().open(path), read(path)
    assert (image.band, image.exptime, image.zeropoint, image.exposure, image.detector) == ("z", 107, 29.9, "decam-630780", "N4")
    assert image.gain == pytest.approx(np.median(image.data*image.ivar))
    assert (exposure.fwhm("N4"), exposure.fwhm("S7")) == (3.9, 4.9)
    assert Decam().psf_prior(image).fwhm() == pytest.approx(3.9, rel=0.05)
    assert Decam().claims(path, fits.getheader(path)) and not Decam().claims("x.fits", fits.getheader(path))
    assert band_of(read_image(path)) == "z"


def test_the_fwhm_of_a_ccd_does_not_depend_on_which_are_fitted(tmp_path):
    path = write_exposure(tmp_path, ccds=("N4", "S7", "N5", "N6"))
    with fits.open(path, mode="update") as hdus:
        hdus["N5"].header["FWHM"] = 40.
        del hdus["N6"].header["FWHM"]
    # 40 is more than 1.5 times the median of 3.9, 4.9 and 40
    for chosen in (None, "N5 N6", "N5"):
        assert Decam().open(path, ccds=chosen).fwhm("N5") == 4.9
    assert read(path, "N6", ccds="N6").meta["fwhm"] == 4.9


def test_the_unstable_half_is_brought_to_the_stable_one(tmp_path):
    def stepped(ccd, plane):
        y = np.linspace(-1, 1, SHAPE[0])[:, None]
        plane[:, SHAPE[1]//2:] += 25+5*y
        return plane

    path = write_exposure(tmp_path, i=stepped)
    image = read(path, "S7")
    sky = np.median(image.data[40:, :30]), np.median(image.data[40:, -30:])
    # eight rows a block, and one of the two stars reaches the seam
    assert sky[1]-sky[0] == pytest.approx(0, abs=2)
    assert (image.dq & FLAGS.s7unstable > 0).sum() == SHAPE[0]*SHAPE[1]//2
    # no other CCD is touched
    other = read(path, "N4")
    assert np.median(other.data[40:, -30:])-np.median(other.data[40:, :30]) > 20 and not (other.dq & FLAGS.s7unstable).any()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stars_and_nebulae_on_the_seam_are_no_step(seed):
    config = SimulationConfig(shape=(2048, 160), stars=2500., saturated_stars=4, nebulosity=40., nebulosity_scale=40., seed=seed)
    sim = simulate_field(config)
    step = 25+10*np.linspace(-1, 1, 2048)
    data = sim.data.copy()
    data[:, 80:] += step[:, None]
    # the noise of a pixel is 9, and the structure crosses the seam
    assert np.abs(seam_step(data, sim.ivar > 0)-step).max() < 5
    assert (seam_step(data, sim.ivar > 0)-step).mean() == pytest.approx(0, abs=2.5)


def test_a_seam_without_good_pixels_is_no_step():
    assert not seam_step(np.ones((20, 30)), np.zeros((20, 30), bool)).any()


def test_the_command_fits_every_ccd_and_reports_the_bad_one(tmp_path, capsys):
    path = write_exposure(tmp_path, ccds=("N4", "S7", "N5"), w=lambda ccd, plane: plane*(ccd != "N5"))
    assert main(["decam", path, "--out", str(tmp_path/"out.fits"), "--quiet"]) == 1
    assert "N5" in capsys.readouterr().err
    with fits.open(tmp_path/"out.fits") as hdus:
        assert {"N4_CAT", "S7_CAT"} < {h.name for h in hdus} and "N5_CAT" not in hdus
        assert (hdus["S7_HDR"].header["ZPCRWD"], hdus["S7_HDR"].header["ZPCALIB"]) == (29.9, False)
    catalog = Table.read(tmp_path/"out.fits", hdu="S7_CAT")
    assert (catalog["detection_id"]-(630780*2**39+8*2**32) == np.arange(len(catalog))).all()
    assert len(catalog) == 2 and (catalog["gain"] > 0).all()


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real planes beside this project")
@pytest.mark.parametrize("name, ccd, good", [
    ("c4d_130105_065255_ooi_r_a1-N15.fits.fz", "N15", 0.9), ("c4d_140818_232043_ooi_z_v2-N12.fits", "N12", 0.9),
    ("c4d_170316_062107_ooi_z_ls9.N2.fits", "N2", 0.9)])
def test_real_planes(name, ccd, good):
    image = read(SHARED/name, ccd)
    assert image.good.mean() > good and image.wcs is not None and image.detector == ccd


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real planes beside this project")
def test_a_real_frame_as_codes_and_as_bits():
    folder = SHARED/"dq_bits_vs_codes"
    one, two = (read(folder/"c4d_150110_053718_ooi_z_v1-S4.fits", "S4",
                     dq_plane=str(folder/kind/"c4d_150110_053718_ood_z_v1-S4.fits")) for kind in ("codes", "bits"))
    assert (one.dq == two.dq).all() and (one.ivar == two.ivar).all() and (one.dq > 0).any()
