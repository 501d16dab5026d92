"""The info file: inverse variances of fluxes, flags and PSF."""
import numpy as np
import pytest
from astropy.io import fits
from small_fields import NOISE, star_image, tan_wcs, write_fits
from test_cli import FLUX, SHAPE, X, Y

from crowdsource.cli.main import main
from crowdsource.exposure.model_files import rounded_to_bits
from crowdsource.io.tables import read_table


@pytest.fixture
def info(tmp_path, monkeypatch):
    """The files of a run with masked pixels."""
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", star_image(SHAPE, X, Y, FLUX), tan_wcs(SHAPE).to_header())
    ivar = np.full(SHAPE, NOISE**-2, np.float32)
    ivar[40:60, 50:90] = 0
    write_fits("ivar.fits", ivar)
    assert main(["generic", "im.fits", "--ivar", "ivar.fits", "--quiet", "--info-out", "i.fits", "--model-out", "m.fits"]) == 0
    with fits.open("i.fits") as hdus:
        yield hdus


def test_inverse_variance_of_an_isolated_star(info):
    ivf, stamp = info["IVF"].data, info["PSF"].data.astype(float)
    # the stamp that is squared has 19 pixels; what lies beyond has 1e-5 of its square
    assert ivf[20, 30] == pytest.approx((stamp**2).sum()/NOISE**2, rel=1e-3)
    assert ivf[50, 70] == 0 or ivf[50, 70] < 1e-3*ivf[20, 30]
    # between a good and a masked half; the column of the star counts
    half = (stamp**2)[:, :30].sum()/NOISE**2
    assert ivf[50, 49] == pytest.approx(half, rel=2e-3)
    rows = read_table("im.cat.fits")
    inner = (rows["x"] > 20) & (rows["x"] < 108) & (rows["y"] > 20) & (rows["y"] < 76) & (rows["qf"] > 0.999)
    error = 1/np.sqrt(ivf[np.round(rows["y"]).astype(int), np.round(rows["x"]).astype(int)])
    # of a star at the pixel's centre, of the PSF in the middle: a PSF of 4 px between pixels is as wide within a per cent
    assert inner.sum() > 5 and error[inner] == pytest.approx(rows["dflux_iso"][inner], rel=0.02)


def test_flags_and_psf(info):
    assert (info["MSK"].data == fits.getdata("m.fits", "MSK")).all() and info["MSK"].data[50, 70] > 0
    assert (info["PSF"].data == fits.getdata("im.cat.fits", "PSF")).all()
    assert info["PSF"].data.sum() == pytest.approx(1, abs=1e-5)
    assert info["IVF"].header["CRVAL1"] == info["MSK"].header["CRVAL1"] == 150 and info["IVF"].header["LTV1"] == 0


def test_bits_of_inverse_variances():
    values = np.random.default_rng(1).lognormal(0, 8, 1000).astype(np.float32)
    short = rounded_to_bits(values)
    assert np.abs(short/values-1).max() < 2**-12 and (rounded_to_bits(np.zeros(3, np.float32)) == 0).all()
    assert (rounded_to_bits(short) == short).all() and (short.view(np.uint32) & 0xfff == 0).all()


def test_names_are_told_and_nothing_is_replaced(info, capsys):
    assert main(["generic", "im.fits", "--out", "o.fits", "--info-out", "i.fits"]) == 2
    assert "i.fits: exists already" in capsys.readouterr().err
    assert main(["generic", "im.fits", "--out", "o.fits", "--info-out", "o.fits"]) == 2
    assert "two outputs have the same name" in capsys.readouterr().err
    assert main(["generic", "im.fits", "--out", "o.fits", "--info-out", "j.fits"]) == 0
    assert "j.fits: inverse variance of fluxes, flags and PSF" in capsys.readouterr().out
