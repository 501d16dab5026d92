"""The published program on positions that are given, as a process of its own, for the comparison of `studies/joint_peers.py`.

    PYTHON benchmarks/peers/forced.py IN.fits ... OUT_FOLDER

Each input has the image, its inverse variance, and a table of x, y; the header has the FWHM of the stars. An output of the same
name gets a table with x, y, flux of those on the image: the program would move others onto its edge. It imports nothing of this
project, so that it runs in any environment which has the other program.
"""
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

STAMP = 511
"""Side of the PSF that a fit starts from: of the largest stamp that the program uses."""


def published(image, ivar, x, y, fwhm):
    """Fluxes by version 0.5.9 of the published code: positions fixed, the PSF refitted."""
    from crowdsource import crowdsource_base, psf
    start = psf.SimplePSF(psf.moffat_psf(fwhm, stampsz=STAMP, deriv=False))
    # its x runs along the first axis
    return crowdsource_base.fit_im_force(image, y.copy(), x.copy(), start, weight=np.sqrt(ivar), psfderiv=False,
                                         refit_psf=True)[0]["flux"]


def main():
    *paths, out = sys.argv[1:]
    for path in paths:
        with fits.open(path) as hdus:
            image, ivar = (hdus[k].data.astype(np.float32) for k in (0, 1))
            x, y = (hdus[2].data[name].astype(np.float64) for name in "xy")
            inside = (x > -0.5) & (y > -0.5) & (x < image.shape[1]-0.5) & (y < image.shape[0]-0.5)
            x, y = x[inside], y[inside]
            flux = published(image, ivar, x, y, hdus[0].header["FWHM"])
        Table(dict(x=x, y=y, flux=flux)).write(Path(out)/Path(path).name, overwrite=True)


if __name__ == "__main__":
    main()
