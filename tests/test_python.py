"""What Python users try first: fits of whatever they have, options by name, results with pictures and files."""
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS as AnyWCS
from small_fields import GAIN, NOISE, star_image, tan_wcs, write_fits
from test_decam import write_exposure

import crowdsource as cs
from crowdsource.api.images import image_options
from crowdsource.cli.main import main
from crowdsource.core.flags import ENGINE, MASK_SHIFT

SHAPE = (80, 100)
X, Y, FLUX = np.array([30., 70.3, 50.6]), np.array([20.4, 60., 50.7]), np.array([3e4, 2e4, 4e4])
DATA = star_image(SHAPE, X, Y, FLUX)
ERROR = np.full(SHAPE, NOISE)
WCS = tan_wcs(SHAPE)
SHORT = dict(min_passes=1, max_passes=2)
"""Passes of fits whose numbers do not matter."""


def values(column):
    return np.asarray(getattr(column, "value", column))


@pytest.fixture(scope="module")
def result():
    return cs.fit(DATA, error=ERROR, wcs=WCS, zeropoint=25., gain=GAIN)


def test_array_ccddata_image_and_file_are_one(tmp_path, result):
    path = write_fits(tmp_path/"a.fits", DATA, WCS.to_header(), MAGZERO=25., GAIN=GAIN, BUNIT="adu")
    error = write_fits(tmp_path/"e.fits", ERROR)
    ccd = CCDData(DATA, unit="adu", uncertainty=StdDevUncertainty(ERROR), wcs=WCS)
    image = cs.Image.from_arrays(DATA, ERROR**-2, wcs=WCS, zeropoint=25., gain=GAIN)
    first = cs.fit(image, **SHORT).catalog["flux"]
    for other in (cs.fit(ccd, gain=GAIN, **SHORT), cs.fit(tmp_path/"a.fits", rms=error, **SHORT),
                  cs.fit(cs.read_image(path, rms=error), **SHORT)):
        assert np.allclose(values(other.catalog["flux"]), values(first), rtol=1e-5)
    assert other.catalog["flux"].unit == units.adu and other.image.meta["instrument"].name == "generic"
    assert np.ptp(np.diff(values(other.catalog["detection_id"]))) == 0 and other.catalog["detection_id"][0] > 2**32


@pytest.mark.parametrize("noise", [dict(ivar=ERROR**-2), dict(rms=ERROR), dict(variance=ERROR**2), dict(inverse_sigma=1/ERROR),
                                   dict(error=ERROR*units.adu), dict(variance=(ERROR*units.adu)**2)])
def test_noise_in_any_form(noise):
    data = DATA*units.adu if hasattr(next(iter(noise.values())), "unit") else DATA
    image = cs.api.images.as_image(data, **noise)
    assert np.allclose(image.ivar, NOISE**-2) and not image.ivar_estimated


@pytest.mark.parametrize("given, taken", [
    (dict(ivar=ERROR**2), "variance"), (dict(error=ERROR**2), "variance")])
def test_noise_that_must_be_something_else_is_told(given, taken):
    name, = given
    with pytest.raises(cs.CrowdsourceError, match=f"the noise that `{name}` gives; taken as `{taken}` the map would fit"):
        cs.fit(DATA, **given)
    assert cs.api.images.as_image(DATA, **given, trust_noise=True).good.any()


def test_uncertainties_that_must_be_something_else_are_told():
    ccd = CCDData(DATA, unit="adu", uncertainty=StdDevUncertainty(ERROR**2))
    with pytest.raises(cs.CrowdsourceError, match="the noise that `uncertainty` gives; taken as `variance`"):
        cs.fit(ccd)
    assert cs.api.images.as_image(ccd, trust_noise=True).noise == pytest.approx(NOISE**2)


