"""Simulated exposures of DECam: files, headers, world coordinates, truth; planes of images written again."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from crowdsource.instruments.decam import Decam
from crowdsource.instruments.decam.bits import FLAGS, codes_of, decoded
from crowdsource.instruments.decam.layout import SHAPE, all_ccds, ccd_of, wcs_cards
from crowdsource.instruments.decam.seam import seam_step
from crowdsource.instruments.decam.simulation import DEFAULTS, S7_STEP, configured, simulate_exposure
from crowdsource.instruments.decam.writing import write_images

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, InputError, InstrumentError, OutputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.validate.evaluate import compare

NAME = "c4d_170316_062107_ooi_z_v1.fits"
FILES = [NAME, NAME.replace("ooi", "oow"), NAME.replace("ooi", "ood"), NAME.replace(".fits", "_truth.fits")]
SMALL = dict(shape=(260, 220), stars=300., nebula_scales=(5., 20.), seed=6)


@pytest.fixture(scope="module")
def exposure(tmp_path_factory):
    """(folder, what it returned) of an exposure of two CCDs."""
    folder = tmp_path_factory.mktemp("exposure")
    return folder, simulate_exposure(folder/NAME, ("N4", "S7"), cosmic_rays=12., **SMALL)


def opened(path, ccd, plane="i"):
    """Pixels and header of a CCD's plane."""
    with fits.open(Path(path)/NAME.replace("ooi", f"oo{plane}")) as hdus:
        return np.array(hdus[ccd].data), hdus[ccd].header


def truth_of(folder, ccd):
    return Table.read(folder/NAME.replace(".fits", "_truth.fits"), hdu=ccd)


def test_ccds_lie_where_real_headers_say():
    ccds = all_ccds()
    assert len(ccds) == 62 and [c.number for c in ccds.values()] == list(range(1, 63))
    # CCDNUM and DETSEC less its margin of 4 pixels, from headers of the pipeline
    for name, number, corner in (("S4", 28, (12288, 12288)), ("N2", 33, (14336, 4096)), ("N12", 43, (16384, 18432)),
                                 ("N15", 46, (18432, 6144)), ("S29", 1, (2048, 8192)), ("S7", 31, (12288, 24576))):
        assert (ccds[name].number, ccds[name].corner) == (number, corner)
    # CENRA1, CENDEC1 of N2 less CRVAL in a real exposure: -0.622 and -0.083 degrees; the pointing differs by some arcseconds
    assert np.array([ccds["N2"].y, -ccds["N2"].x])*0.2623/3600 == pytest.approx([-0.622, -0.083], abs=0.003)


def test_ccds_do_not_overlap_on_the_sky():
    ccds = list(all_ccds().values())
    centres = np.array([(c.x, c.y) for c in ccds])
    for k, centre in enumerate(centres):
        apart = np.abs(np.delete(centres, k, 0)-centre)
        assert ((apart[:, 0] > SHAPE[1]) | (apart[:, 1] > SHAPE[0])).all()


@pytest.mark.parametrize("name", ["N4", "S7", "S29", "N31"])
def test_world_coordinates_go_to_and_fro(name):
    wcs = WCS(wcs_cards(ccd_of(name), SHAPE, (266.4, -29.), 0.2623))
    x, y = np.meshgrid([0, 1022.3, 2045], [0, 2047.7, 4093])
    again = wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
    assert np.allclose(again, [x, y], atol=0.01)
    scale = np.hypot(*(np.diff(wcs.all_pix2world([1000, 1001], [2000, 2000], 0))[:, 0]*[np.cos(np.radians(29)), 1]))*3600
    # the distortion is below 1 % at a degree; the cosine of the declination is the field's middle's
    assert scale == pytest.approx(0.2623, rel=0.02)


