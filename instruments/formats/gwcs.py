"""World coordinates that a generalised WCS tells, in ASDF: inside of a FITS file, or in a file of its own."""
import io
import logging
import warnings

from crowdsource.core.errors import need
from crowdsource.io.hdus import UNREADABLE, one_line, opened

log = logging.getLogger(__name__)


def gwcs_of(path):
    """The WCS in the HDU ASDF of a FITS file; None where there is none, or asdf and gwcs are not installed.

    Parameters
    ----------
    path : path-like
    """
    with opened(path) as hdus:
        if "ASDF" not in hdus or not installed():
            return None
        content = hdus["ASDF"].data[0][0].tobytes()
    asdf = need("asdf", "roman", "generalised world coordinates")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with asdf.open(io.BytesIO(content), lazy_tree=True, memmap=False) as file:
                return usable(file["meta"]["wcs"])
    except UNREADABLE as problem:
        log.debug("%s: its gwcs cannot be read: %s", path, one_line(problem))
        return None


def usable(wcs):
    """A WCS without the box outside of which it gives NaN: stars off an image have positions too."""
    wcs.bounding_box = None
    return wcs


def installed():
    """Whether asdf and gwcs are there."""
    from importlib.util import find_spec
    return find_spec("asdf") is not None and find_spec("gwcs") is not None
