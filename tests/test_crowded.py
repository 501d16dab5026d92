"""Many detections at one place: few densities are worked out, and objects are those of all densities."""
import numpy as np
import pytest
from crowdsource.cython_ext import match, sphere

from crowdsource.survey.objects import association
from crowdsource.survey.objects.association import AssociationConfig, DetectionPositions, associate
from crowdsource.survey.objects.crowded import density_bounds

ARCSEC = 1/3600


def detections(number, scatter, seed=1):
    """Detections of stars at one place, each in an image of its own; scatter in arcsec."""
    rng = np.random.default_rng(seed)
    dec = 70+scatter*ARCSEC*rng.normal(size=number)
    return DetectionPositions(ra=150+scatter*ARCSEC*rng.normal(size=number)/np.cos(np.radians(70)), dec=dec,
                              sigma=np.full(number, np.nan), weight=rng.uniform(0.5, 2, number),
                              source=rng.permutation(number).astype(np.int32), joint=np.full((number, 2), -1))


def inputs(positions, config):
    points = sphere.Points(positions.ra, positions.dec, config.radius*ARCSEC)
    return points, np.full(len(points), 0.5*sphere.chord2(config.radius*ARCSEC)), positions.weight[points.order]


@pytest.mark.parametrize("scatter", [0., 0.02, 0.1, 0.3])
def test_bounds_are_above_densities(scatter):
    config = AssociationConfig()
    points, half, weight = inputs(detections(3000, scatter), config)
    dense = match.density(points, half, weight, config.seed_part, np.ones(len(points), np.uint8))
    bound = density_bounds(points.vectors, half, weight, config.seed_part)
    assert (bound >= dense).all() and (scatter > 0.1 or np.isfinite(bound).mean() > 0.8)
    # as wide as the reach of the density there is little more than it
    assert scatter > 0.02 or np.max(bound[np.isfinite(bound)]/dense[np.isfinite(bound)]) < 1.001


@pytest.mark.parametrize("scatter", [0., 0.02, 0.05, 0.2])
@pytest.mark.parametrize("sigmas", [0., 4.])
def test_objects_are_those_without_bounds(monkeypatch, scatter, sigmas):
    positions, config = detections(3000, scatter), AssociationConfig(sigmas=sigmas)
    found = associate(positions, config)
    monkeypatch.setattr(association, "density_bounds", lambda vectors, *_: np.full(len(vectors), np.inf))
    for name, values in vars(associate(positions, config)).items():
        assert values.tobytes() == getattr(found, name).tobytes(), name


@pytest.mark.parametrize("number", [2000, 8000])
def test_few_densities_are_worked_out(monkeypatch, number):
    worked_out = []

    def cover(*args, real=match.cover):
        before = np.isnan(args[4]).sum()
        real(*args)
        worked_out.append(before-np.isnan(args[4]).sum())

    def density(*args, real=match.density):
        worked_out.append(args[-1].sum())
        return real(*args)
    monkeypatch.setattr(match, "cover", cover)
    monkeypatch.setattr(match, "density", density)
    assert len(associate(detections(number, 0.05), AssociationConfig()).ra) == 1
    # on the outskirts, where few are together, and about the place that is the densest
    assert len(worked_out) == 3 and 0 < sum(worked_out) < 400
