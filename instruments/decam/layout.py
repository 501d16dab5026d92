"""The CCDs of DECam: their pixels, where they lie in the focal plane, and the world coordinates that follow."""
from dataclasses import dataclass

from astropy.io import fits

from crowdsource.core.errors import InstrumentError

SHAPE = 4094, 2046
"""(ny, nx) of a CCD, pixels."""
ROWS = 3, 4, 5, 6, 6, 7, 7, 6, 6, 5, 4, 3
"""CCDs in each row across the focal plane, in the order of CCDNUM."""
PITCH = 2254.4, 4259.3
"""From row to row along x and from CCD to CCD in a row along y, pixels: 33.816 mm and 63.890 mm of 15 um, gaps included."""
DISTORTION = 0.002
"""The optics move a star outwards by this times its distance cubed, degrees."""
TERMS = 11
"""Terms of each axis in the polynomial of TPV."""


@dataclass(frozen=True)
class Ccd:
    """A CCD and where it lies in the focal plane.

    Attributes
    ----------
    name : str
    number : int
        CCDNUM.
    x, y : float
        Offset of its centre from the optical axis along its own axes, pixels.
    corner : tuple of int
        x, y of its first pixel in the mosaic of all CCDs without gaps, from 0.
    """

    name: str
    number: int
    x: float
    y: float
    corner: tuple


def all_ccds():
    """Each `Ccd` by name, in the order of CCDNUM: from S29 to S31, the row before it, ..., S1 to S7, then N1 to N31."""
    half = len(ROWS)//2
    ccds = {}
    for row, n in enumerate(ROWS):
        side, before = ("S", sum(ROWS[row+1:half])) if row < half else ("N", sum(ROWS[half:row]))
        for k in range(n):
            x, y = (row-half+0.5)*PITCH[0], (k-(n-1)/2)*PITCH[1]
            corner = (2048*(row+1), 2048*(7-n)+4096*k)
            name = f"{side}{before+k+1}"
            ccds[name] = Ccd(name, len(ccds)+1, x, y, corner)
    return ccds


def ccd_of(name):
    """The `Ccd` of a name.

    Raises
    ------
    InstrumentError
        When DECam has no CCD of that name.
    """
    ccds = all_ccds()
    if name not in ccds:
        raise InstrumentError(f"DECam has no CCD {name!r}: it has S1 to S31 and N1 to N31")
    return ccds[name]


def wcs_cards(ccd, shape, position, scale):
    """World coordinates of a CCD: a tangential projection at the optical axis with the distortion of the optics.

    x runs south and y east, as on the telescope.

    Parameters
    ----------
    ccd : Ccd
    shape : tuple of int
        (ny, nx); the CCD's centre stays where it is.
    position : tuple of float
        ra, dec of the optical axis, degrees.
    scale : float
        Arcseconds per pixel on the axis.

    Returns
    -------
    astropy.io.fits.Header
    """
    ny, nx = shape
    step = scale/3600
    header = fits.Header(dict(
        WCSAXES=2, CTYPE1="RA---TPV", CTYPE2="DEC--TPV", CUNIT1="deg", CUNIT2="deg", CRVAL1=position[0], CRVAL2=position[1],
        CRPIX1=(nx+1)/2-ccd.x, CRPIX2=(ny+1)/2-ccd.y, CD1_1=0., CD1_2=step, CD2_1=-step, CD2_2=0.))
    for axis in (1, 2):
        # term 1 is the axis itself, 7 its cube and 9 it times the square of the other axis: together distance cubed
        terms = {1: 1., 7: DISTORTION, 9: DISTORTION}
        header.update({f"PV{axis}_{k}": terms.get(k, 0.) for k in range(TERMS)})
    header.update(dict(RADESYS="ICRS", EQUINOX=2000.))
    return header
