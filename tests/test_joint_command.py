"""``crowdsource joint``: what it writes, what it tells, and that a run that fails leaves nothing behind."""
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_epochs import FIELD, small_epochs
from small_fields import write_fits

from crowdsource.cli.main import main
from crowdsource.core.errors import MissingExtraError, OutputError
from crowdsource.core.selection import SelectionConfig, is_good
from crowdsource.exposure.results import read_config
from crowdsource.io.tables import plain, read_table
from crowdsource.joint import files
from crowdsource.joint.files import check_outputs

IMAGES = 3
OPTIONS = "--option", "ivar={path}:IVAR", "--option", f"gain={FIELD.gain:g}"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with files of images, each with its inverse variance as an extension, and one that is no image."""
    folder = tmp_path_factory.mktemp("images")
    _, epochs = small_epochs(images=IMAGES)
    for k, epoch in enumerate(epochs):
        header = fits.Header(dict(FILTER="r", MJD=epoch.mjd))
        hdus = [fits.PrimaryHDU(epoch.simulation.data, header), fits.ImageHDU(epoch.simulation.ivar, name="IVAR")]
        fits.HDUList(hdus).writeto(folder/f"night{k}.fits")
    (folder/"broken.fits").write_text("this is no image")
    return folder


@pytest.fixture
def folder(images, tmp_path, monkeypatch):
    """A folder to work in, with those files."""
    for path in images.iterdir():
        (tmp_path/path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def written(images):
    """What a run has written, for tests that only read."""
    out = images.parent/"written"
    if not out.exists():
        assert main(["joint", *map(str, sorted(images.glob("night*"))), *OPTIONS, "--out-dir", str(out), "--quiet"]) == 0
    return out


def names(folder):
    return {p.name for p in folder.iterdir()}


def test_a_folder_of_objects_light_curves_and_catalogs(written):
    catalogs = {f"night{k}.cat.fits" for k in range(IMAGES)}
    assert names(written) == {"contents.json", "objects.fits", "lightcurves.parquet", *catalogs}
    with fits.open(written/"objects.fits") as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "OBJECTS", "IMAGES"]
        header, objects, images = hdus[0].header, hdus["OBJECTS"].data, hdus["IMAGES"].data
    assert header["NIMAGES"] == IMAGES and header["NOBJECTS"] == len(objects) > 100 and header["REFERENC"] == "night1"
    assert header["BAND1"] == "r" and "LEFT001" not in header and any("threshold" in str(v) for v in header.values())
    assert images["image"].tolist() == [f"night{k}" for k in range(IMAGES)]
    assert np.abs(images["scale"][1]-1) < 0.01 and (images["sources"] > 100).all()
    curves = read_table(written/"lightcurves.parquet")
    assert set(curves["object_id"]) <= set(objects["object_id"]) and len(curves) == images["sources"].sum()
    for k in range(IMAGES):
        catalog = read_table(written/f"night{k}.cat.fits")
        assert len(catalog) == images["sources"][k] and {"object_id", "dflux_epoch"} <= set(catalog.colnames)
        # by the errors that are in the table
        told = {name: plain(catalog[name]) for name in ("flux", "dflux", "qf", "rchi2", "flags")}
        assert np.array_equal(catalog["good"], is_good(told, SelectionConfig())) and 0.5 < catalog["good"].mean() < 1
        assert Path(fits.getheader(written/f"night{k}.cat.fits")["IN001"]).name == f"night{k}.fits"
        assert read_config(written/f"night{k}.cat.fits")["detect"]["threshold"] > 0


def test_what_is_told(folder, capsys):
    assert main(["joint", "night0.fits", "night1.fits", *OPTIONS, "--out-dir", "out"]) == 0
    out, err = capsys.readouterr()
    count = fits.getheader("out/objects.fits")["NOBJECTS"]
    assert out.strip() == f"out: {count} objects on 2 images, reference night1"
    assert "night0" in err and "stars register it" in err


def test_a_file_that_is_no_image_is_left_out_and_told(folder, capsys):
    assert main(["joint", "night0.fits", "broken.fits", "night2.fits", *OPTIONS, "--out-dir", "out"]) == 1
    out = capsys.readouterr().out
    assert "objects on 2 images" in out and "left out: broken: broken.fits: cannot be read as FITS" in out
    assert names(folder/"out") == {"contents.json", "objects.fits", "lightcurves.parquet", "night0.cat.fits", "night2.cat.fits"}
    assert fits.getheader("out/objects.fits")["LEFT001"].startswith("broken: broken.fits: ")


def test_an_existing_folder_is_refused_unless_it_may_be_replaced(folder, written, capsys):
    Path("out").mkdir()
    for path in written.iterdir():
        (folder/"out"/path.name).write_bytes(path.read_bytes())
    before = {p.name: p.read_bytes() for p in Path("out").iterdir()}
    argv = ["joint", "night0.fits", *OPTIONS, "--out-dir", "out"]
    assert main(argv) == 2
    assert "exists already" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in Path("out").iterdir()} == before
    assert main([*argv, "--overwrite"]) == 0
    assert names(folder/"out") == {"contents.json", "objects.fits", "lightcurves.parquet", "night0.cat.fits"}
    # the same again is there already
    before = {p.name: p.stat().st_mtime_ns for p in Path("out").iterdir()}
    assert main(argv) == 0 and "out: is there already" in capsys.readouterr().out
    assert {p.name: p.stat().st_mtime_ns for p in Path("out").iterdir()} == before
    assert main([*argv, "--motion"]) == 2 and "exists already" in capsys.readouterr().err
    # a folder of other things is not replaced even then
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    assert main(["joint", "night0.fits", *OPTIONS, "--out-dir", "mine", "--overwrite"]) == 2
    assert names(folder/"mine") == {"thesis.tex"}


def test_threads_and_order_do_not_change_what_is_written(folder, written):
    images = [f"night{k}.fits" for k in (2, 0, 1)]
    assert main(["joint", *images, *OPTIONS, "--out-dir", "out", "--threads", "3", "--quiet"]) == 0
    assert fits.getdata("out/objects.fits", "OBJECTS").tobytes() == fits.getdata(written/"objects.fits", "OBJECTS").tobytes()
    for k in range(IMAGES):
        one, other = (fits.getdata(f/f"night{k}.cat.fits", "CAT") for f in (Path("out"), written))
        assert one.tobytes() == other.tobytes()


def test_options_may_name_files_beside_each_image(folder):
    for k in range(2):
        with fits.open(f"night{k}.fits") as hdus:
            write_fits(f"plain{k}.fits", hdus[0].data, hdus[0].header)
            write_fits(f"plain{k}.weight.fits", hdus["IVAR"].data)
    argv = ["joint", "plain0.fits", "plain1.fits", "--option", "ivar={stem}.weight.fits", "--option", f"gain={FIELD.gain:g}"]
    assert main([*argv, "--out-dir", "one"]) == 0
    assert main(["joint", "night0.fits", "night1.fits", *OPTIONS, "--out-dir", "two"]) == 0
    one, two = (fits.getdata(f"{out}/objects.fits", "OBJECTS") for out in ("one", "two"))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("option, told", [("gain", "gain: give NAME=VALUE"), ("colour=7", "colour"), ("gain=much", "gain"),
                                          ("ivar={file}.fits", "{file}.fits"), ("ivar={", "{"), ("ivar={0}", "{0}")])
def test_bad_options_are_told(folder, capsys, option, told):
    before = names(folder)
    assert main(["joint", "night0.fits", "--option", option, "--out-dir", "out"]) == 2
    assert told in capsys.readouterr().err
    assert names(folder) == before


def test_a_configuration_has_tables_of_its_own(folder, capsys):
    Path("fit.toml").write_text("[detect]\nthreshold = 9\n[generic]\n"
                                f"gain = {FIELD.gain}\n[joint]\nmax_passes = 4\nmotion = true\n")
    argv = ["joint", "night0.fits", "night1.fits", "night2.fits", "--option", "ivar={path}:IVAR", "--config", "fit.toml"]
    assert main([*argv, "--out-dir", "out"]) == 0
    header = fits.getheader("out/objects.fits")
    assert read_config("out/night0.cat.fits")["detect"]["threshold"] == 9
    assert sum("stars" in line for line in header["HISTORY"]) == 3
    assert {"pm_x", "dpm_y", "epoch"} <= set(fits.getdata("out/objects.fits", "OBJECTS").names)
    for text, told in (("passes = 4", "joint: "), ("max_passes = 0", "joint.max_passes must be")):
        Path("fit.toml").write_text(f"[joint]\n{text}\n")
        assert main([*argv, "--out-dir", "other"]) == 2
        assert told in capsys.readouterr().err and not Path("other").exists()


def test_a_manifest_lists_the_images(folder, images, written, capsys):
    options = "--option", "ivar={path}:IVAR", f"gain={FIELD.gain:g}"
    files = [str(images/f"night{k}.fits") for k in range(IMAGES)]
    assert main(["plan", *files, "--out", "plan.ecsv", "--instrument", "generic", *options, "--no-count"]) == 0
    assert main(["joint", "plan.ecsv", "--root", str(images), "--out-dir", "out"]) == 0
    assert fits.getdata("out/objects.fits", "OBJECTS").tobytes() == fits.getdata(written/"objects.fits", "OBJECTS").tobytes()
    # a manifest leads nowhere else
    assert main(["joint", "plan.ecsv", "--out-dir", "other"]) == 2
    assert not Path("other").exists()


def test_nothing_is_left_behind_by_a_run_that_fails(folder, capsys, monkeypatch):
    before = names(folder)
    assert main(["joint", "broken.fits", "--out-dir", "out"]) == 2
    assert "no image can be fitted" in capsys.readouterr().err
    assert main(["joint", "night0.fits", "--out-dir", "nowhere/out"]) == 2
    assert names(folder) == before
    # not even by one that fails while it writes
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(files, "write_result", full)
    assert main(["joint", "night0.fits", *OPTIONS, "--out-dir", "out"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert names(folder) == before


def test_where_nothing_can_be_written_nothing_is_begun(tmp_path, monkeypatch):
    with pytest.raises(OutputError):
        check_outputs(tmp_path/"none"/"out")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        check_outputs(tmp_path/"out")


def test_a_picture_is_drawn_and_an_earlier_list_kept(folder):
    words = [f"night{k}.fits" for k in range(IMAGES)], OPTIONS
    assert main(["joint", *words[0], *words[1], "--out-dir", "out", "--plot", "joint.png", "--quiet"]) == 0
    assert Path("joint.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["joint", words[0][0], *OPTIONS, "--out-dir", "more", "--objects", "out/objects.fits", "--quiet"]) == 0
    first, more = (read_table(f"{folder}/objects.fits") for folder in ("out", "more"))
    assert list(more["object_id"][:len(first)]) == list(first["object_id"])
