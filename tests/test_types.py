"""The public interface is typed, and type checkers find the types."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crowdsource as cs

ROOT = Path(__file__).parent.parent
USE = '''
import numpy as np
from typing import assert_type
import crowdsource as cs

result = cs.fit("image.fits", threshold=5, progress=True)
assert_type(result, cs.Result)
assert_type(result.cutout(0, 21).x, float)
assert_type(cs.Image.from_arrays(np.ones((9, 9))), cs.Image)
assert_type(cs.fit(cs.read_image("image.fits")).image, cs.Image)
assert_type(cs.read_psf("image.cat.fits"), cs.PSF)
assert_type(cs.simulate_field().image(), cs.Image)
'''
MISUSE = '''
import crowdsource as cs

cs.fit("image.fits", threads="two")
cs.read_result("a.cat.fits").residul
cs.nothing
'''

pytestmark = pytest.mark.skipif(not (ROOT/"crowdsource"/"api").is_dir(), reason="the source is not beside the tests")


def test_every_public_name_has_its_type():
    text = Path(cs.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    typed = {name: module for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as \2$", text, re.M)}
    assert typed == cs._HOMES and Path(cs.__file__).with_name("py.typed").exists()


def test_mypy_finds_no_fault_in_the_interface_and_those_in_its_use(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path/"use.py").write_text(USE, encoding="utf-8")
    (tmp_path/"misuse.py").write_text(MISUSE, encoding="utf-8")
    public = ["crowdsource/__init__.pyi", *sorted(str(p.relative_to(ROOT)) for p in (ROOT/"crowdsource"/"api").glob("*.py"))]
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", ROOT/"build"/"mypy", *public,
                           tmp_path/"use.py", tmp_path/"misuse.py"], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "MYPYPATH": str(ROOT)})
    wrong = [line for line in (done.stdout+done.stderr).splitlines() if "error:" in line]
    assert [re.search(r"misuse.py:(\d)", line).group(1) if "misuse.py" in line else line for line in wrong] == ["4", "5", "6"]
