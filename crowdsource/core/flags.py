"""Flag bits: one table for each namespace, from which decoders and documentation are made.

Two planes of an `~crowdsource.core.image.Image` hold flags: ``dq``, the instrument's own bits (uint32), and ``mask``, the
engine's (uint16). A catalog's ``flags`` column is int64: ``dq | mask << 32``.
"""
from dataclasses import dataclass

import numpy as np

MASK_SHIFT = 32
"""Bit of a catalog's flags where those of the engine begin."""


@dataclass(frozen=True)
class FlagDefinition:
    """One bit of a flag plane.

    Parameters
    ----------
    bit : int
        Bit number, 0 for the lowest.
    name : str
        Identifier, lower case.
    description : str
        The meaning of a set bit.
    """

    bit: int
    name: str
    description: str

    @property
    def value(self):
        """The integer with only this bit set."""
        return 1 << self.bit


class FlagTable:
    """The bits of one namespace.

    Bits are attributes by name: ``ENGINE.saturated`` is the integer with that bit set.

    Parameters
    ----------
    name : str
        The namespace.
    definitions : iterable of FlagDefinition
        The bits; names and numbers must be unique.
    """

    def __init__(self, name, definitions):
        self.name = name
        self.definitions = tuple(definitions)
        self._values = {d.name: d.value for d in self.definitions}
        if len(self._values) != len(self.definitions) or len({d.bit for d in self.definitions}) != len(self.definitions):
            raise ValueError(f"flag table {name}: names and bits must be unique")

    def __getattr__(self, name):
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"flag table {self.__dict__.get('name')} has no bit named {name}") from None

    def decode(self, value):
        """Names of the bits set in an integer, lowest first; unknown bits as ``bitN``."""
        value = int(value)
        known = {d.bit: d.name for d in self.definitions}
        return [known.get(b, f"bit{b}") for b in range(value.bit_length()) if value >> b & 1]

    def documentation(self):
        """The table as text for manuals, one line for each bit."""
        return "\n".join(f"{d.bit:3d}  {d.value:#8x}  {d.name:12s}  {d.description}" for d in self.definitions)


ENGINE = FlagTable("mask", [
    FlagDefinition(0, "bad", "the pixel has no weight: it is masked by the instrument or its inverse variance is zero"),
    FlagDefinition(1, "saturated", "at or above the saturation level, or next to such a pixel"),
    FlagDefinition(2, "nonfinite", "the pixel's value is NaN or infinite"),
    FlagDefinition(3, "interpolated", "the value was interpolated from neighbours"),
    FlagDefinition(4, "nodeblend", "no splitting of blends here"),
    FlagDefinition(5, "sharp", "only peaks as sharp as the PSF are accepted here"),
    FlagDefinition(6, "nebulous", "structured background"),
    FlagDefinition(7, "uncertain", "errors of the PSF of brighter stars around exceed the noise of this source"),
    FlagDefinition(8, "offimage", "off the image: what light of it comes in tells of it; a given position far off is not fitted"),
    FlagDefinition(9, "nodata", "exactly constant around, or of no weight beside the rest of the image: no data"),
    FlagDefinition(10, "cosmic", "sharper than stars can be, over several pixels: a cosmic ray or a bad column"),
    FlagDefinition(11, "hot", "sharper than stars can be: a hot or dead pixel"),
    FlagDefinition(12, "extended",
                   "wider than the PSF by its significance; its flux is that of a profile, or of a point at its centre"),
    FlagDefinition(13, "trail", "on a straight line of peaks from edge to edge: a satellite or an airplane"),
    FlagDefinition(14, "negative", "below the sky over several pixels, in a blob: a negative ghost"),
    FlagDefinition(15, "duplicate", "another given position is the same; they are fitted as one source"),
    # the planes hold 16 bits: what follows is told of sources alone
    FlagDefinition(16, "near_bright", "hardly any of the light at the source is its own: it lies in the wings of brighter stars"),
])


def combine(dq, mask):
    """The catalog's ``flags``: the instrument's bits are the lower 32, the engine's begin at bit 32.

    Parameters
    ----------
    dq : array of uint32
        Instrument bits.
    mask : array of uint16
        Engine bits.

    Returns
    -------
    array of int64
    """
    return np.asarray(dq).astype(np.int64) | np.asarray(mask).astype(np.int64) << MASK_SHIFT


def with_own_bits(flags, names):
    """Flags as `combine` gives them, in which the instrument's bits for flags of the engine are set too.

    Parameters
    ----------
    flags : array of int64
    names : mapping of int to int
        The instrument's bit for each of some bits of `ENGINE`.

    Returns
    -------
    array of int64
    """
    for engine, own in names.items():
        flags = np.where(flags >> MASK_SHIFT & engine > 0, flags | own, flags)
    return flags


def decode(flags, instrument_table=None):
    """Names of the bits set in a catalog's ``flags`` value.

    Parameters
    ----------
    flags : int
        One value of the column.
    instrument_table : FlagTable, optional
        Table of the lower 32 bits; without it their names are ``bitN``.

    Returns
    -------
    list of str
    """
    lower = (instrument_table or FlagTable("dq", ())).decode(int(flags) & (1 << MASK_SHIFT) - 1)
    return lower + ENGINE.decode(int(flags) >> MASK_SHIFT)
