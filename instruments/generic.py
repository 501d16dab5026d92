"""Any image: a FITS plane, and whatever else the user has of it."""
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.core.noise import scatter_in_units_of, without_marks
from crowdsource.exposure.instrument import (
    DetectorTask,
    Exposure,
    Instrument,
    Option,
    WritesImages,
    complete,
    finite,
    flag,
    not_negative,
    positive,
)
from crowdsource.io.fits import ANY, read_image, write_image
from crowdsource.io.image_name import ImageName

from .deferred import deferred

initial_psf = deferred("crowdsource.psf.initial:initial_psf")
read_psf = deferred("crowdsource.psf.formats.reading:read_psf")
log = logging.getLogger(__name__)
GROW = 2
"""Radius around saturated pixels in which pixels count as saturated too: charge spills, and neighbours are not linear."""
COUNTS = re.compile(r"(?P<what>electrons?|e-|counts?|ct|cts|dn|adu)"
                    r"(?P<rate>\s*/\s*s(ec(onds?)?)?|\s+s(ec)?\s*(\^|\*\*)?-1)?", re.IGNORECASE)
"""Units of pixels of which it is known how many electrons they are."""
CLIPPED = 3
"""Least number of pixels at exactly the image's maximum, two of them adjacent, that make a saturated plateau."""
FAR_ABOVE, MANY_COUNTS = 20., 1000.
"""A plateau lies at least this many times the scatter of pixels above the median, and at least this far above it where values are
whole numbers: the brightest pixels of a faint image have equal counts by chance."""
PEAK, BRIGHTEST_LEFT_OUT = 10., 0.8
"""Stars by which flags are judged exceed the background by so many times its scatter and are below this quantile of them."""
FEWEST_PEAKS, MOSTLY = 20, 0.5
"""Flags are judged by so many stars at least, and doubted where they lie on more than this part of them."""
LARGEST_INVERSE = 1e19
"""Largest inverse of a noise, whose square float32 still holds."""
NOISE_MAPS = ("ivar", "inverse_sigma", "weight", "rms", "variance")
"""Options that give the noise, of which one may be used."""
NOISE_OF = {"ivar": lambda v: 1/np.sqrt(v), "inverse_sigma": lambda v: 1/v, "rms": lambda v: v, "variance": np.sqrt}
"""One sigma of a pixel from the value of each map."""
OFF, FAR_OFF, ALIKE = 3., 10., 1.7
"""The image scatters by less than `OFF` times what a map says, and by more than one `OFF`-th of it, or one `FAR_OFF`-th where
resampled pixels may be smooth; by a factor of `ALIKE` where the map is another one. See `benchmarks/studies/noise_maps.py`."""


def bits(value):
    """A bit mask from ``"0,3,5"`` (bit numbers), ``"0x29"`` (the mask), ``"any"``, ``"none"``, an int or a list of numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        mask = value
    elif isinstance(value, (list, tuple)):
        mask = sum({1 << int(v) for v in value})
    elif value in ("any", "none"):
        mask = ANY if value == "any" else 0
    elif re.fullmatch(r"0[xXbB][0-9a-fA-F]+", value):
        mask = int(value, 0)
    elif re.fullmatch(r"\d+(,\d+)*", value):
        mask = sum({1 << int(v) for v in value.split(",")})
    else:
        raise ValueError("give bit numbers such as 0,3,5, a mask such as 0x29, any or none")
    if not 0 <= mask <= ANY:
        raise ValueError("bits run from 0 to 31")
    return mask


def box(value):
    """(x0, x1, y0, y1) from ``"x0:x1,y0:y1"`` or a sequence of four numbers."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d+:\d+,\d+:\d+", value):
            raise ValueError("give x0:x1,y0:y1 in pixels from 0, without the pixels x1 and y1")
        value = re.split("[:,]", value)
    x0, x1, y0, y1 = (int(v) for v in value)
    return x0, x1, y0, y1