def test_files_are_laid_out_as_the_pipelines(exposure):
    folder, files = exposure
    assert [p.name for p in files] == FILES and sorted(files) == sorted(folder.iterdir())
    assert Decam().open(str(folder/"c4d_170316_062107")).image == files[0]
    for path, kind in zip(files[:3], "ffi"):
        with fits.open(path) as hdus:
            assert [h.name for h in hdus] == ["PRIMARY", "N4", "S7"]
            head = hdus[0].header
            assert (head["INSTRUME"], head["PLVER"], head["EXPTIME"], head["NEXTEND"]) == ("DECam", "V4.8.2", 107, 2)
            assert head["FILTER"] == "z DECam SDSS c0004 9260.0 1520.0" and head["DATE-OBS"].startswith("2017-03-16T06:21:07")
            assert (head["TELRA"], head["TELDEC"]) == ("17:45:36.00", "-29:00:00.00")
            assert head["MJD-OBS"] == pytest.approx(57828.26466, abs=1e-5)
            for hdu, number in zip(hdus[1:], (35, 31)):
                assert hdu.data.shape == (260, 220) and hdu.data.dtype.kind == kind and hdu.header["CCDNUM"] == number
                assert hdu.header["CTYPE1"] == "RA---TPV" and hdu.header["PV2_10"] == 0
                assert {"GAINA", "RDNOISEB", "SATURATA", "FWHM", "DETSEC", "WAT1_001"} <= set(hdu.header)


def test_truth_lies_where_the_headers_say(exposure):
    folder, _ = exposure
    for ccd in ("N4", "S7"):
        truth, (_, header) = truth_of(folder, ccd), opened(folder, ccd)
        x, y = WCS(header).all_world2pix(truth["ra"], truth["dec"], 0)
        assert np.allclose(x, truth["x"], atol=0.01) and np.allclose(y, truth["y"], atol=0.01)
        assert np.allclose([header["COR4RA1"], header["COR4DEC1"]], WCS(header).all_pix2world(219, 259, 0), rtol=0, atol=1e-9)
        assert 0 < np.mean(truth["nebulosity"] > 0) < 1 and truth.meta["FLUX5"] > 0 and len(truth) > 500


def test_the_adapter_reads_what_the_simulation_flags(exposure):
    folder, _ = exposure
    instrument = Decam().open(str(folder/NAME))
    for task in instrument.tasks():
        image = instrument.read(task)
        codes, _ = opened(folder, task.detector, "d")
        weight, header = opened(folder, task.detector, "w")
        assert set(np.unique(codes)) == {0, 1, 3, 4, 5} and (weight[codes > 0] == 0).all() and (weight[codes == 0] > 0).all()
        assert np.array_equal(image.good, codes == 0)
        assert np.array_equal(image.mask & ENGINE.saturated > 0, codes == 3)
        assert np.array_equal(image.dq & FLAGS.cosmic > 0, codes == 5) and header["NSATPIX"] == (codes == 3).sum() > 0
        assert image.gain == pytest.approx(3.9, rel=0.03) and (image.band, image.zeropoint) == ("z", 29.9)


def test_the_step_of_s7_is_there_and_the_adapter_takes_it_off(tmp_path):
    # a flat sky alone; stars and nebulae have differences of their own across the seam
    quiet = dict(shape=(1000, 80), stars=0., nebula_area=0., nebulosity=0., sky_gradient=(0., 0.), saturated_stars=0,
                 bad_columns=0, cosmic_rays=0., rim=0)
    simulate_exposure(tmp_path/NAME, ("S7", "N4"), **quiet)
    data, _ = opened(tmp_path, "S7")
    step = seam_step(data, np.ones(data.shape, bool))
    meta = truth_of(tmp_path, "S7").meta
    assert (meta["STEPLOW"], meta["STEPHIGH"]) == (S7_STEP[0]-S7_STEP[1], S7_STEP[0]+S7_STEP[1])
    # dark pixels of blocks of rows, noise 29: some 2 counts at the ends
    assert step[[0, -1]] == pytest.approx([meta["STEPLOW"], meta["STEPHIGH"]], abs=4)
    exposure = Decam().open(str(tmp_path/NAME))
    image = exposure.read(exposure.tasks()[0])
    for rows in (image.data[:300], image.data[-300:]):
        # means of 12,000 pixels scatter by 0.3, and the step by what is said above
        assert rows[:, 40:].mean()-rows[:, :40].mean() == pytest.approx(0, abs=4)
    assert "STEPLOW" not in truth_of(tmp_path, "N4").meta


