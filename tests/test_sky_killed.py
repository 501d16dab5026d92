"""Releases and exports whose making is killed at some of its steps, and begun again: nothing is lost, and nothing differs."""
import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from small_catalogs import image_header, rows, write_catalog

from crowdsource.cli.main import main
from crowdsource.survey.objects.release import open_release, releases
from crowdsource.survey.store.ingest import ingest
from crowdsource.survey.store.store import create_store

PROGRAM = """
import os, signal, sys
from crowdsource.cli.main import main
left = int(sys.argv[1])
def counted(real):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if left == 1:
            left = 0
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
for name in ("replace", "fsync", "rename", "unlink", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
sys.exit(main(["healpix", *sys.argv[2:]]))
"""
"""A command that is killed before or after a call, the n-th of those that change what is on disk."""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")


def until_done(words, steps):
    """Run a command killed at the steps in turn, then undisturbed; gives how often it was killed."""
    kills = 0
    for step in [*steps, 10**9]:
        status = subprocess.run([sys.executable, "-c", PROGRAM, str(step), *map(str, words), "--quiet"], check=False,
                                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}).returncode
        if status != -signal.SIGKILL:
            assert status == 0
            return kills
        kills += 1
    raise AssertionError("the last step is never reached")


def files(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    names = [write_catalog(folder/f"{k}.cat.fits", rows(300, k//2, ra=150+0.04*(k % 2), image=k+1), f"e{k}",
                           header=image_header("gr"[k % 2])) for k in range(4)]
    store = create_store(folder/"store", order=8)
    ingest(store, names)
    assert main(["healpix", "assemble", str(store.path), "--release", "whole", "--quiet"]) == 0
    return store


def test_releases(store):
    wanted = open_release(store, "whole")
    assert len(wanted.pixels) > 3
    rng = np.random.default_rng(1)
    kills = until_done(["assemble", store.path, "--release", "killed"], rng.integers(2, 14, 5))
    assert kills >= 4 and releases(store) == ["killed", "whole"]
    assert open_release(store, "killed").record["files"] == wanted.record["files"]
    assert not list((store.path/"releases").glob(".*"))
    assert main(["healpix", "info", str(store.path), "--verify", "--quiet"]) == 0


def test_exports(store, tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install '.[parquet]'")
    words = ["export", store.path, None, "--release", "whole", "--max-rows", "200"]
    words[2] = tmp_path/"whole"
    assert until_done(words, []) == 0
    words[2] = tmp_path/"killed"
    kills = until_done(words, np.random.default_rng(2).integers(2, 12, 4))
    assert kills >= 3 and files(tmp_path/"killed") == files(tmp_path/"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "whole"]
