"""The adapter that the manual shows, registered by entry point as a third party's would be."""
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_fields import NOISE, star_image, tan_wcs

from crowdsource.testing import InstrumentContract

PAGE = Path(__file__).resolve().parents[1]/"docs"/"extend.md"
SHAPE = 60, 70
MOST_LINES = 60


def code(language):
    """The first block in a language of the page's section on instruments."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## An instrument\n")[2]
    return re.search(rf"```{language}\n(.*?)```", section, re.S)[1]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the adapter as an installed distribution."""
    folder = tmp_path_factory.mktemp("site")
    (folder/"triple.py").write_text(code("python"))
    group, line = re.search(r'entry-points\."(.*?)"\]\n(.*)', code("toml")).groups()
    about = folder/"triple-1.0.dist-info"
    about.mkdir()
    (about/"METADATA").write_text("Metadata-Version: 2.1\nName: triple\nVersion: 1.0\n")
    (about/"entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("triple", None)


def write_triple(path):
    hdus = [fits.PrimaryHDU(header=fits.Header(dict(ROOTNAME="field", FILTER="F606W", EXPTIME=10.)))]
    header = tan_wcs(SHAPE).to_header()
    for version in (1, 2):
        data = star_image(SHAPE, [20.*version, 50.], [30., 40.], [5000., 3000.], seed=version).astype(np.float32)
        dq = np.zeros(SHAPE, np.int16)
        dq[5, 6] = version
        for name, plane in (("SCI", data), ("ERR", np.full(SHAPE, NOISE, np.float32)), ("DQ", dq)):
            hdus.append(fits.ImageHDU(plane, header, name, ver=version))
    fits.HDUList(hdus).writeto(path)
    return str(path)


class TestContract(InstrumentContract):
    @pytest.fixture
    def sample(self, package, tmp_path):
        from crowdsource.exposure.instrument import load
        return load("triple"), write_triple(tmp_path/"triple.fits"), dict(fwhm=4.)


def test_it_is_as_short_as_promised():
    assert len(code("python").splitlines()) <= MOST_LINES


def test_its_command(package, tmp_path):
    path, out = write_triple(tmp_path/"field.fits"), tmp_path/"out"
    command = [Path(sys.executable).with_name("crowdsource"), "triple", path, "--fwhm", "4", "--quiet", "--out-dir", out]
    subprocess.run([*command, "--workers", "2"], check=True, env={**os.environ, "PYTHONPATH": str(package)})
    with fits.open(out/"field.cat.fits") as hdus:
        for version in (1, 2):
            rows = hdus[f"CHIP{version}_CAT"].data
            assert np.sort(rows["x"]) == pytest.approx(np.sort([20*version, 50]), abs=0.1)