OPTIONS = (
    Option("ivar", str, help="inverse variance of each pixel; 0 for pixels not to be used", metavar="FILE[:HDU]"),
    Option("inverse_sigma", str, help="root of the inverse variance of each pixel", metavar="FILE[:HDU]"),
    Option("weight", str,
           help="weight map (WHT) on any scale; the scale is measured on the image", metavar="FILE[:HDU]"),
    Option("rms", str, help="noise of each pixel, 1 sigma; 0 for pixels not to be used", metavar="FILE[:HDU]"),
    Option("variance", str, help="variance of each pixel; 0 for pixels not to be used", metavar="FILE[:HDU]"),
    Option("trust_noise", flag, False, help="take the noise map as it is, however the image itself scatters"),
    Option("dq", str, help="flags of each pixel, whole numbers", metavar="FILE[:HDU]"),
    Option("bad_bits", bits, ANY, metavar="BITS",
           help="bits of dq of pixels not to be used: numbers as 0,3,5, a mask as 0x29, any (default) or none"),
    Option("nodeblend_bits", bits, 0, help="bits of dq where blends are not split", metavar="BITS"),
    Option("sharp_bits", bits, 0, help="bits of dq where only peaks as sharp as the PSF are sources", metavar="BITS"),
    Option("psf", str, help="PSF to start from: a square stamp of odd side, a PSFEx or STDPSF model, or an earlier catalog",
           metavar="FILE[:HDU]"),
    Option("no_refit_psf", flag, False, help="take the PSF that is given as it is; it is refined by the image's stars otherwise"),
    Option("normalize_radius", positive, unit="pixels",
           help="fluxes refer to the light in a circle of this radius; in a box of 59 pixels when not given"),
    Option("fwhm", positive, unit="pixels", help="FWHM of the PSF to start from; measured when not given"),
    Option("gain", positive, unit="electrons per unit", help="from the header when not given"),
    Option("readnoise", not_negative, unit="electrons", help="from the header when not given"),
    Option("saturation", positive, unit="image units", help="level of saturation; from the header and the pixels when not given"),
    Option("zeropoint", finite, unit="mag", help="magnitude of a flux of 1; from the header when not given"),
    Option("cutout", box, help="the part to fit, in pixels from 0, without the pixels x1 and y1", metavar="x0:x1,y0:y1"),
)


@dataclass(frozen=True)
class GenericExposure(Exposure):
    """One plane of one file.

    Attributes
    ----------
    name : ImageName
        The image.
    options : tuple of (str, object)
        Values of all options.
    identity : str
    inputs : tuple of Path
    """

    name: ImageName
    options: tuple
    identity: str
    inputs: tuple

    def tasks(self):
        """One task; its cost is not known before the file is read."""
        return (DetectorTask("", 1.),)

    def read(self, task):
        """The Image; see `Exposure.read`."""
        o = dict(self.options)
        source = read_image(self.name)
        cut = _cut(o["cutout"], source)
        data, facts = source.floats(cut), _facts(source, o)
        flags = _companion(o["dq"], source, cut)
        dq = None if flags is None else flags.flags()
        bad, mask = _masks(data, dq, facts["saturation"], o)
        noise = _noise(o, source, cut, data, np.isfinite(data) & ~bad)
        readnoise = o["readnoise"] if o["readnoise"] is not None else source.value("readnoise")
        meta = dict(psf=o["psf"], fwhm=o["fwhm"], no_refit_psf=o["no_refit_psf"], normalize_radius=o["normalize_radius"],
                    readnoise=readnoise, header=source.header, unit=str(source.header.get("BUNIT", "")).strip())
        noise["findings"] = (*noise.get("findings", ()), *doubted_bits(dq, data, o["bad_bits"]))
        try:
            return Image.from_arrays(data, dq=dq, mask=mask, bad=bad, readnoise=readnoise, wcs=source.wcs(),
                                     exposure=self.identity, meta=meta, copy=False, **noise, **facts)
        except InputError as problem:
            raise DataFileError(source.path, str(problem), source.hdu) from problem


