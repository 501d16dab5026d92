"""What is known of files of telescopes: bits, names of files that go with an image, zero points, calibrations."""
import numpy as np
import pytest
from astropy.io import fits
from crowdsource.instruments.formats import des, euclid, jwst, panstarrs, roman, sdss, spitzer, ztf
from crowdsource.instruments.formats.hst import OF_STIS, OF_WFPC2
from crowdsource.instruments.formats.registry import file_of, format_of
from crowdsource.instruments.generic import Generic
from small_fields import star_image
from survey_files import photocalibs
from telescope_files import hdu, written

SHAPE = (40, 44)
AB_OF_NANOJANSKY = 31.4


@pytest.fixture(scope="module")
def data():
    at = np.random.default_rng(4).uniform(4, 36, (2, 20))
    return star_image(SHAPE, *at, np.full(20, 4000.), fwhm=2.5)


def read(path, **options):
    exposure = Generic().open(str(path), **options)
    return exposure.read(exposure.tasks()[0])


def excluded(bits, *names):
    """Which of some bits exclude a pixel."""
    return [bool(bits.forbids & getattr(bits.table, name)) for name in names]


def test_bits_of_webb_are_those_of_its_data_models():
    theirs = pytest.importorskip("stdatamodels.jwst.datamodels.dqflags").pixel
    assert {d.name: 1 << d.bit for d in jwst.BITS.table.definitions} == {
        name.lower(): value for name, value in theirs.items() if value and name != "RESERVED"}


def test_bits_of_roman_are_those_of_its_data_models():
    theirs = pytest.importorskip("roman_datamodels.dqflags").pixel
    assert {d.name: 1 << d.bit for d in roman.BITS.table.definitions} == {
        flag.name.lower(): flag.value for flag in theirs if flag.value and not flag.name.startswith("RESERVED")}


def test_bits_that_only_warn_exclude_nothing():
    # MASK.VALUE of IPP's masks
    assert panstarrs.BITS.forbids == 8575
    # DESDM's BADPIX_BADAMP is 8, BADPIX_SUSPECT 2048, BADPIX_FIXED 4096
    assert [getattr(des.BITS.table, n) for n in ("badamp", "suspect", "fixed")] == [8, 2048, 4096]
    assert excluded(des.BITS, "badamp", "suspect", "fixed", "nearedge") == [True, False, False, False]
    assert ztf.BITS.table.spillage == 64 and excluded(ztf.BITS, "spillage", "halo", "psf_source") == [True, False, False]
    # WFPC2: saturation of the converter is 8, repaired warm pixels are 1024
    assert OF_WFPC2.saturated == 8 and excluded(OF_WFPC2, "repaired", "above_trap", "warm") == [False, True, True]
    # STIS: 32 is a large blemish, 1024 a small one
    assert OF_STIS.table.blemish == 32 and excluded(OF_STIS, "blemish", "small_blemish", "hot") == [True, False, True]
    assert euclid.VIS.table.adcmax == 1 << 21
    # INVALID holds cosmic rays where they are to be left out
    assert excluded(euclid.VIS, "invalid", "sat", "starsignal", "objects", "cosmic") == [True, True, False, False, False]


def test_bits_of_nisp_are_those_of_the_header(data, tmp_path):
    flags, planes = np.zeros(SHAPE, np.int32), (hdu(data, "DET21.SCI", ZPAB=30.05, BUNIT="ELECTRON"), hdu(data*0+3, "DET21.RMS"))
    flags[:4, :4], flags[5:9, :4] = 1 << 17, 1
    # another order of bits than that of the first release
    bits = {"HIERARCH MSK_FLAG_INVALID": 3, "HIERARCH MSK_FLAG_HOT": 17, "HIERARCH MSK_FLAG_NLINEAR": 0}
    primary = dict(TELESCOP="EUCLID", EXPTIME=87.2, FILTER="J")
    image = read(written(tmp_path/"named.fits", primary, *planes, hdu(flags, "DET21.DQ", **bits)))
    assert not image.good[:4, :4].any() and image.good[4:].all() and image.zeropoint == 30.05 and image.gain == 1
    plain = read(written(tmp_path/"unnamed.fits", primary, *planes, hdu(flags, "DET21.DQ")))
    assert plain.good[:4].all() and not plain.good[5:9, :4].any()


