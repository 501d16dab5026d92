"""Files of no known form: planes that belong together are told by the names that many programs give them."""
import re
from dataclasses import replace

from .base import ImageFormat, beside_of

IMAGES = "SCI", "SCIENCE", "IMAGE", "DATA"
NOISES = (
    *(("ivar", n) for n in ("IVAR", "INVVAR", "INVVARIANCE")), *(("variance", n) for n in ("VARIANCE", "VAR")),
    *(("rms", n) for n in ("ERR", "ERROR", "RMS", "SIGMA", "STDDEV", "UNCERTAINTY", "UNC", "UNCERT")),
    *(("weight", n) for n in ("WHT", "WEIGHT", "WGT")),
)
"""Kind of noise map by the name of its HDU."""
FLAGS = "DQ", "MASK", "MSK", "FLAGS", "FLAG", "FLG"
UNCERTAINTIES = {"StdDevUncertainty": "rms", "VarianceUncertainty": "variance", "InverseVariance": "ivar"}
"""Kinds of noise by what `astropy.nddata.CCDData` writes of its HDU UNCERT into the keyword UTYPE."""
NUMBERED = re.compile(r"(\D*?)[-_ ]?\d+")
"""Names of the detectors of a mosaic: CCD1, im12, EXT_3."""


ENDING, SCIENCE = re.compile(r"(?<!\.weight)\.fits", re.IGNORECASE), re.compile(r"_sci(?=\.fits)", re.IGNORECASE)
"""What is replaced in the name of an image of SWarp, and of a drizzled one."""


class Plain(ImageFormat):
    """A file of no known form; it claims any."""

    summary = "a file of no known form"
    images = IMAGES
    noises = NOISES
    flag_planes = FLAGS
    certain = False

    def claims(self, file):
        """Any file."""
        return True

    def chips(self, file):
        """All images of the first usual name, or all that differ in a number, or the first plane."""
        named = file.named(self.images)
        # a file with noise or flags has them for each image; an image alone may lie among planes of other meaning
        if named:
            return named if len({p.version for p in named}) == len(named) else named[:1]
        first = next((NUMBERED.fullmatch(p.name) for p in file.planes), None)
        alike = [p for p in file.planes if first and (m := NUMBERED.fullmatch(p.name)) and m[1] == first[1]]
        return tuple(alike) if len(alike) == len(file.planes) > 1 else file.planes[:1]

    def beside(self, file):
        """Weights of SWarp and of drizzled images, of an image alone in its file."""
        if len(file.planes) > 1:
            return ()
        return (*beside_of(file.path, ENDING, (("weight", ".weight.fits"),)),
                *beside_of(file.path, SCIENCE, (("weight", "_wht"),)))

    def label(self, chip):
        """The HDU's name, with its version where the name has no number."""
        return chip.name if NUMBERED.fullmatch(chip.name) else super().label(chip)

    def noise(self, file, chip):
        """As `ImageFormat.noise`; astropy's UNCERT says what it is."""
        found = super().noise(file, chip)
        if found is not None and found.plane.hdu == "UNCERT":
            kind = str(found.plane.header.get("UTYPE", "")).strip()
            return replace(found, kind=UNCERTAINTIES.get(kind, found.kind))
        return found


class Nothing(Plain):
    """An image alone, whatever lies beside it."""

    summary = "an image alone"
    noises = ()
    flag_planes = ()

    def beside(self, file):
        """None."""
        return ()

    def claims(self, file):
        """None: it is asked for by name."""
        return False
