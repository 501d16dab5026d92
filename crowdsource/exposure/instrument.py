"""The instrument contract: what an adapter gives, and how adapters are found.

An adapter says how one kind of files becomes Images and what the engine should know about them. Most of it is data: its
options and its table of flag bits. Then come the few methods in which it differs from the defaults here. What only some
instruments can do is a class of its own, which an adapter inherits as well: `TakesGalaxies`, `WritesImages`,
`SimulatesExposures`. A third party registers an adapter through the entry-point group ``crowdsource.instruments``::

    [project.entry-points."crowdsource.instruments"]
    mycamera = "mypackage:MyCamera"

and ``crowdsource mycamera FILE`` is a command. Adapters and exposures hold no open files and can be pickled, so that
detectors can be fitted in other processes.
"""
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite

import numpy as np

from ..core.errors import CrowdsourceError, DataFileError, InstrumentError
from ..core.flags import FlagTable, combine
from ..core.nearest import did_you_mean, one_of
from ..core.registry import Registry
from ..io.file_names import safe_name
from ..io.fits import read_header
from ..io.image_name import ImageName
from ..io.positions import star_positions


@dataclass(frozen=True)
class Option:
    """A value that a user may give an adapter; the command line and the configuration file are made from it.

    Attributes
    ----------
    name : str
        Identifier; the command line writes its underscores as hyphens.
    type : callable
        Makes the value from a string, and takes an already right value as it is; raises ValueError with a remedy.
    default : object
        None for an option that need not be given.
    unit : str
        Unit of a number; "" for none.
    help : str
        One line.
    metavar : str
        What the help shows for the value; the name in capitals when empty.
    several : bool
        The command line takes several values, which reach the type as a list.
    chooses : bool
        It chooses among detectors, and has no part in what is fitted of each: resuming a run may change it.
    positional : bool
        On the command line it is no option but stands after the exposure, and may be left out.
    """

    name: str
    type: object = str
    default: object = None
    unit: str = ""
    help: str = ""
    metavar: str = ""
    several: bool = False
    chooses: bool = False
    positional: bool = False


def flag(value):
    """True or False; on the command line an option of this type takes no value."""
    if not isinstance(value, bool):
        raise ValueError("true or false is needed")
    return value


def positive(value):
    """A positive, finite float."""
    value = float(value)
    if not (isfinite(value) and value > 0):
        raise ValueError("a positive number is needed")
    return value


def not_negative(value):
    """A finite float of at least 0."""
    value = float(value)
    if not (isfinite(value) and value >= 0):
        raise ValueError("a number of at least 0 is needed")
    return value


def finite(value):
    """A finite float."""
    value = float(value)
    if not isfinite(value):
        raise ValueError("a finite number is needed")
    return value


@dataclass(frozen=True)
class DetectorTask:
    """One detector of an exposure to be fitted.

    Attributes
    ----------
    detector : str
        Its name in the exposure; "" for the only one.
    cost : float
        Estimated work in megapixels; the most expensive tasks are started first.
    """

    detector: str
    cost: float


class Exposure(ABC):
    """One file set of an instrument: lists its detectors and reads one Image at a time.

    Attributes
    ----------
    identity : str
        The same for the same observation wherever its files lie; detection identifiers are made from it.
    inputs : tuple of pathlib.Path
        The files, whose checksums the outputs record.
    options : tuple of (str, object)
        Values of the instrument's options, which the outputs record.
    """

    identity: str
    inputs: tuple
    options: tuple

    @property
    def label(self):
        """What outputs are called that a user does not name."""
        return safe_name(self.identity)

    @abstractmethod
    def tasks(self):
        """The detectors, as a tuple of `DetectorTask` in the order of the output. Reads headers at most."""

    @abstractmethod
    def read(self, task):
        """The Image of a task, masked and weighted, with `exposure` and `detector` set.

        Raises
        ------
        DataFileError
            When a file cannot be read or does not suit the others.
        """


class Instrument(ABC):
    """An adapter. Methods other than `open` have defaults that suit a plain camera.

    Attributes
    ----------
    name : str
        As registered; the command has this name.
    summary : str
        One line.
    image_metavar, image_help : str
        Placeholder and help text of the command's argument that names an exposure.
    options : tuple of Option
    flags : crowdsource.core.flags.FlagTable
        Names of the bits in an Image's ``dq``.
    """

    name: str
    summary: str
    image_metavar: str = "IMAGE[:HDU[:PLANE]]"
    image_help: str = ("FITS image; the HDU by number from 0 or name, also in brackets, as image.fits[1] or image.fits[SCI,2]; "
                       "the first with pixels when not given")
    options: tuple = ()
    flags: FlagTable = FlagTable("dq", ())

    @abstractmethod
    def open(self, path, **options):
        """An `Exposure`.

        Parameters
        ----------
        path : str
            The file that stands for the exposure, as `crowdsource.io.fits.ImageName` writes it.
        **options
            Values of `options` by name; those not given have their defaults.
        """

    def claims(self, path, header):
        """Whether a file is this instrument's, by its name and the header of its first HDU."""
        return False

    def psf_prior(self, image):
        """The PSF to start from, or None to have it measured on the image."""
        return None

    def tiling(self, image):
        """A `crowdsource.core.tiles.TileSize`, or None for the configuration's."""
        return None

    def fit_config(self, image, config):
        """The `crowdsource.config.FitConfig` with this instrument's defaults; a user's values are put on top of it."""
        return config

    def bright_stars(self, image, table):
        """Stars to give very large stamps: a Table with x, y and mag from a user's.

        It has x and y, or ra and dec and perhaps pmra, pmdec and epoch, and perhaps magnitudes.
        """
        return star_positions(table, image)

    def flag_bright_stars(self, image, stars):
        """The Image with flags set around bright stars, which are rows of `bright_stars`."""
        return image

    def extra_columns(self, image, result):
        """Additional columns of the catalog: a dict of arrays with one row per source. An existing column is replaced.

        By default the identifiers of detections: 31 bits of a hash of the exposure's identity and the detector, then the row,
        as ``result.rows`` numbers them.
        """
        return detection_ids(image, result)

    def model_planes(self, image, result):
        """Planes of the model file by name: model of the stars, sky, and flags."""
        return {"MOD": result.model, "SKY": result.sky, "MSK": combine(result.image.dq, result.image.mask)}


