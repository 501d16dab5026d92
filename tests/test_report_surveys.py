"""Report pages of runs, releases and objects."""
import re

import numpy as np
import pytest
from small_fields import star_image, tan_wcs
from small_release import small_survey
from small_survey import make_manifest, make_survey

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError
from crowdsource.production.manifest import ManifestEntry
from crowdsource.production.records import OutputPaths, write_record
from crowdsource.survey.objects.average import ZEROPOINT

pytest.importorskip("bokeh", reason="bokeh is not installed")

from crowdsource.production.run_page import figures_of_run, is_run, write_run_page
from crowdsource.survey.pages.object_page import object_page, object_row, write_object_page
from crowdsource.survey.pages.release_page import coarser, figures_of_release, write_release_page


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run: one exposure that is done, and one that failed."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(5)
    shape = (90, 90)
    data = star_image(shape, *rng.uniform(5, 85, (2, 25)), np.r_[10**rng.uniform(3, 4.5, 15), np.full(10, 300.)])
    result = cs.fit(data, rms=np.full(shape, 3.), wcs=tan_wcs(shape), zeropoint=25., mjd=57000.25, band="r")
    paths = OutputPaths(folder, "good")
    paths.folder.mkdir()
    result.write(paths.catalog)
    done = dict(state="done", reason="", error="", seconds=2.5, outputs=[], figures={})
    write_record(paths.record, dict(done, detectors={"": done}))
    bad = OutputPaths(folder, "bad")
    failed = dict(state="failed", reason="input", error="<b>cut off</b>", seconds=0.1, outputs=[], figures={})
    write_record(bad.detector_record(""), failed)
    return folder, result


def test_run_is_told_by_detector(run):
    folder, result = run
    entries = [ManifestEntry(exposure=n, label=n, detector="", instrument="generic", image=f"{n}.fits", problem=problem)
               for n, problem in (("good", ""), ("bad", ""), ("left", ""), ("lost", "no such file"))]
    assert is_run(folder) and not is_run(folder/"good")
    figures = {f.label: f for f in figures_of_run(folder, entries)}
    assert {n: f.state for n, f in figures.items()} == {"good": "done", "bad": "failed", "left": "not done", "lost": "failed"}
    good = figures["good"]
    assert good.sources == len(result.catalog) and good.band == "r" and good.seconds == 2.5
    assert abs(good.seeing-0.26*float(result.psf.fwhm())) < 1e-3 and good.zeropoint == 25. and good.mjd == 57000.25
    assert abs(good.ra-150) < 0.005 and abs(good.dec-2) < 0.005
    # a fifth of the noise of faint stars, which have at least that of an isolated one
    alone = np.median(np.asarray(result.catalog["dflux_iso"]))
    assert good.depth <= 25-2.5*np.log10(5*alone)+0.05 and good.depth > 25-2.5*np.log10(5*alone)-1
    assert "cut off" in figures["bad"].message and figures["lost"].message == "no such file"


def test_page_of_a_run_links_to_what_is_there(run, tmp_path):
    folder, _ = run
    (folder/"good"/"good.html").write_text("a page")
    write_run_page(figures_of_run(folder), tmp_path/"index.html", "Run <1>")
    text = (tmp_path/"index.html").read_text(encoding="utf-8")
    address = re.search(r'<a href="([^"]*)">good</a>', text).group(1)
    assert (tmp_path/address).resolve() == (folder/"good"/"good.html").resolve()
    assert "&lt;b&gt;cut off&lt;/b&gt;" in text and "<b>cut off" not in text and "Run &lt;1&gt;" in text
    assert 'id="failures"' in text and "1 of 2" in text
    (folder/"good"/"good.html").unlink()


def test_command_for_runs(run, capsys):
    folder, _ = run
    assert main(["report", str(folder), "--each"]) == 0
    out = capsys.readouterr().out
    assert "1 pages of exposures" in out and "index.html" in out
    # the image was an array: the page of the exposure says so
    text = (folder/"good"/"good.html").read_text(encoding="utf-8")
    assert "is not found" in text and 'href="../index.html"' in text
    assert 'href="good/good.html"' in (folder/"index.html").read_text(encoding="utf-8")
    assert main(["report", str(folder)]) == 2 and "exists already" in capsys.readouterr().err


