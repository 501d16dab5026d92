"""Small skies for tests: detections of a few stars in a few images."""
import numpy as np

from crowdsource.survey.healpix import SPATIAL_INDEX, index_of
from crowdsource.survey.objects.pixel_objects import ImageCalibrations, ObjectsConfig, make_objects

SCALE = 0.25
"""Of a pixel, arcsec."""
FIELDS = [(SPATIAL_INDEX, "i8"), ("source", "i4"), ("detection_id", "i8"), ("ra", "f8"), ("dec", "f8"), ("flux", "f8"),
          ("dflux", "f4"),
          ("dx", "f4"), ("dy", "f4"), ("fwhm", "f4"), ("qf", "f4"), ("rchi2", "f4"), ("fracflux", "f4"), ("flags", "i8"),
          ("primary", "?")]
GOOD = dict(flux=100., dflux=1., dx=0.1, dy=0.1, fwhm=4., qf=1., rchi2=1., fracflux=1., flags=0, primary=True)


def detections(source, ra, dec, **values):
    """Rows of one image; ra and dec in degrees, positions and all else as `GOOD` where not given."""
    ra, dec = np.atleast_1d(ra), np.atleast_1d(dec)
    rows = np.zeros(len(ra), FIELDS)
    rows["ra"], rows["dec"], rows["source"] = np.mod(ra, 360), dec, source
    rows["detection_id"] = (np.int64(source)+1 << np.int64(32))+np.arange(len(ra))
    rows[SPATIAL_INDEX] = index_of(rows["ra"], rows["dec"])
    for name, value in {**GOOD, **values}.items():
        rows[name] = value
    return rows


def catalogs(number, band=None, visit=None, zeropoint=22.5, mjd=None, bands=(("r", "AB"),)):
    """What is known of some images: each an exposure of its own in one band where nothing else is said."""
    band = np.zeros(number) if band is None else band
    visit = np.arange(number) if visit is None else visit
    mjd = 55000.+np.arange(number) if mjd is None else mjd
    return ImageCalibrations(band=np.asarray(band, np.int32), visit=np.asarray(visit, np.int32), mjd=np.asarray(mjd, float),
                             zeropoint=np.broadcast_to(np.float64(zeropoint), number), pixel_scale=np.full(number, SCALE),
                             bands=bands)


def sky(tables, known=None, config=None, earlier=None):
    """Objects, members and changes of some tables."""
    made = make_objects(tables, catalogs(len(tables)) if known is None else known, config or ObjectsConfig(), earlier)
    return made.objects, made.members, made.changes
