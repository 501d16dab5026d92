"""PSFs from users' files of every form, and what is said of files that hold none."""
import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import NDData

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.psf.adopt import as_psf, values_at
from crowdsource.psf.formats.nodes import psf_of_nodes
from crowdsource.psf.formats.reading import read_psf
from crowdsource.psf.initial import check_width
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import SimulationConfig, simulate_field

SHAPE = (200, 160)
SIDE = 45


def profile(step, fwhm=4., e1=0., side=SIDE, aside=0.):
    """An elliptical Gaussian sampled every `step` pixels, unit flux in the plane."""
    at = (np.arange(side)-side//2)*step
    s = fwhm/2.3548
    return np.exp(-(((at[None, :]-aside)/(s*(1+e1)))**2+(at[:, None]/s)**2)/2)


def native(fwhm=4., e1=0., fx=0., fy=0., size=15):
    at = np.arange(size)-size//2
    s = fwhm/2.3548
    stamp = np.exp(-(((at[None, :]-fx)/(s*(1+e1)))**2+((at[:, None]-fy)/s)**2)/2)
    return stamp/(2*np.pi*s*s*(1+e1))


def psfex(path, sampling=0.5, names=("X_IMAGE", "Y_IMAGE"), degree=2, groups=1, zero=(81., 101.), scale=(160., 200.)):
    """A .psf file whose profile is elongated linearly and quadratically with the position."""
    if names[0] == "Y_IMAGE":
        zero, scale = zero[::-1], scale[::-1]
    round_, long_ = profile(sampling), profile(sampling, e1=0.1)
    planes = np.zeros(((degree+1)*(degree+2)//2, SIDE, SIDE), np.float32)
    planes[0] = round_
    # terms 1, a, a^2, b, ab, b^2 of the two variables: x-slope, and y^2
    if names[0] == "Y_IMAGE":
        planes[degree+1], planes[2] = long_-round_, 0.5*(long_-round_)
    else:
        planes[1], planes[2*degree+1] = long_-round_, 0.5*(long_-round_)
    columns = [fits.Column("PSF_MASK", f"{planes.size}E", dim=f"({SIDE},{SIDE},{len(planes)})", array=planes[None])]
    table = fits.BinTableHDU.from_columns(columns, name="PSF_DATA")
    cards = dict(POLNAXIS=2, POLNAME1=names[0], POLNAME2=names[1], POLZERO1=zero[0], POLZERO2=zero[1], POLSCAL1=scale[0],
                 POLSCAL2=scale[1], POLGRP1=1, POLGRP2=1, POLNGRP=groups, POLDEG1=degree, PSF_SAMP=sampling, PSF_FWHM=4.)
    table.header.update(cards)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def mixture(x, y):
    """Weight of the long profile at 0-based pixels, by the header's definition."""
    u, v = (x+1-81)/160, (y+1-101)/200
    return u+0.5*v*v


@pytest.mark.parametrize("sampling", [0.5, 0.77, 1.2])
@pytest.mark.parametrize("names", [("X_IMAGE", "Y_IMAGE"), ("Y_IMAGE", "X_IMAGE")])
def test_psfex_models_keep_shape_sampling_and_variation(tmp_path, sampling, names):
    psf = read_psf(psfex(tmp_path/"a.psf", sampling, names), SHAPE, norm_size=25)
    assert psf.profile.order == 2
    for x, y in ((0, 0), (159, 0), (40, 150), (80, 100), (159, 199)):
        w = mixture(x, y)
        for fx, fy in ((0, 0), (0.3, -0.4)):
            one, two = native(fx=fx, fy=fy), native(e1=0.1, fx=fx, fy=fy)*1.1
            true = ((1-w)*one+w*two)/(1-w+w*1.1)
            stamp = psf.render([x+fx], [y+fy], 15)[0]
            # quintic splines twice, 3e-4 each where there are 2 samples a FWHM/2.35; norms over 25 px: 1e-4
            assert np.abs(stamp-true).max() < 2e-3*true.max()
    assert np.abs(psf.stamp(15, 159, 199)-psf.stamp(15, 0, 0)).max() > 0.03*native().max()


def test_psfex_counts_pixels_from_one(tmp_path):
    psf = read_psf(psfex(tmp_path/"a.psf", zero=(1., 1.), scale=(4., 4.)), (5, 5), norm_size=25)
    # at the first pixel the round profile alone, at the last of the first row the long one
    for x, true in ((0, native()), (4, native(e1=0.1))):
        assert np.abs(psf.stamp(15, x, 0)-true).max() < 2e-3*true.max()


def test_psfex_model_that_depends_on_more_than_the_position(tmp_path):
    with pytest.raises(DataFileError, match=r"b.psf\[PSF_DATA\].*MAG_AUTO.*PSFVAR_KEYS"):
        read_psf(psfex(tmp_path/"b.psf", names=("X_IMAGE", "MAG_AUTO")), SHAPE)
    with pytest.raises(DataFileError, match="2 group"):
        read_psf(psfex(tmp_path/"c.psf", groups=2), SHAPE)


def test_plain_stamp(tmp_path):
    path = tmp_path/"stamp.fits"
    fits.PrimaryHDU((7*profile(1., side=31)).astype(">f4")).writeto(path)
    psf = read_psf(path, SHAPE)
    assert psf.shape == SHAPE and psf.stamp(59).sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(psf.render([9.3], [8.6], 15)[0]-native(fx=0.3, fy=-0.4)).max() < 1e-3*native().max()


@pytest.mark.parametrize("keyword", ["OVERSAMP", "HIERARCH OVERSAMPLING"])
def test_oversampled_stamp_in_a_named_hdu(tmp_path, keyword):
    path = tmp_path/"stamp.fits"
    fine = fits.ImageHDU(profile(1/3, fwhm=2.5, side=91, aside=0.4), name="FINE")
    fine.header[keyword] = 3
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(profile(1., side=31), name="COARSE"), fine]).writeto(path)
    for hdu in ("FINE", 2, "2"):
        psf = read_psf(path, SHAPE, hdu)
        # the centroid, not the middle of the array, is the position
        for fx, fy in ((0., 0.), (0.3, -0.4)):
            assert np.abs(psf.render([9+fx], [9+fy], 15)[0]-native(2.5, fx=fx, fy=fy)).max() < 2e-3*native(2.5).max()
    assert np.abs(read_psf(path, SHAPE).stamp(15)-native()).max() < 1e-3*native().max()


def test_our_own_files_come_back_exactly(tmp_path):
    varying = np.array([[4., 0.2, 0.1], [0., 0.1, 0.], [0., 0., 0.], [3., 0., 0.]])
    psf = FieldPSF.of(MoffatProfile(varying, SHAPE, 1), norm_size=41)
    path = tmp_path/"x.cat.fits"
    fits.HDUList([fits.PrimaryHDU(), *psf.to_hdus()]).writeto(path)
    again = read_psf(path, SHAPE)
    assert np.array_equal(again.stamp(41, 3, 9), psf.stamp(41, 3, 9)) and again.norm_size == 41
    with pytest.raises(DataFileError, match=r"varies over an image of shape \(200, 160\)"):
        read_psf(path, (50, 50))


def test_our_own_constant_psf_serves_any_image(tmp_path):
    psf = FieldPSF.moffat(SHAPE, 3.)
    path = tmp_path/"x.fits"
    fits.HDUList([fits.PrimaryHDU(), *psf.to_hdus()]).writeto(path)
    again = read_psf(path, (50, 60))
    assert again.shape == (50, 60) and again.profile.shape == (50, 60)
    assert np.array_equal(again.stamp(19), psf.stamp(19))


def stdpsf(path, change=None):
    x, y = (1, 81, 160), (1, 100, 200)
    cube = np.array([profile(0.25, fwhm=3., e1=0.1*j, side=61) for i in range(3) for j in range(3)])
    hdu = fits.PrimaryHDU(cube.astype(np.float32))
    hdu.header.update(dict(NXPSFS=3, NYPSFS=3, **{f"IPSFX{k:02d}": v for k, v in enumerate(x, 1)},
                           **{f"JPSFY{k:02d}": v for k, v in enumerate(y, 1)}))
    if change:
        change(hdu.header)
    hdu.writeto(path)
    return path


def test_gridded_cube(tmp_path):
    psf = read_psf(stdpsf(tmp_path/"STDPSF.fits"), SHAPE)
    # bilinear between the nodes, which need not be at equal steps
    for x, e1 in ((0, 0.), (40, 0.05), (80, 0.1), (159, 0.2)):
        stamp = psf.render([x+0.3], [100.], 13)[0]
        true = native(3., e1, 0.3, 0., 13)
        # the cut of the stamps at 7.5 px costs 1e-3 of the flux; a wrong node would be 9 % off
        assert np.abs(stamp-true).max() < 5e-3*true.max()


@pytest.mark.parametrize("name, hdus, message", [
    ("flat", [fits.PrimaryHDU(np.zeros((9, 9)))], "empty"),
    ("nan", [fits.PrimaryHDU(np.full((9, 9), np.nan))], "NaN"),
    ("oblong", [fits.PrimaryHDU(np.ones((9, 7)))], "square"),
    ("none", [fits.PrimaryHDU()], "no HDU holds a PSF"),
    ("cube", [fits.PrimaryHDU(np.ones((3, 9, 9)))], "NXPSFS"),
    ("table", [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.])])], "no HDU holds a PSF"),
])
def test_files_that_hold_no_psf(tmp_path, name, hdus, message):
    path = tmp_path/f"{name}.fits"
    fits.HDUList(hdus).writeto(path)
    with pytest.raises(DataFileError, match=rf"{name}.fits.*{message}"):
        read_psf(path, SHAPE)


