"""Images of Webb: cal, crf and i2d files of all imagers.

Bits are those of stdatamodels.jwst.datamodels.dqflags. DO_NOT_USE is the pipeline's verdict: other bits say what happened to
a pixel, as a jump in some groups that was corrected. Units: https://jwst-docs.stsci.edu, "JWST Absolute Flux Calibration".
"""
from crowdsource.io.fits import number, read_image
from crowdsource.io.image_name import ImageName

from .areas import shared_noise
from .base import ImageFormat, ab_facts, header_facts, mask_bits
from .gwcs import gwcs_of
from .units import zeropoint_of

BITS = mask_bits("jwst", {
    0: ("do_not_use", "bad pixel, not to be used"), 1: ("saturated", "saturated in the exposure"),
    2: ("jump_det", "a jump was found in the ramp"), 3: ("dropout", "data lost in transmission"),
    4: ("outlier", "differs from other exposures"), 5: ("persistence", "high persistence"),
    6: ("ad_floor", "below the floor of the converter"), 7: ("chargeloss", "charge migrated"),
    9: ("non_science", "not on the science part of the detector"), 10: ("dead", "dead"), 11: ("hot", "hot"), 12: ("warm", "warm"),
    13: ("low_qe", "low quantum efficiency"), 14: ("rc", "RC pixel"), 15: ("telegraph", "telegraph noise"),
    16: ("nonlinear", "highly nonlinear"), 17: ("bad_ref_pixel", "reference pixel that cannot be used"),
    18: ("no_flat_field", "flat field cannot be measured"), 19: ("no_gain_value", "gain cannot be measured"),
    20: ("no_lin_corr", "no correction of linearity"), 21: ("no_sat_check", "no check of saturation"),
    22: ("unreliable_bias", "large variance of the bias"), 23: ("unreliable_dark", "large variance of the dark"),
    24: ("unreliable_slope", "large variance of the slope"), 25: ("unreliable_flat", "large variance of the flat field"),
    26: ("open", "open pixel"), 27: ("adj_open", "beside an open pixel"), 28: ("flux_estimated", "flux estimated"),
    29: ("msa_failed_open", "light of a shutter that failed open"), 30: ("other_bad_pixel", "bad for another reason"),
    31: ("reference_pixel", "reference pixel"),
}, forbids=("do_not_use", "non_science", "reference_pixel"), saturated=("saturated",))


class Webb(ImageFormat):
    """A calibrated exposure or a mosaic of Webb."""

    summary = "an image of Webb"
    images = ("SCI",)
    noises = (("rms", "ERR"),)
    flag_planes = ("DQ",)
    bits = BITS

    def claims(self, file):
        """By the telescope's name and an HDU SCI."""
        return file.text("TELESCOP") == "JWST" and bool(file.named(self.images))

    def facts(self, file, chip, image):
        """Surface brightness in MJy/sr times PIXAR_SR; the map AREA says how pixels differ from that."""
        common, area = header_facts(image), file.with_image(("AREA",), chip)
        zeropoint = zeropoint_of(common["unit"], common["wcs"], number(image.header, "PIXAR_SR"))
        exptime, mjd = (next((v for k in keys for h in (image.header, file.primary) if (v := number(h, k))), None)
                        for keys in (("XPOSURE", "EFFEXPTM"), ("MJD-AVG", "EXPMID")))
        wcs = gwcs_of(file.path)
        return ab_facts(
            common, zeropoint=zeropoint, mjd=mjd or common["mjd"], exptime=exptime, band=band(file), wcs=wcs or common["wcs"],
            area=None if area is None else read_image(ImageName(file.path, area.number)).floats(),
            notes=(*(("WCS by gwcs",) if wcs else ()), *shared(*(number(file.primary, k) for k in ("PIXFRAC", "PXSCLRT")))))


def band(file):
    """The narrower of filter and pupil, both of which may hold a filter."""
    chosen, pupil = file.text("FILTER"), file.text("PUPIL")
    return pupil if pupil[:1] == "F" and pupil[1:4].isdigit() else chosen


def shared(pixfrac, ratio):
    """Half a sentence on noise that pixels of a drizzled image share; none where it is not drizzled."""
    if not (pixfrac and ratio and pixfrac > 0 and ratio > 0):
        return ()
    pixels, _ = shared_noise(pixfrac, ratio)
    return (f"drizzled (pixfrac {pixfrac:g}, pixels of {ratio:g}): neighbours share noise, a star's is up to {pixels:.2g} times "
            "what single pixels scatter; ERR is taken as it is",)
