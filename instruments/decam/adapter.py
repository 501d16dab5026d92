"""DECam exposures of the Community Pipeline: image, inverse variance and data-quality planes of up to 62 CCDs."""
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import theilslopes

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.core.flags import ENGINE, FlagDefinition, FlagTable, with_own_bits
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import (
    DetectorTask,
    Exposure,
    Instrument,
    Option,
    SimulatesExposures,
    TakesGalaxies,
    WritesImages,
    complete,
    flag,
    not_negative,
)
from crowdsource.io.fits import ImageName, image_names, number, read_header, read_image

from ..skymasks import bright_boxes, ellipses, galaxies, static_mask

log = logging.getLogger(__name__)
CODES = {1: "bad", 2: "novalue", 3: "saturated", 4: "bleed", 5: "cosmic", 6: "lowweight", 7: "difference", 8: "streak"}
"""Codes of the data-quality plane since version 3.5 of the pipeline; here each is the bit of its number."""
OLD_BITS = {0: 1, 1: 3, 4: 5, 6: 4, 7: 7}
"""Bits of the plane before that, and the codes that mean the same."""
FIRST_WITH_CODES = 3, 5
HARMLESS = 1 << 7
"""A difference from other exposures, a variable star perhaps, says nothing against a pixel."""
FLAGS = FlagTable("decam", [
    *(FlagDefinition(code, name, meaning) for (code, name), meaning in zip(CODES.items(), (
        "bad in the detector", "no value", "saturated", "bleed trail", "cosmic ray", "low weight",
        "differs from other exposures", "streak of a satellite or an aircraft"))),
    FlagDefinition(20, "badpix", "in the static mask of bad pixels"),
    FlagDefinition(21, "diffuse", "structured background"),
    FlagDefinition(22, "s7unstable", "in the half of CCD S7 whose amplifier drifts, after its correction"),
    FlagDefinition(23, "brightstar", "near a bright star"),
    FlagDefinition(24, "galaxy", "in the ellipse of a galaxy"),
])
FROM_ENGINE = {ENGINE.nebulous: FLAGS.diffuse}
SHAPE = 4094, 2046
UNSTABLE = "S7"
CORRECTED = "S7CORR"
"""Keyword of images whose step is taken off already."""
SEAM = 10
"""So many columns on each side of the seam between the amplifiers tell the step there."""
BLOCK, FEWEST_BLOCKS, FEWEST_COLUMNS = 64, 8, 4
"""Rows in a block, and how many blocks, and columns of each, it takes."""
DARK = 0.1
"""Quantile of a column's pixels that stars leave dark."""
ODD_FWHM = 1.5
"""A CCD's FWHM farther than this factor from the exposure's median is not believed."""
EXPOSURES, NUMBERS = 1 << 24, 1 << 7
"""Numbers of exposures and of CCDs end before these, which is what the detections' identifiers have room for."""
VARYING = 10
"""Stars from which the PSF varies over a CCD: a linear polynomial has three terms."""
PLANE = re.compile(r"_oo([iwd])_")
ENDINGS = ".fits", ".fits.fz", ".fits.gz"
TRUTH = "_truth.fits"
"""Ending of what is known of a simulated exposure, beside the image's name."""


def names(value):
    """Names of CCDs from ``"N4 S7"``, ``"N4,S7"`` or a list of such."""
    words = [value] if isinstance(value, str) else value
    parts = [part for word in words for part in re.split(r"[\s,]+", str(word).strip())]
    if not parts or not all(re.fullmatch(r"[NS]\d{1,2}", str(p).upper()) for p in parts):
        raise ValueError("give CCDs as in N4 S7")
    return tuple(str(p).upper() for p in parts)


def odd(value):
    """An odd, positive whole number."""
    value = int(value)
    if value < 1 or value % 2 == 0:
        raise ValueError("an odd number of pixels is needed")
    return value


OPTIONS = (
    Option("weight_plane", str, help="inverse variances, when not beside the image under their own name", metavar="FILE"),
    Option("dq_plane", str, help="data-quality plane, when it is not beside the image under its own name", metavar="FILE"),
    Option("wcutoff", not_negative, 0., help="pixels of less inverse variance are not used", metavar="WEIGHT"),
    Option("core_size", odd, 9, "pixels", "side of the pixel core that a refit adds to the PSF's wings, odd", "SIZE"),
    Option("badpix", str, help="static masks of bad pixels: an HDU of each CCD's name, or a file each, with {ccd} for the name",
           metavar="FILE"),
    Option("deblend_bright", flag, False, help="split blends near bright stars too"),
    Option("galaxies_remove", str, help="names of galaxies that are left out", metavar="CATALOG"),
    Option("galaxies_resize", str, help="names of galaxies, and their d25 or a factor on it", metavar="CATALOG"),
    Option("ccds", names, help="only these CCDs, as N4 S7; all when not given", metavar="CCD", several=True, chooses=True),
)