def test_noise_of_one_number_and_of_another_shape():
    assert np.array_equal(cs.api.images.as_image(DATA, error=NOISE).ivar, cs.api.images.as_image(DATA, error=ERROR).ivar)
    # smooth noise of resampled pixels is taken, and what is odd about it stays with the image
    assert "correlated noise" in cs.api.images.as_image(DATA, variance=(5*NOISE)**2).findings[-1]
    with pytest.raises(cs.CrowdsourceError, match=r"error has shape \(3,\) but data has"):
        cs.fit(DATA, error=[1., 2., 3.])


def test_pixels_without_noise_are_not_used():
    error = ERROR.copy()
    error[3, 4] = 0
    image = cs.api.images.as_image(DATA, error=error)
    assert image.ivar[3, 4] == 0 and image.ivar[3, 5] > 0
    with pytest.raises(cs.CrowdsourceError, match="error is in s, and data need it in adu"):
        cs.fit(DATA*units.adu, error=ERROR*units.s)
    with pytest.raises(cs.CrowdsourceError, match="ivar and error are both given"):
        cs.fit(DATA, error=ERROR, ivar=ERROR)


def configured(**options):
    from crowdsource.api.fitting import configured as of
    config = options.pop("config", None)
    return of(cs.Image.from_arrays(DATA, ERROR**-2), config, options)


def test_options_by_name():
    c = configured(threshold=4., max_passes=6, sky={"block": 30}, refit=False, detect={"outside": False})
    assert (c.detect.threshold, c.max_passes, c.sky.block, c.psf.refit, c.detect.outside) == (4., 6, 30, False, False)
    assert configured(preset="released") == configured(config="released") == cs.released()
    c = configured(config={"detect": {"threshold": 4., "outside": False}}, threshold=6)
    assert c.detect.threshold == 6. and not c.detect.outside
    assert configured(config=cs.released(), threshold=6).detect.threshold == 6.
    c = configured(threshold=np.float32(4.5), max_passes=np.int64(7), refit=np.bool_(False))
    assert (c.detect.threshold, c.max_passes, c.psf.refit) == (4.5, 7, False)

    def estimator(*_):
        return None
    assert configured(sky=estimator).sky.estimator is estimator


@pytest.mark.parametrize("options, message", [
    (dict(treshold=5), "option treshold is unknown (did you mean threshold?)"),
    (dict(zeropont=25.), "did you mean zeropoint"), (dict(treads=2), "did you mean threads"),
    (dict(qwerty=2), "option qwerty is unknown: it is none of the image's"),
    (dict(detect={"treshold": 5}), "option detect.treshold is unknown (did you mean threshold?)"),
    (dict(min_separation=1.), "give detect={'min_separation': ...} or cull={'min_separation': ...}"),
    (dict(min_snr=5.), "give psf={'min_snr': ...} or select={'min_snr': ...}"),
    (dict(wcs=WCS.to_header()), "wcs is a Header: give an astropy.wcs.WCS; of a header, WCS(header)"),
    (dict(config=dict(qwerty=1)), "option qwerty is unknown: crowdsource.FitConfig() shows all"),
    (dict(config=5), "config is a int"), (dict(preset="relesed"), "did you mean released"),
    (dict(cull=5), "option cull is 5: it is a section"), (dict(threshold=-1), "detect.threshold must be positive"),
    (dict(instrument="generic"), "instrument is for images in files"), (dict(ra=[150.]), "give both"),
    (dict(ra=[150.], dec=[2.]), "need an image with world coordinates"),
    (dict(sources=dict(x=[1.], y=[2., 3.])), "of one length"), (dict(sources=dict(a=[1.])), "no columns x and y"),
    (dict(psf="nowhere.psf"), "nowhere.psf"), (dict(psf=3), "psf is a int: give a crowdsource.PSF")])
def test_what_is_wrong_is_said_in_terms_of_python(options, message):
    with pytest.raises(cs.CrowdsourceError, match="(?s).*"+re.escape(message)) as caught:
        cs.fit(DATA, **options)
    assert "--" not in str(caught.value)


