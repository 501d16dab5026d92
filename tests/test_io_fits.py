"""FITS images in every form, and every way in which they cannot be read."""
import gzip
import os

import numpy as np
import pytest
from astropy.io import fits
from small_fields import tan_wcs, write_fits

from crowdsource.core.errors import DataFileError, OutputError
from crowdsource.core.image import Image
from crowdsource.io.atomic import atomic_path, check_output
from crowdsource.io.fits import ImageName, read_image, write_image

PLANE = np.arange(12, dtype=np.float32).reshape(3, 4)


def many(path):
    """An empty first HDU, two images, a table and a cube."""
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.arange(3.))], name="CAT")
    primary = fits.PrimaryHDU()
    primary.header["GAIN"] = 2.5
    fits.HDUList([primary, fits.ImageHDU(PLANE, name="SCI"), fits.ImageHDU(PLANE+1, name="SCI", ver=2), table,
                  fits.ImageHDU(np.stack([PLANE, PLANE+2]), name="CUBE")]).writeto(path)
    return path


def test_names():
    assert ImageName.parse("a.fits") == ImageName(ImageName.parse("a.fits").path)
    name = ImageName.parse("a.fits:SCI:3")
    assert (str(name.path), name.hdu, name.plane) == ("a.fits", "SCI", 3)
    assert ImageName.parse("a.fits:2").hdu == 2
    assert ImageName.parse("a.fits::1") == ImageName(name.path, None, 1)


def test_colons_of_a_file_that_exists_are_its_own(tmp_path):
    path = tmp_path/"12:30:00.fits"
    write_fits(path, PLANE)
    assert ImageName.parse(path).path == path
    assert ImageName.parse(f"{path}:0").hdu == 0


@pytest.mark.parametrize("name, expected, label", [
    ("", PLANE, "SCI"), (":1", PLANE, "SCI"), (":sci", PLANE, "SCI"), (":SCI,2", PLANE+1, "SCI"), (":2", PLANE+1, "SCI"),
    (":CUBE:1", PLANE+2, "CUBE"), (":4:0", PLANE, "CUBE")])
def test_hdus_and_planes(tmp_path, name, expected, label):
    image = read_image(f"{many(tmp_path/'a.fits')}{name}")
    assert (image.data == expected).all()
    assert image.hdu == label
    assert image.value("gain") == 2.5


@pytest.mark.parametrize("name, message", [
    (":9", r"\[9\]: it has no HDU 9; it has images in HDU 1 \(SCI\), 2 \(SCI\), 4 \(CUBE\)"),
    (":WHT", r"\[WHT\]: it has no HDU WHT; it has images"),
    (":0", r"\[0\]: holds no image; the file has images in HDU 1 \(SCI\)"),
    (":CAT", r"\[CAT\]: is a table; the file has images"),
    (":CUBE", r"\[CUBE\]: is a cube of 2 planes \(2, 3, 4\); choose one from 0, as in .*a.fits:CUBE:0"),
    (":CUBE:2", r"\[CUBE\]: has no plane 2; its planes are 0 to 1"),
    (":CUBE:x", r"plane 'x' is no number"),
    (":1:0:5", r"FILE\[:HDU\[:PLANE\]\]"),
])
def test_wrong_hdus(tmp_path, name, message):
    with pytest.raises(DataFileError, match=message):
        read_image(f"{many(tmp_path/'a.fits')}{name}")


def test_cube_of_one_plane_passes(tmp_path):
    assert (read_image(write_fits(tmp_path/"a.fits", PLANE[None, None])).data == PLANE).all()


def test_number_types(tmp_path):
    values = np.array([[0, 1, 40000], [65535, 7, 8]])
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, ">f4", "<f8"):
        wanted = values if np.dtype(dtype).itemsize > 1 and dtype != np.int16 else values % 100
        image = read_image(write_fits(tmp_path/f"{np.dtype(dtype).str[1:]}.fits", wanted.astype(dtype)))
        assert (Image.from_arrays(image.data.astype(float)+0.25, np.ones((2, 3))).data == wanted+0.25).all()


def test_scaled_integers(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[10., 20.], [30., 45.]]))
    hdu.scale("int16", bscale=0.5, bzero=20)
    hdu.writeto(tmp_path/"a.fits")
    assert (read_image(tmp_path/"a.fits").data == [[10, 20], [30, 45]]).all()


def test_blank_integers_are_nan(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[1, 2], [3, -99]], dtype=np.int16))
    hdu.header["BLANK"] = -99
    hdu.writeto(tmp_path/"a.fits")
    data = read_image(tmp_path/"a.fits").data
    assert np.isnan(data[1, 1]) and data[1, 0] == 3


