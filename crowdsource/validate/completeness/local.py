"""Artificial stars fitted in cut-outs around them, instead of in the whole image: what is far from a star stays as it was.

The cut-outs of a run are laid side by side in one image, so that the loop has few large arrays instead of many small ones. PSF,
sky and all light from outside of a cut-out are those of the image's own fit; the sources in it are where the loop starts from.
"""
from dataclasses import dataclass, replace

import numpy as np

from ...artifacts.clean import cleaned
from ...core.errors import DataFileError
from ...core.flags import ENGINE, MASK_SHIFT
from ...core.tiles import make_tiles
from ...engine.catalog import image_catalog
from ...engine.design import model_image
from ...engine.loop import single_pass
from ...engine.sources import Sources
from ...engine.stages import with_model
from ...engine.state import LAST, PRUNE, SEARCH, PassState
from ...psf.base import PSF, pixel
from .trial import recovered

REACH = 3.
"""Half side of a cut-out, FWHM."""
LEAST_STAMP = 19
"""Side of the stamps of all sources, pixels, at least: what their wings have beyond stays as it was."""
FORGOTTEN = 1.
"""Sources within this distance of an artificial star are not known at the start, FWHM: they are to be found together with it."""
KINDS = SEARCH, SEARCH, SEARCH, PRUNE, LAST
"""The passes: they begin as late ones of a fit do, with all rules in force."""
FIRST_PASS = 3


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Where cut-outs lie.

    Attributes
    ----------
    x, y : ndarray of int, shape (n,)
        Middle of each in the image, pixels.
    half : int
        Half side of a cut-out, pixels.
    gap : int
        Pixels without data between two.
    shape : tuple of int
        (ny, nx) of the image.
    """

    x: np.ndarray
    y: np.ndarray
    half: int
    gap: int
    shape: tuple

    @property
    def pitch(self):
        """From one cut-out to the next, pixels."""
        return 2*self.half+1+self.gap

    @property
    def columns(self):
        """Cut-outs in a row."""
        return int(np.ceil(np.sqrt(len(self.x))))

    @property
    def size(self):
        """(ny, nx) of the mosaic."""
        lines = -(-len(self.x)//self.columns)
        return lines*self.pitch+self.gap, self.columns*self.pitch+self.gap

    @property
    def offset(self):
        """How far x and y of a pixel of the image exceed those in the mosaic, of each cut-out; ndarrays of int."""
        k = np.arange(len(self.x))
        return (self.x-(k % self.columns)*self.pitch-self.gap-self.half, self.y-(k//self.columns)*self.pitch-self.gap-self.half)

    def cut(self, plane, nothing=0):
        """A plane of the image as a mosaic; `nothing` between the cut-outs and off the image."""
        out, (ny, nx) = np.full(self.size, nothing, plane.dtype), self.shape
        for dx, dy, x, y in zip(*self.offset, self.x, self.y):
            x0, x1, y0, y1 = max(x-self.half, 0), min(x+self.half+1, nx), max(y-self.half, 0), min(y+self.half+1, ny)
            out[y0-dy:y1-dy, x0-dx:x1-dx] = plane[y0:y1, x0:x1]
        return out

    def inside(self, x, y):
        """(number of the source, number of the cut-out) of each position of the image that lies in a cut-out."""
        number = np.full(self.shape, -1, np.int32)
        for k, (cx, cy) in enumerate(zip(self.x, self.y)):
            number[max(cy-self.half, 0):cy+self.half+1, max(cx-self.half, 0):cx+self.half+1] = k
        px, py = pixel(x), pixel(y)
        on = np.flatnonzero((px >= 0) & (px < self.shape[1]) & (py >= 0) & (py < self.shape[0]))
        which = number[py[on], px[on]]
        return on[which >= 0], which[which >= 0]

    def of(self, x, y):
        """Number of the cut-out that holds each position of the mosaic, or lies nearest."""
        lines = -(-len(self.x)//self.columns)
        column, line = (np.clip((pixel(v)-self.gap//2)//self.pitch, 0, n-1) for v, n in ((x, self.columns), (y, lines)))
        return np.minimum(line*self.columns+column, len(self.x)-1)

    def back(self, x, y):
        """Positions in the image of positions in the mosaic."""
        dx, dy = self.offset
        which = self.of(x, y)
        return x+dx[which], y+dy[which]


class MosaicPSF(PSF):
    """The PSF of an image as it is in a mosaic of its cut-outs. It is never refitted or written."""

    def __init__(self, psf, mosaic):
        self.psf, self.mosaic, self.shape, self.norm_size = psf, mosaic, mosaic.size, psf.norm_size
        self.uncertainty, self.covariance = psf.uncertainty, psf.covariance
        self.width = psf.fwhm()

    def render(self, x, y, size, derivatives=False):
        """As of `PSF`."""
        return self.psf.render(*self.mosaic.back(np.asarray(x), np.asarray(y)), size, derivatives)

    def render_packed(self, x, y, size, buffer, offset, stride):
        """As of `PSF`."""
        self.psf.render_packed(*self.mosaic.back(np.asarray(x), np.asarray(y)), size, buffer, offset, stride)

    def prepare(self, size):
        """As of `PSF`."""
        self.psf.prepare(size)

    def render_smeared(self, x, y, size, scale):
        """As of `PSF`."""
        return self.psf.render_smeared(*self.mosaic.back(np.asarray(x), np.asarray(y)), size, scale)

    def fwhm(self, x=None, y=None):
        """As of `PSF`; that in the middle of the image when no position is given."""
        return self.width if x is None else super().fwhm(x, y)

    def shape_errors(self, x, y, size):
        """As of `PSF`."""
        return self.psf.shape_errors(*self.mosaic.back(np.asarray(x), np.asarray(y)), size)

    def stamp(self, size, x=None, y=None):
        """As of `PSF`; that in the middle of the image when no position is given."""
        return self.psf.stamp(size) if x is None else super().stamp(size, x, y)

    def refit(self, stamps, config):
        """The same PSF."""
        return self

    def to_hdus(self, name="PSF"):
        """HDUs of the image's PSF."""
        return self.psf.to_hdus(name)

    @classmethod
    def from_hdus(cls, hdus, name="PSF"):
        """There are none."""
        raise DataFileError("", "a mosaic's PSF cannot be read: read that of the image")


