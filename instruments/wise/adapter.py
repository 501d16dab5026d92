"""unWISE coadds of W1 and W2: tiles of 2048 x 2048 pixels of 2.75 arcsec."""
import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from crowdsource.core.errors import DataFileError, InputError, InstrumentError
from crowdsource.core.flags import ENGINE, FlagDefinition, FlagTable, with_own_bits
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import (
    DetectorTask,
    Exposure,
    Instrument,
    Option,
    SimulatesExposures,
    WritesImages,
    complete,
    flag,
)
from crowdsource.io.fits import ImageName, covers, number, read_image
from crowdsource.io.positions import numbers

from .atlas import SIDE, atlas

log = logging.getLogger(__name__)
ZEROPOINT = 22.5
"""Vega magnitude of one unit of flux."""
FLOOR, FACTOR = {1: 0.5, 2: 2.0}, {1: 0.15, 2: 0.3}
"""Noise that the inverse variance leaves out: a constant, and per root of a pixel's flux."""
SATURATED, GROW = 85000., 3
"""Level, and how far around saturated pixels others are not used, pixels."""
TILE, OVERLAP = 512, 32
STAMPS = 19, 31, 59, 149, 319
"""Sizes of stamps, pixels: the light of saturated stars reaches to the end of the models, and what stamps leave of it is taken
for stars."""
SHARPNESS = 0.5
MASK_BITS = {
    "core_wings": ((0, 1), (2, 3)), "psf_spike": ((27,), (28,)), "ghost": ((25, 26), (11, 12)),
    "first_latent": ((13, 14), (15, 16)), "second_latent": ((17, 18), (19, 20)), "circular_halo": ((23,), (24,)),
    "saturation": ((4,), (5,)), "geom_spike": ((29,), (30,)), "bright_off_edge": ((7,), (8,)), "resolved_galaxy": ((9,), (9,)),
    "big_object": ((10,), (10,)), "possible_bright_star_centroid": ((21,), (22,)),
}
"""Bits of the mask files, for W1 and for W2."""
OFF_EITHER_EDGE = 7, 8
INFO_SHIFT = 8
MOST_EXPOSURES = 1e9
FLAGS = FlagTable("wise", [
    FlagDefinition(0, "core_wings", "in the core or the wings of a bright star"),
    FlagDefinition(1, "psf_spike", "in a diffraction spike by the PSF's model"),
    FlagDefinition(2, "ghost", "in an optical ghost"),
    FlagDefinition(3, "first_latent", "in the first latent image of a bright star"),
    FlagDefinition(4, "second_latent", "in the second latent image of a bright star"),
    FlagDefinition(5, "circular_halo", "in the circular halo of a bright star"),
    FlagDefinition(6, "saturation", "saturated"),
    FlagDefinition(7, "geom_spike", "in a diffraction spike by its geometry"),
    FlagDefinition(8, "bright_off_edge", "near a bright star off the edge of the tile"),
    FlagDefinition(9, "resolved_galaxy", "in a resolved galaxy"),
    FlagDefinition(10, "big_object", "in the Magellanic Clouds, M31 or another big object"),
    FlagDefinition(11, "possible_bright_star_centroid", "may hold the centroid of a bright star"),
    FlagDefinition(12, "crowdsat", "treated as saturated by the fit"),
    FlagDefinition(13, "nebulosity", "structured background"),
    FlagDefinition(14, "nodeblend", "no splitting of blends here"),
    FlagDefinition(15, "sharp", "only peaks as sharp as the PSF are accepted here"),
])
"""Bits 0 to 7 are the catalog's column ``flags_unwise``, bits 8 to 15 its ``flags_info``."""
FROM_ENGINE = {ENGINE.nebulous: FLAGS.nebulosity, ENGINE.nodeblend: FLAGS.nodeblend, ENGINE.sharp: FLAGS.sharp}
PLANES = "img-m", "invvar-m", "n-m", "n-u", "msk"
OPTIONAL = "n-u", "msk"
COADD = re.compile(r"\d{4}[pm]\d{3}")
FILE = re.compile(r"unwise-(\d{4}[pm]\d{3})-w(\d)-img-m\.fits(\.gz)?$")
BRIGHT = 5.
"""Stars brighter than this in K get very large stamps."""
K_NAMES = "k_m", "kmag", "ksmag", "k_mag", "ks_mag", "k", "ks"
"""Names of columns of K magnitudes, in any case; the first is that of the 2MASS point sources."""
NEBULOSITY = dict(mode="mean", nodeblend=False, weight=0.5, shift=64, smooth=64., stretch=100.)
"""How structured background is told and marked: blends are split in it, and networks are used as that of the coadds was."""
PSF_VARIABLE = "WISE_PSF_DIR"


