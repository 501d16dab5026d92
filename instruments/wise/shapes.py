"""Flags of a simulated tile: simple shapes around bright stars, in which the mask has its bits."""
import numpy as np

from crowdsource.core import functions

from .bits import MASK_BITS

BRIGHT = 1e5
"""Flux from which on a star has shapes in the mask: 10th magnitude."""
REACH = 12.
"""Radius of the core of such a star, pixels; it goes with the cube root of the flux, as the wings fall."""
HALO, SHORT_SPIKE, LONG_SPIKE, OFF_EDGE = 2.5, 3., 4., 3.
"""In radii of the core: radius of the halo, half lengths of the spikes by the model and by their geometry, and the radius in
which a star off the edge has its flag."""
SPIKES, NARROW, WIDE = (45., 135.), 2., 4.
"""Directions of the spikes, degrees from the scan, and half of their widths, pixels."""
GHOST, GHOST_RADIUS, GHOSTLY = 118., 15., 3*BRIGHT
"""Distance along the scan and radius of the ghosts, pixels, and the flux from which on there are any."""
LATENTS, LATENT_RADIUS, LASTING = (916., 1832.), 15., 10*BRIGHT
"""Distances of the first and the second latent image and their radius, pixels, and the flux from which on there are any: the
scan moves on by 42 arcminutes each exposure."""
CENTRE = 1.5
"""Radius in which the centroid of a star may lie, pixels."""


def around_stars(bits, band, angle, x, y, flux):
    """Set the bits of the mask around bright stars, in place.

    Parameters
    ----------
    bits : ndarray of int32, shape (ny, nx)
        Changed.
    band : int
    angle : float
        Of the scans, degrees counterclockwise from y.
    x, y, flux : ndarray, shape (n,)
        Of all stars, those off the edge too.
    """
    ny, nx = bits.shape
    number = {name: of_band[band-1] for name, of_band in MASK_BITS.items()}
    along = np.array([-functions.sin(np.radians(angle)), functions.cos(np.radians(angle))])
    for star, light in ((np.array([x[k], y[k]]), flux[k]) for k in np.flatnonzero(flux >= BRIGHT)):
        radius = REACH*functions.power(light/BRIGHT, 1/3)
        if not (-0.5 <= star[0] < nx-0.5 and -0.5 <= star[1] < ny-0.5):
            disc(bits, star, OFF_EDGE*radius, number["bright_off_edge"][0])
        disc(bits, star, radius, number["core_wings"][0])
        disc(bits, star, HALO*radius, number["circular_halo"][0])
        disc(bits, star, CENTRE, number["possible_bright_star_centroid"][0])
        for direction in SPIKES:
            bar(bits, star, angle+direction, (SHORT_SPIKE*radius, NARROW), number["psf_spike"][0])
            bar(bits, star, angle+direction, (LONG_SPIKE*radius, WIDE), number["geom_spike"][0])
        # ahead and behind: scans come from both directions
        for which, side in enumerate((1, -1)):
            if light >= GHOSTLY:
                disc(bits, star+side*GHOST*along, GHOST_RADIUS, number["ghost"][which])
            if light >= LASTING:
                for name, distance in zip(("first_latent", "second_latent"), LATENTS):
                    disc(bits, star+side*distance*along, LATENT_RADIUS, number[name][which])


def disc(bits, centre, radius, number):
    """Set a bit within a radius of a position (x, y), in place."""
    _set_in(bits, centre, radius, lambda dx, dy: np.hypot(dx, dy) <= radius, number)


def bar(bits, centre, angle, size, number):
    """Set a bit in a bar through a position (x, y), in place.

    Its half length and half width are `size`, pixels, its direction `angle`, degrees counterclockwise from y.
    """
    c, s = functions.cos(np.radians(angle)), functions.sin(np.radians(angle))
    length, width = size
    _set_in(bits, centre, length, lambda dx, dy: (np.abs(c*dx+s*dy) <= width) & (np.abs(c*dy-s*dx) <= length), number)


def _set_in(bits, centre, reach, inside, number):
    """Set a bit, in place, where a function of the offsets from a position holds; it holds nowhere beyond `reach`, pixels."""
    x0, y0 = (max(0, int(np.floor(p-reach))) for p in centre)
    x1, y1 = (max(0, int(np.ceil(p+reach))+1) for p in centre)
    part = bits[y0:y1, x0:x1]
    v, u = np.indices(part.shape)
    part[inside(u+x0-centre[0], v+y0-centre[1])] |= np.int32(1 << number)
