"""A command that is killed at any moment and resumed gives what an undisturbed one gives."""
import signal
import subprocess
import sys
import time
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


def children(pid):
    """Numbers of the processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(holds):
    """Whether something comes true; after ten minutes it never will, however busy the machine is."""
    end = time.monotonic()+600
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are told by /proc")
def test_workers_end_with_a_killed_command(tmp_path):
    path = write_exposure(tmp_path, CCDS)
    process = subprocess.Popen([Path(sys.executable).with_name("crowdsource-decam"), path, "--quiet", "--out-dir", tmp_path/"o",
                                "--workers", "2"])
    # two workers and the one that keeps count of shared things
    assert soon(lambda: len(children(process.pid)) >= 3)
    started = children(process.pid)
    process.kill()
    process.wait()
    assert soon(lambda: not any(alive(pid) for pid in started))