def test_compressed_files(tmp_path):
    data = np.arange(1600, dtype=np.int32).reshape(40, 40)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, name="SCI")]).writeto(tmp_path/"a.fits.fz")
    assert (read_image(tmp_path/"a.fits.fz").data == data).all()
    write_fits(tmp_path/"b.fits", PLANE)
    (tmp_path/"b.fits.gz").write_bytes(gzip.compress((tmp_path/"b.fits").read_bytes()))
    assert (read_image(tmp_path/"b.fits.gz").data == PLANE).all()


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataFileError, match="there is no such file"):
        read_image(tmp_path/"a.fits")
    with pytest.raises(DataFileError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path/"text.fits").write_text("hello")
    (tmp_path/"empty.fits").touch()
    for name in ("text", "empty"):
        with pytest.raises(DataFileError, match="cannot be read as FITS"):
            read_image(tmp_path/f"{name}.fits")
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.arange(3.))])
    table.writeto(tmp_path/"table.fits")
    with pytest.raises(DataFileError, match="has no image in any HDU"):
        read_image(tmp_path/"table.fits")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("kind", ["plain", "last", "fz", "gz"])
def test_truncated_files(tmp_path, keep, kind):
    data = np.random.default_rng(1).normal(0, 1, (100, 100)).astype(np.float32)
    path = tmp_path/("a.fits"+dict(fz=".fz", gz=".gz").get(kind, ""))
    if kind == "last":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]).writeto(path)
    elif kind == "fz":
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, name="SCI")]).writeto(path)
    else:
        fits.PrimaryHDU(data).writeto(path)
    whole = path.read_bytes()
    # whole blocks of zeros at the end are padding
    path.write_bytes(whole[:int(keep*len(whole.rstrip(b"\0")))])
    with pytest.raises(DataFileError, match=r"truncated|cannot be read|has no image"):
        read_image(path)


def test_padding_may_be_missing(tmp_path):
    path = tmp_path/"a.fits"
    write_fits(path, PLANE)
    path.write_bytes(path.read_bytes()[:2880+48])
    assert (read_image(path).data == PLANE).all()


def test_header_values(tmp_path):
    path = write_fits(tmp_path/"a.fits", PLANE, GAIN=180, EGAIN="0.25", RDNOISE="high", READNOIS=4.5, SATURATE=np.int64(60000),
                      EXPTIME=100., FILTER=" r DECam ", **{"MJD-OBS": 57000.})
    image = read_image(path)
    # amateur cameras write a setting into GAIN; words for numbers are passed over
    assert image.value("gain") == 0.25
    assert image.value("readnoise") == 4.5
    assert image.value("saturation") == 60000
    assert image.value("band", str) == "r DECam"
    assert image.value("zeropoint") is None
    assert image.mjd() == pytest.approx(57000+50/86400, abs=1e-9)


def test_date_of_observation_serves_as_mjd(tmp_path):
    image = read_image(write_fits(tmp_path/"a.fits", PLANE, **{"DATE-OBS": "2013-07-31T12:00:00", "EXPTIME": 0.}))
    assert image.mjd() == pytest.approx(56504.5, abs=1e-9)
    assert np.isnan(read_image(write_fits(tmp_path/"b.fits", PLANE, **{"DATE-OBS": "31/07/93"})).mjd())


def test_wcs(tmp_path):
    with_sky = read_image(write_fits(tmp_path/"a.fits", PLANE, tan_wcs(PLANE.shape).to_header()))
    assert with_sky.wcs().all_pix2world(1.5, 1., 0)[0] == pytest.approx(150, abs=1e-9)
    assert read_image(write_fits(tmp_path/"b.fits", PLANE, CTYPE1="", CRVAL1=1.)).wcs() is None
    assert read_image(write_fits(tmp_path/"c.fits", PLANE, CTYPE1="WAVE", CRVAL1=1.)).wcs() is None
    cube = read_image(write_fits(tmp_path/"d.fits", PLANE[None], tan_wcs(PLANE.shape).to_header()))
    assert cube.wcs().naxis == 2


def test_write_image_round_trip(tmp_path):
    rng = np.random.default_rng(2)
    parent = Image.from_arrays(rng.normal(0, 1, (30, 40)), np.ones((30, 40)), rng.integers(0, 9, (30, 40)), wcs=tan_wcs((30, 40)),
                               gain=2., zeropoint=25., band="r")
    image = parent.cutout(5, 35, 10, 25)
    write_image(image, tmp_path/"a.fits")
    again = {n: read_image(f"{tmp_path/'a.fits'}:{n}") for n in ("IMAGE", "IVAR", "DQ")}
    assert (again["IMAGE"].data == image.data).all() and (again["DQ"].data == image.dq).all()
    assert (again["IVAR"].data == image.ivar).all()
    assert again["IMAGE"].value("gain") == 2 and again["IMAGE"].value("saturation") is None
    # the cut-out's pixel (0, 0) is the parent's (5, 10)
    assert np.allclose(again["IMAGE"].wcs().all_pix2world(0, 0, 0), parent.wcs.all_pix2world(5, 10, 0), rtol=0, atol=1e-10)