def test_run_writes_pages_with_its_fits(tmp_path):
    make_survey(tmp_path, 1, side=64)
    make_manifest(tmp_path, tmp_path/"m.ecsv")
    assert main(["run", str(tmp_path/"m.ecsv"), "--executor", "threads", "--reports", "--quiet"]) == 0
    (figures,) = figures_of_run(tmp_path/"m")
    assert figures.state == "done" and figures.page == tmp_path/"m"/"field0000"/"field0000.html"
    assert 'id="viewer"' in figures.page.read_text(encoding="utf-8")


def test_figures_of_a_release_are_those_of_its_rows():
    survey = small_survey()
    figures = figures_of_release(survey)
    objects = np.concatenate([survey.release.objects(p) for p in survey.release.pixels])
    assert (figures.numbers == np.bincount(objects["n_det"])).all()
    assert np.sort(figures.objects["object_id"]).tolist() == np.sort(objects["object_id"]).tolist()
    # positions were given errors of 0.02 arcsec an axis, of which means over several detections take a part
    kept = figures.residuals
    for axis in ("east", "north"):
        assert 0.013 < np.std(kept[axis]) < 0.02 and abs(np.mean(kept[axis])) < 1e-3
    bright = kept["bright"] < ZEROPOINT-2.5*np.log10(300)
    assert np.nanstd(kept["magnitude"][bright]) < 0.01
    assert set(np.unique(kept["source"])) == set(range(6))


def test_page_of_a_release(tmp_path):
    survey = small_survey()
    write_release_page(survey, tmp_path/"dr1.html")
    text = (tmp_path/"dr1.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)">', text) == ["coverage", "repeatability", "astrometry", "objects", "images"]
    assert all(f"<td>e{k} n{k % 2+1}" in text for k in range(6))
    titles = set(re.findall("<h3>(.*?)</h3>", text))
    assert {"Density of objects", "Depth in g", "Scatter in r", "Colour-magnitude diagram",
            "Objects by number of detections"} <= titles


def test_cells_are_made_wider_where_there_are_too_many(monkeypatch):
    from crowdsource.survey.pages import release_page as module
    coverage = figures_of_release(small_survey()).coverage
    monkeypatch.setattr(module, "MOST_CELLS", 12)
    wide = coarser(coverage)
    assert len(wide.cells) <= 12 and wide.objects.sum() == coverage.objects.sum()
    assert wide.detections.sum() == coverage.detections.sum()
    assert (np.unique(coverage.cells >> 2*(coverage.order-wide.order)) == wide.cells).all()
    for band, depth in wide.depth.items():
        assert np.nanmin(coverage.depth[band]) <= np.nanmin(depth) and np.nanmax(depth) <= np.nanmax(coverage.depth[band])


def test_page_of_an_object_has_all_its_detections(tmp_path):
    survey = small_survey()
    objects = np.concatenate([survey.release.objects(p) for p in survey.release.pixels])
    row = objects[np.argmax(objects["n_det"])]
    page = object_page(survey, int(row["object_id"]))
    assert "There are no cut-outs" in page.missing[0] or "No cut-out" in page.missing[0]
    table = next(s for s in page.sections if s.name == "detections").panels[0]
    assert len(table.rows) == row["n_det"]
    assert [p.title for p in page.sections[0].panels] == ["Band g", "Band r"]
    write_object_page(survey, int(row["object_id"]), tmp_path/"object.html")
    assert f"Object {row['object_id']}" in (tmp_path/"object.html").read_text(encoding="utf-8")
    assert object_row(survey, int(row["object_id"]))["ra"] == row["ra"]
    with pytest.raises(ConfigError, match="has no object 5"):
        object_page(survey, 5)
