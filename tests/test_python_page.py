"""The page for Python users: its examples run, one after the other."""
import re
from pathlib import Path

import numpy as np
import pytest
from small_fields import NOISE, star_image, tan_wcs, write_fits

PAGE = Path(__file__).parent.parent/"docs"/"python.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the source is not beside the tests")


def test_examples_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("photutils", reason="photutils is not installed")
    figures = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    saved = []
    # the README's example writes a page; it takes as long as all fits here
    monkeypatch.setattr(figures.Figure, "savefig", lambda _, path: saved.append(path))
    x, y, flux = np.array([20., 60.3, 45.2]), np.array([30.4, 15.2, 50.]), np.array([2e4, 1e4, 3e4])
    write_fits("image.fits", star_image((70, 80), x, y, flux), tan_wcs((70, 80)).to_header(), GAIN=4.)
    write_fits("rms.fits", np.full((70, 80), NOISE))
    scope = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(block, scope)
    order = np.argsort(scope["result"].catalog["flux"].value)
    forced = scope["forced"].catalog
    assert len(scope["result"].catalog) == 3 and forced["input_row"].tolist() == [0, 1]
    # 1 sigma is two thousandths and less
    assert np.allclose(scope["moved"].catalog["flux"].value[order], np.sort(flux), rtol=0.01)
    assert np.allclose(scope["table"]["flux_fit"][order], np.sort(flux), rtol=0.01)
    assert saved == ["image.png"] and scope["again"].residual.shape == (70, 80)
