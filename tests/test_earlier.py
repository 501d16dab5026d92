"""Runs with the sky and the PSF of an earlier one, and forced runs in which a detector has no positions."""
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_fields import NOISE, SKY, star_image, write_fits
from test_cli import FLUX, SHAPE, X, Y
from test_decam import write_exposure

from crowdsource.cli.main import main
from crowdsource.config import FitConfig, from_mapping
from crowdsource.core.errors import ConfigError, InputError
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.exposure.results import read_history
from crowdsource.io.tables import read_table
from crowdsource.psf.formats.native import read_hdus


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an image and the results of a run."""
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", star_image(SHAPE, X, Y, FLUX))
    write_fits("ivar.fits", np.full(SHAPE, NOISE**-2, np.float32))
    write_fits("later.fits", star_image(SHAPE, X, Y, FLUX, seed=5)+5)
    run("im.fits", "--out", "a.cat.fits", "--model-out", "a.mod.fits")
    return tmp_path


def run(image, *argv, status=0):
    assert main(["generic", image, "--ivar", "ivar.fits", "--quiet", *argv]) == status


def arrays(path):
    """The exact PSF of a catalog."""
    with fits.open(path) as hdus:
        psf = read_hdus(hdus)
    return psf.profile.coefficients, psf.core


def test_sky_and_psf_of_an_earlier_run_are_kept(folder):
    run("later.fits", "--force", "a.cat.fits", "--sky-from", "a.mod.fits", "--keep-sky", "--psf-from", "a.cat.fits",
        "--out", "b.cat.fits", "--model-out", "b.mod.fits")
    # stored in steps of the noise over 32, and dithered
    assert fits.getdata("b.mod.fits", "SKY") == pytest.approx(fits.getdata("a.mod.fits", "SKY"), abs=NOISE/16)
    assert all((one == two).all() for one, two in zip(arrays("a.cat.fits"), arrays("b.cat.fits")))
    header = fits.getheader("b.cat.fits")
    assert [header[f"IN00{k}"] for k in (3, 4)] == ["a.cat.fits", "a.mod.fits"] and "IN005" not in header
    told = [v for k, v in header.items() if k.startswith("CFG")]
    assert "sky.keep = true" in told and "psf.refit = false" in told
    # the sky of 5 counts more goes into the fluxes: an isolated star takes 5 sum p / sum p^2
    difference = read_table("b.cat.fits")["flux"]-read_table("a.cat.fits")["flux"]
    assert np.median(difference) > 100


def test_the_sky_is_a_start_unless_it_is_kept(folder):
    run("later.fits", "--sky-from", "a.mod.fits", "--out", "b.cat.fits", "--model-out", "b.mod.fits")
    sky = [np.median(fits.getdata(f"{run}.mod.fits", "SKY")) for run in "ab"]
    assert sky[0] == pytest.approx(SKY, abs=1) and sky[1]-sky[0] == pytest.approx(5, abs=0.5)
    assert read_history("b.cat.fits")["sky"][0] == pytest.approx(sky[0], abs=0.3)


def test_a_given_sky_is_kept_by_the_fit():
    image = Image.from_arrays(star_image(SHAPE, X, Y, FLUX), np.full(SHAPE, NOISE**-2))
    sky = np.full(SHAPE, SKY+2., np.float32)
    config = from_mapping(dict(sky=dict(keep=True)))
    assert (fit(image, config=config, sky=sky).sky == sky).all()
    assert (fit(image, config=config, sky=sky, sources=dict(x=X, y=Y)).sky == sky).all()
    assert not (fit(image, config=FitConfig(), sky=sky).sky == sky).any()
    with pytest.raises(InputError, match="there is none: give sky"):
        fit(image, config=config)
    with pytest.raises(InputError, match="are not finite"):
        fit(image, sky=np.full(SHAPE, np.nan))
    with pytest.raises(ConfigError, match="choose one"):
        from_mapping(dict(sky=dict(keep=True), solve=dict(sky_spacing=30.)))


@pytest.mark.parametrize("asked, message", [
    (["--keep-sky"], "name an earlier run's model file (--sky-from)"),
    (["--sky-from", "absent.fits"], "absent.fits: there is no such file"),
    (["--sky-from", "a.cat.fits"], "has no HDU SKY; give a model file"),
    (["--psf-from", "a.mod.fits"], "has no HDU PSF_MODEL; give a FITS catalog"),
    (["--sky-from", "a.mod.fits", "--cutout", "0:100,0:90"], "is of an image of shape (96, 128), but this one has (90, 100)"),
    (["--psf-from", "a.cat.fits", "--cutout", "0:100,0:90"], "is of an image of shape (96, 128), but this one has (90, 100)"),
    (["--sky-from", "part.mod.fits", "--cutout", "20:120,0:90"], "that of another cut-out"),
    (["--sky-from", "a.mod.fits", "--model-out", "a.mod.fits", "--overwrite"], "a.mod.fits: is read by this run"),
    (["--psf-from", "a.cat.fits", "--out", "a.cat.fits", "--overwrite"], "a.cat.fits: is read by this run")])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_files_that_do_not_suit_are_told_of_before_any_work(folder, monkeypatch, capsys, asked, message, more):
    if "part.mod.fits" in asked:
        run("im.fits", "--cutout", "0:100,0:90", "--out", "part.cat.fits", "--model-out", "part.mod.fits")
    monkeypatch.setattr(sys.modules["crowdsource.engine.loop"], "fit", None)
    before = sorted(folder.iterdir())
    out = [] if "--out" in asked else ["--out", "b.cat.fits"]
    run("im.fits", *asked, *out, *more, status=2)
    assert message in capsys.readouterr().err and sorted(folder.iterdir()) == before


def test_a_dry_run_tells_of_them(folder, capsys):
    run("im.fits", "--sky-from", "a.mod.fits", "--psf-from", "a.cat.fits", "--keep-sky", "--dry-run", "--out", "b.cat.fits")
    out = capsys.readouterr().out
    assert "sky of a.mod.fits\n" in out and "PSF of a.cat.fits\n" in out and "psf.refit = false" in out


def dark(ccd, plane):
    """No weight on one CCD."""
    return plane*0 if ccd == "S7" else plane


def test_each_ccd_has_its_own(tmp_path, caplog):
    path = write_exposure(tmp_path)
    first, second = tmp_path/"a.cat.fits", tmp_path/"b.cat.fits"
    models = tmp_path/"a.mod.fits", tmp_path/"b.mod.fits"
    assert main(["decam", path, "--quiet", "--out", str(first), "--model-out", str(models[0])]) == 0
    command = ["decam", path, "--quiet", "--sky-from", str(models[0]), "--keep-sky", "--psf-from", str(first)]
    assert main([*command, "--out", str(second), "--model-out", str(models[1])]) == 0
    for ccd in ("N4", "S7"):
        with fits.open(first) as one, fits.open(second) as two:
            assert (one[f"{ccd}_PSF_MODEL"].data == two[f"{ccd}_PSF_MODEL"].data).all()
        assert fits.getdata(models[1], f"{ccd}_SKY") == pytest.approx(fits.getdata(models[0], f"{ccd}_SKY"), abs=1)
    # a file of fewer CCDs is refused before any work
    assert main(["decam", path, "--quiet", "--ccds", "N4", "--out", str(tmp_path/"n.cat.fits")]) == 0
    assert main(["decam", path, "--quiet", "--psf-from", str(tmp_path/"n.cat.fits"), "--out", str(tmp_path/"c.cat.fits")]) == 2
    assert not (tmp_path/"c.cat.fits").exists() and not (tmp_path/"c.cat.fits.parts").exists()


def test_another_sky_is_another_run(tmp_path, caplog):
    path = write_exposure(tmp_path)
    assert main(["decam", path, "--quiet", "--out", str(tmp_path/"a.cat.fits"), "--model-out", str(tmp_path/"a.mod.fits")]) == 0
    (tmp_path/"dark").mkdir()
    broken = write_exposure(tmp_path/"dark", w=dark)
    command = ["decam", broken, "--out", str(tmp_path/"o.fits"), "--resume", "--sky-from", str(tmp_path/"a.mod.fits")]
    assert main(command) == 1 and main(command) == 1
    assert "of other inputs or settings" not in caplog.text
    with fits.open(tmp_path/"a.mod.fits", mode="update") as hdus:
        hdus[0].header["CHANGED"] = True
    assert main(command) == 1
    assert "of other inputs or settings" in caplog.text


@pytest.mark.parametrize("ending", ["fits", "ecsv", "parquet"])
def test_a_ccd_without_positions_has_an_empty_catalog(tmp_path, capsys, ending):
    path = write_exposure(tmp_path)
    with fits.open(path, mode="update") as hdus:
        hdus["S7"].header["CRVAL1"] += 1
    free, out, rows = tmp_path/"free.cat.fits", tmp_path/f"o.{ending}", tmp_path/"list.ecsv"
    assert main(["decam", path, "--quiet", "--out", str(free)]) == 0
    there = Table.read(free, hdu="N4_CAT")["ra", "dec"]
    there["name"] = [f"star {k}" for k in range(len(there))]
    there.write(rows)
    assert main(["decam", path, "--force", str(rows), "--out", str(out), "--model-out", str(tmp_path/"m.fits")]) == 0
    assert "list.ecsv: 2 of 2 positions are off the image" in capsys.readouterr().err
    if ending == "fits":
        assert [fits.getheader(out, f"{ccd}_CAT")["NAXIS2"] for ccd in ("N4", "S7")] == [2, 0]
        # dithered steps of the noise over 32
        assert np.abs(fits.getdata(tmp_path/"m.fits", "S7_MOD")).max() < NOISE/16 and fits.getheader(out)["NSOURCES"] == 2
        return
    table = read_table(out)
    assert list(table["detector"]) == ["N4", "N4"] and [str(n).strip() for n in table["name"]] == ["star 0", "star 1"]


def test_the_only_detector_must_have_positions(folder, capsys):
    Table(dict(x=[-500.], y=[3.])).write("list.csv")
    run("im.fits", "--force", "list.csv", "--out", "b.cat.fits", status=2)
    assert "none of its 1 positions lies on the image" in capsys.readouterr().err and not Path("b.cat.fits").exists()