def test_hdu_that_is_not_there_or_no_image(tmp_path):
    path = tmp_path/"a.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.])], name="CAT")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(profile(1.), name="STAMP"), table]).writeto(path)
    for hdu in ("PSF", 7, "9"):
        with pytest.raises(DataFileError, match=r"a.fits\[.*no such HDU; it has 0 PRIMARY, 1 STAMP, 2 CAT"):
            read_psf(path, SHAPE, hdu)
    for hdu in (0, "CAT"):
        with pytest.raises(DataFileError, match="holds no PSF"):
            read_psf(path, SHAPE, hdu)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataFileError, match="missing.fits"):
        read_psf(tmp_path/"missing.fits", SHAPE)
    (tmp_path/"text.fits").write_text("no FITS at all\n"*300)
    with pytest.raises(DataFileError, match="text.fits.*cannot be read as FITS"):
        read_psf(tmp_path/"text.fits", SHAPE)
    whole = tmp_path/"whole.fits"
    fits.PrimaryHDU(np.ones((101, 101))).writeto(whole)
    (tmp_path/"cut.fits").write_bytes(whole.read_bytes()[:20000])
    with pytest.raises(DataFileError, match="cut.fits"):
        read_psf(tmp_path/"cut.fits", SHAPE)


@pytest.mark.parametrize("value", [0, 2.5, "two", True])
def test_oversampling_that_is_no_number_of_samples(tmp_path, value):
    hdu = fits.PrimaryHDU(profile(1.))
    hdu.header["OVERSAMP"] = value
    hdu.writeto(tmp_path/"a.fits")
    with pytest.raises(DataFileError, match="OVERSAMP.*whole number"):
        read_psf(tmp_path/"a.fits", SHAPE)


