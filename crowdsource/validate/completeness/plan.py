"""Which artificial stars each run adds: where, how bright, and so few that they do not change the crowding."""
from dataclasses import dataclass
from math import isfinite

import numpy as np
from scipy.spatial import cKDTree

from ...core.errors import ConfigError
from ...psf.base import pixel
from ..columns import plain_columns

SPACING = 6.
"""Artificial stars are no nearer to each other than this, FWHM: each has the image's own stars as neighbours only."""
SHARE = 0.05
"""A run adds at most this share of the number of stars that are there ..."""
LEAST_AREA = 256.
"""... or one in this area, squares of the FWHM, where that is more: in a field without a crowd there is none to change."""
FAINTEST, BRIGHTEST = 0.5, 100.
"""Range of fluxes, in units of the flux that is five times an isolated star's error."""
JITTER = 0.5
"""Stars on a grid are off its points by up to this along each axis, pixels: all phases in a pixel occur."""
LAYOUTS = "grid", "random"
TRIES = 30
"""Random positions that are drawn for each star."""


@dataclass(frozen=True, kw_only=True)
class StarOptions:
    """What a user wants of artificial stars.

    Attributes
    ----------
    runs : int
        Images with artificial stars that are made and fitted.
    stars : int or None
        Stars of each; as many as do not change the crowding when None.
    fluxes, magnitudes : tuple of float, or None
        Range of fluxes, image units, or of magnitudes with the image's zero point.
    layout : str
        "grid", or "random".
    seed : int
        Of positions, fluxes and noise.
    local : bool
        Fit cut-outs around the stars instead of the whole image.
    colours : tuple of (str, float, float)
        Of a joint fit of several bands: names of two as ``g-r``, and the range of that colour, magnitudes. Where there are none
        the colours are those of the catalog's own stars.
    """

    runs: int = 10
    stars: int = None
    fluxes: tuple = None
    magnitudes: tuple = None
    layout: str = "grid"
    seed: int = 0
    local: bool = False
    colours: tuple = ()

    def __post_init__(self):
        rules = [(self.runs >= 1, "runs must be at least 1"), (self.stars is None or self.stars >= 1, "stars must be at least 1"),
                 (self.layout in LAYOUTS, f"layout is {self.layout!r}: one of {', '.join(LAYOUTS)}"),
                 (self.seed >= 0, "seed must not be negative"),
                 (self.fluxes is None or self.magnitudes is None, "fluxes and magnitudes are both given: keep one of them"),
                 (self.fluxes is None or (len(self.fluxes) == 2 and min(self.fluxes) > 0 and all(map(isfinite, self.fluxes))),
                  "fluxes must be two positive numbers, of the faintest and the brightest star"),
                 (self.magnitudes is None or (len(self.magnitudes) == 2 and all(map(isfinite, self.magnitudes))),
                  "magnitudes must be two numbers, of the brightest and the faintest star"),
                 (all(isfinite(low) and isfinite(high) and low <= high for _, low, high in self.colours),
                  "a colour must be a number, or two, of which the first is the smaller")]
        for holds, message in rules:
            if not holds:
                raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class StarPlan:
    """The artificial stars of all runs.

    Attributes
    ----------
    shape, origin : tuple of int
        (ny, nx) of the image, and (x0, y0) of its first pixel in the parent.
    count : int
        Stars of a run, fewer where pixels are masked.
    fluxes : tuple of float
        Of the faintest and the brightest star, as the catalog counts; as many stars in each interval of magnitude.
    spacing : float
        Smallest distance of two of a run, pixels.
    layout : str
    seed : int
    local : bool
    colours : tuple of (str, float, float)
        As of `StarOptions`.
    """

    shape: tuple
    origin: tuple
    count: int
    fluxes: tuple
    spacing: float
    layout: str = "grid"
    seed: int = 0
    local: bool = False
    colours: tuple = ()

    @classmethod
    def from_lists(cls, values):
        """From a mapping in which tuples have become lists, as JSON has them."""
        return cls(**{n: tuple(map(tuple, v) if n == "colours" else v) if isinstance(v, list) else v for n, v in values.items()})

    def stars(self, run, good):
        """The stars of a run.

        Parameters
        ----------
        run : int
            From 0; each has stars of its own.
        good : ndarray of bool, shape (ny, nx)
            Pixels that are used: a star in another one could not be found.

        Returns
        -------
        dict of str to ndarray, shape (n,), float64
            x and y, the parent's pixels, and flux.
        """
        rng = np.random.default_rng((self.seed, run))
        x, y = (_on_grid if self.layout == "grid" else _anywhere)(self.shape, self.count, self.spacing, rng)
        low, high = np.log(self.fluxes)
        flux = np.exp(rng.uniform(low, high, len(x)))
        use = good[pixel(y), pixel(x)]
        return dict(x=x[use]+self.origin[0], y=y[use]+self.origin[1], flux=flux[use])


