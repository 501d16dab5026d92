"""PSFs from files of LSST: cell-based coadds, and archives of exposures; the files are made here as its packages lay them out."""
import logging

import numpy as np
import pytest
from astropy.io import fits

from crowdsource.core.errors import DataFileError
from crowdsource.psf.formats.reading import read_psf

CELL, COUNT, MARGIN, FIRST = (50, 40), (3, 2), 10, (4950, 900)
INNER = (80, 150)
"""(ny, nx) of all cells without margins."""


def star(fwhm, side=31, step=1., aside=(0., 0.)):
    """A round Gaussian, unit sum."""
    at = (np.arange(side)-side//2)*step
    stamp = np.exp(-4*np.log(2)*((at-aside[0])**2+(at[:, None]-aside[1])**2)/fwhm**2)
    return stamp/stamp.sum()


def width_of(across, up):
    """FWHM in a cell, pixels: another in each."""
    return 3.6+0.2*across+0.5*up


def cells(path, left_out=(), change=None, stamps=None):
    """A cell-based coadd: the table that holds pixels and PSF of each cell, without the tables of its inputs."""
    numbers = [(x, y) for y in range(COUNT[1]) for x in range(COUNT[0]) if (x, y) not in left_out]
    psf = np.array([star(width_of(*n)) for n in numbers]) if stamps is None else stamps
    pixels = np.zeros((len(numbers), CELL[1]+2*MARGIN, CELL[0]+2*MARGIN), np.float32)
    ny, nx = pixels.shape[1:]
    table = fits.BinTableHDU.from_columns([
        fits.Column("cell_id", "2I", array=np.array(numbers)),
        fits.Column("image", f"{nx*ny}E", dim=f"({nx},{ny})", array=pixels),
        fits.Column("psf", f"{psf[0].size}D", dim=f"({psf.shape[2]},{psf.shape[1]})", array=psf)])
    for axis in (1, 2):
        k = axis-1
        table.header.update({f"GRCELL{axis}": CELL[k], f"GRSHAPE{axis}": COUNT[k], f"GRMIN{axis}": FIRST[k],
                             f"OCELL{axis}": CELL[k]+2*MARGIN, f"PSFSIZE{axis}": psf.shape[1], f"INBBOX1{axis}": FIRST[k]+15,
                             f"INBBOX2{axis}": FIRST[k]+CELL[k]*COUNT[k]-1})
    table.header["VERSION"] = "0.8"
    if change:
        change(table.header)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def off(psf, x, y, fwhm):
    true = star(fwhm)[8:23, 8:23]
    return np.abs(psf.render([x], [y], 15)[0]-true).max()/true.max()


# (ny, nx) of the image, and where in it the first pixel of the grid is
@pytest.mark.parametrize("shape, start", [(INNER, (0, 0)), ((100, 170), (10, 10)), ((65, 135), (-15, -15))])
def test_each_cell_has_its_psf_up_to_its_edges(tmp_path, caplog, shape, start):
    psf = read_psf(cells(tmp_path/"coadd.fits"), shape)
    assert not caplog.text and psf.shape == shape
    for across in range(COUNT[0]):
        for up in range(COUNT[1]):
            low = [start[k]+(across, up)[k]*CELL[k] for k in (0, 1)]
            for x in (max(0, low[0]), low[0]+25, low[0]+CELL[0]-1):
                for y in (max(0, low[1]), low[1]+17, low[1]+CELL[1]-1):
                    assert off(psf, x, y, width_of(across, up)) < 1e-5
    # margins beyond the grid are those of the cells at its edge
    assert off(psf, 0, 0, width_of(0, 0)) < 1e-5 and off(psf, shape[1]-1, shape[0]-1, width_of(2, 1)) < 1e-5


def test_cells_between_pixels(tmp_path):
    psf, at = read_psf(cells(tmp_path/"coadd.fits"), INNER), (np.arange(15)-7)
    true = np.exp(-4*np.log(2)*((at-0.3)**2+(at[:, None]+0.4)**2)/width_of(1, 0)**2)
    true *= star(width_of(1, 0)).max()
    # one sample a pixel is interpolated by splines
    assert np.abs(psf.render([70.3], [19.6], 15)[0]-true).max() < 1e-3*true.max()


def test_cells_without_inputs_take_the_psf_of_the_nearest(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        psf = read_psf(cells(tmp_path/"coadd.fits", left_out=[(2, 1)]), INNER)
    assert "1 of 6 cells have no PSF" in caplog.text
    # the cell to the left and the one below are equally near
    assert min(off(psf, 125, 60, width_of(1, 1)), off(psf, 125, 60, width_of(2, 0))) < 1e-5
    stamps = np.array([star(width_of(x, y)) for y in range(2) for x in range(3)])
    stamps[4] = np.nan
    psf = read_psf(cells(tmp_path/"nan.fits", stamps=stamps), INNER)
    assert min(off(psf, 75, 60, width_of(*n)) for n in ((0, 1), (2, 1), (1, 0))) < 1e-5


@pytest.mark.parametrize("shape, change, message", [
    ((64, 64), None, r"shape \(64, 64\).*inner box \(65, 135\).*all cells \(80, 150\).*margins \(100, 170\).*cutout"),
    (INNER, lambda h: h.remove("GRMIN2"), "keyword.*GRMIN2"),
    (INNER, lambda h: h.update(GRCELL1=0), "GRCELL1.*mend the header"),
    (INNER, lambda h: h.update(GRSHAPE1="three"), "keyword.*three"),
    ((65, 135), lambda h: h.update(GRMIN1=0), "no cell lies on the image"),
])
def test_cells_that_cannot_be_placed(tmp_path, shape, change, message):
    with pytest.raises(DataFileError, match=rf"coadd.fits\[1\].*{message}"):
        read_psf(cells(tmp_path/"coadd.fits", change=change), shape)


def test_cells_without_any_psf(tmp_path):
    with pytest.raises(DataFileError, match="no cell has a PSF"):
        read_psf(cells(tmp_path/"coadd.fits", stamps=np.zeros((6, 31, 31))), INNER)


SHAPE = (200, 160)
SIDE, STEP = 45, 0.5
ZERO, SCALE = (80., 100.), (160., 200.)


def table(name, columns, **cards):
    hdu = fits.BinTableHDU.from_columns([fits.Column(n, form, array=[value]) for n, form, value in columns], name=name)
    hdu.header.update(cards)
    return hdu


def exposure(path, kind="PsfexPsf", degree=1, arrays=None, left_out=(), psf_id=7, origin=(0, 0), groups=1):
    """An exposure: pixels, and the archive with another object before the PSF, which is number `psf_id` there."""
    planes = np.zeros(((degree+1)*(degree+2)//2, SIDE, SIDE), np.float32)
    narrow, wide = star(3.6, SIDE, STEP), star(4.2, SIDE, STEP)
    planes[0], planes[1] = narrow, wide-narrow
    index = np.array([(3, 1, 0, 0, 1, "SkyWcs"), (7, 2, 0, 0, 1, kind), (7, 3, 1, 0, 1, kind)], dtype=[
        ("id", "i4"), ("cat.archive", "i4"), ("cat.persistable", "i4"), ("row0", "i4"), ("nrows", "i4"), ("name", "S64")])
    numbers = [("ndim", "J", 2), ("ngroup", "J", groups), ("ncoeff", "J", len(planes)), ("_size_size", "J", 3),
               ("_comp_size", "J", planes.size), ("_context_size", "J", 2), ("averagePosition_x", "D", 1.),
               ("averagePosition_y", "D", 1.), ("_pixstep", "E", STEP)]
    values = [("group", "2J", [0, 0]), ("degree", f"{groups}J", [degree]*groups), ("_size", "3J", [SIDE, SIDE, len(planes)]),
              ("_comp", f"{planes.size}E", planes.ravel()), ("_context_first", "2D", ZERO), ("_context_second", "2D", SCALE)]
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros(SHAPE, np.float32), name="IMAGE"),
            fits.BinTableHDU(index, name="ARCHIVE_INDEX"), table("SkyWcs", [("a", "J", 1)]), table(kind, numbers),
            table(kind, [v for v in values if v[0] not in left_out], EXTVER=2)]
    hdus[0].header["AR_HDU"] = 3
    if psf_id:
        hdus[0].header["PSF_ID"] = psf_id
    hdus[1].header.update(LTV1=-origin[0], LTV2=-origin[1])
    fits.HDUList(hdus[:arrays]).writeto(path)
    return path


@pytest.mark.parametrize("origin", [(0, 0), (40, 30)])
@pytest.mark.parametrize("degree", [1, 2])
def test_a_psfex_model_of_an_exposure(tmp_path, origin, degree):
    psf = read_psf(exposure(tmp_path/"calexp.fits", degree=degree, origin=origin), SHAPE)
    for x, y in ((0, 0), (159, 0), (80, 150)):
        share = (x+origin[0]-ZERO[0])/SCALE[0]
        true = (1-share)*star(3.6)+share*star(4.2)
        # the splines of the samples, twice; a shift of the polynomial by one pixel would be 2e-3
        assert np.abs(psf.render([x], [y], 31)[0]-true).max() < 3e-4*true.max()
    assert psf.varies


@pytest.mark.parametrize("kind, message", [
    ("PiffPsf", r"PiffPsf, a model of Piff, stored as a pickled object.*piffResult.write"),
    ("CoaddPsf", "CoaddPsf, made of the PSFs of all inputs.*STDPSF"), ("StitchedPsf", "cell-based coadd"),
    ("OwnPsf", "OwnPsf, which is not understood.*STDPSF")])
def test_psfs_of_exposures_that_are_no_arrays(tmp_path, kind, message):
    with pytest.raises(DataFileError, match=rf"calexp.fits.*{message}"):
        read_psf(exposure(tmp_path/"calexp.fits", kind), SHAPE)


@pytest.mark.parametrize("options, message", [
    (dict(psf_id=None), "no PSF in its archive"), (dict(psf_id=8), "no PSF in its archive"), (dict(arrays=5), "lacks a table"),
    (dict(left_out=["_comp"]), "lack a column.*_comp"), (dict(groups=2), "2 groups")])
def test_damaged_exposures(tmp_path, options, message):
    with pytest.raises(DataFileError, match=rf"calexp.fits.*{message}"):
        read_psf(exposure(tmp_path/"calexp.fits", **options), SHAPE)


def test_a_psf_on_its_own_is_the_first_object(tmp_path):
    with fits.open(exposure(tmp_path/"calexp.fits")) as hdus:
        archive = [hdu.copy() for hdu in hdus[2:]]
    archive[0].data["id"][archive[0].data["id"] == 7] = 1
    fits.HDUList([fits.PrimaryHDU(), *archive]).writeto(tmp_path/"psf.fits")
    assert np.array_equal(read_psf(tmp_path/"psf.fits", SHAPE).stamp(31, 0, 0),
                          read_psf(tmp_path/"calexp.fits", SHAPE).stamp(31, 0, 0))