class Generic(Instrument, WritesImages):
    """Any image, with a noise map, flags and a PSF where the user has them; the rest comes from the header or from the pixels."""

    name = "generic"
    summary = "any FITS image, with or without a noise map, flags and a PSF"
    options = OPTIONS

    def open(self, path, **options):
        """A `GenericExposure`; see `Instrument.open`.

        Raises
        ------
        InputError
            When more than one noise map is given, or no PSF that could be kept.
        """
        values = complete(OPTIONS, options)
        maps = [n for n in NOISE_MAPS if values[n]]
        if len(maps) > 1:
            raise InputError(f"{' and '.join(maps)} are both given: keep the one that is the noise, leave out the others")
        if values["no_refit_psf"] and not (values["psf"] or values["fwhm"]):
            raise InputError("no_refit_psf keeps a given PSF, but there is none: give psf, or leave it out")
        name = ImageName.parse(path)
        files = [name.path]+[ImageName.parse(values[n]).path for n in (*NOISE_MAPS, "dq", "psf") if values[n]]
        return GenericExposure(name, tuple(values.items()), _identity(name, values["cutout"]), tuple(dict.fromkeys(files)))

    def psf_prior(self, image):
        """The PSF in the file ``psf``, or a profile of the FWHM ``fwhm``, or None."""
        if image.meta["psf"]:
            name = ImageName.parse(image.meta["psf"])
            return read_psf(name.path, image.shape, hdu=name.hdu)
        if image.meta["fwhm"]:
            return initial_psf(image, fwhm=image.meta["fwhm"])
        return None

    def fit_config(self, image, config):
        """A given PSF is refitted unless the user does not want it; fluxes refer to the aperture that the user names."""
        changes = dict(refit=False) if image.meta.get("no_refit_psf") else {}
        if image.meta.get("normalize_radius"):
            changes["norm_radius"] = image.meta["normalize_radius"]
        return replace(config, psf=replace(config.psf, **changes)) if changes else config

    def write(self, images, path, overwrite=False):
        """Write one Image as HDUs IMAGE, IVAR and DQ, with its WCS, gain, saturation and zero point."""
        image, = images
        write_image(image, path, overwrite)


def _identity(name, cutout):
    """The file's name without folder and endings, the HDU, the plane and the cut-out."""
    stem = re.sub(r"(\.fits?|\.fts)?(\.fz|\.gz|\.bz2)?$", "", Path(name.path).name, flags=re.IGNORECASE)
    part = "".join(f":{v}" for v in (name.hdu, name.plane) if v is not None)
    return stem+part+("" if cutout is None else "[{}:{},{}:{}]".format(*cutout))


def _cut(cutout, source):
    """The slices of a cut-out, of the whole image when there is none."""
    ny, nx = source.data.shape
    x0, x1, y0, y1 = cutout or (0, nx, 0, ny)
    if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
        raise DataFileError(source.path, f"cut-out {x0}:{x1},{y0}:{y1} is empty or leaves the image of {nx} x {ny} pixels",
                            source.hdu)
    return np.s_[y0:y1, x0:x1]


def _companion(name, source, cut):
    """The part of another plane that goes with the image's, as a FitsImage; None when there is none."""
    if name is None:
        return None
    plane = read_image(name)
    if plane.data.shape != source.data.shape:
        raise DataFileError(plane.path, f"has shape {plane.data.shape} but the image {source.path}[{source.hdu}] has "
                            f"{source.data.shape}; cut them to the same pixels", plane.hdu)
    return replace(plane, data=plane.data[cut])


