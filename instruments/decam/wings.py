"""DECam's static wings: the light that the camera scatters around every star, by filter."""
import tomllib
from functools import cache
from importlib.resources import files

from crowdsource.psf.profiles.halo import Halo

FILE = "decam_wings.toml"


@cache
def halos():
    """The `Halo` of each filter, by its letter; `benchmarks/calibrate/fit_wings.py` fitted them."""
    text = (files("crowdsource.data")/FILE).read_text(encoding="utf-8")
    return {band: Halo.of(rows["core"]+rows["moffats"], rows["spikes"]) for band, rows in tomllib.loads(text).items()}
