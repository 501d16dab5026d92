"""Flag bits of WISE: those of unWISE's mask files, what each is called here, and what the engine makes of them."""
import numpy as np

from crowdsource.core.flags import ENGINE, FlagDefinition, FlagTable

MASK_BITS = {
    "core_wings": ((0, 1), (2, 3)), "psf_spike": ((27,), (28,)), "ghost": ((25, 26), (11, 12)),
    "first_latent": ((13, 14), (15, 16)), "second_latent": ((17, 18), (19, 20)), "circular_halo": ((23,), (24,)),
    "saturation": ((4,), (5,)), "geom_spike": ((29,), (30,)), "bright_off_edge": ((7,), (8,)), "resolved_galaxy": ((9,), (9,)),
    "big_object": ((10,), (10,)), "possible_bright_star_centroid": ((21,), (22,)),
}
"""Bits of the mask files, for W1 and for W2."""
OFF_EITHER_EDGE = 7, 8
"""Bits of a bright star off the edge in either band: in both bands only sharp peaks are sources there."""
FLAGS = FlagTable("wise", [
    FlagDefinition(0, "core_wings", "in the core or the wings of a bright star"),
    FlagDefinition(1, "psf_spike", "in a diffraction spike by the PSF's model"),
    FlagDefinition(2, "ghost", "in an optical ghost"),
    FlagDefinition(3, "first_latent", "in the first latent image of a bright star"),
    FlagDefinition(4, "second_latent", "in the second latent image of a bright star"),
    FlagDefinition(5, "circular_halo", "in the circular halo of a bright star"),
    FlagDefinition(6, "saturation", "saturated"),
    FlagDefinition(7, "geom_spike", "in a diffraction spike by its geometry"),
    FlagDefinition(8, "bright_off_edge", "near a bright star off the edge of the tile"),
    FlagDefinition(9, "resolved_galaxy", "in a resolved galaxy"),
    FlagDefinition(10, "big_object", "in the Magellanic Clouds, M31 or another big object"),
    FlagDefinition(11, "possible_bright_star_centroid", "may hold the centroid of a bright star"),
    FlagDefinition(12, "crowdsat", "treated as saturated by the fit"),
    FlagDefinition(13, "nebulosity", "structured background"),
    FlagDefinition(14, "nodeblend", "no splitting of blends here"),
    FlagDefinition(15, "sharp", "only peaks as sharp as the PSF are accepted here"),
])
"""Bits 0 to 7 are the catalog's column ``flags_unwise``, bits 8 to 15 its ``flags_info``."""
INFO_SHIFT = 8
FROM_ENGINE = {ENGINE.nebulous: FLAGS.nebulosity, ENGINE.nodeblend: FLAGS.nodeblend, ENGINE.sharp: FLAGS.sharp}
"""WISE's bit for each of the engine's."""


def flags_of(bits, band):
    """Bits of this adapter and of the engine from those of a mask file.

    Parameters
    ----------
    bits : ndarray of int, shape (ny, nx)
    band : int

    Returns
    -------
    dq : ndarray, shape (ny, nx), uint32
    mask : ndarray, shape (ny, nx), uint16
    """
    dq, mask = np.zeros(bits.shape, np.uint32), np.zeros(bits.shape, np.uint16)
    for name, of_band in MASK_BITS.items():
        dq[any_of(bits, of_band[band-1])] |= np.uint32(getattr(FLAGS, name))
    mask[dq & FLAGS.resolved_galaxy > 0] |= ENGINE.nodeblend
    mask[any_of(bits, OFF_EITHER_EDGE)] |= ENGINE.sharp
    return dq, mask


def any_of(bits, numbers):
    """Where any of some bits is set."""
    return bits & sum(1 << n for n in numbers) > 0


def bits_of(dq, mask, band):
    """Bits of the mask file from those of the adapter and the engine: of each name the band's first one.

    Parameters
    ----------
    dq : ndarray of uint32, shape (ny, nx)
    mask : ndarray of uint16, shape (ny, nx)
    band : int

    Returns
    -------
    ndarray of int32, shape (ny, nx)
    """
    bits = np.zeros(dq.shape, np.int32)
    for name, of_band in MASK_BITS.items():
        bits[dq & getattr(FLAGS, name) > 0] |= np.int32(1 << of_band[band-1][0])
    # a bright star off the edge in the other band asks for sharp peaks in this one too
    bits[(mask & ENGINE.sharp > 0) & (dq & FLAGS.bright_off_edge == 0)] |= np.int32(1 << OFF_EITHER_EDGE[2-band])
    return bits
