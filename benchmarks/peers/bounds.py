"""Cramer-Rao bounds of every star of a comparison field: the smallest errors that its noise allows any program.

    python -m benchmarks.peers.bounds FOLDER NAME [NAME ...]

Reads NAME_truth.fits, NAME_dq.fits and NAME_var.fits, which `fields.py` wrote, and writes NAME_bounds.fits, the truth with these
columns: sf, sx and sy are bounds of flux (counts) and position (pixels).

- sf_own: the star alone on the bare sky, with its own photon noise
- sf_iso, sx_iso, sy_iso: the star alone on the true variance of the image
- sf_bf: the fluxes of all stars above 5 sigma unknown, positions known
- sf_bfp, sx_bfp, sy_bfp: fluxes and positions of all stars above 5 sigma unknown

The sky and the PSF count as known, fainter stars as absent; CONF in the header is the flux noise that those bring to a matched
filter, counts.
"""
import argparse
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy import linalg
from scipy.signal import fftconvolve

from benchmarks.peers.fields import GAIN, SKY_VARIANCE, scale_length
from benchmarks.peers.moffat import Profile, offsets

REACH = 14
"""Half the side of the stamps that tell of a star, pixels."""
SIDE = 2*REACH+1
STEP = 0.05
"""Shift by which derivatives are taken, pixels."""
MARGIN = 20
"""Stars so near to a block are unknown with those inside it, pixels."""
THRESHOLD = 5.
"""Isolated signal to noise of the stars that count as sources."""
PATCH = 16
"""Side of the patches over which the Fisher matrix is summed, pixels."""
CHUNK = 2000
"""Stars whose isolated bounds are computed at once."""
REGULAR = 1e-10
"""Added to the diagonal of the normalised Fisher matrix: stars in the same place have no bound."""
LONE_REACH = 20
COLUMNS = "sf_own", "sf_iso", "sx_iso", "sy_iso", "sf_bf", "sf_bfp", "sx_bfp", "sy_bfp"


class Stars:
    """Stars of a field: positions, fluxes, PSFs.

    Parameters
    ----------
    truth : Table
    """

    def __init__(self, truth):
        self.x, self.y, self.flux = (np.asarray(truth[c], dtype=np.float64) for c in ("x", "y", "flux"))
        self.profile = Profile.of(truth["alpha"], truth["g1"], truth["g2"], truth.meta["BETA"])

    def stamps(self, which):
        """Light, and its derivatives with the star's x and y, per unit flux.

        Parameters
        ----------
        which : ndarray of int, shape (n,)

        Returns
        -------
        left, bottom : ndarray of int, shape (n,)
            First column and row of each stamp.
        stamps : ndarray, shape (n, 3, SIDE, SIDE)
        """
        px, py, dx, dy = offsets(self.x[which], self.y[which], REACH)
        profile = self.profile.subset(which)
        along = profile.stamps(dx-STEP, dy)-profile.stamps(dx+STEP, dy)
        across = profile.stamps(dx, dy-STEP)-profile.stamps(dx, dy+STEP)
        return px-REACH, py-REACH, np.stack([profile.stamps(dx, dy), along/(2*STEP), across/(2*STEP)], axis=1)


def isolated(stars, ivar):
    """Bounds of stars alone, shape (n, 4): own, and flux, x and y on the true variance; infinite where no pixel is good."""
    out = np.empty((len(stars.x), 4))
    border = 2*SIDE
    # a border of no weight holds the stamps of stars off the image
    padded = np.pad(ivar, border)
    on_image = np.pad(np.ones(ivar.shape, bool), border)
    step = np.arange(SIDE)
    for start in range(0, len(out), CHUNK):
        some = np.arange(start, min(start+CHUNK, len(out)))
        left, bottom, stamps = stars.stamps(some)
        rows = np.clip(bottom[:, None, None]+border+step[:, None], 0, len(padded)-1)
        columns = np.clip(left[:, None, None]+border+step, 0, padded.shape[1]-1)
        flux = stars.flux[some]
        light, weight = stamps[:, 0], padded[rows, columns]
        own = (light**2/(SKY_VARIANCE+flux[:, None, None]*light/GAIN)*on_image[rows, columns]).sum(axis=(1, 2))
        told = (stamps**2*weight[:, None]).sum(axis=(2, 3))*np.column_stack([np.ones_like(flux), flux**2, flux**2])
        information = np.column_stack([own, told])
        out[some] = np.where(information > 0, information, 0)
    with np.errstate(divide="ignore"):
        return 1/np.sqrt(out)


