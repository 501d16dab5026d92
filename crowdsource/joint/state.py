"""The state of a joint fit: one list of stars, and what each image makes of them."""
from dataclasses import dataclass, field, replace

import numpy as np

from ..config import FitConfig
from ..core.tiles import Box, Tile
from ..engine.cull import off_image
from ..engine.design import stamp_sizes, within_largest
from ..engine.joint_fit import whole_problem
from ..engine.model_error import with_model_error
from ..engine.sources import Sources
from ..engine.stages import with_model, with_sky
from ..engine.state import SEARCH, PassState
from ..exposure.instrument import detection_ids
from .config import JointConfig
from .frame import Frame
from .shelf import Memory

FLOOR = 0.02
"""Relative error of a flux on an image that counts when variability is judged: errors of the PSF are of this size."""
OF_ROWS = "fluxes", "errors", "own"
"""What has one row a band or an image, and a column for each star."""
MARGIN = 8.
"""Stars farther off an image than this, and than their stamps reach, are not fitted there, pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Epoch:
    """One image of a joint fit.

    Attributes
    ----------
    name : str
    state : crowdsource.engine.state.PassState
        Its sources are the stars of the common list that this image shows, at their places here and with their fluxes here.
    frame : crowdsource.joint.frame.Frame
        From reference positions to those of this image.
    scale : float
        Flux of a typical star here over that in the reference.
    band : int
        Number of its band; images of one band share fluxes.
    rows : ndarray of int, shape (n,)
        Row of each of these sources in the common list, ascending.
    registration : crowdsource.joint.register.Registration
        As first found.
    key : str
        Name of its planes on the shelf.
    columns : callable
        Called as ``columns(image, result)``; gives further columns of the image's catalog.
    years : float
        From the mean time of all images to that of this one; 0 where it is not known.
    factor : ndarray, shape (2,)
        How far a parallax of one pixel moves stars here, along the axes of the reference, less its mean over all images; 0 where
        parallaxes are not fitted.
    """

    name: str
    state: PassState
    frame: Frame
    scale: float
    band: int
    rows: np.ndarray
    registration: object
    key: str = ""
    columns: object = detection_ids
    years: float = 0.
    factor: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @property
    def image(self):
        """The image itself."""
        return self.state.image

    def placed(self, stars, flux):
        """Sources of this image at the places of some stars.

        Parameters
        ----------
        stars : crowdsource.engine.sources.Sources
            In the reference.
        flux : ndarray, shape (n,)
            On this image, image units.

        Returns
        -------
        sources : crowdsource.engine.sources.Sources
            Of those stars that this image may show.
        rows : ndarray of int
            Their numbers.
        """
        x, y = self.frame(stars.x, stars.y)
        sources = Sources.new(x, y, flux, stars.error*self.scale)
        shift = np.einsum("nij,nj->ni", self.frame.jacobian(stars.x, stars.y), stars.shift)
        sources = sources.with_values(shift=shift, passno=stars.passno, bright=stars.bright)
        rows = np.flatnonzero(~off_image(sources, self.image.shape, np.maximum(MARGIN, self.sizes(flux)//2)))
        return sources.subset(rows), rows

    def sizes(self, flux):
        """Stamp sizes of stars of some fluxes on this image, odd, pixels; as large as where the image is fitted in tiles."""
        solve = self.state.config.solve
        whole = replace(solve, max_stamp_pixels=solve.max_stamp_pixels*len(self.state.tiles))
        size = stamp_sizes(np.asarray(flux), self.state.psf, self.state.noise, whole)
        return within_largest(size, self.state.spent)

    def problem(self, sources, first):
        """The linear problem of the whole image as one tile.

        Parameters
        ----------
        sources : crowdsource.engine.sources.Sources
        first : int
            Number of the first candidate among them.

        Returns
        -------
        crowdsource.engine.joint_fit.TileProblem
            Its stamps lie in the workspace's memory, which is to be given back.
        """
        size, (ny, nx) = self.sizes(sources.flux), self.image.shape
        for one in np.unique(size):
            self.state.psf.prepare(int(one))
        whole = Box(0, nx, 0, ny)
        return whole_problem(self.state, Tile(whole, whole), sources, size, first)

    def with_sky(self):
        """The epoch with a new sky, and the error of its model.

        As in a search, the light of what is not certain to be a star is no star's: here by what all images tell.
        """
        state = with_sky(with_model_error(replace(self.state, forced=False)))
        return replace(self, state=replace(state, forced=True))

    def with_sources(self, sources, rows):
        """The epoch with other sources, and the model of them."""
        return replace(self, state=with_model(replace(self.state, sources=sources, covariance=None)), rows=rows)


@dataclass(frozen=True, eq=False, kw_only=True)
class JointState:
    """Everything that a pass of a joint fit starts from; its arrays are never changed in place.

    Attributes
    ----------
    config : crowdsource.config.FitConfig
    joint : crowdsource.joint.config.JointConfig
    epochs : tuple of Epoch
        The first is the reference, but where objects are given.
    bands : tuple of str
    stars : crowdsource.engine.sources.Sources
        The common list: positions in the reference, fluxes there as all bands together tell for a star of typical colour, and
        their isolated errors from all images.
    fluxes, errors : ndarray, shape (bands, n)
        In each band, and their isolated errors; in units in which a star of typical colour has the same flux in all of them.
    own : ndarray, shape (images, n)
        Flux of each star on each image less the one that the band gives it there, image units; 0 where stars are constant.
    motion : ndarray, shape (n, 2)
        Proper motions, reference pixels a year; 0 where they are not fitted.
    parallax : ndarray, shape (n,)
        Reference pixels; 0 where they are not fitted.
    ids : ndarray of int, shape (n,)
        Identifiers of stars of a given list, which stay, and at their positions; -1 for the others.
    given : ndarray, shape (n,)
        Their fluxes as given, which say what the units are; 0 for the others.
    spread : ndarray, shape (n,)
        How much the flux of each star varies from image to image, one sigma, reference units.
    blending : ndarray, shape (n,)
        Ratio of each flux error to that of an isolated star.
    grid : crowdsource.joint.grid.Grid
        On which new stars are looked for.
    passno : int
    kind : str
        As `crowdsource.engine.state.PassState`.
    new, grown : int
        As there.
    run : callable
        ``map`` or an executor's, over images.
    shelf : crowdsource.joint.shelf.Memory
        Where the planes of images are while they are not worked on.
    history : tuple of dict
    covariance : ndarray, shape (n, 2, 2), or None
        Of the positions, reference pixels squared, after the last pass.
    unit : float
        Scale of the first image, which stays; 1 where that is the reference.
    reference : crowdsource.joint.reference.Reference or None
        Of a larger field that this is a part of.
    """

    config: FitConfig
    joint: JointConfig
    epochs: tuple
    bands: tuple
    stars: Sources
    fluxes: np.ndarray
    errors: np.ndarray
    own: np.ndarray
    motion: np.ndarray
    parallax: np.ndarray
    ids: np.ndarray
    given: np.ndarray
    spread: np.ndarray
    blending: np.ndarray
    grid: object
    passno: int = 0
    kind: str = SEARCH
    new: int = 0
    grown: int = 0
    run: object = map
    shelf: object = field(default_factory=Memory)
    history: tuple = ()
    covariance: np.ndarray = None
    unit: float = 1.
    reference: object = None

    def opened(self, epoch):
        """An epoch with its planes at hand."""
        return replace(epoch, state=self.shelf.get(epoch.state))

    def over(self, function):
        """What a function of each epoch, with its planes at hand, gives; a list."""
        return list(self.run(lambda epoch: function(self.opened(epoch)), self.epochs))

    def mapped(self, function):
        """The state with each image's epoch replaced by a function of it."""
        return replace(self, epochs=tuple(self.over(lambda epoch: self.kept(function(epoch)))))

    def kept(self, epoch):
        """An epoch with its planes where they are while it is not worked on."""
        return replace(epoch, state=self.shelf.put(epoch.state, epoch.key))

    def over_images(self, values):
        """An array of one row an image and one column a star, NaN where an image does not show a star.

        Parameters
        ----------
        values : callable
            Gives the values of an epoch's sources.
        """
        out = np.full((len(self.epochs), len(self.stars)), np.nan)
        for line, epoch in zip(out, self.epochs):
            line[epoch.rows] = values(epoch)
        return out

    def flux_on(self, number):
        """Fluxes of all stars on an image, image units."""
        epoch = self.epochs[number]
        return self.fluxes[epoch.band]*epoch.scale+self.own[number]

    def drift(self, number):
        """How far from their places the stars are at the time of an image, shape (n, 2), reference pixels."""
        epoch = self.epochs[number]
        return epoch.years*self.motion+epoch.factor*self.parallax[:, None]

    def stars_on(self, number):
        """The stars where they are at the time of an image, in the reference."""
        drift = self.drift(number)
        return self.stars.with_values(x=self.stars.x+drift[:, 0], y=self.stars.y+drift[:, 1])

    @property
    def known(self):
        """Which stars are those of a given list, shape (n,)."""
        return self.ids >= 0

    @property
    def fwhm(self):
        """FWHM of the best image's PSF, reference pixels."""
        return min(float(e.state.psf.fwhm())/e.frame.scale for e in self.epochs)

    def joined(self, stars, *, fluxes=None, errors=None, own=None, spread=None, covariance=None):
        """The state with further stars at the end of its list, which do not move; images are not changed.

        Parameters
        ----------
        stars : crowdsource.engine.sources.Sources
            In the reference.
        fluxes, errors : ndarray, shape (bands, n), optional
            Those of `stars` in all bands where not given.
        own : ndarray, shape (images, n), optional
            Where not given the stars are constant, and `spread`, shape (n,), is `FLOOR` of their fluxes.
        covariance : ndarray, shape (n, 2, 2), optional
            Of their positions; not known where not given.
        """
        n, bands = len(stars), (len(self.bands), 1)
        covariance = np.full((n, 2, 2), np.nan) if covariance is None else covariance
        new = dict(fluxes=np.tile(stars.flux, bands) if fluxes is None else fluxes,
                   errors=np.tile(stars.error, bands) if errors is None else errors,
                   own=np.zeros((len(self.epochs), n)) if own is None else own,
                   motion=np.zeros((n, 2)), parallax=np.zeros(n), ids=np.full(n, -1), given=np.zeros(n),
                   spread=FLOOR*np.maximum(stars.flux, 0) if spread is None else spread, blending=np.ones(n))
        all_values = {name: np.concatenate([getattr(self, name), values], axis=1 if name in OF_ROWS else 0)
                      for name, values in new.items()}
        return replace(self, stars=self.stars.joined(stars), **all_values,
                       covariance=None if self.covariance is None else np.concatenate([self.covariance, covariance]))

    def subset(self, keep):
        """The state with some of its stars; images are not changed."""
        return replace(self, stars=self.stars.subset(keep), fluxes=self.fluxes[:, keep], errors=self.errors[:, keep],
                       own=self.own[:, keep], motion=self.motion[keep], parallax=self.parallax[keep],
                       ids=self.ids[keep], given=self.given[keep], spread=self.spread[keep], blending=self.blending[keep],
                       covariance=None if self.covariance is None else self.covariance[keep])

    def placed(self):
        """The state with its stars on all images at their places and with their fluxes, and the models of that."""
        def one(k):
            epoch = self.opened(self.epochs[k])
            return self.kept(epoch.with_sources(*epoch.placed(self.stars_on(k), self.flux_on(k))))

        return replace(self, epochs=tuple(self.run(one, range(len(self.epochs)))))
