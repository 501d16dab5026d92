"""Runs of several detectors: order, executors, one that fails, and what the files hold."""
import pickle
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_fields import NOISE, star_image

from crowdsource.config import FitConfig
from crowdsource.core.errors import ConfigError, DataFileError, MissingExtraError, OutputError
from crowdsource.core.image import Image
from crowdsource.core.tiles import TileSize
from crowdsource.exposure.fit_inputs import configuration
from crowdsource.exposure.instrument import DetectorTask, Exposure, Instrument
from crowdsource.exposure.run import describe_run, run, status
from crowdsource.exposure.settings import OutputFiles, RunSettings
from crowdsource.io.tables import read_table

SHAPE = (40, 50)


@dataclass(frozen=True)
class Three(Exposure):
    """Three detectors, of which some are broken."""
    broken: tuple = ()
    identity: str = "three"
    inputs: tuple = ()
    options: tuple = ()

    def tasks(self):
        return tuple(DetectorTask(d, cost) for d, cost in (("n1", 1.), ("n2", 3.), ("n3", 2.)))

    def read(self, task):
        if task.detector in self.broken:
            raise DataFileError("x.fits", "is damaged; fetch it again", task.detector)
        if task.detector+"!" in self.broken:
            raise ZeroDivisionError("a fault of the adapter")
        k = int(task.detector[1])
        return Image.from_arrays(star_image(SHAPE, [10.*k], [20.], [5000.], seed=k), np.full(SHAPE, NOISE**-2), exposure="three",
                                 detector=task.detector, meta=dict(k=k))


class Camera(Instrument):
    """A camera with its own defaults."""
    name = "camera"
    summary = "three detectors"

    def open(self, path, **options):
        return Three()

    def tiling(self, image):
        return TileSize(core=500, overlap=40)

    def extra_columns(self, image, result):
        return dict(detector_number=np.full(len(result.catalog), image.meta["k"]))


def settings_of(catalog, model=None, info=None, plot=None, debug_plots=None, model_image=True, **settings):
    """Settings of a run that writes these files."""
    return RunSettings(outputs=OutputFiles(catalog=catalog, model=model, info=info, plot=plot, debug_plots=debug_plots,
                                           model_image=model_image), **settings)


@pytest.fixture
def out(tmp_path):
    return tmp_path/"a.cat.fits"


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor, ProcessPoolExecutor])
def test_detectors_are_gathered_in_order(out, executor):
    settings = settings_of(out, model=out.with_name("a.mod.fits"))
    if executor is None:
        outcomes = run(Camera(), Three(), settings)
    else:
        options = {}
        if executor is ProcessPoolExecutor:
            import multiprocessing
            options = dict(mp_context=multiprocessing.get_context("spawn"))
        with executor(2, **options) as pool:
            outcomes = run(Camera(), Three(), settings, executor=pool)
    assert [o.task.detector for o in outcomes] == ["n1", "n2", "n3"] and status(outcomes) == 0
    with fits.open(out) as hdus:
        assert [h.name for h in hdus if h.name.endswith("_CAT")] == ["N1_CAT", "N2_CAT", "N3_CAT"]
        for k in (1, 2, 3):
            rows = hdus[f"N{k}_CAT"].data
            brightest = rows[np.argmax(rows["flux"])]
            assert brightest["x"] == pytest.approx(10*k, abs=0.1) and brightest["detector_number"] == k
            assert f"N{k}_PSF" in hdus and f"N{k}_HIST" in hdus
        assert hdus[0].header["NSOURCES"] == sum(len(hdus[f"N{k}_CAT"].data) for k in (1, 2, 3))
        assert "n2 pass 0: 1 sources" in str(hdus[0].header["HISTORY"])
    with fits.open(out.with_name("a.mod.fits")) as hdus:
        assert [h.name for h in hdus[1:4]] == ["N1_MOD", "N1_SKY", "N1_MSK"]


@pytest.mark.parametrize("broken", ["n2", "n2!"])
def test_one_bad_detector_does_not_cost_the_others(out, caplog, broken):
    outcomes = run(Camera(), Three((broken,)), settings_of(out))
    assert status(outcomes) == 1 and [o.error is None for o in outcomes] == [True, False, True]
    assert "n2: " in caplog.text
    with fits.open(out) as hdus:
        assert "N1_CAT" in hdus and "N2_CAT" not in hdus and "N3_CAT" in hdus


