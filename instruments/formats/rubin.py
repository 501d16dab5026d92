"""Exposures and coadds of the Rubin Observatory, and whatever else LSST's software writes: IMAGE, MASK and VARIANCE.

lsst.afw tells the form. HDUs are named by EXTNAME, in older files by EXTTYPE alone; the header of MASK names its bits, as
``MP_SAT = 1``. Pixels are in nJy, or in counts that the keyword FLUXMAG0, the flux of magnitude 0 (files of before
EXPINFO_V 1), or a PhotoCalib in the file's archive turns into fluxes. What planes mean: https://dp1.lsst.io, "Mask planes".
"""
import re

import numpy as np
from astropy.time import Time

from crowdsource.core import functions
from crowdsource.io.fits import number
from crowdsource.io.hdus import opened

from .base import RESAMPLED, Facts, ImageFormat, bits_of_header, header_facts
from .units import ab_of_jansky

PLANE = re.compile(r"MP_(\w+)")
FORBIDDING = {"bad", "sat", "intrp", "cr", "no_data", "unmaskednan", "vignetted", "partly_vignetted", "sensor_edge_bad"}
"""Planes of pixels without a value of their own; others say that there is a source, or how many exposures a coadd has there."""
FROM_EXPOSURES = {"cr"}
"""Planes that on a coadd say that exposures without the pixels in question made it."""
SATURATED = {"sat"}
OF_COADDS = "MP_INEXACT_PSF", "MP_SENSOR_EDGE", "MP_CLIPPED"
"""Planes that coadds have, and exposures may name in their headers."""
INPUTS = "COADD_INPUTS_ID", "ARCHIVE_ID_COADD_INPUTS"
"""Keywords of the exposures that a coadd is made of."""
OF_EXPOSURES = "DETECTOR_ID", "DETNAME", "EXPID", "EXPTIME"
"""Keywords of a detector or of one exposure."""


class Rubin(ImageFormat):
    """An exposure or a coadd of LSST's software."""

    summary = "an image of LSST's software"
    images = ("IMAGE",)
    noises = (("variance", "VARIANCE"),)
    flag_planes = ("MASK",)

    def claims(self, file):
        """By the names of its planes, and of the bits in one of them."""
        return bool(file.named(self.images)) and any(PLANE.match(k) for p in file.named(self.flag_planes) for k in p.header)

    def bits_of(self, flags):
        """As the header names them."""
        forbids = FORBIDDING-FROM_EXPOSURES if _coadd(flags.primary, flags.header) else FORBIDDING
        return bits_of_header("lsst", flags.header, PLANE, forbids, SATURATED)

    def facts(self, file, chip, image):
        """AB magnitudes by the unit nJy, by FLUXMAG0, or by the exposure's PhotoCalib."""
        common = header_facts(image)
        if common["magnitude_system"] != "AB":
            at_zero = number(image.header, "FLUXMAG0") or number(file.primary, "FLUXMAG0")
            if at_zero and at_zero > 0:
                zeropoint = 2.5*functions.log10(at_zero)
            else:
                mean = _calibration(file)
                zeropoint = ab_of_jansky(mean*1e-9) if mean else None
            if zeropoint is not None:
                common.update(zeropoint=float(zeropoint), magnitude_system="AB")
        coadd = any(_coadd(file.primary, p.header) for p in file.named(self.flag_planes))
        return Facts(**{**common, "mjd": _middle(file.primary, common["mjd"]), "notes": (RESAMPLED,)*coadd})


def _coadd(primary, flags):
    """Whether a file is a coadd, by its first header and that of MASK."""
    named, single = any(k in flags for k in OF_COADDS), any(k in primary for k in OF_EXPOSURES)
    return any(k in primary for k in INPUTS) or (named and not single)


def _middle(primary, otherwise):
    """MJD of DATE-AVG, the middle of an exposure; MJD-OBS beside the world coordinates of older files is their equinox."""
    try:
        return Time(primary["DATE-AVG"], scale=str(primary.get("TIMESYS", "utc")).lower()).utc.mjd
    except (KeyError, ValueError, TypeError):
        return otherwise


def _calibration(file):
    """NJy in a count, by the PhotoCalib of the exposure in the file's archive; None where there is none.

    PHOTOCALIB_ID is its id. The archive's index, HDU number AR_HDU from 1, says in which table and row an object of an id is.
    The inputs of a coadd have calibrations in the same archive.
    """
    wanted, first = (file.primary.get(k) for k in ("PHOTOCALIB_ID", "AR_HDU"))
    with opened(file.path) as hdus:
        if isinstance(wanted, int) and isinstance(first, int) and 0 < first <= len(hdus):
            found = [r for r in hdus[first-1].data if r["id"] == wanted and r["name"].strip() == "PhotoCalib"]
            places = [(first-1+int(r["cat.archive"]), int(r["row0"])) for r in found]
        else:
            places = [(k, 0) for k in range(len(hdus))]
        for number_of_table, row in places:
            table = hdus[number_of_table]
            names = {n.lower(): n for n in getattr(getattr(table, "columns", None), "names", ())}
            if "calibrationmean" in names and len(table.data) > row:
                mean = float(table.data[names["calibrationmean"]][row])
                return mean if np.isfinite(mean) and mean > 0 else None
    return None
