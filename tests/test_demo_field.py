"""The packaged field is what its command line gives."""
import re
from pathlib import Path

import numpy as np
import pytest

from crowdsource.cli.demo import demo_field
from crowdsource.cli.main import main
from crowdsource.simulate import SIMULATED
from crowdsource.simulate.files import read_simulation

MAKEFILE = Path(__file__).parent.parent/"Makefile"


@pytest.fixture(scope="module")
def packaged():
    return demo_field()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if not MAKEFILE.exists():
        pytest.skip("the source is not beside the tests")
    arguments = re.search(r"^FIELD = (.*)$", MAKEFILE.read_text(encoding="utf-8"), re.M).group(1).split()
    path = tmp_path_factory.mktemp("field")/"demo.fits.fz"
    assert main(["simulate", str(path), "--quiet", *arguments]) == 0
    return read_simulation(path)


def test_pixels_are_those_of_the_command(packaged, made):
    (image, _), (again, _) = packaged, made
    assert np.array_equal(image.dq, again.dq)
    # another C library may round a logarithm otherwise and so move a random count
    assert np.mean(image.data == again.data) > 0.999
    assert np.allclose(image.ivar, again.ivar, rtol=2**-6)


def test_truth_is_that_of_the_command(packaged, made):
    (_, truth), (_, again) = packaged, made
    assert truth.colnames == again.colnames and len(truth) == len(again)
    for name in truth.colnames:
        assert np.allclose(truth[name], again[name], rtol=1e-6, atol=1e-4)
    assert truth.meta["FLUX5"] == pytest.approx(again.meta["FLUX5"], rel=1e-12)


def test_field_is_as_crowded_as_it_is_said_to_be(packaged):
    image, truth = packaged
    assert image.shape == (512, 512)
    inside = (np.abs(truth["x"]-255.5) < 256) & (np.abs(truth["y"]-255.5) < 256)
    # 3,000 expected, with a Poisson scatter of 55
    assert np.sum(inside & (truth["flux"] > truth.meta["FLUX5"])) == pytest.approx(3000, abs=165)
    assert np.any(image.dq & SIMULATED.saturated) and np.any(image.dq & SIMULATED.bad_column)
    assert image.wcs is not None and np.isfinite(image.zeropoint)
