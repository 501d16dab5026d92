"""PSFs from files of Piff, compared with what piff itself draws."""
import logging
import sys

import numpy as np
import pytest
from astropy.io import fits

from crowdsource.core.errors import DataFileError, MissingExtraError
from crowdsource.psf.base import pixel
from crowdsource.psf.formats.piff import read_piff
from crowdsource.psf.formats.reading import read_psf

SHAPE = (150, 110)
SCALE = 0.2
NORM = 59
SIZE = 25


@pytest.fixture(scope="module")
def piff():
    return pytest.importorskip("piff", reason="piff is not installed")


def stars_of(piff, fwhm, chips, colours, count=24):
    """Stars without noise whose width and shape vary over the image, and with a colour where they have one."""
    import galsim
    rng = np.random.default_rng(3)
    for chip in chips:
        for x, y, colour in rng.uniform((15, 15, 0), (SHAPE[1]-15, SHAPE[0]-15, 1), (count, 3)):
            box = galsim.BoundsI(int(x)-14, int(x)+15, int(y)-14, int(y)+15)
            image = galsim.Image(box, dtype=float, wcs=galsim.PixelScale(SCALE))
            u, v = 2*x/SHAPE[1]-1, 2*y/SHAPE[0]-1
            width = fwhm*SCALE*(1+0.06*u+0.1*(chip-1)+(0.2*colour if colours else 0))
            star = galsim.Moffat(beta=3.5, fwhm=width, flux=1e5).shear(g1=0.05*v, g2=0.03*u)
            star.drawImage(image, center=galsim.PositionD(x, y))
            weight = galsim.Image(image.bounds, init_value=1., wcs=image.wcs)
            properties = dict(chipnum=chip, **(dict(colour=colour) if colours else {}))
            yield piff.Star(piff.StarData(image, galsim.PositionD(x, y), weight=weight, properties=properties), None)


def write(piff, path, model, interp, fwhm=4., chips=(1,), colours=False):
    """A file that piff fitted and wrote."""
    import galsim
    psf = piff.SimplePSF(model, interp, max_iter=3)
    psf = psf if len(chips) == 1 else piff.SingleChipPSF(psf)
    psf.set_context({chip: galsim.PixelScale(SCALE) for chip in chips})
    psf.fit(list(stars_of(piff, fwhm, chips, colours)))
    psf.write(str(path))
    return path


@pytest.fixture(scope="module")
def files(piff, tmp_path_factory):
    """One file of each kind, written once."""
    folder, made = tmp_path_factory.mktemp("piff"), {}
    kinds = {
        "moffat": lambda path: write(piff, path, piff.Moffat(beta=3.5), piff.Polynomial(order=1)),
        "narrow": lambda path: write(piff, path, piff.Moffat(beta=3.5), piff.Polynomial(order=1), fwhm=2.3),
        "pixels": lambda path: write(piff, path, piff.PixelGrid(scale=SCALE, size=17), piff.BasisPolynomial(order=1)),
        "chips": lambda path: write(piff, path, piff.Moffat(beta=3.5), piff.Mean(), chips=(1, 2)),
        "colour": lambda path: write(piff, path, piff.PixelGrid(scale=SCALE, size=13),
                                     piff.BasisPolynomial(order=1, keys=("u", "v", "colour")), colours=True),
    }

    def of(kind):
        if kind not in made:
            made[kind] = kinds[kind](folder/f"{kind}.piff")
        return made[kind]
    return of


