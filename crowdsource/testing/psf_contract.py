"""The contract suite of PSF models: the tests of a model inherit `PSFContract` and provide a PSF.

A subclass defines the fixture ``psf``, which returns a PSF that holds for an image of at least 100x100 pixels.
"""
import pickle

import h5py
import numpy as np
import pytest
from astropy.io import fits

from crowdsource.config import PSFConfig
from crowdsource.psf.base import CENTROID_SIZE, PSF, StarStamps, pixel
from crowdsource.psf.formats.native import read_group, read_hdus, to_group, to_hdus
from crowdsource.psf.grid import first_moment

POSITIONS = ((60., 50.), (60.2, 50.4), (59.61, 49.7), (20.3, 80.12))


class PSFContract:
    """What every PSF model must fulfil."""

    gradient_tolerance = 2e-3
    """Largest error of a derivative relative to the largest derivative; the change of a varying PSF with the position is left
    out."""

    @pytest.fixture
    def psf(self):
        """A PSF of the model."""
        raise NotImplementedError

    def test_it_is_a_psf_of_a_registered_name(self, psf):
        assert isinstance(psf, PSF) and psf.registered_as
        assert len(psf.shape) == 2 and psf.norm_size % 2 == 1

    def test_stamps_are_float32_finite_and_their_own(self, psf):
        before = psf.stamp(21)
        stamps = psf.render(np.array([1., 90.7]), np.array([89., -3.2]), 33, derivatives=True)
        assert [s.dtype for s in stamps] == [np.float32]*3 and [s.shape for s in stamps] == [(2, 33, 33)]*3
        assert all(np.isfinite(s).all() for s in stamps)
        stamps[0][:] = 7
        assert np.array_equal(psf.stamp(21), before)
        assert psf.render([], [], 9).shape == (0, 9, 9)

    def test_derivatives_are_those_of_the_rendered_stamps(self, psf):
        step = 2e-3
        for x, y in POSITIONS:
            _, ddx, ddy = psf.render([x], [y], 23, derivatives=True)
            for slope, dx, dy in ((ddx, step, 0), (ddy, 0, step)):
                high, low = (psf.render([x+s*dx], [y+s*dy], 23)[0].astype(float) for s in (1, -1))
                difference = (high-low)/(2*step)
                assert np.abs(slope[0]-difference).max() < self.gradient_tolerance*np.abs(difference).max()

    def test_sum_over_the_norm_box_is_one(self, psf):
        for x, y in ((60., 50.), (0., 0.), (17., 88.)):
            assert psf.render([x], [y], psf.norm_size)[0].sum(dtype=float) == pytest.approx(1, abs=3e-6)

    def test_position_is_the_centroid_of_the_central_box(self, psf):
        for x, y in ((60., 50.), (3., 99.)):
            inner = psf.render([x], [y], CENTROID_SIZE)[0].astype(float)
            # float32: 361 pixels of up to 9 px times 1e-8
            assert first_moment(inner, 1) == pytest.approx(0, abs=3e-6) and first_moment(inner, 0) == pytest.approx(0, abs=3e-6)

    def test_small_stamps_are_the_middle_of_large_ones(self, psf):
        large, small = psf.render([60.3], [50.8], 61)[0], psf.render([60.3], [50.8], 9)[0]
        assert np.allclose(large[26:35, 26:35], small, atol=2e-6*small.max())

    def test_stamps_past_the_model_and_the_image_are_padded(self, psf):
        for x, y in ((60.3, 50.8), (-40., 130.2)):
            wide, middle = psf.render([x], [y], 301)[0], psf.render([x], [y], 61)[0]
            assert wide.shape == (301, 301) and np.isfinite(wide).all()
            assert np.allclose(wide[120:181, 120:181], middle, atol=2e-6*middle.max())
            assert np.abs(wide[[0, -1]]).max() < 1e-3*middle.max()

    def test_stars_are_added_and_packed_as_they_are_rendered(self, psf):
        x, y, flux, size = np.array([30.2, 44.9]), np.array([25.7, 31.]), np.array([100., 250.]), 15
        image, expected = np.zeros((60, 70), np.float32), np.zeros((60, 70))
        psf.add_to(image, x, y, flux, size)
        stamps = psf.render(x, y, size, derivatives=True)
        for stamp, px, py, f in zip(stamps[0], pixel(x), pixel(y), flux):
            expected[py-7:py+8, px-7:px+8] += f*stamp.astype(float)
        assert np.abs(image-expected).max() < 1e-5*expected.max()
        buffer, stride = np.full(2*3*size*16, np.nan, np.float32), 16
        psf.render_packed(x, y, size, buffer, np.array([0, 3*size*stride]), stride)
        packed = buffer.reshape(2, 3, size, stride)
        for k, plane in enumerate(stamps):
            assert np.abs(packed[:, k, :, :size]-plane).max() < 1e-6*np.abs(plane).max()
        assert (packed[..., size:] == 0).all()

    def test_smearing_keeps_the_flux(self, psf):
        sharp, wide = psf.render([60.], [50.], 59)[0], psf.render_smeared([60.], [50.], 59, 0.5)[0]
        assert wide.sum() == pytest.approx(sharp.sum(), abs=2e-3) and wide.max() < sharp.max()

    def test_no_method_changes_it_or_its_input(self, psf):
        x, y, size = np.array([60.2, 20.3]), np.array([50.4, 80.12]), 31
        before, given = psf.render(x, y, size).copy(), (x.copy(), y.copy())
        psf.prepare(61)
        psf.render_smeared(x, y, size, 0.5)
        psf.add_to(np.zeros((100, 100), np.float32), x, y, np.ones(2), size)
        to_hdus(psf, "PSF")[0].data[:] = 7
        assert psf.fwhm() > 0
        assert np.array_equal(psf.render(x, y, size), before) and all(map(np.array_equal, (x, y), given))

    @pytest.mark.parametrize("count", [0, 40])
    def test_a_refit_gives_a_new_psf_or_itself(self, psf, count):
        stars = self.stars(psf, count)
        before, given = psf.render(stars.x, stars.y, 31).copy(), stars.data.copy()
        new = psf.refit(stars, PSFConfig(order=0))
        assert isinstance(new, PSF) and (new is psf or count)
        assert tuple(new.shape) == tuple(psf.shape) and new.norm_size % 2 == 1
        assert new.render([60.], [50.], new.norm_size)[0].sum(dtype=float) == pytest.approx(1, abs=3e-6)
        assert np.array_equal(psf.render(stars.x, stars.y, 31), before) and np.array_equal(stars.data, given)

    @pytest.mark.parametrize("file_format", ["FITS", "HDF5"])
    def test_it_is_read_back_from_a_file_exactly(self, psf, tmp_path, file_format):
        if file_format == "FITS":
            fits.HDUList([fits.PrimaryHDU(), *to_hdus(psf, "PSF")]).writeto(tmp_path/"psf.fits")
            with fits.open(tmp_path/"psf.fits") as hdus:
                again = read_hdus(hdus, "PSF")
        else:
            with h5py.File(tmp_path/"psf.h5", "w") as file:
                to_group(psf, file.create_group("PSF"))
            with h5py.File(tmp_path/"psf.h5") as file:
                again = read_group(file["PSF"])
        assert type(again) is type(psf)
        self.same(again, psf)

    def test_it_travels_between_processes(self, psf):
        self.same(pickle.loads(pickle.dumps(psf)), psf)

    @staticmethod
    def stars(psf, count, size=59):
        """Stamps of stars of the PSF with noise, as a refit gets them."""
        rng = np.random.default_rng(5)
        x, y = rng.uniform(5, 95, (2, count))
        noise, flux = 1., np.full(count, 2e4)
        data = flux[:, None, None]*psf.render(x, y, size)+rng.normal(0, noise, (count, size, size))
        return StarStamps(x=x, y=y, flux=flux, data=data.astype(np.float32), ivar=np.full(data.shape, noise**-2, np.float32),
                          shape=psf.shape)

    @staticmethod
    def same(one, other):
        """Fail unless two PSFs render the same bits."""
        for x, y in POSITIONS:
            assert np.array_equal(one.render([x], [y], 31), other.render([x], [y], 31))