def test_outputs_are_whole_or_not_there(tmp_path):
    path = tmp_path/"out.txt"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match="exists already"), atomic_path(path) as temporary:
        temporary.write_text("WHOLE")
    inode = path.stat().st_ino
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.stat().st_ino == inode and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"), atomic_path(path, True) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path/"file").touch()
    for path, message in ((tmp_path/"file"/"a", "is not a folder"), (tmp_path/"none"/"a", "is not a folder"),
                          (tmp_path, "is a folder; name a file in it")):
        with pytest.raises(OutputError, match=message):
            check_output(path, overwrite=True)


def test_a_device_is_never_replaced():
    with pytest.raises(OutputError, match="is a device"):
        check_output("/dev/null", overwrite=True)


def test_damaged_compressed_pixels_are_an_error_of_ours(tmp_path):
    path = tmp_path/"a.fits.fz"
    rng = np.random.default_rng(1)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(rng.normal(0, 9, (90, 80)).astype(np.float32), name="N4")]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        place, size = hdus[1].fileinfo()["datLoc"], hdus[1].size
    with open(path, "r+b") as stream:
        stream.seek(place)
        stream.write(b"\xff"*(size//2))
    with pytest.raises(DataFileError, match=r"a\.fits\.fz.*N4.*pixels cannot be read"):
        read_image(ImageName(path, "N4"))


def changed(path, before, after):
    """The file with bytes in the place of others, as many."""
    content = path.read_bytes()
    assert before in content and len(before) == len(after)
    path.write_bytes(content.replace(before, after, 1))
    return str(path)


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path/"pipe.fits")
    for path in (tmp_path/"pipe.fits", "/dev/zero"):
        with pytest.raises(DataFileError, match="is a pipe or a device"):
            read_image(str(path))


def test_an_hdu_of_less_than_no_size_ends_the_file(tmp_path):
    path = tmp_path/"a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(PLANE, name="A"), fits.ImageHDU(PLANE, name="B")]).writeto(path)
    changed(path, b"NAXIS1  =                    4", b"NAXIS1  =              -999999")
    packed = tmp_path/"a.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for name in (path, packed):
        with pytest.raises(DataFileError, match="it has no HDU B; it has no image"):
            read_image(f"{name}:B")


def test_cards_that_cannot_be_parsed_say_nothing(tmp_path):
    path = tmp_path/"a.fits"
    header = fits.Header(dict(GAIN=2., EXPTIME=30., SATURATE=True, MJD=1e300))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(PLANE, header, "A"), fits.ImageHDU(PLANE, header, "B")]).writeto(path)
    changed(path, b"EXTNAME = 'A       '", b"EXTNAME = 'A \0     \0")
    changed(path, b"GAIN    =                  2.0", b"GAIN    =                  2,0")
    image = read_image(f"{path}:1")
    assert image.hdu == 1 and image.value("gain") is None and image.value("exptime") == 30
    assert image.value("saturation") is None and np.isnan(image.mjd())
    assert read_image(f"{path}:B").value("gain") == 2


def test_pixels_beyond_float32_are_infinite_and_flags_whole(tmp_path):
    fits.PrimaryHDU(np.array([[1., -1e300], [np.nan, 1e300]])).writeto(tmp_path/"a.fits")
    image = read_image(str(tmp_path/"a.fits"))
    np.testing.assert_array_equal(image.floats(), np.array([[1, -np.inf], [np.nan, np.inf]], np.float32))
    with pytest.raises(DataFileError, match="flags are whole numbers"):
        image.flags()


@pytest.mark.parametrize("method", ["PLIO_1", "HCOMPRESS_1"])
def test_decompressors_that_trust_their_streams_do_no_harm(tmp_path, method):
    pixels = np.random.default_rng(1).integers(0, 99, (40, 40)).astype(np.int32)
    whole, path = tmp_path/"a.fits", tmp_path/"b.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type=method, tile_shape=(20, 40))]).writeto(whole)
    np.testing.assert_array_equal(read_image(str(whole)).data, pixels)
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    with fits.open(whole, disable_image_compression=True) as hdus:
        start = hdus[1].fileinfo()["datLoc"]+hdus[1].header["NAXIS1"]*hdus[1].header["NAXIS2"]
        length = hdus[1].header["PCOUNT"]
    refused = 0
    for seed in range(3):
        turned, rng = content.copy(), np.random.default_rng(seed)
        turned[start+rng.integers(0, length, 20)] ^= 0x55
        # the second word of a stream of runs is where it begins, the fourth its length
        turned[start+6] = 0x7f
        path.write_bytes(turned.tobytes())
        try:
            assert read_image(str(path)).data.shape == pixels.shape
        except DataFileError as problem:
            refused += 1
            assert "its pixels cannot be read" in str(problem)
    assert refused == 3 if method == "PLIO_1" else refused <= 3
