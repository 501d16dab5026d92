"""What `import crowdsource` offers, and how cheap it is."""
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from small_fields import NOISE, star_image

import crowdsource as cs


def test_every_name_is_there():
    for name in cs.__all__:
        assert getattr(cs, name) is not None
    assert set(cs.__all__) <= set(dir(cs))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cs.nonsense


def test_no_module_has_the_name_of_a_public_function():
    for name in ("fit", "inject", "compare", "completeness", "decode", "plot_fit"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"crowdsource.{name}")


@pytest.mark.parametrize("first", ["", "import crowdsource.engine.loop, crowdsource.validate.artificial_stars; ",
                                   "from crowdsource.engine.state import FitResult; ", "import crowdsource.exposure.run; "])
def test_in_whatever_order_things_are_imported(first):
    code = f"{first}import crowdsource as cs, types; assert callable(cs.fit) and callable(cs.inject); " \
           "from crowdsource.engine.loop import single_pass; assert callable(cs.fit); from crowdsource import *; " \
           "assert fit is cs.fit"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_loads_nothing_heavy():
    code = "import crowdsource, sys; print(*sorted(m for m in sys.modules if m in ('numpy', 'scipy', 'astropy')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_command_loads_no_picture_or_statistics_without_need():
    code = ("import sys; from crowdsource.cli.main import build_parser; build_parser(['generic']); "
            "import crowdsource.exposure.run, crowdsource.engine.loop; "
            "print(*[m for m in ('matplotlib', 'pyarrow', 'scipy.stats', 'tqdm', "
            "'astropy.wcs', 'astropy.coordinates', 'astropy.time') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_command_says_how_many_threads_before_numpy_is_loaded():
    code = ("import sys, os\n"
            "class Watch:\n"
            "    def find_spec(self, name, *_):\n"
            "        if name == 'numpy': print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
            "sys.meta_path.insert(0, Watch())\n"
            "from crowdsource.cli.main import main; main(['flags', '1'])")
    env = {n: v for n, v in os.environ.items() if not n.endswith("_NUM_THREADS")}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert out.splitlines()[0] == "1"


def test_ten_lines_of_a_new_user():
    data = star_image((64, 64), [20.3, 45.6], [30.2, 15.1], [6000., 3000.])
    image = cs.Image.from_arrays(data, np.full(data.shape, NOISE**-2))
    result = cs.fit(image, config=cs.FitConfig())
    assert isinstance(result, cs.FitResult) and isinstance(result.psf, cs.PSF)
    brightest = result.catalog[np.argmax(result.catalog["flux"])]
    assert brightest["x"].value == pytest.approx(20.3, abs=0.1) and brightest["y"].value == pytest.approx(30.2, abs=0.1)
    more = cs.inject(image, result.psf, dict(x=[50.], y=[50.], flux=[4000.]))
    assert len(cs.fit(more).catalog) == len(result.catalog)+1


def test_version():
    from importlib.metadata import version
    assert cs.__version__ == version("crowdsourcephoto")
