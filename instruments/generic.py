"""Any image: of a form that is known, or a FITS plane and whatever else the user has of it."""
import re
from dataclasses import replace

from crowdsource.core.errors import InputError
from crowdsource.core.memory import check_fit
from crowdsource.exposure.instrument import Instrument, Option, WritesImages, complete, finite, flag, not_negative, positive
from crowdsource.io.fits import ANY, write_image
from crowdsource.io.image_name import ImageName

from .deferred import deferred
from .exposure import GenericExposure, identity_of
from .formats.registry import recognised
from .noise_maps import NOISE_MAPS

initial_psf = deferred("crowdsource.psf.initial:initial_psf")
read_psf = deferred("crowdsource.psf.formats.reading:read_psf")


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
    Option("bad_bits", bits, metavar="BITS", help="bits of dq of pixels not to be used: numbers as 0,3,5, a mask as 0x29, any or "
           "none; when not given, those of the file's form that exclude a pixel, any where their meaning is not known"),
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
    Option("file_format", str, metavar="NAME",
           help="the form of the file, by its name; recognised when not given. none: the image alone, whatever lies beside it"),
    Option("cutout", box, help="the part to fit, in pixels from 0, without the pixels x1 and y1", metavar="x0:x1,y0:y1"),
)


class Generic(Instrument, WritesImages):
    """Any image. Of known forms all is taken from the file, of others what planes and headers tell; a user's options go first."""

    name = "generic"
    summary = "any image: of a telescope whose files are known, or FITS with or without noise map, flags and PSF"
    image_help = ("image of a known form, or any FITS image; the HDU by number from 0 or name, also in brackets, as "
                  "image.fits[1] or image.fits[SCI,2]; all images of the file when not given")
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
        file, form, chips = recognised(name, values["file_format"])
        # a header may say less than it must: who reads the pixels says so
        for chip in (c for c in chips if len(c.shape) > 1):
            x0, x1, y0, y1 = values["cutout"] or (0, chip.shape[-1], 0, chip.shape[-2])
            check_fit(name.path, (y1-y0, x1-x0), chip.number)
        if form is not None:
            files += [found for kind, found in form.beside(file) if not (values["dq"] if kind == "flags" else maps)]
        labels = tuple(form.label(chip) for chip in chips) if len(chips) > 1 else ("",)
        identity, files = identity_of(name, values["cutout"]), tuple(dict.fromkeys(files))
        return GenericExposure(name, tuple(values.items()), identity, files, labels)

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
