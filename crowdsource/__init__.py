"""Crowded-field photometry: all stars of an exposure fitted at once, with PSF, sky and honest errors.

Everything that a user needs is here by name and imported when first used::

    import crowdsource as cs
    result = cs.fit(cs.Image.from_arrays(data, ivar))
"""
from importlib import import_module

_HOMES = {
    "Cluster": "simulate", "CrowdsourceError": "core.errors", "DetectorTask": "exposure.instrument",
    "Exposure": "exposure.instrument", "FitConfig": "config", "FitResult": "engine.state", "FlagDefinition": "core.flags",
    "FlagTable": "core.flags", "Image": "core.image", "Instrument": "exposure.instrument", "Option": "exposure.instrument",
    "PSF": "psf.base", "PSFPhotometry": "api.photometry", "Result": "api.result", "SimulatesExposures": "exposure.instrument",
    "TakesGalaxies": "exposure.instrument",
    "WritesImages": "exposure.instrument", "SimulationConfig": "simulate", "compare": "validate.evaluate",
    "completeness": "validate.artificial_stars", "decode": "core.flags", "described": "config", "fit": "api.fitting",
    "fit_joint": "joint.loop", "JointConfig": "joint.config", "JointResult": "joint.results", "write_joint": "joint.files",
    "inject": "validate.artificial_stars", "plot_fit": "report.pictures", "read_image": "api.images",
    "read_psf": "api.reading", "read_result": "api.reading", "read_simulation": "simulate.files",
    "released": "config", "simulate_field": "simulate", "write_result": "exposure.results",
    "write_simulation": "simulate.files",
}
__all__ = tuple(sorted([*_HOMES, "__version__"]))


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version
        return version("crowdsourcephoto")
    if name not in _HOMES:
        raise AttributeError(f"module 'crowdsource' has no attribute {name!r}")
    return getattr(import_module("."+_HOMES[name], __name__), name)


def __dir__():
    return sorted({*globals(), *__all__})
