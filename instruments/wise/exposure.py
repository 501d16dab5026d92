"""Reading tiles of unWISE coadds: one band, from its image, inverse variance, numbers of exposures and mask."""
from dataclasses import dataclass

import numpy as np

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import DetectorTask, Exposure
from crowdsource.io.fits import covers, number, read_image
from crowdsource.io.image_name import ImageName

from .atlas import SIDE, atlas
from .bits import FLAGS, flags_of
from .noise import crowd_saturated, full_ivar

ZEROPOINT = 22.5
"""Vega magnitude of one unit of flux."""
MOST_EXPOSURES = 1e9
"""Numbers of exposures above this are read as this, for which int32 has room."""


@dataclass(frozen=True, kw_only=True)
class WiseExposure(Exposure):
    """The files of a tile in one band.

    Attributes
    ----------
    files : tuple of (str, Path or None)
        By kind.
    options : tuple of (str, object)
    coadd : str
    band : int
    epoch : int or None
    """

    files: tuple
    options: tuple
    coadd: str
    band: int
    epoch: int

    @property
    def identity(self):
        """Tile, band and epoch."""
        return f"{self.coadd}w{self.band}"+("" if self.epoch is None else f"e{self.epoch:03d}")

    @property
    def inputs(self):
        """The files that are there."""
        return tuple(path for _, path in self.files if path is not None)

    def tasks(self):
        """One."""
        return (DetectorTask("", SIDE*SIDE/1e6),)

    def read(self, task):
        """The Image; see `Exposure.read`."""
        found = dict(self.files)
        image = read_image(ImageName(found["img-m"], None))
        shape, wcs = image.data.shape, image.wcs()
        if wcs is None or not covers(wcs, shape):
            raise DataFileError(image.path, "has no celestial WCS for all of its pixels, which says how the scans passed; "
                                "fetch it again", image.hdu)
        if not image.header.get("RADESYS"):
            # coadds lie on the stars of 2MASS, which are in the ICRS; their headers give an equinox only, which would mean FK5
            wcs.wcs.radesys = "ICRS"
        data, ivar = image.floats(), _plane(found["invvar-m"], shape).floats()
        seen = _counts(_plane(found["n-m"], shape))
        looked = seen if found["n-u"] is None else _counts(_plane(found["n-u"], shape))
        bits = np.zeros(shape, np.uint32) if found["msk"] is None else _plane(found["msk"], shape).flags()
        dq, mask = flags_of(bits, self.band)
        saturated = crowd_saturated(data, bits, (seen, looked), self.band)
        dq[saturated] |= np.uint32(FLAGS.crowdsat)
        mask[saturated] |= ENGINE.saturated
        ivar = np.where(saturated, 0, full_ivar(data, ivar, self.band)).astype(np.float32)
        meta = dict(header=image.header, options=dict(self.options), zeropoint_calibrated=True, coadd=self.coadd,
                    band=self.band, tile=atlas().index(self.coadd), epoch=self.epoch, seen=seen, looked=looked,
                    unit=str(image.header.get("BUNIT") or "Vega nanomaggies").strip())
        try:
            return Image.from_arrays(data, ivar, dq, mask, bad=ivar == 0, wcs=wcs, band=f"W{self.band}", magnitude_system="Vega",
                                     meta=meta, exposure=self.identity, copy=False, **_facts(image.header))
        except InputError as problem:
            raise DataFileError(image.path, str(problem), image.hdu) from problem


def _facts(header):
    """Zero point and date by the image's header."""
    dates = [number(header, key) for key in ("MJDMIN", "MJDMAX")]
    zeropoint = number(header, "MAGZP")
    return dict(zeropoint=ZEROPOINT if zeropoint is None else zeropoint,
                mjd=np.nan if None in dates else float(np.mean(dates)))


def _plane(path, shape):
    """A plane as a FitsImage; an error where its shape is not the image's."""
    plane = read_image(ImageName(path, None))
    if plane.data.shape != shape:
        raise DataFileError(path, f"has shape {plane.data.shape} but the image has {shape}; give the files of one tile",
                            plane.hdu)
    return plane


def _counts(plane):
    """A plane's numbers of exposures, int32; 0 where it holds none."""
    values = plane.floats()
    return np.where(values > 0, np.minimum(values, MOST_EXPOSURES), 0).astype(np.int32)
