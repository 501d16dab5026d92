"""What catalogs and static masks mark on a DECam image: bright stars, galaxies, bad pixels; and proper motions."""
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from crowdsource.instruments.decam import Decam
from crowdsource.instruments.decam.bits import FLAGS
from crowdsource.instruments.skymasks import bright_boxes, ellipses, galaxies, tangent_offsets
from small_fields import NOISE, tan_wcs
from test_decam import SHAPE, read, write_exposure

from crowdsource.cli.main import main
from crowdsource.core.errors import DataFileError, InputError, InstrumentError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.exposure.instrument import TakesGalaxies, load, require
from crowdsource.io.positions import star_positions

SCALE = 0.26


def sky_image(shape=(200, 300), mjd=57828.):
    return Image.from_arrays(np.zeros(shape), np.full(shape, NOISE**-2), wcs=tan_wcs(shape), mjd=mjd)


def test_boxes_grow_with_brightness():
    where = bright_boxes((1200, 1300), np.array([600., 5., 900.]), np.array([500., 5., 900.]), np.array([5., 9.99, 10.]))
    big = np.argwhere(where[100:, 200:])+(100, 200)
    # 300 pixels for magnitude 5, cut off by the edge elsewhere; nothing at magnitude 10
    assert big.min(axis=0).tolist() == [200, 300] and big.max(axis=0).tolist() == [800, 900]
    assert where[:56, :56].all() and not where[57:100, :100].any() and not where[900, 950]
    assert bright_boxes((3000, 10), np.array([0.]), np.array([1500.]), np.array([-5.])).sum() == 1001*10
    assert not bright_boxes((10, 10), np.array([5.]), np.array([5.]), np.array([np.nan])).any()


def test_proper_motion_is_applied_to_the_date():
    image = sky_image()
    ra, dec = image.wcs.all_pix2world(150., 100., 0)
    table = Table(dict(RA=[ra, ra, ra], DEC=[dec]*3, pmra=[3000., np.nan, 3000.], pmdec=[-2000., np.nan, -2000.],
                       epoch=[2000., 2000., 2017.2], mag=[8., 9., 20.]))
    rows = star_positions(table, image)
    star = SkyCoord(ra*units.deg, dec*units.deg, pm_ra_cosdec=3*units.arcsec/units.yr, pm_dec=-2*units.arcsec/units.yr,
                    distance=10*units.pc, obstime=Time(2000., format="jyear"))
    moved = star.apply_space_motion(Time(image.mjd, format="mjd"))
    x, y = image.wcs.all_world2pix(moved.ra.deg, moved.dec.deg, 0)
    assert (rows["x"][0], rows["y"][0]) == (pytest.approx(x, abs=0.01), pytest.approx(y, abs=0.01))
    assert rows["x"][0]-150 == pytest.approx(-3*17.2/SCALE, rel=0.02)
    assert (rows["x"][1], rows["y"][1]) == (pytest.approx(150), pytest.approx(100))
    assert rows["x"][2] == pytest.approx(150, abs=0.5) and list(rows["mag"]) == [8, 9, 20]
    # no date, no motion
    assert star_positions(table, sky_image(mjd=np.nan))["x"][0] == pytest.approx(150)


def test_ellipses_lie_as_on_the_sky():
    image = sky_image()
    ra, dec = (np.array([v]) for v in image.wcs.all_pix2world(150., 100., 0))
    one = [np.array([v]) for v in (26., 0.5, 90.)]
    y, x = np.nonzero(ellipses(image, ra, dec, *one))
    # 100 px to east and west, 50 px to north and south
    assert (np.ptp(x)/2, np.ptp(y)/2) == (pytest.approx(13/SCALE, abs=1), pytest.approx(6.5/SCALE, abs=1))
    assert len(x) == pytest.approx(np.pi*50*25, rel=0.01) and x.mean() == pytest.approx(150, abs=0.2)
    # 45 degrees from north to east, and east is to the left
    y, x = np.nonzero(ellipses(image, ra, dec, np.array([26.]), np.array([0.3]), np.array([45.])))
    assert np.corrcoef(x, y)[0, 1] < -0.5
    circle = [ellipses(image, ra, dec, np.array([26.]), np.array(a), np.array(b)) for a, b in (
        ([np.nan], [45.]), ([0.3], [np.nan]))]
    assert (circle[0] == circle[1]).all() and circle[0].sum() == pytest.approx(np.pi*50**2, rel=0.01)


