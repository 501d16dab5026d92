"""The PSF over unWISE tiles against brute force: means of turned copies of the model; prints Markdown.

    python -m benchmarks.studies.wise_rotation FOLDER

FOLDER holds the models of the unWISE team. Five places of the tile nearest the ecliptic pole and one of a tile on the ecliptic.
"""
import argparse
import sys

import numpy as np
from astropy.wcs import WCS
from crowdsource.instruments.wise.atlas import SIDE
from crowdsource.instruments.wise.psf import centroid, field_psf, orientation, read_model
from crowdsource.instruments.wise.writing import tile_header
from scipy import ndimage

from benchmarks.calibrate.fit_wings import middle, radius
from benchmarks.shared import table
from crowdsource.core.image import Image

POLE, ECLIPTIC = "2709p666", "0000p000"
PLACES = (1023, 1023), (100, 150), (1900, 200), (300, 1800), (1750, 1950)
RINGS = (0, 3), (3, 10), (10, 30), (30, 100)
STEP = 0.25
"""Degrees between turned copies."""


def of_tile(name):
    """Image without content, and coordinates of a tile."""
    wcs = WCS(tile_header(name, (SIDE, SIDE), 1))
    plane = np.ones((SIDE, SIDE), np.float32)
    return Image.from_arrays(plane, plane, wcs=wcs), wcs


def brute_force(model, where):
    """Mean of copies of a model turned by scipy, which turns clockwise, over the spread of both scan directions."""
    dx, dy = centroid(model)
    centred = ndimage.shift(model, (-dy, -dx), order=5)
    count = max(9, int(np.ceil(where.spread/STEP)))
    angles = where.angle+where.spread*((np.arange(count)+0.5)/count-0.5)
    total = sum(ndimage.rotate(centred, -angle, reshape=False, order=5) for angle in angles)
    # the other direction is the same turned by half a turn
    total = total+total[::-1, ::-1]
    return total/middle(total, 59).sum()


def main():
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of the models")
    folder, lines = parser.parse_args().folder, []
    for band in (1, 2):
        model = read_model(folder, band)
        for name, places in ((POLE, PLACES), (ECLIPTIC, PLACES[1:2])):
            image, wcs = of_tile(name)
            psf = field_psf(image, band, folder)
            for x, y in places:
                where = orientation(wcs, x, y)
                wanted = middle(brute_force(model, where), 323)
                off, r = psf.stamp(323, x, y)-wanted, radius(323)
                rings = [(r >= low) & (r < high) for low, high in RINGS]
                lines.append([f"W{band}", name, f"{x}, {y}", f"{where.angle:.1f}", f"{where.spread:.1f}",
                              f"{100*np.abs(off).max()/wanted.max():.3f}",
                              *(f"{100*np.sqrt((off[k]**2).mean())/wanted[k].mean():.2f}" for k in rings)])
    head = ["band", "tile", "x, y", "angle", "spread", "largest, % of the peak", *(f"rms at {a}-{b} px, %" for a, b in RINGS)]
    sys.stdout.write(table(head, lines)+"\n")


if __name__ == "__main__":
    main()
