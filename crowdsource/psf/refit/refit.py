"""Which refit a PSF gets: profile and core, an effective PSF or a core for narrow stars, or the median of the stars."""
import logging

import numpy as np

from ...core.calibration import calibration
from ..grid import terms
from ..profiles.moffat import MoffatProfile
from .core import fit_core
from .effective import fit_effective, is_effective
from .few import fit_few
from .median import median_refit
from .narrow import LARGEST_CORE, fit_narrow_core
from .outer import with_outer_wings
from .profile import fit_profile
from .radial import misfits, radial_correction

log = logging.getLogger(__name__)
NARROW = calibration.effective.narrow
"""Below this FWHM, pixels, stars cannot be shifted to a common centre: interpolation between their pixels leaves ripples."""
WIDEST = 8.
"""From this FWHM on, pixels, an effective PSF would have too many samples: a profile that does not fit is corrected by rings."""
HYSTERESIS = 1.2
"""Factor by which the width must pass that bound before the refit is no effective PSF any more."""


def refit(psf, stamps, config):
    """A new PSF fitted to stars.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
    stamps : crowdsource.psf.base.StarStamps
    config : crowdsource.config.PSFConfig

    Returns
    -------
    FieldPSF
        The given one when there are too few stars for its kind, or when the new one is far from the expected FWHM.
    """
    if len(stamps) >= config.min_stars:
        new = refitted(psf, stamps, config)
    elif len(stamps) and serves_few(psf):
        new = fit_few(psf, stamps)
        if new is None:
            log.warning("PSF not refitted: no profile of a star fits the %d source(s)", len(stamps))
            return psf
        # with the uncertainty of a narrow PSF, if it is one
        new = new.as_first_guess(config)
        log.log(logging.WARNING if psf.covariance is None else logging.INFO,
                "PSF of %d star(s), with a FWHM of %.2f +- %.2f px: its uncertainty is part of the errors of fluxes", len(stamps),
                new.profile.width, np.sqrt(new.covariance[0, 0]))
    else:
        log.warning("PSF not refitted: %d stars, %d are needed", len(stamps), config.min_stars)
        return psf
    if config.expected_fwhm:
        fwhm = float(new.fwhm())
        if not 1/config.fwhm_factor < fwhm/config.expected_fwhm < config.fwhm_factor:
            log.warning("PSF not refitted: the %d stars give a FWHM of %.2f px, but %.2f px is expected", len(stamps), fwhm,
                        config.expected_fwhm)
            return psf
    return new


def serves_few(psf):
    """Whether fewer stars than a refit needs give a better PSF: it is a Moffat profile that more stars have not corrected."""
    return isinstance(psf.profile, MoffatProfile) and psf.core.size == 1


def refitted(psf, stamps, config):
    """A new PSF, whatever its width; see `refit`."""
    order = affordable_order(len(stamps), config)
    if config.method == "median":
        return median_refit(psf, stamps, order, config.core)
    if is_effective(psf.profile):
        return fit_effective(psf, stamps, order)
    profile = fit_profile(psf, stamps, order) if isinstance(psf.profile, MoffatProfile) else psf.profile
    bare = psf.with_parts(profile, uncertainty=psf.uncertainty)
    # a PSF with one sample in a pixel is wide enough: the FWHM need not be measured
    width = float(bare.fwhm()) if bare.oversampling > 1 else np.inf
    if fits_without_shifts(profile, width, order, config):
        new = fit_narrow_core(psf.with_parts(profile, psf.core), stamps, config.core)
        return new if psf.uncertainty is None else with_outer_wings(new, psf.uncertainty, stamps)
    # a PSF is not refitted now in one way and now in the other, because its width is near the bound
    if width < NARROW*(HYSTERESIS if psf.uncertainty is not None else 1):
        return fit_effective(bare.as_first_guess(config), stamps, order)
    wings, doubtful = None, isinstance(profile, MoffatProfile) and stamps.wide is not None and misfits(bare, stamps.wide.with_sky)
    wide = profile.width >= WIDEST
    if doubtful and not wide and psf.uncertainty is not None:
        log.info("PSF: no Moffat profile fits the stars; an effective PSF is fitted")
        return fit_effective(bare, stamps, order)
    if doubtful and wide:
        wings = radial_correction(psf.with_parts(profile), stamps.wide.with_sky)
    size = max(config.core, 2*round(config.core_widths*float(psf.fwhm())/2)+1)
    new = fit_core(psf.with_parts(profile, psf.core), stamps, order, size, wings)
    # positions and fluxes of another PSF make rings, too: the next refit, after another fit, decides
    return new.with_unknown_wings() if doubtful and not wide else new


def is_refitted_as_effective(psf, config):
    """Whether the refit of a PSF is an effective PSF: where it is narrow, and either analytic or itself an effective PSF."""
    return config.refit and config.method == "fit" and (
        is_effective(psf.profile) or (isinstance(psf.profile, MoffatProfile) and psf.oversampling > 1 and psf.fwhm() < NARROW))


def fits_without_shifts(profile, width, order, config):
    """Whether the core is fitted without shifting stars.

    That is done for tabulated profiles, which are not fitted to the stars themselves, if stars are narrow, or if only a small
    core is wanted that does not vary over the image.
    """
    if isinstance(profile, MoffatProfile) or width == np.inf:
        return False
    return width < NARROW or (order == 0 and config.core <= LARGEST_CORE)


def affordable_order(stars, config):
    """The largest order of the polynomials of the position that the number of stars determines, at most the configured one."""
    order = config.order
    while order > 0 and stars < config.stars_per_term*terms(order):
        order -= 1
    if order < config.order:
        log.info("PSF varies with order %d instead of %d: %d stars", order, config.order, stars)
    return order
