"""Every input that cannot be used: one line that names file, HDU and remedy, exit status 2, nothing written.

And odd ones that can be fitted.
"""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy import ndimage
from small_fields import NOISE, SKY, star_image, tan_wcs, write_fits

from crowdsource.cli.main import main
from crowdsource.config import from_mapping
from crowdsource.core.errors import OutputError
from crowdsource.core.flags import ENGINE, MASK_SHIFT
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.engine.schema import columns_of
from crowdsource.psf.initial import initial_psf
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import star_stamps

SHAPE = (48, 64)
X, Y, FLUX = [20.3, 45.6], [30.2, 15.1], [6000., 3000.]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a good image and planes that go with it."""
    monkeypatch.chdir(tmp_path)
    data = star_image(SHAPE, X, Y, FLUX)
    write_fits("im.fits", data, tan_wcs(SHAPE).to_header())
    write_fits("ivar.fits", np.full(SHAPE, 1/NOISE**2, np.float32))
    write_fits("small.fits", np.ones((10, 10), np.float32))
    write_fits("dq.fits", np.zeros(SHAPE, np.int32))
    write_fits("all.fits", np.ones(SHAPE, np.int32))
    write_fits("half.fits", np.full(SHAPE, 0.5))
    for name, value in (("negative", -1), ("nan", np.nan), ("infinite", np.inf)):
        plane = np.full(SHAPE, 1/NOISE**2, np.float32)
        plane[5, 6] = value
        write_fits(f"{name}.fits", plane)
    for name, value in (("minus", -1), ("unknown", np.nan), ("endless", np.inf)):
        write_fits(f"{name}.fits", np.full(SHAPE, value, np.float32))
    write_fits("zeros.fits", np.zeros(SHAPE, np.float32))
    write_fits("cube.fits", np.stack([data, data]))
    write_fits("oblong.fits", np.ones((19, 21)))
    write_fits("nothing.fits", np.zeros((21, 21)))
    whole = (tmp_path/"im.fits").read_bytes()
    (tmp_path/"short.fits").write_bytes(whole[:8000])
    (tmp_path/"text.fits").write_text("no FITS")
    fits.BinTableHDU(Table(dict(a=[1.])), name="CAT").writeto("table.fits")
    Table(dict(a=[1.], b=[2.])).write("ab.csv")
    Table(dict(x=[-500.], y=[1e4])).write("far.csv")
    (tmp_path/"bad.toml").write_text("[detect\n")
    (tmp_path/"unknown.toml").write_text("[detect]\nthreshhold = 3.0\n")
    (tmp_path/"text.toml").write_text("[detect]\nthreshold = 'low'\n")
    (tmp_path/"sizes.toml").write_text("[solve]\nstamp_sizes = ['a']\n")
    (tmp_path/"option.toml").write_text("[generic]\ngian = 3.0\n")
    (tmp_path/"there.cat.fits").touch()
    return tmp_path


def listing(folder):
    return {p: p.stat().st_size for p in sorted(folder.rglob("*"))}


BAD = [
    (["none.fits"], "none.fits: there is no such file; check the name"),
    (["short.fits"], "short.fits[0]: pixels are missing at the end: the file is truncated or damaged; fetch it again"),
    (["text.fits"], "text.fits: cannot be read as FITS"),
    (["."], ".: is a folder; name a FITS file in it"),
    (["im.fits:3"], "im.fits[3]: it has no HDU 3; it has images in HDU 0"),
    (["im.fits:SCI"], "im.fits[SCI]: it has no HDU SCI; it has images in HDU 0"),
    (["table.fits"], "table.fits: it has no image in any HDU; give a file with one"),
    (["table.fits:CAT"], "table.fits[CAT]: is a table; the file has no image in any HDU"),
    (["cube.fits"], "cube.fits[0]: is a cube of 2 planes (2, 48, 64); choose one from 0, as in cube.fits:0:0"),
    (["cube.fits:0:2"], "cube.fits[0]: has no plane 2; its planes are 0 to 1"),
    (["im.fits", "--ivar", "small.fits"], "small.fits[0]: has shape (10, 10) but the image im.fits[0] has (48, 64); "
                                          "cut them to the same pixels"),
    (["im.fits", "--dq", "small.fits"], "small.fits[0]: has shape (10, 10) but the image im.fits[0] has (48, 64)"),
    (["im.fits", "--ivar", "none.fits"], "none.fits: there is no such file"),
    (["im.fits", "--ivar", "minus.fits"], "minus.fits[0]: the ivar is negative on 3,072 pixels (100.0 %) of those that have "
                                          "data: check that this is the right map; set it to 0"),
    (["im.fits", "--ivar", "unknown.fits"], "im.fits[0]: no good pixel: every pixel is masked"),
    (["im.fits", "--ivar", "endless.fits"], "endless.fits[0]: the ivar is infinite on 3,072 pixels"),
    (["im.fits", "--inverse-sigma", "minus.fits"], "minus.fits[0]: the inverse sigma is negative on 3,072 pixels"),
    (["im.fits", "--weight", "minus.fits"], "minus.fits[0]: the weight is negative on 3,072 pixels"),
    (["im.fits", "--rms", "minus.fits"], "minus.fits[0]: the rms is negative on 3,072 pixels"),
    (["im.fits", "--rms", "endless.fits"], "im.fits[0]: no good pixel: every pixel is masked"),
    (["im.fits", "--ivar", "zeros.fits"], "im.fits[0]: no good pixel: every pixel is masked"),
    (["im.fits", "--weight", "zeros.fits"], "im.fits[0]: no good pixel: every pixel is masked"),
    (["im.fits", "--dq", "all.fits"], "im.fits[0]: no good pixel: every pixel is masked, not finite or has zero inverse "
                                      "variance; check the bad bits and the weight map"),
    (["im.fits", "--dq", "half.fits"], "half.fits[0]: holds values of type float64; flags are whole numbers"),
    (["im.fits", "--saturation", "1"], "im.fits[0]: no good pixel"),
    (["im.fits", "--ivar", "ivar.fits", "--rms", "ivar.fits"], "ivar and rms are both given"),
    (["im.fits", "--psf", "oblong.fits"], "oblong.fits[PRIMARY]: the PSF stamp has shape (19, 21): a square"),
    (["im.fits", "--psf", "nothing.fits"], "nothing.fits[PRIMARY]: the PSF stamp is empty"),
    (["im.fits", "--psf", "none.fits"], "none.fits: there is no such file; check the name"),
    (["im.fits", "--force", "ab.csv"], "ab.csv: the catalog has no columns x and y, or ra and dec; it has a, b"),
    (["im.fits", "--force", "none.csv"], "none.csv: there is no such file"),
    (["im.fits", "--force", "far.csv"], "far.csv: none of its 1 positions lies on the image"),
    (["im.fits", "--bright-stars", "ab.csv"], "ab.csv: the catalog has no columns x and y, or ra and dec; it has a, b"),
    (["im.fits", "--cutout", "0:10,0:100"], "im.fits[0]: cut-out 0:10,0:100 is empty or leaves the image of 64 x 48 pixels"),
    (["im.fits", "--out", "there.cat.fits"], "there.cat.fits: exists already; choose another name or allow "
                                              "overwriting (--overwrite)"),
    (["im.fits", "--model-out", "there.cat.fits"], "there.cat.fits: exists already"),
    (["im.fits", "--plot", "there.cat.fits"], "there.cat.fits: exists already"),
    (["im.fits", "--out", "text.fits/a.fits"], "text.fits is not a folder; make it or choose another place"),
    (["im.fits", "--out", "/dev/null/a.fits"], "/dev/null is not a folder"),
    (["im.fits", "--out", "."], "ends in .cat.fits, .fits, .ecsv, .vot, .xml, .csv or .parquet; choose one"),
    (["im.fits", "--out", "a.txt"], "a.txt: a catalog's name ends in .cat.fits, .fits, .ecsv, .vot, .xml, .csv or .parquet"),
    (["im.fits", "--out", "a.fits", "--model-out", "a.fits"], "a.fits: two outputs have the same name; give each its own"),
    (["im.fits", "--debug-plots", "text.fits/a"], "text.fits/a: "),
    (["im.fits", "--debug-plots", "text.fits"], "text.fits: is a file; name a folder"),
    (["im.fits", "--debug-plots", "."], ".: is not empty; choose another folder or allow overwriting (--overwrite)"),
    (["im.fits", "--debug-plots", "text.fits", "--dry-run"], "text.fits: is a file; name a folder"),
    (["im.fits", "--out", "im.fits", "--overwrite"], "im.fits: is read by this run; give the output another name"),
    (["im.fits", "--ivar", "ivar.fits", "--model-out", "ivar.fits", "--overwrite"], "ivar.fits: is read by this run"),
    (["im.fits", "--force", "ab.csv", "--plot", "ab.csv", "--overwrite"], "ab.csv: is read by this run"),
    (["im.fits", "--debug-plots", "plots", "--psf", "oblong.fits"], "oblong.fits[PRIMARY]: "),
    (["im.fits", "--threshold", "inf"], "detect.threshold must be positive and finite"),
    (["im.fits", "--config", "sizes.toml"], "option solve.stamp_sizes is ['a']: a list of numbers is needed"),
    (["im.fits", "--config", "none.toml"], "none.toml: cannot be read (No such file or directory); check the name"),
    (["im.fits", "--config", "bad.toml"], "bad.toml: is no TOML"),
    (["im.fits", "--config", "unknown.toml"], "unknown.toml: option detect.threshhold is unknown (did you mean threshold?)"),
    (["im.fits", "--config", "text.toml"], "text.toml: option detect.threshold is 'low': a value of type float is needed"),
    (["im.fits", "--config", "option.toml"], "option.toml: option gian is unknown (did you mean gain?)"),
    (["im.fits", "--threshold", "-1"], "detect.threshold must be positive"),
    (["im.fits", "--preset", "fast"], "preset 'fast' is unknown: choose one of default, described, released"),
]


@pytest.mark.parametrize("argv, message", BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input(folder, capsys, argv, message):
    before = listing(folder)
    assert main(["generic", *argv]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("crowdsource: error: ")]
    assert len(lines) == 1 and err.splitlines()[-1] == lines[0]
    assert message in lines[0]
    assert out == ""
    assert listing(folder) == before


@pytest.mark.parametrize("argv, message", [
    ([], "the following arguments are required: IMAGE"), (["im.fits", "--gain", "x"], "argument --gain: 'x' cannot be used"),
    (["im.fits", "--gain", "-1"], "a positive number is needed"), (["im.fits", "--cutout", "1,2"], "give x0:x1,y0:y1"),
    (["im.fits", "--bad-bits", "32"], "bits run from 0 to 31"),
    (["im.fits", "--bad-bits", "a"], "give bit numbers such as 0,3,5"),
    (["im.fits", "--threads", "0"], "a whole number of at least 1 is needed"),
    (["im.fits", "--nonsense"], "there is no option --nonsense")])
def test_bad_arguments(folder, capsys, argv, message):
    before = listing(folder)
    with pytest.raises(SystemExit) as stop:
        main(["generic", *argv])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert listing(folder) == before


def test_full_disk_leaves_nothing(folder, capsys, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(fits.HDUList, "writeto", full)
    before = listing(folder)
    assert main(["generic", "im.fits", "--ivar", "ivar.fits", "--out", "a.cat.fits"]) == 2
    assert "image.cat.fits: cannot be written (No space left on device); free space" in capsys.readouterr().err
    assert listing(folder) == before


def test_second_output_that_fails_leaves_the_first_whole(folder, capsys, monkeypatch):
    from crowdsource.exposure import finished
    joined = finished.joined

    def full(paths, header, out, overwrite):
        if out.name == "m.fits":
            raise OutputError("m.fits: full")
        joined(paths, header, out, overwrite)

    monkeypatch.setattr(finished, "joined", full)
    wanted = ["generic", "im.fits", "--ivar", "ivar.fits", "--out", "a.cat.fits", "--model-out", "m.fits"]
    assert main(wanted) == 2
    with fits.open("a.cat.fits") as hdus:
        assert len(hdus["CAT"].data) == 2
    # what was fitted is not lost: only the gathering is done again
    monkeypatch.setattr(finished, "joined", joined)
    monkeypatch.setattr("crowdsource.exposure.run.attempt", None)
    assert main([*wanted, "--resume"]) == 0
    assert {"a.cat.fits", "m.fits"} <= {p.name for p in folder.iterdir()} and not list(folder.glob("*.parts"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_folder_without_permission(folder, capsys):
    (folder/"locked").mkdir(mode=0o500)
    assert main(["generic", "im.fits", "--out", "locked/a.cat.fits"]) == 2
    assert "no permission to write" in capsys.readouterr().err


def test_error_of_the_installed_command(folder):
    command = Path(sys.executable).with_name("crowdsource-generic")
    done = subprocess.run([command, "none.fits"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "crowdsource: error: none.fits: there is no such file; check the name\n"


def run(*argv):
    """The catalog of a run that must succeed."""
    assert main(["generic", *argv, "--out", "out.cat.fits", "--overwrite", "--quiet"]) == 0
    with fits.open("out.cat.fits") as hdus:
        return Table(hdus["CAT"].data)


def holds_the_stars(catalog, x=X, y=Y, flux=FLUX, tolerance=0.1):
    """Every star has a row at its place with its flux within the tolerance."""
    for a, b, f in zip(x, y, flux):
        near = np.hypot(catalog["x"]-a, catalog["y"]-b) < 0.3
        assert near.sum() == 1, (a, b, catalog)
        assert catalog["flux"][near][0] == pytest.approx(f, rel=tolerance)
    return True


def test_pixels_that_are_nan(folder):
    data = star_image(SHAPE, X, Y, FLUX)
    data[10:13, 5:30], data[40, 40] = np.nan, -np.inf
    write_fits("a.fits", data)
    assert holds_the_stars(run("a.fits"))
    assert holds_the_stars(run("a.fits", "--ivar", "ivar.fits"))


@pytest.mark.parametrize("name", ["negative", "nan", "infinite"])
@pytest.mark.parametrize("kind", ["ivar", "inverse-sigma", "weight", "rms"])
def test_marks_in_a_noise_map(folder, capsys, kind, name):
    plane = fits.getdata(f"{name}.fits")
    plane[np.isfinite(plane) & (plane > 0)] = {"ivar": NOISE**-2, "inverse-sigma": 1/NOISE, "weight": 7, "rms": NOISE}[kind]
    write_fits("map.fits", plane)
    assert main(["generic", "im.fits", f"--{kind}", "map.fits", "--out", "a.cat.fits"]) == 0
    said = {"negative": "negative", "nan": "NaN", "infinite": "infinite"}[name]
    line = f"the {kind.replace('-', ' ')} is {said} on 1 pixel (less than 0.1 %): they do not count"
    assert capsys.readouterr().err.count(line) == 1
    with fits.open("a.cat.fits") as hdus:
        assert holds_the_stars(Table(hdus["CAT"].data))


def test_ivar_may_be_nan_where_there_is_no_value(folder):
    data = star_image(SHAPE, X, Y, FLUX)
    data[5, 6] = np.nan
    write_fits("a.fits", data)
    assert holds_the_stars(run("a.fits", "--ivar", "nan.fits", "--dq", "dq.fits"))


@pytest.mark.parametrize("dtype", [">f8", "<f4", ">i4", np.uint16])
def test_byte_orders_and_integers(folder, dtype):
    write_fits("a.fits", np.round(star_image(SHAPE, X, Y, FLUX)).astype(dtype))
    assert holds_the_stars(run("a.fits"))


def test_scaled_integers(folder):
    hdu = fits.PrimaryHDU(star_image(SHAPE, X, Y, FLUX).astype(np.float64))
    hdu.scale("int16", bscale=0.05, bzero=500)
    hdu.writeto("a.fits")
    assert holds_the_stars(run("a.fits"))


def test_compressed(folder):
    data = np.round(star_image(SHAPE, X, Y, FLUX)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, name="SCI")]).writeto("a.fits.fz")
    assert holds_the_stars(run("a.fits.fz"))
    assert holds_the_stars(run("a.fits.fz:SCI"))


def test_one_plane_of_a_cube(folder):
    assert holds_the_stars(run("cube.fits:0:1"))


def test_no_wcs_and_a_wcs(folder):
    write_fits("a.fits", star_image(SHAPE, X, Y, FLUX))
    assert "ra" not in run("a.fits").colnames
    catalog = run("im.fits")
    # the middle of the image is at (150, 2); x runs against ra
    assert (catalog["ra"]-150)*np.cos(np.radians(2))*3600/-0.26 == pytest.approx(catalog["x"]-31.5, abs=1e-3)
    assert (catalog["dec"]-2)*3600/0.26 == pytest.approx(catalog["y"]-23.5, abs=1e-3)


def test_no_star(folder):
    write_fits("a.fits", star_image(SHAPE), tan_wcs(SHAPE).to_header(), MAGZERO=25.)
    for options in ([], ["--ivar", "ivar.fits"]):
        catalog = run("a.fits", *options)
        assert len(catalog) == 0
        assert catalog.colnames == [c.name for c in columns_of(world=True, magnitude=True)]


def test_one_star(folder):
    write_fits("a.fits", star_image(SHAPE, X[:1], Y[:1], FLUX[:1]))
    catalog = run("a.fits", "--ivar", "ivar.fits")
    assert len(catalog) == 1 and holds_the_stars(catalog, X[:1], Y[:1], FLUX[:1], 0.08)


def test_a_star_on_every_edge(folder):
    ny, nx = SHAPE
    x, y = [0.2, nx-1.2, 20.3, 50.1, 33.], [20.4, 30.3, 0.1, ny-1.1, 24.]
    write_fits("a.fits", star_image(SHAPE, x, y, [8000.]*5))
    catalog = run("a.fits", "--ivar", "ivar.fits", "--fwhm", "4")
    # half of each star is missing
    assert len(catalog) == 5 and holds_the_stars(catalog, x, y, [8000.]*5, 0.15)


def test_five_by_five_pixels(folder):
    write_fits("a.fits", star_image((5, 5), [2.2], [1.9], [4000.]))
    for options in ([], ["--fwhm", "4"]):
        catalog = run("a.fits", *options)
        assert np.isfinite(catalog["flux"]).all()
    write_fits("b.fits", star_image((5, 5)))
    assert np.isfinite(run("b.fits")["flux"]).all()


def test_a_saturated_blob(folder):
    data = star_image((80, 80), [40.], [40.], [3e6])
    data = np.minimum(data, 20000)
    write_fits("a.fits", data, SATURATE=20000., GAIN=4.)
    catalog = run("a.fits", "--fwhm", "4")
    blob = np.argmax(catalog["flux"])
    assert np.hypot(catalog["x"]-40, catalog["y"]-40)[blob] < 0.3
    assert catalog["flux"][blob] == pytest.approx(3e6, rel=0.1)
    assert catalog["flags"][blob] & ENGINE.saturated << MASK_SHIFT
    # what else is found there is less than a percent
    assert catalog["flux"].sum()-catalog["flux"][blob] < 0.01*3e6


def test_clipped_pixels_tell_the_saturation(folder):
    data = np.minimum(star_image((80, 80), [40.], [40.], [3e6]), 20000)
    write_fits("a.fits", data)
    catalog = run("a.fits", "--fwhm", "4")
    assert catalog["flags"][np.argmax(catalog["flux"])] & ENGINE.saturated << MASK_SHIFT


def test_very_many_peaks():
    """200,000 stars, one in each nine pixels, in the fewest passes: more than any array, index or buffer expects."""
    side = 1350
    psf = MoffatProfile.constant((side, side), 1.5)
    stamp = star_stamps(psf.at([0.], [0.]), np.zeros(1), np.zeros(1), 7)[0]
    rng = np.random.default_rng(1)
    flux = rng.uniform(1800, 2200, (side//3, side//3))
    light = np.zeros((side, side))
    light[1::3, 1::3] = flux
    data = (ndimage.convolve(light, stamp)+rng.normal(SKY, NOISE, light.shape)).astype(np.float32)
    image = Image.from_arrays(data, np.full(data.shape, 1/NOISE**2))
    config = from_mapping(dict(min_passes=2, max_passes=2, prune_passes=0, psf=dict(refit=False),
                               solve=dict(stamp_sizes=[7, 9], stamp_levels=[1e6])))
    result = fit(image, initial_psf(image, fwhm=1.5), config)
    catalog = result.catalog
    assert len(catalog) == pytest.approx(flux.size, rel=0.02)
    x, y = (np.asarray(catalog[c].value) for c in "xy")
    found = np.zeros(flux.shape, bool)
    found[np.clip(y//3, 0, side//3-1).astype(int), np.clip(x//3, 0, side//3-1).astype(int)] = True
    assert found.mean() > 0.98
    assert np.isfinite(np.asarray(catalog["flux"].value)).all() and np.isfinite(result.model).all()


@pytest.mark.parametrize("argv", [["--saturation", "nan"], ["--saturation", "0"], ["--zeropoint", "nan"]])
def test_values_that_mean_nothing_are_refused(folder, capsys, argv):
    before = sorted(os.listdir())
    with pytest.raises(SystemExit) as stop:
        main(["generic", "im.fits", *argv])
    assert stop.value.code == 2 and argv[0] in capsys.readouterr().err
    assert sorted(os.listdir()) == before
