"""Stacks and warps of Pan-STARRS: pixels on an inverse hyperbolic sine scale, variances and masks in files beside the image.

Waters et al. 2020 (ApJS 251, 4), section 8, and STScI's "PS1 Stack images": a stored value v is
BOFFSET + 2 BSOFTEN sinh(v/a) with a = 2.5/ln(10), of images and of variances alike, and a magnitude
25 + 2.5 log10(EXPTIME) - 2.5 log10(flux); legacypipe, ``panstarrs.py``, does the same. Bits are those of STScI's "PS1 Pixel flags
in Image Table Data"; headers of masks have them as well (MSKNAMnn, MSKVALnn), and in MASK.VALUE, 8575, those that IPP takes for
bad. The others (SUSPECT, which is BURNTOOL, SPIKE, GHOST, STREAK, STARCORE and CONV.POOR) are only suspect.
"""
import re
from dataclasses import replace

import numpy as np

from crowdsource.core import functions
from crowdsource.engine.schema import POGSON
from crowdsource.io.fits import number

from .base import RESAMPLED, ImageFormat, ab_facts, beside_of, header_facts, mask_bits

NAME = re.compile(r"skycell\.\d+\.\d+\.(stk|wrp)\.", re.IGNORECASE)
ENDING = re.compile(r"(?<!\.wt)(?<!\.mask)\.fits", re.IGNORECASE)
BITS = mask_bits("panstarrs", {
    0: ("detector", "bad in the detector"), 1: ("flat", "no flat field"), 2: ("dark", "no dark"), 3: ("blank", "no data"),
    4: ("cte", "poor charge transfer"), 5: ("sat", "saturated or not linear"), 6: ("low", "too low"),
    7: ("suspect", "suspected to be bad"), 8: ("cr", "cosmic ray"), 9: ("spike", "diffraction spike"), 10: ("ghost", "ghost"),
    11: ("streak", "streak"), 12: ("starcore", "core of a bright star"), 13: ("conv_bad", "bad by convolution with a bad pixel"),
    14: ("conv_poor", "poor by convolution with a bad pixel"),
}, ("detector", "flat", "dark", "blank", "cte", "sat", "low", "cr", "conv_bad"), ("sat",))


class PanStarrs(ImageFormat):
    """A stack or a warp of Pan-STARRS."""

    summary = "an image of Pan-STARRS"
    bits = BITS

    def claims(self, file):
        """By the scale of its pixels, or the name of a skycell."""
        scaled = bool(file.planes) and "BSOFTEN" in file.planes[0].header and "BOFFSET" in file.planes[0].header
        return bool(file.planes) and (scaled or bool(NAME.search(file.path.name)))

    def beside(self, file):
        """``.wt.fits`` and ``.mask.fits``."""
        return beside_of(file.path, ENDING, (("variance", ".wt.fits"), ("flags", ".mask.fits")))

    def image(self, file, chip):
        """With linear pixels."""
        return linear(super().image(file, chip))

    def companion(self, path):
        """With linear pixels."""
        return linear(super().companion(path))

    def facts(self, file, chip, image):
        """The zero point of a second is 25 unless the header says otherwise; counts of a stack are no electrons."""
        common = header_facts(image)
        base, exptime = number(image.header, "FPA.ZP") or 25., common["exptime"]
        zeropoint = float(base+2.5*functions.log10(exptime)) if exptime and exptime > 0 else None
        return ab_facts(common, gain=None, zeropoint=zeropoint, band=_band(file, common["band"]), saturation=None,
                        notes=(RESAMPLED,))


def linear(plane):
    """A plane whose values are on no other scale than that of fluxes."""
    softening, offset = (number(plane.header, k) for k in ("BSOFTEN", "BOFFSET"))
    if softening is None or offset is None:
        return plane
    with np.errstate(over="ignore"):
        values = (offset+2*softening*functions.sinh(plane.data.astype(np.float64)/POGSON)).astype(np.float32)
    return replace(plane, data=values)


def _band(file, header):
    """The letter of the filter, of the header or of the name."""
    found = re.search(r"\.(?:stk|wrp)\.([grizyw])\.", file.path.name)
    return found[1] if found else header.split(".")[0]
