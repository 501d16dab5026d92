"""Report pages: what is on them, that nothing from files gets into their code, and what they say is missing."""
import base64
import io
import json
import re
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table, vstack
from small_fields import write_fits

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.core.errors import DataFileError, MissingExtraError, OutputError
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.files import write_simulation

pytest.importorskip("bokeh", reason="bokeh is not installed")

from crowdsource.api.pages import FoundFit, artificial_stars, write_report
from crowdsource.report import page as pages
from crowdsource.report.completeness_plots import completeness_section
from crowdsource.report.fit_page import FitContents, FitFacts, fit_page, write_fit_page
from crowdsource.report.measured import binned
from crowdsource.report.planes import coloured, encoded, grey, picture, source_columns
from crowdsource.report.star_plots import depth_of, star_section
from crowdsource.report.tile_plots import worst_places

FIELD = SimulationConfig(shape=(150, 190), stars=120, brightest=300, saturated_stars=0, bad_columns=0, seed=6)



def artificial(path):
    """A file as ``crowdsource completeness`` writes it, of two classes of density."""
    flux = np.array([100., 200., 400., 800.])
    rows = Table(dict(flux_low=flux, flux_high=2*flux, stars=np.full(4, 50), found=[5, 25, 45, 50], fraction=[0.1, 0.5, 0.9, 1.],
                      fraction_low=[0.06, 0.43, 0.85, 0.98], fraction_high=[0.15, 0.57, 0.94, 1.], bias=[0.2, 0.1, 0.02, 0.],
                      scatter=[0.4, 0.2, 0.1, 0.05], pull=[1.1, 1., 1., 1.], pull_error=np.full(4, 0.1),
                      density_low=np.full(4, 0.01), density_high=np.full(4, 0.02)))
    surface = vstack([rows, rows])
    surface["density_class"] = np.repeat([1, 2], 4)
    limits = {f"m{p}": [at, np.nan] for p, at in ((50, 19.25), (80, 18.5), (95, 18.))}
    curve = Table(dict(region=["all", "density 1"], stars=[400, 200], found=[250, 125], **limits,
                       **{f"{name}_error": [0.1, np.nan] for name in limits}))
    curve["m50"].unit = "mag"
    first = fits.PrimaryHDU()
    first.header.update(FORMAT="completeness 1", MAGZERO=25., ZPKNOWN=True, DEPTHSTP=20)
    fits.HDUList([first, fits.BinTableHDU(surface, name="SURFACE"), fits.BinTableHDU(curve, name="CURVE"),
                  fits.ImageHDU(np.full((5, 6), 19.2, np.float32), name="DEPTH")]).writeto(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A field with its fit: catalog, model file and report page by the command."""
    folder = tmp_path_factory.mktemp("fit")
    write_simulation(simulate_field(FIELD), folder/"field.fits")
    assert main([str(folder/"field.fits"), "--out-dir", str(folder), "--model-out", "field.mod.fits", "--report",
                 str(folder/"pages"), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return cs.read_result(folder/"field.cat.fits", model=folder/"field.mod.fits", image=folder/"field.fits")


def with_changes(result, **changes):
    """The result with other attributes."""
    return cs.FitResult(**{f.name: getattr(result, f.name) for f in fields(cs.FitResult)} | changes)


def pixels_of(address):
    """The pixels of a picture that stands in a page."""
    from PIL import Image
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def viewer_of(text):
    """What the viewer of a page is given."""
    return json.loads(re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', text, re.S).group(1))


def sections(text):
    return re.findall(r'<section id="([\w-]+)">', text)


def test_page_of_a_fit_has_all_parts_and_needs_no_network(folder, result):
    text = (folder/"pages"/"field.html").read_text(encoding="utf-8")
    assert sections(text) == ["viewer", "stars", "residual", "worst-stars", "psf", "sky", "passes", "origin"]
    assert f"<b>{len(result.catalog):,}</b><span>sources</span>" in text
    # what is loaded is in the file: pictures, and nothing else
    loaded = re.findall(r'<(?:img|script|link|iframe)[^>]*\s(?:src|href)="([^"]*)"', text)
    assert loaded and all(a.startswith("data:image/png;base64,") for a in loaded)
    assert "cdn.bokeh.org" not in re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.S)
    held = viewer_of(text)
    assert [p["name"] for p in held["planes"]] == ["Image", "Model", "Residual"] and held["size"] == [190, 150]
    assert {"x", "y", "flux", "dflux", "ra", "dec", "flags", "good"} <= {c["name"] for c in held["columns"]}
    assert "sky.block = " not in text and "<td>sky.block</td>" in text


def test_pictures_have_the_first_row_at_the_bottom_and_bright_stars_where_they_are(result):
    held = fit_page(result, FitFacts(title="a")).viewer
    shown = pixels_of(held["planes"][0]["address"]).astype(float)
    ny, nx = result.image.shape
    assert shown.shape == (ny, nx)
    brightest = np.argsort(-np.asarray(result.catalog["flux"]))[:5]
    for x, y in zip(*(np.asarray(result.catalog[n])[brightest] for n in ("x", "y"))):
        assert shown[ny-1-round(y), round(x)] > np.quantile(shown, 0.97)
    # right ascension and declination between the nodes of the grid, against the image's own
    sky, x, y = held["sky"], 57.3, 111.6
    u, v = x/(nx-1)*(sky["side"]-1), y/(ny-1)*(sky["side"]-1)
    i, j, p, q = int(u), int(v), u % 1, v % 1
    weights = {(0, 0): (1-p)*(1-q), (1, 0): p*(1-q), (0, 1): (1-p)*q, (1, 1): p*q}
    ra, dec = (sum(w*sky[n][(j+b)*sky["side"]+i+a] for (a, b), w in weights.items()) for n in ("ra", "dec"))
    want = result.image.wcs.all_pix2world(x, y, 0)
    assert abs(dec-want[1])*3600 < 0.01 and abs((ra-want[0]+180) % 360-180)*3600 < 0.01


def test_names_and_messages_from_files_are_escaped(result, tmp_path):
    evil = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"
    table = result.catalog.copy()
    table["flux"].info.description = evil
    bad = with_changes(result, catalog=table)
    facts = FitFacts(title=evil, instrument=evil, band=evil, findings=(evil,), inputs=((evil, evil),), config=(f'a = "{evil}"',))
    write_fit_page(bad, facts, tmp_path/"evil.html", missing=[evil], back=(evil, "index.html"))
    text = (tmp_path/"evil.html").read_text(encoding="utf-8")
    assert evil not in text and "<script>alert" not in text and "<img src=x" not in text
    assert text.count("&lt;img src=x") >= 6
    flux = next(c for c in viewer_of(text)["columns"] if c["name"] == "flux")
    assert flux["description"] == evil


def test_blocks_are_averaged_without_what_is_not_known():
    plane = np.arange(35.).reshape(5, 7)
    plane[0, 0] = np.nan
    out = binned(plane, 2)
    assert out.shape == (3, 4)
    assert out[0, 0] == np.float32(16/3) and out[1, 1] == np.mean([16, 17, 23, 24]) and out[2, 3] == plane[4, 6]
    assert np.isnan(binned(np.full((2, 2), np.nan), 2)).all()


def test_colours_of_the_residual_tell_the_sign():
    colours = coloured(np.array([[-5., 0., 5., np.nan]]))[0].astype(int)
    assert colours[0][2] > colours[0][0]+50 and colours[2][0] > colours[2][2]+50 and colours[1].min() > 200
    assert colours[3].tolist() == [201, 211, 218]
    assert grey(np.array([[0., 1., np.nan]]), (0., 1., 0.1)).tolist() == [[0, 255, 40]]


def test_pictures_lose_quality_until_they_fit(result):
    noise = np.random.default_rng(1).integers(0, 256, (300, 300)).astype(np.uint8)
    planes = [("a", noise, 1, False)]
    best, = encoded(planes, 10**9)
    less, = encoded(planes, len(best)*2//3)
    assert len(less) <= len(best)*2//3
    # what has to be exact is
    assert (pixels_of(picture(noise)) == noise[::-1]).all()


def test_columns_of_a_page_are_those_of_the_catalog(result):
    columns, facts = source_columns(result.catalog, (10, 20))
    for name in ("flux", "dflux", "rchi2"):
        assert np.allclose(columns[name], np.asarray(result.catalog[name]), rtol=2e-5), name
    assert np.abs(columns["x"]-(np.asarray(result.catalog["x"])-10)).max() <= 1/4096+1e-9
    assert {f["name"]: f.get("offset") for f in facts}["y"] == 20
    words = next(f for f in facts if f["name"] == "flags")["words"]
    for row in range(len(result.catalog)):
        assert words[columns["flags"][row]] == ", ".join(cs.decode(int(result.catalog["flags"][row])))


def test_depth_is_that_of_constant_noise():
    rng = np.random.default_rng(3)
    flux = 10**rng.uniform(0, 4, 2000)
    depth = depth_of(25-2.5*np.log10(flux), flux, np.full(2000, 3.))
    assert abs(depth-(25-2.5*np.log10(15))) < 1e-6
    assert np.isnan(depth_of(np.zeros(0), np.zeros(0), np.zeros(0)))


def test_worst_places_come_first(result):
    data = result.image.data.copy()
    data[40:44, 100:104] += 60*result.image.noise
    spoilt = with_changes(result, image=replace(result.image, data=data))
    contents = FitContents.of(spoilt, FitFacts(title="a"))
    side = 12
    first = worst_places(contents, binned(contents.parts["significance"]**2, side), side)[0]
    assert abs(first.place[0]-102) < side and abs(first.place[1]-42) < side
    shown = pixels_of(first.pictures[2][1]).astype(int)
    ny = shown.shape[0]
    x, y = 101-first.place[0]+ny//2, 41-first.place[1]+ny//2
    assert shown[int(ny-1-y), int(x)].tolist() == coloured(np.array([[9.]]))[0, 0].tolist()


def test_completeness_has_its_limits_in_a_table_and_a_map(tmp_path):
    artificial(tmp_path/"a.completeness.fits")
    stars = artificial_stars(tmp_path/"a.cat.fits")
    assert stars.zeropoint == 25 and stars.named and stars.depth.shape == (5, 6) and stars.step == 20
    section = completeness_section(stars)
    assert [p.title for p in section.panels][-2:] == ["Depth", "Limits"]
    assert section.panels[-1].rows[0] == ["all", "400", "250", "19.25 \u00b1 0.10", "18.50 \u00b1 0.10", "18.00 \u00b1 0.10"]
    assert section.panels[-1].rows[1][3:] == ["\u2013"]*3
    assert artificial_stars(tmp_path/"b.cat.fits") is None
    fits.PrimaryHDU().writeto(tmp_path/"b.completeness.fits")
    with pytest.raises(DataFileError, match="b.completeness.fits.*holds no completeness"):
        artificial_stars(tmp_path/"b.cat.fits")


def test_what_is_missing_is_said_and_the_rest_is_shown(folder, tmp_path, capsys):
    shutil.copy(folder/"field.cat.fits", tmp_path/"a.cat.fits")
    shutil.copy(folder/"field.fits", tmp_path/"moved.fits")
    found = FoundFit(tmp_path/"a.cat.fits")
    assert found.result.image is not None and found.result.model is None
    assert len(found.missing) == 1 and "no model file beside the catalog" in found.missing[0]
    cat = (tmp_path/"a.cat.fits").read_bytes().replace(str(folder/"field.fits").encode(), b"?"*len(str(folder/"field.fits")))
    (tmp_path/"b.cat.fits").write_bytes(cat)
    artificial(tmp_path/"b.completeness.fits")
    text = write_report(tmp_path/"b.cat.fits")[0].read_text(encoding="utf-8")
    assert "is not found" in text and sections(text)[:3] == ["positions", "stars", "completeness"] and "viewer-data" not in text
    # named, it is there again
    found = FoundFit(tmp_path/"b.cat.fits", model=folder/"field.mod.fits", image=str(tmp_path/"moved.fits"))
    assert found.missing == [] and np.isfinite(found.result.residual).all()
    assert main(["report", str(tmp_path/"b.cat.fits"), "--image", str(tmp_path/"moved.fits")]) == 2
    assert "b.html: exists already" in capsys.readouterr().err


def test_catalogs_of_other_formats_have_pages_of_their_rows(result, tmp_path):
    result.write(tmp_path/"rows.ecsv")
    text = write_report(tmp_path/"rows.ecsv")[0].read_text(encoding="utf-8")
    assert "holds no PSF and no history" in text and sections(text) == ["positions", "stars", "sky"]


def test_magnitudes_of_two_bands_make_a_diagram(result):
    table = result.catalog.copy()
    table["mag_g"], table["mag_r"] = np.asarray(table["mag"])+0.5, np.asarray(table["mag"])
    for of, wanted in ((with_changes(result, catalog=table), True), (result, False)):
        panels = star_section(FitContents.of(of, FitFacts(title="a"))).panels
        assert ("Colour-magnitude diagram" in [p.title for p in panels]) == wanted


def test_faults_are_told_before_any_work(folder, tmp_path, capsys, monkeypatch):
    with pytest.raises(OutputError, match="field.html: exists already"):
        write_report(folder/"field.cat.fits", folder/"pages")
    write_fits(tmp_path/"image.fits", np.zeros((9, 9), np.float32))
    with pytest.raises(DataFileError, match="holds no catalog of crowdsource"):
        write_report(tmp_path/"image.fits")
    with pytest.raises(DataFileError, match="the fit is of 190 x 150"):
        write_report(folder/"field.cat.fits", tmp_path, image=str(tmp_path/"image.fits"))
    assert main(["report", str(tmp_path)]) == 2 and "neither the folder of a run nor a store" in capsys.readouterr().err
    assert main(["report", str(folder/"field.cat.fits"), "x.cat.fits", "--out", "a.html"]) == 2
    assert "name a folder" in capsys.readouterr().err

    def lacking(module, extra, purpose):
        raise MissingExtraError(module, extra, purpose)
    monkeypatch.setattr(pages, "need", lacking)
    assert main([str(folder/"field.fits"), "--out", str(tmp_path/"c.fits"), "--report", str(tmp_path)]) == 2
    assert "a report page needs bokeh: pip install 'crowdsourcephoto[report]'" in capsys.readouterr().err
    assert not (tmp_path/"c.fits").exists()


def test_assets_are_installed():
    from importlib.resources import files
    for name in ("page.html", "page.css", "page.js", "viewer.js"):
        assert len((files("crowdsource.report")/"templates"/name).read_text(encoding="utf-8")) > 500

