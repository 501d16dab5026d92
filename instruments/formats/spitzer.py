"""Mosaics of Spitzer, of IRAC and MIPS: surface brightness in MJy/sr, with uncertainties and coverage in files beside them.

IRAC Instrument Handbook, section 6; names are those of its archive, of the pipeline's mosaics and of the enhanced products.
"""
import re

from .base import RESAMPLED, Facts, ImageFormat, Noise, beside_of, header_facts

COADD = re.compile(r"_maic(?=\.fits)", re.IGNORECASE)
MOSAIC = re.compile(r"([._])mosaic(?=\.fits)", re.IGNORECASE)


class Spitzer(ImageFormat):
    """A mosaic of Spitzer."""

    summary = "a mosaic of Spitzer"

    def claims(self, file):
        """By the telescope's name and the unit, or a mosaic's name."""
        header = file.planes[0].header if file.planes else {}
        unit = str(header.get("BUNIT", file.primary.get("BUNIT", ""))).strip()
        return unit == "MJy/sr" and (file.text("TELESCOP") == "SPITZER" or str(header.get("TELESCOP", "")).upper() == "SPITZER")

    def beside(self, file):
        """Uncertainties, and coverage: ``_munc``, ``_mcov`` of ``_maic``; ``_mosaic_unc``, ``_mosaic_cov`` of ``_mosaic``."""
        return (*beside_of(file.path, COADD, (("rms", "_munc"), ("weight", "_mcov"))),
                *beside_of(file.path, MOSAIC, (("rms", r"\1mosaic_unc"), ("weight", r"\1mosaic_cov"))))

    def noise(self, file, chip):
        """As `ImageFormat.noise`; coverage is a weight on some scale."""
        found = super().noise(file, chip)
        return found if found is None or found.kind == "rms" else Noise("weight", found.plane, f"coverage, {found.said}")

    def facts(self, file, chip, image):
        """The area of a pixel is that of the world coordinates; GAIN is that of the detector's counts, and no concern here."""
        common, channel = header_facts(image), str(image.header.get("CHNLNUM", "")).strip()
        instrument = str(image.header.get("INSTRUME", file.primary.get("INSTRUME", ""))).strip()
        return Facts(**{**common, "band": common["band"] or f"{instrument}{channel}", "saturation": None,
                        "notes": (RESAMPLED,)})
