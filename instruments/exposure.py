"""Reading an image of any form: what the file says, and what a user says instead."""
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crowdsource.core.errors import CrowdsourceError, DataFileError, InputError
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import DetectorTask, Exposure
from crowdsource.io.fits import ANY, FitsImage, planes_of, read_image
from crowdsource.io.hdus import UNREADABLE, one_line
from crowdsource.io.image_name import ImageName

from .flag_planes import judged, masks, plateau
from .formats.base import ANY_BIT, Noise
from .formats.registry import recognised
from .noise_maps import NOISE_MAPS, noise_arguments

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenericExposure(Exposure):
    """The images of one file.

    Attributes
    ----------
    name : ImageName
        The file, with an HDU or a plane where only that is to be fitted.
    options : tuple of (str, object)
        Values of all options.
    identity : str
    inputs : tuple of Path
    chips : tuple of str
        What each image of the file is called; "" for the only one.
    """

    name: ImageName
    options: tuple
    identity: str
    inputs: tuple
    chips: tuple = ("",)

    def tasks(self):
        """One for each image; their cost is not known before they are read."""
        return tuple(DetectorTask(chip, 1.) for chip in self.chips)

    def read(self, task):
        """The Image; see `Exposure.read`."""
        o = dict(self.options)
        source = Source.of(self.name, o["file_format"], self.chips.index(task.detector), len(self.chips) > 1)
        cut = _cut(o["cutout"], source.image)
        data, facts = source.image.floats(cut), source.told("facts", source.image)
        flags = _flags(source, o, cut)
        bits = flags.bits
        # nobody has said what bits of an unknown meaning do
        drop = flags.found and not bits.known and o["bad_bits"] is None
        forbids, findings = judged(flags.dq, data, bits, o["bad_bits"], drop)
        attributes = _attributes(facts, source.image, o)
        bad, mask = masks(data, flags.dq, replace(bits, forbids=forbids), attributes["saturation"], o)
        noise, told = _noise(source, o, cut, data, np.isfinite(data) & ~bad)
        noise["findings"] = (*noise.get("findings", ()), *flags.findings, *findings, *_odd_numbers(source.image, o))
        if facts.area is not None:
            _weigh(data, noise, facts.area[cut])
        _tell(source, facts, attributes, told, flags.told(forbids))
        readnoise = facts.readnoise if o["readnoise"] is None else o["readnoise"]
        meta = dict(psf=o["psf"], fwhm=o["fwhm"], no_refit_psf=o["no_refit_psf"], normalize_radius=o["normalize_radius"],
                    readnoise=readnoise, header=_with_bits(source.image.header, bits), unit=facts.unit)
        try:
            return Image.from_arrays(data, dq=flags.dq, mask=mask, bad=bad, readnoise=readnoise, wcs=facts.wcs, meta=meta,
                                     exposure=self.identity, detector=task.detector, copy=False, **noise, **attributes)
        except InputError as problem:
            raise DataFileError(source.image.path, str(problem), source.image.hdu) from problem


@dataclass(frozen=True, eq=False)
class Source:
    """One image of a file, and the form that tells what goes with it.

    Attributes
    ----------
    file : crowdsource.instruments.formats.base.ImageFile
    form : crowdsource.instruments.formats.base.ImageFormat
    chip : crowdsource.instruments.formats.base.Plane
    image : crowdsource.io.fits.FitsImage
    several : bool
        Whether it is one of several of the file that are fitted.
    """

    file: object
    form: object
    chip: object
    image: FitsImage
    several: bool

    @classmethod
    def of(cls, name, asked, number, several):
        """The image of a number among those of a file. Parameters as `recognised`. Errors as `read_image`."""
        file, form, chips = recognised(name, asked)
        if name.plane is not None or not chips:
            # what is wrong with the name is said by who reads it
            image = read_image(name)
            if not chips:
                # the image can be read, but not all that is in its file
                planes_of(name.path)
                raise DataFileError(name.path, "its HDUs cannot be told; the file is damaged: fetch it again")
            return cls(file, form, chips[number], image, several)
        source = cls(file, form, chips[number], None, several)
        return replace(source, image=source.told("image"))

    def told(self, what, *more):
        """What the form tells of the image by the method of a name, which gets the file, the chip and what else is given.

        Raises
        ------
        DataFileError
            When the file is not what it is taken for.
        """
        try:
            return getattr(self.form, what)(self.file, self.chip, *more)
        except CrowdsourceError:
            raise
        except UNREADABLE as problem:
            raise DataFileError(self.file.path, f"is taken for {self.form.summary}, but its {what} cannot be told "
                                f"({one_line(problem)}): `file_format='none'` takes the image alone") from problem

    def asked_for(self, text, cut):
        """The plane that a user names for this image, cut as it is, as a FitsImage."""
        name = ImageName.parse(text)
        if self.several and isinstance(name.hdu, int):
            raise InputError(f"{text} is one HDU for several images: leave the HDU out, or name one image, as in "
                             f"{self.file.path}:{self.chip.number}")
        if self.several and "," not in str(name.hdu):
            name = replace(name, hdu=self.chip.number if name.hdu is None else f"{name.hdu},{self.chip.version}")
        return self.cut(read_image(name), cut)

    def cut(self, plane, cut):
        """The part of another plane that goes with the image's."""
        if plane.data.shape != self.image.data.shape:
            raise DataFileError(plane.path, f"has shape {plane.data.shape} but the image {self.image.path}[{self.image.hdu}] has "
                                f"{self.image.data.shape}; cut them to the same pixels", plane.hdu)
        return replace(plane, data=plane.data[cut])


