"""Images of Hubble: flt and flc exposures with all their chips, and drizzled drz and drc images.

Bits by instrument: hstcal's headers ``acsdq.h``, ``wf3dq.h`` and ``stisdq.h``, https://www.stsci.edu, "ACS Data Quality Flags",
and WFPC2 Data Handbook, table 3.4.
Which exclude a pixel: those that drizzlepac's ``svm_parameters`` do not count as good (final_bits 336 of ACS and UVIS, 528 of
the infrared, 1024 of WFPC2), and saturation. Magnitudes from PHOTFLAM and PHOTPLAM:
AB = -2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408 for a unit per second (ACS Data Handbook, section 5.1).
"""
import logging
from dataclasses import replace

import numpy as np

from crowdsource.core import functions
from crowdsource.io.fits import number

from .areas import area_map, shared_noise
from .base import ANY_BIT, ImageFormat, ab_facts, header_facts, mask_bits
from .units import pixel_area

log = logging.getLogger(__name__)
COMMON = {
    0: ("lost", "lost in compression or transmission"), 1: ("filled", "replaced by a fill value"),
    2: ("badpix", "bad pixel of the detector, or off the aperture"), 4: ("hot", "hot"), 7: ("badcol", "bad column or bias"),
    8: ("saturated", "full well saturated"), 9: ("badref", "bad in a reference file, a flat field above all"),
    12: ("crdriz", "cosmic ray by comparison with other exposures"),
}
CCD = {**COMMON, 3: ("masked", "behind an aperture feature"), 5: ("unstable", "unstable pixel"), 6: ("warm", "warm"),
       10: ("trap", "charge trap"), 11: ("atodsat", "analog to digital converter saturated"),
       13: ("crrej", "cosmic ray by combination of exposures"), 14: ("user", "flagged by hand")}
IR = {**COMMON, 3: ("deviant", "deviant zero read"), 5: ("unstable", "unstable pixel"), 6: ("warm", "warm"),
      10: ("spike", "spike in the ramp"), 11: ("zerosig", "signal in the zero read, corrected"),
      13: ("ramp", "a cosmic ray in the ramp, corrected"), 14: ("ghost", "ghost or crosstalk")}
ALWAYS = "lost", "filled", "badpix", "badcol", "saturated", "crdriz", "unstable"
# hot and warm pixels are stable, and their dark current is subtracted
OF_CCD = mask_bits("hst", CCD, (*ALWAYS, "masked", "badref", "trap", "atodsat", "crrej", "user"), ("saturated", "atodsat"))
# blobs on the flat field are corrected, and a signal in the zero read is that of a bright star
OF_IR = mask_bits("hst", IR, (*ALWAYS, "deviant"), ("saturated",))
# calstis itself works on with small blemishes
OF_STIS = mask_bits("hst", {
    **{k: COMMON[k] for k in (0, 1, 2, 4, 8, 9, 12)}, 3: ("masked", "behind an aperture feature"),
    5: ("blemish", "large blemish"), 7: ("overscan", "overscan"), 10: ("small_blemish", "small blemish"),
    13: ("crrej", "cosmic ray by combination of exposures"),
    14: ("no_cti", "transfer of charge not corrected"),
}, ("lost", "filled", "badpix", "masked", "hot", "blemish", "overscan", "saturated", "badref", "crdriz", "crrej"), ("saturated",))
OF_WFPC2 = mask_bits("hst", {
    0: ("lost", "lost in transmission"), 1: ("badref", "flagged in a reference file"), 2: ("defect", "defect of the camera"),
    3: ("saturated", "saturated at the converter"), 4: ("missing", "missing"), 5: ("badpix", "bad for another reason"),
    7: ("trap", "charge trap"), 8: ("above_trap", "above a charge trap"), 9: ("warm", "warm"), 10: ("repaired", "warm, repaired"),
    11: ("masked", "on a chip that is masked"), 12: ("crdriz", "cosmic ray by comparison with other exposures"),
}, ("lost", "badref", "defect", "saturated", "missing", "badpix", "trap", "above_trap", "warm", "masked", "crdriz"),
    ("saturated",))