def test_nothing_is_written_when_all_fail(out):
    outcomes = run(Camera(), Three(("n1", "n2", "n3!")), settings_of(out))
    assert status(outcomes) == 2
    assert list(out.parent.iterdir()) == []


def test_rows_of_all_detectors_in_one_table(out):
    path = out.with_name("a.ecsv")
    run(Camera(), Three(), settings_of(path))
    table = read_table(path)
    assert list(dict.fromkeys(table["detector"])) == ["n1", "n2", "n3"]


def test_pictures_carry_the_detector_s_name(out):
    run(Camera(), Three(("n2", "n3")), settings_of(out, plot=out.with_name("p.png")))
    assert {p.name for p in out.parent.iterdir()} == {"a.cat.fits", "a.cat.fits.parts", "p-n1.png"}


def test_outputs_are_checked_before_any_work(out):
    out.touch()
    with pytest.raises(OutputError, match="exists already"):
        run(Camera(), Three(("n1", "n2", "n3")), settings_of(out))


def test_plan_reads_and_writes_nothing(out):
    lines = describe_run(Camera(), Three(), settings_of(out))
    assert sum("50 x 40 pixels" in line for line in lines) == 3 and f"would write {out}" in lines
    assert not out.exists()


def test_configuration_is_preset_then_instrument_then_user():
    class Own(Camera):
        def fit_config(self, image, config):
            from dataclasses import replace
            return replace(config, detect=replace(config.detect, threshold=7., blend_ratio=0.33))
    config = configuration(Own(), None, dict(preset="described", detect=dict(threshold=6.)))
    assert config.centroid.method == "moment"
    assert (config.detect.threshold, config.detect.blend_ratio) == (6, 0.33)
    assert (config.solve.tile, config.solve.overlap) == (500, 40)
    assert configuration(Camera(), None, {}).detect == FitConfig().detect
    with pytest.raises(ConfigError, match="preset 'fast' is unknown"):
        configuration(Camera(), None, dict(preset="fast"))


def test_images_go_to_other_processes_whole():
    import pickle
    image = Three().read(DetectorTask("n2", 1.))
    again = pickle.loads(pickle.dumps(image))
    assert (again.data == image.data).all() and not again.data.flags.writeable and again.meta == image.meta
    with pytest.raises(TypeError):
        again.meta["k"] = 3


@pytest.mark.parametrize("error", [DataFileError("a.fits", "is gone; look for it", 3), OutputError("b"),
                                   MissingExtraError("pyarrow", "parquet", "a catalog")])
def test_errors_come_back_from_other_processes_whole(error):
    import pickle
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)


def test_a_run_goes_on_where_it_failed(out, caplog):
    settings = settings_of(out, model=out.with_name("a.mod.fits"), info=out.with_name("a.info.fits"))
    assert status(run(Camera(), Three(("n2",)), settings)) == 1
    with pytest.raises(OutputError, match="exists already"):
        run(Camera(), Three(), settings)
    before = (out.with_name("a.cat.fits.parts")/"n1.cat.fits").stat().st_mtime_ns
    outcomes = run(Camera(), Three(), replace(settings, resume=True))
    assert [bool(o.cpu) for o in outcomes] == [False, True, False] and [o.header["NSOURCES"] for o in outcomes] == [1, 1, 1]
    assert before and not out.with_name("a.cat.fits.parts").exists()
    # the same as at one go, and there is nothing to do any more
    whole = settings_of(**{n: out.with_name(f"b.{n}.fits") for n in ("catalog", "model", "info")})
    run(Camera(), Three(), whole)
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(settings.outputs.files, whole.outputs.files))
    assert run(Camera(), Three(), replace(settings, resume=True)) == [] and "finished already" in caplog.text