def fisher(left, bottom, stamps, flux, ivar):
    """Fisher matrix of fluxes and positions, shape (3n, 3n), parameters of a star side by side.

    Parameters
    ----------
    left, bottom, stamps
        As `Stars.stamps`.
    flux : ndarray, shape (n,)
    ivar : ndarray, shape (ny, nx), float64
    """
    ny, nx = ivar.shape
    matrix, step = np.zeros((3*len(flux),)*2), np.arange(PATCH)
    border = ((0, 0), (0, 0), (PATCH, PATCH), (PATCH, PATCH))
    padded = np.pad(stamps*np.column_stack([np.ones_like(flux), flux, flux])[:, :, None, None], border)
    for y0 in range(max(0, bottom.min()), min(ny, bottom.max()+SIDE), PATCH):
        for x0 in range(max(0, left.min()), min(nx, left.max()+SIDE), PATCH):
            near = np.flatnonzero((left < x0+PATCH) & (left+SIDE > x0) & (bottom < y0+PATCH) & (bottom+SIDE > y0))
            root = np.sqrt(ivar[y0:y0+PATCH, x0:x0+PATCH])
            if not len(near) or not root.any():
                continue
            rows, columns = y0-bottom[near]+PATCH, x0-left[near]+PATCH
            part = padded[near[:, None, None], :, (rows[:, None]+step)[:, :root.shape[0], None],
                          (columns[:, None]+step)[:, None, :root.shape[1]]]
            part = (part*root[:, :, None]).transpose(1, 2, 0, 3).reshape(root.size, -1)
            number = (3*near[:, None]+np.arange(3)).ravel()
            matrix[np.ix_(number, number)] += part.T@part
    return matrix


def marginal(matrix):
    """Square roots of the diagonal of an inverse, or None where there is none."""
    scale = np.sqrt(np.diag(matrix))
    scale[scale == 0] = 1e-30
    unit = matrix/scale[:, None]/scale
    unit[np.diag_indices(len(unit))] += REGULAR
    try:
        lower = linalg.cholesky(unit, lower=True, overwrite_a=True)
    except linalg.LinAlgError:
        return None
    inverse, _ = linalg.lapack.dtrtri(lower, lower=1)
    return np.sqrt((inverse**2).sum(axis=0))/scale


def blended(stars, bright, ivar, block):
    """Bounds of the bright stars with all of them unknown, shape (n, 4): flux alone; flux, x and y together. NaN for others.

    Parameters
    ----------
    stars : Stars
    bright : ndarray of bool, shape (n,)
    ivar : ndarray, shape (ny, nx), float64
    block : int
        Side of the blocks whose stars are solved together, with those of a margin around, pixels.
    """
    ny, nx = ivar.shape
    out, index = np.full((len(bright), 4), np.nan), np.flatnonzero(bright)
    x, y = stars.x[index]+0.5, stars.y[index]+0.5
    for y0 in range(0, ny, block):
        for x0 in range(0, nx, block):
            inside = (x >= x0) & (x < x0+block) & (y >= y0) & (y < y0+block)
            around = (x > x0-MARGIN) & (x < x0+block+MARGIN) & (y > y0-MARGIN) & (y < y0+block+MARGIN)
            if not inside.any():
                continue
            members, wanted = index[around], inside[around]
            matrix = fisher(*stars.stamps(members), stars.flux[members], ivar)
            fluxes, all_three = marginal(matrix[::3, ::3].copy()), marginal(matrix)
            if fluxes is not None:
                out[members[wanted], 0] = fluxes[wanted]
            if all_three is not None:
                out[members[wanted], 1:] = all_three.reshape(-1, 3)[wanted]
    return out


def confusion(truth):
    """Flux noise of a matched filter from the light of stars below the threshold, counts."""
    meta, zero = truth.meta, np.zeros(1)
    profile = Profile.of([scale_length(meta["FWHM"], meta["BETA"])], zero, zero, meta["BETA"])
    at = np.arange(-LONE_REACH, LONE_REACH+1.)[None]
    light = profile.stamps(at, at)[0]
    answer = fftconvolve(light, light[::-1, ::-1])
    answer /= answer.max()
    faint = np.asarray(truth["inside"]) & (np.asarray(truth["snr5"]) < THRESHOLD)
    return float(np.sqrt((np.asarray(truth["flux"])[faint]**2).sum()/(meta["NX"]*meta["NY"])*(answer**2).sum()))


def bounds_of(truth, dq, variance):
    """The truth with its bounds.

    Parameters
    ----------
    truth : Table
    dq : ndarray, shape (ny, nx)
        Pixels that are not 0 tell nothing.
    variance : ndarray, shape (ny, nx)
        True variance, counts^2.

    Returns
    -------
    Table
    """
    ivar = np.where(dq == 0, 1/np.asarray(variance, dtype=np.float64), 0)
    stars, out = Stars(truth), truth.copy()
    joint = np.full((len(truth), 4), np.nan)
    if truth.meta["CORE"]:
        joint = blended(stars, np.asarray(truth["snr5"]) >= THRESHOLD, ivar, truth.meta["CORE"])
    for name, values in zip(COLUMNS, np.column_stack([isolated(stars, ivar), joint]).T):
        out[name] = values
    out.meta["CONF"] = confusion(truth)
    return out


def write_bounds(folder, name):
    """Write the bounds of a field that `fields.py` wrote into a folder."""
    path = Path(folder)
    truth = Table.read(path/f"{name}_truth.fits")
    dq, variance = (fits.getdata(path/f"{name}_{plane}.fits") for plane in ("dq", "var"))
    bounds_of(truth, dq, variance).write(path/f"{name}_bounds.fits", overwrite=True)


def main():
    """Compute bounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.names:
        start = time.process_time()
        write_bounds(arguments.folder, name)
        print(f"{name}: {time.process_time()-start:.1f} CPU s")


if __name__ == "__main__":
    main()
