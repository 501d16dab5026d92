"""Effects of a simulated detector, and the flags and inverse variances that a pipeline gives."""
import numpy as np
from scipy import ndimage

from ..core.flags import FlagDefinition, FlagTable
from .config import generator_of

SIMULATED = FlagTable("simulated", [
    FlagDefinition(0, "saturated", "at the saturation level"),
    FlagDefinition(1, "bad_column", "a dead column: the value is meaningless"),
    FlagDefinition(2, "bleed", "in or beside a saturated star's trail of charge"),
    FlagDefinition(3, "cosmic_ray", "on or beside the track of a cosmic ray"),
    FlagDefinition(4, "rim", "along the edge of the detector"),
])
TRACK, DEPOSIT, SPREAD = 12., (1500., 0.7), 0.4
"""Cosmic rays: mean length, pixels; electrons for each pixel of length, their median and the scatter of their logarithm; spread
of the charge, pixels."""
STEPS = 8
"""Steps for each pixel of a track."""
GROWN = 2
"""Pixels by which the flags of trails and tracks reach farther than the charge, as those of pipelines do."""


def read_out(config, data, rng):
    """The counts that a detector gives, with flags.

    Parameters
    ----------
    config : SimulationConfig
    data : ndarray, shape (ny, nx)
        Counts with noise; they may be above saturation.
    rng : numpy.random.Generator

    Returns
    -------
    data : ndarray, shape (ny, nx), float64
        Whole counts.
    dq : ndarray, shape (ny, nx), uint32
        Bits of `SIMULATED`.
    """
    c = config
    dq = np.zeros(c.shape, np.uint32)
    if c.cosmic_rays > 0:
        data, tracks = with_cosmic_rays(c, data)
        dq[tracks] |= SIMULATED.cosmic_ray
    dq[data >= c.saturation] |= SIMULATED.saturated
    if c.bleeding > 0:
        data, trails = bled(data, c.saturation, c.bleeding)
        dq[trails & (dq & SIMULATED.saturated == 0)] |= SIMULATED.bleed
    data = np.minimum(np.round(data), c.saturation)  # a detector gives whole counts
    columns = rng.choice(c.shape[1], c.bad_columns, replace=False)
    dq[:, columns] |= SIMULATED.bad_column
    data[:, columns] = 0
    if c.rim:
        inner = np.s_[c.rim:-c.rim, c.rim:-c.rim]
        edge = np.ones(c.shape, bool)
        edge[inner] = False
        dq[edge] |= SIMULATED.rim
    return data, dq


def with_cosmic_rays(config, data):
    """Data with straight, sharp tracks of random charge, and which pixels are flagged as such; some tracks are not flagged."""
    c, (ny, nx) = config, config.shape
    rng = generator_of(c, "cosmic rays")
    hits, flags = np.zeros(c.shape), np.zeros(c.shape, bool)
    for _ in range(rng.poisson(c.cosmic_rays)):
        length, angle = rng.exponential(TRACK), rng.uniform(0, 2*np.pi)
        start = rng.uniform(-0.5, [ny-0.5, nx-0.5])
        t = np.arange(int(length*STEPS)+STEPS)/STEPS
        track = start[:, None]+np.outer([np.sin(angle), np.cos(angle)], t)+rng.normal(0, SPREAD, (2, len(t)))
        y, x = np.rint(track).astype(int)
        charge = np.exp(rng.normal(np.log(DEPOSIT[0]), DEPOSIT[1]))*rng.gamma(1., 1/STEPS, len(t))
        seen = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        np.add.at(hits, (y[seen], x[seen]), charge[seen]/c.gain)
        flags[y[seen], x[seen]] |= rng.random() < c.cosmic_rays_flagged
    return data+hits, ndimage.binary_dilation(flags, iterations=GROWN)


def bled(data, level, part):
    """Data in which the charge above a level has run along the columns, and where its trails are.

    Half of the charge of adjacent saturated pixels of a column runs up and half runs down, and fills pixel after pixel up to the
    level. Charge that reaches the edge is lost.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    level : float
        Saturation, in the units of data.
    part : float
        Part of the charge that runs; the rest is lost.

    Returns
    -------
    data : ndarray, shape (ny, nx)
    trails : ndarray of bool, shape (ny, nx)
        With the saturated pixels themselves and those within `GROWN` pixels.
    """
    out = np.minimum(data, level)
    for x in np.flatnonzero((data > level).any(axis=0)):
        above = np.maximum(data[:, x]-level, 0)
        edges = np.flatnonzero(np.diff(above > 0, prepend=False, append=False))
        for first, end in edges.reshape(-1, 2):
            charge = part*above[first:end].sum()/2
            _fill(out[end:, x], charge, level)
            _fill(out[first-1::-1, x] if first else out[:0, x], charge, level)
    return out, ndimage.binary_dilation((out > data) | (data > level), iterations=GROWN)


def _fill(pixels, charge, level):
    """Fill pixels, in place and in their order, up to a level."""
    held = np.cumsum(level-pixels)
    full = np.searchsorted(held, charge)
    pixels[:full] = level
    if full < len(pixels):
        pixels[full] += charge-(held[full-1] if full else 0)


def pipeline_ivar(data, bad, gain, readnoise):
    """Inverse variance as a pipeline derives it from the data: smoothed counts, but no less than the sky, over the gain.

    Without smoothing, pixels that are low by chance would weigh more and bias every flux.
    """
    block = 64
    ny, nx = data.shape
    filled = np.where(bad & (data <= 0), np.median(data), data)
    by, bx = max(1, ny//block), max(1, nx//block)
    medians = np.array([[np.median(part) for part in np.array_split(row, bx, axis=1)]
                        for row in np.array_split(filled, by)])
    medians = ndimage.median_filter(medians, 3, mode="nearest")
    yy, xx = np.meshgrid((np.arange(ny)+0.5)*by/ny-0.5, (np.arange(nx)+0.5)*bx/nx-0.5, indexing="ij")
    sky = ndimage.map_coordinates(medians, [yy, xx], order=1, mode="nearest")
    variance = np.maximum(ndimage.uniform_filter(filled, 3), sky)/gain+(readnoise/gain)**2
    return 1/np.maximum(variance, 1/gain**2)