@pytest.mark.parametrize("change, message", [
    (lambda h: h.update(NXPSFS=2), "9 planes but NXPSFS x NYPSFS is 2 x 3"), (lambda h: h.remove("JPSFY02"), "JPSFY02")])
def test_cubes_whose_header_does_not_fit(tmp_path, change, message):
    with pytest.raises(DataFileError, match=message):
        read_psf(stdpsf(tmp_path/"a.fits", change), SHAPE)


def test_a_stamp_with_even_sides_gets_its_star_into_the_middle(tmp_path, caplog):
    at = np.arange(40)-19.5
    stamp = np.exp(-0.5*(at[:, None]**2+at**2)/2.2**2)
    fits.writeto(tmp_path/"even.fits", stamp)
    with caplog.at_level(logging.INFO):
        psf = read_psf(tmp_path/"even.fits", SHAPE)
    assert "moved by half a sample" in caplog.text
    at = np.arange(41)-20
    assert np.abs(psf.stamp(41)-np.exp(-0.5*(at[:, None]**2+at**2)/2.2**2)/(2*np.pi*2.2**2)).max() < 2e-4


@pytest.mark.parametrize("header, samples", [(dict(OVERSAMP=3), 3), (dict(DET_SAMP=4, OVERSAMP=4), 4),
                                             (dict(DET_SAMP=1, OVERSAMP=4), 1), ({}, 1)])
def test_keywords_of_samples_in_a_pixel(tmp_path, header, samples):
    at = np.arange(61)-30
    fits.writeto(tmp_path/"a.fits", np.exp(-0.5*(at[:, None]**2+at**2)/9.**2), fits.Header(header))
    assert read_psf(tmp_path/"a.fits", SHAPE).profile.oversampling == samples


