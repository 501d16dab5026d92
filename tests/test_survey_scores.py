"""Scores of matchers on simulated surveys, on cases that can be counted by hand."""
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from crowdsource.simulate.survey import SurveyConfig
from crowdsource.simulate.survey.files import write_survey

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT/"benchmarks").is_dir(), reason="the source is not beside the tests")


@pytest.fixture(scope="module")
def scores():
    sys.path.insert(0, str(ROOT))
    try:
        yield import_module("benchmarks.studies.survey"), import_module("benchmarks.studies.survey_matchers")
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture
def case(scores):
    """Three stars in three exposures: the first two told apart in the last one only, the third once, and one that is no star."""
    stars = np.zeros(3, [("star", "i4"), ("ra", "f8"), ("dec", "f8"), ("pmra", "f4"), ("pmdec", "f4"), ("mag_r", "f4"),
                         ("amplitude", "f4"), ("density", "f4")])
    stars["ra"], stars["mag_r"], stars["density"] = [10., 10.0001, 10.01], 20., [0.1, 0.2, 0.3]
    star = np.array([0, 1, 0, 1, 2, -1], np.int32)
    exposure = np.array([0, 1, 2, 2, 0, 1], np.int32)
    ra = np.where(star >= 0, stars["ra"][star], 10.02)
    n = len(star)
    return scores[1].Survey(stars, Table(dict(mjd=[57400., 57500., 57600.])), ["r"], np.arange(n), ra, np.zeros(n),
                            np.full(n, 0.05), np.full(n, 1.), np.full(n, 10.), np.full(n, 0.1), np.ones(n, bool),
                            np.zeros(n, np.int32), exposure, exposure, star, np.array([0.6, 0.9, 1, 1, 1, 1], np.float32))


def test_right_objects_have_no_faults(scores, case):
    j = scores[0].judge(case, scores[1].by_truth(case))
    assert sorted(j.star) == [-1, 0, 1, 2] and j.found.all()
    assert not (j.merged.any() or j.split.any() or j.doubled.any() or j.misplaced.any())
    assert j.star_visits.tolist() == [2, 2, 1]


def test_merges_count_where_some_exposure_tells_stars_apart(scores, case):
    together = np.array([0, 0, 0, 1, 2, 3])
    j = scores[0].judge(case, together)
    assert j.star.tolist() == [0, 1, 2, -1] and j.detections.tolist() == [3, 1, 1, 1] and j.visits.tolist() == [3, 1, 1, 1]
    assert j.merged.tolist() == [True, False, False, False] and j.merged_pure.tolist() == j.merged.tolist()
    assert np.flatnonzero(j.misplaced).tolist() == [1] and j.split.tolist() == [False, True, False] and not j.doubled.any()
    # the same, where the detection of the other star is one of both
    j = scores[0].judge(replace(case, fraction=np.full(6, 0.7, np.float32)), together)
    assert j.merged[0] and not j.merged_pure[0]
    # no exposure tells the two apart
    j = scores[0].judge(replace(case, exposure=np.array([0, 1, 2, 3, 0, 1]),
                                exposures=Table(dict(mjd=np.arange(4.)))), together)
    assert not j.merged.any()


def test_stars_of_several_objects(scores, case):
    j = scores[0].judge(case, np.array([0, 1, 4, 1, 2, -1]))
    assert j.star.tolist() == [0, 1, 2, -1, 0] and j.split.tolist() == j.doubled.tolist() == [True, False, False]


def test_means_are_weighted(scores, case):
    case = replace(case, flux=np.array([10., 0, 14, 0, 0, 0]), dflux=np.array([1., 1, 0.5, 1, 1, 1]))
    means = scores[1].averaged(case, scores[1].by_truth(case))
    assert means.flux[0, 0] == pytest.approx((10+4*14)/5) and means.dflux[0, 0] == pytest.approx(5**-0.5)
    assert means.position_error[0] == pytest.approx(np.hypot(0.05, 0.02)/2**0.5) and means.mjd[0] == pytest.approx(57500)
    assert means.ra[0] == pytest.approx(10., abs=1e-9)


def test_the_plain_matcher_depends_on_the_order(scores, case):
    # 0.3 arcsec from one to the next: the middle one joins whichever is first
    ra = 10+np.array([0, 0.3, 0.6, 50, 60, 70])/3600
    case = replace(case, ra=ra, exposure=np.array([0, 1, 2, 2, 0, 1]))
    forwards, back = scores[1].sequential(case), scores[1].backwards(case)
    assert forwards[0] == forwards[1] != forwards[2] and back[1] == back[2] != back[0]
    assert scores[0].differing(forwards, back) == pytest.approx((0.4, 0.4))
    assert scores[0].differing(forwards, forwards) == (0, 0)


def test_files_are_read_and_scored(scores, tmp_path):
    write_survey(SurveyConfig(stars=1500, exposures=3, density=0.02, distortion=0., seed=2), tmp_path/"a")
    survey = scores[1].read_survey(tmp_path/"a")
    assert (np.diff(survey.detection_id) > 0).all() and len(np.unique(survey.source)) == 6
    owner = scores[1].sequential(survey)
    table = Table(dict(detection_id=survey.detection_id[::-1], object_id=owner[::-1]*7+1))
    again = scores[0].numbered(survey, table)
    assert scores[0].differing(owner, again) == (0, 0)
    right = scores[0].judge(survey, scores[1].by_truth(survey))
    assert right.found.sum() == (right.star_visits > 0).sum() > 1000
    objects = scores[1].averaged(survey, owner)
    judged = scores[0].judge(survey, owner)
    clean = scores[0].clean_objects(survey, judged, owner) & (objects.flux[:, 0] > 20*objects.dflux[:, 0])
    true = 10**(0.4*(22.5-survey.stars["mag_g"].astype(float)[judged.star[clean]]))
    pull = (objects.flux[clean, 0]-true)/objects.dflux[clean, 0]
    # a few hundred normal numbers
    assert len(pull) > 150 and pull.std() == pytest.approx(1, abs=0.15) and abs(pull.mean()) < 0.25
    text = scores[0].report(survey, owner)
    assert text.startswith("| group | stars | found %") and "| flux g | clean |" in text
