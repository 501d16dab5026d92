"""Crowded-field photometry: all stars of an exposure fitted at once, with PSF, sky and honest errors.

Everything that a user needs is here by name and imported when first used::

    import crowdsource as cs
    result = cs.fit(cs.Image.from_arrays(data, ivar))
"""
import sys
from importlib import import_module
from types import ModuleType

_HOMES = {
    "Cluster": "simulate", "CrowdsourceError": "errors", "FitConfig": "config", "FitResult": "fit", "Image": "image",
    "PSF": "psf.base", "SimulationConfig": "simulate", "compare": "evaluate", "completeness": "inject", "decode": "flags",
    "described": "config", "fit": "fit", "inject": "inject", "plot_fit": "report", "read_simulation": "io.simulation",
    "released": "config", "simulate_field": "simulate", "write_result": "io.results", "write_simulation": "io.simulation",
}
__all__ = tuple(sorted([*_HOMES, "__version__"]))


class _Package(ModuleType):
    """The package, in which a function is not hidden by the module of the same name that holds it.

    The import system binds each module in its package once it is loaded; for `fit` and `inject` the function is bound.
    """

    def __setattr__(self, name, value):
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version
        return version("crowdsourcephoto")
    if name not in _HOMES:
        raise AttributeError(f"module 'crowdsource' has no attribute {name!r}")
    return getattr(import_module("."+_HOMES[name], __name__), name)


def __dir__():
    return sorted({*globals(), *__all__})
