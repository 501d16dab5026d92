"""What positions and fluxes of a joint fit are given in: those of the reference, and of the first image of each band."""
from dataclasses import dataclass, field, replace

from ..core.world import sky_of
from ..engine.catalog import flux_unit
from .frame import Frame

GIVEN = "given objects"
"""The reference where objects are given."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BandUnits:
    """In what the fluxes of a band are given: those of one image.

    Attributes
    ----------
    image : str
        Its name.
    scale : float
        Flux of a typical star on it over that in the reference.
    unit : str
        Of its pixels.
    zeropoint : float
        NaN where not known.
    """

    image: str
    scale: float
    unit: str
    zeropoint: float

    @property
    def flux_unit(self):
        """Unit of a flux."""
        return flux_unit(self.unit)


@dataclass(frozen=True, eq=False, kw_only=True)
class Reference:
    """What positions and fluxes are given in.

    Attributes
    ----------
    name : str
        The image, or `GIVEN`.
    origin : tuple of int
        (x0, y0) of the reference's first pixel in its parent; catalogs give positions there.
    wcs : astropy.wcs.WCS or None
        Of the first image's parent.
    wcs_origin : tuple of int
        (x0, y0) of that image in its parent.
    frame : Frame
        From the reference to that image.
    band : str
        In which fluxes have the scale of the reference.
    bands : dict of str to BandUnits
    next_id : int
        Identifier of the first star that is not in a given list.
    first_row : int
        Number of the first row of each image's catalog.
    """

    name: str
    origin: tuple
    wcs: object
    wcs_origin: tuple
    frame: Frame
    band: str
    bands: dict = field(default_factory=dict)
    next_id: int = 0
    first_row: int = 0

    @classmethod
    def of(cls, state):
        """That of a state: its own, or of the larger field that it is a part of, with the scales that images have now."""
        known, first = state.known.any(), state.epochs[0]
        if state.reference is None:
            image = first.image
            whole = cls(name=GIVEN if known else first.name, origin=(0, 0) if known else image.origin, wcs=image.wcs,
                        wcs_origin=image.origin, frame=first.frame, band=image.band, bands=band_units(state.epochs),
                        next_id=int(state.ids.max(initial=-1))+1)
        else:
            whole = state.reference
        scales = {e.name: e.scale for e in state.epochs}
        bands = {name: replace(b, scale=1. if name == whole.band else scales.get(b.image, b.scale))
                 for name, b in whole.bands.items()}
        return replace(whole, bands=bands)

    @property
    def flux_unit(self):
        """Unit of a flux on the reference's scale."""
        return self.bands[self.band].flux_unit

    def sky(self, u, v):
        """Right ascension and declination of reference positions, ICRS, degrees; None without world coordinates."""
        if self.wcs is None:
            return None
        x, y = self.frame(u, v)
        return sky_of(self.wcs, x+self.wcs_origin[0], y+self.wcs_origin[1])


@dataclass(frozen=True, eq=False)
class Placement:
    """How images lie to a reference, found before.

    Attributes
    ----------
    registrations : dict of str to crowdsource.joint.register.Registration
        By their names, the one that keeps its frame and scale first.
    reference : Reference
        Of them, or of the larger field that they are parts of.
    """

    registrations: dict
    reference: Reference

    @classmethod
    def of_state(cls, state, reference):
        """How the images of a state lie now."""
        found = {e.name: replace(e.registration, frame=e.frame, scale=e.scale) for e in state.epochs}
        return cls(found, reference)

    def of(self, names):
        """Registrations of some images, in their order here."""
        return {n: r for n, r in self.registrations.items() if n in names}


def band_units(epochs):
    """The `BandUnits` of each band, from its first image."""
    first = {e.image.band: e for e in reversed(epochs)}
    return {band: BandUnits(image=e.name, scale=e.scale, unit=e.image.meta.get("unit", ""), zeropoint=e.image.zeropoint)
            for band, e in sorted(first.items())}
