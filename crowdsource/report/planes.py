"""Planes of pixels as pictures within a page, and what the viewer of a page takes."""
import base64
from io import BytesIO

import numpy as np

from ..core.errors import need
from ..core.flags import ENGINE, MASK_SHIFT
from ..core.world import sky_of
from .measured import asinh_stretched, binned, plain, stretch_limits
from .page import EXTRA, PURPOSE
from .plots import diverging

LARGEST = 2500
"""Longer sides are shown in full resolution of the image only; model and residual are averaged over 2 x 2 pixels or more."""
BUDGET = 7_500_000
"""Bytes that the pictures of a page may take together; their quality is lowered until they do."""
QUALITIES = 88, 84, 80, 76, 72, 66, 60, 50, 40, 30
RANGE = 5.
"""Sigma at which the residual's colours end."""
MOST_ROWS = 20_000
"""Of a catalog of more rows the page holds the most important columns only."""
ALWAYS = ("x", "y", "ra", "dec", "mag", "dmag", "flux", "dflux", "qf", "rchi2", "fracflux", "spread_model", "dflux_iso", "flags",
          "good", "psf_star", "passno")
DIGITS = {"x": 3, "y": 3, "ra": 7, "dec": 7, "mag": 4, "dmag": 4, "mag_cal": 4}
BITS, FINE = 16, 1/2048
"""Significant bits of values, and steps of positions in pixels, that a page holds."""
NODES = 17
"""Of the grid, along a side, on which a page knows right ascensions and declinations."""


def grey(plane, stretch):
    """A plane as grey levels, uint8, by an asinh stretch; NaN becomes dark."""
    shown = asinh_stretched(plane.astype(np.float32), tuple(map(float, stretch)))
    return np.nan_to_num(np.clip(shown, 0, 1)*255+0.5, nan=40.).astype(np.uint8)


def coloured(plane, most=RANGE):
    """A plane of both signs in colours, uint8 of shape (ny, nx, 3): blue below zero, red above; NaN becomes grey."""
    colours = np.array([[int(c[k:k+2], 16) for k in (1, 3, 5)] for c in diverging()]+[[201, 211, 218]], np.uint8)
    level = np.clip((plane/most+1)*127.5+0.5, 0, 255)
    return colours[np.where(np.isfinite(level), level, 256).astype(np.int16)]


