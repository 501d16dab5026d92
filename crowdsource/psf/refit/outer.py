"""Wings beyond the edge of a given grid of stamps: what the brightest stars show there, where the grid tells nothing.

What is not known of such a PSF is zero within the grid, so that its uncertainty tells which part the stars may change.
"""
from dataclasses import replace

import numpy as np

from ..grid import BORDER, middle, middle_samples, resampled
from .effective import FADE, KERNEL, filtered, over_pixel, problem_of, wing_prior
from .uncertainty import WIDE, measured_uncertainty, unknown_wings


def beyond_edge(psf):
    """Uncertainty of a PSF whose stamps end within the largest wings that stars show; None where they reach that far.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        Its profile is a grid.

    Returns
    -------
    ndarray, shape (WIDE, WIDE), float32, or None
    """
    reach = psf.profile.samples.shape[-1]//2//psf.profile.oversampling
    if reach >= WIDE//2:
        return None
    at = np.abs(np.arange(WIDE)-WIDE//2)
    # the grid's last pixels fade in: an edge in the wings would be one in the images
    share = np.clip((np.maximum(at[:, None], at)-(reach-FADE))/FADE, 0, 1)
    return (share*unknown_wings(psf, WIDE)).astype(np.float32)


def with_outer_wings(psf, unknown, stamps):
    """The PSF with wings, the same over the image, where it is unknown: from the wide stamps, those of the brightest stars.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        Its profile is a grid.
    unknown : ndarray, shape (m, m)
        Its uncertainty, 0 where it is known.
    stamps : crowdsource.psf.base.StarStamps

    Returns
    -------
    FieldPSF
        With its uncertainty.
    """
    psf = replace(psf, uncertainty=unknown)
    if stamps.wide is None:
        return psf
    sampling, radius, profile = psf.oversampling, stamps.wide.size//2-BORDER, psf.profile
    prior = wing_prior(psf, sampling, radius)
    prior *= np.maximum(free_share(unknown, len(prior), sampling), 1e-3)
    wings = problem_of(psf, stamps.wide.with_sky, 0, sampling, prior, wings=True).solution()
    added = middle_samples(filtered(over_pixel(wings, sampling), KERNEL)[0], 2*radius+1, sampling)
    added = resampled(added, sampling, profile.oversampling)
    added *= free_share(unknown, len(added), profile.oversampling)
    size = max(profile.samples.shape[-1], len(added))
    samples, added = (np.pad(v, [(0, 0)]*(v.ndim-2)+[((size-v.shape[-1])//2,)*2]*2) for v in (profile.samples, added))
    # what is added is in units of a PSF whose sum over the norm box is 1
    box = min(psf.norm_size, 2*(size//2//profile.oversampling)+1)
    samples[0] += added*middle(samples[0], box, profile.oversampling).sum()
    new = replace(psf.with_parts(replace(profile, samples=samples), psf.core, unknown), oversampling=sampling)
    return replace(new, uncertainty=measured_uncertainty(new, stamps)*(unknown > 0))


def free_share(unknown, count, sampling):
    """Where a PSF is unknown, 0 or 1 on a grid of `count` samples along each axis, `sampling` a pixel."""
    half = len(unknown)//2
    at = np.clip(np.round((np.arange(count)-count//2)/sampling).astype(int)+half, 0, 2*half)
    return (unknown > 0)[np.ix_(at, at)].astype(np.float64)
