"""Where the mask of a simulated tile has its bits: simple shapes around bright stars."""
import numpy as np

from .adapter import MASK_BITS

BRIGHT = 1e5
"""Flux from which a star has shapes in the mask: 10th magnitude."""
REACH = 12.
"""Radius of the core of such a star, pixels; it goes with the cube root of the flux, as the wings fall."""
HALO, NEAR_ARM, FAR_ARM, OFF_EDGE = 2.5, 3., 4., 3.
"""Radius of the halo, lengths of the spikes by the model and by their geometry, and of what a star off the edge reaches,
in radii of the core."""
ARMS, NARROW, WIDE = (45., 135.), 2., 4.
"""Directions of the spikes, degrees from the scan, and half of their widths, pixels."""
GHOST, GHOST_RADIUS, GHOSTLY = 118., 15., 3*BRIGHT
"""Distance and radius of the ghosts along the scan, pixels, and the flux from which there are any."""
LATENTS, LATENT_RADIUS, LASTING = (916., 1832.), 15., 10*BRIGHT
"""Distances of the first and the second latent image: the scan goes on by 42 arcminutes an exposure."""
CENTRE = 1.5


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
    along = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    for place, light in ((np.array([x[k], y[k]]), flux[k]) for k in np.flatnonzero(flux >= BRIGHT)):
        reach = REACH*(light/BRIGHT)**(1/3)
        if not (-0.5 <= place[0] < nx-0.5 and -0.5 <= place[1] < ny-0.5):
            disc(bits, place, OFF_EDGE*reach, number["bright_off_edge"][0])
        disc(bits, place, reach, number["core_wings"][0])
        disc(bits, place, HALO*reach, number["circular_halo"][0])
        disc(bits, place, CENTRE, number["possible_bright_star_centroid"][0])
        for arm in ARMS:
            spike(bits, place, angle+arm, (NEAR_ARM*reach, NARROW), number["psf_spike"][0])
            spike(bits, place, angle+arm, (FAR_ARM*reach, WIDE), number["geom_spike"][0])
        # ahead and behind: scans come from both directions
        for which, side in enumerate((1, -1)):
            if light >= GHOSTLY:
                disc(bits, place+side*GHOST*along, GHOST_RADIUS, number["ghost"][which])
            if light >= LASTING:
                for name, distance in zip(("first_latent", "second_latent"), LATENTS):
                    disc(bits, place+side*distance*along, LATENT_RADIUS, number[name][which])


def disc(bits, place, radius, number):
    """Set a bit within a radius of a place (x, y), in place."""
    _within(bits, place, radius, lambda dx, dy: np.hypot(dx, dy) <= radius, number)


def spike(bits, place, angle, size, number):
    """Set a bit in a bar through a place, half as long and as wide as `size` says, `angle` degrees from y, in place."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    length, width = size
    _within(bits, place, length, lambda dx, dy: (np.abs(c*dx+s*dy) <= width) & (np.abs(c*dy-s*dx) <= length), number)


def _within(bits, place, reach, shape, number):
    """Set a bit where a shape, a function of the offsets from a place, holds."""
    x0, y0 = (max(0, int(np.floor(p-reach))) for p in place)
    x1, y1 = (max(0, int(np.ceil(p+reach))+1) for p in place)
    part = bits[y0:y1, x0:x1]
    v, u = np.indices(part.shape)
    part[shape(u+x0-place[0], v+y0-place[1])] |= np.int32(1 << number)