def test_what_an_object_has_is_not_given_again():
    image = cs.Image.from_arrays(DATA, ERROR**-2)
    with pytest.raises(cs.CrowdsourceError, match="zeropoint"):
        cs.fit(image, zeropoint=25.)
    assert image_options(image) == ("trust_noise",) and "gain" in image_options(DATA) and "findings" not in image_options(DATA)
    with pytest.raises(cs.CrowdsourceError, match="give the name of the file"):
        cs.fit(fits.HDUList([fits.PrimaryHDU(DATA)]))


def test_the_noise_of_an_image_is_compared_as_well():
    image = cs.Image.from_arrays(DATA, np.full(DATA.shape, NOISE**2, np.float32))
    with pytest.raises(cs.CrowdsourceError, match="taken as `variance` the map would fit"):
        cs.fit(image, **SHORT)
    assert cs.api.images.as_image(image, trust_noise=True) is image


def test_progress_bar(capsys, result):
    cs.fit(result.image, result.psf, progress=True, **SHORT)
    assert "pass" in capsys.readouterr().err
    seen = []
    cs.fit(result.image, result.psf, progress=lambda *a: seen.append(a[0]), **SHORT)
    assert seen[-1] == "measure" and not capsys.readouterr().err


def test_forced_by_sky_keeps_identifiers(tmp_path, result):
    sky = SkyCoord.from_pixel(X, Y, WCS)
    table = Table(dict(source_id=[11, 12, 13], ra=sky.ra.deg, dec=sky.dec.deg, mag=[1., 2., 3.]))
    by_table = cs.fit(result.image, result.psf, sources=table, refit=False).catalog
    assert by_table["source_id"].tolist() == [11, 12, 13] and by_table["input_row"].tolist() == [0, 1, 2]
    # 1 sigma of each flux is 1e-3 of it and better
    assert np.allclose(values(by_table["flux"]), FLUX, rtol=0.01)
    table.write(tmp_path/"t.ecsv")
    text = sky.to_string("hmsdms", sep=":", precision=5)
    for given in (dict(ra=sky.ra, dec=sky.dec), dict(ra=sky.ra.deg, dec=sky.dec.deg), dict(sources=sky),
                  dict(sources=tmp_path/"t.ecsv"), dict(ra=[t.split()[0] for t in text], dec=[t.split()[1] for t in text])):
        catalog = cs.fit(result.image, result.psf, refit=False, **given).catalog
        assert np.allclose(values(catalog["flux"]), values(by_table["flux"]), rtol=1e-4)
    one = cs.fit(result.image, result.psf, ra=sky.ra[1], dec=sky.dec[1], refit=False).catalog
    assert len(one) == 1


def test_given_positions_that_may_move(result):
    rng = np.random.default_rng(5)
    start = dict(x=X+rng.normal(0, 0.5, 3), y=Y+rng.normal(0, 0.5, 3))
    moved = cs.fit(result.image, result.psf, sources=start, fixed=False, refit=False).catalog
    stayed = cs.fit(result.image, result.psf, sources=start, refit=False).catalog
    # errors of positions are 1e-3 px of stars that bright, twice 4 sigma
    assert np.abs(values(moved["x"])-X).max() < 0.01 and np.abs(values(moved["y"])-Y).max() < 0.01
    assert np.array_equal(values(stayed["x"]), start["x"])
    assert np.allclose(values(moved["flux"]), FLUX, rtol=0.01) and np.abs(values(stayed["flux"])/FLUX-1).max() > 0.02
    assert (values(moved["dflux"]) > 1.1*values(result.catalog["dflux_iso"])[np.argsort(values(result.catalog["flux"]))[0]]).any()


