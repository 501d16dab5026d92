"""Catalogs of every kind of input by one version of the program, to be compared with those of another by `compare.py`.

    python benchmarks/regression/catalogs.py OUT [--command PATH] [--fields FOLDER] [--only NAME ...]

OUT gets a catalog, and for some inputs the model and the planes, of the comparison fields, free and forced fits, presets, an
image without weights, two CCDs of DECam and both bands of a WISE tile. --command names the `crowdsource` of another installation,
to which the inputs are given as they are: they are made once, in FOLDER.
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.table import Table

ROOT = Path(__file__).parent.parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
DECAM, TILE = "c4d_170316_062107_ooi_z_v1.fits.fz", "1866p257"
STARS = 30000
LISTED = 1500
"""Number of stars of the forced fit."""
FIELDS = "sparse", "medium", "crowded", "extreme", "real"


def called(*words):
    """Run a program on one core.

    Raises
    ------
    subprocess.CalledProcessError
        When it fails.
    """
    subprocess.run([str(w) for w in words], check=True, cwd=ROOT, env={**os.environ, **ONE_THREAD}, stdout=subprocess.DEVNULL)


def field(folder, name):
    """Arguments of a fit of a comparison field, which is made if it is not there."""
    image, ivar, dq = (folder/f"{name}_{plane}.fits" for plane in ("im", "ivar", "dq"))
    if not image.exists():
        called(sys.executable, "-m", "benchmarks.peers.fields", folder, name)
    return "generic", image, "--ivar", ivar, "--dq", dq


def listed(folder):
    """The list of the brightest stars of the sparse field, for the forced fit."""
    field(folder, "sparse")
    path, stars = folder/"forced.fits", Table.read(folder/"sparse_truth.fits")
    if not path.exists():
        side = stars.meta["NX"]-1
        stars = stars[(stars["x"] > 0) & (stars["x"] < side) & (stars["y"] > 0) & (stars["y"] < side)]
        stars[np.argsort(stars["flux"])[-LISTED:]]["x", "y"].write(path)
    return path


def simulated(folder, instrument, name, *options):
    """The simulated input of an instrument, made if it is not there."""
    done = folder/instrument/"done"
    if not done.exists():
        done.parent.mkdir(parents=True, exist_ok=True)
        called(Path(sys.executable).parent/"crowdsource", "simulate", folder/instrument/name, "--instrument", instrument,
               *options, "--stars", STARS, "--quiet", "--overwrite")
        done.touch()
    return folder/instrument


def planes(out, name):
    """Arguments by which the model and the planes are written, too."""
    return "--model-out", out/f"{name}.mod.fits", "--info-out", out/f"{name}.info.fits"


def commands(folder, out):
    """{name: arguments of the command}, in which inputs are functions that make them."""
    fits = {name: lambda name=name: field(folder, name) for name in FIELDS}
    for preset in ("described", "released"):
        name = f"sparse-{preset}"
        fits[name] = lambda name=name, preset=preset: (*field(folder, "sparse"), "--preset", preset, *planes(out, name))
    fits["sparse-forced"] = lambda: (*field(folder, "sparse"), "--force", listed(folder))
    fits["medium-plain"] = lambda: (*field(folder, "medium")[:2], "--nebulosity", "detect")
    fits["decam"] = lambda: ("decam", simulated(folder, "decam", DECAM, "--ccds", "N4", "S7")/DECAM, "--nebulosity", "detect",
                             "--model-out", out/"decam.mod.fits")
    for band in (1, 2):
        fits[f"wise{band}"] = lambda band=band: ("wise", TILE, band, "--dir", simulated(folder, "wise", TILE))
    return fits


def main():
    """Make catalogs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--command", type=Path, default=Path(sys.executable).parent/"crowdsource", metavar="PATH",
                        help="the program `crowdsource` of an installation; that of this environment when not given")
    parser.add_argument("--fields", type=Path, default=ROOT/"build"/"bench", metavar="FOLDER",
                        help="where inputs are, or are made")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the catalogs; all when not given")
    arguments = parser.parse_args()
    out, folder = arguments.out.resolve(), arguments.fields.resolve()
    fits = commands(folder, out)
    unknown = [n for n in arguments.only or () if n not in fits]
    if unknown:
        parser.error(f"{', '.join(unknown)}: not among {', '.join(fits)}")
    out.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or fits:
        called(arguments.command, *fits[name](), "--out", out/f"{name}.cat.fits", "--overwrite", "--quiet")


if __name__ == "__main__":
    main()
