"""Coadds of unWISE: inverse variances, or standard deviations, and masks in files beside the image.

Lang 2014 (AJ 147, 108); Meisner et al. 2019 (PASP 131, 124504) for the masks. Pixels are Vega nanomaggies; AB is Vega and the
offsets of the WISE Explanatory Supplement, section IV.4.h. ``crowdsource wise`` reads the same files, knows their PSF as well,
and gives Vega magnitudes.
"""
from dataclasses import replace

import numpy as np

from crowdsource.io.fits import number

from ..wise.bits import FLAGS, flags_of
from ..wise.names import IMAGE
from ..wise.noise import FLOOR, full_ivar
from .base import RESAMPLED, Facts, ImageFormat, MaskBits, beside_of, header_facts

TO_AB = {1: 2.699, 2: 3.339, 3: 5.174, 4: 6.620}
VEGA = 22.5


class UnWISE(ImageFormat):
    """A coadd of unWISE."""

    summary = "a coadd of unWISE"
    bits = MaskBits(FLAGS, FLAGS.saturation, FLAGS.saturation)

    def claims(self, file):
        """By its name."""
        return bool(file.planes) and IMAGE.search(file.path.name) is not None

    def beside(self, file):
        """``invvar-m``, ``std-m`` and ``msk``."""
        coadd, band = IMAGE.search(file.path.name).groups()[:2]
        names = (("ivar", f"unwise-{coadd}-w{band}-invvar-m.fits"), ("rms", f"unwise-{coadd}-w{band}-std-m.fits"),
                 ("flags", f"unwise-{coadd}-msk.fits"))
        return beside_of(file.path, IMAGE, names)

    def noise(self, file, chip):
        """Inverse variances with the noise that they leave out."""
        found, band = super().noise(file, chip), _band(file)
        if found is None or found.kind != "ivar" or band not in FLOOR:
            return found
        whole = full_ivar(self.image(file, chip).data, found.plane.data, band)
        return replace(found, plane=replace(found.plane, data=whole.astype(np.float32)),
                       said=f"{found.said}, with the noise that it leaves out")

    def flags(self, file, chip):
        """Bits of either band under one name; see `crowdsource.instruments.wise.bits`."""
        plane, said = super().flags(file, chip)
        if plane is None or _band(file) not in FLOOR:
            return None, ""
        return replace(plane, data=flags_of(plane.flags(), _band(file))[0]), said

    def facts(self, file, chip, image):
        """Vega nanomaggies, in AB magnitudes."""
        common, band, zeropoint = header_facts(image), _band(file), number(image.header, "MAGZP")
        dates = [number(image.header, k) for k in ("MJDMIN", "MJDMAX")]
        if common["wcs"] is not None and not image.header.get("RADESYS"):
            # coadds lie on the stars of 2MASS, which are in the ICRS; their headers give an equinox only, which would mean FK5
            common["wcs"].wcs.radesys = "ICRS"
        return Facts(**{**common, "unit": "Vega nanomaggies", "gain": None, "band": f"W{band}", "magnitude_system": "AB",
                        "zeropoint": (VEGA if zeropoint is None else zeropoint)+TO_AB[band],
                        "mjd": common["mjd"] if None in dates else float(np.mean(dates)),
                        "notes": (RESAMPLED, "crowdsource wise knows the PSF as well")})


def _band(file):
    return int(IMAGE.search(file.path.name)[2])