def _on_grid(shape, count, spacing, rng):
    """Positions on a square grid whose origin is random: some of its points where it has more than are wanted."""
    ny, nx = shape
    pitch = max(spacing+2*JITTER, np.sqrt(nx*ny/count))
    start = rng.uniform(0, min(pitch, nx)), rng.uniform(0, min(pitch, ny))
    x, y = np.meshgrid(*(np.arange(first, side, pitch)-0.5 for first, side in zip(start, (nx, ny))))
    chosen = rng.permutation(x.size)[:count]
    jitter = rng.uniform(-JITTER, JITTER, (2, len(chosen)))
    return (np.clip(v.ravel()[chosen]+j, -0.5, side-0.501) for v, j, side in zip((x, y), jitter, (nx, ny)))


def _anywhere(shape, count, spacing, rng):
    """Random positions, none within the spacing of one before."""
    ny, nx = shape
    x, y = rng.uniform(-0.5, nx-0.501, TRIES*count), rng.uniform(-0.5, ny-0.501, TRIES*count)
    near = cKDTree(np.c_[x, y]).query_ball_point(np.c_[x, y], spacing)
    free, chosen = np.ones(len(x), bool), []
    for k in range(len(x)):
        if free[k] and len(chosen) < count:
            chosen.append(k)
            free[near[k]] = False
    return x[chosen], y[chosen]


def star_plan(image, catalog, fwhm, options):
    """The `StarPlan` that suits an image.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    catalog : Table
        Of the image itself.
    fwhm : float
        Of the PSF, pixels.
    options : StarOptions

    Raises
    ------
    ConfigError
        When more stars are wanted than have room, or magnitudes of an image without a zero point.
    """
    spacing, area = SPACING*fwhm, image.shape[0]*image.shape[1]
    room = max(1, int(area/(spacing+2*JITTER)**2))
    if options.stars is not None and options.stars > room:
        raise ConfigError(f"stars is {options.stars}: no more than {room} have room in a run, {SPACING:g} FWHM from each other; "
                          "ask for more `runs`")
    # cut-outs have one star each, however many a run has
    usual = room if options.local else int(np.ceil(max(SHARE*len(catalog), area/(LEAST_AREA*fwhm**2))))
    return StarPlan(shape=tuple(image.shape), origin=tuple(map(int, image.origin)), count=options.stars or min(usual, room),
                    fluxes=_fluxes(image, catalog, options), spacing=float(spacing), layout=options.layout, seed=options.seed,
                    local=options.local, colours=options.colours)


def _fluxes(image, catalog, options):
    """The faintest and the brightest flux."""
    if options.fluxes is not None:
        return tuple(map(float, sorted(options.fluxes)))
    if options.magnitudes is not None:
        if not np.isfinite(image.zeropoint):
            raise ConfigError("magnitudes need the zero point of the image (`zeropoint`), which has none: give that, or fluxes")
        return tuple(float(10**(-0.4*(m-image.zeropoint))) for m in sorted(options.magnitudes, reverse=True))
    rows = plain_columns(catalog, ("dflux_iso",))
    known = (rows["flux"] > 0) & (rows["dflux_iso"] > 0) & np.isfinite(rows["flux"]+rows["dflux_iso"])
    if not known.any():
        raise ConfigError("nothing was found on the image, from which the range of fluxes could be taken: give `fluxes`")
    flux, error = rows["flux"][known], rows["dflux_iso"][known]
    five = 5*float(np.median(error[flux <= np.median(flux)]))
    return FAINTEST*five, BRIGHTEST*five