@dataclass(frozen=True, eq=False)
class Flags:
    """Flags of an image's pixels.

    Attributes
    ----------
    dq : ndarray of uint32, shape (ny, nx), or None
    bits : crowdsource.instruments.formats.base.MaskBits
    where : str
        Where they are from; "" where a user says it.
    findings : tuple of str
    """

    dq: np.ndarray = None
    bits: object = ANY_BIT
    where: str = ""
    findings: tuple = ()

    @property
    def found(self):
        """Whether they were found, not asked for."""
        return bool(self.where)

    def told(self, forbids):
        """Words on where they are from, and which bits exclude a pixel."""
        if not self.where:
            return "flags as given" if self.dq is not None else "no flags"
        what = self.bits.names(forbids) if self.bits.known else "any" if forbids == ANY else f"bits {forbids:#x}"
        return f"flags in {self.where} ({what} exclude{'s'*(',' not in what)} a pixel)"


def _flags(source, o, cut):
    """The `Flags` that a user names, or that go with the image."""
    form = source.form
    if o["dq"] is not None:
        plane = source.asked_for(o["dq"], cut)
        own = plane.path == source.file.path or plane.path in [path for _, path in form.beside(source.file)]
        return Flags(plane.flags(), form.bits_of(plane) if own else ANY_BIT)
    plane, where = source.told("flags")
    if plane is None:
        return Flags()
    try:
        return Flags(source.cut(plane, cut).flags(), form.bits_of(plane), where)
    except DataFileError as problem:
        return Flags(findings=(f"flags in {where} are not used: {problem}",))


def _noise(source, o, cut, data, used):
    """Arguments of `Image.from_arrays` that say the noise, and where it is from in words; `used`: pixels that count."""
    kind = next((n for n in NOISE_MAPS if o[n]), None)
    if kind is not None:
        given = source.asked_for(o[kind], cut)
        return noise_arguments(Noise(kind, given, ""), data, used, o["trust_noise"]), f"{kind.replace('_', ' ')} as given"
    found = source.told("noise")
    if found is None:
        return {}, "noise estimated"
    named = f"{found.kind.replace('_', ' ')} in {found.said}"
    try:
        found = replace(found, plane=source.cut(found.plane, cut))
        return noise_arguments(found, data, used, o["trust_noise"]), named
    except CrowdsourceError as problem:
        told = str(problem)
    if source.form.certain:
        try:
            arguments = noise_arguments(found, data, used, trusted=True)
            return dict(arguments, findings=(*arguments["findings"], f"{named} is used although {told}")), named
        except CrowdsourceError as problem:
            told = str(problem)
    return dict(findings=(f"{named} is not used: {told}",)), "noise estimated"


def _weigh(data, noise, area):
    """Turn surface brightness into flux, in place: pixels of an area, and what is said of their noise."""
    data *= area
    for kind in ("ivar", "weight"):
        if kind in noise:
            noise[kind] /= area**2


def _attributes(facts, image, o):
    """Attributes of the Image beside its pixels: from the options, else from the file."""
    gain = o["gain"] or facts.gain
    saturation = o["saturation"]
    if saturation is None:
        saturation = min(facts.saturation or np.inf, plateau(image.data))
    zeropoint, system = (facts.zeropoint, facts.magnitude_system) if o["zeropoint"] is None else (o["zeropoint"], "")
    x0, _, y0, _ = o["cutout"] or (0, 0, 0, 0)
    return dict(gain=gain if gain and gain > 0 else np.nan, origin=(x0, y0), saturation=saturation if saturation > 0 else np.inf,
                zeropoint=np.nan if zeropoint is None else zeropoint, magnitude_system=system, exptime=facts.exptime or np.nan,
                band=facts.band, mjd=facts.mjd)


def _odd_numbers(image, o):
    """What is odd in the header about numbers that no option gives."""
    return [line for what in ("gain", "readnoise", "saturation", "exptime") if o.get(what) is None for line in image.odd(what)]


def _tell(source, facts, attributes, noise, flags):
    """Log on one line what was taken from the file."""
    zeropoint, system = attributes["zeropoint"], attributes["magnitude_system"]
    version = f",{source.chip.version}"*(source.several and source.chip.version > 1)
    words = [f"image in HDU {source.image.hdu}{version}", noise, flags, facts.unit or "no unit",
             f"zero point {zeropoint:.3f}{f' ({system})'*bool(system)}" if np.isfinite(zeropoint) else "no zero point",
             *(("multiplied by the areas of its pixels",) if facts.area is not None else ()), *facts.notes]
    log.info("%s is %s: %s", source.file.path.name, source.form.summary, "; ".join(words))


def _with_bits(header, bits):
    """A header with the names of the bits of the flags, as ``DQBITn``."""
    if not bits.known:
        return header
    header = header.copy()
    for bit in bits.table.definitions:
        header[f"DQBIT{bit.bit}"] = (bit.name, bit.description)
    return header


def _cut(cutout, source):
    """The slices of a cut-out, of the whole image when there is none."""
    ny, nx = source.data.shape
    x0, x1, y0, y1 = cutout or (0, nx, 0, ny)
    if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
        raise DataFileError(source.path, f"cut-out {x0}:{x1},{y0}:{y1} is empty or leaves the image of {nx} x {ny} pixels",
                            source.hdu)
    return np.s_[y0:y1, x0:x1]


def identity_of(name, cutout):
    """The file's name without folder and endings, the HDU, the plane and the cut-out."""
    stem = re.sub(r"(\.fits?|\.fts)?(\.fz|\.gz|\.bz2)?$", "", Path(name.path).name, flags=re.IGNORECASE)
    part = "".join(f":{v}" for v in (name.hdu, name.plane) if v is not None)
    return stem+part+("" if cutout is None else "[{}:{},{}:{}]".format(*cutout))
