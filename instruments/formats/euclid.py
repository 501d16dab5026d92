"""Calibrated exposures of Euclid, the quadrants of VIS and the detectors of NISP with their noise and flags, and its mosaics.

Euclid's Data Product Description Document (https://euclid.esac.esa.int/dr/q1/dpdd), "VIS Calibrated Quad Frame", "VIS Flag Map"
and "NIR Calibrated Frame": HDUs are named by the detector, ``3-4.E.SCI``, ``.RMS`` and ``.FLG``, or ``DET11.SCI``, ``.RMS`` and
``.DQ``. VIS is in ADU, and MAGZEROP is the AB zero point of an ADU a second; NISP is in electrons, and ZPAB, 29.8 to 30.1, is the
zero point of an electron of the whole exposure.

Mosaics of MER ("Background-Subtracted Mosaic Product") are images alone, ``EUC_MER_BGSUB-MOSAIC-VIS_TILE102070858-...``, with the
AB zero point MAGZERO; ``EUC_MER_MOSAIC-VIS-RMS_TILE102070858-...`` is their noise. It tells pixels without data as well.
"""
import re

from crowdsource.core import functions
from crowdsource.io.fits import number, read_image
from crowdsource.io.image_name import ImageName

from .base import RESAMPLED, ImageFormat, Noise, ab_facts, bits_of_header, header_facts, mask_bits, only_one

VIS = mask_bits("euclid-vis", {
    0: ("invalid", "not to be used"), 1: ("hot", "hot"), 2: ("cold", "does not respond"), 3: ("sat", "saturated"),
    4: ("cosmic", "cosmic ray"), 5: ("ghost", "optical ghost"), 6: ("quadedge", "near an edge of the quadrant"),
    7: ("bad_column", "bad column"), 8: ("bad_cluster", "cluster of bad pixels"), 9: ("cr_region", "among many cosmic rays"),
    12: ("ovrcol", "OVRCOL"), 15: ("charinj", "line of injected charge"), 17: ("satxtalkghost", "crosstalk of a saturated star"),
    18: ("starsignal", "light of a bright star"), 21: ("adcmax", "at the maximum of the converter"), 22: ("no_data", "no data"),
    23: ("stitchblock", "STITCHBLOCK"), 24: ("objects", "light of an object"),
}, ("invalid", "sat", "adcmax"), ("sat", "adcmax"))
"""INVALID is the pipeline's union of defects, saturation, cosmic rays, ghosts, injected charge and missing data."""
NISP = re.compile(r"MSK_FLAG_(\w+)")
"""Keywords of the bits of NISP: ``MSK_FLAG_HOT = 7``."""
BAD_ON_NISP = "invalid", "disconnected", "zeroqe", "badbase", "lowqe", "superqe", "hot", "rtn", "snowball", "satur", "cosmic"
"""The flavours of its mask of bad pixels, saturation and cosmic rays. NLINEAR and DARKNODET lie on most pixels."""
INVALID = mask_bits("euclid", {0: ("invalid", "not to be used")}, ("invalid",))
"""What is known of the bits of either camera where no header names them."""
ENDING = ".SCI"
MOSAIC = re.compile(r"EUC_MER_(?:BGSUB-)?MOSAIC-(?P<band>[A-Z]+(?:-[A-Z])?)_(?P<tile>TILE\d+)")


class Euclid(ImageFormat):
    """A calibrated exposure of Euclid."""

    summary = "an exposure of Euclid"
    bits = VIS

    def claims(self, file):
        """By the telescope's name, or the file's, and those of the HDUs."""
        named = any("EUCLID" in file.text(k) for k in ("TELESCOP", "ORIGIN")) or file.path.name.startswith("EUC_")
        return named and bool(self.chips(file))

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

    def bits_of(self, flags):
        """Those of VIS, or of NISP as the header names them."""
        if str(flags.hdu).upper().endswith(".FLG"):
            return VIS
        found = bits_of_header("euclid-nisp", flags.header, NISP, BAD_ON_NISP, ("satur",))
        return found if found.known else INVALID

    def facts(self, file, chip, image):
        """The zero point of VIS is brought from a second to the exposure, that of NISP is taken as it is."""
        common, headers = header_facts(image), (image.header, file.primary)
        second, whole = (next((v for h in headers if (v := number(h, k)) is not None), None) for k in ("MAGZEROP", "ZPAB"))
        if whole is None and second is not None and common["exptime"]:
            whole = float(second+2.5*functions.log10(common["exptime"]))
        return ab_facts(common, zeropoint=whole, band=common["band"] or "VIS")


class EuclidMosaic(ImageFormat):
    """A mosaic of Euclid's MER."""

    summary = "a mosaic of Euclid"

    def claims(self, file):
        """By its name."""
        return bool(file.planes) and MOSAIC.match(file.path.name) is not None

    def beside(self, file):
        """The RMS of the same band and tile; its name ends otherwise."""
        name = MOSAIC.match(file.path.name)
        noise = only_one(file.path.parent, f"EUC_MER_MOSAIC-{name['band']}-RMS_{name['tile']}[-_.]*")
        return () if noise is None else (("rms", noise),)

    def facts(self, file, chip, image):
        """The header's zero point."""
        common = header_facts(image)
        return ab_facts(common, gain=None, band=common["band"] or MOSAIC.match(file.path.name)["band"], notes=(RESAMPLED,))
