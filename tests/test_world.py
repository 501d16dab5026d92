"""World coordinates of files in any frame: catalogs hold right ascension and declination in the ICRS."""
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK4, FK5, Galactic, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS, DistortionLookupTable
from astropy.wcs.wcsapi import BaseHighLevelWCS
from crowdsource.instruments.generic import Generic
from small_fields import star_image, write_fits

from crowdsource import Image, fit
from crowdsource.core.world import is_plain, pixels_of, sky_of
from crowdsource.io.fits import covers, read_image
from crowdsource.io.positions import positions

CENTRE = SkyCoord(83.6, 22.0, unit="deg", frame="icrs")
SHAPE = 120, 140
FRAMES = {
    "icrs": ("RA", "DEC", dict(RADESYS="ICRS"), "icrs"),
    "no system": ("RA", "DEC", {}, "icrs"),
    "fk5": ("RA", "DEC", dict(RADESYS="FK5", EQUINOX=2000.), FK5(equinox="J2000")),
    "fk5 of date": ("RA", "DEC", dict(RADESYS="FK5", EQUINOX=1975.), FK5(equinox="J1975")),
    "b1950": ("RA", "DEC", dict(RADESYS="FK4", EQUINOX=1950.), FK4(equinox="B1950", obstime=Time("B1950"))),
    "galactic": ("GLON", "GLAT", {}, Galactic()),
}


def read_generic(path):
    exposure = Generic().open(str(path))
    return exposure.read(exposure.tasks()[0])


def header_of(name, latitude_first=False, centre=CENTRE):
    """The header of a north-up image of 0.5 arcsec pixels, in a frame."""
    lon, lat, more, frame = FRAMES[name]
    there = centre.transform_to(frame).spherical
    axes = [(f"{lon:-<4}-TAN", there.lon.deg, SHAPE[1]/2, -0.5/3600), (f"{lat:-<4}-TAN", there.lat.deg, SHAPE[0]/2, 0.5/3600)]
    out = dict(more)
    for k, (kind, value, pixel, step) in enumerate(axes[::-1] if latitude_first else axes, 1):
        out |= {f"CTYPE{k}": kind, f"CRVAL{k}": value, f"CUNIT{k}": "deg", f"CRPIX{k}": pixel, f"CDELT{k}": step}
    return fits.Header(out)


@pytest.mark.parametrize("latitude_first", [False, True])
@pytest.mark.parametrize("name", FRAMES)
def test_any_frame_gives_icrs(name, latitude_first):
    wcs = WCS(header_of(name, latitude_first))
    middle = wcs.wcs.crpix-1
    there = SkyCoord(*sky_of(wcs, *middle), unit="deg")
    assert there.separation(CENTRE).mas < 1
    assert is_plain(wcs) == (name in ("icrs", "no system") and not latitude_first)
    x, y = np.array([3., 70.]), np.array([5., 100.])
    assert np.allclose(pixels_of(wcs, *sky_of(wcs, x, y)), (x, y), atol=1e-5)
    assert np.allclose(pixels_of(wcs, *sky_of(wcs, x, y), distorted=False), (x, y), atol=1e-5)
    assert covers(wcs, SHAPE)


@pytest.mark.parametrize("name", FRAMES)
def test_sky_positions_find_pixels_in_any_frame(name):
    wcs = WCS(header_of(name, latitude_first=True))
    image = Image.from_arrays(star_image(SHAPE), wcs=wcs)
    found = positions(Table(dict(ra=[CENTRE.ra.deg], dec=[CENTRE.dec.deg])), image)
    assert np.allclose([found["x"][0], found["y"][0]], wcs.wcs.crpix-1, atol=1e-4)


@pytest.mark.parametrize("name", ["galactic", "b1950"])
def test_a_catalog_is_in_the_icrs(tmp_path, name):
    header = header_of(name)
    x, y = header["CRPIX1"]-1, header["CRPIX2"]-1
    path = write_fits(tmp_path/"a.fits", star_image(SHAPE, [x, 30.], [y, 90.], [2e4, 3e4]), header)
    catalog = fit(read_generic(path)).catalog
    off = SkyCoord(catalog["ra"], catalog["dec"]).separation(CENTRE)
    assert off.min() < 0.05*units.arcsec


def test_distortions_in_tables_of_the_file_are_used(tmp_path):
    header = header_of("icrs")
    wcs = WCS(header)
    # astropy writes and reads tables of both axes only
    wcs.cpdis1, wcs.cpdis2 = (DistortionLookupTable(np.full(SHAPE, s, np.float32), (1, 1), (1, 1), (1, 1)) for s in (3, 1))
    hdus = wcs.to_fits(relax=True)
    hdus[0].data = star_image(SHAPE)
    hdus.writeto(tmp_path/"a.fits")
    found, plain = read_image(tmp_path/"a.fits").wcs(), WCS(header)
    assert found is not None and np.allclose(sky_of(found, 50., 60.), sky_of(plain, 53., 61.), rtol=0, atol=1e-8)


def test_world_coordinates_in_a_table_of_the_file(tmp_path):
    x, y = np.array([1., 33., 65.]), np.array([1., 31., 61.])
    grid = np.stack(np.broadcast_arrays(150-1e-4*(x-32)[None, :], 2+1e-4*(y-30)[:, None]), axis=-1)
    table = fits.BinTableHDU.from_columns([
        fits.Column("COORDS", "18D", dim="(2,3,3)", array=grid[None]), fits.Column("X", "3D", array=x[None]),
        fits.Column("Y", "3D", array=y[None])], name="WCS-TABLE")
    axes = [{f"CTYPE{k}": name, f"CRPIX{k}": 1., f"CRVAL{k}": 1., f"CDELT{k}": 1., f"CUNIT{k}": "deg", f"PS{k}_0": "WCS-TABLE",
             f"PS{k}_1": "COORDS", f"PS{k}_2": index, f"PV{k}_1": 1, f"PV{k}_2": 1, f"PV{k}_3": k}
            for k, (name, index) in enumerate((("RA---TAB", "X"), ("DEC--TAB", "Y")), 1)]
    header = fits.Header({**axes[0], **axes[1], "RADESYS": "ICRS"})
    fits.HDUList([fits.PrimaryHDU(star_image(SHAPE), header), table]).writeto(tmp_path/"a.fits")
    assert np.allclose(sky_of(read_image(tmp_path/"a.fits").wcs(), 10., 40.), (150+21e-4, 2+11e-4), rtol=0, atol=1e-9)


def test_a_wcs_of_another_package_serves():
    plain = WCS(header_of("galactic"))

    class Other(BaseHighLevelWCS):
        """Knows no more than the common interface."""

        low_level_wcs = property(lambda self: plain.low_level_wcs)

        def world_to_pixel(self, *world):
            return plain.world_to_pixel(*world)

        def pixel_to_world(self, *pixel):
            return plain.pixel_to_world(*pixel)

    assert np.allclose(sky_of(Other(), 10., 20.), sky_of(plain, 10., 20.))
    assert np.allclose(pixels_of(Other(), *sky_of(plain, 10., 20.), distorted=False), (10, 20))
