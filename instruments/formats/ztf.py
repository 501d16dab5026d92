"""Images of the Zwicky Transient Facility, with masks, and uncertainties of reference images, beside them.

Bits and keywords: "ZTF Science Data System Explanatory Supplement", section 10, and the package ztfimg, ``science.py``; MAGZP is
on the AB scale of Pan-STARRS1. Halos of bright stars, which that package masks, are used: they are sky.
"""
import re

from crowdsource.io.fits import number

from .base import ImageFormat, ab_facts, beside_of, header_facts, mask_bits

NAME = re.compile(r"(sci|ref)img", re.IGNORECASE)
BITS = mask_bits("ztf", {
    0: ("track", "track of an aircraft or a satellite"), 1: ("detected", "SExtractor found a source"),
    2: ("low_response", "low responsivity"), 3: ("high_response", "high responsivity"), 4: ("noisy", "noisy"),
    5: ("ghost", "ghost of a bright source"), 6: ("spillage", "spilt charge"),
    7: ("spike", "spike of a pixel, perhaps by radiation"),
    8: ("saturated", "saturated"), 9: ("dead", "dead"), 10: ("nan", "not a number"),
    11: ("psf_source", "holds the position of a source"), 12: ("halo", "halo of a bright source"),
    16: ("no_data", "no data, by resampling"),
}, ("track", "low_response", "high_response", "noisy", "ghost", "spillage", "spike", "saturated", "dead", "nan", "no_data"),
    ("saturated",))


class ZTF(ImageFormat):
    """A science or reference image of ZTF."""

    summary = "an image of ZTF"
    bits = BITS

    def claims(self, file):
        """By the observatory's words, or the instrument's."""
        headers = [file.primary, *(p.header for p in file.planes[:1])]
        said = {str(h.get(k, "")).strip().upper() for h in headers for k in ("ORIGIN", "INSTRUME")}
        return bool(file.planes) and bool(said & {"ZWICKY TRANSIENT FACILITY", "ZTF/MOSAIC"})

    def beside(self, file):
        """``mskimg`` of a science image, ``refunc`` of a reference image."""
        kind = (("flags", "mskimg"),) if "sciimg" in file.path.name else (("rms", "refunc"),)
        return beside_of(file.path, NAME, kind)

    def facts(self, file, chip, image):
        """MAGZP is that of the whole exposure, OBSMJD its start, READNOI the noise of reading."""
        common = header_facts(image)
        start, readnoise = (number(image.header, k) for k in ("OBSMJD", "READNOI"))
        mjd = common["mjd"] if start is None else start+(common["exptime"] or 0.)/86400/2
        return ab_facts(common, mjd=mjd, readnoise=common["readnoise"] if readnoise is None else readnoise)