def test_residual_and_cutouts(result):
    assert np.array_equal(result.residual, DATA-result.sky-result.model)
    row = int(np.argmax(values(result.catalog["flux"])))
    cut = result.cutout(row, 21)
    assert cut.data.shape == (21, 21) and cut.origin == (51-10, 51-10)
    assert (cut.x+cut.origin[0], cut.y+cut.origin[1]) == pytest.approx((X[2], Y[2]), abs=0.02)
    assert np.allclose(cut.residual, result.residual[41:62, 41:62])
    # without the star its own light is left: the flux, but for what lies outside of 21 px
    assert cut.alone.sum() == pytest.approx(FLUX[2], rel=0.05) and np.abs(cut.others-result.sky[41:62, 41:62]).max() < 30
    # in the middle the model of the star is what the fit subtracted, to float32
    own = (cut.alone-cut.residual)[5:16, 5:16]
    star = result.psf.render([cut.x+41], [cut.y+41], 11)[0]*result.model_flux[row]
    assert np.allclose(own, star, rtol=1e-4, atol=0.02)
    edge = result.cutout(row, 81)
    assert np.isnan(edge.data).any() and np.isfinite(edge.data[40, 40])
    for bad, message in ((dict(row=99), "row 99 does not exist"), (dict(row=0, size=20), "odd number")):
        with pytest.raises(cs.CrowdsourceError, match=message):
            result.cutout(**bad)


def test_repr_is_short(result):
    assert repr(result).startswith("<crowdsource.Result: 3 sources, 100 x 80 pixels") and len(repr(result)) < 120
    assert "<table" in result._repr_html_() and "flux" in result._repr_html_()


def test_plot_is_a_figure(tmp_path, result):
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    # a given position that is not known has no place in it
    some = cs.fit(result.image, result.psf, sources=dict(x=[*X, np.nan], y=[*Y, 5.]), refit=False, **SHORT)
    page = some.plot("stars")
    assert isinstance(page, figure.Figure) and page.texts[0].get_text() == "stars"
    # so that a notebook shows it, also where pyplot was never imported
    assert callable(page._repr_png_)
    assert {a.get_title(loc="left") for a in page.axes} >= {"Image", "Residual", "PSF, log of its peak"}


def test_flags_in_model_files_are_those_of_rows(tmp_path, result):
    struck = np.zeros(SHAPE, bool)
    struck[3, 5] = True
    replace(result, image=result.image.masked(struck, ENGINE.cosmic)).write(tmp_path/"a.cat.fits", model=tmp_path/"a.mod.fits")
    flags = fits.getdata(tmp_path/"a.mod.fits", "MSK")
    assert flags[3, 5] & ENGINE.cosmic << MASK_SHIFT and np.array_equal(flags & 2**32-1, result.image.dq)


def test_results_come_back_from_files(tmp_path, result):
    result.write(tmp_path/"a.cat.fits", model=tmp_path/"a.mod.fits")
    again = cs.read_result(tmp_path/"a.cat.fits", model=tmp_path/"a.mod.fits", image=result.image)
    for name in result.catalog.colnames:
        assert np.array_equal(values(again.catalog[name]), values(result.catalog[name]), equal_nan=name == "mag")
        assert again.catalog[name].unit == result.catalog[name].unit
    assert again.config == result.config and [h["sources"] for h in again.history] == [h["sources"] for h in result.history]
    assert np.array_equal(again.psf.stamp(21), result.psf.stamp(21))
    # model and sky are stored in steps of a 32nd of the noise each
    assert np.abs(again.residual-result.residual).max() < NOISE/16
    assert np.abs(again.cutout(0, 11).others-result.cutout(0, 11).others).max() < 2e-3*FLUX.max()
    with pytest.raises(cs.CrowdsourceError, match="exists already"):
        result.write(tmp_path/"b.cat.fits", model=tmp_path/"a.mod.fits")
    assert not (tmp_path/"b.cat.fits").exists()
    assert np.array_equal(cs.read_psf(tmp_path/"a.cat.fits").stamp(9), result.psf.stamp(9))
    assert cs.read_psf(tmp_path/"a.cat.fits").shape == SHAPE
    bare = cs.read_result(tmp_path/"a.cat.fits")
    assert bare.model is None and "3 sources" in repr(bare)
    with pytest.raises(cs.CrowdsourceError, match="read without image and model"):
        _ = bare.residual
    result.write(tmp_path/"a.ecsv")
    rows = cs.read_result(tmp_path/"a.ecsv")
    assert rows.config == result.config and rows.catalog["flux"].unit == result.catalog["flux"].unit and rows.psf is None


