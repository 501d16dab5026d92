"""What a user should know of a fit that went on to its end but does not look right, in sentences that say what may be given."""
import numpy as np

from .savings import told

LARGEST_CHI2 = 4.
"""Mean of (residual/sigma)^2 from which the noise or the model is doubted."""
NARROWER = 0.8
"""The PSF is doubted where it has become narrower than this part of what the first pass found."""


def doubts(state):
    """Sentences about a finished fit.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        After its last pass.

    Returns
    -------
    list of str
    """
    out, image, history = [], state.image, state.history
    if image.ivar_estimated and not np.isfinite(image.gain):
        out.append("the gain is not known, and the noise is estimated without the photons of stars: errors of bright ones are "
                   "too small; give the gain or a noise map")
    if cut := told(state):
        out.append(cut)
    chi2 = history[-1]["chi2"]
    if chi2 > LARGEST_CHI2:
        out.append(f"the model leaves {chi2:.3g} times the noise in the pixels (chi2): the noise is more than its map says, or "
                   "pixels that should be masked are not; check the noise map, give flags")
    widths = [record["fwhm"] for record in history if np.isfinite(record.get("fwhm", np.nan))]
    if len(widths) > 1 and widths[-1] < NARROWER*widths[0]:
        out.append(f"the PSF has become narrower in the fit, from {widths[0]:.2f} to {widths[-1]:.2f} px: cosmic rays or hot "
                   "pixels may pass for stars; give flags, or a PSF")
    return out
