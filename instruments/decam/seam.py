"""CCD S7, of which one half is read by an amplifier whose level drifts: the step at the seam between its halves."""
import numpy as np

from crowdsource.core import linear

UNSTABLE = "S7"
CORRECTED = "S7CORR"
"""Keyword of images whose step is taken off already."""
SEAM = 10
"""Columns on each side of the seam that tell the step there."""
BLOCK, FEWEST_BLOCKS, FEWEST_COLUMNS = 64, 8, 4
"""Rows in a block; least number of blocks that a CCD is cut into, and of columns in a block."""
DARK = 0.1
"""Quantile of a column's pixels that stars leave dark."""


def seam_step(data, good):
    """Step across the middle column, linear in y: by how much the right half is higher.

    Columns are mirrored on the seam between the amplifiers. Stars only add light, so dark pixels are compared, in blocks of
    rows; differences of columns farther apart tell the sky's slope across the seam, which is subtracted. The line through
    the blocks is that of the median slope (Theil 1950, Sen 1968), which stays right when up to a fourth of the blocks are wrong.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    good : ndarray of bool, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ny,), float64
        0 where there are too few good pixels to tell.
    """
    from scipy.stats import theilslopes  # a second to import, and only S7 needs it
    ny, nx = data.shape
    middle, reach = nx//2, min(SEAM, nx//2)
    values = np.where(good, data, np.nan)[:, middle-reach:middle+reach].astype(np.float64)
    right, left = values[:, reach:], values[:, :reach][:, ::-1]
    row, step = [], []
    for rows in np.array_split(np.arange(ny), max(FEWEST_BLOCKS, ny//BLOCK)):
        enough = np.minimum(*(np.isfinite(side[rows]).sum(axis=0) for side in (left, right))) > len(rows)/3
        if enough.sum() >= FEWEST_COLUMNS:
            dark = [np.nanquantile(side[np.ix_(rows, enough)], DARK, axis=0) for side in (right, left)]
            row.append(rows.mean())
            terms = np.stack([np.ones(enough.sum()), 2*np.flatnonzero(enough)+1], axis=1)
            step.append(linear.least_squares(terms, dark[0]-dark[1])[0])
    if len(row) < FEWEST_BLOCKS//2:
        return np.zeros(ny)
    slope, offset, *_ = theilslopes(step, row, method="joint")
    return slope*np.arange(ny)+offset