@pytest.mark.parametrize("factor, doubted", [(4., True), (1., False), (0.4, True)])
def test_a_psf_unlike_the_stars_is_doubted(caplog, factor, doubted):
    field = simulate_field(SimulationConfig(shape=(300, 300), stars=400., fwhm=3.5, seed=3))
    check_width(FieldPSF.moffat((300, 300), 3.5*factor), field.image())
    assert ("bright stars of the image one of" in caplog.text) == doubted and ("OVERSAMP" in caplog.text) == (factor > 1)


def three_by_three():
    """Stamps of a star that changes along x, with their positions in x and y, in no order."""
    where = [(x, y) for y in (0., 100., 199.) for x in (0., 80., 159.)]
    order = np.random.default_rng(1).permutation(9)
    stamps = np.array([profile(0.25, fwhm=3., e1=0.2*where[k][0]/159, side=61) for k in order])
    return stamps/stamps.sum(axis=(1, 2))[:, None, None], *np.array([where[k] for k in order]).T


def right(psf):
    """Whether a PSF is that of `three_by_three`, at nodes and between them."""
    for x, e1 in ((0, 0.), (40, 0.05), (159, 0.2)):
        true = native(3., e1, 0.3, 0., 13)
        assert np.abs(psf.render([x+0.3], [100.], 13)[0]-true).max() < 6e-3*true.max()


def test_a_grid_of_stpsf(tmp_path):
    stamps, x, y = three_by_three()
    hdu = fits.PrimaryHDU(stamps.astype(np.float32))
    hdu.header["OVERSAMP"] = 4
    for k in range(9):
        hdu.header[f"DET_YX{k}"] = f"({y[k]}, {x[k]})"
    hdu.writeto(tmp_path/"grid.fits")
    right(read_psf(tmp_path/"grid.fits", SHAPE))
    del hdu.header["DET_YX4"]
    hdu.writeto(tmp_path/"damaged.fits")
    with pytest.raises(DataFileError, match="damaged.fits.*DET_YX"):
        read_psf(tmp_path/"damaged.fits", SHAPE)


def test_a_reference_file_of_roman(tmp_path):
    asdf = pytest.importorskip("asdf", reason="asdf is not installed")
    stamps, x, y = three_by_three()
    planes = np.zeros((2, 3, *stamps.shape))
    planes[0, 1] = stamps
    asdf.AsdfFile({"roman": {"psf": planes, "meta": {"oversample": 4, "pixel_x": list(x), "pixel_y": list(y)}}}).write_to(
        tmp_path/"epsf.asdf")
    right(read_psf(tmp_path/"epsf.asdf", SHAPE))
    asdf.AsdfFile({"roman": {"data": planes}}).write_to(tmp_path/"image.asdf")
    with pytest.raises(DataFileError, match="image.asdf.*roman.psf"):
        read_psf(tmp_path/"image.asdf", SHAPE)


def test_models_of_photutils_as_objects():
    models = pytest.importorskip("photutils.psf", reason="photutils is not installed")
    stamps, x, y = three_by_three()
    grid = models.GriddedPSFModel(NDData(16*stamps, meta=dict(grid_xypos=list(zip(x, y)), oversampling=4)))
    psf = as_psf(grid, SHAPE)
    right(psf)
    assert as_psf(psf, SHAPE) is psf
    # as photutils itself renders it, where neither interpolates samples
    at = np.mgrid[:13, :13]
    for px, py in ((0., 100.), (80., 0.), (119.5, 149.5)):
        own, corner = psf.render([px], [py], 13)[0], np.floor([px+0.5, py+0.5])-6
        other = grid.evaluate(at[1]+corner[0], at[0]+corner[1], 1., px, py)
        assert np.abs(own/own.sum()-other/other.sum()).max() < 1e-5*(own/own.sum()).max()
    one = as_psf(models.ImagePSF(stamps[0], oversampling=4), SHAPE)
    assert not one.varies and one.shape == SHAPE
    with pytest.raises(InputError, match="ndarray.*PSF model of photutils"):
        as_psf(stamps[0], SHAPE)
    with pytest.raises(InputError, match="no grid"):
        psf_of_nodes(stamps[:8], x[:8], y[:8], SHAPE, 4, 59)