def _facts(source, o):
    """Attributes of the Image beside its pixels: from the options, else from the header."""
    gain = o["gain"] or gain_of(str(source.header.get("BUNIT", "")).strip(), source.value("gain"), source.value("exptime"))
    saturation = o["saturation"]
    if saturation is None:
        saturation = min(source.value("saturation") or np.inf, plateau(source.data))
    zeropoint = o["zeropoint"] if o["zeropoint"] is not None else source.value("zeropoint")
    x0, _, y0, _ = o["cutout"] or (0, 0, 0, 0)
    return dict(gain=gain if gain and gain > 0 else np.nan, origin=(x0, y0),
                saturation=saturation if saturation > 0 else np.inf,
                zeropoint=np.nan if zeropoint is None else zeropoint, exptime=source.value("exptime") or np.nan,
                band=source.value("band", str) or "", mjd=source.mjd())


def gain_of(unit, gain, exptime):
    """Electrons per unit, from the unit of the pixels, the electrons per count and the exposure time; None where not known.

    Parameters
    ----------
    unit : str
    gain, exptime : float or None
    """
    known = COUNTS.fullmatch(unit)
    if known is None:
        return gain
    gain = 1. if known["what"].lower().startswith("e") else gain
    if known["rate"] is None:
        return gain
    # a gain of counts is none of counts a second
    return gain*exptime if gain and exptime else None


def plateau(data):
    """The level at which an image is clipped, by its own pixels; inf where it is not clipped.

    Headers often lack the level, or have that of the analog-to-digital converter, which bias and flat field have changed.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    """
    values = data.ravel()
    if data.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        values = values[finite]
    if not len(values):
        return np.inf
    top = data == values.max()
    if top.sum() < CLIPPED or not ((top[1:] & top[:-1]).any() or (top[:, 1:] & top[:, :-1]).any()):
        return np.inf
    # the scatter of one pixel in 17 is as good
    low, middle, high = np.quantile(values[::17], [0.16, 0.5, 0.84])
    top_value = float(values.max())
    above = top_value-middle
    if above <= FAR_ABOVE*max((high-low)/2, 1e-30) or (top_value.is_integer() and above < MANY_COUNTS):
        return np.inf
    log.info("the image is clipped at %g: %d pixels are saturated", top_value, top.sum())
    return top_value


def _masks(data, dq, saturation, o):
    """Pixels not to be used, and the engine's bits."""
    mask = np.zeros(data.shape, np.uint16)
    bad = np.zeros(data.shape, bool)
    if dq is not None:
        bad |= dq & np.uint32(o["bad_bits"]) > 0
        for asked, bit in ((o["nodeblend_bits"], ENGINE.nodeblend), (o["sharp_bits"], ENGINE.sharp)):
            if asked:
                mask[dq & np.uint32(asked) > 0] |= bit
    saturated = grown(data >= saturation, GROW)
    mask[saturated] |= ENGINE.saturated
    return bad | saturated, mask


def doubted_bits(dq, data, forbidden):
    """Sentences about bits that exclude pixels and lie on most stars: they may say that there is a star, not that a pixel is bad.

    Parameters
    ----------
    dq : ndarray of uint32, shape (ny, nx), or None
    data : ndarray, shape (ny, nx), float32
    forbidden : int
        Bits that exclude a pixel.
    """
    here = 0 if dq is None else int(np.bitwise_or.reduce(dq, axis=None)) & forbidden
    if not here:
        return ()
    peaks = bright_peaks(data)
    found, out = dq[peaks], []
    for bit in (b for b in range(32) if here >> b & 1):
        value = np.uint32(1 << bit)
        on_peaks, everywhere = (found & value > 0).mean() if len(found) else 0., float((dq & value > 0).mean())
        if len(found) >= FEWEST_PEAKS and on_peaks > max(MOSTLY, 2*everywhere):
            out.append(f"bit {bit} of the flags excludes {100*on_peaks:.0f} % of the peaks of stars and {100*everywhere:.1f} % "
                       "of all pixels: where it does not mean that a pixel is bad, leave it out (`bad_bits`)")
    return tuple(out)


