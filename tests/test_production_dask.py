"""A run on a Dask cluster over TCP: a real scheduler and workers, which are killed and started again."""
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_survey import catalogs, leftovers, make_manifest, make_survey

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError

pytest.importorskip("distributed", reason="Dask's scheduler is not installed")
COMMAND, DASK = (Path(sys.executable).with_name(n) for n in ("crowdsource", "dask"))
QUIET = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

PATIENCE = 1200
"""Time on the clock, s, after which what is waited for will never come: however busy the machine is."""


@contextmanager
def started(*words):
    """A process with all that it starts, which are killed at the end."""
    child = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                             env=QUIET)
    try:
        yield child
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def scheduler(port):
    return started(DASK, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")


def worker(port):
    return started(DASK, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", 1, "--no-dashboard", "--death-timeout", PATIENCE)


@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A folder with a manifest of ten exposures, and what an undisturbed run of it gives."""
    folder = tmp_path_factory.mktemp("survey")
    make_survey(folder, 8, 1, side=64)
    make_manifest(folder, folder/"m.ecsv")
    assert main(["run", str(folder/"m.ecsv"), "--out", str(folder/"whole"), "--executor", "threads", "--quiet"]) == 0
    return folder


def running(out):
    """How many catalogs of exposures there are."""
    return len(list(out.glob("*/*.cat.fits")))


def until(holds):
    end = time.monotonic()+PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("killed", ["worker", "scheduler"])
def test_cluster_whose_parts_are_killed(survey, tmp_path, port, killed):
    out = tmp_path/"out"
    words = [str(COMMAND), "run", str(survey/"m.ecsv"), "--out", str(out), "--executor", "dask", "--scheduler",
             f"tcp://127.0.0.1:{port}", "--workers", "2"]
    with worker(port) as nanny:
        with scheduler(port):
            child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)
            until(lambda: running(out) >= 2 or child.poll() is not None)
            if killed == "worker":
                # the process that fits; its nanny starts another
                pids = [int(n) for p in Path(f"/proc/{nanny.pid}/task").glob("*/children") for n in p.read_text().split()]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                told, errors = child.communicate(timeout=PATIENCE)
        if killed == "scheduler":
            with scheduler(port), worker(port):
                told, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, errors
    assert "10 of 10 detectors are done (0 were before), 0 failed" in told
    assert catalogs(out) == catalogs(survey/"whole") and leftovers(out) == []


def test_no_scheduler(port, monkeypatch):
    from crowdsource.production.executors import DaskExecutor
    with pytest.raises(ConfigError, match="no scheduler answers"):
        DaskExecutor(f"tcp://127.0.0.1:{port}", patience=0.5)
