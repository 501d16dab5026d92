"""Cut-outs of places and stars for pages."""
from dataclasses import dataclass

import numpy as np

from .measured import stretch_limits
from .planes import coloured, grey, picture

SIDE = 41
"""Of the cut-out of a star, pixels."""


@dataclass(frozen=True, kw_only=True)
class Cutouts:
    """Pictures of one place.

    Attributes
    ----------
    label : str
    pictures : sequence of (str, str)
        Names and addresses.
    place : (float, float) or None
        Pixel of the image to which the viewer of the page goes.
    row : int or None
        Of the catalog.
    """

    label: str
    pictures: tuple
    place: tuple = None
    row: int = None


def cutouts_at(parts, x, y, side=SIDE, **facts):
    """Image, model and residual around a place.

    Parameters
    ----------
    parts : mapping of str to ndarray, shape (ny, nx)
        Of `crowdsource.report.measured.planes_of`, or the image alone, as ``data``.
    x, y : float
        Pixels of the image.
    side : int
        Pixels.
    **facts
        Of `Cutouts`.

    Returns
    -------
    Cutouts
    """
    # slow to load, and needed for pages only
    from astropy.nddata import extract_array

    def cut(name):
        at = tuple(int(np.floor(v+0.5)) for v in (y, x))
        return extract_array(parts[name].astype(np.float32), (side, side), at, fill_value=np.nan)

    data = cut("data")
    stretch = stretch_limits(data)
    pictures = [("image", picture(grey(data, stretch)))]
    if "model" in parts:
        pictures += [("model", picture(grey(cut("model"), stretch))), ("residual", picture(coloured(cut("significance"))))]
    return Cutouts(pictures=tuple(pictures), place=(round(float(x), 1), round(float(y), 1)), **facts)