def centroid(stamp):
    at, box = np.arange(-9, 10), stamp[stamp.shape[0]//2-9:, stamp.shape[1]//2-9:][:19, :19]
    return (box*at).sum()/box.sum(), (box*at[:, None]).sum()/box.sum()


def drawn(model, x, y, size=SIZE, **properties):
    """What piff draws for a star whose centroid is at a position, pixels from 0, of which the box of the norm holds 1."""
    import galsim
    px, py = int(pixel(x)), int(pixel(y))
    dx = dy = 0.
    for _ in range(4):
        wide = model.draw(px+1, py+1, center=(px+1+dx, py+1+dy), stamp_size=NORM, **properties).array
        off = centroid(wide)
        dx, dy = dx-off[0], dy-off[1]
    image = galsim.Image(galsim.BoundsI(px+1-size//2, px+1+size//2, py+1-size//2, py+1+size//2), dtype=float,
                         wcs=galsim.PixelScale(SCALE))
    return model.draw(x+1, y+1, center=(x+1+dx, y+1+dy), image=image, **properties).array/wide.sum()


def off(psf, model, positions, **properties):
    """Largest difference from what piff draws, in units of the peak."""
    pairs = [(psf.render([x], [y], SIZE)[0], drawn(model, x, y, **properties)) for x, y in positions]
    return max(np.abs(own-true).max()/true.max() for own, true in pairs)


# at any position and phase: modes below 1e-5 are left out; where piff's Fourier transforms change their size, what it draws of
# narrow stars jumps by 4e-5; grids of pixels have kinks, of which 5 samples a pixel leave 4e-5
@pytest.mark.parametrize("kind, samples, tolerance", [("moffat", 2, 1.5e-5), ("narrow", 3, 6e-5), ("pixels", 5, 5e-5)])
def test_stars_are_those_that_piff_draws(piff, files, kind, samples, tolerance):
    path = files(kind)
    psf, model = read_psf(path, SHAPE), piff.read(str(path))
    (rows, columns), whole = psf.profile.nodes, psf.shape
    assert whole == SHAPE and columns[[0, -1]].tolist() == [0, 109] and rows[[0, -1]].tolist() == [0, 149] and psf.varies
    assert psf.oversampling == samples
    assert off(psf, model, [(x, y) for x in (0, 54, 109) for y in (0, 75, 149)]) < 2e-5
    assert off(psf, model, np.random.default_rng(1).uniform((0, 0), SHAPE[::-1], (30, 2))-0.5) < tolerance
    # with another corner of the image the difference would be a few per cent
    assert np.abs(psf.stamp(SIZE, 0, 0)-psf.stamp(SIZE, 109, 149)).max() > 0.03*psf.stamp(SIZE).max()


def test_fewer_samples_where_they_are_asked_for(piff, files):
    path = files("pixels")
    psf, model = read_piff(path, SHAPE, finest=2), piff.read(str(path))
    assert psf.oversampling == 2 and 5e-5 < off(psf, model, [(31.3, 47.8), (90.75, 12.2)]) < 2e-3


def test_a_refit_keeps_the_samples(files):
    psf = read_psf(files("moffat"), SHAPE)
    core = np.zeros((1, 9, 9))
    core[0, 4, 4] = 1e-4
    assert psf.with_parts(psf.profile, core).oversampling == psf.oversampling == 2


def test_one_of_several_chips(piff, files):
    path = files("chips")
    with pytest.raises(DataFileError, match=r"chips.piff\[psf\].*chips 1, 2.*read_piff\(path, image.shape, chip=1\)"):
        read_psf(path, SHAPE)
    with pytest.raises(DataFileError, match="chips.piff.*there is no 7"):
        read_piff(path, SHAPE, chip=7)
    model = piff.read(str(path))
    for chip in (1, 2):
        assert off(read_piff(path, SHAPE, chip=chip), model, [(55, 75), (3, 140)], chipnum=chip) < 1e-5
    assert read_piff(path, SHAPE, chip=2).fwhm() > 1.05*read_piff(path, SHAPE, chip=1).fwhm()


def test_an_hdu_by_its_name(files):
    assert read_psf(files("moffat"), SHAPE, hdu="psf").varies


def test_a_psf_that_depends_on_colour(piff, files, caplog):
    path = files("colour")
    model = piff.read(str(path))
    with caplog.at_level(logging.WARNING):
        psf = read_psf(path, SHAPE)
    mean = np.mean([star.data.properties["colour"] for star in model.stars if not star.is_flagged])
    assert f"depends on colour: that of {mean:.4g} is used" in caplog.text
    assert off(psf, model, [(0, 0), (109, 149)], colour=mean) < 2e-5
    caplog.clear()
    given = read_piff(path, SHAPE, properties=dict(colour=0.9))
    assert not caplog.text and off(given, model, [(0, 0), (109, 149)], colour=0.9) < 2e-5
    with pytest.raises(DataFileError, match="does not depend on redness.*depends on colour"):
        read_piff(path, SHAPE, properties=dict(redness=0.9))


def without(path, target, name):
    with fits.open(path) as hdus:
        fits.HDUList([hdu for hdu in hdus if hdu.name.upper() != name]).writeto(target)
    return target


def test_files_that_piff_cannot_read(files, tmp_path):
    whole = files("moffat")
    for name in ("PSF_INTERP_SOLUTION", "PSF_MODEL"):
        with pytest.raises(DataFileError, match=rf"{name}.piff\[psf\].*piff cannot read.*whole"):
            read_psf(without(whole, tmp_path/f"{name}.piff", name), SHAPE)
    with pytest.raises(DataFileError, match="no WCS"):
        read_psf(without(whole, tmp_path/"a.piff", "PSF_WCS"), SHAPE)
    (tmp_path/"cut.piff").write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(DataFileError, match="cut.piff"):
        read_psf(tmp_path/"cut.piff", SHAPE)
    with pytest.raises(DataFileError, match="missing.piff"):
        read_piff(tmp_path/"missing.piff", SHAPE)


def test_without_piff_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "piff", None)
    table = fits.BinTableHDU.from_columns([fits.Column("type", "6A", array=["Simple"])], name="psf")
    model = fits.BinTableHDU.from_columns([fits.Column("type", "6A", array=["Moffat"])], name="psf_model")
    fits.HDUList([fits.PrimaryHDU(), table, model]).writeto(tmp_path/"a.piff")
    with pytest.raises(MissingExtraError, match=r"crowdsourcephoto\[piff\]"):
        read_psf(tmp_path/"a.piff", SHAPE)
