"""Images with one to four stars and nothing else: fluxes, their errors and false rows; prints Markdown.

    python -m benchmarks.studies.few_stars [--fields 20] [--fwhm 1.6,3,6] [--snr 30,50,100,500] [--beta 2.5,3,4.5,gauss]
                                           [--stars 1,2,3,4] [--by beta,fwhm,snr] [--processes 1]

The PSF is found from the image. The stars of a field have the same signal to noise on the sky, and an ellipticity of 0.1 in a
random direction; fluxes are compared in the box to which they refer. A row is false when no star is within 1.5 px or half a FWHM;
how many are within 20 px or 4 FWHM of a star is told as well, since others are noise of the sky.
"""
import argparse
import logging
import sys
from itertools import product
from multiprocessing import get_context

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.shared import table
from benchmarks.studies.dirty import BOX, GAIN, READNOISE, SKY
from crowdsource import Image, fit
from crowdsource.simulate import SimulationConfig, five_sigma_flux, star_stamps, true_psf
from crowdsource.validate.columns import plain_columns
from crowdsource.validate.evaluate import robust_scatter

SIDE, STAMP = 250, 161
"""Of the images, and of the stars' stamps, pixels."""
ELLIPTICITY = 0.1
GAUSS = 40.
"""Power of a Moffat profile that cannot be told from a Gaussian."""
FIGURES = ("stars found %", "flux bias %", "scatter %", "median dflux %", "pull", "beyond 3 dflux %", "pull of x",
           "false rows per field", "near stars")


def field_of(stars, fwhm, snr, beta, seed):
    """An image, and its stars' x, y and flux in the box, shape (n, 3)."""
    rng = np.random.default_rng([stars, int(10*fwhm), int(snr), int(10*beta), seed])
    angle = rng.uniform(0, 2*np.pi)
    ellipticity = ELLIPTICITY*np.cos(angle), ELLIPTICITY*np.sin(angle)
    c = SimulationConfig(shape=(SIDE, SIDE), fwhm=fwhm, beta=beta, fwhm_gradient=(0, 0), ellipticity=ellipticity, gain=GAIN,
                         readnoise=READNOISE, sky=SKY)
    flux = snr/5*five_sigma_flux(c, true_psf(c))
    cells = rng.permutation(4)[:stars]
    at = 30+(SIDE-60)/2*(np.c_[cells % 2, cells//2]+rng.uniform(0.2, 0.8, (stars, 2)))
    light, half, parameters = np.zeros((SIDE+STAMP, SIDE+STAMP)), STAMP//2, np.array([[fwhm, *ellipticity, beta]])
    for x, y in at:
        i, j = round(x), round(y)
        light[j:j+STAMP, i:i+STAMP] += flux*star_stamps(parameters, np.array([x-i]), np.array([y-j]), STAMP)[0]
    light = light[half:half+SIDE, half:half+SIDE]+SKY
    data = rng.poisson(light*GAIN)/GAIN+rng.normal(0, READNOISE/GAIN, light.shape)
    share = star_stamps(parameters, np.zeros(1), np.zeros(1), BOX)[0].sum()
    ivar = 1/(light/GAIN+(READNOISE/GAIN)**2)
    return Image.from_arrays(data, ivar, gain=GAIN), np.c_[at, np.full(stars, flux*share)]


def outcome(case):
    """Relative errors of flux, their claimed ones, pulls in x of the stars found; numbers of stars and of false rows."""
    logging.disable(logging.CRITICAL)
    image, true = field_of(*case)
    rows = plain_columns(fit(image).catalog, ("dflux", "dx"))
    where = np.c_[rows["x"], rows["y"]]
    if not len(where):
        return np.zeros((0, 3)), len(true), 0, 0
    reach = max(1.5, case[1]/2)
    off = cKDTree(true[:, :2]).query(where)[0]
    false = [int(((off > reach) & (off < most)).sum()) for most in (np.inf, max(20, 4*case[1]))]
    distance, at = cKDTree(where).query(true[:, :2])
    true, at = true[distance <= reach], at[distance <= reach]
    errors = np.c_[rows["flux"][at]/true[:, 2]-1, rows["dflux"][at]/true[:, 2], (rows["x"][at]-true[:, 0])/rows["dx"][at]]
    return errors, distance.size, *false


def figures(outcomes):
    """A line of the table from the outcomes of its fields."""
    errors = np.concatenate([o[0] for o in outcomes])
    stars, false, near = (sum(o[k] for o in outcomes) for k in (1, 2, 3))
    flux, claimed, x = errors.T
    return [f"{100*len(flux)/stars:.0f}", f"{100*np.median(flux):+.2f}", f"{100*robust_scatter(flux):.2f}",
            f"{100*np.median(claimed):.2f}", f"{robust_scatter(flux/claimed):.2f}",
            f"{100*np.mean(np.abs(flux) > 3*claimed):.0f}", f"{robust_scatter(x):.2f}",
            f"{false/len(outcomes):.2f}", f"{near/len(outcomes):.2f}"]


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", type=int, default=20, help="of each case")
    parser.add_argument("--stars", default="1,2,3,4")
    parser.add_argument("--fwhm", default="1.6,3,6", help="pixels")
    parser.add_argument("--snr", default="30,50,100,500")
    parser.add_argument("--beta", default="2.5,3,4.5,gauss")
    parser.add_argument("--by", default="beta,fwhm,snr", help="what the lines of the table differ in")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    betas = [GAUSS if b == "gauss" else float(b) for b in options.beta.split(",")]
    stars, fwhm, snr = ([kind(v) for v in text.split(",")]
                        for kind, text in ((int, options.stars), (float, options.fwhm), (float, options.snr)))
    cases = list(product(stars, fwhm, snr, betas, range(options.fields)))
    by = options.by.split(",")
    places = [("stars", "fwhm", "snr", "beta").index(name) for name in by]
    with get_context("forkserver").Pool(options.processes) as pool:
        found = pool.map(outcome, cases, chunksize=4)
    lines = {}
    for case, one in zip(cases, found):
        lines.setdefault(tuple(case[k] for k in places), []).append(one)
    sys.stdout.write(table((*by, *FIGURES), [[*(f"{v:g}" for v in key), *figures(some)] for key, some in sorted(lines.items())])
                     +"\n")


if __name__ == "__main__":
    main()
