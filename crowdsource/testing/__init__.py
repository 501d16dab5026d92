"""Contract suites: tests that every implementation of an extension point must pass. They need pytest.

A package that brings an instrument or a PSF inherits the suite in its own tests::

    from crowdsource.testing import InstrumentContract

    class TestMyCamera(InstrumentContract):
        @pytest.fixture
        def sample(self, tmp_path):
            return MyCamera(), write_sample(tmp_path/"sample.fits"), {}
"""
from importlib import import_module

_MODULES = {"InstrumentContract": "instrument_contract", "PSFContract": "psf_contract"}
__all__ = tuple(sorted(_MODULES))


def __getattr__(name):
    # one suite does not load what only another one needs
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
