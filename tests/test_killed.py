"""A command that is killed at any moment and resumed gives what an undisturbed one gives."""
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from test_decam import write_exposure

CCDS = "N4", "S7", "N5", "S4"
KILLS = 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed(tmp_path, workers):
    path = write_exposure(tmp_path, CCDS)
    command = [Path(sys.executable).with_name("crowdsource-decam"), path, "--quiet", "--model-out", "m.fits", "--out-dir"]
    subprocess.run([*command, tmp_path/"whole"], check=True)
    resumed = [*command, tmp_path/"killed", "--resume", "--workers", str(workers)]
    rng = np.random.default_rng(workers)
    for _ in range(KILLS):
        process = subprocess.Popen(resumed)
        try:
            assert process.wait(rng.uniform(0.5, 3)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert subprocess.run(resumed, check=False).returncode == 0
    names = {p.name for p in (tmp_path/"whole").iterdir()}
    assert {p.name for p in (tmp_path/"killed").iterdir() if not p.name.startswith(".")} == names and len(names) == 2
    for name in names:
        assert (tmp_path/"whole"/name).read_bytes() == (tmp_path/"killed"/name).read_bytes()
    with fits.open(tmp_path/"killed"/"c4d_170316_062107_ooi_z_v1.cat.fits") as hdus:
        assert [h.name for h in hdus if h.name.endswith("_CAT")] == [f"{c}_CAT" for c in CCDS]
