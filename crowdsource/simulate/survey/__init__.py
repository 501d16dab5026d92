"""Surveys whose truth is known, as catalogs without pixels: what many exposures of one field of stars detect of them.

Stars lie as in a cut through the Galaxy, with clusters in which there are several to a square arcsecond. Exposures of
different seeing, depth and date resolve different ones of them, with errors of positions and fluxes as fits report them.
`crowdsource.simulate.survey.files` writes surveys to files.
"""
from .blends import blend
from .catalog import catalog_of
from .config import SurveyConfig, checked
from .detections import SimulatedDetections, observe
from .geometry import DETECTORS, SurveyExposure, detector_wcs, exposure_size, plan_exposures
from .truth import draw_truth, true_flux, true_positions

__all__ = (
           "DETECTORS",
           "SimulatedDetections",
           "SurveyConfig",
           "SurveyExposure",
           "blend",
           "catalog_of",
           "checked",
           "detector_wcs",
           "draw_truth",
           "exposure_size",
           "observe",
           "plan_exposures",
           "true_flux",
           "true_positions",
)
