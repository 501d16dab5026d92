"""Crowded-field photometry: all stars of an exposure fitted at once, with PSF, sky and honest errors.

Everything that a user needs is here by name and imported when first used::

    import crowdsource as cs
    result = cs.fit("image.fits")
"""
from importlib import import_module

_NAMES = {
    "api.fitting": "fit",
    "api.images": "read_image",
    "api.pages": "write_report",
    "api.photometry": "PSFPhotometry",
    "api.reading": "read_psf read_result",
    "api.result": "Cutout Result",
    "catalogs.calibrate": "Calibration calibrate",
    "catalogs.calibrated_files": "calibrate_file",
    "catalogs.match": "match",
    "config": "ArtifactsConfig CentroidConfig CullConfig described DetectConfig FitConfig NebulosityConfig PSFConfig released "
              "SelectionConfig SkyConfig SolveConfig",
    "core.errors": "ConfigError CrowdsourceError DataFileError InputError InstrumentError MissingExtraError OutputError",
    "core.flags": "decode FlagDefinition FlagTable",
    "core.image": "Image",
    "engine.state": "FitResult",
    "exposure.instrument": "DetectorTask Exposure Instrument Option SimulatesExposures TakesGalaxies WritesImages",
    "exposure.results": "write_result",
    "joint.config": "JointConfig",
    "joint.files": "write_joint",
    "joint.loop": "fit_joint",
    "joint.results": "JointResult",
    "psf.base": "PSF",
    "psf.export": "to_photutils write_stdpsf",
    "report.pictures": "plot_fit",
    "simulate": "Cluster simulate_field SimulationConfig",
    "simulate.files": "read_simulation write_simulation",
    "validate.artificial_stars": "inject",
    "validate.completeness.files": "read_completeness write_completeness",
    "validate.completeness.measure": "completeness",
    "validate.completeness.measured": "Completeness",
    "validate.evaluate": "compare",
}
"""Public names by the module that has them."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
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
