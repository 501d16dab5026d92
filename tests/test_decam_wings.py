"""DECam's static wings: what is shipped resembles the published pictures, and the prior and its refit use it."""
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from crowdsource.instruments.decam import Decam
from crowdsource.instruments.decam.wings import halos

from crowdsource.config import FitConfig
from crowdsource.core.errors import InstrumentError
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import complete
from crowdsource.psf.refit.refit import affordable_order

PICTURES = Path(__file__).resolve().parents[2]/"shared"/"data"/"decam"/"psf"


def image(band="z", fwhm=4.2, **options):
    options = complete(Decam.options, options)
    return Image.from_arrays(np.ones((64, 80), np.float32), np.ones((64, 80), np.float32), band=band,
                             meta=dict(fwhm=fwhm, options=options))


def test_every_filter_has_wings_with_spikes():
    assert list(halos()) == list("ugrizY")
    for halo in halos().values():
        # the pictures hold all light, a sixth to a quarter of it outside the core; the diagonal spikes are the brightest
        assert halo.fraction == pytest.approx(1, abs=1e-4) and len(halo.spikes) == 8
        assert 0.15 < 1-sum(row[0] for row in halo.narrow) < 0.3 and 1.5 < halo.blur < 3
        ring = halo.light(*(60*f(np.radians([-135., 45., 135., -45., 20.])) for f in (np.cos, np.sin)))
        assert ring[0] > 1.15*ring[1] > 1.15*ring[4] and ring[1:4] == pytest.approx(ring[1])


@pytest.mark.parametrize("band", "ugrizY")
def test_the_prior_has_the_headers_width_and_the_filters_wings(band):
    prior = Decam().psf_prior(image(band))
    assert prior.profile.halo == halos()[band]
    assert prior.fwhm() == pytest.approx(4.2, rel=0.05)
    plain = Decam().psf_prior(image("VR")).stamp(201)
    far = np.s_[100, 140:200]
    assert prior.stamp(201)[far].sum() > 3*plain[far].sum()


def test_filters_without_wings_have_a_plain_profile():
    assert Decam().psf_prior(image("VR")).profile.halo is None


def test_the_refit_is_linear_from_ten_stars_on_and_near_the_headers_width():
    config = Decam().fit_config(image(core_size=11), FitConfig()).psf
    assert (affordable_order(9, config), affordable_order(10, config)) == (0, 1)
    assert (config.core, config.expected_fwhm) == (11, 4.2)
    assert Decam().fit_config(image(fwhm=None), FitConfig()).psf.expected_fwhm == 0
    with pytest.raises(InstrumentError, match="odd number"):
        complete(Decam.options, dict(core_size=8))


@pytest.mark.skipif(not PICTURES.is_dir(), reason="no published pictures beside this project")
@pytest.mark.parametrize("band", "ugrizY")
def test_the_halo_follows_the_published_picture(band):
    data = fits.getdata(PICTURES/f"psf_{band}_deconv_mod.fits.gz").T.astype(float)
    m = data.shape[0]//2
    data /= data.sum()
    r = np.hypot(*np.indices(data.shape)-m)
    model = halos()[band].rendered(m)
    for low, high in pairwise((10, 20, 40, 80, 160)):
        ring = (r >= low) & (r < high)
        # some light lies outside the picture, and the core holds a little past 10 px
        assert model[ring].mean() == pytest.approx(data[ring].mean(), rel=0.05)
