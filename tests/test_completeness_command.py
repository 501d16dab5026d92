"""``crowdsource completeness``: from an image to a file, and on from where a run was cut off."""
from types import SimpleNamespace

import numpy as np
import pytest
from small_fields import star_image, write_fits

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.production import completeness_jobs

SHAPE = (96, 96)
FAST = "--local", "--executor", "threads", "--purity", "0", "--fluxes", "40", "4000", "--gain", "4", "--quiet"


@pytest.fixture
def image(tmp_path, monkeypatch):
    """A file of six stars, in a folder of its own where commands work."""
    monkeypatch.chdir(tmp_path)
    x, y = np.meshgrid([18.3, 48.8, 79.1], [28.2, 67.6])
    return write_fits(tmp_path/"field.fits", star_image(SHAPE, x.ravel(), y.ravel(), 2000.*np.arange(1, 7)))


def written(folder):
    """Time of the last change of each run's table."""
    return {p.name: p.stat().st_mtime_ns for p in (folder/"field.completeness.runs").glob("*.fits")}


def test_what_is_done_is_not_done_again(image, tmp_path, capsys):
    assert main(["completeness", image, *FAST, "--runs", "2", "--plot", "c.png"]) == 0
    first, before = cs.read_completeness("field.completeness.fits"), written(tmp_path)
    assert set(before) == {"fit.cat.fits", "fit.model.fits", "run-0000.fits", "run-0001.fits"}
    assert first.figures["RUNS"] == 2 and first.figures["LOCAL"] and 0 < first.table["found"].sum() < len(first.table)
    assert (tmp_path/"c.png").stat().st_size > 10000
    # one run is lost, and one more is asked for
    (tmp_path/"field.completeness.runs"/"run-0001.fits").unlink()
    assert main(["completeness", image, *FAST, "--runs", "3", "--overwrite"]) == 0
    again, after = cs.read_completeness("field.completeness.fits"), written(tmp_path)
    assert [n for n in after if after[n] == before.get(n)] and after["run-0000.fits"] == before["run-0000.fits"]
    assert after["fit.cat.fits"] == before["fit.cat.fits"] and after["run-0001.fits"] != before["run-0001.fits"]
    old = again.table[again.table["run"] < 2]
    assert np.array_equal(old["flux_found"], first.table["flux_found"], equal_nan=True) and len(again.table) > len(old)
    # with another seed all are other stars
    assert main(["completeness", image, *FAST, "--runs", "2", "--overwrite", "--seed", "5"]) == 0
    assert written(tmp_path)["run-0000.fits"] != before["run-0000.fits"]
    other = cs.read_completeness("field.completeness.fits").table
    assert not np.isin(other["x"], first.table["x"]).any() and written(tmp_path)["fit.cat.fits"] == before["fit.cat.fits"]


@pytest.mark.parametrize("name, other", [("installed_version", lambda: "0"), ("kinds", SimpleNamespace(KIND="another"))])
def test_another_program_makes_all_anew(image, tmp_path, monkeypatch, name, other):
    assert main(["completeness", image, *FAST, "--runs", "1"]) == 0
    before = written(tmp_path)
    monkeypatch.setattr(completeness_jobs, name, other)
    assert main(["completeness", image, *FAST, "--runs", "1", "--overwrite"]) == 0
    after = written(tmp_path)
    assert set(after) == set(before) and not [n for n in after if after[n] == before[n]]


def test_processes_and_whole_images_give_what_python_gives(image, tmp_path):
    words = ["--runs", "1", "--stars", "9", "--purity", "1", "--fluxes", "60", "4000", "--gain", "4", "--quiet"]
    assert main(["completeness", "generic", image, *words, "--workers", "2", "--out", "c.fits"]) == 0
    found = cs.read_completeness("c.fits")
    # the PSF and the catalog come from a file here, which holds them exactly
    here = cs.completeness(image, fluxes=(60., 4000.), runs=1, stars=9, gain=4.)
    assert np.allclose(found.table["flux_found"], here.table["flux_found"], rtol=1e-4, equal_nan=True)
    assert np.array_equal(found.table["found"], here.table["found"]) and found.purity["rows"].sum() >= 6


@pytest.mark.parametrize("words, message", [
    (["--force", "a.fits"], "leave --local out"), (["--stars", "10000"], "have room in a run"),
    (["--out", "c.csv"], "ends with .fits"), (["--fluxes", "-1", "5"], "two positive numbers"),
    (["--magnitudes", "1", "5"], "zero point"), (["--purity", "-1"], "must not be negative"),
    (["--out", "field.fits"], "exists already")])
def test_what_cannot_be_done(image, words, message, capsys):
    assert main(["completeness", image, "--local", "--executor", "threads", "--runs", "1", "--quiet", *words]) == 2
    assert message in capsys.readouterr().err
