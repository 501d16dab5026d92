"""Small catalogs as the commands write them, of known detections, for tests of the store."""
import numpy as np
from astropy.io import fits
from astropy.table import Table

from crowdsource.engine.schema import columns_of, make_catalog
from crowdsource.io.fits_tables import table_hdu

SCALE = 0.26


def rows(n, seed=0, ra=150., dec=2., width=0.2, image=1, columns=()):
    """A catalog of n detections, with all columns of the schema, in a square (degrees) about a position.

    Identifiers are ``image << 32 | row``; `columns` are further ones, by name.
    """
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-0.5, 0.5, (2, n))*width
    values = {c.name: rng.normal(1000, 100, n).astype(c.dtype) for c in columns_of(False, True, True)}
    values.update(x=-east*3600/SCALE, y=north*3600/SCALE, ra=(ra+east/np.cos(np.radians(dec))) % 360, dec=dec+north,
                  detection_id=np.int64(image) << 32 | np.arange(n), flags=np.zeros(n), psf_star=rng.random(n) < 0.1)
    table = Table(make_catalog(values, "adu", forced=False, world=True, magnitude=True))
    for name, column in dict(columns).items():
        table[name] = column
    return table


def image_header(band="r", zeropoint=25., system="AB", mjd=57000.5, **cards):
    """The header of an image, with world coordinates, as a catalog has it."""
    header = fits.Header(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150., CRVAL2=2., CRPIX1=1., CRPIX2=1.,
                              CD1_1=-SCALE/3600, CD1_2=0., CD2_1=0., CD2_2=SCALE/3600, FILTER=band))
    header["MJD-MID"] = mjd
    if zeropoint is not None:
        header["ZPCRWD"] = (zeropoint, f"zero point of mag, {system or 'system not known'}")
    header.update(cards)
    return header


def write_catalog(path, tables, exposure="exp1", instrument="generic", header=None, **stated):
    """A FITS catalog; `tables` is one table, or one by detector; `stated` are more cards of the primary header.

    Without ``MAGSYS`` among these it is one as earlier versions wrote them. Returns the path.
    """
    tables = tables if isinstance(tables, dict) else {"": tables}
    header = image_header() if header is None else header
    primary = fits.PrimaryHDU()
    primary.header.update(dict(ORIGIN="crowdsource", INSTRUME=instrument, EXPOSURE=exposure, **stated))
    hdus = [primary]
    for detector, table in tables.items():
        before = detector+"_" if detector else ""
        hdus += [fits.ImageHDU(header=header, name=before+"HDR"), table_hdu(table, before+"CAT")]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
