"""PSFs of Piff (Jarvis et al. 2021): the library piff draws them, at nodes over the image and at phases within a pixel.

A Piff file holds Python objects, above all its WCS, that are made again by running what the file says: read only files that you
trust.
"""
import logging
from dataclasses import dataclass
from itertools import product

import numpy as np
from astropy.io import fits

from ...core.errors import DataFileError, InputError, need
from ...io.hdus import existing, one_line
from ..base import CENTROID_SIZE
from ..grid import first_moment, through_nodes
from ..model import FieldPSF
from ..profiles.gridded import GridProfile
from ..profiles.stamp import FARTHEST, StampProfile
from .base import PSFFormat

log = logging.getLogger(__name__)
POSITION = {"x", "y", "u", "v"}
"""Properties of a star that piff finds from its position."""
LARGEST = 163
"""Side of the largest stamps that are drawn, pixels."""
WIDEST = 489
"""Side of the largest stamps in samples: more of them in a pixel are drawn where stamps are small enough."""
OUTSIDE = 1e-4
"""Share of the light that may lie outside the stamps."""
CENTRINGS = 3
"""How often a star is drawn to bring its centroid into the middle; each time what is left of the way is squared, or less."""
ACCURACY = 1e-5
"""Difference, in units of the peak, that samples may leave to what piff draws at phases between them."""
BETWEEN = 1e-4
"""Largest difference, in units of the peak, between a PSF midway between nodes and what splines through the nodes give there. The
nodes midway are then added, which leaves a tenth of it or less."""
EDGE = 3
"""Pixels at the edges of stamps that are not compared: splines cut there are not what piff draws beyond."""
FINEST = 5
"""Largest number of samples in a pixel. Smooth profiles need 2 or 3; grids of pixels have kinks: 5 leave 4e-5 to 1e-4."""
NODES = (2, 3, 5, 9, 17)
"""Nodes along each axis that are tried, each time those before and others midway between them."""
WEIGHTS = 65
"""Nodes along each axis to which splines through those that are drawn are taken: between these the PSF is bilinear."""
NOTABLE = 1e-3
"""Difference in units of the peak from which on it is told."""


