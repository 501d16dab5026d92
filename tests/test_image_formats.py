"""What files say of themselves: planes that belong together, chips, units, areas, shared noise; and what a user says instead."""
import logging
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS
from crowdsource.instruments.formats.areas import area_map, shared_noise
from crowdsource.instruments.formats.hst import KNOWN
from crowdsource.instruments.formats.units import zeropoint_of
from crowdsource.instruments.generic import Generic
from small_fields import SKY, star_image, tan_wcs
from survey_files import panstarrs, ztf
from telescope_files import Field, hdu, hst_flc, jwst_cal, written

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.core import registry
from crowdsource.core.errors import ConfigError, DataFileError, InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.world import sky_of
from crowdsource.exposure.model_files import plane_header

SHAPE = (60, 64)
SIGMA = np.float32(3)


@pytest.fixture(scope="module")
def field():
    return Field()


@pytest.fixture
def planes():
    """Stars, one sigma of each pixel and flags: bit 3 on a block of pixels, bit 5 on every star."""
    at = np.random.default_rng(2).uniform(4, 56, (2, 60))
    data, flags = star_image(SHAPE, *at, np.full(60, 4000.), fwhm=2.5), np.zeros(SHAPE, np.int16)
    flags[data > SKY+30] |= 1 << 5
    flags[:4, :4] |= 1 << 3
    return data, np.full(SHAPE, SIGMA), flags


def read(path, task=0, **options):
    exposure = Generic().open(str(path), **options)
    return exposure.read(exposure.tasks()[task])


def told(caplog):
    return [r.message for r in caplog.records if " is a" in r.message][-1]


@pytest.mark.parametrize("name, power", [("ERR", 1), ("RMS", 1), ("VARIANCE", 2), ("IVAR", -2)])
def test_planes_of_a_file_of_no_known_form(planes, tmp_path, caplog, name, power):
    caplog.set_level(logging.INFO)
    data, sigma, flags = planes
    path = written(tmp_path/"a.fits", {}, hdu(data, "SCI"), hdu(sigma**power, name), hdu((flags & 8).astype(np.int16), "DQ"))
    image = read(path)
    assert image.noise == pytest.approx(3) and not image.ivar_estimated
    assert (~image.good).sum() == 16 and (image.dq[:4, :4] == 8).all()
    assert f"image in HDU SCI; {'rms' if name in ('ERR', 'RMS') else name.lower()} in {name}; flags in DQ (any" in told(caplog)