# at middles of pixels nothing is interpolated but positions; at other phases quintic splines through 1 to 3 samples in a pixel
# differ by up to 3e-4 from photutils' cubic ones through 4
@pytest.mark.parametrize("fwhm, anywhere", [(1.4, 5e-4), (1.8, 5e-4), (3., 5e-5), (4., 3e-4)])
def test_a_stdpsf_file_is_rendered_as_by_photutils(tmp_path, fwhm, anywhere):
    models = pytest.importorskip("photutils.psf", reason="photutils is not installed")
    where = [(x, y) for y in (0, 100, 199) for x in (0, 80, 159)]
    stamps = np.array([profile(0.25, fwhm, e1=0.2*x/159, side=81) for x, y in where])
    hdu = fits.PrimaryHDU(stamps)
    hdu.header.update(NXPSFS=3, NYPSFS=3, OVERSAMP=4, IPSFX01=1, IPSFX02=81, IPSFX03=160, JPSFY01=1, JPSFY02=101, JPSFY03=200)
    hdu.writeto(tmp_path/"a.fits")
    psf = read_psf(tmp_path/"a.fits", SHAPE)
    # each sums to 1 over pixels, as here
    ready = stamps/stamps[:, ::4, ::4].sum(axis=(1, 2))[:, None, None]
    grid, at = models.GriddedPSFModel(NDData(ready, meta=dict(grid_xypos=where, oversampling=4))), np.mgrid[:13, :13]

    def off(x, y):
        corner = np.floor([x+0.5, y+0.5])-6
        own, other = psf.render([x], [y], 13)[0], grid.evaluate(at[1]+corner[0], at[0]+corner[1], 1., x, y)
        return np.abs(own/own.sum()-other/other.sum()).max()/(other/other.sum()).max()

    places = np.random.default_rng(1).uniform((0, 0), (159, 199), (20, 2))
    assert max(off(*place) for place in np.round(places)) < 1e-5
    assert max(off(*place) for place in places) < anywhere


@pytest.mark.parametrize("sampling", [0.25, 0.5, 1.])
def test_psfex_models_are_what_they_say(tmp_path, sampling):
    path = psfex(tmp_path/"a.psf", sampling)
    with fits.open(path) as hdus:
        planes = np.array(hdus[1].data["PSF_MASK"][0], dtype=np.float64)
        # a PSF of the same flux everywhere, as PSFEx makes it
        planes[1:] -= planes[0]*(planes[1:].sum(axis=(1, 2))/planes[0].sum())[:, None, None]
        hdus[1].data["PSF_MASK"][0] = planes
        hdus.writeto(tmp_path/"b.psf")
    psf, step, middle = read_psf(tmp_path/"b.psf", SHAPE), round(1/sampling), SIDE//2
    for x, y in ((0, 0), (159, 199), (80, 100), (40, 150), (13, 77)):
        u, v = (x+1-81)/160, (y+1-101)/200
        true = planes[0]+u*planes[1]+v*v*planes[5]
        cut = np.s_[middle-5*step:middle+5*step+1:step]
        true, own = true[cut, cut], psf.render([x], [y], 11)[0]
        assert np.abs(own/own.sum()-true/true.sum()).max() < 1e-5*(true/true.sum()).max()


@pytest.mark.parametrize("name, parameters", [
    ("CircularGaussianPRF", dict(fwhm=1.6)), ("GaussianPRF", dict(x_fwhm=3., y_fwhm=4., theta=20.)),
    ("MoffatPSF", dict(alpha=2.5, beta=3.)), ("AiryDiskPSF", dict(radius=3.5))])
def test_functions_of_photutils_as_objects(name, parameters):
    models = pytest.importorskip("photutils.psf", reason="photutils is not installed")
    function = getattr(models, name)(x_0=3., y_0=7., flux=40., **parameters)
    psf = as_psf(function, SHAPE)
    assert not psf.varies and psf.shape == SHAPE and psf.stamp(59).sum() == pytest.approx(1, abs=1e-5)
    at = np.mgrid[-10:11, -10:11]
    for px, py in ((40., 100.), (80.3, 7.6)):
        own, pixel = psf.render([px], [py], 21)[0], np.floor([px+0.5, py+0.5])
        other = values_at(function, at[1]+pixel[0]-px, at[0]+pixel[1]-py)
        # splines through five samples a pixel
        assert np.abs(own/own.sum()-other/other.sum()).max() < 1e-3*own.max()
    assert (function.x_0, function.flux) == (3., 40.)
    broken = getattr(models, name)(**{n: np.nan for n in parameters})
    with pytest.raises(InputError, match=f"{name} whose values are not all finite"):
        as_psf(broken, SHAPE)


def test_an_image_that_is_named_as_a_psf_comes_before_others(tmp_path):
    path = tmp_path/"info.fits"
    hdus = fits.ImageHDU(np.ones((9, 9)), name="IVF"), fits.ImageHDU(profile(1., side=31), name="A_PSF")
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    assert np.abs(read_psf(path, SHAPE).stamp(15)-native()).max() < 1e-3*native().max()
