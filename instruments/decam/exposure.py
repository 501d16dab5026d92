"""Reading exposures of DECam: one CCD at a time, from its image, inverse variance and data-quality planes."""
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import DetectorTask, Exposure
from crowdsource.io.fits import number, read_image
from crowdsource.io.image_name import ImageName

from .bits import FLAGS, HARMLESS, decoded
from .layout import SHAPE
from .names import stem
from .seam import CORRECTED, UNSTABLE, seam_step
from .static_mask import static_mask

log = logging.getLogger(__name__)
ODD_FWHM = 1.5
"""A header's FWHM that differs from the median of the exposure's CCDs by more than this factor is not believed."""
EXPOSURES, NUMBERS = 1 << 24, 1 << 7
"""Numbers of exposures and of CCDs are below these, for which the detections' identifiers have room."""


@dataclass(frozen=True, kw_only=True)
class DecamExposure(Exposure):
    """The files of an exposure.

    Attributes
    ----------
    image : Path
    weight, dq : crowdsource.io.fits.ImageName
        Of the other planes; without an HDU it is that of the CCD's name.
    options : tuple of (str, object)
    identity : str
        Number of the exposure, as the telescope counts.
    inputs : tuple of Path
    ccds : tuple of str
        Those to be fitted, in the file's order.
    headers_fwhm : mapping of str to float
        FWHM in the header of each CCD of the file, pixels; NaN where it has none.
    """

    image: Path
    weight: ImageName
    dq: ImageName
    options: tuple
    identity: str
    inputs: tuple
    ccds: tuple
    headers_fwhm: dict

    @property
    def label(self):
        """The image's name without its ending."""
        return stem(self.image)

    def tasks(self):
        """One for each CCD, in the file's order."""
        return tuple(DetectorTask(name, np.prod(SHAPE)/1e6) for name in self.ccds)

    def read(self, task):
        """The Image of a CCD; see `Exposure.read`."""
        name, o = task.detector, dict(self.options)
        image = read_image(ImageName(self.image, name))
        weight, dq = (read_image(p if p.hdu is not None else ImageName(p.path, name)) for p in (self.weight, self.dq))
        shape, data = image.data.shape, image.floats()
        ivar, bits = _trimmed(weight, weight.floats(), shape), _bits(dq, name, shape, o["badpix"])
        bad = (bits & ~np.uint32(HARMLESS) > 0) | ~np.isfinite(data) | ~(ivar > o["wcutoff"])
        if name == UNSTABLE:
            _steady(data, bits, bad, corrected=image.header.get(CORRECTED))
        mask = np.where(bits & FLAGS.saturated, ENGINE.saturated, 0).astype(np.uint16)
        meta = dict(fwhm=self.fwhm(name), expnum=exposure_number(image.primary), ccdnum=_counted(image.header, "CCDNUM", NUMBERS),
                    unit=str(image.header.get("BUNIT") or "adu").strip(), header=image.header, primary=image.primary, options=o,
                    zeropoint_calibrated=False)
        try:
            return Image.from_arrays(data, np.where(bad, 0, ivar), dq=bits, mask=mask, bad=bad, exposure=self.identity,
                                     detector=name, meta=meta, copy=False, gain=_gain(data, ivar, ~bad), **_facts(image))
        except InputError as problem:
            raise DataFileError(image.path, str(problem), name) from problem

    def fwhm(self, name):
        """FWHM of a CCD in pixels from its header, the median of all where it is absent or odd; None where no CCD has one."""
        values = np.array(list(self.headers_fwhm.values()))
        known = values[np.isfinite(values) & (values > 0)]
        if not len(known):
            return None
        own, median = self.headers_fwhm[name], float(np.median(known))
        return float(own) if median/ODD_FWHM < own < median*ODD_FWHM else median


def _bits(plane, ccd, shape, badpix):
    """Flags of a CCD's pixels from its data-quality plane and a user's static mask."""
    flags = _trimmed(plane, plane.flags(), shape)
    bits = decoded(flags, plane.primary.get("PLVER", plane.header.get("PLVER")))
    if badpix:
        bits[static_mask(badpix, ccd, shape)] |= np.uint32(FLAGS.badpix)
    return bits


def _steady(data, bits, bad, corrected):
    """Flag the unstable half of S7 and subtract its step, in place, unless that is done already."""
    half = np.s_[:, data.shape[1]//2:]
    bits[half] |= np.uint32(FLAGS.s7unstable)
    if not corrected:
        step = seam_step(data, ~bad)
        data[half] -= step[:, None].astype(np.float32)
        log.info("S7: right half lowered by %.2f to %.2f", step[0], step[-1])


def _gain(data, ivar, good):
    """Electrons per unit, as the median of image times inverse variance; NaN where it is no gain."""
    with np.errstate(over="ignore"):
        gain = float(np.median(data[good]*ivar[good])) if good.any() else np.nan
    return gain if 0 < gain < np.inf else np.nan


def _facts(image):
    """What an Image knows from the headers."""
    zeropoint = image.value("zeropoint")
    return dict(wcs=image.wcs(), band=band_of(image), mjd=image.mjd(), exptime=image.value("exptime") or np.nan,
                zeropoint=np.nan if zeropoint is None else zeropoint)


def band_of(image):
    """The filter's letter from a header such as ``z DECam SDSS c0004 9260.0 1520.0``; its first word where it is none of them."""
    words = (image.value("band", str) or "").split()
    return words[0] if words else ""


def exposure_number(header):
    """EXPNUM of a header; 0 where there is none that identifiers have room for."""
    return _counted(header, "EXPNUM", EXPOSURES)


def _counted(header, keyword, end):
    """A header's whole number from 0 to below `end`, which may be written as text; 0 where it is none of these."""
    value = number(header, keyword)
    return int(value) if value is not None and 0 <= value < end else 0


def _trimmed(plane, pixels, shape):
    """The pixels of a plane that go with the image: some planes have a rim of one pixel more on each side."""
    extra = np.subtract(pixels.shape, shape)
    if (extra == 0).all():
        return pixels
    if (extra == 2).all():
        return pixels[1:-1, 1:-1]
    raise DataFileError(plane.path, f"has shape {plane.data.shape} but the image has {shape}; give the planes of one exposure",
                        plane.hdu)
