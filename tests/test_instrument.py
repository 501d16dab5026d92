"""The registry of instruments, options, and the generic adapter against the conformance suite."""
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest
from crowdsource.instruments.flag_planes import grown, plateau
from crowdsource.instruments.generic import ANY, Generic, bits, box
from small_fields import NOISE, star_image, tan_wcs, write_fits

from crowdsource.core import registry
from crowdsource.core.errors import InstrumentError
from crowdsource.core.flags import ENGINE
from crowdsource.core.registry import Registry
from crowdsource.exposure import instrument as contract
from crowdsource.exposure.instrument import Instrument, Option, WritesImages, complete, load, recognised, registered, require
from crowdsource.testing import InstrumentContract

SHAPE = (48, 64)


def read(path, **options):
    """The image of a generic exposure."""
    exposure = Generic().open(str(path), **options)
    return exposure.read(exposure.tasks()[0])


@pytest.fixture
def files(tmp_path):
    """An image, its noise in four forms, and flags."""
    data = star_image(SHAPE, [20.3, 45.6], [30.2, 15.1], [6000., 3000.])
    write_fits(tmp_path/"im.fits", data, tan_wcs(SHAPE).to_header(), GAIN=2., RDNOISE=5., SATURATE=1000., MAGZERO=27.,
               EXPTIME=30., FILTER="r", OBJECT="a field")
    sigma = np.full(SHAPE, NOISE)
    sigma[:, 40:] = 2*NOISE
    for name, plane in (("ivar", sigma**-2), ("inverse_sigma", 1/sigma), ("rms", sigma), ("weight", 55/sigma**2)):
        plane[3, 4] = 0
        write_fits(tmp_path/f"{name}.fits", plane)
    dq = np.zeros(SHAPE, np.int16)
    dq[10, 10], dq[20, 20], dq[30, 30] = 1, 2, 12
    write_fits(tmp_path/"dq.fits", dq)
    return tmp_path


class TestGeneric(InstrumentContract):
    """The generic adapter."""

    @pytest.fixture
    def sample(self, files):
        return Generic(), str(files/"im.fits"), dict(ivar=str(files/"ivar.fits"), dq=str(files/"dq.fits"))

    def reopened(self, instrument, path, options):
        return read(path, ivar=f"{path}:IVAR", dq=f"{path}:DQ")


class Other(Instrument):
    """A camera that claims what its header names."""
    name = "other"
    summary = "another camera"
    options = (Option("side", int, 3, help="a side"),)

    def claims(self, path, header):
        return header.get("INSTRUME") == "OTHER"

    def open(self, path, **options):
        raise NotImplementedError


class Broken(Other):
    """A camera that cannot be made."""

    def __init__(self):
        raise RuntimeError("no disk")


class Twin(Other):
    """The same under another name."""
    name = "twin"


def point(name, target):
    return EntryPoint(name, f"{__name__}:{target}" if target.isidentifier() else target, "crowdsource.instruments")


@pytest.fixture
def registry_of(monkeypatch):
    """Makes a registry of some entry points the one of this test."""
    def use(*points):
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        monkeypatch.setattr(contract, "INSTRUMENTS", Registry("crowdsource.instruments", "instrument", {}, error=InstrumentError,
                                                              keeps=contract.is_instrument))
    return use


def test_the_generic_adapter_is_installed():
    assert "generic" in registered()
    assert isinstance(load("generic"), Generic)


def test_an_instrument_can_be_handed_over():
    other = Other()
    assert load(other) is other and isinstance(load(Other), Other)
    with pytest.raises(InstrumentError, match="is no instrument"):
        load(dict)


def test_instruments_that_cannot_be_had(registry_of):
    registry_of(point("missing", "no_such_module:B"), point("strange", "SimpleNamespace"), point("other", "Other"),
                point("broken", "Broken"))
    assert isinstance(load("other"), Other)
    with pytest.raises(InstrumentError, match="no instrument 'decam': choose one of broken, missing, other, strange"):
        load("decam")
    with pytest.raises(InstrumentError, match=r"'missing' \(no_such_module:B\) cannot be loaded: No module"):
        load("missing")
    with pytest.raises(InstrumentError, match=r"strange \(.*:SimpleNamespace\) is no instrument"):
        load("strange")
    with pytest.raises(InstrumentError, match="broken cannot be made: no disk; update or uninstall"):
        load("broken")


def test_two_of_one_name_are_an_error(registry_of):
    registry_of(point("other", "Other"), point("other", "Twin"))
    with pytest.raises(InstrumentError, match="'other' is registered as .*:Other and .*:Twin: uninstall one"):
        load("other")
    # the same one seen twice, as with two copies of a path, is none
    registry_of(point("other", "Other"), point("other", "Other"))
    assert registered() == ("other",) and isinstance(load("other"), Other)


