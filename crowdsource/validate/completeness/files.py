"""Completeness in files: FITS with a table star by star, surfaces, curves, factors, purity and the depth map."""
import numpy as np
from astropy.io import fits
from astropy.table import Column, Table

from ...core.errors import DataFileError
from ...core.version import DISTRIBUTION, installed_version
from ...io.atomic import atomic_path
from ...io.fits_tables import plain, read_hdu, table_hdu
from ...io.hdus import opened, printable
from .measured import Completeness

FORMAT = "completeness 1"
"""What the keyword ``FORMAT`` of the first header says."""
TABLES = dict(table="STARS", surface="SURFACE", curve="CURVE", factor="FACTOR", purity="PURITY", colour="COLOUR")
"""Names of the HDUs of tables, by attributes of `Completeness`."""
COMMENTS = dict(FWHM="of the PSF in the middle, pixels", RADIUS="of the match, pixels", RUNS="images with artificial stars",
                PERRUN="artificial stars of a run", SPACING="smallest distance of two in a run, pixels", FAINTEST="smallest flux",
                BRIGHTES="largest flux", LAYOUT="of the artificial stars", SEED="of random numbers",
                LOCAL="cut-outs around the stars were fitted", FORCED="positions were given to the fit",
                BAND="of a joint fit", NIMAGES="images of the joint fit", XORIGIN="first pixel of the image in its parent",
                YORIGIN="first pixel of the image in its parent", SOURCES="rows of the image's own catalog",
                ZPKNOWN="whether the image has a zero point", MAGZERO="magnitude of a flux of 1",
                DEPTHSTP="pixels of a square of DEPTH",
                NOISERUN="images of repeated noise")


def write_completeness(completeness, path, *, inputs=(), config=(), overwrite=False):
    """Write a completeness as FITS.

    Parameters
    ----------
    completeness : Completeness
    path : path-like
    inputs : sequence of (str, str)
        Files that were read and their SHA-256.
    config : sequence of str
        Lines that say how the image was fitted.
    overwrite : bool

    Raises
    ------
    OutputError
        When the file exists already or cannot be written.
    """
    header = fits.Header()
    header["ORIGIN"] = ("crowdsource", "crowded-field photometry")
    header["VERSION"] = (installed_version(), f"of {DISTRIBUTION}")
    header["FORMAT"] = (FORMAT, "and its version")
    for keyword, value in completeness.figures.items():
        header[keyword] = (value, COMMENTS.get(keyword, ""))
    for k, (name, digest) in enumerate(inputs, 1):
        header[f"IN{k:03d}"], header[f"IN{k:03d}SUM"] = printable(name), digest
    for k, line in enumerate(config, 1):
        header[f"CFG{k:03d}"] = printable(line)
    hdus = [fits.PrimaryHDU(header=header)]
    tables = {hdu: getattr(completeness, name) for name, hdu in TABLES.items()}
    hdus += [table_hdu(rows, hdu) for hdu, rows in tables.items() if rows is not None]
    if completeness.depth is not None:
        for name, plane in (("DEPTH", completeness.depth), ("DEPTHERR", completeness.depth_error)):
            hdus.append(fits.ImageHDU(plane, completeness.depth_header, name=name))
            hdus[-1].header["BUNIT"] = "mag"
    with atomic_path(path, overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary)


def read_completeness(path):
    """The `Completeness` that a file holds.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    DataFileError
        When it is no such file.
    """
    with opened(path) as hdus:
        header = hdus[0].header
        if header.get("FORMAT") != FORMAT:
            raise DataFileError(path, "holds no completeness; give a file that crowdsource completeness wrote")
        try:
            tables = {name: plain_table(hdus[hdu]) for name, hdu in TABLES.items() if hdu in hdus}
            planes = {name: np.array(hdus[hdu].data, dtype=np.float32)
                      for name, hdu in (("depth", "DEPTH"), ("depth_error", "DEPTHERR")) if hdu in hdus}
            place = hdus["DEPTH"].header.copy() if planes else None
        except (KeyError, AttributeError, TypeError) as problem:
            raise DataFileError(path, f"is damaged ({problem}); write it anew") from problem
        return Completeness(**tables, **planes, depth_header=place, figures={k: header[k] for k in COMMENTS if k in header})


def plain_table(hdu):
    """The table of an HDU whose columns are numbers with a unit beside them, as those that were written."""
    table = read_hdu(hdu)
    return Table([Column(np.ma.filled(np.ma.asarray(plain(table[n])), np.nan if table[n].dtype.kind == "f" else None), n,
                         unit=table[n].info.unit, description=table[n].info.description) for n in table.colnames])
