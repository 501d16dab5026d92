"""Images of the Dark Energy Survey, SCI, MSK and WGT in one file, and stacks of DECam by its Community Pipeline.

Bits: DESDM's imsupport, ``include/mask_bits.h``; Morganson et al. 2018 (PASP 130, 074501). (In earlier versions bit 3 meant a
poor read and bit 11 a pixel that was corrected, which decides alike.) On a tile MSK is 1 where no exposure has a good pixel, and
SCI is interpolated there (despyfits, ``coadd_assemble``). MAGZERO is an AB zero point. The Community Pipeline's osd has codes, as
an exposure's ood, which https://community.lsst.org/t/133 lists: whatever is not 0 is bad. osw is an inverse variance.
"""
import re

from .base import ANY_BIT, RESAMPLED, ImageFormat, ab_facts, beside_of, header_facts, mask_bits

STACK = re.compile(r"_osi_")
BITS = mask_bits("des", {
    0: ("bpm", "in the mask of bad pixels"), 1: ("saturate", "saturated"), 2: ("interp", "interpolated"),
    3: ("badamp", "on an amplifier that does not work"),
    4: ("cray", "cosmic ray"), 5: ("star", "near a bright star"), 6: ("trail", "bleed trail"),
    7: ("edgebleed", "bleed at an edge"), 8: ("ssxtalk", "crosstalk of a saturated source"),
    9: ("edge", "glowing edge of the CCD"), 10: ("streak", "streak"), 11: ("suspect", "not perfect, but usable"),
    12: ("fixed", "bad, and corrected"), 13: ("nearedge", "close to an edge"), 14: ("tapebump", "on a bump of the tape below"),
}, ("bpm", "saturate", "interp", "badamp", "cray", "trail", "edgebleed", "ssxtalk", "edge", "streak"), ("saturate",))


class DES(ImageFormat):
    """A tile or an exposure of the Dark Energy Survey."""

    summary = "an image of the Dark Energy Survey"
    images = ("SCI",)
    noises = (("ivar", "WGT"),)
    flag_planes = ("MSK",)
    bits = BITS

    def claims(self, file):
        """By the names of its planes."""
        return all(file.named((name,)) for name in ("SCI", "MSK", "WGT"))

    def facts(self, file, chip, image):
        """An AB zero point; a tile is made of many exposures."""
        common = header_facts(image)
        tile = any("TILENAME" in h for h in (image.header, file.primary)) or file.path.name.startswith("DES")
        return ab_facts(common, notes=(RESAMPLED,)*tile)


class DecamStack(ImageFormat):
    """A stack of DECam: osi, osw and osd files."""

    summary = "a stack of DECam"
    bits = ANY_BIT

    def claims(self, file):
        """By the instrument's name and the file's."""
        return file.text("INSTRUME") == "DECAM" and bool(STACK.search(file.path.name)) and bool(file.planes)

    def beside(self, file):
        """``_osw_`` and ``_osd_``."""
        return beside_of(file.path, STACK, (("ivar", "_osw_"), ("flags", "_osd_")))

    def facts(self, file, chip, image):
        """The filter's letter from words such as ``z DECam SDSS c0004``."""
        common = header_facts(image)
        return ab_facts(common, band=(common["band"].split() or [""])[0], notes=(RESAMPLED,))
