"""Mosaics of Spitzer, of IRAC and MIPS: surface brightness in MJy/sr, with uncertainties and coverage in files beside them.

Names: IRAC and MIPS Instrument Handbooks, "Post-BCD products". A mosaic is an ensemble product with a number of its own,
``SPITZER_I1_4416768_0000_7_E8348771_maic.fits``, and those that go with it are ancillary ones with other numbers,
``..._7_A42446624_munc.fits`` and ``..._7_A42446625_mcov.fits``; with ``_msaic`` go ``_msunc`` and ``_mscov``. With an enhanced
product, ``50072211.50072211-21.IRAC.1.mosaic.fits``, go ``.unc.fits`` and ``.cov.fits``; MOPEX writes ``mosaic_unc.fits``.
"""
import re

from .base import RESAMPLED, Facts, ImageFormat, Noise, beside_of, header_facts, only_one

COADD = re.compile(r"(?P<observation>SPITZER_[IM]\d_\d+_\d+_\d+)_[EA]\d+_(?P<kind>ms?)aic(?P<short>s?)(?=\.fits)", re.IGNORECASE)
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
        """Uncertainties, and coverage: of a mosaic of the archive by its observation, of ``_mosaic`` those with its name."""
        return (*_ancillary(file.path), *beside_of(file.path, MOSAIC, (
            ("rms", r"\1mosaic_unc"), ("rms", r"\1unc"), ("weight", r"\1mosaic_cov"), ("weight", r"\1cov"))))

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


def _ancillary(path):
    """Kind and path of the uncertainties and the coverage of a mosaic of the archive."""
    name = COADD.match(path.name)
    if name is None:
        return ()
    found = ((kind, only_one(path.parent, f"{name['observation']}_[EA]*_{name['kind']}{word}{name['short']}.fits*"))
             for kind, word in (("rms", "unc"), ("weight", "cov")))
    return tuple((kind, other) for kind, other in found if other is not None)
