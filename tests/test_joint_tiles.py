"""Joint fits in tiles: which parts of images show a tile, stars at borders, and runs that are stopped and go on."""
import filecmp
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.axes import Axes
from scipy.spatial import cKDTree
from small_epochs import FIELD, plain, small_epochs

from crowdsource import FitConfig
from crowdsource.cli.main import main
from crowdsource.io.fits_tables import read_hdu
from crowdsource.io.tables import read_table
from crowdsource.joint import tiles
from crowdsource.joint.config import JointConfig
from crowdsource.joint.files import check_outputs
from crowdsource.joint.frame import Frame
from crowdsource.joint.inputs import ImageFile, opened_images
from crowdsource.joint.look import FirstLook
from crowdsource.joint.loop import ImageSource
from crowdsource.joint.pictures import HALF, SHOWN, plot_joint
from crowdsource.joint.tiles import FieldTile, cut_frame, field_tiles, on_borders
from crowdsource.production import executors, joint_run
from crowdsource.production.executors import JobLost, Workers, open_workers
from crowdsource.production.joint_run import TiledFit

IMAGES, TILES, SIDE = 3, 2, 190
SHORT = dict(first_passes=1, min_passes=2, max_passes=2, psf_passes=0)
"""Of the joint fit, where a test is of the tasks of a run and not of what they find."""
OPTIONS = "--option", "ivar={path}:IVAR", "--option", f"gain={FIELD.gain:g}"


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Smaller cut-outs and margins than those of real fields."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tiles, "LEAST_SIDE", 120)
        patched.setattr(tiles, "MARGIN", 30.)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images that are turned against each other."""
    folder = tmp_path_factory.mktemp("tiles")
    field = replace(FIELD, shape=(180, 250))
    _, epochs = small_epochs(images=IMAGES, field=field, rotation=5.)
    for k, epoch in enumerate(epochs):
        hdus = [fits.PrimaryHDU(epoch.simulation.data, fits.Header(dict(FILTER="r", MJD=epoch.mjd))),
                fits.ImageHDU(epoch.simulation.ivar, name="IVAR")]
        fits.HDUList(hdus).writeto(folder/f"night{k}.fits")
    return folder


def command(folder, out, *more, images=None):
    images = sorted(folder.glob("night*.fits")) if images is None else images
    return main(["joint", *map(str, images), *OPTIONS, "--out-dir", str(folder/out), "--quiet", *map(str, more)])


def in_tiles(folder, out, *more, **options):
    return command(folder, out, "--tile", SIDE, "--executor", "threads", *more, **options)


@pytest.fixture(scope="module")
def whole(folder):
    """The folder of a fit of the whole field."""
    assert command(folder, "whole") == 0
    return folder/"whole"


@pytest.fixture(scope="module")
def tiled(folder):
    """The folder of a fit in tiles."""
    assert in_tiles(folder, "tiled") == 0
    return folder/"tiled"


@pytest.fixture(scope="module")
def short(folder):
    """The options for fits of as few passes as can be."""
    path = folder/"short.toml"
    path.write_text("[joint]\n"+"".join(f"{name} = {value}\n" for name, value in SHORT.items()))
    return "--config", path


def same_folders(first, second):
    names = sorted(p.name for p in first.iterdir())
    assert names == sorted(p.name for p in second.iterdir())
    return filecmp.cmpfiles(first, second, names, shallow=False)[0] == names


def test_tiles_give_what_the_whole_field_does(whole, tiled):
    one, parts = (read_table(f"{f}/objects.fits:OBJECTS") for f in (whole, tiled))
    assert parts.colnames == one.colnames and parts["x"].unit == one["x"].unit
    assert parts["object_id"].tolist() == list(range(len(parts)))
    off, row = cKDTree(np.c_[plain(parts, "x"), plain(parts, "y")]).query(np.c_[plain(one, "x"), plain(one, "y")])
    sure = plain(one, "flux") > 10*plain(one, "dflux")
    assert sure.sum() > 50 and (off[sure] < 0.5).mean() > 0.98 and np.abs(len(parts)-len(one)) < 0.06*len(one)
    pull = ((plain(parts, "flux")[row]-plain(one, "flux"))/plain(one, "dflux"))[sure & (off < 0.5)]
    assert np.abs(np.median(pull)) < 0.2 and np.percentile(np.abs(pull), 68) < 0.7
    assert not cKDTree(np.c_[plain(parts, "x"), plain(parts, "y")]).query_pairs(0.5)


def test_a_tiled_fit_has_the_same_files(whole, tiled):
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in tiled.iterdir())
    with fits.open(tiled/"objects.fits") as hdus:
        header, images, ids = hdus[0].header, hdus["IMAGES"].data, hdus["OBJECTS"].data["object_id"].copy()
        assert header["NTILES"] == TILES and header["NIMAGES"] == IMAGES and header["NOBJECTS"] == len(ids)
        assert "reference image" in hdus["OBJECTS"].header["TCOMM2"] and len(set(images["tile"])) == TILES
    curves, rows, number = read_table(tiled/"lightcurves.parquet"), 0, header["JOINTFIT"]
    assert (np.diff(curves["object_id"]) >= 0).all() and set(curves["object_id"]) <= set(ids)
    for k in range(IMAGES):
        with fits.open(tiled/f"night{k}.cat.fits") as hdus:
            names, catalog, header = [h.name for h in hdus], read_hdu(hdus["CAT"]), hdus[0].header
        assert {"HDR", "TILE-00-00_PSF", "TILE-00-01_PSF"} < set(names) and header["NSOURCES"] == len(catalog)
        assert header["JOINTFIT"] == number
        assert len(np.unique(catalog["detection_id"])) == len(catalog)
        assert np.isin(catalog["object_id"], ids).all()
        rows += len(catalog)
    assert rows == len(curves)


def test_a_picture_is_drawn_of_a_tiled_fit(folder, tiled, tmp_path, monkeypatch):
    shown, show = [], Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda axes, light, **options: shown.append(light) or show(axes, light, **options))
    plot_joint(tiled, {i.name: i.source({}).read for i in opened_images(files(folder))[0]}, tmp_path/"tiled.png")
    assert (tmp_path/"tiled.png").read_bytes()[:4] == b"\x89PNG"
    # the stars are in the middle of their cut-outs
    assert len(shown) == 2*SHOWN
    whole = [light for light in shown if light.shape == (2*HALF+1, 2*HALF+1)]
    bright = [light[HALF-1:HALF+2, HALF-1:HALF+2].mean() > light.mean()+light.std() for light in whole]
    assert len(whole) >= SHOWN and np.mean(bright) > 0.7


def test_positions_on_images_are_those_of_the_whole_image(whole, tiled):
    one, parts = (read_table(f/"night0.cat.fits") for f in (whole, tiled))
    off = cKDTree(np.c_[plain(parts, "x"), plain(parts, "y")]).query(np.c_[plain(one, "x"), plain(one, "y")])[0]
    assert (off[plain(one, "flux") > 20*plain(one, "dflux")] < 0.3).mean() > 0.97


def test_neither_order_nor_workers_change_a_bit(folder, tiled):
    images = sorted(folder.glob("night*.fits"), reverse=True)
    assert in_tiles(folder, "reversed", "--workers", 2, images=images) == 0
    assert same_folders(tiled, folder/"reversed")


class Stopped(BaseException):
    """As a signal would."""


def stopped_after(number, monkeypatch):
    """Let the process be stopped after some tasks; gives the list of tasks that are begun."""
    begun, submit = [], Workers.submit

    def counted(self, job):
        if len(begun) == number:
            raise Stopped
        begun.append(job["task"])
        return submit(self, job)

    monkeypatch.setattr(Workers, "submit", counted)
    return begun


def test_a_stopped_run_goes_on_where_it_was(folder, tiled, monkeypatch):
    out, number = "stopped", IMAGES+1
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        stopped_after(number, patched)
        in_tiles(folder, out)
    assert not (folder/out).exists() and (folder/f".{out}.tiles").is_dir()
    with monkeypatch.context() as patched:
        begun = stopped_after(-1, patched)
        assert in_tiles(folder, out) == 0
    # what was being done is done again
    assert len(begun) <= IMAGES+TILES-number+1
    assert same_folders(tiled, folder/out) and not (folder/f".{out}.tiles").exists()


def test_a_broken_image_is_named_and_left_out(folder, short):
    (folder/"broken.fits").write_text("this is no image")
    (folder/"noise.fits").unlink(missing_ok=True)
    noise = np.random.default_rng(1).normal(100, 5, (180, 250)).astype(np.float32)
    fits.HDUList([fits.PrimaryHDU(noise), fits.ImageHDU(np.full_like(noise, 1/25), name="IVAR")]).writeto(folder/"noise.fits")
    images = [*sorted(folder.glob("night*.fits")), folder/"broken.fits", folder/"noise.fits"]
    assert in_tiles(folder, "odd", *short, images=images) == 1
    header = fits.getheader(folder/"odd/objects.fits")
    assert "broken.fits" in header["LEFT001"] and "noise" in header["LEFT002"] and header["NIMAGES"] == IMAGES


def test_known_objects_stay_in_tiles(folder, whole):
    assert in_tiles(folder, "again", "--objects", whole/"objects.fits") == 0
    before, after = (read_table(f"{f}/objects.fits:OBJECTS") for f in (whole, folder/"again"))
    rows = {int(i): k for k, i in enumerate(after["object_id"])}
    assert len(rows) == len(after) and set(before["object_id"]) <= set(rows)
    place = [rows[int(i)] for i in before["object_id"]]
    assert np.allclose(plain(after, "x")[place], plain(before, "x"), atol=1e-6)


def test_a_task_that_fails_stops_nothing_else(folder, monkeypatch):
    done, real = [], executors.outcomes

    def one_fails(workers, jobs):
        for job, outcome in real(workers, jobs):
            done.append(job["task"])
            yield job, {**outcome, "state": "failed", "reason": "memory", "error": "too large"} \
                if job["task"] == "tile-00-00" else outcome

    monkeypatch.setattr(executors, "outcomes", one_fails)
    with pytest.raises(Exception, match="tile-00-00: too large.*run again"):
        TiledFit(files=files(folder), config={}, joint=JointConfig(**SHORT), out=folder/"failing", side=SIDE,
                 workers=open_workers("threads", 1))()
    assert len(done) == IMAGES+TILES and not (folder/"failing").exists()


def files(folder):
    return [ImageFile(path=str(p), options=dict(ivar=f"{p}:IVAR", gain=FIELD.gain)) for p in sorted(folder.glob("night*.fits"))]


@pytest.mark.parametrize("words, message", [
    (("--workers", "2"), "--workers is of a field in tiles"), (("--executor", "threads"), "--executor is of a field in tiles"),
    (("--tile", "200", "--threads", "2"), "--threads is of"),
    (("--tile", "200", "--workers", "0"), "must be at least 1")])
def test_options_that_do_not_go_together(folder, capsys, words, message):
    assert command(folder, "nothing", *words) == 2
    assert message in capsys.readouterr().err and not (folder/"nothing").exists()


@pytest.mark.parametrize("problem, reason", [(BrokenExecutor("died"), "killed"), (JobLost("gone"), "killed"),
                                             (CancelledError(), "killed"), (MemoryError("much"), "memory")])
def test_what_becomes_of_a_job_whose_worker_is_lost(problem, reason):
    given = []

    def submit(job):
        given.append(job)
        future = Future()
        future.set_exception(problem)
        return future

    workers = SimpleNamespace(number=1, submit=submit, check_connection=lambda: None)
    (job, outcome), = executors.outcomes(workers, [dict(kind="tile", task="tile-00-00", key="a")])
    assert outcome["state"] == "failed" and outcome["reason"] == reason and job is given[0]
    # what would happen again is not tried again
    assert len(given) == (executors.MOST_TRIES if reason == "killed" else 1)


def test_another_process_at_work_is_told(folder):
    (folder/".busy.tiles").mkdir()
    lock = joint_run.take_lock(folder/".busy.tiles/lock")
    with pytest.raises(Exception, match="another process works there"):
        TiledFit(files=files(folder), config={}, joint=JointConfig(), out=folder/"busy", side=SIDE,
                 workers=open_workers("threads", 1))()
    lock.free()
    check_outputs(folder/"busy")


@pytest.mark.parametrize("angle, mirrored, scale", [(0., False, 1.), (0.7, False, 0.5), (2., True, 1.7)])
def test_tiles_cover_what_images_show(angle, mirrored, scale):
    frame, shape = Frame.similarity(scale, angle, (700., 300.), mirrored), (900, 1100)
    parts = field_tiles([frame], [shape], 300)
    assert len(parts) > 5
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1099, 3000), rng.uniform(0, 899, 3000)
    u, v = frame.inverse(x, y)
    owners = sum((t.depth(u, v) >= 0).astype(int) for t in parts)
    assert (owners == 1).all()
    for tile in parts:
        box, near = tile.shows(frame, shape), tile.depth(u, v) > -tiles.MARGIN
        if not near.any():
            continue
        x0, x1, y0, y1 = box
        assert 0 <= x0 and x1 <= 1100 and 0 <= y0 and y1 <= 900 and min(x1-x0, y1-y0) >= tiles.LEAST_SIDE
        assert ((x[near] >= x0-0.5) & (x[near] < x1-0.5) & (y[near] >= y0-0.5) & (y[near] < y1-0.5)).all()
        there = cut_frame(frame, box)(u[near], v[near])
        assert np.allclose(there, (x[near]-x0, y[near]-y0), atol=1e-6)


def test_an_image_elsewhere_shows_no_tile():
    tile = FieldTile(name="t", low=(0., 0.), high=(300., 300.))
    assert tile.shows(Frame.similarity(1., 0., (-2000., 0.)), (500, 500)) is None


def test_a_star_at_a_border_is_kept_once():
    left, right = FieldTile(name="a", low=(0., 0.), high=(100., 100.)), FieldTile(name="b", low=(100., 0.), high=(200., 100.))
    # both inside, both outside, found by one only outside of its tile, and two stars far from the border
    first = np.array([[99.95, 10.], [100.05, 20.], [100.4, 30.], [50., 50.]])
    second = np.array([[100.2, 10.], [99.9, 20.], [150., 50.]])
    keep = [k.tolist() for k in on_borders([left, right], [first, second], 1.)]
    assert keep == [[False, True, False, True], [True, False, True]]
    assert on_borders([left], [first], 1.)[0].tolist() == [True, False, False, True]


def test_a_star_where_four_tiles_meet_is_kept_once():
    corner = [FieldTile(name=f"{u}{v}", low=(100.*u, 100.*v), high=(100.*(u+1), 100.*(v+1))) for v in (0, 1) for u in (0, 1)]
    for x, y in ((99.8, 99.7), (100.1, 99.9), (100.3, 100.4)):
        keep = on_borders(corner, [np.array([[x, y]])]*4, 1.)
        assert [bool(k[0]) for k in keep] == [t.depth(x, y) >= 0 for t in corner]


def test_a_first_look_is_read_as_it_was_written(tmp_path):
    from astropy.wcs import WCS
    wcs = WCS(fits.Header(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=10., CRVAL2=20., CRPIX1=50., CRPIX2=60., CD1_1=-1e-4,
                               CD1_2=0., CD2_1=0., CD2_2=1e-4)))
    _, epochs = small_epochs(images=1)
    image = epochs[0].image()
    image = replace(image, wcs=wcs, zeropoint=25., mjd=59000.125, meta={**image.meta, "unit": "adu"})
    seen = FirstLook.at(ImageSource("a", image, None, FitConfig()), 1)
    seen.write(tmp_path/"look.fits")
    again = FirstLook.read(tmp_path/"look.fits")
    assert (again.band, again.unit, again.zeropoint, again.mjd) == (seen.band, "adu", 25., 59000.125)
    FirstLook(**{**vars(seen), "mjd": np.nan}).write(tmp_path/"look.fits")
    assert np.isnan(FirstLook.read(tmp_path/"look.fits").mjd)
    assert again.stars.shape == seen.stars.shape and again.stars.fwhm == seen.stars.fwhm and len(again.stars.x) > 20
    assert np.array_equal(again.stars.x, seen.stars.x) and np.array_equal(again.stars.error, seen.stars.error)
    assert np.allclose(again.stars.wcs.all_pix2world(30., 40., 0), wcs.all_pix2world(30., 40., 0), rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def seasons(tmp_path_factory):
    """A folder with images of four seasons, of stars that have parallaxes, with world coordinates."""
    folder = tmp_path_factory.mktemp("seasons")
    field = replace(FIELD, shape=(150, 250))
    _, epochs = small_epochs(images=4, field=field, rotation=5., years=1.25, parallax=60., motion=0.05, variables=0.)
    for k, epoch in enumerate(epochs):
        header = epoch.simulation.header.copy()
        header.update(FILTER="r", MJD=epoch.mjd)
        hdus = [fits.PrimaryHDU(epoch.simulation.data, header), fits.ImageHDU(epoch.simulation.ivar, name="IVAR")]
        fits.HDUList(hdus).writeto(folder/f"night{k}.fits")
    return folder


def test_parallaxes_in_tiles_are_those_of_the_whole_field(seasons):
    assert command(seasons, "whole", "--parallax") == 0 and in_tiles(seasons, "tiled", "--parallax") == 0
    one, parts = (read_table(seasons/f"{out}/objects.fits:OBJECTS") for out in ("whole", "tiled"))
    assert parts.colnames == one.colnames and str(parts["parallax"].unit) == "mas"
    off, row = cKDTree(np.c_[plain(parts, "x"), plain(parts, "y")]).query(np.c_[plain(one, "x"), plain(one, "y")])
    sure = (off < 0.5) & (plain(one, "dparallax") < 15) & (plain(parts, "dparallax")[row] < 15)
    left = plain(parts, "parallax")[row]-plain(one, "parallax")
    # each tile has a zero point of its own, in its frames
    assert sure.sum() > 20 and np.median(np.abs(left[sure]-np.median(left[sure]))) < 10
    assert np.std(plain(one, "parallax")[sure]) > 20


def test_what_motions_and_parallaxes_need_is_told_before_tiles_are_fitted(folder, seasons, capsys):
    assert in_tiles(folder, "nothing", "--parallax") == 2
    assert "night1: the reference has no world coordinates" in capsys.readouterr().err
    assert in_tiles(seasons, "nothing", "--parallax", images=sorted(seasons.glob("night*.fits"))[:3]) == 2
    assert "3 images cannot tell parallaxes" in capsys.readouterr().err
    with fits.open(seasons/"night0.fits") as hdus:
        del hdus[0].header["MJD"]
        hdus.writeto(seasons/"undated.fits")
    assert in_tiles(seasons, "nothing", "--motion", images=[seasons/"undated.fits", seasons/"night1.fits"]) == 2
    assert "undated: its date is not known" in capsys.readouterr().err and not (seasons/"nothing").exists()
