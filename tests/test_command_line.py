"""What a user types: images without a command, several of them, and words that are mistyped."""
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_fields import NOISE, star_image, write_fits
from test_decam import write_exposure

from crowdsource.cli.main import main
from crowdsource.cli.parser import Parser
from crowdsource.config import FitConfig
from crowdsource.core.errors import DataFileError
from crowdsource.core.nearest import did_you_mean, nearest
from crowdsource.exposure.instrument import recognised
from crowdsource.exposure.results import read_config
from crowdsource.io.image_name import ImageName

SHAPE = (56, 64)
X, Y, FLUX = np.array([14., 40., 30.]), np.array([20., 30., 45.]), np.array([9000., 20000., 30000.])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an image of several HDUs, and a plain one."""
    monkeypatch.chdir(tmp_path)
    data, ivar = star_image(SHAPE, X, Y, FLUX), np.full(SHAPE, NOISE**-2, np.float32)
    planes = [fits.ImageHDU(data, name="SCI", ver=1), fits.ImageHDU(ivar, name="IVAR", ver=1),
              fits.ImageHDU(data[::-1], name="SCI", ver=2), fits.ImageHDU(ivar[1:], name="SHORT")]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto("im.fits")
    write_fits("other.fits", star_image(SHAPE, X, Y, FLUX, seed=2))
    Path("quick.toml").write_text("min_passes = 2\nmax_passes = 2\n")
    return tmp_path


QUICK = "--quiet", "--config", "quick.toml"
"""Two passes, where it does not matter what comes out."""


def told(capsys, *argv):
    """What a command says on stderr that ends by an error of its arguments."""
    with pytest.raises(SystemExit) as stop:
        main(list(argv))
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("text, hdu, plane", [
    ("a.fits[1]", 1, None), ("a.fits[SCI]", "SCI", None), ("a.fits[SCI,2]", "SCI,2", None), ("a.fits[ SCI, 2 ]", "SCI,2", None),
    ("a.fits[0]:3", 0, 3), ("a.fits[]", None, None)])
def test_names_as_cfitsio_writes_them(text, hdu, plane):
    assert ImageName.parse(text) == ImageName(Path("a.fits"), hdu, plane)


@pytest.mark.parametrize("text", ["a.fits[1][10:20,30:40]", "a.fits[10:20,30:40]", "a.fits[*,*]", "a.fits[1]x"])
def test_what_else_cfitsio_takes_in_brackets_is_refused(text):
    with pytest.raises(DataFileError, match="`cutout='x0:x1,y0:y1'`"):
        ImageName.parse(text)


def test_brackets_of_a_file_s_own_name_stay(tmp_path):
    path = tmp_path/"a[1].fits"
    path.touch()
    assert ImageName.parse(path) == ImageName(path)


def test_an_image_needs_no_command(folder, capsys):
    assert main(["im.fits[SCI,2]", "--ivar", "im.fits[IVAR]", "--out", "a.cat.fits", *QUICK]) == 0
    assert main(["generic", "im.fits:SCI,2", "--ivar", "im.fits:IVAR", "--out", "b.cat.fits", *QUICK]) == 0
    one, two = (Table.read(name) for name in ("a.cat.fits", "b.cat.fits"))
    assert (one["flux"] == two["flux"]).all() and one.meta["INSTRUME"] == "generic"
    # the second image is the first one turned over
    assert np.hypot(one["x"]-X[2], one["y"]-(SHAPE[0]-1-Y[2])).min() < 0.1


def test_the_kind_of_an_image_is_recognised(tmp_path):
    assert recognised(str(write_exposure(tmp_path))).name == "decam"
    assert recognised(write_fits(tmp_path/"a.fits", np.zeros((4, 4), np.float32))).name == "generic"


def test_several_images_each_with_its_outputs(folder, capsys):
    Path("bad.fits").write_bytes(Path("other.fits").read_bytes()[:6000])
    assert main(["im.fits[SCI,1]", "bad.fits", "other.fits", "--residual-out", "{stem}.res.fits", *QUICK]) == 1
    assert {p.name for p in folder.iterdir()} == {"im.fits", "bad.fits", "other.fits", "quick.toml", "im_SCI_1.cat.fits",
                                                  "other.cat.fits", "im.res.fits", "other.res.fits"}
    err = capsys.readouterr().err
    assert err.count("crowdsource: error: ") == 1 and "bad.fits" in err
    assert main(["bad.fits", "none.fits", *QUICK]) == 2


def test_planes_by_the_name_of_each_image(folder):
    for name in ("a.fits", "b.fits"):
        Path(name).write_bytes(Path("im.fits").read_bytes())
    assert main(["a.fits:SCI", "b.fits:SCI", "--ivar", "{path}[IVAR]", *QUICK]) == 0
    assert [read_config(f"{n}_SCI.cat.fits")["generic"]["ivar"] for n in "ab"] == ["a.fits[IVAR]", "b.fits[IVAR]"]


def test_outputs_of_several_images_never_replace_each_other(folder, capsys):
    assert main(["im.fits", "other.fits", "--out", "x.fits"]) == 2
    assert "write {stem} for the image's name, as in {stem}-x.fits" in capsys.readouterr().err
    Path("sub").mkdir()
    Path("sub/other.fits").write_bytes(Path("other.fits").read_bytes())
    assert main(["other.fits", "sub/other.fits", "--overwrite", *QUICK]) == 1
    assert "is the output of an image before" in capsys.readouterr().err


@pytest.mark.parametrize("argv, texts", [
    (["generik", "im.fits"], ["generik is no command and no file (did you mean generic?)", "usage: crowdsource IMAGE [IMAGE"]),
    (["qqq"], ["qqq is no command and no file; crowdsource --help"]),
    (["im.fits", "--ivr", "a"], ["there is no option --ivr (did you mean --ivar?)", "usage: crowdsource IMAGE"]),
    (["joint", "im.fits", "--out-dir", "d", "--mtion"], ["(did you mean --motion?)", "usage: crowdsource joint --out-dir DIR"]),
    (["flags", "1", "2"], ["there is no argument 2", "usage: crowdsource flags"]),
    (["healpix", "ingst"], ["there is no 'ingst' (did you mean ingest?)", "usage: crowdsource healpix"])])
def test_a_mistyped_word_suggests_the_nearest(folder, capsys, argv, texts):
    err = " ".join(told(capsys, *argv).split())
    assert all(text in err for text in texts), err
    # the usage of that command alone
    assert len(err) < 500


@pytest.mark.parametrize("argv, text", [
    (["imm.fits"], "imm.fits: there is no such file (did you mean im.fits?)"),
    (["./nothing.fits"], "nothing.fits: there is no such file; check"),
    (["im.fits", "--ivar", "othr.fits"], "othr.fits: there is no such file (did you mean other.fits?)"),
    (["im.fits[SIC]"], "im.fits[SIC]: it has no HDU SIC; it has images in HDU 1 (SCI)"),
    (["im.fits[SHRT]"], "im.fits[SHRT]: it has no HDU SHRT (did you mean SHORT?); it has images in HDU 1 (SCI)"),
    (["im.fits[SCI]", "--ivar", "im.fits[SHORT]"], "im.fits[SHORT]: has shape (55, 64) but the image im.fits[SCI] has (56, 64)"),
    (["im.fits[SCI]", "--ivar", "other.fits"], "other.fits[0]: the image's background scatters by")])
def test_a_wrong_file_or_plane(folder, capsys, argv, text):
    assert main(argv) == 2
    assert text in capsys.readouterr().err
    assert not list(folder.glob("*.cat.fits"))


def test_nearest_names():
    assert nearest("GENERC", ["decam", "generic"]) == ["generic"]
    # an ending makes no files alike
    assert nearest("none.fits", ["im.fits", "nan.fits"]) == []
    assert did_you_mean("mn_passes", ["max_passes", "min_passes", "threads"]) == " (did you mean min_passes?)"


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["generic", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert f"smallest significance of a peak that becomes a source; default {FitConfig().detect.threshold:g}" in out
    parser = Parser(prog="a")
    parser.add_argument("--size", type=int, default=7, help="of a box")
    parser.add_argument("--plain", action="store_true", help="no 50 %% of it")
    assert re.search(r"of a box; default 7\n", parser.format_help()) and "no 50 % of it\n" in parser.format_help()


def test_dry_run_is_short_and_the_whole_configuration_is_there_for_who_wants_it(folder, capsys):
    assert main(["other.fits", "--dry-run", "--threshold", "7"]) == 0
    short = capsys.readouterr().out.splitlines()
    assert len(short) == 4 and short[2] == "detect.threshold = 7.0"
    assert main(["other.fits", "--show-config", "--threshold", "7"]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert len(whole) > 80 and set(short) < set(whole)
    assert {p.name for p in folder.iterdir()} == {"im.fits", "other.fits", "quick.toml"}
