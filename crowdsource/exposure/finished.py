"""Finished detectors of a run, each whole in a folder beside the catalog, from which the outputs are gathered at the end.

A part is a small catalog of its own, and files of planes where some are wanted. The catalog is written last: where it lies, all
of its detector is there. Gathering copies the parts' HDUs as they are, so that a run that was cut off and resumed gives the
bytes of one that was not.
"""
import contextlib
import logging
import os
import shutil
import uuid
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..core.errors import CrowdsourceError, OutputError
from ..core.version import installed_version
from ..io.atomic import atomic_path
from ..io.file_names import distinct_name
from ..io.fits import read_header
from ..io.fits_tables import FITS_ENDINGS, read_hdu
from ..io.gzip_times import clear_gzip_times
from ..io.hdus import opened
from ..io.tables import write_catalog
from .results import RUN, gathered_header, hdu_prefix, made_by, plain_record

log = logging.getLogger(__name__)
ONLY = "image"
"""Name of the part of an exposure's only detector."""
COPY_BYTES = 1 << 24
MODEL, INFO, RESIDUAL = "mod", "info", "res"
"""Kinds of files of planes."""


def detector_file_name(detector):
    """What a detector's files are called."""
    return distinct_name(detector) if detector else ONLY


class FinishedDetectors:
    """The parts of one run.

    Parameters
    ----------
    out : path-like
        The catalog that they become.
    fingerprint : str
        The same for runs of the same inputs with the same settings.
    kinds : iterable of str
        Of the files of planes that each part has, `MODEL`, `INFO` or `RESIDUAL`.
    """

    def __init__(self, out, fingerprint="", kinds=()):
        self.folder = Path(f"{out}.parts")
        self.fingerprint, self.kinds = fingerprint, tuple(kinds)

    def catalog_file(self, detector):
        """The file of a detector's rows."""
        return self.folder/f"{detector_file_name(detector)}.cat.fits"

    def image_file(self, detector, kind):
        """The file of a detector's planes of a kind."""
        return self.folder/f"{detector_file_name(detector)}.{kind}.fits"

    def header(self, detector):
        """The primary header of a finished detector's catalog; None where it is not finished, or by another run."""
        path = self.catalog_file(detector)
        if not all(p.exists() for p in (path, *(self.image_file(detector, kind) for kind in self.kinds))):
            return None
        try:
            header = read_header(path)
        except CrowdsourceError:
            header = {}
        if header.get(RUN) != self.fingerprint:
            log.warning("%s: is of other inputs or settings: fitted anew", path)
            return None
        return header

    def published(self, files):
        """Whether files are of this version, of the same inputs and the same settings; False for CSV, which does not tell."""
        try:
            return all(made_by(path) == (installed_version(), self.fingerprint) for path in files)
        except CrowdsourceError:
            return False

    def write(self, detector, header, hdus, planes):
        """Write a detector's part.

        Parameters
        ----------
        detector : str
        header : astropy.io.fits.Header
            Of the primary HDU.
        hdus : list of HDUs
            What the catalog file holds of the detector.
        planes : mapping of str to list of HDUs
            What the files of planes hold, by kind.

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as problem:
            raise OutputError(f"{self.folder}: cannot be made ({problem.strerror}); choose another place") from problem
        header = header.copy()
        header[RUN] = (self.fingerprint, "of inputs and settings")
        files = [(self.image_file(detector, kind), planes[kind]) for kind in self.kinds]
        try:
            for path, held in (*files, (self.catalog_file(detector), hdus)):
                # comments that are cut for long values are nothing to tell
                with atomic_path(path, overwrite=True) as temporary, warnings.catch_warnings():
                    warnings.simplefilter("ignore", AstropyWarning)
                    fits.HDUList([fits.PrimaryHDU(header=header), *held]).writeto(temporary)
                    clear_gzip_times(temporary)
        except OutputError:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # when nothing lies in it
            raise

    def gather(self, detectors, out, planes, overwrite=False):
        """Write the outputs from the parts.

        Parameters
        ----------
        detectors : list of str
            In the outputs' order.
        out : path-like
            The catalog, FITS or, by its ending, one of the formats of `crowdsource.io.tables.write_catalog`.
        planes : mapping of str to path-like
            Files of planes by kind.
        overwrite : bool

        Raises
        ------
        OutputError
            When a file exists already or cannot be written.
        """
        header = gathered_header([read_header(self.catalog_file(d)) for d in detectors])
        if str(out).lower().endswith(FITS_ENDINGS):
            joined([self.catalog_file(d) for d in detectors], header, out, overwrite)
        else:
            write_catalog(self.rows(detectors), out, plain_record(header), overwrite)
        for kind, path in planes.items():
            joined([self.image_file(d, kind) for d in detectors], header, path, overwrite)

    def rows(self, detectors):
        """One table of all detectors' rows, with their names where they have some."""
        from astropy.table import vstack
        tables = []
        for detector in detectors:
            with opened(self.catalog_file(detector)) as hdus:
                table = read_hdu(hdus[hdu_prefix(detector)+"CAT"])
            if detector:
                table["detector"] = np.full(len(table), detector)
            tables.append(table)
        return vstack(tables, metadata_conflicts="silent")

    def remove(self):
        """Remove the folder, which is gone at once however long its files take."""
        gone = self.folder.with_name(f".{os.getpid()}-{uuid.uuid4().hex[:8]}-{self.folder.name}")
        if self.folder.exists():
            os.replace(self.folder, gone)
            shutil.rmtree(gone, ignore_errors=True)


def joined(paths, header, out, overwrite):
    """One FITS file of a primary header and all that follows the primary HDUs of others, byte by byte."""
    with atomic_path(out, overwrite) as temporary:
        fits.PrimaryHDU(header=header).writeto(temporary)
        with open(temporary, "ab") as file:
            for path in paths:
                with fits.open(path, memmap=False) as hdus:
                    start = hdus[0].fileinfo()["datLoc"]+hdus[0].fileinfo()["datSpan"]
                with open(path, "rb") as part:
                    part.seek(start)
                    shutil.copyfileobj(part, file, COPY_BYTES)