def picture(pixels, quality=None):
    """Pixels as the address of a picture that stands in the page itself, the first row at the bottom.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (ny, nx) or (ny, nx, 3)
    quality : int, optional
        Of JPEG, up to 95; without it every pixel is exact, as PNG.
    """
    image, file = need("PIL.Image", EXTRA, PURPOSE).fromarray(np.ascontiguousarray(pixels[::-1])), BytesIO()
    if quality is None:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=quality, subsampling=0)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def picture_planes(image, parts):
    """(name, pixels, step, signed) of each plane that the viewer shows; of the image alone where `parts` is None."""
    step = -(-max(image.shape)//LARGEST)
    data, every = image.data if parts is None else parts["data"], 1+max(image.shape)//1000
    stretch = stretch_limits(data[::every, ::every])
    if parts is None:
        return [("Image", grey(data, stretch), 1, False)]
    return [("Image", grey(data, stretch), 1, False),
            ("Model", grey(binned(parts["model"], step), stretch), step, False),
            # what is averaged has less noise, by which the colours go
            ("Residual", coloured(binned(parts["significance"], step)*step), step, True)]


def encoded(planes, budget=BUDGET):
    """Addresses of pictures of planes, in the best quality by which they are not larger than a budget together."""
    for quality in QUALITIES:
        addresses = [picture(pixels, quality) for _, pixels, _, _ in planes]
        if sum(map(len, addresses)) <= budget:
            break
    return addresses


def viewer_data(image, parts, fwhm):
    """What the viewer of a page takes, as JSON has it: pictures, their places, and what the columns are.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    parts : mapping of str to ndarray or None
        Of `crowdsource.report.measured.planes_of`; None without model and sky.
    fwhm : float
        Of the PSF, pixels.

    Returns
    -------
    dict
    """
    ny, nx = image.shape
    planes = picture_planes(image, parts)
    shown = [dict(name=name, note=f", {step} x {step} pixels averaged" if step > 1 else "", address=address, signed=signed,
                  covers=[pixels.shape[1]*step, pixels.shape[0]*step])
             for (name, pixels, step, signed), address in zip(planes, encoded(planes))]
    return dict(planes=shown, size=[nx, ny], origin=list(image.origin), fwhm=float(fwhm) if np.isfinite(fwhm) else 3.,
                sky=_sky_grid(image), columns=[])


def _sky_grid(image):
    """Right ascension and declination on a grid over the image; None without world coordinates."""
    if image.wcs is None:
        return None
    ny, nx = image.shape
    x, y = np.meshgrid(np.linspace(0, nx-1, NODES), np.linspace(0, ny-1, NODES))
    ra, dec = sky_of(image.wcs, x.ravel()+image.origin[0], y.ravel()+image.origin[1])
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        return None
    return dict(side=NODES, ra=np.degrees(np.unwrap(np.radians(ra))), dec=dec)


def source_columns(catalog, origin):
    """Columns of a catalog for plots and the viewer, and what they are.

    Parameters
    ----------
    catalog : astropy.table.Table
    origin : tuple of int
        First pixel of the image in its parent, from which x and y count here.

    Returns
    -------
    columns : dict of str to ndarray
        In types that scripts of a page read.
    facts : list of dict
        name, unit, description, kind, digits, and words of the values of flags.
    """
    columns, facts = {}, []
    for name in catalog.colnames:
        values = np.asarray(np.ma.getdata(getattr(catalog[name], "value", catalog[name])))
        if values.ndim != 1 or values.dtype.kind not in "fiub" or (len(values) > MOST_ROWS and name not in ALWAYS):
            continue
        info = catalog[name].info
        fact = dict(name=name, unit=str(info.unit or ""), description=info.description or "", digits=DIGITS.get(name),
                    kind={"b": "bool", "f": "float"}.get(values.dtype.kind, "int"))
        if name == "flags":
            values, fact["words"] = _flag_words(values)
        elif values.dtype.kind in "iu" and len(values) and (np.abs(values.astype(float)).max() > 2**31-1):
            continue
        if name in ("x", "y"):
            first = origin["xy".index(name)]
            values, fact["offset"] = values-first, first
        wide = name in ("ra", "dec")
        columns[name] = values.astype(np.float64) if wide else compact(values, FINE if name in ("x", "y") else None)
        facts.append(fact)
    columns.setdefault("good", np.ones(len(catalog), np.uint8))
    return columns, facts


def compact(values, step=None):
    """Values in few bytes, which are packed well: of floats no more digits than a page shows.

    Parameters
    ----------
    values : ndarray
    step : float, optional
        To whose multiples values are rounded; when not given, they keep `BITS` significant bits.
    """
    if values.dtype.kind != "f":
        return values.astype(np.uint8 if values.dtype.kind == "b" else np.int32)
    if step is not None:
        return (np.round(values/step)*step).astype(np.float32)
    part, power = np.frexp(values.astype(np.float64))
    with np.errstate(over="ignore"):
        # what float32 cannot hold becomes infinite, which pages show as missing
        return np.ldexp(np.round(part*2**BITS)/2**BITS, power).astype(np.float32)


def _flag_words(flags):
    """The number of each row's flags among the different ones, and the words of these."""
    different, which = np.unique(flags.astype(np.int64), return_inverse=True)
    words = [", ".join([*ENGINE.decode(f >> MASK_SHIFT), *(f"bit {b}" for b in range(MASK_SHIFT) if f >> b & 1)])
             for f in different.tolist()]
    return which.astype(np.int32), words


def magnitudes(catalog):
    """Magnitudes of a catalog: its own, or those of its fluxes with the zero point 0; and which they are, for axes."""
    for name, label in (("mag_cal", "calibrated magnitude"), ("mag", "magnitude")):
        if name in catalog.colnames and np.isfinite(values := plain(catalog[name])).any():
            return values, f"{label} (mag)"
    flux = plain(catalog["flux"])
    return -2.5*np.log10(np.where(flux > 0, flux, np.nan)), "instrumental magnitude, -2.5 log10(flux)"
