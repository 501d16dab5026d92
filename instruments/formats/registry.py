"""The table of image formats, and which one a file is of."""
import logging
from functools import lru_cache
from inspect import isabstract
from pathlib import Path

from astropy.io import fits

from crowdsource.core.errors import CrowdsourceError
from crowdsource.core.registry import Registry
from crowdsource.io.fits import planes_of

from .base import ImageFile, ImageFormat, Plane

log = logging.getLogger(__name__)
PLAIN, NONE = "plain", "none"
"""The format of files of no known form, and what a user says who wants nothing but the image."""
OWN = {
    "jwst": "crowdsource.instruments.formats.jwst:Webb",
    "hst": "crowdsource.instruments.formats.hst:Hubble",
    "rubin": "crowdsource.instruments.formats.rubin:Rubin",
    "panstarrs": "crowdsource.instruments.formats.panstarrs:PanStarrs",
    "ztf": "crowdsource.instruments.formats.ztf:ZTF",
    "des": "crowdsource.instruments.formats.des:DES",
    "decam-stack": "crowdsource.instruments.formats.des:DecamStack",
    "sdss": "crowdsource.instruments.formats.sdss:SDSS",
    "spitzer": "crowdsource.instruments.formats.spitzer:Spitzer",
    "unwise": "crowdsource.instruments.formats.unwise:UnWISE",
    "roman": "crowdsource.instruments.formats.roman:Roman",
    "euclid": "crowdsource.instruments.formats.euclid:Euclid",
    "euclid-mosaic": "crowdsource.instruments.formats.euclid:EuclidMosaic",
    PLAIN: "crowdsource.instruments.formats.plain:Plain",
    NONE: "crowdsource.instruments.formats.plain:Nothing",
}
"""What recognises any file comes last; formats of other packages are asked before all of these."""
IMAGE_FORMATS = Registry(
    "crowdsource.image_formats", "image format", OWN, contract="crowdsource.instruments.formats.base",
    keeps=lambda part: isinstance(part, type) and issubclass(part, ImageFormat) and not isabstract(part))
REMEMBERED = 4
"""Files whose headers are remembered: each chip of an exposure asks for them."""


def file_of(path):
    """An `ImageFile`. Its headers are read once.

    Raises
    ------
    DataFileError
        When it is not there, or cannot be read.
    """
    path = Path(path)
    state = path.stat() if path.is_file() else None
    return _file_of(path, state and (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=REMEMBERED)
def _file_of(path, _):
    """`_` tells one state of a file from another."""
    if path.suffix.lower() == ".asdf":
        return ImageFile(path, fits.Header(), ())
    primary, planes = planes_of(path)
    return ImageFile(path, primary, tuple(Plane(number, name or _type(header), version, shape, header)
                                          for number, name, version, shape, header in planes))


def _type(header):
    """EXTTYPE, by which LSST's software has named HDUs before it used EXTNAME."""
    return str(header.get("EXTTYPE", "")).strip().upper()


def format_of(file, name=None):
    """The format of an `ImageFile`: that of a name, else the first that claims it.

    Raises
    ------
    ConfigError
        When there is no format of that name, or one cannot be loaded.
    """
    if name is not None:
        return IMAGE_FORMATS.load(name)()
    others = [n for n in IMAGE_FORMATS.names() if n not in OWN]
    return next(f for n in (*others, *OWN) if (f := IMAGE_FORMATS.load(n)()).claims(file))


def recognised(name, asked=None):
    """The format of an image's file, and the chips that are to be fitted.

    Parameters
    ----------
    name : crowdsource.io.image_name.ImageName
        With an HDU, it is the only chip; one that the format has no image in is taken as in a file of no known form.
    asked : str, optional
        Name of a format.

    Returns
    -------
    file : ImageFile or None
        None where the file cannot be read: who reads its pixels will say so.
    file_format : ImageFormat or None
    chips : tuple of Plane
    """
    try:
        file = file_of(name.path)
    except CrowdsourceError as problem:
        log.debug("%s", problem)
        return None, None, ()
    # a plane of a cube has nothing beside it that would be its own
    found = format_of(file, asked if name.plane is None else NONE)
    chips = found.chips(file)
    if name.hdu is None:
        return file, found, chips
    chosen = tuple(p for p in chips if _is(p, name.hdu))
    if not chosen:
        chosen = tuple(p for p in file.planes if _is(p, name.hdu))
        plain = format_of(file, PLAIN)
        found = plain if asked is None and chosen and chosen[0] in plain.chips(file) else format_of(file, NONE)
    return file, found, chosen[:1]


def _is(plane, hdu):
    """Whether a plane is what a name's HDU says: a number, EXTNAME, or ``EXTNAME,EXTVER``."""
    extname, _, version = str(hdu).partition(",")
    if extname.upper() == "PRIMARY":
        return plane.number == 0
    return plane.number == hdu or (plane.name == extname.upper() and (not version or plane.version == int(version)))