def test_parts_without_planes_that_are_wanted_are_not_taken(out):
    run(Camera(), Three(("n2",)), settings_of(out))
    outcomes = run(Camera(), Three(), settings_of(out, resume=True, info=out.with_name("a.info.fits")))
    assert all(o.cpu for o in outcomes)
    with fits.open(out.with_name("a.info.fits")) as hdus:
        assert [h.name for h in hdus[1:]] == [f"N{k}_{n}" for k in (1, 2, 3) for n in ("IVF", "MSK", "PSF")]


def test_parts_of_other_settings_are_not_taken(out, caplog):
    run(Camera(), Three(("n2",)), settings_of(out))
    outcomes = run(Camera(), Three(), settings_of(out, resume=True, config=dict(max_passes=4)))
    assert all(o.cpu for o in outcomes) and caplog.text.count("of other inputs or settings") == 2
    with fits.open(out) as hdus:
        assert len(hdus["N1_HIST"].data) == 4


def test_parts_that_were_left_are_told_of(out):
    run(Camera(), Three(("n2",)), settings_of(out))
    out.unlink()
    with pytest.raises(OutputError, match="go on with it .`resume=True`. or start anew"):
        run(Camera(), Three(), settings_of(out))
    assert all(o.cpu for o in run(Camera(), Three(), settings_of(out, overwrite=True)))


def test_sky_and_flags_alone(out):
    run(Camera(), Three(), settings_of(out, model=out.with_name("a.mod.fits"), model_image=False))
    with fits.open(out.with_name("a.mod.fits")) as hdus:
        assert [h.name for h in hdus[1:3]] == ["N1_SKY", "N1_MSK"]
    with fits.open(out) as hdus:
        assert hdus["N1_HDR"].header["FWHMCRWD"] > 1 and np.isfinite(hdus["N2_HDR"].header["SKYCRWD"])


def test_a_killed_worker_costs_its_detector_only(out, caplog):
    class Broken(ThreadPoolExecutor):
        def submit(self, function, work, task):
            if task.detector != "n2":
                return super().submit(function, work, task)
            return super().submit(lambda: (_ for _ in ()).throw(BrokenExecutor()))

    with Broken(2) as pool:
        assert status(run(Camera(), Three(), settings_of(out), executor=pool)) == 1
    assert "a worker was killed" in caplog.text


def test_errors_of_any_kind_travel_between_processes(out):
    class Odd(Exception):
        """Local, so that it cannot be pickled."""

    class Failing(Three):
        def read(self, task):
            if task.detector == "n2":
                raise Odd("a strange thing")
            return super().read(task)

    outcomes = run(Camera(), Failing(), settings_of(out))
    error = next(o.error for o in outcomes if o.error is not None)
    assert "Odd: a strange thing" in str(pickle.loads(pickle.dumps(error)))


def test_folders_of_pass_pictures(out):
    run(Camera(), Three(("n2", "n3")), settings_of(out, debug_plots=out.with_name("plots")))
    assert len(list(Path(out.with_name("plots")/"n1").glob("pass-*-psf.png"))) >= 4


@pytest.mark.parametrize("ending", ["cat.fits", "vot", "csv"])
def test_what_is_there_already_is_a_success_if_it_is_of_the_same(out, caplog, ending):
    out = out.with_name(f"a.{ending}")
    settings = settings_of(out, model=out.with_name("a.mod.fits"))
    run(Camera(), Three(), settings)
    before = {p: p.read_bytes() for p in out.parent.iterdir() if p.is_file()}
    if ending == "csv":
        # it holds the rows alone and does not tell what it is made of
        with pytest.raises(OutputError, match="exists already"):
            run(Camera(), Three(), settings)
        return
    with caplog.at_level("INFO"):
        assert run(Camera(), Three(), settings) == [] and "is there already" in caplog.text
    for other in (dict(config=dict(max_passes=4)), dict(info=out.with_name("a.info.fits"))):
        with pytest.raises(OutputError, match="exists already"):
            run(Camera(), Three(), settings_of(out, **{"model": out.with_name("a.mod.fits"), **other}))
    assert {p: p.read_bytes() for p in out.parent.iterdir() if p.is_file()} == before
    out.with_name("a.mod.fits").write_bytes(before[out.with_name("a.mod.fits")].replace(b"RUNSUM  = '", b"RUNSUM  = 'f"))
    with pytest.raises(OutputError, match="exists already"):
        run(Camera(), Three(), settings)