def test_bits_on_stars_are_left_out_where_nobody_has_asked_for_them(planes, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data, sigma, flags = planes
    path = written(tmp_path/"a.fits", {}, hdu(data, "SCI"), hdu(sigma, "ERR"), hdu(flags, "DQ"))
    image = read(path)
    assert (~image.good).sum() == 16
    assert any("bit 5 of the flags would exclude" in f and "left out" in f for f in image.findings)
    # which bit excludes how many pixels and how many peaks
    assert any("flags exclude pixels: " in m and "bit 3 0.42 % of all, 0 % of the peaks of" in m for m in caplog.messages)
    asked = read(path, bad_bits="any")
    assert not asked.good[(flags >> 5 & 1) > 0].any() and any("bit 5 of the flags excludes" in f for f in asked.findings)


def test_a_bit_that_says_that_pixels_are_good_is_left_out(planes, tmp_path):
    data, sigma, flags = planes
    marks = np.where(flags & 8, 2, 1).astype(np.int16)
    path = written(tmp_path/"a.fits", {}, hdu(data, "SCI"), hdu(sigma, "ERR"), hdu(marks, "MASK"))
    image = read(path)
    assert (~image.good).sum() == 16
    assert any("bit 0 of the flags would exclude" in f and "99.6 % of all pixels: it is left out" in f for f in image.findings)


def test_astropys_own_files(planes, tmp_path):
    data, sigma, flags = planes
    made = CCDData(data, unit="adu", uncertainty=StdDevUncertainty(sigma), mask=(flags & 8) > 0)
    made.write(tmp_path/"ccd.fits")
    image = read(tmp_path/"ccd.fits")
    assert image.noise == pytest.approx(3) and (~image.good).sum() == 16 and image.meta["unit"] == "adu"


def test_a_map_that_is_not_what_its_name_says_is_not_used(planes, tmp_path):
    data, sigma, _ = planes
    image = read(written(tmp_path/"a.fits", {}, hdu(data, "SCI"), hdu(sigma*20, "ERR")))
    assert image.noise == pytest.approx(3, rel=0.3)
    assert any(f.startswith("rms in ERR is not used") for f in image.findings)


def test_a_map_whose_meaning_is_known_is_used_and_doubted(planes, tmp_path):
    data, sigma, _ = planes
    image = read(written(tmp_path/"a.fits", {"TELESCOP": "JWST"}, hdu(data, "SCI", BUNIT="MJy/sr"), hdu(sigma*20, "ERR")))
    assert image.noise == pytest.approx(60)
    assert any(f.startswith("rms in ERR is used although") and "scatters by" in f for f in image.findings)


def test_a_users_options_go_first(planes, tmp_path):
    data, sigma, flags = planes
    path = written(tmp_path/"a.fits", {}, hdu(data, "SCI", GAIN=2., MAGZERO=25.), hdu(sigma, "ERR"), hdu(flags, "DQ"))
    written(tmp_path/"b.fits", {}, hdu(sigma*1.5, "OTHER"), hdu(np.full(SHAPE, 1, np.int16)*(flags == 8), "FLAGS"))
    image = read(path, rms=str(tmp_path/"b.fits"), dq=f"{tmp_path}/b.fits:FLAGS", gain=5., zeropoint=20.)
    assert image.noise == pytest.approx(4.5) and image.gain == 5 and image.zeropoint == 20
    assert (~image.good).sum() == 16 and image.dq.max() == 1
    alone = read(path, file_format="none")
    assert alone.good.all() and alone.dq.max() == 0
    fits.PrimaryHDU(data).writeto(tmp_path/"c.fits")
    assert read(f"{tmp_path}/c.fits:PRIMARY").good.all()
    # another plane of the file, by its name, has nothing beside it
    assert read(f"{path}:ERR", trust_noise=True, saturation=1e9).data[10, 10] == 3
    with pytest.raises(ConfigError, match="no image format 'webb': choose one of jwst, hst"):
        read(path, file_format="webb")


def test_all_chips_are_fitted(field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = hst_flc(field, tmp_path)
    assert main(["generic", str(path), "--out", "a.cat.fits", "--quiet", "--cutout", "0:64,0:64"]) == 0
    with fits.open("a.cat.fits") as hdus:
        assert {"SCI1_CAT", "SCI2_CAT"} <= {h.name for h in hdus} and len(hdus["SCI2_CAT"].data) > 5
        # what bits mean is kept with the flags, and the zero point with its system
        assert hdus["SCI1_HDR"].header["DQBIT8"] == "saturated" and hdus[0].header["MAGSYS"] == "AB"
        assert hdus["SCI1_HDR"].header["ZPCRWD"] == pytest.approx(read(path).zeropoint)
    one = Generic().open(f"{path}:SCI,2")
    assert one.chips == ("",) and one.read(one.tasks()[0]).meta["header"]["CCDCHIP"] == 1


@pytest.mark.parametrize("writer, chip", [(hst_flc, "SCI2"), (panstarrs, None), (ztf, None)])
def test_python_reads_what_the_command_reads(field, tmp_path, writer, chip):
    path, _ = writer(field, tmp_path)
    image, same = cs.read_image(path, detector=chip), read(path, 0 if chip is None else 1)
    assert image.meta["instrument"].name == "generic" and image.zeropoint == same.zeropoint
    assert all(np.array_equal(getattr(image, plane), getattr(same, plane)) for plane in ("data", "ivar", "dq", "mask"))


def test_maps_for_several_chips(field, tmp_path):
    path, _ = hst_flc(field, tmp_path)
    planes = [hdu(np.full(field.data.shape, k, np.float32), "RMS", k) for k in (1, 2)]
    written(tmp_path/"rms.fits", {}, *planes)
    assert read(path, 1, rms=f"{tmp_path}/rms.fits:RMS", trust_noise=True).noise == pytest.approx(2)
    with pytest.raises(InputError, match="is one HDU for several images: leave the HDU out"):
        read(path, 1, rms=f"{tmp_path}/rms.fits:1")


def test_detectors_with_numbers_are_all_fitted(planes, tmp_path):
    data, *_ = planes
    path = written(tmp_path/"mosaic.fits", {}, *(hdu(data+k, f"CCD{k}") for k in range(3)))
    exposure = Generic().open(str(path))
    assert exposure.chips == ("CCD0", "CCD1", "CCD2")
    assert np.median(exposure.read(exposure.tasks()[2]).data-data) == 2


def test_companions_are_said(field, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path, _ = ztf(field, tmp_path)
    exposure = Generic().open(str(path))
    assert [p.name[-11:] for p in exposure.inputs] == ["sciimg.fits", "mskimg.fits"]
    image = exposure.read(exposure.tasks()[0])
    assert "mskimg.fits beside it (track, low_response" in told(caplog)
    assert image.saturation == 40000 and image.ivar_estimated
    (tmp_path/exposure.inputs[1].name).unlink()
    assert read(path).good[field.bad].all() and "no flags" in told(caplog)
    fits.PrimaryHDU(np.zeros((5, 5), np.int16)).writeto(exposure.inputs[1])
    assert any("flags in" in f and "has shape (5, 5)" in f for f in read(path).findings)


@pytest.mark.parametrize("image, weight", [("coadd.fits", "coadd.weight.fits"), ("f_sci.fits.gz", "f_wht.fits")])
def test_weights_beside_an_image(planes, tmp_path, image, weight):
    data, _, flags = planes
    written(tmp_path/image, {}, hdu(data))
    written(tmp_path/weight, {}, hdu(np.where(flags & 8, 0, 7).astype(np.float32)))
    assert (~read(tmp_path/image).good).sum() == 16
    assert read(tmp_path/image, file_format="none").good.all()


def test_variances_on_a_scale_of_their_own(field, tmp_path):
    path, _ = panstarrs(field, tmp_path)
    plain = read(path)
    weight = path.with_suffix(".wt.fits")
    variance = fits.getdata(weight)
    scaled = 2.5/np.log(10)*np.arcsinh((variance-80)/2/20)
    weight.unlink()
    written(weight, {}, hdu(scaled.astype(np.float32), BSOFTEN=20., BOFFSET=80.))
    assert np.allclose(read(path).ivar, plain.ivar, rtol=1e-4)


@pytest.mark.parametrize("unit, seconds, at_second", [
    ("ELECTRONS", 500., False), ("ELECTRONS/S", 500., True), ("COUNTS", 40., False)])
def test_zero_points_of_hubble(planes, tmp_path, unit, seconds, at_second):
    data, sigma, _ = planes
    primary = dict(TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", EXPTIME=seconds)
    image = hdu(data, "SCI", BUNIT=unit, PHOTFLAM=7.9e-20, PHOTPLAM=5921.9)
    path = written(tmp_path/"a_flt.fits", primary, image, hdu(sigma, "ERR"))
    # ACS zero points calculator, F606W: 26.49 (AB) for a rate
    assert read(path).zeropoint == pytest.approx(26.486+(0 if at_second else 2.5*np.log10(seconds)), abs=0.005)


def test_bits_of_wide_field_camera_3():
    ccd, infrared = KNOWN["WFC3", "UVIS"], KNOWN["WFC3", "IR"]
    # a signal in the zero read and cosmic rays in the ramp are corrected in the infrared, and are bad in the visible
    for bit in (11, 13):
        assert ccd.forbids >> bit & 1 and not infrared.forbids >> bit & 1
    # hot pixels are stable, blobs on the infrared flat field are corrected; a bad flat field of a CCD is none
    for bits in (ccd, infrared):
        assert not bits.forbids >> 4 & 1 and bits.forbids >> 5 & 1
    assert ccd.forbids >> 9 & 1 and not infrared.forbids >> 9 & 1


def test_saturated_in_a_part_of_the_ramp_only(field, tmp_path):
    path, _ = jwst_cal(field, tmp_path)
    with fits.open(path, mode="update") as hdus:
        hdus["DQ"].data[50, 50:52] |= np.array([2, 3], np.uint32)
    image = read(path)
    assert image.good[50, 50] and not image.good[50, 51]
    assert not image.mask[50, 50] & ENGINE.saturated and image.mask[50, 51] & ENGINE.saturated


def test_a_generalised_wcs(field, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    models = pytest.importorskip("roman_datamodels.datamodels")
    stdatamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    path, _ = jwst_cal(field, tmp_path)
    with stdatamodels.ImageModel(path) as model:
        model.meta.wcs = models.ImageModel.create_fake_data(shape=(8, 8)).meta.wcs
        model.save(tmp_path/"with_cal.fits")
    image = read(tmp_path/"with_cal.fits")
    # the reference of that WCS, pixel 500, is off the image
    place = image.wcs.pixel_to_world(500., 500.)
    assert "WCS by gwcs" in told(caplog) and place.icrs.ra.deg == pytest.approx(30) and place.icrs.dec.deg == pytest.approx(45)
    # planes that go with a cut-out have a FITS WCS that agrees with it
    part = image.cutout(20, 120, 30, 110)
    header = plane_header(part)
    ra, dec = sky_of(part.wcs, np.array([25., 110.]), np.array([100., 31.]))
    assert np.allclose(WCS(header).all_world2pix(ra, dec, 0), [[5., 90.], [70., 1.]], atol=1e-4)


def test_areas_of_distorted_pixels():
    wcs = tan_wcs((200, 200))
    header = wcs.to_header()
    header.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-4, B_0_2=5e-5)
    y, x = np.indices((200, 200))-99.5
    wanted = (1+2e-4*x)*(1+1e-4*y)
    assert np.allclose(area_map(WCS(header), (200, 200), (0.26/3600)**2), wanted, rtol=2e-5)


def test_exposures_of_hubble_are_multiplied_by_the_areas_of_their_pixels(planes, tmp_path):
    data, sigma, _ = planes
    wcs = dict(tan_wcs(SHAPE, scale=0.05).to_header(), CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    wcs |= dict(A_ORDER=2, B_ORDER=2, A_2_0=1e-3)
    primary = dict(TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", EXPTIME=500.)
    path = written(tmp_path/"a_flc.fits", primary, hdu(data, "SCI", BUNIT="ELECTRONS", IDCSCALE=0.05, **wcs), hdu(sigma, "ERR"))
    image, wanted = read(path), 1+2e-3*(np.arange(SHAPE[1])-(SHAPE[1]-1)/2)
    assert np.allclose(image.data, data*wanted, rtol=1e-4) and np.allclose(image.ivar*wanted**2, 1/9, rtol=1e-3)


def test_noise_that_drizzled_pixels_share():
    """Noise of large areas over that of pixels and of their differences, for pixels drizzled at random phases."""
    rng, n, number = np.random.default_rng(5), 256, 40
    total = np.zeros((n, n))
    for dy, dx in rng.uniform(size=(number, 2)):
        noise = rng.normal(size=(n+1, n+1))
        rows = noise[1:]*dy+noise[:-1]*(1-dy)
        total += rows[:, 1:]*dx+rows[:, :-1]*(1-dx)
    blocks = total.reshape(n//16, 16, n//16, 16).sum(axis=(1, 3)).std()/16
    along = total[:, :-2]-2*total[:, 1:-1]+total[:, 2:]
    differences = ((along[:-2]-2*along[1:-1]+along[2:])/6).std()
    pixels, of_differences = shared_noise(1., 1.)
    # 256 blocks: 4 % of scatter, and blocks of 16 pixels lose 4 % over their rims
    assert pixels == pytest.approx(1.5, rel=0.01) and blocks/total.std() == pytest.approx(pixels, rel=0.12)
    assert blocks/differences == pytest.approx(of_differences, rel=0.12)
    assert shared_noise(0.02, 1.) == pytest.approx((1, 1), rel=0.02)


def test_weights_of_a_drizzled_image_count_shared_noise(planes, tmp_path):
    data, *_ = planes
    noises = []
    for kernel in ("point", "square"):
        primary = dict(TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", EXPTIME=500., D001KERN=kernel, D001PIXF=1., D001SCAL=0.05,
                       D001ISCL=0.05)
        image = hdu(data, "SCI", BUNIT="ELECTRONS/S")
        path = written(tmp_path/f"{kernel}_drc.fits", primary, image, hdu(np.full(SHAPE, 500.), "WHT"))
        noises.append(1/np.sqrt(np.percentile(read(path).ivar, 95)))
    assert noises[1]/noises[0] == pytest.approx(shared_noise(1., 1.)[1], rel=0.1)


@pytest.mark.parametrize("unit, wanted", [
    ("nJy", 31.4), ("Jy", 8.9), ("mJy", 16.4), ("nanomaggy", 22.5), ("adu", None), ("", None),
    ("a Jy of ours", None)])
def test_ab_magnitudes_of_fluxes(unit, wanted):
    found = zeropoint_of(unit)
    assert found is None if wanted is None else found == pytest.approx(wanted, abs=0.001)


def test_ab_magnitudes_of_surface_brightness():
    # 1 MJy/sr in a pixel of 0.6 arcsec: 8.46 uJy
    assert zeropoint_of("MJy/sr", tan_wcs((10, 10), scale=0.6)) == pytest.approx(-2.5*np.log10(8.4616e-6/3631), abs=1e-3)
    assert zeropoint_of("MJy/sr") is None


def test_a_form_of_ones_own(planes, tmp_path, monkeypatch, caplog):
    """The example of the page that shows how to extend the project."""
    caplog.set_level(logging.INFO)
    page = Path(__file__).resolve().parents[1]/"docs"/"extend.md"
    if not page.exists():
        pytest.skip("the source is not beside the tests")
    section = page.read_text(encoding="utf-8").partition("## An image format")[2]
    own = ModuleType("own_format")
    exec(compile(re.search(r"```python\n(.*?)```", section, re.S)[1], str(page), "exec"), own.__dict__)
    monkeypatch.setitem(sys.modules, "own_format", own)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("ours", "own_format:Ours", group)]
                        if group == "crowdsource.image_formats" else [])
    data, sigma, flags = planes
    marks = (np.where(flags & 8, 1, 0) | np.where(flags & 32, 4, 0)).astype(np.int16)
    path = written(tmp_path/"a.fits", {"TELESCOP": "Ours", "EXPTIME": 10.}, hdu(data, "LIGHT"), hdu(sigma**2, "SPREAD"),
                   hdu(marks, "MARKS"))
    image = read(path)
    assert image.noise == pytest.approx(3) and (~image.good).sum() == 16 and image.zeropoint == pytest.approx(29.5)
    assert "a.fits is an image of our telescope: image in HDU LIGHT; variance in SPREAD" in told(caplog)
    assert "flags in MARKS (dead, full exclude a pixel)" in told(caplog)


def test_a_file_that_is_not_what_it_is_taken_for(planes, tmp_path):
    data, *_ = planes
    header = fits.Header(dict(CAMCOL="nine", RUN=1, NMGY=1., FILTER="r"))
    fits.HDUList([fits.PrimaryHDU(data, header), fits.ImageHDU(data[0])]).writeto(tmp_path/"frame-r-000001-1-0001.fits")
    with pytest.raises(DataFileError, match="HDU 1 and 2 .*; fetch the frame again"):
        read(tmp_path/"frame-r-000001-1-0001.fits")
    fits.PrimaryHDU(data/100, fits.Header(dict(BSOFTEN=1., BOFFSET=0., EXPTIME="long"))).writeto(tmp_path/"a.fits")
    assert np.isnan(read(tmp_path/"a.fits").zeropoint)
    fits.PrimaryHDU(data).writeto(tmp_path/"unwise-0000p000-w9-img-m.fits")
    with pytest.raises(DataFileError, match="a coadd of unWISE, but its facts cannot be told .*`file_format='none'`"):
        read(tmp_path/"unwise-0000p000-w9-img-m.fits")
    assert read(tmp_path/"unwise-0000p000-w9-img-m.fits", file_format="none").good.all()