def lsst(path, data, flags, primary, *others, name="EXTTYPE", more=()):
    """A file of LSST's software whose HDUs are named by a keyword."""
    bits = {f"HIERARCH MP_{plane}": k for k, plane in enumerate(("BAD", "SAT", "CR", "DETECTED", *more))}
    planes = [hdu(data), hdu(flags, **bits), hdu(np.full(SHAPE, 9, np.float32))]
    for plane, word in zip(planes, ("IMAGE", "MASK", "VARIANCE"), strict=True):
        plane.header[name] = word
    return written(path, primary, *planes, *others)


def test_old_files_of_lsst_name_their_planes_by_type(data, tmp_path):
    flags = np.zeros(SHAPE, np.uint16)
    flags[:4, :4], flags[10:14, :4] = 4, 8
    image = read(lsst(tmp_path/"a.fits", data, flags, {"FLUXMAG0": 1e6, "DATE-AVG": "2020-01-20T12:34:56", "TIMESYS": "TAI"}))
    assert image.noise == pytest.approx(3) and not image.good[:4, :4].any() and image.good[4:].all()
    # TAI is 37 s before UTC
    assert image.zeropoint == pytest.approx(15) and image.mjd == pytest.approx(58868+(12*3600+34*60+56-37)/86400, abs=1e-6)
    assert np.isnan(read(lsst(tmp_path/"b.fits", data, flags, {"FLUXMAG0": 0.})).zeropoint)


@pytest.mark.parametrize("own, wanted", [(2, 10.), (9, 500.)])
def test_the_calibration_of_the_exposure_itself(data, tmp_path, own, wanted):
    flags, index = np.zeros(SHAPE, np.int32), photocalibs({2: 10., 9: 500.})
    primary = {"AR_HDU": 5, "HIERARCH PHOTOCALIB_ID": own}
    image = read(lsst(tmp_path/"a.fits", data, flags, primary, *index))
    assert image.zeropoint == pytest.approx(AB_OF_NANOJANSKY-2.5*np.log10(wanted), abs=1e-3)
    other = read(lsst(tmp_path/"b.fits", data, flags, {**primary, "HIERARCH PHOTOCALIB_ID": 5}, *index))
    assert np.isnan(other.zeropoint)


@pytest.mark.parametrize("primary, coadd", [
    ({"EXPTIME": 30.}, False), ({"HIERARCH COADD_INPUTS_ID": 4, "EXPTIME": 0.}, True), ({}, True)])
def test_cosmic_rays_of_exposures_are_not_on_a_coadd(data, tmp_path, primary, coadd):
    flags = np.zeros(SHAPE, np.int32)
    flags[:4, :4] = 4
    image = read(lsst(tmp_path/"a.fits", data, flags, primary, name="EXTNAME", more=("INEXACT_PSF", "SENSOR_EDGE")))
    assert image.good[:4, :4].all() == coadd and image.good[4:].all()


@pytest.mark.parametrize("image, noise, coverage", [
    ("SPITZER_I1_4416768_0000_7_E8348771_maic.fits", "SPITZER_I1_4416768_0000_7_A42446624_munc.fits",
     "SPITZER_I1_4416768_0000_7_A42446625_mcov.fits"),
    ("SPITZER_I1_4416768_0000_7_A1_maics.fits", "SPITZER_I1_4416768_0000_7_A2_muncs.fits",
     "SPITZER_I1_4416768_0000_7_A3_mcovs.fits"),
    ("SPITZER_M1_9876540_0_1_E012345_msaic.fits", "SPITZER_M1_9876540_0_1_A012345_msunc.fits.gz",
     "SPITZER_M1_9876540_0_1_A012345_mscov.fits"),
    ("50072211.50072211-21.IRAC.1.mosaic.fits", "50072211.50072211-21.IRAC.1.unc.fits", "50072211.50072211-21.IRAC.1.cov.fits"),
    ("mosaic_mosaic.fits", "mosaic_mosaic_unc.fits", "mosaic_mosaic_cov.fits")])
