"""The contract of image formats: how a file of a form is recognised, and where its image, noise, flags, units and zero point are.

A form of your own is a subclass of `ImageFormat` that a package registers::

    [project.entry-points."crowdsource.image_formats"]
    mytelescope = "mypackage:MyTelescope"

Most forms are data: class attributes name the HDUs, the bits of the flags that exclude a pixel, and the files that lie beside
the image. Methods are for what differs from that.
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crowdsource.core.flags import FlagDefinition, FlagTable
from crowdsource.io.fits import ANY, FitsImage, read_image
from crowdsource.io.image_name import ImageName

from .units import gain_of, zeropoint_of


@dataclass(frozen=True, eq=False)
class Plane:
    """An image in a file, of which the header is known.

    Attributes
    ----------
    number : int
        Of the HDU, from 0.
    name : str
        EXTNAME, or else EXTTYPE, upper case; "" where there is none.
    version : int
        EXTVER.
    shape : tuple of int
    header : astropy.io.fits.Header
    """

    number: int
    name: str
    version: int
    shape: tuple
    header: object


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A file whose form is asked for: its name and its headers.

    Attributes
    ----------
    path : Path
    primary : astropy.io.fits.Header
        Of the first HDU; empty for files that are not FITS.
    planes : tuple of Plane
        The HDUs with pixels; none for files that are not FITS.
    """

    path: Path
    primary: object
    planes: tuple

    def named(self, names):
        """The planes of the first of some names that the file has."""
        return next((found for n in names if (found := tuple(p for p in self.planes if p.name == n))), ())

    def with_image(self, names, chip):
        """The plane of one of some names that goes with an image: of its version and shape. None where there is none."""
        found = (p for n in names for p in self.planes if p.name == n and p.version == chip.version and p.shape == chip.shape)
        return next(found, None)

    def text(self, *keywords):
        """The first of some keywords of the first header that has a text, upper case; "" where none has."""
        return next((v for k in keywords if (v := str(self.primary.get(k, "")).strip().upper())), "")


@dataclass(frozen=True)
class MaskBits:
    """What the bits of a plane of flags mean.

    Attributes
    ----------
    table : crowdsource.core.flags.FlagTable
    forbids : int
        Bits of pixels that are not to be used.
    saturated : int
        Bits, of those, that say that a pixel is saturated.
    """

    table: FlagTable
    forbids: int
    saturated: int = 0

    @property
    def known(self):
        """Whether the meaning of any bit is known."""
        return bool(self.table.definitions)

    def names(self, mask):
        """Names of bits, in words."""
        return ", ".join(self.table.decode(mask)) or "none"


RESAMPLED = "resampled: neighbouring pixels share noise, which no map tells"
"""What the log says of images made of others."""
ANY_BIT = MaskBits(FlagTable("dq", ()), ANY)
"""Nothing is known: all bits exclude a pixel."""


def mask_bits(name, bits, forbids, saturated=()):
    """A dictionary of bits.

    Parameters
    ----------
    name : str
    bits : mapping of int to (str, str)
        Name and meaning by number of the bit.
    forbids, saturated : iterable of str
        Names.
    """
    table = FlagTable(name, [FlagDefinition(k, *v) for k, v in bits.items()])
    value = lambda names: sum(getattr(table, n) for n in names)
    return MaskBits(table, value(forbids), value(saturated))


def bits_of_header(name, header, keyword, forbids, saturated=()):
    """Bits as the header of a plane of flags names them, one keyword for each: ``MP_SAT = 1``.

    Parameters
    ----------
    name : str
    header : astropy.io.fits.Header
    keyword : re.Pattern
        Of keywords that name a bit; its first group is the bit's name.
    forbids, saturated : collection of str
        Names, in lower case; those that the header does not have do not matter.
    """
    bits = {int(v): (match[1].lower(), key) for key, v in header.items()
            if (match := keyword.fullmatch(key)) and isinstance(v, int) and 0 <= v < 32}
    known = [named for named, _ in bits.values()]
    return mask_bits(name, dict(sorted(bits.items())), *([n for n in known if n in wanted] for wanted in (forbids, saturated)))


@dataclass(frozen=True, eq=False)
class Noise:
    """A map of noise that goes with an image.

    Attributes
    ----------
    kind : str
        "ivar", "inverse_sigma", "weight" (on any scale), "rms" or "variance".
    plane : crowdsource.io.fits.FitsImage
    said : str
        Where it is from, for the log.
    factor : float
        By how much the noise of a star exceeds that of independent pixels, where neighbours share it.
    """

    kind: str
    plane: FitsImage
    said: str
    factor: float = 1.


@dataclass(frozen=True, eq=False, kw_only=True)
class Facts:
    """What is known of an image beside its pixels; None or empty where it is not known.

    Attributes
    ----------
    unit : str
    gain : float
        Electrons per unit.
    exptime, mjd, saturation, readnoise : float
        Seconds; days; image units; electrons.
    zeropoint : float
        Magnitude of a flux of 1.
    magnitude_system : str
        "AB", "Vega", or empty.
    band : str
    wcs : object
    area : ndarray, shape (ny, nx)
        Area of each pixel in units of the nominal one, where the pixels hold surface brightness.
    notes : tuple of str
        What else the log should say, in half sentences.
    """

    unit: str = ""
    gain: float = None
    exptime: float = None
    mjd: float = np.nan
    saturation: float = None
    readnoise: float = None
    zeropoint: float = None
    magnitude_system: str = ""
    band: str = ""
    wcs: object = None
    area: np.ndarray = field(default=None, repr=False)
    notes: tuple = ()