def band(value):
    """A band that can be fitted: 1 or 2."""
    if str(value).lower().lstrip("w") not in ("1", "2"):
        raise ValueError("W1 and W2 can be fitted; W3 and W4 have another PSF and hold few stars")
    return int(str(value).lower().lstrip("w"))


def epoch(value):
    """The number of a time-resolved coadd."""
    value = int(value)
    if not 0 <= value < 255:
        raise ValueError("epochs count from 0 to 254")
    return value


OPTIONS = (
    Option("band", band, None, help="1 or 2", metavar="BAND", positional=True),
    Option("dir", str, ".", help="folder of the files, which lie in it or in NNN/COADD/; default here", metavar="DIR"),
    Option("epoch", epoch, None, help="a time-resolved coadd, in the folder e%03d; its mask is that of fulldepth", metavar="N"),
    Option("allow_missing", flag, False, help="go on without a number of exposures (n-u) or a mask (msk)"),
    Option("psf_dir", str, help=f"folder of PSF models; ${PSF_VARIABLE}, or the built-in model, when not given", metavar="DIR"),
    Option("psf_file", str, help="name of a PSF model in it, with {band} for the band; the base models when not given",
           metavar="NAME"),
    Option("refit_psf", flag, False, help="correct the PSF's central 9x9 pixels by the tile's stars"),
    Option("release", str, "", help="goes into the detections' identifiers", metavar="NAME"),
)


@dataclass(frozen=True)
class WiseExposure(Exposure):
    """The files of a tile in one band.

    Attributes
    ----------
    planes : tuple of (str, Path or None)
    options : tuple of (str, object)
    coadd : str
    band : int
    epoch : int or None
    """
    planes: tuple
    options: tuple
    coadd: str
    band: int
    epoch: int

    @property
    def identity(self):
        """Tile, band and epoch."""
        return f"{self.coadd}w{self.band}"+("" if self.epoch is None else f"e{self.epoch:03d}")

    @property
    def inputs(self):
        """The files that are there."""
        return tuple(path for _, path in self.planes if path is not None)

    def tasks(self):
        """One."""
        return (DetectorTask("", SIDE*SIDE/1e6),)

    def read(self, task):
        """The Image; see `Exposure.read`."""
        found = dict(self.planes)
        image = read_image(ImageName(found["img-m"], None))
        shape, wcs = image.data.shape, image.wcs()
        if wcs is None or not covers(wcs, shape):
            raise DataFileError(image.path, "has no celestial WCS that covers it and tells how the scans passed; fetch it again",
                                image.hdu)
        data, ivar = image.floats(), _plane(found["invvar-m"], shape).floats()
        seen = _counts(_plane(found["n-m"], shape))
        looked = seen if found["n-u"] is None else _counts(_plane(found["n-u"], shape))
        bits = np.zeros(shape, np.uint32) if found["msk"] is None else _plane(found["msk"], shape).flags()
        dq, mask = flags_of(bits, self.band)
        saturated = crowd_saturated(data, bits, (seen, looked), self.band)
        dq[saturated] |= np.uint32(FLAGS.crowdsat)
        mask[saturated] |= ENGINE.saturated
        ivar = np.where(saturated, 0, full_ivar(data, ivar, self.band)).astype(np.float32)
        where = atlas().index(self.coadd)
        meta = dict(header=image.header, options=dict(self.options), zeropoint_calibrated=True, coadd=self.coadd,
                    band=self.band, tile=where, epoch=self.epoch, seen=seen, looked=looked,
                    unit=str(image.header.get("BUNIT") or "Vega nanomaggies").strip())
        dates = [number(image.header, key) for key in ("MJDMIN", "MJDMAX")]
        zeropoint = number(image.header, "MAGZP")
        try:
            return Image.from_arrays(data, ivar, dq, mask, bad=ivar == 0, wcs=wcs, band=f"W{self.band}",
                                     zeropoint=ZEROPOINT if zeropoint is None else zeropoint, magnitude_system="Vega", meta=meta,
                                     mjd=np.nan if None in dates else float(np.mean(dates)), exposure=self.identity,
                                     copy=False)
        except InputError as problem:
            raise DataFileError(image.path, str(problem), image.hdu) from problem