def test_a_ccd_is_the_same_whichever_others_are_made(exposure, tmp_path):
    folder, _ = exposure
    simulate_exposure(tmp_path/NAME, ("S7",), cosmic_rays=12., **SMALL)
    for plane in "iwd":
        assert np.array_equal(opened(folder, "S7", plane)[0], opened(tmp_path, "S7", plane)[0])
    assert not np.array_equal(opened(folder, "N4")[0], opened(folder, "S7")[0])


def test_compressed_files_hold_the_same_to_a_part_of_the_noise(exposure, tmp_path):
    folder, _ = exposure
    files = simulate_exposure(tmp_path/f"{NAME}.fz", ("N4",), cosmic_rays=12., **SMALL)
    assert [p.suffix for p in files] == [".fz", ".fz", ".fz", ".fits"]
    one, two = (Decam().open(str(p)) for p in (folder/NAME, tmp_path/f"{NAME}.fz"))
    one, two = (e.read(e.tasks()[0]) for e in (one, two))
    assert np.array_equal(one.dq, two.dq) and np.array_equal(one.good, two.good)
    # half of a step, which is a quarter of a row's scatter: that of the noise, or up to twice as much where there are stars
    assert np.max(np.abs(one.data-two.data)[one.good]) < 0.3*one.noise
    with fits.open(files[0], disable_image_compression=True) as hdus:
        assert hdus[1].header["ZCMPTYPE"] == "RICE_1"
    before = [p.read_bytes() for p in files[:3]]
    simulate_exposure(tmp_path/f"{NAME}.fz", ("N4",), overwrite=True, cosmic_rays=12., **SMALL)
    assert [p.read_bytes() for p in files[:3]] == before


def test_numbers_of_a_whole_ccd_go_with_the_area():
    assert configured({}) == DEFAULTS
    half = configured(dict(shape=(2047, 2046)))
    assert (half.stars, half.cosmic_rays, half.bad_columns, half.saturated_stars) == (30000, 75, 2, 5)
    assert configured(dict(shape=(2047, 2046), stars=7.)).stars == 7