class ImageFormat(ABC):
    """A form of image files. Methods other than `claims` have defaults that follow the class attributes.

    Attributes
    ----------
    summary : str
        What a file of it is, for messages: "an exposure of Webb".
    images : tuple of str
        Names of HDUs that hold an image; the first name that a file has counts, and all HDUs of that name are fitted. Empty for
        the first HDU with pixels.
    noises : tuple of (str, str)
        Kind and name of the HDU of noise maps, the most trusted first.
    flag_planes : tuple of str
        Names of the HDU of flags.
    bits : MaskBits
    certain : bool
        Whether it is known what a noise map holds: one that disagrees with the image is used, and doubted aloud.
    """

    summary: str
    images: tuple = ()
    noises: tuple = ()
    flag_planes: tuple = ()
    bits: MaskBits = ANY_BIT
    certain: bool = True

    @abstractmethod
    def claims(self, file):
        """Whether an `ImageFile` is of this form. It reads nothing but what is given."""

    def chips(self, file):
        """The images of a file that are to be fitted, as a tuple of `Plane`."""
        return file.named(self.images) if self.images else file.planes[:1]

    def label(self, chip):
        """What a chip is called among others of its file."""
        return f"{chip.name}{chip.version}" if chip.name else str(chip.number)

    def beside(self, file):
        """Files that lie beside the image and belong to it: (kind of noise or "flags", Path) for each that there is."""
        return ()

    def image(self, file, chip):
        """The image of a chip, as a `crowdsource.io.fits.FitsImage` whose pixels are linear."""
        return read_image(ImageName(file.path, chip.number))

    def noise(self, file, chip):
        """The `Noise` of a chip, or None."""
        for kind, name in self.noises:
            if (plane := file.with_image((name,), chip)) is not None:
                return Noise(kind, read_image(ImageName(file.path, plane.number)), name)
        for kind, path in self.beside(file):
            if kind != "flags":
                return Noise(kind, self.companion(path), f"{path.name} beside it")
        return None

    def flags(self, file, chip):
        """The flags of a chip as a FitsImage, and where they are from; (None, "") where there are none."""
        if (plane := file.with_image(self.flag_planes, chip)) is not None:
            return read_image(ImageName(file.path, plane.number)), plane.name
        path = next((path for kind, path in self.beside(file) if kind == "flags"), None)
        return (None, "") if path is None else (self.companion(path), f"{path.name} beside it")

    def companion(self, path):
        """The plane in a file beside the image, as `image` gives it."""
        return read_image(ImageName(path))

    def bits_of(self, flags):
        """The `MaskBits` of a plane of flags."""
        return self.bits

    def facts(self, file, chip, image):
        """The `Facts` of a chip, of which `image` gave the pixels."""
        return Facts(**header_facts(image))


def ab_facts(common, **changes):
    """The `Facts` of an image whose zero point, where it is known, is one of AB magnitudes.

    Parameters
    ----------
    common : mapping
        From `header_facts`.
    **changes
        Fields that are known otherwise.
    """
    told = {**common, **changes}
    return Facts(**{**told, "magnitude_system": "" if told["zeropoint"] is None else "AB"})


def header_facts(image):
    """Fields of `Facts` from keywords that many observatories use, as a dict.

    Parameters
    ----------
    image : crowdsource.io.fits.FitsImage
    """
    unit = str(image.header.get("BUNIT") or image.primary.get("BUNIT") or "").strip()
    exptime, wcs, zeropoint, system = image.value("exptime"), image.wcs(), image.value("zeropoint"), ""
    if zeropoint is None and (zeropoint := zeropoint_of(unit, wcs)) is not None:
        system = "AB"
    return dict(unit=unit, gain=gain_of(unit, image.value("gain"), exptime), exptime=exptime, mjd=image.mjd(),
                saturation=image.value("saturation"), readnoise=image.value("readnoise"), zeropoint=zeropoint,
                magnitude_system=system, band=image.value("band", str) or "", wcs=wcs)


def beside_of(path, pattern, replacements):
    """Files beside an image whose names follow from its own: (kind, Path) for those that there are.

    Parameters
    ----------
    path : Path
    pattern : re.Pattern
        What in the name is replaced.
    replacements : iterable of (str, str)
        Kind and replacement of `pattern`. Endings of compressed files may differ from the image's.
    """
    out = []
    for kind, text in replacements:
        name, number = pattern.subn(text, path.name)
        stem = name.removesuffix(".gz").removesuffix(".fz").removesuffix(".bz2")
        tried = (path.with_name(n) for n in dict.fromkeys((name, stem, stem+".gz", stem+".fz", stem+".bz2")))
        if number and (found := next((p for p in tried if p.is_file() and p != path), None)) is not None:
            out.append((kind, found))
    return tuple(out)


def only_one(folder, pattern):
    """The path in a folder that a pattern of names fits; None where there is none, or where several could be meant."""
    found = list(folder.glob(pattern))
    return found[0] if len(found) == 1 else None