def test_who_reads_a_file(registry_of, tmp_path):
    path = write_fits(tmp_path/"a.fits", np.zeros((4, 4), np.float32), INSTRUME="OTHER")
    registry_of(point("other", "Other"), point("generic", "Generic"))
    assert recognised(path).name == "other"
    # what cannot be read as FITS, for whatever reason, is for the one of any image
    assert recognised(write_fits(tmp_path/"b.fits", np.zeros((4, 4), np.float32))).name == "generic"
    assert recognised(str(tmp_path/"none.asdf")).name == "generic"
    registry_of(point("other", "Other"), point("twin", "Twin"))
    with pytest.raises(InstrumentError, match=r"several instruments claim it \(other, twin\): name one, as in crowdsource other"):
        recognised(path)


def test_options_are_completed_and_converted():
    options = Option("side", int, 3), Option("name")
    assert complete(options, {}) == dict(side=3, name=None)
    assert complete(options, dict(side="7", name=None)) == dict(side=7, name=None)
    with pytest.raises(InstrumentError, match="option side: 'x' cannot be used"):
        complete(options, dict(side="x"))


def test_bits():
    assert bits("0,3,5") == bits("0x29") == bits("0b101001") == bits([0, 3, 5]) == bits(41) == 41
    assert bits("any") == ANY and bits("none") == 0 and bits(ANY) == ANY
    for wrong in ("x", "1-3", "40", -1, ""):
        with pytest.raises(ValueError, match="bit"):
            bits(wrong)


def test_box():
    assert box("1:20,3:4") == box([1, 20, 3, 4]) == (1, 20, 3, 4)
    for wrong in ("1:2", "1:2,3:x", [1, 2]):
        with pytest.raises(ValueError):
            box(wrong)


@pytest.mark.parametrize("kind", ["ivar", "inverse_sigma", "rms"])
def test_noise_maps_mean_the_same(files, kind):
    image = read(files/"im.fits", **{kind: str(files/f"{kind}.fits")}, saturation=1e6)
    wanted = np.full(SHAPE, NOISE**-2)
    wanted[:, 40:] /= 4
    wanted[3, 4] = 0
    # float32 planes, squared
    assert image.ivar == pytest.approx(wanted, rel=1e-6)
    assert not image.ivar_estimated and image.mask[3, 4] == ENGINE.bad


def test_marks_of_an_rms_map_are_counted_by_kind(tmp_path):
    write_fits(tmp_path/"im.fits", star_image(SHAPE))
    rms = np.full(SHAPE, NOISE)
    rms[2, :4], rms[3, :3], rms[4, :2], rms[5, :1] = 0, np.inf, -9, np.nan
    write_fits(tmp_path/"rms.fits", rms)
    image = read(tmp_path/"im.fits", rms=str(tmp_path/"rms.fits"))
    assert (image.good == (rms == NOISE)).all()
    sentence, = image.findings
    at = [sentence.index(part) for part in ("NaN on 1 pixel ", "negative on 2 pixels", "infinite on 3 pixels", "0 on 4 pixels")]
    assert sentence.startswith("the rms is") and at == sorted(at)


def test_weights_take_their_scale_from_the_image(tmp_path):
    shape = (256, 256)
    sigma = np.where(np.arange(256) < 128, 1., 3.)*np.ones(shape)
    write_fits(tmp_path/"im.fits", np.random.default_rng(1).normal(10, 1, shape)*sigma)
    write_fits(tmp_path/"wht.fits", 1234/sigma**2)
    image = read(tmp_path/"im.fits", weight=str(tmp_path/"wht.fits"))
    assert image.ivar == pytest.approx(1/sigma**2, rel=0.06)
    assert image.ivar_estimated


def test_header_and_options(files):
    image = read(files/"im.fits")
    assert (image.gain, image.saturation, image.zeropoint, image.exptime, image.band) == (2, 1000, 27, 30, "r")
    assert image.exposure == "im" and image.ivar_estimated and image.wcs is not None
    image = read(files/"im.fits", gain=3, saturation=2000, zeropoint=0.)
    assert (image.gain, image.saturation, image.zeropoint) == (3, 2000, 0)


def test_electrons_have_a_gain_of_one(tmp_path):
    write_fits(tmp_path/"im.fits", star_image(SHAPE), GAIN=2.2, BUNIT="electron")
    assert read(tmp_path/"im.fits").gain == 1
    assert read(tmp_path/"im.fits", gain=4).gain == 4


