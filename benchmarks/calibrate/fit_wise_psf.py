"""Fit the built-in PSF models of W1 and W2 to the published ones; prints the residuals as Markdown.

    python -m benchmarks.calibrate.fit_wise_psf FOLDER [--out data/wise_psf.toml]

FOLDER holds psf_model_w1.fits and psf_model_w2.fits. The scans come from both directions, so that the model is fitted to the
mean of the published one and itself turned by 180 degrees: three elliptical and three wide circular Moffat profiles, two pairs
of lobes about the centre, and four diffraction spikes, each a short and a long one. Its parameters are written; no pixel is.
"""
import argparse
import logging
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from crowdsource.instruments.wise.psf import MODEL_SIDE, Orientation, PolarModel, core_of, model_of, read_model
from scipy.optimize import least_squares

from benchmarks.calibrate.fit_wings import radius
from benchmarks.shared import table
from crowdsource.psf.profiles.halo import Halo

log = logging.getLogger(__name__)
RINGS = 0, 1, 2, 3, 4, 6, 9, 15, 30, 60, 100
# value where the fit begins, lowest and highest
POSITIVE = 1e-7, 1.
CORE = [[(0.6, *POSITIVE), (2.1, 1., 5.), (0., -0.5, 0.5), (0., -0.5, 0.5), (3.5, 1.2, 15.)],
        [(0.2, *POSITIVE), (3., 1., 8.), (0., -0.5, 0.5), (0., -0.5, 0.5), (6., 1.2, 15.)],
        [(0.05, *POSITIVE), (5., 2., 12.), (0., -0.5, 0.5), (0., -0.5, 0.5), (3., 1.2, 15.)]]
LOBES = [[(0.02, *POSITIVE), (2.2, 0.5, 5.), (45., 0., 90.), (1.5, 0.8, 5.)],
         [(0.02, *POSITIVE), (2.2, 0.5, 5.), (135., 90., 180.), (1.5, 0.8, 5.)]]
WIDE = [[(0.05, *POSITIVE), (9., 5., 30.), (2., 1.1, 10.)], [(0.03, *POSITIVE), (25., 10., 80.), (2., 1.1, 10.)],
        [(0.01, *POSITIVE), (90., 40., 400.), (3., 1.1, 10.)]]
SPIKE = [[(2e-3, *POSITIVE), (0., -5., 5.), (2., 1., 6.), (0.02, 1e-4, 0.1), (2., 1., 5.), (8., 3., 30.), (2.5, 1.1, 20.)],
         [(1e-3, *POSITIVE), (0., -5., 5.), (2., 1., 6.), (0.01, 1e-4, 0.1), (2., 1., 5.), (60., 20., 300.), (4., 1.1, 20.)]]
GROUPS = dict(core=CORE, lobes=LOBES, moffats=WIDE, spikes=SPIKE)
HEAD = ("Built-in PSFs of W1 and W2, ecliptic north up, fitted by benchmarks/calibrate/fit_wise_psf.py. Rows of core: share,",
        "FWHM (pixels), e1, e2, beta; of lobes, on both sides of the centre: share, distance (pixels), angle (degrees from x",
        "towards y), FWHM; of moffats: share, FWHM, beta; of spikes as crowdsource.psf.profiles.halo has them.")
NEAR = 25
"""Pixels of the radius within which all pixels are fitted, and the core's profiles are integrated over them."""
THINNED = 8000
FAINT = 3e-8
"""Share of light in a pixel below which the models, cleaned of noise, tell little."""


def unpacked(p):
    """Rows of a model from the fit's parameters."""
    rows, start = {}, 0
    for name, group in GROUPS.items():
        size = len(group[0])
        rows[name] = np.reshape(p[start:start+len(group)*size], (-1, size)).tolist()
        start += len(group)*size
    rows["spikes"] = [(share/4, 45+angle+90*k, *tail) for share, angle, *tail in rows["spikes"] for k in range(4)]
    return rows


def fitted(data):
    """Rows of the model closest to a picture: relative residuals, each octave of the radius counting about as much."""
    r = radius(MODEL_SIDE)
    far = np.flatnonzero((r > NEAR) & (r < RINGS[-1]))
    share = r.flat[far]**-2.
    far = np.random.default_rng(1).choice(far, THINNED, replace=False, p=share/share.sum())
    rows, columns = np.unravel_index(np.r_[np.flatnonzero(r <= NEAR), far], r.shape)
    dy, dx = rows-MODEL_SIDE//2, columns-MODEL_SIDE//2
    r = np.hypot(dx, dy)
    near = r <= NEAR
    wanted = data[rows, columns]
    weight = 1/((wanted+FAINT)*np.clip(r, 1, NEAR))

    def left(p):
        found = unpacked(p)
        model = Halo(tuple(found["moffats"]), tuple(found["spikes"])).light(dx.astype(float), dy.astype(float))
        model[near] += core_of(found, 2*NEAR+1)[dy[near]+NEAR, dx[near]+NEAR]
        return (model-wanted)*weight

    start, low, high = np.array([value for group in GROUPS.values() for row in group for value in row]).T
    p = least_squares(left, start, bounds=(low, high), x_scale=np.maximum(np.abs(start), 0.1*(high-low)), loss="soft_l1",
                      f_scale=0.03, max_nfev=300).x
    return {name: [[float(f"{v:.5g}") for v in row] for row in rows] for name, rows in unpacked(p).items()}


def main():
    """Fit, write and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of the published models")
    parser.add_argument("--out", default="data/wise_psf.toml", help="where the parameters go")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    lines, text = [], [f"# {line}" for line in HEAD]
    r = radius(MODEL_SIDE)
    for band in (1, 2):
        data = PolarModel.of(read_model(arguments.folder, band)).stamp(Orientation(0., 0.))
        found = fitted(data)
        model = PolarModel.of(model_of(found)).stamp(Orientation(0., 0.))
        text += ["", f"[w{band}]"]
        for name, rows in found.items():
            text += [f"{name} = [", *(f"    {row}," for row in rows), "]"]
        cells = []
        for low, high in pairwise(RINGS):
            ring = (r >= low) & (r < high)
            off, mean = (model-data)[ring], data[ring].mean()
            cells.append(f"{100*off.mean()/mean:+.1f} ({100*np.sqrt((off**2).mean())/mean:.1f}) [{100*data[ring].sum():.2f}]")
        lines.append([f"W{band}", *cells])
        log.info("W%d: largest residual %.2f %% of the peak", band, 100*np.abs(model-data).max()/data.max())
    Path(arguments.out).write_text("\n".join(text)+"\n", encoding="utf-8")
    sys.stdout.write("mean (rms) of model-data, % of the ring's mean [share of all light, %]\n\n")
    sys.stdout.write(table(["band", *(f"{low}-{high} px" for low, high in pairwise(RINGS))], lines)+"\n")


if __name__ == "__main__":
    main()
