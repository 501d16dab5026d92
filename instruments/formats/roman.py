"""Images and coadds of the Wide Field Instrument of Roman, in ASDF: rates in DN/s (level 2) or MJy/sr (level 3).

The data models are those of roman_datamodels; bits are those of its module dqflags. The PSF of a field is not in these files.
"""
import math
import warnings
from contextlib import contextmanager

import numpy as np
from astropy.io import fits

from crowdsource.core import functions
from crowdsource.core.errors import DataFileError, need
from crowdsource.core.memory import check_claim
from crowdsource.io.fits import FitsImage
from crowdsource.io.hdus import UNREADABLE, existing, one_line

from .areas import area_map
from .base import ImageFormat, Noise, Plane, ab_facts, mask_bits
from .gwcs import installed, usable
from .jwst import shared
from .units import zeropoint_of

BITS = mask_bits("roman", {
    0: ("do_not_use", "bad pixel, not to be used"), 1: ("saturated", "saturated in the exposure"),
    2: ("jump_det", "a jump was found in the ramp"), 3: ("dropout", "data lost in transmission"),
    4: ("gw_affected_data", "affected by the guide window"), 5: ("persistence", "high persistence"),
    6: ("ad_floor", "below the floor of the converter"), 7: ("outlier", "differs from other exposures"),
    8: ("unreliable_error", "uncertain error"), 9: ("non_science", "not on the science part of the detector"),
    10: ("dead", "dead"), 11: ("hot", "hot"), 12: ("warm", "warm"), 13: ("low_qe", "low quantum efficiency"),
    15: ("telegraph", "telegraph noise"), 16: ("nonlinear", "highly nonlinear"),
    17: ("bad_ref_pixel", "reference pixel that cannot be used"),
    18: ("no_flat_field", "flat field cannot be measured"), 19: ("no_gain_value", "gain cannot be measured"),
    20: ("no_lin_corr", "no correction of linearity"), 21: ("no_sat_check", "no check of saturation"),
    22: ("unreliable_bias", "large variance of the bias"), 23: ("unreliable_dark", "large variance of the dark"),
    24: ("unreliable_slope", "large variance of the slope"), 25: ("unreliable_flat", "large variance of the flat field"),
    28: ("unreliable_reset", "sensitive to the reset"),
    30: ("other_bad_pixel", "bad for another reason"), 31: ("reference_pixel", "reference pixel"),
}, ("do_not_use", "non_science", "reference_pixel"), ("saturated",))
UNKNOWN = -1e5
"""Numbers below this stand for none."""
NEAR = 0.8, 1.25
"""Pixels differ in area by less than these factors from the nominal one, where that is told right."""


class Roman(ImageFormat):
    """An image or a coadd of Roman."""

    summary = "an image of Roman"
    bits = BITS

    def claims(self, file):
        """By its ending; what is in it is looked at later."""
        return file.path.suffix.lower() == ".asdf"

    def chips(self, file):
        """One."""
        with tree_of(file.path) as roman:
            return (Plane(0, "DATA", 1, tuple(roman["data"].shape), fits.Header()),)

    def image(self, file, chip):
        """The array ``data``, with a header of what is known of it."""
        return self._plane(file, "data")

    def noise(self, file, chip):
        """The array ``err``."""
        plane = self._plane(file, "err")
        return None if plane is None else Noise("rms", plane, "err")

    def flags(self, file, chip):
        """The array ``dq``, which coadds do not have."""
        plane = self._plane(file, "dq")
        return (None, "") if plane is None else (plane, "dq")

    def facts(self, file, chip, image):
        """Rates times the conversion to MJy/sr and the area of a pixel."""
        with tree_of(file.path) as roman:
            meta = roman["meta"]
            scale = _number(meta, "photometry", "conversion_megajanskys")
            area = _number(meta, "photometry", "pixel_area")
            side = _number(meta, "wcsinfo", "pixel_scale")
            wcs = usable(meta["wcs"]) if installed() and "wcs" in meta else None
            times = [meta.get(part, {}).get(name) for part, name in (("exposure", "start_time"), ("exposure", "end_time"),
                                                                     ("coadd_info", "time_mean"))]
            exptime = _number(meta, "exposure", "exposure_time") or _number(meta, "coadd_info", "exposure_time")
            drizzled = shared(_number(meta, "resample", "pixfrac"), _number(meta, "resample", "pixel_scale_ratio"))
            band = str(meta.get("instrument", {}).get("optical_element", ""))
        coadd = scale is None
        area = area or (np.deg2rad(side/3600)**2 if side else None)
        zeropoint = zeropoint_of("MJy/sr", area=area) if area else None
        if zeropoint is not None and not coadd:
            zeropoint -= 2.5*functions.log10(scale)
        dates = [t.mjd for t in times if hasattr(t, "mjd")]
        areas = None if coadd or wcs is None or not area else area_map(wcs, image.data.shape, np.rad2deg(1.)**2*area)
        if areas is not None and not NEAR[0] < np.median(areas) < NEAR[1]:
            areas = None
        return ab_facts({}, unit="MJy/sr" if coadd else "DN/s", exptime=exptime, band=band,
                        mjd=float(np.mean(dates)) if dates else np.nan, zeropoint=zeropoint, wcs=wcs, area=areas,
                        notes=(*drizzled, *(() if wcs is not None else ("no WCS: it needs the package gwcs",))))

    def _plane(self, file, name):
        """An array of the file as a FitsImage; None where there is none."""
        with tree_of(file.path) as roman:
            if name not in roman:
                return None
            values = roman[name]
            values = getattr(values, "value", values)
            check_claim(file.path, 3*math.prod(map(float, values.shape))*values.dtype.itemsize, f"its {name}")
            data = np.array(values)
        data = data.astype(np.float32) if data.dtype == np.float16 else data
        return FitsImage(file.path, name, data, fits.Header(), fits.Header())


@contextmanager
def tree_of(path):
    """What a file holds under the name ``roman``.

    Raises
    ------
    DataFileError
        When it cannot be read or is no file of Roman.
    MissingExtraError
        When asdf is not installed.
    """
    path = existing(path, "an ASDF file")
    asdf = need("asdf", "roman", "an image in ASDF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = asdf.open(path, lazy_tree=True, memmap=False)
        except UNREADABLE as problem:
            raise DataFileError(path, f"cannot be read as ASDF ({one_line(problem)}); fetch it again") from problem
        with file:
            if "roman" not in file or "data" not in file["roman"]:
                raise DataFileError(path, "holds no image of Roman; give a file of level 2 or 3")
            yield file["roman"]


def _number(meta, part, name):
    """A number of the metadata; None where there is none."""
    value = meta.get(part, {}).get(name)
    value = getattr(value, "value", value)
    return float(value) if isinstance(value, int | float | np.number) and value > UNKNOWN and value != 0 else None
