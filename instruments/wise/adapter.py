"""The adapter of WISE: its options, and what the engine should know of unWISE coadds of W1 and W2."""
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from crowdsource.core.errors import DataFileError, InputError, InstrumentError
from crowdsource.core.flags import with_own_bits
from crowdsource.core.tiles import TileSize
from crowdsource.exposure.instrument import Instrument, Option, SimulatesExposures, WritesImages, complete, flag
from crowdsource.io.positions import numbers

from ..deferred import deferred
from .atlas import atlas
from .bits import FLAGS, FROM_ENGINE, INFO_SHIFT
from .exposure import WiseExposure
from .names import COADD, IMAGE, OPTIONAL, files_of
from .psf import PSF_VARIABLE, field_psf

write_images = deferred("crowdsource.instruments.wise.writing:write_images")
simulate_tile = deferred("crowdsource.instruments.wise.simulation:simulate_tile")
TILES = TileSize(core=512, overlap=32)
"""Core and padding of the tiles in which the fit cuts an image, pixels."""
STAMPS = 19, 31, 59, 149, 319
"""Sizes of stamps, pixels: the light of saturated stars reaches to the end of the PSF's models, and light outside of their stamps
would be taken for stars."""
SHARPNESS = 0.5
"""Least sharpness of peaks where only sharp ones are sources, in units of the PSF's."""
BRIGHT_K = 5.
"""Stars brighter than this in K get very large stamps, magnitudes."""
K_NAMES = "k_m", "kmag", "ksmag", "k_mag", "ks_mag", "k", "ks"
"""Names of columns of K magnitudes, in any case; the first is that of the 2MASS point sources."""
NEBULOSITY = dict(mode="mean", nodeblend=False, weight=0.5, shift=64, smooth=64., stretch=100.)
"""How structured background is found and flagged: blends are split in it, and a network is used as unWISE's is."""


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
    Option("dir", str, ".", metavar="DIR",
           help="folder of the files, which are in it or in NNN/COADD/ below it; the working folder when not given"),
    Option("epoch", epoch, metavar="N",
           help="number of a time-resolved coadd, in the folder e%03d; the mask is that of fulldepth"),
    Option("allow_missing", flag, False, help="go on without the number of all exposures (n-u) or the mask (msk)"),
    Option("psf_dir", str, help=f"folder of PSF models; ${PSF_VARIABLE}, or the built-in model, when not given", metavar="DIR"),
    Option("psf_file", str, help="name of a PSF model in that folder, with {band} for the band; the base model when not given",
           metavar="NAME"),
    Option("refit_psf", flag, False, help="correct the PSF's central 9x9 pixels by the tile's stars"),
    Option("release", str, "", help="text at the end of the detections' names, unwise_detid", metavar="NAME"),
)


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
        given = IMAGE.search(Path(path).name)
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
        for kind, file in found.items():
            if file is None and not (values["allow_missing"] and kind in OPTIONAL):
                allowed = ", or go on without it (`allow_missing=True`)" if kind in OPTIONAL else "" if kind == "img-m" else \
                    ", or have the image read by generic, which takes what there is"
                raise DataFileError(folder, f"holds no {kind} plane of {coadd}, neither in itself nor in {coadd[:3]}/{coadd}; "
                                    f"fetch it{allowed}")
        return WiseExposure(files=tuple(found.items()), options=tuple(values.items()), coadd=coadd, band=values["band"],
                            epoch=values["epoch"])

    def claims(self, path, header):
        """By the name of the image's file."""
        return bool(IMAGE.search(Path(path).name)) and str(header.get("BAND", "")).strip() in ("1", "2")

    def tiling(self, image):
        """Four tiles along each axis."""
        return TILES

    def psf_prior(self, image):
        """The band's model, turned and blurred as the scans at each position were; see `crowdsource.instruments.wise.psf`."""
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
        bright = table[numbers(table, column, "mag") < BRIGHT_K]
        return super().bright_stars(image, bright)

    def fit_config(self, image, config):
        """The PSF is known, and refitted only when that is asked for; structured background is found as `NEBULOSITY` says."""
        psf = replace(config.psf, refit=image.meta["options"]["refit_psf"], order=0, core=9, min_stars=200)
        return replace(config, psf=psf, detect=replace(config.detect, sharpness=SHARPNESS),
                       solve=replace(config.solve, stamp_sizes=STAMPS),
                       nebulosity=replace(config.nebulosity, **NEBULOSITY))

    def write(self, images, path, overwrite=False):
        """Write the files of a tile; see `crowdsource.instruments.wise.writing.write_images`."""
        write_images(images, path, overwrite)

    def simulate(self, path, detectors=(), overwrite=False, **changes):
        """Write a simulated tile; see `crowdsource.instruments.wise.simulation.simulate_tile`."""
        return simulate_tile(path, detectors, overwrite, **changes)

    def extra_columns(self, image, result):
        """Identifiers, numbers of exposures, the two columns of flags, and which sources are primary in this tile."""
        c, meta = result.catalog, image.meta
        rows = result.rows
        release = meta["options"]["release"]
        ending = f"r{release}" if release else ""
        names = np.array([f"{meta['coadd']}w{meta['band']}o{k:07d}{ending}" for k in rows], dtype=str)
        px, py = (np.clip(np.round(np.asarray(getattr(c[n], "value", c[n]))-o).astype(int), 0, size-1)
                  for n, o, size in zip("xy", image.origin, image.shape[::-1]))
        flags = with_own_bits(np.asarray(c["flags"]), FROM_ENGINE)
        base = np.int64(meta["tile"]) << np.int64(41) | np.int64(meta["band"]-1) << np.int64(40) | \
            np.int64(0 if meta["epoch"] is None else meta["epoch"]+1) << np.int64(32)
        ra, dec = (np.asarray(getattr(c[n], "value", c[n]), dtype=float) for n in ("ra", "dec"))
        return {"detection_id": base | rows, "unwise_detid": names, "coadd_id": np.full(len(c), meta["coadd"]),
                "band": np.full(len(c), meta["band"], np.int16), "nm": meta["seen"][py, px].astype(np.int32),
                "flags_unwise": (flags & 0xff).astype(np.uint8), "flags_info": (flags >> INFO_SHIFT & 0xff).astype(np.uint8),
                "primary": atlas().primary(meta["tile"], ra, dec)}
