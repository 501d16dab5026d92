"""The adapter of DECam: its options, and what the engine should know of its exposures."""
from dataclasses import replace
from pathlib import Path

import numpy as np

from crowdsource.core.errors import DataFileError, InstrumentError
from crowdsource.core.flags import ENGINE, with_own_bits
from crowdsource.exposure.instrument import (
    Instrument,
    Option,
    SimulatesExposures,
    TakesGalaxies,
    WritesImages,
    complete,
    flag,
    not_negative,
)
from crowdsource.io.fits import hdu_label, image_names, number, read_header
from crowdsource.io.image_name import ImageName
from crowdsource.psf.initial import initial_psf

from ..deferred import deferred
from ..skymasks import bright_boxes, ellipses, galaxies
from .bits import FLAGS, FROM_ENGINE
from .exposure import DecamExposure, exposure_number
from .names import PLANE, TRUTH, beside, ccd_names, image_of, is_ccd, stem
from .wings import halos

write_images = deferred("crowdsource.instruments.decam.writing:write_images")
simulate_exposure = deferred("crowdsource.instruments.decam.simulation:simulate_exposure")
VARYING = 10
"""Number of stars from which on the PSF varies over a CCD: a linear polynomial has three terms."""


def odd(value):
    """An odd, positive whole number."""
    value = int(value)
    if value < 1 or value % 2 == 0:
        raise ValueError("an odd number of pixels is needed")
    return value


OPTIONS = (
    Option("weight_plane", str, metavar="FILE[:HDU]",
           help="inverse variances, when they are not beside the image under their own name; the HDU for a single CCD only"),
    Option("dq_plane", str, metavar="FILE[:HDU]",
           help="data-quality plane, when it is not beside the image under its own name; the HDU for a single CCD only"),
    Option("wcutoff", not_negative, 0., help="pixels with an inverse variance up to this are not used", metavar="WEIGHT"),
    Option("core_size", odd, 9, "pixels", "odd side of the core, in which the refit corrects the PSF pixel by pixel", "SIZE"),
    Option("badpix", str, metavar="FILE",
           help="static masks of bad pixels: a file with an HDU for each CCD, or a file for each, with {ccd} for its name"),
    Option("deblend_bright", flag, False, help="split blends around bright stars too"),
    Option("galaxies_remove", str, help="table with the names of galaxies to leave out", metavar="CATALOG"),
    Option("galaxies_resize", str, help="table with names of galaxies and their new d25, or a factor on it", metavar="CATALOG"),
    Option("ccds", ccd_names, help="only these CCDs, as N4 S7; all when not given", metavar="CCD", several=True, chooses=True),
)


