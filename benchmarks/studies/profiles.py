"""Fluxes of isolated stars whatever their profile is: Gaussian, Moffat, Airy, at many widths; prints Markdown.

    python -m benchmarks.studies.profiles [PROFILE,WIDTH ...]

PROFILE is gauss, moffat2.5, moffat3.5 or airy; WIDTH is a FWHM, of airy the wavelength over the diameter, pixels. Nothing is
given but the image and its weights; the PSF is the one that the fit finds. Fluxes are compared with the truth in the box to which
they refer.
"""
import argparse
import sys
import time

import numpy as np
from scipy.special import j1

from benchmarks.shared import table
from crowdsource import Image, fit
from crowdsource.validate.evaluate import robust_scatter

WIDTHS = {"gauss": (1, 1.2, 2, 3, 6, 12, 18), "moffat3.5": (1.2, 2, 3, 6, 12, 18), "moffat2.5": (1.2, 2, 3, 6, 12, 18),
          "airy": (0.9, 1.3, 2, 3, 4)}
SIDE, SPACING, REACH = 9, 12, 140
"""Stars along each axis; their distance, FWHM, but at least 100 pixels; and how far they are rendered, pixels."""
NOISE, SKY, GAIN = 5., 100., 4.
FAINTEST, BRIGHTEST = 150., 1800.
"""Signal to noise of the stars, of which photon noise of the star is no part."""
BOX = 59
FWHM_OF_AIRY = 1.03
SIGMA = 1/np.sqrt(8*np.log(2))


def light_of(profile, width):
    """Light per square pixel at a distance, of a star of unit flux, as a function, and the FWHM."""
    if profile == "gauss":
        sigma = width*SIGMA
        return lambda r: np.exp(-r**2/2/sigma**2)/(2*np.pi*sigma**2), width
    if profile == "airy":
        def airy(r):
            v = np.pi*np.maximum(r, 1e-9)/width
            return np.pi/4/width**2*(2*j1(v)/v)**2
        return airy, FWHM_OF_AIRY*width
    beta = float(profile.removeprefix("moffat"))
    alpha = width/2/np.sqrt(2**(1/beta)-1)
    return lambda r: (beta-1)/np.pi/alpha**2*(1+r**2/alpha**2)**-beta, width


def pixels(light, dx, dy, half, samples):
    """A star's light in the pixels of a stamp, shape (2*half+1, 2*half+1), by so many samples a pixel along each axis."""
    within = (np.arange(samples)-(samples-1)/2)/samples
    at = (np.arange(-half, half+1)[:, None]+within).ravel()
    fine = light(np.hypot(at[None, :]-dx, at[:, None]-dy))
    return fine.reshape(2*half+1, samples, 2*half+1, samples).mean(axis=(1, 3))


def scene(profile, width, seed=1):
    """Image, x, y and flux of the stars, and the part of a star's light in the box."""
    rng, (light, fwhm) = np.random.default_rng(seed), light_of(profile, width)
    step, samples = int(max(100, SPACING*fwhm)), 7 if fwhm < 3 else 3
    half = int(min(max(30, SPACING*fwhm), REACH, step-1))
    rows, columns = np.mgrid[:SIDE, :SIDE]*step+step
    x, y = (v.ravel()+rng.uniform(-0.5, 0.5, SIDE**2) for v in (columns, rows))
    noise = NOISE*np.sqrt(4*np.pi*(fwhm*SIGMA)**2+1)
    flux = noise*np.exp(rng.uniform(np.log(FAINTEST), np.log(BRIGHTEST), SIDE**2))
    data = np.zeros(((SIDE+1)*step,)*2)
    for px, py, f in zip(x, y, flux):
        i, j = int(np.floor(px+0.5)), int(np.floor(py+0.5))
        data[j-half:j+half+1, i-half:i+half+1] += f*pixels(light, px-i, py-j, half, samples)
    variance = NOISE**2+data/GAIN
    data = SKY+data+rng.normal(size=data.shape)*np.sqrt(variance)
    return (Image.from_arrays(data.astype(np.float32), (1/variance).astype(np.float32)), x, y, flux,
            pixels(light, 0., 0., BOX//2, samples).sum())


def row(profile, width):
    """Figures of a profile of a width."""
    image, x, y, flux, share = scene(profile, width)
    start = time.process_time()
    result = fit(image)
    cpu = time.process_time()-start
    rows = {n: result.catalog[n].value for n in ("x", "y", "flux", "dflux")}
    near = np.hypot(rows["x"]-x[:, None], rows["y"]-y[:, None]) < max(2., width/3)
    found = near.any(axis=1)
    k = np.where(near, rows["flux"], -1).argmax(axis=1)[found]
    error = rows["flux"][k]/(flux*share)[found]-1
    pull = robust_scatter((rows["flux"][k]-(flux*share)[found])/rows["dflux"][k])
    position = robust_scatter(np.r_[rows["x"][k]-x[found], rows["y"][k]-y[found]])
    return [profile, f"{width:g}", f"{result.psf.fwhm():.2f}", f"{cpu:.1f}", f"{share:.4f}", f"{found.sum()} of {len(x)}",
            str(len(rows["x"])), f"{100*np.median(error):+.2f}", f"{100*robust_scatter(error):.2f}", f"{pull:.2f}",
            f"{position:.4f}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="PROFILE,WIDTH",
                        default=[f"{profile},{width}" for profile, widths in WIDTHS.items() for width in widths])
    chosen = [name.split(",") for name in parser.parse_args().names]
    head = ["profile", "width, px", "FWHM found, px", "CPU s", "light in the box", "found", "rows", "flux bias %", "scatter %",
            "pull", "position px"]
    sys.stdout.write(table(head, [row(profile, float(width)) for profile, width in chosen])+"\n")
