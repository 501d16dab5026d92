"""The walks through the code that the documentation describes, traced."""
import re
import sys
import threading
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_fields import NOISE, star_image, tan_wcs, write_fits

from crowdsource.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT/"docs"/"walks.md"
SECTIONS = re.split(r"\n## ", PAGE.read_text(encoding="utf-8"))[1:] if PAGE.exists() else ()
WALKS = {s.partition("\n")[0]: re.findall(r"^\| `([\w/]+)\.py` \|", s, re.M) for s in SECTIONS}
FUNCTION = 1
"""Flag of the code of a function, which that of a module or class has not (CO_OPTIMIZED)."""

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the source is not beside the tests")


def module_of(room):
    return "crowdsource."+room.replace("/", ".")


def traced(*commands):
    """Modules of the project in the order in which their functions are first called, in all threads of some commands.

    What making the parser calls, to show defaults, does not count.
    """
    entered = {}

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_flags & FUNCTION:
            name = frame.f_globals.get("__name__", "")
            if entered or (name.startswith("crowdsource.cli.commands") and frame.f_code.co_name == "run"):
                entered.setdefault(name, len(entered))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        for command in commands:
            assert main([str(word) for word in command]) == 0
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return entered


@pytest.fixture
def image(tmp_path):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(10, 86, (2, 30))
    data = star_image((96, 96), x, y, np.geomspace(800, 60000, 30))
    fits.writeto(tmp_path/"ivar.fits", np.full((96, 96), NOISE**-2, np.float32))
    return write_fits(tmp_path/"image.fits", data, tan_wcs(data.shape).to_header(), FILTER="r",
                      **{"MJD-OBS": 60000.})


def walk_of_an_image(folder, image):
    return traced(["generic", image, "--ivar", folder/"ivar.fits", "--out", folder/"image.cat.fits", "--quiet"])


def walk_of_a_psf(folder, image):
    y, x = np.mgrid[-30:31, -30:31]
    fits.writeto(folder/"psf.fits", (1+(x**2+y**2)/9.)**-3)
    return traced(["generic", image, "--ivar", folder/"ivar.fits", "--psf", folder/"psf.fits", "--out", folder/"i.cat.fits",
                   "--quiet"])


def walk_of_a_detection(folder, image):
    catalog, store = folder/"image.cat.fits", folder/"store"
    assert main(["generic", image, "--ivar", str(folder/"ivar.fits"), "--zeropoint", "27", "--out", str(catalog), "--quiet"]) == 0
    assert main(["healpix", "init", str(store), "--quiet"]) == 0
    return traced(["healpix", "ingest", store, catalog, "--quiet"], ["healpix", "assemble", store, "--release", "one", "--quiet"],
                  ["healpix", "export", store, folder/"one.parquet", "--release", "one", "--quiet"])


def walk_of_a_task(folder, image):
    return traced(["plan", image, "--instrument", "generic", "--out", folder/"night.ecsv", "--quiet"],
                  ["run", folder/"night.ecsv", "--executor", "threads", "--workers", "1", "--quiet"])


TRACERS = {"An image, from file to catalog": walk_of_an_image, "A PSF, from file to stamp": walk_of_a_psf,
           "A detection, from catalog to release": walk_of_a_detection, "A task, from manifest to record": walk_of_a_task}


def test_every_walk_is_traced():
    assert set(TRACERS) == set(WALKS) and all(WALKS.values())


@pytest.mark.parametrize("title", TRACERS)
def test_rooms_are_entered_in_the_order_of_the_page(title, tmp_path, image):
    rooms = WALKS[title]
    for room in rooms:
        import_module(module_of(room))
    entered = TRACERS[title](tmp_path, image)
    missing = [room for room in rooms if module_of(room) not in entered]
    assert missing == []
    assert rooms == sorted(rooms, key=lambda room: entered[module_of(room)])
