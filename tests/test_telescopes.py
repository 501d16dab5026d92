"""Files of known forms, without a single option: noise, flags, units, zero points and world coordinates come from the file."""
import numpy as np
import pytest
from crowdsource.instruments.generic import Generic
from scipy.spatial import cKDTree
from survey_files import SURVEYS
from telescope_files import TELESCOPES, Field

from crowdsource.engine.loop import fit
from crowdsource.exposure.fit_inputs import configuration

BRIGHT, ALONE = 10., 3.5
"""Stars that are compared: signal to noise, and pixels within which no star has a fiftieth of their light."""


@pytest.fixture(scope="module")
def field():
    return Field()


def fitted(image):
    generic = Generic()
    return fit(image, generic.psf_prior(image), configuration(generic, image, {}), threads=1)


def compared(result, truth):
    """Catalog rows and true stars that are the same, bright and alone."""
    t = truth[truth["snr"] > 2]
    places = np.stack([t["x"], t["y"]], axis=1)
    tree, keep = cKDTree(places), []
    for k in np.flatnonzero(t["snr"] > BRIGHT):
        others = [j for j in tree.query_ball_point(places[k], ALONE) if j != k]
        if not others or t["flux"][others].max() < 0.02*t["flux"][k]:
            keep.append(k)
    c = result.catalog
    distance, row = cKDTree(np.stack([c["x"], c["y"]], axis=1)).query(places[keep])
    near = (distance < 0.5) & (np.asarray(c["qf"])[row] > 0.95)
    return c[row[near]], t[np.array(keep)[near]]


def figures(result, truth, zeropoint):
    """chi2, scatter of fluxes in units of their errors, and the median error of magnitudes of the brighter half."""
    rows, stars = compared(result, truth)
    scale = 10**(0.4*(zeropoint-result.image.zeropoint))
    pull = (np.asarray(rows["flux"].value)*scale-stars["flux"])/(np.asarray(rows["dflux"].value)*scale)
    wanted = zeropoint-2.5*np.log10(stars["flux"])
    bright = stars["snr"] > 3*BRIGHT
    return (result.history[-1]["chi2"], 1.4826*np.median(np.abs(pull-np.median(pull))),
            float(np.median((rows["mag"].value-wanted)[bright])), len(rows))


@pytest.mark.parametrize("writer", (*TELESCOPES, *SURVEYS), ids=lambda w: w.__name__)
def test_no_option_at_all(field, tmp_path, writer, record_property):
    path, zeropoint = writer(field, tmp_path)
    exposure = Generic().open(str(path))
    image = exposure.read(exposure.tasks()[0])
    assert image.magnitude_system == "AB" and image.wcs is not None and np.isfinite(image.mjd) and image.band
    # frames of SDSS have no flags
    assert "frame" in path.name or not image.good[field.bad].any()
    # what a pipeline only remarks on excludes nothing: beside bad pixels and those next to saturated ones all are used
    assert image.good[~field.bad & field.remarkable].all()
    chi2, pull, offset, number = figures(fitted(image), field.truth, zeropoint)
    record_property("figures", str((chi2, pull, offset, number)))
    # chi2 of so many pixels scatters by 0.01
    assert 0.99 < chi2 < 1.15 and 0.9 < pull < 1.15 and abs(offset) < 0.01 and number >= 30
