"""PSFs for other programs: the finer stamp, STDPSF files, photutils' models, the curve of growth."""
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, OutputError
from crowdsource.psf.export import curve_of_growth, oversampled_stamp, to_photutils, write_stdpsf
from crowdsource.psf.formats.reading import read_psf
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.psf.profiles.stamp import StampProfile
from crowdsource.report.measured import left_by_phase
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.files import write_simulation
from crowdsource.simulate.optics import Telescope, optical_psf, optical_stamp

SHAPE = (301, 401)
CROSS = Telescope(resolution=1.5, vanes=(0, 90, 180, 270), aberrations=(0.02, 0., 0.03), jitter=0.2)


@pytest.fixture(scope="module")
def varying():
    """A Moffat profile whose width changes over the image."""
    return FieldPSF.of(MoffatProfile(np.array([[3.2, 0.2, -0.1], [0.05, 0, 0], [0, 0.03, 0], [3., 0, 0]]), SHAPE, 1))


@pytest.mark.parametrize("oversampling", [1, 2, 3, 4, 5])
def test_samples_are_where_they_should_be(oversampling):
    psf = optical_psf(CROSS, SHAPE)
    stamp, half = oversampled_stamp(psf, side=21, oversampling=oversampling), 10*oversampling
    assert stamp.shape == (2*half+1, 2*half+1)
    assert np.allclose(stamp[::oversampling, ::oversampling], psf.stamp(21), atol=1e-7)
    # two samples to the right and one down of the middle
    x, y = psf.centre
    other = psf.render([x-2/oversampling], [y+1/oversampling], 61)[0]
    shift = np.floor([x-2/oversampling+0.5, y+1/oversampling+0.5])-[x, y]
    assert stamp[half-1, half+2] == pytest.approx(other[30-int(shift[1]), 30-int(shift[0])], rel=1e-5)


def test_a_fine_grid_comes_back():
    fine = optical_stamp(CROSS, 40)
    psf = FieldPSF.of(optical_psf(CROSS, SHAPE, half=40).profile)
    back = oversampled_stamp(psf, side=41)
    middle = len(fine)//2
    want = fine[middle-80:middle+81, middle-80:middle+81]
    assert np.abs(back/back.sum()-want/want.sum()).max() < 0.03*(want/want.sum()).max()


def test_a_stdpsf_file_is_read_back(varying, tmp_path):
    path = tmp_path/"STDPSF.fits"
    write_stdpsf(varying, path, nodes=(3, 4), side=61)
    header = fits.getheader(path)
    assert (header["NXPSFS"], header["NYPSFS"], header["IPSFX03"], header["JPSFY04"], header["OVERSAMP"]) == (3, 4, 401, 301, 4)
    back = read_psf(path, SHAPE)
    # at nodes it is the same; between them it is bilinear
    for x, y, tolerance in ((0., 0., 1e-5), (200., 100., 1e-5), (400., 300., 1e-5), (200.3, 150.6, 2e-3), (400., 20.2, 2e-3)):
        one, other = (p.render([x], [y], 25)[0] for p in (varying, back))
        assert np.abs(one-other).max() < tolerance*one.max()
    with pytest.raises(OutputError, match="exists"):
        write_stdpsf(varying, path)


def test_photutils_renders_the_same(varying):
    pytest.importorskip("photutils", reason="photutils is not installed")
    model = to_photutils(varying, nodes=(5, 5))
    rows, columns = np.mgrid[:25, :25]
    # at phases that are samples neither program interpolates; a stamp's samples are those of stars up to half a pixel apart
    for x, y in ((0., 0.), (200.25, 150.5), (400., 300.)):
        own = varying.render([x], [y], 25)[0]
        corner = np.floor([x+0.5, y+0.5])-12
        other = model.evaluate(columns+corner[0], rows+corner[1], 1., x, y)
        assert np.abs(own-other).max() < 5e-4*own.max()
    for x, y in ((100., 75.), (200., 150.)):
        own = varying.render([x], [y], 25)[0]
        other = model.evaluate(columns+x-12, rows+y-12, 1., x, y)
        assert np.abs(own-other).max() < 1e-5*own.max()


def test_curve_of_growth(varying):
    at = np.arange(-144, 145)/4
    gauss = np.exp(-0.5*(at[:, None]**2+at**2)/2**2)
    psf = FieldPSF.of(StampProfile.from_stamp(gauss, SHAPE, 4))
    radii = np.array([0., 1., 2., 4., 8., 20.])
    assert curve_of_growth(psf, radii) == pytest.approx(1-np.exp(-0.5*(radii/2)**2), abs=4e-3)
    grown = curve_of_growth(varying, [10., 29.5, 70.])
    assert grown[0] < grown[1] < 1 < grown[2] < 1.05


@pytest.mark.parametrize("ask", [dict(side=20), dict(oversampling=0), dict(oversampling=1.5), dict(side=-1)])
def test_what_cannot_be_asked_for(varying, ask):
    with pytest.raises(ConfigError, match="odd"):
        oversampled_stamp(varying, **ask)
    with pytest.raises(ConfigError, match="1 to 99"):
        write_stdpsf(varying, "none", nodes=(0, 3))


def test_fluxes_refer_to_the_aperture_that_the_header_names(tmp_path):
    field = simulate_field(SimulationConfig(shape=(200, 200), stars=60., seed=8))
    image, catalogs = tmp_path/"field.fits", []
    write_simulation(field, image)
    for name, options in (("box", []), ("circle", ["--normalize-radius", "6"])):
        out = tmp_path/f"{name}.cat.fits"
        assert main(["generic", f"{image}:IMAGE", "--ivar", f"{image}:IVAR", "--quiet", "--out", str(out), *options]) == 0
        catalogs.append((fits.getheader(out, "HDR"), Table.read(out, "CAT")))
    (box, rows), (circle, scaled) = catalogs
    assert (box["FLUXBOX"], box["FLUXRAD"], circle["FLUXBOX"], circle["FLUXRAD"]) == (59, 0., 0, 6.)
    # a Moffat profile of 4 px and a power of 3: the part of its light within a circle, about what 60 stars tell
    alpha = 4/(2*np.sqrt(2**(1/3)-1))
    part = (1-(1+36/alpha**2)**-2)
    for header, whole in ((box, 1.), (circle, 1/part)):
        np.testing.assert_allclose(header["FLUXALL"], whole, rtol=0.03)
        np.testing.assert_allclose([header["EE50"], header["EE80"]], alpha*np.sqrt([2**0.5-1, 5**0.5-1]), rtol=0.08)
    for name in ("flux", "dflux", "fluxiso"):
        np.testing.assert_allclose(scaled[name]/rows[name], part, rtol=0.03)
    np.testing.assert_allclose(scaled["mag"]-rows["mag"], -2.5*np.log10(part), atol=0.03)
    np.testing.assert_array_equal(scaled["sky"], rows["sky"])


def test_what_is_left_by_the_phase_of_stars_in_their_pixels():
    rng = np.random.default_rng(1)
    x, y = (rng.uniform(5, 95, 150) for _ in range(2))
    residual = np.zeros((100, 100))
    px, py = np.floor(x+0.5).astype(int), np.floor(y+0.5).astype(int)
    # stars in the right half of their pixels leave 2 % of their flux
    residual[py, px] += np.where(x > px, 20., 0.)
    phases, number = left_by_phase(residual, (x, y, np.full(150, 1000.), Table()))
    assert number == 150 and phases.shape == (5, 5)
    # neighbours within three pixels add some
    assert np.nanmedian(phases[:, 3:]) > 1.5 and np.nanmedian(phases[:, :2]) < 1
