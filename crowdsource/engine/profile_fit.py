"""The fit of one profile to the pixels around it, in the place of some of the sources there."""
from dataclasses import dataclass, replace

import numpy as np

from ..core import linear
from ..core.calibration import calibration
from ..core.neighbours import neighbours
from ..psf.base import pixel
from .design import add_stamps, by_size, sizes
from .measure import boxes, cutouts
from .profiles import ConvolvedDisc, Profile, axes, distance, within

NEAR, FAR = calibration.profile_fit.near, calibration.profile_fit.far
"""Half side of the box that is fitted, and radius of the ellipse in which sources may be parts of a profile, scale lengths: of
one that is new, whose neighbours may be galaxies that have not been found yet, and of one that is known."""
LARGEST_BOX = 150
"""Largest half side of the box, pixels."""
LARGEST_SCALE = 10.
"""Largest scale length, FWHM."""
OUTSTANDING, FAINT = 2.5, 5.
"""A source is a star on a profile where it is brighter than so many times what a star there would seem to get from the profile's
light, plus so many times its own error."""
LEAST_STAR, LEAST_SHARE = 5., 0.2
"""Sources are stars on a profile where what it leaves has this significance, and this share of what a star there would seem to
get from its light."""
EVALUATION = 3500
"""What an evaluation takes whatever its box, over what it takes for a pixel: 0.9 to 1.9 ms over 0.29 to 0.47 us."""
DAMPING = 0.1
"""First damping of a step after one that has made chi2 worse, relative to the diagonal."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ProfileFit:
    """A profile on its way to the least chi2.

    Attributes
    ----------
    state : crowdsource.engine.state.PassState
        With a model without the profile.
    fwhm : float
        Of the PSF, pixels.
    corner : tuple of int
        (x0, y0) of the box.
    data, ivar : ndarray, shape (size, size), float64
        Data less a constant sky and the stars; inverse variance.
    parameters : ndarray, shape (7,)
        Flux, x, y, xx, xy, yy as in `crowdsource.engine.profiles.Profile`, and a constant sky.
    passno : int
        Pass in which it was found.
    reach : tuple of float
        `NEAR` or `FAR`.
    members : ndarray of int
        Sources that may be parts of it; the others stay as they are.
    flux : ndarray, shape (len(members),)
        Fluxes of these beside the profile: 0 for those that are parts.
    stamp : ndarray, shape (size, size), float32, or None
        Its light, once it is fitted.
    chi2 : float
    covariance : ndarray, shape (7, 7), or None
    work : int
        Pixels of all evaluations so far, with `EVALUATION` of each.
    """

    state: object
    fwhm: float
    corner: tuple
    data: np.ndarray
    ivar: np.ndarray
    parameters: np.ndarray
    passno: int
    reach: tuple
    members: np.ndarray
    flux: np.ndarray
    stamp: np.ndarray = None
    chi2: float = np.inf
    covariance: np.ndarray = None
    work: int = 0

    @classmethod
    def started(cls, state, fwhm, x, y, shape, flux=0., passno=None, most=LARGEST_BOX):
        """The start of a fit: a box around a position, with a half side of no more than `most`, pixels.

        Other parameters are the attributes of `Profile`; by default it is new.
        """
        reach = NEAR if passno in (None, state.passno) else FAR
        half = int(np.ceil(min(reach[0]*axes(shape)[1]+2*fwhm, most)))
        px, py = int(pixel(x)), int(pixel(y))
        at = np.array([float(px)]), np.array([float(py)]), 2*half+1
        residual, ivar = (v[0].astype(np.float64) for v in boxes(state, *at))
        # the wings of what was not in the model have been sky: its variation is not subtracted
        sky = cutouts(state.sky, *at)[0]
        level = np.median(sky[ivar > 0]) if (ivar > 0).any() else 0.
        return cls(state=state, fwhm=fwhm, corner=(px-half, py-half), data=np.where(ivar > 0, residual+sky-level, 0), ivar=ivar,
                   parameters=np.array([flux, x, y, *shape, 0.]), passno=state.passno if passno is None else passno, reach=reach,
                   members=np.zeros(0, int), flux=np.zeros(0))

    @property
    def middle(self):
        """(x, y) of the box's middle pixel."""
        return self.corner[0]+len(self.data)//2, self.corner[1]+len(self.data)//2

    @property
    def shape(self):
        """xx, xy and yy."""
        return self.parameters[3:6]

    @property
    def scale(self):
        """Geometric mean of the scale lengths along both axes, FWHM."""
        return np.sqrt(np.prod(axes(self.shape)))/self.fwhm

    @property
    def snr(self):
        """Flux over error."""
        return self.parameters[0]/np.sqrt(max(self.covariance[0, 0], 1e-300))

    @property
    def profile(self):
        """The fitted profile."""
        p = self.parameters
        return Profile(x=float(p[1]), y=float(p[2]), flux=float(p[0]), shape=self.shape, covariance=self.covariance[:3, :3],
                       passno=self.passno, stamp=self.stamp, middle=self.middle)

    def distances(self, sources):
        """Distances of sources, scale lengths."""
        return distance(self.shape, sources.x-self.parameters[1], sources.y-self.parameters[2])

    @property
    def ellipse(self):
        """Which pixels lie in the ellipse in which sources may be parts of the profile; shape (size, size)."""
        y, x = np.mgrid[:len(self.data), :len(self.data)]
        return distance(self.shape, x+self.corner[0]-self.parameters[1], y+self.corner[1]-self.parameters[2]) < self.reach[1]

    def recentred(self):
        """A new start from here, with a box of the size that suits."""
        p = self.parameters
        start = ProfileFit.started(self.state, self.fwhm, p[1], p[2], self.shape, p[0], self.passno)
        return replace(start, work=self.work).over(self.members, self.flux)

    def over(self, members, flux):
        """The same fit with other fluxes of other members."""
        light = self._light_of(members, self.state.flux[members]-flux)
        light -= self._light_of(self.members, self.state.flux[self.members]-self.flux)
        return replace(self, data=self.data+np.where(self.ivar > 0, light, 0), members=members, flux=flux)

    def with_members(self):
        """The same fit in the place of members chosen anew."""
        members = self._parts()
        return self.over(members, np.zeros(len(members)))

    def with_stars(self):
        """The same fit with stars among its members where its profile leaves light of them."""
        fit = self.over(self.members, np.zeros(len(self.members)))
        return fit.over(self.members, fit._stars())

    def _stars(self):
        """Fluxes of the members that the profile leaves, the most significant first; 0 for the others, and where none is."""
        s, n = self.state.sources.subset(self.members), self.state.config.solve.stamp_sizes[0]
        flux = np.zeros(len(s))
        if not len(s):
            return flux
        planes, at = self.state.psf.render(s.x, s.y, n).astype(np.float64), np.arange(n)
        left, ivar = (np.pad(v, n) for v in (self.data-self.stamp-self.parameters[-1], self.ivar))
        rows = (pixel(s.y)-self.corner[1]+n-n//2)[:, None, None]+at[:, None]
        columns = (pixel(s.x)-self.corner[0]+n-n//2)[:, None, None]+at
        rows, columns = (np.clip(v, 0, len(left)-1) for v in (rows, columns))
        weighted = planes*ivar[rows, columns]
        information = np.maximum((weighted*planes).sum(axis=(1, 2)), 1e-300)
        least = np.maximum(LEAST_STAR/np.sqrt(information), LEAST_SHARE*self._star_like(s))
        for _ in range(len(s)):
            excess = (weighted*left[rows, columns]).sum(axis=(1, 2))/information
            best = np.argmax(np.where(flux == 0, excess/least, 0))
            if flux[best] or not excess[best] > least[best]:
                break
            flux[best] = excess[best]
            left[rows[best], columns[best]] -= excess[best]*planes[best]
        return flux

    def _light_of(self, which, flux):
        """The light of some sources in the box, with these fluxes."""
        out, s = np.zeros(self.data.shape, np.float32), self.state.sources.subset(which)
        size = sizes(self.state, s) if len(s) else np.zeros(0, int)
        for some in by_size(size):
            t = s.subset(some)
            stamps = self.state.psf.render(t.x, t.y, int(size[some[0]]))
            add_stamps(out, stamps, t.x-self.corner[0], t.y-self.corner[1], flux[some])
        return out

    def _parts(self):
        """Numbers of the sources that may be parts of the profile: those in its ellipse that do not stand out of its light."""
        s, p = self.state.sources, self.parameters
        _, near = neighbours(s.x, s.y, p[1:2], p[2:3], self.reach[1]*axes(self.shape)[1])
        near = np.sort(near)
        near = near[self.distances(s.subset(near)) < self.reach[1]]
        parts = s.flux[near] < OUTSTANDING*self._star_like(s.subset(near))+FAINT*s.error[near]
        return near[parts & ~s.bright[near]]

    def _star_like(self, sources):
        """The flux that stars at the places of sources would seem to get from the profile; 0 off the box."""
        core = self.state.psf.stamp(self.state.config.solve.stamp_sizes[0])
        i, j, last = pixel(sources.x)-self.corner[0], pixel(sources.y)-self.corner[1], len(self.stamp)-1
        there = (np.minimum(i, j) >= 0) & (np.maximum(i, j) <= last)
        light = np.where(there, self.stamp[np.clip(j, 0, last), np.clip(i, 0, last)], 0)
        return light*core.sum()/(core**2).sum()

    def fitted(self, steps):
        """The fit after some steps (Levenberg and Marquardt), of which those that make chi2 worse do not count."""
        p, damping, best = self._with_flux(), 0., None
        for _ in range(steps+1):
            now = self._evaluated(p)
            if best is None or now[0] < best[0]:
                best, here, damping = now, p, damping/10
            else:
                damping = max(DAMPING, 10*damping)
            _, _, normal, gradient = best
            scale = np.sqrt(np.maximum(np.diagonal(normal), 1e-300))
            step = linear.least_squares(normal/np.outer(scale, scale)+damping*np.eye(len(p)), gradient/scale, 1e-12)
            p = self._limited(here+step/scale, here)
        chi2, stamp, normal, _ = best
        return replace(self, parameters=here, chi2=chi2, stamp=(here[0]*stamp).astype(np.float32),
                       work=self.work+(steps+1)*(self.data.size+EVALUATION), covariance=linear.pseudo_inverse(normal))

    def _with_flux(self):
        """Parameters whose flux and constant, where there is no flux yet, are those of least chi2."""
        p = self.parameters.copy()
        if p[0] == 0:
            planes = self._planes(p)[[0, -1]].reshape(2, -1)
            weighted = planes*self.ivar.ravel()
            p[[0, -1]] = linear.least_squares(linear.products(weighted, planes),
                                              linear.products(weighted, self.data.reshape(1, -1))[:, 0])
        return p

    def _planes(self, p):
        """The disc of unit flux, the derivatives of the model with respect to position and shape, and a constant, in the box."""
        disc = ConvolvedDisc(self.state.psf, p[1], p[2], len(self.data)).derivatives(p[3:6])
        disc[1:] *= p[0]
        right, down = int(pixel(p[1]))-self.middle[0], int(pixel(p[2]))-self.middle[1]
        return np.concatenate([moved(disc, down, right), np.ones((1, *self.data.shape))])

    def _evaluated(self, p):
        """chi2, the disc of unit flux, the normal matrix, and half of chi2's gradient downwards."""
        planes = self._planes(p)
        left = self.data-p[0]*planes[0]-p[-1]
        flat = planes.reshape(len(planes), -1)
        weighted = flat*self.ivar.ravel()
        return (float((self.ivar*left**2).sum()), planes[0], linear.products(weighted, flat),
                linear.products(weighted, left.reshape(1, -1))[:, 0])

    def _limited(self, p, before):
        """Parameters within limits: half a FWHM for the change of a position, twice the scale length for the shape."""
        at = np.clip(p[1:3], before[1:3]-self.fwhm/2, before[1:3]+self.fwhm/2)
        return np.r_[p[0], at, within(p[3:6], min(LARGEST_SCALE*self.fwhm, 2*axes(before[3:6])[1])), p[6]]


def moved(planes, down, right):
    """Planes moved by whole pixels, zeros where nothing is known."""
    if not (down or right):
        return planes
    out, n = np.zeros_like(planes), planes.shape[-1]
    to, source = ([slice(max(0, sign*step), n+min(0, sign*step)) for step in (down, right)] for sign in (1, -1))
    out[(..., *to)] = planes[(..., *source)]
    return out