class PiffFormat(PSFFormat):
    """A table PSF with a column "type", the first that piff writes."""

    summary = "a Piff file of one chip"

    def claims(self, file):
        """Whether the HDU is the first that piff wrote."""
        hdu = file.hdu
        return hdu.name.upper() == "PSF" and isinstance(hdu, fits.BinTableHDU) and "type" in (hdu.columns.names or ())

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`; a file of several chips is refused, `read_piff` takes one of them.

        Raises
        ------
        MissingExtraError
            When piff is not installed.
        """
        return _psf(file.path, shape, None, None, norm_size, FINEST)


def read_piff(path, shape, chip=None, properties=None, norm_size=59, finest=FINEST):
    """The PSF of one chip in a Piff file, on a grid of nodes over the image and by splines between them.

    The position of a star is its centroid, as in all PSFs of this project, also where Piff counts from another point.

    Parameters
    ----------
    path : path-like
        Written by piff. It is trusted: see the module.
    shape : tuple of int
        (ny, nx) of the image, which is the whole of the chip.
    chip : int, optional
        Number of the chip; not needed where the file has only one.
    properties : dict of str to float, optional
        Values of what the PSF depends on besides the position, such as a colour; the mean of the file's stars when not given.
    norm_size : int
        The PSF sums to 1 over this box, pixels.
    finest : int
        Largest number of samples in a pixel. A fit with 5 takes 2 to 3 times the CPU time of one with 1.

    Returns
    -------
    crowdsource.psf.base.PSF

    Raises
    ------
    DataFileError
        When the file cannot be read, or holds no such PSF.
    MissingExtraError
        When piff is not installed.
    """
    path = existing(path, "a Piff file")
    try:
        return _psf(path, tuple(shape), chip, properties, norm_size, finest)
    except InputError as problem:
        raise DataFileError(path, str(problem)) from problem


@dataclass(frozen=True, eq=False)
class Chip:
    """The PSF of one chip, as piff draws it.

    Attributes
    ----------
    model : piff.PSF
    number : int
    properties : dict of str to float
        What the PSF depends on besides the position.
    """

    model: object
    number: int
    properties: dict

    def stamp(self, x, y, size, oversampling=1):
        """The PSF at a pixel, integrated over pixels, of a star of unit flux whose centroid is in the middle.

        Parameters
        ----------
        x, y : int
            Pixels from 0.
        size : int
            Odd side, pixels.
        oversampling : int
            Samples in a pixel: the star is drawn at so many phases along each axis.

        Returns
        -------
        ndarray, shape (m, m), float64
            m is oversampling*(size-1)+1.
        """
        fine = np.empty((oversampling*(size-1)+1,)*2)
        aside = self._from_centroid(x, y)
        for q, p in product(range(oversampling), repeat=2):
            # a star that is aside to the left shows what lies to the right of the middles of pixels
            drawn = self._drawn(x, y, size, aside-np.array([p, q])/oversampling)
            fine[q::oversampling, p::oversampling] = drawn[:size-(q > 0), :size-(p > 0)]
        return fine

    def star(self, x, y, size, right, up):
        """The stamp around a pixel of a star whose centroid lies aside from the pixel's middle, pixels."""
        return self._drawn(x, y, size, self._from_centroid(x, y)+np.array([right, up]))

    def _from_centroid(self, x, y):
        """How far from a star's centroid its position lies from which Piff counts, pixels in x and y."""
        dx = dy = 0.
        for _ in range(CENTRINGS):
            box = self._drawn(x, y, CENTROID_SIZE, (dx, dy))
            dx, dy = (at-first_moment(box, axis)/box.sum() for at, axis in ((dx, 1), (dy, 0)))
        return np.clip([dx, dy], -FARTHEST, FARTHEST)

    def _drawn(self, x, y, size, offset):
        """What piff draws: a stamp around a pixel of a star that is aside by an offset."""
        try:
            # Piff counts pixels from 1
            image = self.model.draw(x+1, y+1, chipnum=self.number, stamp_size=size, offset=tuple(offset), **self.properties)
        except Exception as problem:
            raise InputError(f"piff cannot draw its PSF at the pixel ({x}, {y}), counted from 0 ({one_line(problem)}): check "
                             "that the image is of this chip, and the file whole") from problem
        if not np.isfinite(image.array).all() or not image.array.sum() > 0:
            raise InputError(f"the PSF that piff draws at the pixel ({x}, {y}), counted from 0, is not finite or empty: check "
                             "that the image is of this chip")
        return image.array


def _psf(path, shape, chip, properties, norm_size, finest):
    """See `read_piff`; its errors do not name the file."""
    piff = need("piff", "piff", "a PSF of Piff")
    try:
        model = piff.read(str(path))
    # what damaged files raise are errors of fitsio, pickle, NumPy and failed assertions
    except Exception as problem:
        raise InputError(f"piff cannot read its PSF ({type(problem).__name__}: {one_line(problem)}): check that the file is "
                         "whole, and that piff and the packages of its WCS are as new as those that wrote it") from problem
    drawn = Chip(model, _chip(model, chip), _properties(model, properties or {}))
    middle = shape[1]//2, shape[0]//2
    size = _size(drawn.stamp(*middle, LARGEST), norm_size)
    sampling = _sampling(drawn, *middle, size, finest)
    columns, rows = _nodes(drawn, shape, size)
    stamps = np.array([[drawn.stamp(x, y, size, sampling) for x in columns] for y in rows])
    profile = GridProfile.from_nodes(stamps, shape, sampling, norm_size, (rows, columns))
    profile = profile.with_nodes(*(np.array(_along(length, WEIGHTS)) for length in shape))
    return _exact(profile, norm_size)


def _exact(profile, norm_size):
    """A profile as a PSF that is rendered from the samples there are, whatever its width."""
    return FieldPSF(profile, tuple(profile.shape), np.zeros((1, 1, 1)), norm_size, profile.oversampling)


def _chip(model, wanted):
    """Number of the chip that is wanted, or of the only one."""
    numbers = [int(number) for number in getattr(model, "wcs", None) or ()]
    if not numbers:
        raise InputError("the Piff PSF has no WCS, without which it cannot be drawn: write it by piff after a fit")
    if wanted is None and len(numbers) == 1:
        return numbers[0]
    if wanted not in numbers:
        said = "it is not told which" if wanted is None else f"there is no {wanted}"
        raise InputError(f"the Piff file is of the chips {', '.join(map(str, numbers))}, and {said}: give one, from Python, as "
                         f"in psf=crowdsource.psf.formats.piff.read_piff(path, image.shape, chip={numbers[0]})")
    return wanted


def _properties(model, given):
    """Values of all that the PSF depends on besides the position: those given, else means of the stars in the file."""
    wanted = sorted(set(model.interp_property_names)-POSITION)
    unknown = sorted(set(given)-set(wanted))
    if unknown:
        raise InputError(f"the Piff PSF does not depend on {', '.join(unknown)}: besides the position it depends on "
                         f"{', '.join(wanted) or 'nothing'}")
    values = {name: float(given[name]) for name in wanted if name in given}
    for name in (n for n in wanted if n not in given):
        of_stars = [star.data.properties.get(name, np.nan) for star in getattr(model, "stars", ()) if not star.is_flagged]
        known = np.array(of_stars, dtype=np.float64)
        known = known[np.isfinite(known)]
        if not len(known):
            raise InputError(f"the Piff PSF depends on {name}, of which its stars have no value: give one, from Python, as in "
                             f"psf=crowdsource.psf.formats.piff.read_piff(path, image.shape, properties={{'{name}': 1.}})")
        values[name] = float(known.mean())
        log.warning("the Piff PSF depends on %s: that of %.4g is used for all stars, the mean of those in the file", name,
                    values[name])
    return values


def _size(stamp, norm_size):
    """Side of the smallest box that holds a stamp's light except for the share that may lie outside, and the box of the norm."""
    middle, enough = stamp.shape[0]//2, (1-OUTSIDE)*stamp.sum()
    halves = range(norm_size//2, middle)
    holds = (h for h in halves if stamp[middle-h:middle+h+1, middle-h:middle+h+1].sum() >= enough)
    return 2*next(holds, max(middle, norm_size//2))+1


def _sampling(drawn, x, y, size, finest):
    """The fewest samples in a pixel from which what piff draws at phases between them is found, or as many as there may be."""
    for samples in range(1, max(1, min(finest, WIDEST//size))+1):
        psf = _exact(StampProfile.from_stamp(drawn.stamp(x, y, size, samples), (2*y+1, 2*x+1), samples), size)
        phases = [(k+0.5)/samples for k in range(samples)]
        phases = [phase-(phase >= 0.5) for phase in phases]
        off = max(_unlike(psf.render([x+p], [y+p], size)[0], drawn.star(x, y, size, p, p)) for p in phases)
        if off < ACCURACY:
            break
    if off > NOTABLE:
        log.warning("the Piff PSF is taken over with %d sample(s) in a pixel: between them it differs by up to %.1g of its peak",
                    samples, off)
    return samples


def _unlike(stamp, true):
    """Largest difference of a stamp from another, both normalised, in units of the peak; their edges do not count."""
    inner = np.s_[EDGE:-EDGE, EDGE:-EDGE]
    return np.abs(stamp/stamp.sum()*true.sum()-true)[inner].max()/true.max()


def _nodes(drawn, shape, size):
    """Columns and rows of the nodes: as many as let the PSF between them be found by splines, whole pixels."""
    stamps = {}

    def at(x, y):
        if (x, y) not in stamps:
            stamps[x, y] = drawn.stamp(x, y, size)
        return stamps[x, y]

    for coarse, fine in zip(NODES, NODES[1:]):
        (x, y), (nx, ny) = (tuple(_along(length, count) for length in shape[::-1]) for count in (coarse, fine))
        known, true = (np.array([[at(u, v) for u in columns] for v in rows]) for columns, rows in ((x, y), (nx, ny)))
        between = np.einsum("jr,ic,rcab->jiab", through_nodes(y, ny), through_nodes(x, nx), known)
        off = np.abs(between-true).max()/true.max()
        if off < BETWEEN:
            return nx, ny
    if off > NOTABLE:
        log.warning("the Piff PSF changes by %.1g of its peak between nodes that are %d to %d pixels apart, beyond what splines "
                    "follow: it is taken over with %dx%d nodes", off, *sorted((nx[-1]-nx[-2], ny[-1]-ny[-2])), len(nx), len(ny))
    return nx, ny


def _along(length, count):
    """Nodes along an axis: whole pixels at equal steps from the first to the last."""
    return np.unique(np.round(np.linspace(0, length-1, count)).astype(int)).tolist()