WHOLE = {"WFPC2": OF_WFPC2, "STIS": OF_STIS}
"""Instruments all of whose detectors have the same bits."""
KNOWN = {("ACS", "WFC"): OF_CCD, ("ACS", "HRC"): OF_CCD, ("WFC3", "UVIS"): OF_CCD, ("WFC3", "IR"): OF_IR}


class Hubble(ImageFormat):
    """An exposure or a drizzled image of Hubble."""

    summary = "an image of Hubble"
    images = ("SCI",)
    noises = (("rms", "ERR"), ("weight", "WHT"))
    flag_planes = ("DQ",)

    def claims(self, file):
        """By the telescope's name and an HDU SCI."""
        return file.text("TELESCOP") == "HST" and bool(file.named(self.images))

    def noise(self, file, chip):
        """Errors of an exposure; weights of a drizzled image, whose scale the image tells, with noise that pixels share."""
        if file.text("INSTRUME") == "WFPC2" and not file.named(("WHT",)):
            # drizzlepac's wfpc2_to_flt writes the root of the counts, whatever the gain and the noise of reading
            return None
        found, drizzled = super().noise(file, chip), _drizzled(file)
        return replace(found, factor=drizzled[1]) if found is not None and found.kind == "weight" else found

    def bits_of(self, flags):
        """By instrument and channel."""
        instrument, detector = (str(flags.primary.get(k, "")).strip().upper() for k in ("INSTRUME", "DETECTOR"))
        return WHOLE.get(instrument) or KNOWN.get((instrument, detector), ANY_BIT)

    def facts(self, file, chip, image):
        """A zero point by PHOTFLAM for a unit per second, or for the exposure; areas of pixels that are not drizzled."""
        common, exptime = header_facts(image), image.value("exptime")
        zeropoint = _zeropoint(image, common["unit"], exptime)
        dates = [number(file.primary, k) for k in ("EXPSTART", "EXPEND")]
        exposure = not file.named(("WHT",))
        area = _areas(common["wcs"], image) if exposure else None
        notes = () if exposure else _told(file)
        return ab_facts(common, zeropoint=zeropoint, area=area, mjd=common["mjd"] if None in dates else float(np.mean(dates)),
                        band=_band(file), notes=notes)


def _zeropoint(image, unit, exptime):
    """AB magnitude of one unit; None where the header does not tell it."""
    flam, pivot = (number(image.header, k) or number(image.primary, k) for k in ("PHOTFLAM", "PHOTPLAM"))
    if not (flam and pivot and flam > 0 and pivot > 0):
        return None
    zeropoint = float(-2.5*functions.log10(flam)-5*functions.log10(pivot)-2.408)
    if unit.upper().replace(" ", "").endswith("/S"):
        return zeropoint
    return zeropoint+2.5*functions.log10(exptime) if exptime else None


def _areas(wcs, image):
    """The map of pixel areas of an exposure, in units of the nominal pixel for which PHOTFLAM holds."""
    if wcs is None or not wcs.has_distortion:
        return None
    scale = number(image.header, "IDCSCALE")
    nominal = (scale/3600)**2 if scale else pixel_area(wcs)/np.deg2rad(1.)**2
    return area_map(wcs, image.data.shape, nominal)


def _drizzled(file):
    """For how much the noise of a drizzled image is shared; see `shared_noise`."""
    pixfrac, out, own = (number(file.primary, k) for k in ("D001PIXF", "D001SCAL", "D001ISCL"))
    if not pixfrac or file.text("D001KERN") == "POINT":
        return 1., 1.
    return shared_noise(pixfrac, out/own if out and own else 1.)


def _told(file):
    """Half a sentence on how much noise is shared."""
    pixels, _ = _drizzled(file)
    return () if pixels < 1.05 else (
        f"drizzled: neighbours share noise, errors are those of stars, {pixels:.2g} times what single pixels scatter",)


def _band(file):
    """The filter of an instrument with one or two wheels."""
    # FILTER1 of WFPC2 is a number
    wheels = [file.text(k) for k in ("FILTER", "FILTNAM1", "FILTNAM2", "FILTER1", "FILTER2")]
    return next((w for w in wheels if w and not w.startswith(("CLEAR", "N/A"))), "")
