"""The first look at an image: its bright stars, by which it is registered, and its units."""
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ..core.errors import DataFileError
from ..io.atomic import atomic_path
from ..io.hdus import opened
from ..io.tables import plain
from .register import StarList

STARS = "STARS"


@dataclass(frozen=True, eq=False, kw_only=True)
class FirstLook:
    """What an image alone shows.

    Attributes
    ----------
    stars : crowdsource.joint.register.StarList
    band, unit : str
    zeropoint : float
    mjd : float
        NaN where it is not known.
    """

    stars: StarList
    band: str
    unit: str
    zeropoint: float
    mjd: float

    @classmethod
    def at(cls, source, passes):
        """Of a source of images, after some passes of a search.

        Parameters
        ----------
        source : crowdsource.joint.loop.ImageSource
        passes : int

        Raises
        ------
        CrowdsourceError
            When it cannot be read or shows no stars.
        """
        state = source.fitted_alone(passes)
        image = state.image
        return cls(stars=StarList.of(state), band=image.band, unit=image.meta.get("unit", ""), zeropoint=image.zeropoint,
                   mjd=float(image.mjd))

    def write(self, path):
        """Write into a FITS file: world coordinates with their tables, then the stars."""
        s = self.stars
        hdus = fits.HDUList([fits.PrimaryHDU()]) if s.wcs is None else s.wcs.to_fits(relax=True)
        hdu = fits.table_to_hdu(Table({n: getattr(s, n) for n in ("x", "y", "flux", "error")}))
        hdu.name = STARS
        (ny, nx), (x0, y0) = s.shape, s.origin
        zeropoint, mjd = (float(v) if np.isfinite(v) else None for v in (self.zeropoint, self.mjd))
        for keyword, value in (("FWHM", s.fwhm), ("NX", nx), ("NY", ny), ("X0", x0), ("Y0", y0), ("WORLD", s.wcs is not None),
                               ("BAND", self.band), ("FUNIT", self.unit), ("ZEROPT", zeropoint), ("MJD", mjd)):
            hdu.header[keyword] = value
        with atomic_path(path, overwrite=True) as temporary:
            fits.HDUList([*hdus, hdu]).writeto(temporary)

    @classmethod
    def read(cls, path):
        """What `write` wrote.

        Raises
        ------
        DataFileError
            When the file is damaged.
        """
        from astropy.wcs import WCS
        with opened(path) as hdus:
            try:
                header, rows = hdus[STARS].header, Table.read(hdus[STARS])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    wcs = WCS(hdus[0].header, hdus) if header["WORLD"] else None
                columns = {n: np.asarray(plain(rows[n]), float) for n in ("x", "y", "flux", "error")}
                stars = StarList(**columns, fwhm=header["FWHM"], wcs=wcs, shape=(header["NY"], header["NX"]),
                                 origin=(header["X0"], header["Y0"]))
                zeropoint, mjd = (v if isinstance(v, float | int) else np.nan for v in (header["ZEROPT"], header["MJD"]))
                return cls(stars=stars, band=header["BAND"], unit=header["FUNIT"], zeropoint=zeropoint, mjd=mjd)
            except (KeyError, ValueError, TypeError) as problem:
                raise DataFileError(path, f"is no first look at an image ({problem}); remove it and run again") from problem
