"""The notebook runs, and what it comes to is right."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT/"docs"/"notebooks"/"cmd.ipynb"
CHECK = """import json
near = np.abs(colour-np.interp(magnitude, line[:, 0], line[:, 1])) < 0.1
print("CHECK", json.dumps(dict(zero=zero, error=error, offset=offset, stars=len(r), on=float(near[magnitude < 21].mean()))))"""

pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="the source is not beside the tests")


def outputs(path):
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return [out for cell in cells for out in cell.get("outputs", [])]


def test_from_files_to_a_calibrated_diagram(tmp_path):
    for module in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    more = dict(cell_type="code", id="check", metadata={}, execution_count=None, outputs=[], source=CHECK)
    (tmp_path/"in.ipynb").write_text(json.dumps({**notebook, "cells": [*notebook["cells"], more]}), encoding="utf-8")
    places = {name: str(tmp_path/"settings") for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR",
                                                          "MPLCONFIGDIR")}
    subprocess.run([sys.executable, ROOT/"docs"/"run_notebook.py", tmp_path/"in.ipynb", tmp_path/"out.ipynb"], check=True,
                   env={**os.environ, **places})
    shown = outputs(tmp_path/"out.ipynb")
    assert sum("image/png" in out.get("data", {}) for out in shown) == 2
    found = json.loads(re.search(r"CHECK (.*)", "".join("".join(out.get("text", "")) for out in shown)).group(1))
    for band, offset in found["offset"].items():
        # what the headers' zero points are wrong by is found, to errors of the mean of a few thousandths
        assert abs(found["zero"][band]+offset) < max(4*found["error"][band], 0.01) and found["error"][band] < 0.01
    # four of five stars are the cluster's, and on its line but for blends
    assert found["stars"] > 120 and found["on"] > 0.65


def test_the_notebook_shows_its_pictures_where_it_is_read():
    shown = outputs(NOTEBOOK)
    assert sum("image/png" in out.get("data", {}) for out in shown) == 2 and NOTEBOOK.stat().st_size < 4e5
    assert not any(out["output_type"] == "error" or out.get("name") == "stderr" for out in shown)
    assert not any(re.search(r"/(tmp|home|Users)/", json.dumps(out.get("text", ""))) for out in shown)
