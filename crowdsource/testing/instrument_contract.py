"""The contract suite of instruments: the tests of an adapter inherit `InstrumentContract` and provide a sample exposure.

A subclass defines the fixture ``sample``, which returns (instrument, path, options) of an exposure that can be opened.
"""
import pickle
from pathlib import Path

import numpy as np
import pytest

from crowdsource.config import FitConfig, checked
from crowdsource.core.errors import CrowdsourceError, InstrumentError
from crowdsource.core.flags import FlagTable
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.exposure.instrument import (
    DetectorTask,
    Exposure,
    Instrument,
    Option,
    SimulatesExposures,
    WritesImages,
    complete,
    load,
)
from crowdsource.io.fits import read_header


class InstrumentContract:
    """What every adapter must fulfil."""

    written = "again.fits"
    """File name of images that the instrument writes or simulates."""

    @pytest.fixture
    def sample(self):
        """(instrument, path, options) of an exposure that can be opened."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, sample):
        instrument, path, options = sample
        return instrument, instrument.open(path, **options)

    @pytest.fixture
    def image(self, opened):
        _, exposure = opened
        return exposure.read(exposure.tasks()[0])

    def test_it_is_registered_under_its_name(self, sample):
        assert type(load(sample[0].name)) is type(sample[0])

    def test_it_is_data_first(self, sample):
        instrument = sample[0]
        assert isinstance(instrument, Instrument)
        assert instrument.name.isidentifier() and instrument.name == instrument.name.lower()
        assert instrument.summary and "\n" not in instrument.summary
        assert isinstance(instrument.flags, FlagTable)
        assert all(0 <= d.bit < 32 for d in instrument.flags.definitions)

    def test_options_tell_all_that_a_command_line_needs(self, sample):
        options = sample[0].options
        assert isinstance(options, tuple) and all(isinstance(o, Option) for o in options)
        assert len({o.name for o in options}) == len(options)
        for o in options:
            assert o.name.isidentifier() and o.help and "\n" not in o.help
            if o.default is not None:
                assert o.type(o.default) == o.default, f"{o.name}: a right value is taken as it is"

    def test_unknown_options_are_refused(self, sample):
        instrument, path, _ = sample
        with pytest.raises(InstrumentError, match="option nonsense is unknown"):
            instrument.open(path, nonsense=1)
        with pytest.raises(InstrumentError):
            complete(instrument.options, {"nonsense": 1})

    def test_it_claims_by_header(self, sample):
        instrument, path, _ = sample
        assert instrument.claims(path, read_header(str(path).partition(":")[0])) in (True, False)

    def test_exposure_and_tasks(self, opened):
        _, exposure = opened
        assert isinstance(exposure, Exposure)
        assert exposure.identity and "\n" not in exposure.identity
        assert exposure.inputs and all(isinstance(p, Path) and p.exists() for p in exposure.inputs)
        assert {n for n, _ in exposure.options} <= {o.name for o in opened[0].options}
        tasks = exposure.tasks()
        assert tasks and tasks == exposure.tasks() and all(isinstance(t, DetectorTask) and t.cost > 0 for t in tasks)
        assert len({t.detector for t in tasks}) == len(tasks)

    def test_exposures_go_to_other_processes(self, opened):
        instrument, exposure = opened
        again, twin = pickle.loads(pickle.dumps((exposure, instrument)))
        assert again.tasks() == exposure.tasks() and again.identity == exposure.identity and twin.name == instrument.name
        task = exposure.tasks()[0]
        assert (again.read(task).data == exposure.read(task).data).all()

    def test_images(self, opened, image):
        _, exposure = opened
        assert isinstance(image, Image) and image.good.any()
        assert image.exposure == exposure.identity
        assert not image.data.flags.writeable
        assert (image.ivar[~np.isfinite(image.data)] == 0).all()

    def test_missing_file_is_an_error_of_ours(self, sample, tmp_path):
        instrument, _, options = sample
        with pytest.raises(CrowdsourceError, match="absent.fits"):
            exposure = instrument.open(str(tmp_path/"absent.fits"), **options)
            exposure.read(exposure.tasks()[0])

    def test_what_the_engine_is_told(self, opened, image):
        instrument, _ = opened
        assert checked(instrument.fit_config(image, FitConfig()))
        tiling = instrument.tiling(image)
        assert tiling is None or (tiling.core > 0 and tiling.overlap >= 0)
        psf = instrument.psf_prior(image)
        if psf is not None:
            # the sum over the normalisation box is 1 by the contract; float32 stamps
            assert psf.stamp(psf.norm_size).sum() == pytest.approx(1, abs=1e-4)

    def test_columns_and_model_planes(self, opened, image):
        instrument, _ = opened
        result = fit(image, instrument.psf_prior(image), instrument.fit_config(image, FitConfig()))
        for name, values in instrument.extra_columns(image, result).items():
            assert name.isidentifier() and len(values) == len(result.catalog)
        identifiers = np.asarray(instrument.extra_columns(image, result)["detection_id"])
        assert identifiers.dtype == np.int64 and (identifiers >= 0).all() and len(set(identifiers)) == len(identifiers)
        for name, plane in instrument.model_planes(image, result).items():
            assert name == name.upper() and plane.shape == image.shape

    def test_what_it_writes_it_reads(self, sample, image, tmp_path):
        instrument, _, options = sample
        if not isinstance(instrument, WritesImages):
            pytest.skip(f"{instrument.name} does not write images")
        instrument.write([image], tmp_path/self.written)
        again = self.reopened(instrument, tmp_path/self.written, options)
        assert (again.data == image.data)[image.good].all() and (again.dq == image.dq).all()
        assert again.ivar == pytest.approx(image.ivar, rel=1e-6)
        for name in ("gain", "saturation", "zeropoint", "exptime"):
            assert getattr(again, name) == pytest.approx(getattr(image, name), nan_ok=True)
        assert again.band == image.band

    def test_what_it_simulates_it_reads(self, sample, tmp_path):
        instrument, _, options = sample
        if not isinstance(instrument, SimulatesExposures):
            pytest.skip(f"{instrument.name} simulates no exposures")
        files = instrument.simulate(tmp_path/self.written, shape=(120, 100), stars=40.)
        image = self.reopened(instrument, tmp_path/self.written, options)
        assert image.shape == (120, 100) and image.good.mean() > 0.5 and all(p.exists() for p in files)

    def reopened(self, instrument, path, options):
        """The first image of what the instrument wrote."""
        exposure = instrument.open(str(path), **options)
        return exposure.read(exposure.tasks()[0])
