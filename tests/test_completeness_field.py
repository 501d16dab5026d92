"""Artificial stars in all images of a field, with colours; and stars whose positions are given to the fit."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from small_epochs import FIELD, plain, small_epochs
from small_fields import NOISE, star_image, write_fits

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.joint.loop import ImageSource
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.completeness.colours import Colours, colour_table
from crowdsource.validate.completeness.field import band_catalogs, field_runs

RUNS = 10
BANDS = "g", "r"
SMALL = dict(field=replace(FIELD, shape=(128, 128), stars=40., seed=3), images=1, bands=BANDS, variables=0., dither=5.)
COLOURS = {"g-r": (0.2, 1.)}


@pytest.fixture(scope="module")
def epochs():
    """Two images of one field, of two bands, turned, of different seeing, transparency and noise."""
    return small_epochs(**SMALL)[1]


@pytest.fixture(scope="module")
def field(epochs):
    """Those, their joint fit, and what artificial stars tell of it."""
    images = [replace(e.image(), zeropoint=25.+k) for k, e in enumerate(epochs)]
    result = cs.fit_joint(images)
    found = cs.completeness(images, result=result, runs=RUNS, fluxes=(120., 30000.), stars=9, colours=COLOURS)
    return SimpleNamespace(images=images, result=result, found=found)


def colours(asked=(), own=None, **zeropoints):
    return Colours(zeropoints=zeropoints or dict(g=25., r=24.), asked=asked, own=own or dict.fromkeys("gri", np.ones(3)))


def magnitude_of(fluxes, zeropoints=None):
    return {b: (zeropoints or dict(g=25., r=24., i=0.))[b]-2.5*np.log10(v) for b, v in fluxes.items()}


def test_colours_that_are_asked_for_or_those_of_the_catalog():
    rng, flux = np.random.default_rng(1), np.geomspace(10, 1000, 500)
    found = magnitude_of(colours((("g-r", 0.6, 0.6),)).fluxes(flux, rng))
    assert np.allclose(found["g"]-found["r"], 0.6) and np.allclose(found["g"], 25-2.5*np.log10(flux))
    # i is reached by way of r, whose fluxes are not those of the plan
    chain = colours((("i-r", -1., -0.5), ("g-r", 0.2, 1.4)), g=25., r=24., i=0.)
    found = magnitude_of(chain.fluxes(flux, rng))
    for blue, red, low, high in (("g", "r", 0.2, 1.4), ("r", "i", 0.5, 1.)):
        colour = found[blue]-found[red]
        assert low <= colour.min() < low+0.05 and high-0.05 < colour.max() <= high and abs(np.mean(colour)-(low+high)/2) < 0.05
    # bright stars of the catalog are red, faint ones blue: artificial ones as well
    own = dict(g=np.geomspace(10, 1000, 400))
    own["r"] = own["g"]*np.where(own["g"] > 100, 4., 1.)
    found = colours(own=own).fluxes(flux, rng)
    ratio = found["r"]/found["g"]
    assert np.allclose(ratio[flux < 70], 1) and np.allclose(ratio[flux > 140], 4)
    assert set(colours(g=25.).fluxes(flux, rng)) == {"g"}
    for asked, message in (((("g-z", 0, 1),), "must be of two of the bands g, r"), ((("g-r", 0, 1), ("r-g", 0, 1)), "not needed"),
                           ((("g-r", 0, 1), ("g-i", 0, 1), ("r-i", 0, 1)), "not needed")):
        with pytest.raises(cs.ConfigError, match=message):
            colours(asked, **(dict(g=0., r=0., i=0.) if "i" in str(asked) else {}))
    with pytest.raises(cs.ConfigError, match="no colour is given for i"):
        colours((("g-r", 0, 1),), g=0., r=0., i=0.)
    with pytest.raises(cs.ConfigError, match="no colours to draw from"):
        colours(own=dict(g=np.empty(0), r=np.empty(0)))


def test_stars_are_added_at_the_same_places_on_the_sky_with_the_scale_of_each_image():
    _, epochs = small_epochs(**{**SMALL, "images": 2, "bands": "g", "transparency": (0.6, 0.7)})
    images = [e.image() for e in epochs]
    result = cs.fit_joint(images)
    sources = [ImageSource(name, image, None, None) for name, image in zip(result.names, images)]
    runs, first = field_runs(result, sources, None), result.names.index(result.objects.meta["reference"])
    # where a star of the truth lies on both images, and what light it has there
    star = np.argmin(np.hypot(epochs[first].x-64, epochs[first].y-64))
    stars, true = {n: np.array([getattr(epochs[first], n)[star]]) for n in "xy"}, [e.constant[star]*e.light for e in epochs]
    for k, epoch in enumerate(epochs):
        added = runs.with_stars(k, stars, {"g": 100*np.array([true[first]])}, 0).data-images[k].data
        y, x = np.indices(added.shape)
        # the scale itself is as right as some 40 stars tell
        assert added.sum() == pytest.approx(100*true[k], rel=0.03)
        for value, place in ((x, epoch.x[star]), (y, epoch.y[star])):
            assert (added*value).sum()/added.sum() == pytest.approx(place, abs=0.1)
    assert true[1]/true[0] < 0.75 and runs.footprint.origin != (0, 0) and 0.6 < runs.footprint.good.mean() < 0.95


def test_colours_are_right_within_their_errors(field):
    assert list(field.found) == list(BANDS)
    some, most, pulls = 0, 0, []
    for band in BANDS:
        table = field.found[band].colour
        assert set(table["colour"]) == {"g-r"} and table["stars"].sum() == len(field.found[band].table)
        known = table[np.isfinite(table["bias"]) & (table["matched"] >= 8)]
        off = np.abs(known["bias"]/known["bias_error"])
        some, most = some+len(known), max(most, off.max())
        pulls += known["pull"].tolist()
    assert some >= 6 and most < 3.5 and 0.6 < np.median(pulls) < 1.5
    g, r = (field.found[b] for b in BANDS)
    bright = np.asarray(g.table["matched"] & r.table["matched"]) & (np.asarray(g.table["flux"]) > 2000)
    colour = g.magnitude(g.table["flux"])-r.magnitude(r.table["flux"])
    assert bright.sum() > 30 and colour.min() > 0.2-1e-6 and colour.max() < 1+1e-6
    off = g.magnitude(g.table["flux_found"])-r.magnitude(r.table["flux_found"])-colour
    assert abs(np.median(off[bright])) < 0.012 and 1.4826*np.median(np.abs(off[bright])) < 0.05


def test_stars_are_found_in_both_bands_and_measured_in_each(field):
    g, r = (field.found[b] for b in BANDS)
    assert np.array_equal(g.table["x"], r.table["x"]) and np.array_equal(g.table["x_found"], r.table["x_found"], equal_nan=True)
    assert not np.array_equal(g.table["flux_found"], r.table["flux_found"], equal_nan=True)
    bright = np.asarray(g.table["flux"]) > 1500
    both = np.asarray(g.table["found"] & r.table["found"])
    assert bright.sum() > 40 and both[bright].mean() > 0.95 and both[~bright].mean() < 1
    for one in (g, r):
        rows = one.table[bright & both]
        off = np.asarray(rows["flux_found"]/rows["flux"])-1
        assert abs(np.median(off)) < 0.01 and np.median(rows["distance"]) < 0.15 and rows["good"].mean() > 0.8
        pull = (rows["flux_found"]-rows["flux"])/rows["dflux"]
        assert 0.5 < 1.4826*np.median(np.abs(pull)) < 1.6
        assert one.figures["NIMAGES"] == 2 and one.figures["MAGZERO"] == 25+(one is r) and one.purity["rows"].sum() > 30
    assert "colour g-r" in g.lines() and g.figures["BRIGHTES"] <= 30000 < r.figures["BRIGHTES"]


def test_a_star_has_the_colour_table_of_its_bin():
    rng, n = np.random.default_rng(3), 400
    tables = {}
    for band, scale in (("g", 1.), ("r", 2.)):
        flux = scale*np.full(n, 100.)
        error = 0.02*flux
        tables[band] = dict(flux=flux, dflux=error, flux_found=flux+rng.normal(0, error), found=np.ones(n, bool))
    tables["r"]["flux_found"] *= 1.1
    tables["g"]["flux_found"][:7] = np.nan
    tables["g"]["flux_found"][7:9] = -5.
    row, = colour_table("r", tables, np.array([100., 300.]))
    assert row["colour"] == "g-r" and row["stars"] == n and row["matched"] == n-9
    assert abs(row["bias"]-2.5*np.log10(1.1)) < 3*row["bias_error"] and row["pull"] == pytest.approx(1, abs=3*row["pull_error"])
    assert row["scatter"] == pytest.approx(1.0857*0.02*np.sqrt(2), rel=0.12)
    assert colour_table("g", dict(g=tables["g"]), [1, 2]) is None


def test_rows_of_objects_are_those_of_images(field):
    catalogs = band_catalogs(field.result, BANDS)
    objects = field.result.objects
    for k, band in enumerate(BANDS):
        table, own = catalogs[band], field.result.fits[k].catalog
        assert np.array_equal(table["flux"], plain(objects, f"flux_{band}"), equal_nan=True)
        good = np.isin(objects["object_id"], np.asarray(own["object_id"])[np.asarray(own["good"])])
        assert np.array_equal(table["good"], good) and good.sum() > 20
        # the isolated error of an image, in the units of the objects, is no larger than that with confusion
        known = np.isfinite(table["dflux_iso"])
        assert known.sum() > 30 and (table["dflux_iso"][known] < 1.01*table["dflux"][known]).all()


@pytest.fixture
def folder(epochs, tmp_path, monkeypatch):
    """A folder with the images as files, where commands work."""
    for epoch in epochs:
        header = fits.Header(dict(FILTER=epoch.band, MJD=epoch.mjd))
        hdus = [fits.PrimaryHDU(epoch.simulation.data, header), fits.ImageHDU(epoch.simulation.ivar, name="IVAR")]
        fits.HDUList(hdus).writeto(tmp_path/f"{epoch.band}.fits")
    (tmp_path/"broken.fits").write_text("this is no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FAST = ("--executor", "threads", "--purity", "0", "--fluxes", "300", "30000", "--stars", "9", "--gain", f"{FIELD.gain:g}",
        "--quiet")


def command(*more, runs=2):
    images = "g.fits", "r.fits", "broken.fits"
    return main(["completeness", *images, "--option", "ivar={path}:IVAR", *FAST, "--runs", str(runs), *more])


def written(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder/"field.completeness.runs").glob("*.fits")}


def test_a_field_goes_on_from_where_it_was_stopped(folder, epochs):
    assert command("--colour", "g-r", "0.2", "1", "--plot", "c.png") == 0
    first, before = {b: cs.read_completeness(f"field.completeness-{b}.fits") for b in BANDS}, written(folder)
    assert set(before) == {"fit.fits", "run-0000.fits", "run-0001.fits"} and (folder/"c-r.png").stat().st_size > 10000
    # what is no image is left out, as of a joint fit
    assert first["r"].figures["BAND"] == "r" and first["r"].figures["NIMAGES"] == 2
    assert set(first["g"].colour["colour"]) == {"g-r"}
    # one run is lost
    (folder/"field.completeness.runs"/"run-0001.fits").unlink()
    assert command("--colour", "g-r", "0.2", "1", "--overwrite") == 0
    after = written(folder)
    assert [n for n in sorted(after) if after[n] == before[n]] == ["fit.fits", "run-0000.fits"]
    for band in BANDS:
        again = cs.read_completeness(f"field.completeness-{band}.fits").table
        assert len(again) > 10 and all(np.array_equal(again[n], first[band].table[n], equal_nan=n not in ("flags", "matched"))
                                       for n in again.colnames)
    # Python gives the same: PSFs and catalogs in files are exact to the last bits of single precision
    images = [cs.read_image(f"{e.band}.fits", ivar=f"{e.band}.fits:IVAR", gain=FIELD.gain) for e in epochs]
    here = cs.completeness(images, fluxes=(300., 30000.), stars=9, runs=1, purity=0, colours=COLOURS)
    old = first["r"].table[first["r"].table["run"] == 0]
    assert np.allclose(here["r"].table["flux"], old["flux"]) and np.array_equal(here["r"].table["found"], old["found"])
    assert np.allclose(here["r"].table["flux_found"], old["flux_found"], rtol=2e-3, equal_nan=True)


@pytest.mark.parametrize("words, message", [
    (["--local"], "is of one image"), (["--force", "a.csv", "--purity", "1"], "leave --purity out"),
    (["--force", "a.csv", "--purity", "0"], "is of one image"), (["--colour", "g-z", "1"], "two of the bands g, r"),
    (["--colour", "g-r"], "give two bands and a value"), (["--colour", "g-r", "1", "0"], "the first is the smaller"),
    (["--galaxies", "a.csv"], "is of one image"), (["--tile", "500"], "no option --tile")])
def test_what_a_field_cannot_have(folder, words, message, capsys):
    try:
        status = command(*words)
    except SystemExit as end:
        status = end.code
    assert status == 2 and message in capsys.readouterr().err and not (folder/"field.completeness.runs").exists()


def test_options_of_many_images_and_of_one(field):
    image = field.images[0]
    given = dict(x=[1.], y=[1.])
    for how, message in ((dict(colours=COLOURS), "colours are of a joint fit"), (dict(colours={"g-r": "red"}), "must be numbers"),
                         (dict(joint=cs.JointConfig()), "joint is of many"), (dict(sources=given, purity=1), "has no purity"),
                         (dict(sources=given, local=True, result=field.result.fits[0]), "takes the whole image")):
        with pytest.raises(cs.ConfigError, match=message):
            cs.completeness(image, **how)
    for how, message in ((dict(local=True, result=field.result), "are of a single image"), (dict(sources=given), "of one image"),
                         (dict(fit_function=len), "fit_function is of one image")):
        with pytest.raises(cs.ConfigError, match=message):
            cs.completeness(field.images, **how)
    with pytest.raises(cs.InputError, match="a result of 2"):
        cs.completeness([image], result=field.result)
    with pytest.raises(cs.InputError, match="there are no images"):
        cs.completeness([])


def test_positions_that_are_given_have_right_fluxes_and_errors(tmp_path, monkeypatch, capsys):
    shape = (160, 160)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(14.3, 150, 26), np.arange(17.6, 150, 24)))
    image = cs.Image.from_arrays(star_image(shape, x, y, np.geomspace(300, 20000, len(x))), np.full(shape, NOISE**-2), gain=4.)
    own = dict(x=x, y=y)
    found = cs.completeness(image, FieldPSF.moffat(shape, 4.), sources=own, fluxes=(20., 5000.), runs=8, stars=20, refit=False,
                            max_passes=5)
    table = found.table
    assert found.figures["FORCED"] and found.purity is None and found.depth is None and table["found"].all() and len(table) > 120
    assert np.array_equal(table["x_found"], table["x"]) and (table["flux_found"] < 0.5*table["flux"]).any()
    pull = np.asarray((table["flux_found"]-table["flux"])/table["dflux"])
    assert abs(np.mean(pull)) < 3/np.sqrt(len(pull)) and np.std(pull) == pytest.approx(1, abs=0.2)
    rows = found.factor[found.factor["density_class"] == 0]
    assert len(rows) and np.abs(rows["factor"]-1).max() < 3*rows["factor_error"].max()
    assert "with a flux" in found.lines()[0] and "bias, %" in found.lines()[1]
    # the command does the same
    monkeypatch.chdir(tmp_path)
    path = write_fits(tmp_path/"field.fits", np.asarray(image.data))
    (tmp_path/"own.csv").write_text("x,y\n"+"".join(f"{a},{b}\n" for a, b in zip(x, y)))
    words = ["--fluxes", "20", "5000", "--runs", "1", "--stars", "20", "--gain", "4", "--executor", "threads"]
    assert main(["completeness", path, "--force", "own.csv", *words]) == 0
    by_command = cs.read_completeness("field.completeness.fits")
    here = cs.completeness(path, sources=own, fluxes=(20., 5000.), runs=1, stars=20, gain=4.)
    assert by_command.figures["FORCED"] and "artificial stars in 1 runs" in capsys.readouterr().out
    assert np.allclose(by_command.table["flux_found"], here.table["flux_found"], rtol=1e-3, atol=1.)
