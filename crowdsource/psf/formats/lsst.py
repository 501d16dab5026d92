"""PSFs of the exposures of the Rubin Observatory: tables that PSFEx's models become in the archive of an exposure's file.

The archive is a table ARCHIVE_INDEX and the tables behind it. A row of the index tells for an object (``id``) its class
(``name``), and in which table (``cat.archive``, counted from the index) and from which row on (``row0``) a part of it
(``cat.persistable``) is. The keyword PSF_ID of the first header tells which object is the PSF; in a file of a PSF alone it is
that with the number 1. A PsfexPsf has two parts, numbers and arrays. PSFs of other classes are no plain arrays and are refused
with what to do.
"""
import numpy as np

from ...core.errors import InputError
from ..model import FieldPSF
from .base import PSFFormat
from .psfex import Polynomial, profile_of_planes

INDEX = "ARCHIVE_INDEX"
PSFEX = "PsfexPsf"
AS_STAMPS = ("in LSST's software, put psf.computeKernelImage of a grid of positions into a cube with the keywords of a STDPSF "
             "file, and give that")
REMEDIES = {
    "PiffPsf": "a model of Piff, stored as a pickled object of Python, which may run any program and is not opened: in LSST's "
               "software, write it with exposure.psf.piffResult.write('psf.fits'), and give that file",
    "CoaddPsf": f"made of the PSFs of all inputs of a coadd: {AS_STAMPS}",
    "StitchedPsf": "that of the cells of a coadd: give the file of the cell-based coadd itself",
}
"""What PSFs of other classes are, and what to do, by name."""


class LSSTFormat(PSFFormat):
    """A file with an archive of LSST, asked of its first HDU or of the archive's index."""

    summary = "an exposure of LSST with a PSFEx model"

    def claims(self, file):
        """Whether the file has an archive, and the HDU is its index or the file's first."""
        return file.hdu.name == INDEX or (file.number == 0 and INDEX in file.hdus)

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`."""
        numbers, arrays = _parts(file.hdus)
        planes, polynomial, sampling = _model(numbers, arrays, _origin(file.hdus))
        return FieldPSF.of(profile_of_planes(planes, sampling, polynomial, shape), norm_size=norm_size)


def _parts(hdus):
    """Rows of the two parts of the PSF, or an error that says what it is instead."""
    place = hdus.index_of(INDEX)
    index, number = hdus[place].data, _number(hdus[0].header)
    names = {column.lower().replace(".", "_"): column for column in index.names}
    try:
        ids, kinds, which, table, row = (index[names[n]] for n in ("id", "name", "cat_persistable", "cat_archive", "row0"))
    except KeyError as problem:
        raise InputError(f"the archive's index lacks the column {problem.args[0]}: check that the file is whole") from None
    mine = np.flatnonzero(ids == number)
    if number is None or not len(mine):
        raise InputError("the exposure has no PSF in its archive (PSF_ID): give another file, or let the fit find the PSF")
    kind = str(kinds[mine[0]]).strip()
    if kind != PSFEX:
        raise InputError(f"the PSF of the exposure is a {kind}, {REMEDIES.get(kind, f'which is not understood: {AS_STAMPS}')}")
    found = {int(which[k]): (place+int(table[k]), int(row[k])) for k in mine}
    try:
        return [hdus[hdu].data[first] for hdu, first in (found[part] for part in (0, 1))]
    except (KeyError, IndexError, TypeError) as problem:
        raise InputError(f"the archive lacks a table or a row of the {kind} ({problem}): check that the file is whole") from None


def _number(header):
    """Number of the PSF in the archive; None where the file says that there is none."""
    number = header.get("PSF_ID", header.get("ARCHIVE_ID_PSF"))
    return 1 if number is None and "AR_HDU" not in header else number


def _origin(hdus):
    """Pixel of the detector, (x, y), that is the first of the exposure: LTV1 and LTV2 are what it is less."""
    headers = [hdus[k].header for k in range(min(2, len(hdus)))]
    return [next((-float(h[name]) for h in headers if name in h), 0.) for name in ("LTV1", "LTV2")]


def _model(numbers, arrays, origin):
    """Planes, their `Polynomial`, and the pixels that a sample spans."""
    try:
        size, values, degrees = (np.atleast_1d(arrays[n]) for n in ("_size", "_comp", "degree"))
        zero, scale = (np.atleast_1d(arrays[n]).astype(float) for n in ("_context_first", "_context_second"))
        groups, sampling = int(numbers["ngroup"]), float(numbers["_pixstep"])
    except KeyError as problem:
        raise InputError(f"the tables of the {PSFEX} lack a column ({problem}): check that the file is whole") from None
    if len(zero) != 2 or groups != 1:
        raise InputError(f"the {PSFEX} varies with {len(zero)} quantities in {groups} groups: one that varies with the position, "
                         "in one group, is needed")
    side, degree = int(size[0]), int(degrees[0])
    count = (degree+1)*(degree+2)//2
    if degree < 0 or len(values) != count*side*side or not sampling > 0:
        raise InputError(f"the {PSFEX} has {len(values)} values, {count} planes of {side}x{side} are needed, and a sample spans "
                         f"{sampling} pixels: check that the file is whole")
    # LSST counts pixels of the detector from 0, a polynomial of PSFEx those of the image from 1
    return (values.astype(np.float64).reshape(count, side, side),
            Polynomial(degree, False, tuple(zero-origin+1), tuple(scale)), sampling)