def test_what_goes_with_a_mosaic_of_spitzer(data, tmp_path, image, noise, coverage):
    written(tmp_path/image, {}, hdu(data))
    for name in (noise, coverage, "SPITZER_I2_4416768_0000_7_A1_munc.fits", "50072211.50072211-21.IRAC.2.unc.fits"):
        written(tmp_path/name, {}, hdu(data))
    found = spitzer.Spitzer().beside(file_of(tmp_path/image))
    assert [(kind, path.name) for kind, path in found] == [("rms", noise), ("weight", coverage)]


def test_which_of_two_uncertainties_is_meant_nobody_knows(data, tmp_path):
    for name in ("E1_maic", "A2_munc", "A3_munc"):
        written(tmp_path/f"SPITZER_I1_1_0_1_{name}.fits", {}, hdu(data))
    assert spitzer.Spitzer().beside(file_of(tmp_path/"SPITZER_I1_1_0_1_E1_maic.fits")) == ()


def test_a_part_of_a_frame_of_sdss(data, tmp_path):
    cards = {"CAMCOL": 4, "RUN": 3900, "NMGY": 0.005, "FILTER": "g", "TAI": 4445991495.33, "DATE-OBS": "1999-10-07"}
    fits.PrimaryHDU(data*0.005, fits.Header(cards)).writeto(tmp_path/"cutout.fits")
    assert format_of(file_of(tmp_path/"cutout.fits")).summary == "a frame of SDSS"
    image = read(tmp_path/"cutout.fits")
    assert image.ivar_estimated and image.zeropoint == 22.5
    # 05:38:15.32 TAI of that day, which was 32 s before UTC
    assert image.mjd == pytest.approx(51458+(5*3600+38*60+15.32-32)/86400, abs=1e-6)


@pytest.mark.parametrize("run, band, gain, dark", [(1000, "u", 1.595, 12.6025), (1200, "u", 1.825, 12.6025),
                                                   (1400, "i", 6.565, 5.76), (1600, "i", 6.565, 6.25)])
def test_what_changed_in_the_camera_of_sdss(run, band, gain, dark):
    assert sdss._camera(fits.Header(dict(CAMCOL=2, RUN=run)), band) == [gain, dark]


def test_a_mosaic_of_euclid_and_its_noise(data, tmp_path):
    stamp = "20241105T125727.727353Z_00.00.fits"
    cards = fits.Header(dict(MAGZERO=24.6, BUNIT="ADU/s", FILTER="VIS"))
    fits.PrimaryHDU(data, cards).writeto(tmp_path/f"EUC_MER_BGSUB-MOSAIC-VIS_TILE102070858-5ED2D5_{stamp}")
    for band, tile, rms in (("VIS", 102070858, 3), ("VIS", 102070859, 5), ("NIR-Y", 102070858, 7)):
        plane = fits.PrimaryHDU(np.full(SHAPE, rms, np.float32))
        plane.writeto(tmp_path/f"EUC_MER_MOSAIC-{band}-RMS_TILE{tile}-BB87CE_20241104T161703.183124Z_00.00.fits")
    image = read(tmp_path/f"EUC_MER_BGSUB-MOSAIC-VIS_TILE102070858-5ED2D5_{stamp}")
    assert image.noise == pytest.approx(3) and (image.zeropoint, image.magnitude_system) == (24.6, "AB")
    assert image.band == "VIS"


def test_errors_of_wfpc2_are_no_errors(data, tmp_path):
    primary = dict(TELESCOP="HST", INSTRUME="WFPC2", DETECTOR="PC", FILTNAM1="F606W", FILTNAM2="", FILTER1=41, FILTER2=0,
                   EXPTIME=300., ATODGAIN=7.)
    planes = [p for k in (1, 2) for p in (hdu(data, "SCI", k, BUNIT="COUNTS", PHOTFLAM=1.9e-18, PHOTPLAM=5996.8),
                                          hdu(np.sqrt(data), "ERR", k), hdu(np.zeros(SHAPE, np.int16), "DQ", k))]
    image = read(written(tmp_path/"u2ou0101t_flt.fits", primary, *planes))
    assert image.ivar_estimated and image.noise == pytest.approx(3, rel=0.3) and image.band == "F606W" and image.gain == 7
    # STMAG zero point of a count a second, 23.19, and the conversion to AB at the pivot wavelength
    assert image.zeropoint == pytest.approx(-2.5*np.log10(1.9e-18)-5*np.log10(5996.8)-2.408+2.5*np.log10(300.), abs=1e-3)