def test_a_galaxy_off_the_image_reaches_into_it():
    image = sky_image()
    ra, dec = (np.array([v]) for v in image.wcs.all_pix2world(-1000., 100., 0))
    where = ellipses(image, ra, dec, np.array([2*1100*SCALE]), np.array([np.nan]), np.array([np.nan]))
    y, x = np.nonzero(where)
    assert x.max() == pytest.approx(100, abs=1) and where[100, :99].all()
    far = ellipses(image, ra+180, dec, np.array([2*1100*SCALE]), np.array([np.nan]), np.array([np.nan]))
    assert not far.any() and np.isinf(tangent_offsets(180., 0., 0., 0.)).any()
    with pytest.raises(InputError, match="no WCS"):
        ellipses(Image.from_arrays(np.zeros((9, 9)), np.ones((9, 9))), ra, dec, ra, ra, ra)


def test_galaxies_are_removed_and_resized(tmp_path):
    table = Table(dict(ra=[1., 2., 3., 4.], dec=[0.]*4, d25=[10., 20., 30., 40.], pgc=[11, 12, 13, 14]))
    Table(dict(name=["12"])).write(tmp_path/"r.csv")
    Table(dict(name=["13", "14", "99"], factor=[2., np.nan, 3.], d25=[np.nan, 5., 1.])).write(tmp_path/"s.csv")
    ra, dec, diameter, ratio, angle = galaxies(table, tmp_path/"r.csv", tmp_path/"s.csv")
    assert list(ra) == [1, 3, 4] and list(diameter) == [10, 60, 5] and np.isnan(ratio).all() and np.isnan(angle).all()
    with pytest.raises(InputError, match="no column d25"):
        galaxies(Table(dict(ra=[1.], dec=[1.])))
    table.remove_column("pgc")
    with pytest.raises(InputError, match="needs a column name"):
        galaxies(table, tmp_path/"r.csv")


def test_the_command_takes_catalogs_and_masks(tmp_path):
    def bad(value):
        plane = np.zeros(SHAPE, np.uint8)
        plane[3, 4] = value
        return plane

    path = write_exposure(tmp_path, ccds=("N4",))
    image = read(path)
    ra, dec = image.wcs.all_pix2world([20., 60.], [30., 50.], 0)
    Table(dict(ra=ra[:1], dec=dec[:1], mag=[9.99])).write(tmp_path/"bright.fits")
    Table(dict(ra=ra[1:], dec=dec[1:], d25=[5.2])).write(tmp_path/"galaxies.ecsv")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(bad(1), name="N4")]).writeto(tmp_path/"masks.fits")
    fits.PrimaryHDU(bad(1)).writeto(tmp_path/"mask_N4.fits")
    own = ["--bright-stars", str(tmp_path/"bright.fits"), "--galaxies", str(tmp_path/"galaxies.ecsv"), "--quiet",
           "--out-dir", str(tmp_path/"o"), "--model-out", "m.fits", "--overwrite"]
    for mask in ("masks.fits", "mask_{ccd}.fits"):
        assert main(["decam", path, *own, "--badpix", str(tmp_path/mask)]) == 0
        flags = fits.getdata(tmp_path/"o"/"m.fits", "N4_MSK")
        assert flags[3, 4] & FLAGS.badpix and flags[30, 20] & FLAGS.brightstar and flags[30, 20] >> 32 & ENGINE.sharp
        assert flags[50, 60] & FLAGS.galaxy and flags[50, 60] >> 32 & ENGINE.nodeblend
        assert not (flags[(flags & FLAGS.galaxy > 0) & (flags & FLAGS.brightstar == 0)] >> 32 & ENGINE.sharp).any()
        assert (flags & FLAGS.galaxy > 0).sum() == pytest.approx(np.pi*100, rel=0.1)
        assert (flags & FLAGS.brightstar > 0).sum() == 71*64
    assert main(["decam", path, *own, "--deblend-bright"]) == 0
    assert not (fits.getdata(tmp_path/"o"/"m.fits", "N4_MSK") & FLAGS.brightstar).any()
    catalog = Table.read(tmp_path/"o"/"c4d_170316_062107_ooi_z_v1.cat.fits", hdu="N4_CAT")
    assert len(catalog) == 2


def test_masks_of_other_detectors_and_shapes(tmp_path):
    path = write_exposure(tmp_path, ccds=("N4",))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((5, 5), np.uint8), name="S7")]).writeto(tmp_path/"masks.fits")
    assert read(path, badpix=str(tmp_path/"masks.fits")).good.all()
    fits.PrimaryHDU(np.ones((5, 5), np.uint8)).writeto(tmp_path/"mask_N4.fits")
    with pytest.raises(DataFileError, match="give a mask of whole CCDs"):
        read(path, badpix=str(tmp_path/"mask_{ccd}.fits"))
    with pytest.raises(DataFileError, match="absent.fits"):
        read(path, badpix=str(tmp_path/"absent.fits"))
    with pytest.raises(InstrumentError, match="takes no galaxies"):
        require(load("generic"), TakesGalaxies)
    assert Decam().flag_bright_stars(read(path, deblend_bright=True), Table(dict(x=[5.], y=[5.], mag=[3.]))).dq.max() == 0