def _plane(path, shape):
    """A plane; an error where it does not suit the image."""
    plane = read_image(ImageName(path, None))
    if plane.data.shape != shape:
        raise DataFileError(path, f"has shape {plane.data.shape} but the image has {shape}; give the files of one tile",
                            plane.hdu)
    return plane


def _counts(plane):
    """A plane's numbers of exposures, int32; 0 where it holds none."""
    values = plane.floats()
    return np.where(values > 0, np.minimum(values, MOST_EXPOSURES), 0).astype(np.int32)


def flags_of(bits, band):
    """Bits of this adapter and of the engine from those of a mask file.

    Parameters
    ----------
    bits : ndarray of int, shape (ny, nx)
    band : int

    Returns
    -------
    dq : ndarray, shape (ny, nx), uint32
    mask : ndarray, shape (ny, nx), uint16
    """
    dq, mask = np.zeros(bits.shape, np.uint32), np.zeros(bits.shape, np.uint16)
    for name, of_band in MASK_BITS.items():
        dq[_any(bits, of_band[band-1])] |= np.uint32(getattr(FLAGS, name))
    mask[dq & FLAGS.resolved_galaxy > 0] |= ENGINE.nodeblend
    mask[_any(bits, OFF_EITHER_EDGE)] |= ENGINE.sharp
    return dq, mask


def _any(bits, numbers):
    """Where any of some bits is set."""
    return bits & sum(1 << n for n in numbers) > 0


def crowd_saturated(data, bits, exposures, band):
    """Pixels saturated by the mask, by their value, or for want of exposures that were kept, and those next to them.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    bits : ndarray of int, shape (ny, nx)
    exposures : tuple of ndarray, shape (ny, nx)
        Numbers of exposures that were kept, and of all.
    band : int
    """
    kept, all_of_them = exposures
    where = _any(bits, MASK_BITS["saturation"][band-1]) | (data > SATURATED) | ((kept == 0) & (all_of_them > 1))
    at = np.arange(-GROW, GROW+1)
    return ndimage.binary_dilation(where, np.hypot(at[:, None], at[None, :]) <= GROW) if where.any() else where


def full_ivar(data, ivar, band):
    """Inverse variance with the noise that the coadd's leaves out: ``1/(1/ivar+floor^2+factor^2 max(data, 0))``; 0 stays 0."""
    good = np.isfinite(ivar) & (ivar > 0) & np.isfinite(data)
    variance = 1/np.where(good, ivar, 1).astype(np.float64)+FLOOR[band]**2+FACTOR[band]**2*np.where(good, np.maximum(data, 0), 0)
    return np.where(good, 1/variance, 0)


def files_of(folder, coadd, band, epoch):
    """The file of each plane, None where there is none.

    Parameters
    ----------
    folder : Path
    coadd : str
    band : int
    epoch : int or None

    Returns
    -------
    dict of str to (Path or None)
    """
    tops = {n: [folder] if epoch is None else [folder/f"e{epoch:03d}", folder] for n in PLANES}
    if epoch is not None:
        tops["msk"] = [folder/"fulldepth", folder]
        for name in PLANES[:-1]:
            tops[name] = [folder/f"e{epoch:03d}"]
    found = {}
    for name in PLANES:
        file = f"unwise-{coadd}-msk.fits" if name == "msk" else f"unwise-{coadd}-w{band}-{name}.fits"
        tried = [place/(file+end) for top in tops[name] for place in (top, top/coadd[:3]/coadd) for end in ("", ".gz")]
        found[name] = next((path for path in tried if path.is_file()), None)
    return found


