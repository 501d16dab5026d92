"""Exposures and coadds of the Rubin Observatory, and whatever else LSST's software writes: IMAGE, MASK and VARIANCE.

The header of MASK names its bits, as ``MP_SAT = 1``. Pixels are in nJy, or in counts that the
keyword FLUXMAG0, the flux of magnitude 0, or a PhotoCalib in the file's archive turns into fluxes (lsst.afw.image.PhotoCalib).
"""
import re

import numpy as np

from crowdsource.core.flags import FlagDefinition, FlagTable
from crowdsource.io.fits import number
from crowdsource.io.hdus import opened

from .base import RESAMPLED, Facts, ImageFormat, MaskBits, header_facts
from .units import ab_of_jansky

PLANE = re.compile(r"MP_(\w+)")
FORBIDDING = {"BAD", "SAT", "INTRP", "CR", "NO_DATA", "UNMASKEDNAN", "VIGNETTED", "PARTLY_VIGNETTED", "SENSOR_EDGE_BAD"}
"""Planes of pixels without a value of their own; others say that there is a source, or how many exposures a coadd has there."""
SATURATED = {"SAT"}
OF_COADDS = "MP_INEXACT_PSF", "MP_SENSOR_EDGE", "MP_CLIPPED"
"""Planes that coadds have."""


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
        found = {int(value): match[1] for key, value in flags.header.items()
                 if (match := PLANE.fullmatch(key)) and isinstance(value, int) and 0 <= value < 32}
        table = FlagTable("lsst", [FlagDefinition(bit, name.lower(), f"MP_{name}") for bit, name in sorted(found.items())])
        value = lambda names: sum(1 << bit for bit, name in found.items() if name in names)
        return MaskBits(table, value(FORBIDDING), value(SATURATED))

    def facts(self, file, chip, image):
        """AB magnitudes by the unit nJy, by FLUXMAG0, or by a PhotoCalib of the archive, where those of inputs are too."""
        common = header_facts(image)
        if common["magnitude_system"] != "AB":
            at_zero = number(image.header, "FLUXMAG0") or number(file.primary, "FLUXMAG0")
            if at_zero and at_zero > 0:
                zeropoint = 2.5*np.log10(at_zero)
            else:
                mean = _calibration(file.path)
                zeropoint = ab_of_jansky(mean*1e-9) if mean else None
            if zeropoint is not None:
                common.update(zeropoint=float(zeropoint), magnitude_system="AB")
        coadd = any(key in p.header for p in file.named(self.flag_planes) for key in OF_COADDS)
        return Facts(**common, notes=(RESAMPLED,)*coadd)


def _calibration(path):
    """NJy in a count, by the PhotoCalib in a file's archive; None where there is none."""
    with opened(path) as hdus:
        for hdu in hdus:
            names = {n.lower(): n for n in getattr(getattr(hdu, "columns", None), "names", ())}
            if "calibrationmean" in names and len(hdu.data):
                mean = float(hdu.data[names["calibrationmean"]][0])
                return mean if np.isfinite(mean) and mean > 0 else None
    return None