def test_errors_leave_nothing_behind(tmp_path):
    with pytest.raises(OutputError, match="name it as c4d_170316_062107_ooi_z_v1.fits"):
        simulate_exposure(tmp_path/"field.fits", **SMALL)
    with pytest.raises(OutputError, match="one of the filters u, g, r"):
        simulate_exposure(tmp_path/NAME.replace("_z_", "_q_"), **SMALL)
    with pytest.raises(InstrumentError, match="no CCD 'N32'"):
        simulate_exposure(tmp_path/NAME, ("N32",), **SMALL)
    with pytest.raises(InstrumentError, match="N4 is named twice"):
        simulate_exposure(tmp_path/NAME, ("N4", "S7", "N4"), **SMALL)
    with pytest.raises(ConfigError, match="stars must not be negative"):
        simulate_exposure(tmp_path/NAME, stars=-1.)
    assert list(tmp_path.iterdir()) == []
    (tmp_path/NAME.replace("ooi", "ood")).write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        simulate_exposure(tmp_path/NAME, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == [NAME.replace("ooi", "ood")]


def test_codes_keep_the_gravest_flag():
    bits = np.array([[0, FLAGS.bad | FLAGS.saturated, FLAGS.difference | FLAGS.cosmic, FLAGS.brightstar, FLAGS.difference]])
    assert codes_of(bits.astype(np.uint32)).tolist() == [[0, 3, 5, 0, 7]]
    plane = np.arange(9)[None]
    assert np.array_equal(codes_of(decoded(plane, "V4.8.2")), plane)


def test_an_exposure_is_written_again_as_it_was_read(exposure, tmp_path):
    folder, _ = exposure
    first = Decam().open(str(folder/NAME))
    images = [first.read(t) for t in first.tasks()]
    Decam().write(images, tmp_path/NAME)
    second = Decam().open(str(tmp_path/NAME))
    assert second.identity == first.identity
    for task, image in zip(second.tasks(), images):
        again = second.read(task)
        # S7 too: its step is taken off once
        for plane in ("data", "ivar", "dq", "mask"):
            assert np.array_equal(getattr(again, plane), getattr(image, plane)), plane
        assert again.wcs.wcs.compare(image.wcs.wcs) and again.mjd == image.mjd and again.meta["ccdnum"] == image.meta["ccdnum"]


def test_frames_of_before_the_codes_are_written_with_codes(exposure, tmp_path):
    folder, _ = exposure
    first = Decam().open(str(folder/NAME))
    image = first.read(first.tasks()[0])
    primary = image.meta["primary"].copy()
    primary["PLVER"] = "V3.3.0"
    Decam().write([replace(image, meta={**image.meta, "primary": primary})], tmp_path/NAME)
    second = Decam().open(str(tmp_path/NAME))
    assert np.array_equal(second.read(second.tasks()[0]).dq, image.dq)


def test_images_that_know_no_headers_and_cutouts(exposure, tmp_path):
    folder, _ = exposure
    first = Decam().open(str(folder/NAME))
    part = first.read(first.tasks()[0]).cutout(30, 180, 20, 200)
    write_images([part], tmp_path/NAME)
    again = Decam().open(str(tmp_path/NAME))
    again = again.read(again.tasks()[0])
    assert np.array_equal(again.data, part.data)
    assert np.allclose(again.wcs.all_pix2world(0, 0, 0), part.wcs.all_pix2world(30, 20, 0), rtol=0, atol=1e-9)
    plain = Image.from_arrays(np.where(np.eye(9) > 0, np.nan, 5.), np.ones((9, 9)), detector="S7", band="g", mjd=57000.,
                              exptime=9.)
    write_images([plain], tmp_path/NAME, overwrite=True)
    again = Decam().open(str(tmp_path/NAME))
    again = again.read(again.tasks()[0])
    assert (again.band, again.mjd, again.exptime) == ("g", 57000, 9) and np.array_equal(again.mask, plain.mask)
    with pytest.raises(InputError, match="no images"):
        write_images([], tmp_path/NAME, overwrite=True)
    with pytest.raises(InstrumentError, match="no CCD 'S32'"):
        write_images([replace(plain, detector="S32")], tmp_path/NAME, overwrite=True)


def test_the_command_simulates_and_fits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values = ["--shape", "240", "240", "--stars", "120", "--nebula-area", "0", "--cosmic-rays", "3", "--seed", "8"]
    assert main(["simulate", NAME, "--instrument", "decam", "--ccds", "N4", *values]) == 0
    assert capsys.readouterr().out.split() == FILES
    assert main(["decam", NAME, "--dry-run"]) == 0
    assert "N4: 240 x 240 pixels" in capsys.readouterr().out
    assert main(["decam", NAME, "--out", "out.fits", "--quiet"]) == 0
    comparison = compare(Table.read("out.fits", hdu="N4_CAT"), truth_of(tmp_path, "N4"), shape=(240, 240))
    # about half of the 120 stars are below 10 sigma; planes or truth mixed up would find none
    assert comparison.found > 55 and comparison.spurious < 12 and abs(comparison.bias) < 5
    assert main(["simulate", "a.fits", "--instrument", "generic"]) == 2
    assert main(["simulate", "a.fits", "--ccds", "N4"]) == 2
    errors = capsys.readouterr().err
    assert "generic simulates no exposures" in errors and "--ccds needs --instrument" in errors