def bright_peaks(data):
    """Pixels (y, x) that are the brightest around, well above the background and not among the very brightest: those saturate."""
    values = data[np.isfinite(data)][::17]
    if not len(values):
        return np.empty(0, int), np.empty(0, int)
    low, level = np.quantile(values, [0.16, 0.5])
    filled = np.where(np.isfinite(data), data, -np.inf)
    top = (filled == ndimage.maximum_filter(filled, 5)) & (filled > level+PEAK*max(level-low, 1e-30))
    y, x = np.nonzero(top)
    keep = data[y, x] < np.quantile(data[y, x], BRIGHTEST_LEFT_OUT) if len(y) else np.empty(0, bool)
    return y[keep], x[keep]


def grown(where, radius):
    """A boolean plane in which all pixels within a radius, in pixels, of a true one are true."""
    y, x = np.divmod(np.flatnonzero(where), where.shape[1])
    if not len(y):
        return where
    out = np.zeros(where.shape, bool)
    steps = range(-radius, radius+1)
    for dy in steps:
        for dx in steps:
            if dx*dx+dy*dy <= radius*radius:
                out[np.clip(y+dy, 0, where.shape[0]-1), np.clip(x+dx, 0, where.shape[1]-1)] = True
    return out


def _noise(o, source, cut, data, used):
    """Arguments of `Image.from_arrays` that say the noise, from the map that is given; `used` is true for pixels that count."""
    kind = next((n for n in NOISE_MAPS if o[n]), None)
    if kind is None:
        return {}
    given = _companion(o[kind], source, cut)
    # the map's value at a pixel that is not used does not matter
    values = given.floats()
    values[~used] = 0
    try:
        findings = without_marks(values, used, kind.replace("_", " "), ("0", "infinite") if kind in ("rms", "variance") else ())
        if kind != "weight" and not o["trust_noise"]:
            findings += doubts(values, np.where(used, data, np.float32(np.nan)), kind)
    except InputError as problem:
        raise DataFileError(given.path, str(problem), given.hdu) from problem
    if kind == "weight":
        return dict(weight=values, findings=findings)
    if kind == "variance":
        values = np.sqrt(values)
    if kind in ("rms", "variance"):
        values = np.where(values > 0, 1/np.maximum(values, np.float32(1/LARGEST_INVERSE)), np.float32(0))
    ivar = values if kind == "ivar" else np.minimum(values, np.float32(LARGEST_INVERSE))**2
    return dict(ivar=ivar, findings=findings)


def doubts(values, data, kind):
    """Sentences about a noise map that disagrees with the scatter of the image itself; none where it agrees.

    Parameters
    ----------
    values : ndarray, shape (ny, nx), float32
        The map.
    data : ndarray, shape (ny, nx), float32
        NaN for pixels that do not count.
    kind : str
        What it is given as, of `NOISE_OF`.

    Raises
    ------
    InputError
        When it disagrees so much that it must be something else.
    """
    with np.errstate(all="ignore"):
        found = dict(zip(NOISE_OF, scatter_in_units_of(NOISE_OF.values(), values, data)))
    own = found[kind]
    if not own > 0 or 1/OFF <= own <= OFF:
        return ()
    told = f"the image's background scatters by {own:.3g} times the noise that `{kind}` gives"
    like = [n for n, ratio in found.items() if 1/ALIKE < ratio < ALIKE]
    if like:
        raise InputError(f"{told}; taken as `{like[0]}` the map would fit ({found[like[0]]:.2g}): give it as "
                         "that, or add `trust_noise=True`")
    if own > OFF or own < 1/FAR_OFF:
        raise InputError(f"{told}: check the units of both; `weight` takes the scale from the image, `trust_noise=True` the "
                         "map as it is")
    return (f"{told}: correlated noise of resampled pixels, or units that differ",)