class Decam(Instrument, TakesGalaxies, WritesImages, SimulatesExposures):
    """The Dark Energy Camera, as its Community Pipeline delivers it."""

    name = "decam"
    summary = "exposures of DECam from the Community Pipeline: ooi, oow and ood files"
    image_metavar = "IMAGE[:HDU]"
    image_help = ("image, inverse variance or data-quality file of an exposure, or their names up to _ooi_; "
                  "the HDU by number from 0 or name for that CCD only")
    options = OPTIONS
    flags = FLAGS

    def open(self, path, **options):
        """A `DecamExposure`; see `Instrument.open`.

        Raises
        ------
        DataFileError
            When a plane is missing, or a CCD that is asked for.
        InstrumentError
            When an HDU and CCDs are asked for, or one plane's HDU for several CCDs.
        """
        values = complete(OPTIONS, options)
        asked = ImageName.parse(path)
        image = image_of(asked.path)
        have = {n: number(header, "FWHM") or np.nan for n, header in image_names(image) if is_ccd(n)}
        if not have:
            raise DataFileError(image, "has no HDU named as a CCD of DECam, N1 to S31; use crowdsource generic")
        if asked.hdu is not None or asked.plane is not None:
            values["ccds"] = (_ccd_asked_for(asked, image, have, values["ccds"]),)
        ccds = _chosen(image, have, values["ccds"])
        weight, dq = (ImageName.parse(values[o]) if values[o] else ImageName(beside(image, p))
                      for o, p in (("weight_plane", "w"), ("dq_plane", "d")))
        if len(ccds) > 1 and (weight.hdu, dq.hdu) != (None, None):
            raise InstrumentError(f"{image}: an HDU of another plane is given for {len(ccds)} CCDs; "
                                  "name one CCD, as in `ccds=N4`, or leave the HDU out")
        lists = (Path(values[o] or "") for o in ("badpix", "galaxies_remove", "galaxies_resize"))
        expnum = exposure_number(read_header(image))
        return DecamExposure(image=image, weight=weight, dq=dq, options=tuple(values.items()), ccds=ccds, headers_fwhm=have,
                             identity=f"decam-{expnum}" if expnum else stem(image),
                             inputs=(image, weight.path, dq.path, *(p for p in lists if p.is_file())))

    def claims(self, path, header):
        """By the telescope's own words, and the planes' names."""
        name = Path(path).name
        return (str(header.get("INSTRUME", "")).strip().lower() == "decam" and bool(PLANE.search(name))
                and not name.endswith(TRUTH))

    def psf_prior(self, image):
        """A Moffat profile convolved with the filter's static wings, together of the header's FWHM or, without one, the image's.

        A plain Moffat profile where the filter is not one of ugrizY.
        """
        return initial_psf(image, fwhm=image.meta["fwhm"], halo=halos().get(image.band))

    def fit_config(self, image, config):
        """The PSF varies linearly over a CCD that shows ten bright stars, has a small core, and about the header's FWHM."""
        return replace(config, psf=replace(config.psf, order=min(config.psf.order, 1), stars_per_term=VARYING/3,
                                           core=image.meta["options"]["core_size"], core_widths=0.,
                                           expected_fwhm=float(image.meta["fwhm"] or 0)))

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
        return {"detection_id": base | result.rows, "gain": np.full(rows, image.gain),
                "flags": with_own_bits(np.asarray(result.catalog["flags"]), FROM_ENGINE)}

    def model_planes(self, image, result):
        """As `Instrument.model_planes`, with `diffuse` in the flags."""
        planes = super().model_planes(image, result)
        return {**planes, "MSK": with_own_bits(planes["MSK"], FROM_ENGINE)}

    def write(self, images, path, overwrite=False):
        """Write the planes of Images of CCDs; see `crowdsource.instruments.decam.writing.write_images`."""
        write_images(images, path, overwrite)

    def simulate(self, path, detectors=(), overwrite=False, **changes):
        """Write a simulated exposure; see `crowdsource.instruments.decam.simulation.simulate_exposure`."""
        return simulate_exposure(path, detectors, overwrite, **changes)


def _ccd_asked_for(asked, image, have, ccds):
    """The CCD in the HDU of an `ImageName`; `have` are those of the image's file, `ccds` what the option of that name says."""
    if asked.plane is not None:
        raise DataFileError(asked.path, f"is asked for plane {asked.plane}; CCDs have one plane, name the HDU only", asked.hdu)
    if ccds:
        raise InstrumentError(f"{asked.path}: CCD {asked.hdu} is asked for, and CCDs {', '.join(ccds)}; name them once")
    # a number counts in the file that was named, be it the image's or another plane's
    name = hdu_label(asked if asked.path.is_file() else replace(asked, path=image))
    if name not in have:
        raise DataFileError(image, f"is no CCD of the image's; it has {', '.join(have)}", asked.hdu)
    return name


def _chosen(image, have, names):
    """The CCDs that are named, in the file's order; all where none is."""
    absent = [n for n in names or () if n not in have]
    if absent:
        raise DataFileError(image, f"has no CCD {', '.join(absent)}; it has {', '.join(have)}")
    return tuple(n for n in have if not names or n in names)
