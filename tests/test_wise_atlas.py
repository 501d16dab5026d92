"""The unWISE atlas: every tile in its place, and every place in exactly one."""
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from crowdsource.instruments.wise.atlas import atlas, edge_distance

from crowdsource.core.errors import InputError

PUBLISHED = Path(__file__).resolve().parents[2]/"shared"/"data"/"wise"/"psf"/"astrom-atlas.fits"


def tile_wcs(ra, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [1024.5, 1024.5]
    wcs.wcs.cd = [[-2.75/3600, 0], [0, 2.75/3600]]
    return wcs


def test_names_and_centres():
    a = atlas()
    assert len(a.names) == len(set(a.names)) == 18240
    k = a.index("1866p257")
    assert (a.ra[k], a.dec[k]) == (pytest.approx(186.667667, abs=2e-6), 25.745556)
    with pytest.raises(InputError, match="as 1866p257"):
        a.index("1866p258")


@pytest.mark.parametrize("name", ["1866p257", "0000m016", "3000p893", "0000m894"])
def test_pixels_are_those_of_the_tan_projection(name):
    a = atlas()
    k = a.index(name) if name in a.names else 0
    x, y = np.array([0., 2047., 1023.5, -300.]), np.array([0., 100., 1023.5, 2100.])
    ra, dec = tile_wcs(a.ra[k], a.dec[k]).all_pix2world(x, y, 0)
    assert np.allclose(a.pixels(k, ra, dec), (x, y), atol=1e-6)


def test_every_place_of_the_sky_has_one_primary_tile():
    rng, a = np.random.default_rng(3), atlas()
    ra, dec = rng.uniform(0, 360, 100000), np.degrees(np.arcsin(rng.uniform(-1, 1, 100000)))
    owner = a.owner(ra, dec)
    assert (owner >= 0).all() and edge_distance(*a.pixels(owner, ra, dec)).min() > 0
    # the same by the tiles' own view, around the pole and on the equator
    for name in ("1866p257", "0000m016", a.names[0], a.names[-1]):
        k = a.index(name)
        assert np.array_equal(a.primary(k, ra, dec), owner == k)


def test_sources_in_the_overlap_of_four_tiles_are_primary_once():
    a, rng = atlas(), np.random.default_rng(5)
    k = a.index("1866p257")
    ra, dec = tile_wcs(a.ra[k], a.dec[k]).all_pix2world(*rng.uniform(-20, 120, (2, 3000)), 0)
    inside = [t for t in range(len(a.names)) if abs(a.dec[t]-dec.mean()) < 2 and
              (edge_distance(*a.pixels(t, ra, dec)) > 0).any() and abs((a.ra[t]-ra.mean()+180) % 360-180) < 3]
    assert len(inside) >= 3
    assert (sum(a.primary(t, ra, dec).astype(int) for t in inside) == 1).all()


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="no published atlas beside this project")
def test_all_tiles_are_the_published_ones():
    table, a = fits.getdata(PUBLISHED), atlas()
    places = {str(n): c for n, c in zip(table["COADD_ID"], table["CRVAL"])}
    assert set(places) == set(a.names)
    # written to 1e-6 degrees, a thousandth of a pixel
    assert np.abs(np.array([places[n] for n in a.names])-np.c_[a.ra, a.dec]).max() < 1.5e-6