def version(text):
    """(major, minor) of the pipeline from PLVER as it comes: V4.8.2, DES 1.2, 5.2.2LS, 5.0beta, with +1; None when absent."""
    found = re.search(r"(\d+)\.(\d+)", str(text or ""))
    return (int(found[1]), int(found[2])) if found else None


def decoded(plane, plver):
    """Bits ``1 << code`` of a data-quality plane that holds codes or, of an older pipeline, bits.

    A value above the highest code means bits whatever the header says. Bits without a meaning count as bad.

    Parameters
    ----------
    plane : ndarray of integers, shape (ny, nx)
    plver : str or None
        PLVER of the header.

    Returns
    -------
    ndarray of uint32, shape (ny, nx)
    """
    plane = np.asarray(plane).astype(np.int64) & 0xFFFFFFFF
    known = version(plver)
    if plane.max(initial=0) <= max(CODES) and (known is None or known >= FIRST_WITH_CODES):
        return np.where(plane > 0, 1 << plane, 0).astype(np.uint32)
    bits, left = np.zeros(plane.shape, np.uint32), plane
    for old, code in OLD_BITS.items():
        bits |= np.where(plane >> old & 1, np.uint32(1 << code), np.uint32(0))
        left = left & ~(1 << old)
    if left.any():
        log.warning("%d pixels of the data-quality plane have bits without a meaning: they count as bad", np.count_nonzero(left))
        bits[left > 0] |= np.uint32(FLAGS.bad)
    return bits