def test_flags(files):
    path, dq = files/"im.fits", str(files/"dq.fits")
    image = read(path, dq=dq, saturation=1e6)
    assert set(zip(*np.nonzero(~image.good))) == {(10, 10), (20, 20), (30, 30)}
    assert image.dq[30, 30] == 12
    image = read(path, dq=dq, bad_bits="0", nodeblend_bits="1", sharp_bits="0x4", saturation=1e6)
    assert set(zip(*np.nonzero(~image.good))) == {(10, 10)}
    assert image.mask[20, 20] == ENGINE.nodeblend and image.mask[30, 30] == ENGINE.sharp
    assert read(path, dq=dq, bad_bits="none", saturation=1e6).good.all()


def test_saturated_pixels_grow_by_two(tmp_path):
    data = np.random.default_rng(1).normal(100, 3, SHAPE)
    data[20, 30] = data[0, 0] = 500
    write_fits(tmp_path/"im.fits", data, SATURATE=500.)
    image = read(tmp_path/"im.fits")
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    near = (np.hypot(y-20, x-30) <= 2) | (np.hypot(y, x) <= 2)
    assert ((image.mask & ENGINE.saturated > 0) == near).all()
    assert (image.good == ~near).all()


def test_grown_keeps_to_the_image():
    where = np.zeros((4, 9), bool)
    where[3, 8] = True
    assert grown(where, 2).sum() == 6
    assert not grown(np.zeros((3, 3), bool), 2).any()


def test_plateau():
    data = star_image((60, 60), [30.], [30.], [1e6])
    assert plateau(data) == np.inf
    assert plateau(np.minimum(data, 5000)) == 5000
    assert plateau(np.minimum(np.round(10*data), 65300).astype(np.uint16)) == 65300
    assert plateau(np.minimum(np.round(data/10), 300)) == np.inf
    # the highest values of bare noise repeat, but not far above the rest; nor does a constant image saturate
    assert plateau(np.random.default_rng(1).integers(0, 10, (50, 50))) == np.inf
    assert plateau(np.full((20, 20), 7.)) == np.inf
    assert plateau(np.full((20, 20), np.nan)) == np.inf


def test_a_plateau_below_the_header_s_level_counts(tmp_path):
    data = np.minimum(star_image((60, 60), [30.], [30.], [1e6]), 5000)
    write_fits(tmp_path/"im.fits", data, SATURATE=65535)
    assert read(tmp_path/"im.fits").saturation == 5000
    assert read(tmp_path/"im.fits", saturation=60000).saturation == 60000


def test_cutout_is_in_the_parent_s_pixels(files):
    whole = read(files/"im.fits", dq=str(files/"dq.fits"), ivar=str(files/"ivar.fits"))
    part = read(files/"im.fits", dq=str(files/"dq.fits"), ivar=str(files/"ivar.fits"), cutout="5:35,8:40")
    assert part.origin == (5, 8) and part.shape == (32, 30)
    for name in ("data", "ivar", "dq"):
        assert (getattr(part, name) == getattr(whole, name)[8:40, 5:35]).all()


def test_identity_and_detection_ids(files):
    generic = Generic()
    names = [generic.open(str(files/n), **o).identity for n, o in
             (("im.fits", {}), ("im.fits:0", {}), ("dq.fits", {}), ("im.fits", dict(cutout="0:9,0:9")))]
    assert names == ["im", "im:0", "dq", "im[0:9,0:9]"]
    for name, stem in (("a.b.fits.fz", "a.b"), ("a.fit", "a"), ("x.FITS.gz", "x"), ("y", "y")):
        assert generic.open(name).identity == stem
    ids = []
    for name in ("a", "b"):
        image = SimpleNamespace(exposure=name, detector="")
        ids.append(generic.extra_columns(image, SimpleNamespace(rows=np.arange(5)))["detection_id"])
    assert (ids[0] & 0xFFFFFFFF == np.arange(5)).all() and (ids[0] >= 0).all() and ids[0][0] != ids[1][0]
    assert len(set(ids[0] >> 32)) == 1


def test_psf_prior(files):
    generic = Generic()
    image = read(files/"im.fits", fwhm=5)
    assert generic.psf_prior(image).fwhm() == pytest.approx(5, rel=0.05)
    assert generic.psf_prior(read(files/"im.fits")) is None
    write_fits(files/"psf.fits", np.exp(-0.5*np.hypot(*np.mgrid[-10:11, -10:11])**2/1.5**2))
    # a Gaussian of 1.5 px has a FWHM of 3.53 px
    assert generic.psf_prior(read(files/"im.fits", psf=str(files/"psf.fits"))).fwhm() == pytest.approx(3.53, rel=0.03)


def test_defaults_of_the_contract(files):
    other, image = Other(), read(files/"im.fits")
    assert other.tiling(image) is None and other.psf_prior(image) is None
    with pytest.raises(InstrumentError, match="other cannot write images"):
        require(other, WritesImages)
    require(Generic(), WritesImages)
