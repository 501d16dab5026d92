"""Damaged FITS files from fixed seeds: each is fitted, or refused with one line that names the file.

`python -m benchmarks.regression.fuzz` runs ten thousand of them.
"""
import sys

import pytest
from fuzzed import FAULT, KEPT, Runner, verdict_of

# two DECam exposures of a few stars each, 206 and 292, take as much CPU as all others: 37 s, to find a PSF with the static wings
SEEDS = [s for s in range(200, 302) if s not in (206, 292)]


@pytest.fixture(scope="module")
def runner():
    """The process in which all cases run."""
    with Runner() as process:
        yield process


@pytest.mark.skipif(sys.platform == "win32", reason="its cases need pipes, links and limits of memory")
@pytest.mark.parametrize("seed", [*SEEDS, *(s for s in KEPT if s not in SEEDS)])
def test_a_damaged_file_gives_a_catalog_or_an_error(tmp_path, runner, seed):
    verdict = verdict_of(seed, tmp_path, runner)
    assert verdict.kind != FAULT, f"{' '.join(verdict.argv)} ({', '.join(verdict.damage)}): {verdict.message}"
