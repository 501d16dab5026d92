"""The two bands of a WISE tile as one joint fit, against each band alone."""
import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

from crowdsource.cli.main import main
from crowdsource.io.tables import read_table

TILE = "1866p257"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wise")
    shape = "--stars", "600", "--shape", "260", "260"
    assert main(["simulate", "--instrument", "wise", str(folder/TILE), *shape, "--quiet"]) == 0
    for name, pattern in (("both", "*"), ("w1", "*-w1-*"), ("w2", "*-w2-*")):
        plan = str(folder/f"{name}.ecsv")
        words = "--instrument", "wise", "--pattern", f"{pattern}img-m.fits", "--no-count", "--quiet"
        assert main(["plan", str(folder), "--out", plan, *words]) == 0
        assert main(["joint", plan, "--out-dir", str(folder/name), "--quiet"]) == 0
    return folder


def test_both_bands_have_fluxes_of_the_same_objects(folder):
    both = read_table(str(folder/"both"/"objects.fits"))
    assert {"flux_W1", "dflux_W1", "mag_W1", "flux_W2", "dflux_W2", "mag_W2", "ra", "dec"} <= set(both.colnames)
    images = Table.read(folder/"both"/"objects.fits", hdu="IMAGES")
    assert sorted(images["band"]) == ["W1", "W2"] and (np.asarray(images["registration_rms"]) < 0.1).all()
    bright = (both["flux_W1"] > 20*both["dflux_W1"]) & (both["flux_W2"] > 20*both["dflux_W2"])
    assert bright.sum() > 40


def test_more_stars_are_found_than_in_the_shallower_band_and_hardly_less_than_in_the_deeper(folder):
    truth = next(folder.glob("*truth.fits"))
    stars = Table.read(truth, hdu=1)
    found = {}
    for name in ("both", "w1", "w2"):
        objects = read_table(str(folder/name/"objects.fits"))
        places = np.c_[objects["ra"], objects["dec"]]
        places[:, 0] *= np.cos(np.radians(25.7))
        sky = np.c_[stars["ra"], stars["dec"]]
        sky[:, 0] *= np.cos(np.radians(25.7))
        off, _ = cKDTree(places).query(sky)
        found[name] = int((off*3600 < 1.5).sum())
    assert found["both"] > 1.3*found["w2"] and found["both"] > 0.97*found["w1"]
