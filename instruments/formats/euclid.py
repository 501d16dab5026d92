"""Calibrated exposures of Euclid: the quadrants of VIS and the detectors of NISP, each with its noise and flags.

Euclid's Data Product Description Document, "VIS Calibrated Quad Frame" and "NIR Calibrated Frame": HDUs are named by the
detector, ``3-4.E.SCI``, ``.RMS`` and ``.FLG``, or ``DET11.SCI``, ``.RMS`` and ``.DQ``. The bit INVALID is the pipeline's verdict.
Zero points, MAGZEROP and ZPAB, are taken as those of a unit per second.
"""
import numpy as np

from crowdsource.io.fits import number, read_image
from crowdsource.io.image_name import ImageName

from .base import Facts, ImageFormat, Noise, header_facts, mask_bits

BITS = mask_bits("euclid", {0: ("invalid", "not to be used")}, ("invalid",))
ENDING = ".SCI"


class Euclid(ImageFormat):
    """A calibrated exposure of Euclid."""

    summary = "an exposure of Euclid"
    bits = BITS

    def claims(self, file):
        """By the telescope's name and those of the HDUs."""
        return any("EUCLID" in file.text(k) for k in ("TELESCOP", "ORIGIN")) and bool(self.chips(file))

    def chips(self, file):
        """All quadrants, or detectors."""
        return tuple(p for p in file.planes if p.name.endswith(ENDING))

    def label(self, chip):
        """Name of the quadrant or the detector."""
        return chip.name.removesuffix(ENDING)

    def noise(self, file, chip):
        """RMS of the same quadrant."""
        plane = self._of(file, chip, ".RMS")
        return None if plane is None else Noise("rms", plane, str(plane.hdu))

    def flags(self, file, chip):
        """FLG or DQ of the same quadrant."""
        for ending in (".FLG", ".DQ"):
            if (plane := self._of(file, chip, ending)) is not None:
                return plane, str(plane.hdu)
        return None, ""

    def _of(self, file, chip, ending):
        """The plane of a chip with an ending, as a FitsImage; None where there is none."""
        found = file.with_image((self.label(chip)+ending,), chip)
        return None if found is None else read_image(ImageName(file.path, found.number))

    def facts(self, file, chip, image):
        """The zero point of a second, of the exposure."""
        common = header_facts(image)
        headers = image.header, file.primary
        zeropoint = next((v for k in ("MAGZEROP", "ZPAB") for h in headers if (v := number(h, k)) is not None), None)
        exptime = common["exptime"]
        whole = None if zeropoint is None or not exptime else float(zeropoint+2.5*np.log10(exptime))
        return Facts(**{**common, "zeropoint": whole, "magnitude_system": "" if whole is None else "AB",
                        "band": common["band"] or "VIS"})