def test_files_that_hold_no_result(tmp_path):
    path = write_fits(tmp_path/"a.fits", DATA)
    with pytest.raises(cs.CrowdsourceError, match="a.fits: holds no catalog of crowdsource"):
        cs.read_result(path)
    with pytest.raises(cs.CrowdsourceError, match="give shape"):
        cs.read_psf(path)


def test_one_message_names_arguments_in_python_and_options_of_the_command(tmp_path, result, capsys):
    result.write(tmp_path/"a.cat.fits")
    with pytest.raises(cs.CrowdsourceError, match="`overwrite=True`"):
        result.write(tmp_path/"a.cat.fits")
    write_fits(tmp_path/"a.fits", DATA)
    sigma = write_fits(tmp_path/"s.fits", ERROR)
    with pytest.raises(cs.CrowdsourceError, match="taken as `rms` the map would fit .* or add `trust_noise=True`"):
        cs.fit(tmp_path/"a.fits", ivar=sigma)
    assert main(["generic", str(tmp_path/"a.fits"), "--out", str(tmp_path/"a.cat.fits")]) == 2
    assert "(--overwrite)" in capsys.readouterr().err
    assert main(["generic", str(tmp_path/"a.fits"), "--ivar", sigma, "--out", str(tmp_path/"b.cat.fits")]) == 2
    said = capsys.readouterr().err
    assert "taken as --rms" in said and "--trust-noise" in said and "`" not in said


def test_exposures_of_several_detectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_exposure(tmp_path)
    with pytest.raises(cs.CrowdsourceError, match="has 2 detectors, and which one is not said: give detector, one of N4, S7"):
        cs.fit(path)
    with pytest.raises(cs.CrowdsourceError, match="there is no 'N5' among them"):
        cs.read_image(path, detector="N5")
    image = cs.read_image(path, detector="N4")
    assert image.detector == "N4" and image.meta["instrument"].name == "decam" and "% not used" in repr(image)
    (tmp_path/"c.toml").write_text("".join(f"{name} = {value}\n" for name, value in SHORT.items()), encoding="utf-8")
    assert main(["decam", path, "--quiet", "--config", "c.toml", "--out", "a.cat.fits", "--model-out", "a.mod.fits"]) == 0
    result = cs.read_result("a.cat.fits", detector="N4", model="a.mod.fits", image=image)
    assert result.residual.shape == image.shape and cs.read_psf("a.cat.fits", detector="s7").shape == image.shape
    with pytest.raises(cs.CrowdsourceError, match="holds several detectors: give detector, one of N4, S7"):
        cs.read_result("a.cat.fits")
    # as the command fits it: the configuration of the instrument, the identifiers of the exposure
    again = cs.fit(image, **SHORT)
    assert again.config == result.config and np.array_equal(again.catalog["detection_id"], result.catalog["detection_id"])
    assert np.array_equal(values(again.catalog["flux"]), values(result.catalog["flux"]))


def test_images_that_are_none():
    for data, message in ((DATA > 0, "array of bool, as masks are"), (DATA[0], "a plane of shape (ny, nx) is needed"),
                          (np.stack([DATA]*3), "choose one of the cube's")):
        with pytest.raises(cs.CrowdsourceError, match=re.escape(message)):
            cs.fit(data)
    with pytest.raises(cs.CrowdsourceError, match="wcs has 3 axes: give that of the plane, as wcs.celestial"):
        cs.fit(DATA, wcs=AnyWCS(naxis=3))