class Wise(Instrument, WritesImages, SimulatesExposures):
    """Coadds of the Wide-field Infrared Survey Explorer, as the unWISE team delivers them."""
    name = "wise"
    summary = "unWISE coadds, W1 and W2: a tile by its name, and the band"
    image_metavar = "COADD"
    image_help = "name of the tile, as 1866p257, or its img-m file"
    options = OPTIONS
    flags = FLAGS

    def open(self, path, **options):
        """A `WiseExposure`; `path` is the name of a tile, or its ``img-m`` file.

        Raises
        ------
        DataFileError
            When a file is missing.
        InstrumentError
            When there is no such tile or band.
        """
        given = FILE.search(Path(path).name)
        if given:
            parent = Path(path).parent
            options = {"dir": str(parent), "band": given[2], **{n: v for n, v in options.items() if v is not None}}
        values = complete(OPTIONS, options)
        coadd = given[1] if given else str(path)
        if not COADD.fullmatch(coadd):
            raise InstrumentError(f"{path}: is no tile; name one, as 1866p257, or its img-m file")
        if values["band"] is None:
            raise InstrumentError(f"{coadd}: the band is missing; give 1 or 2 after the tile")
        atlas().index(coadd)
        folder = Path(values["dir"])
        found = files_of(folder, coadd, values["band"], values["epoch"])
        for name, plane in found.items():
            if plane is None and not (values["allow_missing"] and name in OPTIONAL):
                allowed = ", or go on without it (--allow-missing)" if name in OPTIONAL else ""
                raise DataFileError(folder, f"holds no {name} plane of {coadd}, neither in itself nor in {coadd[:3]}/{coadd}; "
                                    f"fetch it{allowed}")
        return WiseExposure(tuple(found.items()), tuple(values.items()), coadd, values["band"], values["epoch"])

    def claims(self, path, header):
        """By the name of the image's file."""
        return bool(FILE.search(Path(path).name)) and str(header.get("BAND", "")).strip() in ("1", "2")

    def tiling(self, image):
        """Four tiles along each axis."""
        return TILE, OVERLAP

    def psf_prior(self, image):
        """The band's model, turned and blurred as the scans of each place were; see `crowdsource.instruments.wise.psf`."""
        from .psf import field_psf
        o = image.meta["options"]
        return field_psf(image, image.meta["band"], o["psf_dir"] or os.environ.get(PSF_VARIABLE), o["psf_file"])

    def bright_stars(self, image, table):
        """Stars brighter than magnitude 5 in K.

        Raises
        ------
        InputError
            As `Instrument.bright_stars`, and when no column is one of `K_NAMES`.
        """
        names = {n.lower(): n for n in reversed(table.colnames)}
        column = next((names[k] for k in K_NAMES if k in names), None)
        if column is None:
            raise InputError(f"the catalog of bright stars has no K magnitudes; name their column {K_NAMES[0]} or {K_NAMES[1]}")
        bright = table[numbers(table, column, "mag") < BRIGHT]
        return super().bright_stars(image, bright)

    def fit_config(self, image, config):
        """The PSF is known and wide, and refitted only when that is asked for; structured background is told as for coadds."""
        psf = replace(config.psf, refit=image.meta["options"]["refit_psf"], order=0, core=9, min_stars=200)
        return replace(config, psf=psf, detect=replace(config.detect, sharpness=SHARPNESS),
                       solve=replace(config.solve, stamp_sizes=STAMPS),
                       nebulosity=replace(config.nebulosity, **NEBULOSITY))

    def write(self, images, path, overwrite=False):
        """Write the files of a tile; see `crowdsource.instruments.wise.planes.write_images`."""
        from .planes import write_images
        write_images(images, path, overwrite)

    def simulate(self, path, detectors=(), overwrite=False, **changes):
        """Write a simulated tile; see `crowdsource.instruments.wise.simulation.simulate_tile`."""
        from .simulation import simulate_tile
        return simulate_tile(path, detectors, overwrite, **changes)

    def extra_columns(self, image, result):
        """Identifiers, numbers of exposures, the two columns of flags, and which sources are primary in this tile."""
        c, meta = result.catalog, image.meta
        rows = np.arange(len(c), dtype=np.int64)
        release = meta["options"]["release"]
        ending = f"r{release}" if release else ""
        names = np.array([f"{meta['coadd']}w{meta['band']}o{k:07d}{ending}" for k in rows], dtype=str)
        px, py = (np.clip(np.round(np.asarray(getattr(c[n], "value", c[n]))-o).astype(int), 0, size-1)
                  for n, o, size in zip("xy", image.origin, image.shape[::-1]))
        flags = with_own_bits(np.asarray(c["flags"]), FROM_ENGINE)
        place = np.int64(meta["tile"]) << np.int64(41) | np.int64(meta["band"]-1) << np.int64(40) | \
            np.int64(0 if meta["epoch"] is None else meta["epoch"]+1) << np.int64(32)
        ra, dec = (np.asarray(getattr(c[n], "value", c[n]), dtype=float) for n in ("ra", "dec"))
        return {"detection_id": place | rows, "unwise_detid": names, "coadd_id": np.full(len(c), meta["coadd"]),
                "band": np.full(len(c), meta["band"], np.int16), "nm": meta["seen"][py, px].astype(np.int32),
                "flags_unwise": (flags & 0xff).astype(np.uint8), "flags_info": (flags >> INFO_SHIFT & 0xff).astype(np.uint8),
                "primary": atlas().primary(meta["tile"], ra, dec)}