class LocalFit:
    """A run of artificial stars by cut-outs; called as `crowdsource.validate.completeness.trial.one_run` without the scene.

    Parameters
    ----------
    scene : crowdsource.validate.completeness.trial.Scene
    base : crowdsource.engine.state.FitResult
        The image's own fit.
    """

    def __init__(self, scene, base):
        self.base, self.scene = base, replace(scene, image=cleaned(scene.image, base.config.artifacts))

    def __call__(self, plan, run):
        """The table of a run; parameters as `one_run`."""
        stars = plan.stars(run, self.scene.image.good)
        image = self.scene.with_stars(stars, (plan.seed, run, 1))
        catalog = self.catalog(image, stars) if len(stars["x"]) else self.scene.catalog[:0]
        return recovered(self.scene, stars, catalog, run)

    def catalog(self, image, stars):
        """The sources of all cut-outs of an image, positions in the parent's pixels."""
        origin = image.origin
        half = int(round(REACH*self.scene.fwhm))
        stamp = max(LEAST_STAMP, 2*half+1)
        places = [np.asarray(stars[n])-o for n, o in zip("xy", origin)]
        mosaic = Mosaic(*map(pixel, places), half, stamp//2, image.shape)
        catalog = image_catalog(self._fitted(image, mosaic, stamp, places))
        x, y = mosaic.back(np.asarray(catalog["x"].value), np.asarray(catalog["y"].value))
        catalog["x"], catalog["y"] = (x+origin[0])*catalog["x"].unit, (y+origin[1])*catalog["y"].unit
        return catalog

    def _fitted(self, image, mosaic, stamp, places):
        """The state after the last pass over the cut-outs, of stars at some places, x and y."""
        base, psf = self.base, MosaicPSF(self.base.psf, mosaic)
        c = base.config
        config = replace(c, solve=replace(c.solve, stamp_sizes=(stamp,), stamp_levels=()), sky=replace(c.sky, keep=True),
                         psf=replace(c.psf, refit=False), detect=replace(c.detect, outside=False, extended=False),
                         artifacts=replace(c.artifacts, trails=False), nebulosity=replace(c.nebulosity, method="off"))
        x, y, flux, error = self._known()
        rows, cutouts = mosaic.inside(x, y)
        # a free source has its stamp; what its wings have beyond, and all other sources, stay as they were
        own = model_image(base.psf, x[rows], y[rows], flux[rows], np.full(len(rows), stamp), image.shape)
        fixed, (dx, dy) = base.model-own, mosaic.offset
        cut = replace(image, data=mosaic.cut(image.data-fixed), ivar=mosaic.cut(image.ivar), dq=mosaic.cut(image.dq),
                      mask=mosaic.cut(image.mask, ENGINE.bad), wcs=None, origin=(0, 0))
        new = np.hypot(x[rows]-places[0][cutouts], y[rows]-places[1][cutouts]) < FORGOTTEN*self.scene.fwhm
        rows, cutouts = rows[~new], cutouts[~new]
        sources = Sources.new(x[rows]-dx[cutouts], y[rows]-dy[cutouts], flux[rows], error[rows])
        sky = mosaic.cut(base.sky)
        nothing = np.zeros(mosaic.size, np.float32)
        state = PassState(image=cut, config=config, psf=psf, sources=sources, candidates=Sources.new([], []), sky=sky,
                          model=nothing, passno=FIRST_PASS, new=0, forced=False, history=(), noise=image.noise,
                          tiles=tuple(make_tiles(mosaic.size, c.solve.tile, c.solve.overlap)))
        state = with_model(state)
        for kind in KINDS:
            state = single_pass(replace(state, kind=kind), start_sky=sky)
        return state

    def _known(self):
        """x, y in the image's own pixels, flux of the PSF and its error, of the image's own point sources."""
        catalog, image = self.base.catalog, self.scene.image
        point = (np.asarray(catalog["flags"]) & (ENGINE.extended << MASK_SHIFT)) == 0
        x, y, flux, error = (np.asarray(getattr(catalog[n], "value", catalog[n]), np.float64)[point]
                             for n in ("x", "y", "flux", "dflux_iso"))
        model = self.base.model_flux
        flux = flux/self.scene.light if model is None else np.asarray(model)[point]
        return x-image.origin[0], y-image.origin[1], flux, error/self.scene.light