def detection_ids(image, result):
    """A column of identifiers of an image's detections: 31 bits of a hash of the exposure and the detector, then the row."""
    what = f"{image.exposure} {image.detector}".rstrip()
    base = np.int64(int.from_bytes(hashlib.sha256(what.encode()).digest()[:4]) >> 1) << np.int64(32)
    return {"detection_id": base | result.rows}


class TakesGalaxies(ABC):
    """An instrument that can flag galaxies of a user's catalog."""

    unsupported = "takes no galaxies: leave them out"

    @abstractmethod
    def flag_galaxies(self, image, table):
        """The Image with `nodeblend` set in its mask where a user's table has galaxies."""


class WritesImages(ABC):
    """An instrument that can write Images in its own format, for simulations and artificial stars."""

    unsupported = "cannot write images"

    @abstractmethod
    def write(self, images, path, overwrite=False):
        """Write Images in this instrument's own format.

        Parameters
        ----------
        images : sequence of crowdsource.core.image.Image
        path : str
            The file that stands for the exposure.
        overwrite : bool
        """


class SimulatesExposures(ABC):
    """An instrument that can write simulated exposures in its own format."""

    unsupported = "simulates no exposures: leave out the instrument for a field in a file of its own"

    @abstractmethod
    def simulate(self, path, detectors=(), overwrite=False, **changes):
        """Write a simulated exposure in this instrument's own format, and the truth of its stars.

        Parameters
        ----------
        path : str
            The file that stands for the exposure.
        detectors : sequence of str
            Some that suit the instrument when empty.
        overwrite : bool
        **changes
            Fields of `crowdsource.simulate.SimulationConfig` that are not to be the instrument's.

        Returns
        -------
        tuple of pathlib.Path
            The files.
        """


def require(instrument, ability):
    """Raise `InstrumentError` when an instrument lacks an ability.

    Parameters
    ----------
    instrument : Instrument
    ability : type
        `TakesGalaxies`, `WritesImages` or `SimulatesExposures`.
    """
    if not isinstance(instrument, ability):
        raise InstrumentError(f"{instrument.name} {ability.unsupported}")


def complete(options, given):
    """Values of all options: those given, converted, and defaults.

    Parameters
    ----------
    options : iterable of Option
    given : mapping
        By name; None counts as not given.

    Raises
    ------
    InstrumentError
        When a name is unknown or a value cannot be converted.
    """
    known = {o.name: o for o in options}
    unknown = [n for n in given if n not in known]
    if unknown:
        raise InstrumentError(f"option {unknown[0]} is unknown{did_you_mean(unknown[0], known, one_of(known))}")
    values = {n: o.default for n, o in known.items()}
    for name, value in given.items():
        if value is not None:
            try:
                values[name] = known[name].type(value)
            except (ValueError, TypeError) as problem:
                raise InstrumentError(f"option {name}: {value!r} cannot be used: {problem}") from problem
    return values


def is_instrument(part):
    """Whether something is an instrument, or a class of instruments."""
    return isinstance(part, Instrument) or (isinstance(part, type) and issubclass(part, Instrument))


ANY_IMAGE = "generic"
"""The instrument of images that none claims."""
INSTRUMENTS = Registry("crowdsource.instruments", "instrument", {}, keeps=is_instrument, error=InstrumentError)
"""Instruments by name. The project's own are registered as those of third parties are."""


def registered():
    """Names of all registered instruments, as a sorted tuple."""
    return tuple(sorted(INSTRUMENTS.names()))


def load(instrument):
    """An instrument.

    Parameters
    ----------
    instrument : str, Instrument or type
        A registered name, an instrument, or its class.

    Raises
    ------
    InstrumentError
        When no instrument has the name, several distributions register it, or it cannot be loaded.
    """
    part = INSTRUMENTS.resolve(instrument)
    if not isinstance(part, type):
        return part
    try:
        return part()
    except CrowdsourceError:
        raise
    except Exception as problem:
        raise InstrumentError(f"instrument {INSTRUMENTS.name_of(instrument)} cannot be made: {problem}; update or uninstall its "
                              "package") from problem


def claiming(path, header):
    """All instruments that claim a file, as a list.

    Parameters
    ----------
    path : path-like
    header : astropy.io.fits.Header
        Of its first HDU.
    """
    return [i for i in map(load, registered()) if i.claims(path, header)]


def recognised(name):
    """The instrument whose file an image is: the one that claims it, generic when none does.

    Parameters
    ----------
    name : str
        ``FILE[:HDU[:PLANE]]``.

    Raises
    ------
    InstrumentError
        When several claim it.
    """
    path = ImageName.parse(name).path
    try:
        claims = claiming(path, read_header(path))
    except DataFileError:
        # other kinds of files than FITS, and what is wrong with this one, are for who reads any image
        claims = []
    if len(claims) > 1:
        names = [i.name for i in claims]
        raise InstrumentError(f"{path}: several instruments claim it ({', '.join(names)}): name one, as in "
                              f"crowdsource {names[0]}, or instrument={names[0]!r} in Python")
    return claims[0] if claims else load(ANY_IMAGE)
