"""What lsdb makes of an export: it opens, is searched and matched, and counts are those of brute force."""
import warnings

import numpy as np
import pytest
from small_release import CENTRE, small_survey

from crowdsource.survey.exports.hats import HatsConfig, export_hats
from crowdsource.survey.healpix import SPATIAL_INDEX
from crowdsource.survey.regions import angular_distance

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses what pandas is about to drop
    lsdb = pytest.importorskip("lsdb", reason="needs lsdb: pip install '.[test]'")

pytestmark = pytest.mark.filterwarnings("ignore")
SHIFT, RADIUS = 0.1, 0.3
"""Arcsec: of the copy, and of the match."""


@pytest.fixture(scope="module")
def survey():
    return small_survey()


@pytest.fixture(scope="module")
def folder(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lsdb")
    export_hats(survey, folder/"dr1", HatsConfig(max_rows=180))
    export_hats(survey, folder/"nested", HatsConfig("nested", max_rows=180))
    return folder


def rows(catalog):
    return catalog.compute(progress_bar=False)


def test_strict_validation(folder):
    from hats.io.validation import is_valid_collection
    for name in ("dr1", "dr1/detections", "nested"):
        assert is_valid_collection(folder/name, strict=True), name


def test_opens_with_all_rows_and_its_margin(survey, folder):
    for name, expected in (("dr1", survey.release._objects), ("dr1/detections", survey.release._members)):
        catalog = lsdb.open_catalog(folder/name)
        assert len(catalog) == len(rows(catalog)) == len(expected)
        assert catalog.margin is not None and len(catalog.margin) > 50
    assert set(rows(catalog)["band"].unique()) == {"g", "r"}


def test_nested_detections(survey, folder):
    found = rows(lsdb.open_catalog(folder/"nested"))
    assert len(found["detections"].nest.to_flat()) == len(survey.release._members)
    counts = found["detections.flux"].groupby(level=0).size()
    assert counts.sum() == len(survey.release._members)


@pytest.mark.parametrize("radius", [100., 900.])
def test_cone_search(survey, folder, radius):
    objects = survey.release._objects
    inside = angular_distance(*CENTRE, objects["ra"], objects["dec"])*3600 <= radius
    found = rows(lsdb.open_catalog(folder/"dr1").cone_search(*CENTRE, radius))
    assert sorted(found["object_id"]) == sorted(objects["object_id"][inside]) and inside.any()


def matches(ra, dec, others_ra, others_dec):
    """Which of other positions is the nearest to each, -1 for none within `RADIUS`."""
    distance = angular_distance(ra[:, None], dec[:, None], others_ra[None], others_dec[None])*3600
    nearest = distance.argmin(axis=1)
    return np.where(distance[np.arange(len(ra)), nearest] <= RADIUS, nearest, -1)


@pytest.mark.parametrize("toward", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_match_with_a_shifted_copy_finds_all_partners_across_edges(survey, folder, toward):
    objects = survey.release._objects
    import pandas
    copy = pandas.DataFrame({"name": objects["object_id"], "ra": (objects["ra"]+toward[0]*SHIFT/3600) % 360,
                             "dec": objects["dec"]+toward[1]*SHIFT/3600})
    left = lsdb.from_dataframe(copy, ra_column="ra", dec_column="dec", lowest_order=7, highest_order=7, margin_threshold=None)
    partners = matches(copy["ra"].to_numpy(), copy["dec"].to_numpy(), objects["ra"], objects["dec"])
    right = lsdb.open_catalog(folder/"dr1")
    found = rows(left.crossmatch(right, n_neighbors=1, radius_arcsec=RADIUS, suffixes=("_a", "_b")))
    got = dict(zip(found["name_a"], found["object_id_b"]))
    expected = {n: objects["object_id"][p] for n, p in zip(copy["name"], partners) if p >= 0}
    assert got == expected and len(expected) > 0.99*len(objects)
    # some of them lie on the other side of an edge, and without margins would not be found
    bare = rows(left.crossmatch(lsdb.open_catalog(folder/"dr1"/"objects"), n_neighbors=1, radius_arcsec=RADIUS,
                                suffixes=("_a", "_b")))
    assert len(bare) < len(found)


def test_index_is_the_one_that_lsdb_makes(folder):
    from hats.pixel_math.spatial_index import compute_spatial_index
    found = rows(lsdb.open_catalog(folder/"dr1"))
    assert found.index.name == SPATIAL_INDEX
    assert np.array_equal(found.index.to_numpy(), compute_spatial_index(found["ra"].to_numpy(), found["dec"].to_numpy()))


def test_light_curves_of_a_joint_fit_open_nested(tmp_path):
    from astropy.table import Table
    from hats.io.validation import is_valid_catalog

    from crowdsource.survey.exports.light_curves import write_nested
    rng = np.random.default_rng(4)
    objects = Table(dict(object_id=rng.permutation(60), ra=150+rng.uniform(0, 3, 60), dec=rng.uniform(-2, 2, 60)))
    owner = rng.integers(0, 60, 400)
    curves = Table(dict(object_id=owner, mjd=rng.uniform(59000, 60000, 400), flux=owner+rng.normal(0, 0.01, 400)))
    write_nested(objects, curves, tmp_path, "field")
    assert is_valid_catalog(tmp_path, strict=True)
    found = rows(lsdb.open_catalog(tmp_path))
    assert len(found) == 60 and sorted(found["object_id"]) == list(range(60))
    for _, row in found.iterrows():
        mine = owner == row["object_id"]
        assert sorted(row["lightcurve"]["mjd"]) == sorted(curves["mjd"][mine])
        assert np.allclose(row["lightcurve"]["flux"], row["object_id"], atol=0.1)
