"""The state that passes of the loop hand on, and the result of a fit."""
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..config import FitConfig
from ..core.image import Image
from ..core.tiles import banded
from ..psf.base import PSF
from .design import Workspace
from .sources import Sources

SEARCH, PRUNE, LAST = "search", "prune", "last"
"""Kinds of passes: a search for sources, the removal of those that are not needed, and the final one with fixed positions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FitResult:
    """The result of a fit.

    Attributes
    ----------
    catalog : astropy.table.QTable
        One row a source, columns as in `crowdsource.engine.schema`.
    model : ndarray, shape (ny, nx), float32
        Model of the sources alone.
    sky : ndarray, shape (ny, nx), float32
    psf : crowdsource.psf.base.PSF
    history : list of dict
        Figures of each pass.
    config : crowdsource.config.FitConfig
    image : crowdsource.core.image.Image
        The one that was fitted, with the engine bits that the fit has set in its mask.
    probabilities : ndarray, shape (3 or 4, ny, nx), float32, or None
        Of nebulosity, scattered light, normal sky and perhaps errors, where a network was used.
    first_row : int
        Number of the catalog's first row, where the catalog is a part of a larger one.
    model_flux : ndarray, shape (n,), or None
        Flux of each row in the model, image units: fluxes of the catalog are corrected for the bias of fitted positions, and may
        refer to another aperture.
    extended : tuple of crowdsource.engine.profiles.Profile
        Of the last rows, in their order.
    """

    catalog: Any
    model: np.ndarray
    sky: np.ndarray
    psf: PSF
    history: list[dict[str, Any]]
    config: FitConfig
    image: Image
    probabilities: np.ndarray | None = None
    first_row: int = 0
    model_flux: np.ndarray | None = None
    extended: tuple = ()

    @property
    def rows(self):
        """Numbers of the catalog's rows, int64, from which identifiers are made."""
        return self.first_row+np.arange(len(self.catalog), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a fit has taken of its budget so far, see `crowdsource.engine.budget`.

    Attributes
    ----------
    overlap : float
        Of stamps in all solves, on each pixel.
    lost, won : float
        Pixels of profiles that were tried in vain, and of those that took the place of sources, as `ProfileFit.work`.
    largest : float
        Largest stamp that sources get from now on, pixels.
    over : bool
        The search ends.
    """

    overlap: float = 0.
    lost: float = 0.
    won: float = 0.
    largest: float = np.inf
    over: bool = False

    @property
    def cuts(self):
        """What is done without."""
        return self.over, self.largest

    def tried(self, pixels, won):
        """What is spent after one more profile."""
        return replace(self, **{"won" if won else "lost": (self.won if won else self.lost)+pixels})


@dataclass(frozen=True, eq=False, kw_only=True)
class PassState:
    """Everything that a pass starts from and hands on to the next; its arrays are never changed in place.

    Attributes
    ----------
    image : crowdsource.core.image.Image
    config : crowdsource.config.FitConfig
    psf : crowdsource.psf.base.PSF
    sources : crowdsource.engine.sources.Sources
    candidates : crowdsource.engine.sources.Sources
        Peaks that the next fit accepts or rejects; they are not in the model.
    sky, model : ndarray, shape (ny, nx), float32
    passno : int
        Passes done.
    new : int
        Sources found in the last pass.
    grown : int
        Number of sources that the last pass found, minus the number that it removed.
    forced : bool
        Positions are given.
    history : tuple of dict
    tiles : tuple of crowdsource.core.tiles.Tile
    noise : float
        Typical sky noise of a pixel, image units.
    kind : str
        Kind of this pass: `SEARCH`, `PRUNE` or `LAST`.
    matched : crowdsource.core.matched_filter.MatchedFilter or None
        Matched filter of the present PSF, once a search has made it.
    run : callable
        ``map``, or that of an executor: runs the pieces of work of a stage.
    workspace : crowdsource.engine.design.Workspace
        Memory that passes reuse; its content does not matter.
    covariance : ndarray, shape (n, 3, 3), or None
        After a fit with errors: of flux, and flux times shift in x and y, marginalised over neighbours.
    structure : crowdsource.nebulosity.find.Structure or None
        Structure of the background, once it has been looked for.
    model_error : ndarray, shape (ny, nx), float32, or None
        Error of the model in each pixel that the uncertainty of the PSF causes; None where that is not known.
    extended : tuple of crowdsource.engine.profiles.Profile
        Extended sources; their light is part of the model.
    fixed : bool
        Positions that are given stay as they are.
    spent : Spent
    """

    image: object
    config: FitConfig
    psf: object
    sources: Sources
    candidates: Sources
    sky: np.ndarray
    model: np.ndarray
    passno: int
    new: int
    forced: bool
    history: tuple
    tiles: tuple
    noise: float
    kind: str = SEARCH
    matched: object = None
    run: object = map
    workspace: Workspace = field(default_factory=Workspace)
    covariance: np.ndarray = None
    grown: int = 0
    structure: object = None
    model_error: np.ndarray = None
    extended: tuple = ()
    fixed: bool = True
    spent: Spent = Spent()

    @property
    def stays(self):
        """Whether all positions are given and stay as they are."""
        return self.forced and self.fixed

    @property
    def residual(self):
        """Data less sky and model, float32."""
        return banded(_less, (self.image.data, self.sky, self.model), self.run)

    def residual_in(self, part):
        """The residual of a part of the image, given by slices or by pixels (y, x)."""
        return _less(*(plane[part] for plane in (self.image.data, self.sky, self.model)))

    @property
    def probabilities(self):
        """Probabilities of classes of background from a network, shape (3 or 4, ny, nx), or None."""
        return None if self.structure is None else self.structure.probabilities

    @property
    def x(self):
        """Positions of the sources along axis 1, pixels."""
        return self.sources.x

    @property
    def y(self):
        """Positions of the sources along axis 0, pixels."""
        return self.sources.y

    @property
    def flux(self):
        """Fluxes of the sources."""
        return self.sources.flux


def _less(data, sky, model, out=None):
    """Data less sky and model."""
    out = np.subtract(data, sky, out=out)
    out -= model
    return out
