"""The validation border: what an image accepts, mends and refuses."""
import pickle

import numpy as np
import pytest
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty
from astropy.wcs import WCS

from crowdsource.core.errors import CrowdsourceError, InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image

SHAPE = (8, 9)
DATA = np.arange(72, dtype=float).reshape(SHAPE)
IVAR = np.full(SHAPE, 2.)


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2", "u2", "i8", "?"])
def test_any_real_dtype_and_byte_order(dtype):
    image = Image.from_arrays((DATA % 2).astype(dtype), IVAR.astype(">f8"))
    assert image.data.dtype == np.float32 and image.data.dtype.isnative and image.ivar.dtype == np.float32
    assert np.array_equal(image.data, DATA % 2)
    assert image.dq.dtype == np.uint32 and image.mask.dtype == np.uint16


def test_arrays_are_frozen_and_the_callers_are_left_alone():
    data, ivar = DATA.astype(np.float32), IVAR.astype(np.float32)
    data[0, 0] = np.nan
    image = Image.from_arrays(data, ivar, mask=np.zeros(SHAPE, np.uint16))
    for name in ("data", "ivar", "mask"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(image, name)[0, 0] = 1
    assert np.isnan(data[0, 0]) and ivar[0, 0] == 2
    data[1, 1] = 99
    ivar[1, 1] = 7
    with pytest.raises(TypeError):
        image.meta["a"] = 1


def test_arrays_may_be_taken_over_instead_of_copied():
    data, ivar = np.ones((8, 8), np.float32), np.ones((8, 8), np.float32)
    dq, mask = np.zeros((8, 8), np.uint32), np.zeros((8, 8), np.uint16)
    data[2, 3], dq[4, 4] = np.nan, 1
    copied = Image.from_arrays(data, ivar, dq, mask)
    assert all(a.flags.writeable for a in (data, ivar, dq, mask)) and np.isnan(data[2, 3]) and ivar[2, 3] == 1 and not mask.any()
    taken = Image.from_arrays(data, ivar, dq, mask, copy=False)
    assert taken.data is data and taken.ivar is ivar and taken.dq is dq and taken.mask is mask
    # what cannot be changed in place is copied
    again = Image.from_arrays(data, ivar, dq, mask, copy=False)
    for name in ("data", "ivar", "dq", "mask"):
        assert not np.shares_memory(getattr(again, name), getattr(taken, name))
        np.testing.assert_array_equal(getattr(taken, name), getattr(copied, name))


def test_pixels_that_are_not_finite_lose_their_weight_and_are_flagged():
    data, ivar = DATA.copy(), IVAR.copy()
    data[2, 3], data[4, 5], ivar[2, 3], ivar[6, 7] = np.nan, -np.inf, np.nan, 0
    image = Image.from_arrays(data, ivar)
    assert image.data[2, 3] == image.data[4, 5] == 0
    assert np.argwhere(~image.good).tolist() == [[2, 3], [4, 5], [6, 7]]
    assert image.mask[2, 3] == image.mask[4, 5] == ENGINE.nonfinite | ENGINE.bad
    assert image.mask[6, 7] == ENGINE.bad and image.mask[0, 0] == 0
    assert not image.ivar_estimated


def test_values_and_weights_that_float32_does_not_compute_with_count_as_not_finite():
    data, ivar = DATA.astype(np.float64), IVAR.copy()
    data[1, 1], data[1, 2], data[1, 3] = 1e300, -1e18, 1e16
    ivar[2, 2], ivar[2, 3] = 1e30, 1e-30
    image = Image.from_arrays(data, ivar)
    odd = np.zeros(SHAPE, bool)
    odd[1, 1:4] = odd[2, 2] = True
    np.testing.assert_array_equal(image.mask & ENGINE.nonfinite > 0, odd)
    # a weight of nothing is none, and no fault of the value
    odd[2, 3] = True
    np.testing.assert_array_equal(image.ivar == 0, odd)
    assert np.isfinite(image.data**2).all()


@pytest.mark.parametrize("kind", ["ivar", "weight"])
def test_marks_in_a_noise_map_are_bad_pixels(kind, caplog):
    noise_map = IVAR.copy()
    noise_map[1, :3], noise_map[3, 3], noise_map[5, 5:7] = np.nan, -4, np.inf
    data = DATA.copy()
    data[0, 0], noise_map[0, 0] = np.nan, -1
    image = Image.from_arrays(data, **{kind: noise_map})
    marked = (noise_map != 2)
    np.testing.assert_array_equal(~image.good, marked)
    np.testing.assert_array_equal(image.mask & ENGINE.bad > 0, marked)
    # what the map says where there is no value does not matter
    assert image.findings == (f"the {kind} is NaN on 3 pixels (4.2 %), negative on 1 pixel (1.4 %), "
                              "infinite on 2 pixels (2.8 %): they do not count",)
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == \
        [("crowdsource.core.image", "WARNING", image.findings[0])]
    assert np.isnan(noise_map[1, 0])


def test_marks_do_not_count_where_there_are_no_data():
    data = np.random.default_rng(1).normal(100, 3, (60, 60))
    data[:, :40] = 0
    image = Image.from_arrays(data, np.where(data == 0, np.inf, 1/9))
    assert (image.good == (data != 0)).all() and len(image.findings) == 1


def test_findings_stay_with_an_image():
    image = Image.from_arrays(DATA, np.where(DATA == 5, np.nan, 1.), findings=("before",))
    assert len(image.findings) == 2 and image.findings[0] == "before"
    for other in (image.cutout(1, 3, 1, 3), pickle.loads(pickle.dumps(image)), image.with_mask(image.mask),
                  image.masked(DATA > 70, ENGINE.saturated)):
        assert other.findings == image.findings
    assert Image.from_arrays(DATA, IVAR).findings == ()


def test_saturated_pixels_are_flagged_and_lose_their_weight():
    data = DATA.copy()
    data[1, 1] = np.inf
    image = Image.from_arrays(data, IVAR, saturation=60.)
    assert np.array_equal((image.mask & ENGINE.saturated) > 0, data >= 60)
    assert (image.ivar[data >= 60] == 0).all() and (image.ivar[data < 60] == 2).all()
    assert image.data[7, 0] == 63
    for unknown in (dict(), dict(saturation=np.inf), dict(saturation=np.nan)):
        image = Image.from_arrays(data, IVAR, **unknown)
        assert not (image.mask & ENGINE.saturated).any() and image.mask[1, 1] == ENGINE.nonfinite | ENGINE.bad


@pytest.mark.parametrize("arrays, message", [
    (dict(data=DATA[None], ivar=IVAR), r"data has shape \(1, 8, 9\).*choose one"),
    (dict(data=DATA[:0], ivar=IVAR[:0]), "shape"),
    (dict(data=DATA+1j, ivar=IVAR), "data has dtype complex128.*astype"),
    (dict(data=DATA.astype(object), ivar=IVAR), "data has dtype object"),
    (dict(data=DATA, ivar=np.ma.masked_array(IVAR)), "masked array.*mask"),
    (dict(data=DATA, ivar=IVAR[:-1]), r"ivar has shape \(7, 9\) but data has \(8, 9\)"),
    (dict(data=DATA, ivar=IVAR, dq=np.zeros((8, 8), int)), "dq has shape"),
    (dict(data=DATA, ivar=IVAR, mask=np.zeros((2, 2), int)), "mask has shape"),
    (dict(data=DATA, ivar=IVAR, dq=np.zeros(SHAPE)), "dq has dtype float64.*integers"),
    (dict(data=DATA, ivar=-IVAR), r"ivar is negative on 72 pixels \(100.0 %\).*check that this is the right map.*set it to 0"),
    (dict(data=DATA, weight=-IVAR), "weight is negative on 72 pixels"),
    (dict(data=DATA, ivar=np.where(DATA > 30, np.inf, 1.)), "ivar is infinite on 41 pixels.*variance of 0 cannot be right"),
    (dict(data=DATA, ivar=np.full(SHAPE, np.nan)), "no good pixel"),
    (dict(data=DATA, ivar=np.zeros(SHAPE)), "no good pixel"),
    (dict(data=np.full(SHAPE, np.nan), ivar=IVAR), "no good pixel"),
])
def test_what_is_refused_and_why(arrays, message):
    with pytest.raises(InputError, match=message) as caught:
        Image.from_arrays(**arrays)
    assert isinstance(caught.value, CrowdsourceError) and isinstance(caught.value, ValueError)


def test_metadata_is_kept():
    image = Image.from_arrays(DATA, IVAR, band="r", gain=2., meta=dict(OBSERVER="me"), origin=(3, 4))
    assert (image.band, image.gain, image.meta["OBSERVER"], image.origin) == ("r", 2, "me", (3, 4))
    assert np.isnan(image.zeropoint) and image.saturation == np.inf


def test_cutouts_remember_where_they_come_from():
    image = Image.from_arrays(DATA, IVAR, origin=(100, 200))
    part = image.cutout(2, 7, 1, 4)
    assert part.shape == (3, 5) and part.origin == (102, 201)
    assert np.array_equal(part.data, DATA[1:4, 2:7]) and not part.data.flags.writeable
    assert part.cutout(1, 2, 1, 2).origin == (103, 202)
    for box in ((3, 3, 0, 5), (0, 10, 0, 5), (-1, 4, 0, 5), (0, 4, 5, 2)):
        with pytest.raises(InputError, match="cut-out"):
            image.cutout(*box)


def test_masked_makes_a_new_image():
    image = Image.from_arrays(DATA, IVAR)
    new = image.masked(DATA > 70, ENGINE.saturated)
    assert new.ivar[7, 8] == 0 and new.mask[7, 8] == ENGINE.saturated | ENGINE.bad
    assert image.ivar[7, 8] == 2 and image.mask[7, 8] == 0
    other = image.with_mask(np.full(SHAPE, ENGINE.sharp))
    assert (other.mask == ENGINE.sharp).all() and other.mask.dtype == np.uint16 and (image.mask == 0).all()


@pytest.mark.parametrize("uncertainty, ivar", [(StdDevUncertainty(np.full(SHAPE, 2.)), 0.25),
                                               (InverseVariance(np.full(SHAPE, 3.)), 3.)])
def test_nddata_of_any_uncertainty(uncertainty, ivar):
    wcs = WCS(naxis=2)
    mask = DATA == 3
    image = Image.from_nddata(NDData(DATA, uncertainty=uncertainty, mask=mask, wcs=wcs), band="g")
    assert image.ivar[5, 5] == pytest.approx(ivar) and image.ivar[0, 3] == 0 and image.band == "g"
    assert image.wcs is not None
    assert np.array_equal(image.data, DATA)


def test_ccddata():
    image = Image.from_nddata(CCDData(DATA, unit="adu", uncertainty=StdDevUncertainty(np.full(SHAPE, 2.))))
    assert image.ivar[0, 0] == pytest.approx(0.25)


def test_images_are_compared_by_identity():
    one, two = (Image.from_arrays(np.ones((5, 6)), np.ones((5, 6))) for _ in range(2))
    assert [one, two].index(two) == 1 and len({one, two}) == 2


@pytest.mark.parametrize("name", ["mask", "dq", "bad"])
def test_a_boolean_plane_excludes_where_it_is_true(name):
    data = np.random.default_rng(0).normal(100, 3, (40, 50))
    out = np.zeros(data.shape, bool)
    out[5:9, 7:11] = True
    for ivar in (None, np.full(data.shape, 1/9)):
        image = Image.from_arrays(data, ivar, **{name: out})
        assert (image.good == ~out).all() and (image.mask[out] & ENGINE.bad > 0).all()
    bits = np.where(out, 1 << 5, 0)
    if name == "dq":
        assert Image.from_arrays(data, dq=bits).good.all()


def test_a_masked_array_excludes_where_it_is_masked():
    data = np.ma.masked_greater(np.random.default_rng(0).normal(100, 3, (40, 50)), 104)
    assert data.mask.any()
    assert (Image.from_arrays(data).good == ~data.mask).all()


def test_units_go_through():
    from astropy import units

    from crowdsource import fit
    from crowdsource.simulate import SimulationConfig, simulate_field
    simulation = simulate_field(SimulationConfig(shape=(120, 120), stars=20, saturated_stars=0))
    data, unit = simulation.data, units.Unit("MJy/sr")
    images = [Image.from_arrays(data*unit, simulation.ivar/unit**2),
              Image.from_arrays(data*unit, simulation.ivar*1e-6/units.Unit("kJy/sr")**2),
              Image.from_nddata(CCDData(data, unit=unit, uncertainty=InverseVariance(simulation.ivar)))]
    for image in images:
        catalog = fit(image).catalog
        assert catalog["flux"].unit == unit and catalog["dflux"].unit == unit and catalog["sky"].unit == unit
        assert np.allclose(image.ivar, simulation.ivar, rtol=1e-5)
    with pytest.raises(InputError, match="ivar is in"):
        Image.from_arrays(data*unit, simulation.ivar/units.s)