def seam_step(data, good):
    """Step across the middle column, linear in y: what the right half is higher by.

    Columns are mirrored on the seam between the amplifiers. Stars only add light, so that their dark pixels are compared, in
    blocks of rows; differences of columns farther apart tell the sky's slope across the seam, which is taken off. A line through
    the blocks by the median of all slopes (Theil 1950, Sen 1968) bears a fourth of them being wrong.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    good : ndarray of bool, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ny,), float64
        0 where there are too few good pixels to tell.
    """
    ny, nx = data.shape
    middle, reach = nx//2, min(SEAM, nx//2)
    values = np.where(good, data, np.nan)[:, middle-reach:middle+reach].astype(np.float64)
    right, left = values[:, reach:], values[:, :reach][:, ::-1]
    place, step = [], []
    for rows in np.array_split(np.arange(ny), max(FEWEST_BLOCKS, ny//BLOCK)):
        enough = np.minimum(*(np.isfinite(side[rows]).sum(axis=0) for side in (left, right))) > len(rows)/3
        if enough.sum() >= FEWEST_COLUMNS:
            dark = [np.nanquantile(side[np.ix_(rows, enough)], DARK, axis=0) for side in (right, left)]
            place.append(rows.mean())
            step.append(np.polyfit(2*np.flatnonzero(enough)+1, dark[0]-dark[1], 1)[1])
    if len(place) < FEWEST_BLOCKS//2:
        return np.zeros(ny)
    slope, offset, *_ = theilslopes(step, place, method="joint")
    return slope*np.arange(ny)+offset


@dataclass(frozen=True)
class DecamExposure(Exposure):
    """The planes of an exposure.

    Attributes
    ----------
    image, weight, dq : Path
    options : tuple of (str, object)
    identity : str
        Number of the exposure, as the telescope counts.
    inputs : tuple of Path
    ccds : tuple of (str, float)
        Names of the CCDs, and FWHM of each header, NaN where it has none.
    """
    image: Path
    weight: Path
    dq: Path
    options: tuple
    identity: str
    inputs: tuple
    ccds: tuple

    @property
    def label(self):
        """The image's name without its ending."""
        return stem(self.image)

    def tasks(self):
        """One for each CCD, in the file's order."""
        return tuple(DetectorTask(name, np.prod(SHAPE)/1e6) for name, _ in self.ccds)

    def read(self, task):
        """The Image of a CCD; see `Exposure.read`."""
        name, o = task.detector, dict(self.options)
        image, weight, dq = (read_image(ImageName(path, name)) for path in (self.image, self.weight, self.dq))
        shape = image.data.shape
        data = image.floats()
        ivar, flags = _trimmed(weight, weight.floats(), shape), _trimmed(dq, dq.flags(), shape)
        bits = decoded(flags, dq.primary.get("PLVER", dq.header.get("PLVER")))
        if o["badpix"]:
            bits[static_mask(o["badpix"], name, shape)] |= np.uint32(FLAGS.badpix)
        bad = (bits & ~np.uint32(HARMLESS) > 0) | ~np.isfinite(data) | ~(ivar > o["wcutoff"])
        if name == UNSTABLE:
            half = np.s_[:, shape[1]//2:]
            bits[half] |= np.uint32(FLAGS.s7unstable)
            if not image.header.get(CORRECTED):
                step = seam_step(data, ~bad)
                data[half] -= step[:, None].astype(np.float32)
                log.info("S7: right half lowered by %.2f to %.2f", step[0], step[-1])
        mask = np.where(bits & FLAGS.saturated, ENGINE.saturated, 0).astype(np.uint16)
        good = ~bad
        with np.errstate(over="ignore"):
            gain = float(np.median(data[good]*ivar[good])) if good.any() else np.nan
        meta = dict(fwhm=self.fwhm(name), expnum=_counted(image.primary, "EXPNUM", EXPOSURES),
                    ccdnum=_counted(image.header, "CCDNUM", NUMBERS), unit=str(image.header.get("BUNIT") or "adu").strip(),
                    header=image.header, primary=image.primary, options=o, zeropoint_calibrated=False)
        zeropoint = image.value("zeropoint")
        facts = dict(wcs=image.wcs(), band=band(image), mjd=image.mjd(), exptime=image.value("exptime") or np.nan,
                     gain=gain if 0 < gain < np.inf else np.nan, zeropoint=np.nan if zeropoint is None else zeropoint)
        try:
            return Image.from_arrays(data, np.where(bad, 0, ivar), dq=bits, mask=mask, bad=bad, exposure=self.identity,
                                     detector=name, meta=meta, copy=False, **facts)
        except InputError as problem:
            raise DataFileError(image.path, str(problem), name) from problem

    def fwhm(self, name):
        """FWHM of a CCD in pixels from its header, the exposure's median where it is absent or odd; None where no CCD has one."""
        values = np.array([f for _, f in self.ccds])
        known = values[np.isfinite(values) & (values > 0)]
        if not len(known):
            return None
        own, median = dict(self.ccds)[name], float(np.median(known))
        return float(own) if median/ODD_FWHM < own < median*ODD_FWHM else median


def _counted(header, keyword, end):
    """A header's whole number from 0 to before `end`, which may be written as text; 0 where it is none of these."""
    value = number(header, keyword)
    return int(value) if value is not None and 0 <= value < end else 0


def _trimmed(plane, pixels, shape):
    """The pixels of a plane that go with the image: some planes have a rim of one pixel more on each side."""
    extra = np.subtract(pixels.shape, shape)
    if (extra == 0).all():
        return pixels
    if (extra == 2).all():
        return pixels[1:-1, 1:-1]
    raise DataFileError(plane.path, f"has shape {plane.data.shape} but the image has {shape}; give the planes of one exposure",
                        plane.hdu)


def band(image):
    """The filter's letter from a header such as ``z DECam SDSS c0004 9260.0 1520.0``; its first word where it is none of them."""
    words = (image.value("band", str) or "").split()
    return words[0] if words else ""


def stem(path):
    """A file's name without its ending."""
    name = Path(path).name
    return next((name[:-len(e)] for e in sorted(ENDINGS, key=len, reverse=True) if name.endswith(e)), name)


def beside(path, plane):
    """The file of another plane of the same exposure: its name with the other letter, in any of the endings.

    Raises
    ------
    DataFileError
        When there is none.
    """
    name = PLANE.sub(f"_oo{plane}_", path.name)
    for other in (name, *(stem(name)+e for e in ENDINGS)):
        if (path.parent/other).exists():
            return path.parent/other
    option = dict(w=", or name it with --weight-plane FILE", d=", or name it with --dq-plane FILE").get(plane, "")
    raise DataFileError(path.parent/name, f"there is no such file; fetch it{option}")


def image_of(path):
    """The image's file from that of any plane, or from the name up to the planes' letters.

    Raises
    ------
    DataFileError
        When there is none, or more than one.
    """
    path = Path(path)
    if PLANE.search(path.name):
        return path if "_ooi_" in path.name else beside(path, "i")
    if path.exists():
        return path
    found = sorted(p for p in path.parent.glob(f"{path.name}_ooi_*.fits*") if not p.name.endswith(TRUTH))
    if len(found) != 1:
        raise DataFileError(path, "there is no such file; check the name" if not found else
                            f"stands for {len(found)} files: name one, as {found[0].name}")
    return found[0]


class Decam(Instrument, TakesGalaxies, WritesImages, SimulatesExposures):
    """The Dark Energy Camera, as its Community Pipeline delivers it."""
    name = "decam"
    summary = "exposures of DECam from the Community Pipeline: ooi, oow and ood files"
    options = OPTIONS
    flags = FLAGS

    def open(self, path, **options):
        """A `DecamExposure`; see `Instrument.open`.

        Raises
        ------
        DataFileError
            When a plane is missing, or a CCD that is asked for.
        """
        values = complete(OPTIONS, options)
        image = image_of(path)
        weight, dq = (Path(values[o]) if values[o] else beside(image, p) for o, p in (("weight_plane", "w"), ("dq_plane", "d")))
        have = {n: number(header, "FWHM") for n, header in image_names(image) if re.fullmatch(r"[NS]\d{1,2}", n)}
        if not have:
            raise DataFileError(image, "has no HDU named as a CCD of DECam, N1 to S31; use crowdsource generic")
        absent = [n for n in values["ccds"] or () if n not in have]
        if absent:
            raise DataFileError(image, f"has no CCD {', '.join(absent)}; it has {', '.join(have)}")
        chosen = tuple((n, np.nan if f is None else f) for n, f in have.items()
                       if not values["ccds"] or n in values["ccds"])
        expnum = _counted(read_header(image), "EXPNUM", EXPOSURES)
        lists = (Path(values[o] or "") for o in ("badpix", "galaxies_remove", "galaxies_resize"))
        return DecamExposure(image, weight, dq, tuple(values.items()), f"decam-{expnum}" if expnum else stem(image),
                             (image, weight, dq, *(p for p in lists if p.is_file())), chosen)

    def claims(self, path, header):
        """By the telescope's own words, and the planes' names."""
        name = Path(path).name
        return (str(header.get("INSTRUME", "")).strip().lower() == "decam" and bool(PLANE.search(name))
                and not name.endswith(TRUTH))

    def psf_prior(self, image):
        """A Moffat profile convolved with the filter's static wings, together of the header's FWHM or, without one, the image's.

        A plain Moffat profile where the filter is not one of ugrizY.
        """
        from crowdsource.psf.initial import initial_psf

        from .wings import halos
        return initial_psf(image, fwhm=image.meta["fwhm"], halo=halos().get(image.band))

    def fit_config(self, image, config):
        """The PSF varies linearly over a CCD that shows ten bright stars, has a small core, and about the header's FWHM."""
        return replace(config, psf=replace(config.psf, order=min(config.psf.order, 1), stars_per_term=VARYING/3,
                                           core=image.meta["options"]["core_size"], expected_fwhm=float(image.meta["fwhm"] or 0)))

    def flag_bright_stars(self, image, stars):
        """Boxes around stars brighter than magnitude 10, where blends are not split and peaks must be sharp."""
        if image.meta["options"]["deblend_bright"]:
            return image
        x, y = (np.asarray(stars[c])-o for c, o in zip("xy", image.origin))
        return image.flagged(bright_boxes(image.shape, x, y, stars["mag"]), FLAGS.brightstar, ENGINE.nodeblend | ENGINE.sharp)

    def flag_galaxies(self, image, table):
        """Ellipses of galaxies, where blends are not split; see `crowdsource.instruments.skymasks.galaxies`."""
        o = image.meta["options"]
        where = ellipses(image, *galaxies(table, o["galaxies_remove"], o["galaxies_resize"]))
        return image.flagged(where, FLAGS.galaxy, ENGINE.nodeblend)

    def extra_columns(self, image, result):
        """Identifiers ``expnum*2^39 + ccdnum*2^32 + row``, the measured gain, and `diffuse` in the flags."""
        rows = len(result.catalog)
        base = np.int64(image.meta["expnum"]) << np.int64(39) | np.int64(image.meta["ccdnum"]) << np.int64(32)
        return {"detection_id": base | np.arange(rows, dtype=np.int64), "gain": np.full(rows, image.gain),
                "flags": with_own_bits(np.asarray(result.catalog["flags"]), FROM_ENGINE)}

    def model_planes(self, image, result):
        """As `Instrument.model_planes`, with `diffuse` in the flags."""
        planes = super().model_planes(image, result)
        return {**planes, "MSK": with_own_bits(planes["MSK"], FROM_ENGINE)}

    def write(self, images, path, overwrite=False):
        """Write the planes of Images of CCDs; see `crowdsource.instruments.decam.planes.write_images`."""
        from .planes import write_images
        write_images(images, path, overwrite)

    def simulate(self, path, detectors=(), overwrite=False, **changes):
        """Write a simulated exposure; see `crowdsource.instruments.decam.simulation.simulate_exposure`."""
        from .simulation import simulate_exposure
        return simulate_exposure(path, detectors, overwrite, **changes)
