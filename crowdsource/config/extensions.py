"""The parts of a fit that can be exchanged, each with its registry: by name in a configuration, or as the object itself.

=====================  ================================  ===================================================
option                 entry-point group                 contract
=====================  ================================  ===================================================
``sky.estimator``      ``crowdsource.sky_estimators``    `crowdsource.engine.background`
``detect.detector``    ``crowdsource.detectors``         `crowdsource.engine.detection`
``solve.method``       ``crowdsource.solvers``           `crowdsource.engine.solvers.problem`
``centroid.method``    ``crowdsource.centroids``         `crowdsource.engine.centroid`
=====================  ================================  ===================================================
"""
from ..core.registry import Registry

SKY_ESTIMATORS = Registry("crowdsource.sky_estimators", "sky estimator", {
    "mean": "crowdsource.engine.background:mean_sky",
    "median": "crowdsource.engine.background:median_sky",
    "mode": "crowdsource.engine.background:mode_sky",
})
DETECTORS = Registry("crowdsource.detectors", "detector", {"peaks": "crowdsource.engine.detection:find_peaks"})
SOLVERS = Registry("crowdsource.solvers", "solver", {
    "normal": "crowdsource.engine.solvers.normal:normal_step",
    "lsqr": "crowdsource.engine.solvers.lsqr:lsqr_step",
})
CENTROIDS = Registry("crowdsource.centroids", "centroid method", {
    "derivative": "crowdsource.engine.centroid:derivative_shifts",
    "moment": "crowdsource.engine.centroid:moment_shifts",
})
PARTS = {("sky", "estimator"): SKY_ESTIMATORS, ("detect", "detector"): DETECTORS, ("solve", "method"): SOLVERS,
         ("centroid", "method"): CENTROIDS}
"""Registries by section and option."""
