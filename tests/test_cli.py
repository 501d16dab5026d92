"""The commands: what they write, what they tell, and how options, configuration files and headers go before each other."""
import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from small_fields import NOISE, star_image, tan_wcs, write_fits

from crowdsource import __version__
from crowdsource.cli import main as cli
from crowdsource.cli.main import main, main_generic
from crowdsource.engine.catalog import flux_unit
from crowdsource.exposure.results import read_config
from crowdsource.exposure.run import status
from crowdsource.exposure.tasks import TaskOutcome
from crowdsource.io.tables import read_table
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.files import read_simulation
from crowdsource.validate.evaluate import compare

SHAPE = (96, 128)
RNG = np.random.default_rng(8)
X, Y = (RNG.uniform(8, n-8, 25) for n in (SHAPE[1], SHAPE[0]))
FLUX = np.geomspace(2000, 40000, 25)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an image and its noise."""
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", star_image(SHAPE, X, Y, FLUX), tan_wcs(SHAPE).to_header(), MAGZERO=25., GAIN=4.)
    write_fits("ivar.fits", np.full(SHAPE, NOISE**-2, np.float32))
    return tmp_path


def run(*argv):
    assert main(["generic", *map(str, argv)]) == 0


def names(folder):
    return {p.name for p in folder.iterdir()}


def test_basic_command(folder, capsys):
    before = names(folder)
    run("im.fits", "--ivar", "ivar.fits")
    out, err = capsys.readouterr()
    assert names(folder)-before == {"im.cat.fits"}
    catalog = read_table("im.cat.fits")
    assert out.startswith(f"im.cat.fits: {len(catalog)} sources, ")
    assert "pass 0: " in err and "pass 3: " in err
    found = [np.hypot(catalog["x"]-x, catalog["y"]-y).min() < 0.3 for x, y in zip(X, Y)]
    # a few of the 25 random stars are blends of a bright and a faint one
    assert np.mean(found) > 0.85
    assert catalog["mag"] == pytest.approx(25-2.5*np.log10(catalog["flux"]), abs=1e-4)


def test_everything_written(folder, capsys):
    before = names(folder)
    run("im.fits", "--out", "a.fits", "--model-out", "a.mod.fits", "--plot", "a.png", "--debug-plots", "plots", "--profile")
    assert names(folder)-before == {"a.fits", "a.mod.fits", "a.png", "plots"}
    assert Path("a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    passes = fits.getheader("a.fits")["NPASS"]
    assert len(list(Path("plots").glob("pass-*-residual.png"))) == passes
    with fits.open("a.mod.fits") as hdus:
        assert [h.name for h in hdus[1:]] == ["MOD", "SKY", "MSK"]
        left = fits.getdata("im.fits")-hdus["MOD"].data-hdus["SKY"].data
    assert np.std(left) == pytest.approx(NOISE, rel=0.15)
    out = capsys.readouterr().out
    assert "noise estimated" in out and "a.mod.fits: model, sky and flags" in out and "plots: pictures of each pass" in out
    assert all(f"  {stage} " in out for stage in ("sky", "peaks", "fit", "psf", "reading", "the process"))


@pytest.mark.parametrize("name", ["a.ecsv", "a.parquet"])
def test_catalog_by_ending(folder, name):
    run("im.fits", "--out", name)
    run("im.fits", "--out", "a.cat.fits")
    one, two = read_table(name), read_table("a.cat.fits")
    assert one.colnames == two.colnames
    assert all((np.asarray(one[c]) == np.asarray(two[c])).all() for c in one.colnames)


def test_crowdsource_generic_is_the_same(folder):
    assert main_generic(["im.fits", "--out", "a.cat.fits", "--quiet"]) == 0
    assert Path("a.cat.fits").exists()


def test_overwrite(folder):
    Path("im.cat.fits").write_text("old")
    assert main(["generic", "im.fits"]) == 2
    assert Path("im.cat.fits").read_text() == "old"
    run("im.fits", "--overwrite")
    assert len(read_table("im.cat.fits")) > 15


def test_dry_run(folder, capsys):
    before = names(folder)
    Table(dict(x=X, y=Y)).write("list.csv")
    run("im.fits", "--dry-run", "--force", "list.csv", "--bright-stars", "list.csv", "--threshold", "7", "--plot", "a.png")
    out = capsys.readouterr().out
    for text in ("image im: 128 x 96 pixels, 100.00% good", "(estimated)", "gain 4, saturation inf, zero point 25, a WCS",
                 "forced at 25 positions of list.csv", "25 bright stars of list.csv", "detect.threshold = 7.0",
                 "would write im.cat.fits", "would write a.png"):
        assert text in out
    assert names(folder) == before | {"list.csv"}


def test_configuration_and_what_goes_before_it(folder):
    Path("fit.toml").write_text('preset = "described"\n[detect]\nthreshold = 6\nblend_ratio = 0.3\n'
                                '[generic]\ngain = 3.0\nzeropoint = 20.0\n')
    run("im.fits", "--config", "fit.toml", "--threshold", "8", "--gain", "5")
    config = read_config("im.cat.fits")
    assert config["detect"]["threshold"] == 8 and config["detect"]["blend_ratio"] == 0.3
    assert config["detect"]["min_separation"] == 0
    assert config["generic"]["gain"] == 5 and config["generic"]["zeropoint"] == 20
    run("im.fits", "--config", "fit.toml", "--preset", "released", "--out", "b.cat.fits")
    assert read_config("b.cat.fits")["detect"]["min_separation"] == 1.5


def test_the_echo_repeats_the_run(folder):
    """The configuration in a catalog, put into a file, gives the same catalog."""
    run("im.fits", "--threshold", "6.5", "--cutout", "10:100,5:90", "--bad-bits", "0,2", "--out", "im.cat.fits")
    lines = [v for k, v in fits.getheader("im.cat.fits").items() if k.startswith("CFG")]
    Path("again.toml").write_text("\n".join(lines))
    run("im.fits", "--config", "again.toml", "--out", "b.cat.fits")
    one, two = read_table("im.cat.fits"), read_table("b.cat.fits")
    assert all((np.asarray(one[c]) == np.asarray(two[c])).all() for c in one.colnames)
    assert read_config("b.cat.fits") == read_config("im.cat.fits")


def test_threads_do_not_change_the_result(folder):
    for threads in (1, 4):
        run("im.fits", "--threads", threads, "--out", f"{threads}.cat.fits")
    with fits.open("1.cat.fits") as one, fits.open("4.cat.fits") as four:
        assert (one["CAT"].data == four["CAT"].data).all()


def test_cutout_keeps_the_parent_s_pixels(folder):
    run("im.fits", "--out", "whole.cat.fits")
    run("im.fits", "--cutout", "10:120,10:90", "--out", "part.cat.fits")
    whole, part = read_table("whole.cat.fits"), read_table("part.cat.fits")
    inner = (part["x"] > 20) & (part["x"] < 110) & (part["y"] > 20) & (part["y"] < 80) & (part["flux"] > 5000)
    assert inner.sum() > 4
    for row in part[inner]:
        k = np.argmin(np.hypot(whole["x"]-row["x"], whole["y"]-row["y"]))
        # the PSF is measured on other stars
        assert np.hypot(whole["x"][k]-row["x"], whole["y"][k]-row["y"]) < 0.1
        assert row["ra"] == pytest.approx(whole["ra"][k], abs=0.1*0.26/3600)
    assert set(part["detection_id"]).isdisjoint(whole["detection_id"])


def test_forced_photometry_keeps_rows_and_identifiers(folder):
    order = RNG.permutation(25)
    rows = Table(dict(x=X[order], y=Y[order], source_id=1000+order, name=[f"star {k}" for k in order], flux=FLUX[order]))
    rows.add_row(dict(x=-50., y=3., source_id=1, name="off", flux=0.))
    rows.add_row(dict(x=np.nan, y=3., source_id=2, name="nowhere", flux=0.))
    rows.add_row(dict(x=64., y=3., source_id=3, name="sky", flux=0.))
    rows.write("list.ecsv")
    run("im.fits", "--ivar", "ivar.fits", "--force", "list.ecsv")
    catalog = read_table("im.cat.fits")
    assert list(catalog["source_id"]) == [*(1000+order), 1, 2, 3]
    assert [str(n).strip() for n in catalog["name"]] == [*(f"star {k}" for k in order), "off", "nowhere", "sky"]
    assert list(catalog["input_row"]) == [*range(28)]
    assert list(catalog["x"][:26]) == [*X[order], -50.] and catalog["x"][27] == 64
    assert np.ma.filled(np.isnan(np.ma.filled(catalog["flux"], np.nan))).tolist() == [*[False]*25, True, True, False]
    assert {"deltx", "delty"} <= set(catalog.colnames)
    pull = (np.asarray(catalog["flux"][:25])-FLUX[order])/np.asarray(catalog["dflux"][:25])
    # unit errors, but the PSF is measured on these stars
    assert np.median(np.abs(pull)) < 2
    assert str(Path("list.ecsv")) in fits.getheader("im.cat.fits")["IN003"]


def test_forced_at_sky_positions_of_another_catalog(folder):
    run("im.fits", "--ivar", "ivar.fits", "--out", "free.cat.fits")
    run("im.fits", "--ivar", "ivar.fits", "--force", "free.cat.fits", "--out", "forced.cat.fits")
    free, forced = read_table("free.cat.fits"), read_table("forced.cat.fits")
    assert np.allclose(forced["x"], free["x"], rtol=0, atol=1e-6)
    assert (forced["input_detection_id"] == free["detection_id"]).all()
    assert forced["flux"] == pytest.approx(free["flux"], rel=0.02)


def test_bright_stars_are_added(folder):
    Table(dict(ra=[150.], dec=[2.])).write("bright.csv")
    run("im.fits", "--bright-stars", "bright.csv")
    catalog = read_table("im.cat.fits")
    assert np.hypot(catalog["x"]-63.5, catalog["y"]-47.5).min() < 1


def test_given_psf_is_where_the_fit_starts(folder):
    write_fits("psf.fits", np.exp(-0.5*np.hypot(*np.mgrid[-15:16, -15:16])**2/1.7**2))
    Path("keep.toml").write_text("[psf]\nrefit = false\n")
    run("im.fits", "--psf", "psf.fits", "--config", "keep.toml")
    # a Gaussian of 1.7 px has a FWHM of 4.0 px
    assert fits.getheader("im.cat.fits")["FWHM"] == pytest.approx(4.0, rel=0.03)
    run("im.fits", "--fwhm", "6", "--config", "keep.toml", "--overwrite")
    assert fits.getheader("im.cat.fits")["FWHM"] == pytest.approx(6.0, rel=0.03)


def test_simulate(folder, capsys):
    assert main(["simulate", "a.fits", "--shape", "96", "80", "--stars", "60", "--seed", "7", "--fwhm", "3.5",
                 "--cluster", "40", "40", "10", "20", "--position", "10", "-5"]) == 0
    assert "a.fits: 80 x 96 pixels" in capsys.readouterr().out
    image, truth = read_simulation("a.fits")
    from crowdsource.simulate import Cluster
    same = simulate_field(SimulationConfig(shape=(96, 80), stars=60., seed=7, fwhm=3.5, clusters=(Cluster(40., 40., 10., 20.),),
                                           position=(10., -5.)))
    assert (image.data == same.data).all() and len(truth) == len(same.truth)
    assert main(["simulate", "a.fits"]) == 2
    assert "a.fits: exists already" in capsys.readouterr().err
    assert main(["simulate", "b.fits", "--stars", "-1"]) == 2
    assert "stars must not be negative" in capsys.readouterr().err and not Path("b.fits").exists()


def test_simulated_field_is_found_again(folder):
    main(["simulate", "a.fits", "--shape", "200", "200", "--stars", "150", "--saturated-stars", "0", "--seed", "3", "--quiet"])
    run("a.fits:IMAGE", "--ivar", "a.fits:IVAR", "--dq", "a.fits:DQ")
    truth, flux5 = read_table("a.fits:TRUTH"), fits.getheader("a.fits", "TRUTH")["FLUX5"]
    comparison = compare(read_table("a_IMAGE.cat.fits"), truth, flux5=flux5, shape=(200, 200))
    # half of the stars are below 10 sigma, and some of them in the wings of others; planes mixed up would find none
    assert comparison.found > 65 and comparison.spurious < 12 and abs(comparison.bias) < 3


def test_demo(folder, capsys, monkeypatch):
    from crowdsource.cli import demo
    field = simulate_field(SimulationConfig(shape=(128, 128), stars=80, seed=2))
    monkeypatch.setattr(demo, "demo_field", lambda: (field.image(), field.truth))
    assert main(["demo", "--out", "there"]) == 0
    out = capsys.readouterr().out
    assert f"catalog: {Path('there')/'demo.cat.fits'}" in out and f"picture: {Path('there')/'demo.png'}" in out
    assert "% found" in out and "flux pull" in out
    assert names(folder/"there") == {"demo.cat.fits", "demo.png"}


def test_flags(capsys):
    assert main(["flags", str(1 << 33 | 5)]) == 0
    assert capsys.readouterr().out == "bit0 bit2 saturated\n"
    assert main(["flags", "0"]) == 0
    assert capsys.readouterr().out == "none\n"


@pytest.mark.parametrize("argv, texts", [
    (["--help"], ["generic", "simulate", "demo", "flags"]),
    (["generic", "--help"], ["--inverse-sigma", "--nodeblend-bits", "x0:x1,y0:y1", "--debug-plots", "(electrons per unit)"]),
    (["simulate", "--help"], ["--fwhm-gradient", "Level at which pixels are clipped"]),
    (["--version"], [f"crowdsource {__version__}"])])
def test_help(capsys, argv, texts):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(text in out for text in texts)


def test_loudness(folder, capsys):
    run("im.fits", "--quiet")
    assert capsys.readouterr() == ("", "")
    run("im.fits", "--verbose", "--overwrite")
    assert "pass 0" in capsys.readouterr().err
    log = logging.getLogger("crowdsource")
    assert not log.handlers, "a command leaves no handler behind"


def test_progress_bar_on_a_terminal(folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run("im.fits")
    shown = terminal.getvalue()
    assert "sources=" in shown and "measure" in shown
    assert "pass 0: " not in shown


def test_interrupted(folder, capsys, monkeypatch):
    from crowdsource.exposure import fit_detector

    def stopped(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(fit_detector, "fit_detector", stopped)
    before = names(folder)
    assert main(["generic", "im.fits"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert names(folder) == before


def test_exit_status_of_many_detectors():
    good, bad = TaskOutcome("a"), TaskOutcome("b", error=ValueError())
    assert (status([good, good]), status([good, bad]), status([bad, bad])) == (0, 1, 2)


def test_installed_commands(folder):
    done = subprocess.run([Path(sys.executable).with_name("crowdsource"), "generic", "im.fits", "--ivar", "ivar.fits"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("im.cat.fits: ") and "Warning" not in done.stderr
    assert len(read_table("im.cat.fits")) > 15


def test_the_parser_is_made_from_the_instrument_s_options():
    from crowdsource.instruments.generic import OPTIONS
    args = cli.build_parser(["generic"]).parse_args(["generic", "im.fits"])
    assert all(getattr(args, f"option_{o.name}") is None for o in OPTIONS)


@pytest.mark.parametrize("header, unit", [("ADU", "adu"), ("counts", "ct"), ("nanomaggy", "nmgy"), ("electrons", "electron"),
                                          ("", "ct"), ("who knows", "ct")])
def test_fluxes_have_the_unit_of_the_image(header, unit):
    assert u.Unit(flux_unit(header)) == u.Unit(unit)


def test_a_cut_out_s_model_lies_on_the_sky_and_tells_where_it_comes_from(folder):
    run("im.fits", "--cutout", "10:100,5:90", "--model-out", "a.mod.fits")
    parent = WCS(fits.getheader("im.fits"))
    with fits.open("a.mod.fits") as hdus:
        for name in ("MOD", "SKY", "MSK"):
            header = hdus[name].header
            assert (header["LTV1"], header["LTV2"]) == (-10, -5)
            assert np.allclose(WCS(header).all_pix2world(3, 4, 0), parent.all_pix2world(13, 9, 0), rtol=0, atol=1e-9)
        assert hdus[0].header["VERSION"] == __version__ and hdus[0].header["IN001"].endswith("im.fits")
        assert len(hdus[0].header["IN001SUM"]) == 64 and "CFG001" in hdus[0].header


def test_every_column_has_its_description(folder):
    run("im.fits")
    header = fits.getheader("im.cat.fits", "CAT")
    assert all(header.get(f"TCOMM{k}") for k in range(1, header["TFIELDS"]+1))
