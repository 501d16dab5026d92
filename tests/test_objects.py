"""Objects: what belongs together, what counts, means, errors and flags, and names that stay."""
from dataclasses import replace

import numpy as np
import numpy.lib.recfunctions
import pytest
from small_sky import SCALE, catalogs, detections, sky

from crowdsource.core.errors import ConfigError
from crowdsource.survey.healpix import SPATIAL_INDEX, index_of
from crowdsource.survey.objects.association import AssociationConfig
from crowdsource.survey.objects.average import USES, AverageConfig
from crowdsource.survey.objects.identifiers import CHANGES, PreviousObjects
from crowdsource.survey.objects.pixel_objects import ObjectsConfig

ARCSEC = 1/3600
FLOOR = AssociationConfig().error_floor


def config(average=None, **association):
    return ObjectsConfig(AssociationConfig(**association), AverageConfig(**(average or {})))


def use_of(members):
    """Words by detection, in the order of the identifiers."""
    return [USES[m["use"]] for m in np.sort(members, order="detection_id")]


def at(k, arcsec):
    """A declination so far north of 10 degrees; each image a few milliarcseconds elsewhere."""
    return 10+(arcsec+0.004*k)*ARCSEC


def test_mean_flux_is_weighted_and_its_error_falls_with_root_n():
    n = 16
    flux, error = np.linspace(90, 110, n), np.where(np.arange(n) % 2, 1., 2.)
    objects, *_ = sky([detections(k, 50., at(k, 0), flux=flux[k], dflux=error[k]) for k in range(n)])
    assert len(objects) == 1
    o, w = objects[0], error**-2
    assert o["flux_r"] == pytest.approx(np.sum(w*flux)/np.sum(w), rel=1e-6)
    assert o["flux_error_r"] == pytest.approx(1/np.sqrt(np.sum(w)), rel=1e-6)
    assert o["flux_median_r"] == pytest.approx(np.median(flux))
    assert o["flux_scatter_r"] == pytest.approx(np.std(flux, ddof=1), rel=1e-6)
    assert o["flux_chi2_r"] == pytest.approx(np.sum(w*(flux-o["flux_r"])**2), rel=1e-5)
    assert o["mag_r"] == pytest.approx(22.5-2.5*np.log10(o["flux_r"]), abs=1e-5)
    assert (o["n_det_r"], o["n_used_r"], o["n_ok_r"], o["n_det"]) == (n, n, n, n)


def test_confusion_does_not_fall_with_the_number_of_images():
    n = 25
    tables = [detections(k, 50., at(k, 0), dflux=5.) for k in range(n)]
    joint = [np.lib.recfunctions.append_fields(t, "dflux_joint", np.full(len(t), 3.), usemask=False) for t in tables]
    assert sky(tables)[0]["flux_error_r"][0] == pytest.approx(5/np.sqrt(n))
    # of an error of 5, photon noise is 3 and confusion 4
    assert sky(joint)[0]["flux_error_r"][0] == pytest.approx(np.hypot(3/np.sqrt(n), 4))


def test_clipped_mean_leaves_out_what_is_far():
    objects, *_ = sky([detections(k, 50., at(k, 0), flux=f) for k, f in enumerate((99., 100., 101., 150.))])
    assert objects["flux_clipped_r"][0] == pytest.approx(100) and objects["flux_r"][0] == pytest.approx(112.5)
    assert objects["n_clipped_r"][0] == 1 and objects["flux_clipped_error_r"][0] == pytest.approx(3**-0.5)


def test_one_detection_tells_no_scatter():
    objects, *_ = sky([detections(0, 50., 10.)])
    for name in ("flux_scatter_r", "flux_scatter_error_r", "flux_chi2_r", "ra_scatter", "dec_scatter", "position_chi2"):
        assert np.isnan(objects[name][0]), name
    assert objects["flux_r"][0] == 100 and objects["n_det"][0] == 1


def test_signed_fluxes_keep_their_sign():
    objects, *_ = sky([detections(k, 50., at(k, 0), flux=f) for k, f in enumerate((-3., -1., 1.))])
    assert objects["flux_r"][0] == pytest.approx(-1)
    assert np.isnan(objects["mag_r"][0])


def test_position_weights_are_those_of_positions():
    # the image with the good flux has the bad position
    tables = [detections(0, 50., 10., dflux=0.1, dx=1., dy=1.), detections(1, 50., 10+0.1*ARCSEC, dflux=10., dx=0.1, dy=0.1)]
    objects, *_ = sky(tables)
    variance = (np.array([1., 0.1])*SCALE)**2+FLOOR**2
    expected = 10+0.1*ARCSEC*(1/variance[1])/np.sum(1/variance)
    # 2 microarcseconds
    assert objects["dec"][0] == pytest.approx(expected, abs=5e-10)
    assert objects["dec_error"][0] == pytest.approx(1/np.sqrt(np.sum(1/variance)), rel=1e-6)


def test_positions_keep_more_than_float32_has():
    ra = 350.123456789
    objects, *_ = sky([detections(k, ra, 10.) for k in range(3)])
    assert objects["ra"].dtype == np.float64 and objects["ra"][0] == pytest.approx(ra, abs=1e-10)


@pytest.mark.parametrize("ra, dec", [(0., 0.), (359.99999, -30.), (120., 89.99999), (200., -90.)])
def test_one_object_where_coordinates_are_singular(ra, dec):
    rng = np.random.default_rng(4)
    tables = [detections(k, ra+rng.normal(0, 0.03)*ARCSEC/max(np.cos(np.radians(dec)), 1e-9),
                         np.clip(dec+rng.normal(0, 0.03)*ARCSEC, -90, 90)) for k in range(12)]
    objects, *_ = sky(tables)
    assert len(objects) == 1 and objects["n_det"][0] == 12


def test_neighbours_are_not_chained():
    # each lies within the radius of the next; in every image all four are seen
    stars = 10+np.arange(4)*0.5*ARCSEC
    rng = np.random.default_rng(5)
    tables = [detections(k, np.full(4, 50.), stars+rng.normal(0, 0.05, 4)*ARCSEC) for k in range(20)]
    objects, members, _ = sky(tables)
    assert len(objects) == 4
    assert np.sort(objects["dec"]) == pytest.approx(stars, abs=0.05*ARCSEC)
    assert objects["n_det"].tolist() == [20]*4 and set(use_of(members)) == {"averaged"}


def test_a_detection_goes_to_the_neighbour_that_lacks_one():
    # at 0.3 arcsec from the first star, where another of its image is nearer, and at 0.3 from the second
    tables = [detections(k, [50., 50.], [at(k, 0), at(k, 0.6)]) for k in range(9)]
    tables.append(detections(9, [50., 50.], [at(9, 0.02), at(9, 0.25)]))
    objects, members, _ = sky(tables)
    assert sorted(objects["n_det"]) == [10, 10] and set(use_of(members)) == {"averaged"}


@pytest.mark.parametrize("policy, words, flux, error", [
    ("flag", ["averaged"]*5+["several"]*2, 100., 5**-0.5),
    ("sum", ["averaged"]*5+["summed"]*2, (5*100+90/5)/(5+1/5), (5+1/5)**-0.5),
    ("nearest", ["averaged"]*6+["farther"], (5*100+60)/6, 6**-0.5)])
def test_policy_for_several_of_one_image(policy, words, flux, error):
    tables = [detections(k, 50., at(k, 0)) for k in range(5)]
    tables.append(detections(5, [50., 50.], [at(5, 0), at(5, 0.2)], flux=[60., 30.], dflux=[1., 2.]))
    objects, members, _ = sky(tables, config=config(policy=policy))
    assert len(objects) == 1 and use_of(members) == words
    assert len(np.unique(members["object_id"])) == 1
    assert objects["flux_r"][0] == pytest.approx(flux, rel=1e-6)
    assert objects["flux_error_r"][0] == pytest.approx(error, rel=1e-6)
    assert objects["n_several"][0] == 2-("nearest" == policy)


def test_overlapping_detectors_of_one_exposure_count_once():
    tables = [detections(0, 50., at(0, 0), flux=90., dx=0.2, dy=0.2), detections(1, 50., at(1, 0), flux=110.),
              detections(2, 50., at(2, 0), flux=110.)]
    objects, members, _ = sky(tables, catalogs(3, visit=[0, 0, 1]))
    assert use_of(members) == ["overlap", "averaged", "averaged"]
    assert objects["flux_r"][0] == pytest.approx(110) and objects["n_det"][0] == 3 and objects["n_used"][0] == 2


def test_rows_that_are_not_primary_are_kept_but_do_not_count():
    tables = [detections(0, 50., 10., flux=50., primary=False), detections(1, 50., at(1, 0)),
              detections(2, 51., 10., primary=False)]
    objects, members, _ = sky(tables)
    assert len(objects) == 1 and objects["n_det"][0] == 1 and objects["flux_r"][0] == 100
    assert use_of(members) == ["not primary", "averaged", "not primary"]
    members = np.sort(members, order="detection_id")
    assert members["object_id"].tolist() == [objects["object_id"][0]]*2+[-1]


def test_detections_without_zero_point_are_kept_but_not_averaged():
    known = catalogs(3)
    known = replace(known, zeropoint=np.array([22.5, np.nan, 25.]))
    objects, members, _ = sky([detections(k, 50., at(k, 0), flux=(100., 7., 1000.)[k]) for k in range(3)], known)
    assert use_of(members) == ["averaged", "no zero point", "averaged"]
    # the flux with zero point 25 is ten times smaller in nanomaggies, and so is its error
    assert objects["flux_r"][0] == pytest.approx(100) and objects["flux_error_r"][0] == pytest.approx((1+100)**-0.5)
    assert objects["n_det_r"][0] == 3 and objects["n_used_r"][0] == 2


@pytest.mark.parametrize("values", [dict(flux=np.nan), dict(dflux=np.nan), dict(dflux=0.)])
def test_detections_without_flux_are_kept_but_not_averaged(values):
    objects, members, _ = sky([detections(0, 50., at(0, 0)), detections(1, 50., at(1, 0), **values)])
    assert use_of(members) == ["averaged", "no flux"] and objects["flux_r"][0] == 100 and objects["n_det"][0] == 2


@pytest.mark.parametrize("values", [dict(qf=0.5), dict(rchi2=9.), dict(fracflux=0.1), dict(flags=2 << 32)])
def test_ok_means_are_those_of_good_detections(values):
    objects, members, _ = sky([detections(0, 50., at(0, 0)), detections(1, 50., at(1, 0), flux=200., **values)])
    o = objects[0]
    assert (o["n_used_r"], o["n_ok_r"], o["n_ok"]) == (2, 1, 1)
    assert o["flux_ok_r"] == 100 and o["flux_ok_error_r"] == 1 and o["flux_r"] == pytest.approx(150)
    assert np.sort(members, order="detection_id")["ok"].tolist() == [True, False]


def test_bands_epochs_and_flags():
    tables = [detections(k, 50., at(k, 0), flux=100.*(k+1), flags=(1, 3, 7)[k]) for k in range(3)]
    objects, *_ = sky(tables, catalogs(3, band=[0, 0, 1], bands=(("g", "AB"), ("W1", "Vega"))))
    o = objects[0]
    assert (o["flags_and"], o["flags_or"], o["flags_and_g"], o["flags_or_g"], o["flags_or_w1"]) == (1, 7, 1, 3, 7)
    assert (o["first_mjd"], o["last_mjd"], o["last_mjd_g"], o["first_mjd_w1"]) == (55000, 55002, 55001, 55002)
    assert o["flux_g"] == pytest.approx(150) and o["flux_w1"] == pytest.approx(300)
    objects, *_ = sky(tables[:1], catalogs(1, band=[0], bands=(("g", "AB"), ("W1", "Vega"))))
    assert np.isnan(objects["flux_w1"][0]) and objects["n_det_w1"][0] == 0 and np.isnan(objects["first_mjd_w1"][0])


def test_outlying_position_is_clipped():
    tables = [detections(k, 50., 10.) for k in range(6)]+[detections(6, 50., 10+0.3*ARCSEC)]
    objects, *_ = sky(tables)
    assert objects["dec"][0] == pytest.approx(10, abs=1e-9) and objects["n_position"][0] == 6 and objects["n_det"][0] == 7


def test_proper_motion_and_its_error():
    years, n = np.linspace(0, 4, 30), 30
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 0.025, (2, n))
    dec0, pm = 60., (40., -25.)
    tables = [detections(k, 50+(pm[0]*1e-3*years[k]+noise[0, k])*ARCSEC/np.cos(np.radians(dec0)),
                         dec0+(pm[1]*1e-3*years[k]+noise[1, k])*ARCSEC, dx=0.1, dy=0.1) for k in range(n)]
    known = catalogs(n, mjd=55000+365.25*years)
    objects, *_ = sky(tables, known, config(dict(proper_motion=True), error_floor=1e-4))
    o = objects[0]
    expected = 0.025/np.sqrt(np.sum((years-years.mean())**2))*1e3
    assert o["pm_error"] == pytest.approx(expected, rel=1e-3)
    # three sigma of 3.7 mas/yr, and the same for the second
    assert abs(o["pmra"]-pm[0]) < 3*expected and abs(o["pmdec"]-pm[1]) < 3*expected
    assert o["pm_mjd"] == pytest.approx(55000+365.25*2)
    short = sky(tables[:6], catalogs(6, mjd=55000+365.25*years[:6]), config(dict(proper_motion=True)))[0]
    assert np.isnan(short["pmra"][0])


def joint(rows, fit, stars):
    """Rows with the stars of a joint fit that they are."""
    fit, stars = (np.broadcast_to(v, len(rows)) for v in (fit, stars))
    return np.lib.recfunctions.append_fields(rows, ("joint_fit", "joint_id"), (fit, stars), usemask=False)


def fit_of_pairs(first, images, fit, places, rng):
    """Images of a joint fit of some stars: `places` by number, arcsec; all positions of an image are off by the same."""
    numbers, north = np.array(list(places)), np.array(list(places.values()))
    return [joint(detections(first+k, np.full(len(north), 50.), at(0, north+rng.normal(0, 0.03))), fit, numbers)
            for k in range(images)]


def groups(objects, members, tables):
    """The (joint fit, star) of each object's detections, by its identifier."""
    rows = np.concatenate([t[["detection_id", "joint_fit", "joint_id"]] for t in tables if "joint_fit" in t.dtype.names])
    owner = dict(zip(members["detection_id"], members["object_id"]))
    out = {i: set() for i in objects["object_id"]}
    for d, *star in rows.tolist():
        out[owner[d]].add(tuple(star))
    return out


@pytest.mark.parametrize("seed", range(5))
def test_stars_of_joint_fits_stay_apart_however_close_they_are(seed):
    # a close pair in two joint fits, which count their stars in their own ways, and a few images that see two or one of it
    rng = np.random.default_rng(seed)
    tables = fit_of_pairs(0, 8, 77, {4: 0., 5: 0.15, 6: 3.}, rng)+fit_of_pairs(8, 5, 11, {5: 0.01, 4: 0.16, 9: 3.01}, rng)
    tables += [detections(13, [50.]*3, at(0, np.array([0.02, 0.14, 3]))), detections(14, [50.]*2, at(0, np.array([0.1, 3])))]
    objects, members, _ = sky(tables)
    assert sorted(map(sorted, groups(objects, members, tables).values())) == [
        [(11, 4), (77, 5)], [(11, 5), (77, 4)], [(11, 9), (77, 6)]]
    assert sorted(objects["n_det"]) == [14, 15, 15] and (objects["joint_fit"] == 77).all()
    assert objects["joint_id"][np.argsort(objects["dec"])].tolist() == [4, 5, 6] and (objects["n_several"] == 0).all()
    # by distance alone they are mixed
    plain, *_ = sky([t[[n for n in t.dtype.names if not n.startswith("joint")]] for t in tables])
    assert sorted(plain["n_det"]) != [14, 15, 15] and (plain["joint_id"] == -1).all() and (plain["joint_fit"] == -1).all()


def test_more_stars_of_a_joint_fit_than_others_see():
    rng = np.random.default_rng(3)
    crowd = {k: 0.08*k for k in range(6)}
    tables = fit_of_pairs(0, 6, 2, crowd, rng)+fit_of_pairs(6, 3, 1, {0: 0.05, 1: 0.35}, rng)
    tables += [detections(9+k, 50., at(k, 0.2)) for k in range(9)]
    objects, members, _ = sky(tables)
    of = [dict(g) for g in groups(objects, members, tables).values()]
    assert sorted(g[2] for g in of) == list(crowd) and sum(1 in g for g in of) == 2 and len(of) == len(crowd)
    assert objects["n_det"].sum() == len(members)


def test_a_detection_far_from_its_star_stands_alone():
    tables = fit_of_pairs(0, 5, 2, {0: 0.}, np.random.default_rng(3))+[joint(detections(5, 50., at(0, 5)), 2, 0)]
    objects, *_ = sky(tables)
    assert sorted(objects["n_det"]) == [1, 5] and (objects["joint_id"] == 0).all()


def test_radius_in_sigmas():
    tables = [detections(k, 50., 10+0.25*k*ARCSEC, dx=0.04, dy=0.04) for k in range(2)]
    assert len(sky(tables)[0]) == 1
    # errors of 0.022 arcsec: 11 sigma of the two together
    assert len(sky(tables, config=config(sigmas=5.))[0]) == 2


def test_identifier_is_the_first_place_and_unique():
    rng = np.random.default_rng(7)
    stars = rng.uniform(-0.01, 0.01, (2, 300))
    objects, members, _ = sky([detections(k, stars[0]+rng.normal(0, 1e-6, 300), stars[1]) for k in range(3)])
    assert len(np.unique(objects["object_id"])) == len(objects)
    near = np.abs(objects["object_id"]-objects[SPATIAL_INDEX]) >> 24
    assert np.mean(near == 0) > 0.95
    assert set(members["object_id"]) == set(objects["object_id"])
    assert np.all(np.diff(objects[SPATIAL_INDEX]) >= 0)
    assert index_of(objects["ra"], objects["dec"]).tolist() == objects[SPATIAL_INDEX].tolist()


def earlier_of(objects, members):
    return PreviousObjects(members[SPATIAL_INDEX], members["detection_id"], members["object_id"], np.sort(objects["object_id"]))


def test_identifiers_are_carried_on():
    first = [detections(k, [50., 50., 52.], [at(k, 0), at(k, 5), 10.]) for k in range(3)]
    objects, members, _ = sky(first)
    more = [*first, *(detections(k, [50.]*3, [at(k, 0.1), at(k, 5), at(k, 9)]) for k in range(3, 9))]
    again, _, changes = sky(more, earlier=earlier_of(objects, members))
    assert set(objects["object_id"]) < set(again["object_id"]) and len(again) == 4 and len(changes) == 0
    # without the earlier release the mean has moved, and the name with it
    assert set(objects["object_id"]) != set(sky(more)[0]["object_id"]) & set(objects["object_id"])


def test_splits_and_merges_are_told():
    two = [detections(k, [50.]*2, [at(k, 0), at(k, 0.6)]) for k in range(6)]
    # so many between the two that they are the object
    between = [detections(k, 50., at(0, 0.3)) for k in range(6, 16)]
    known = catalogs(16)
    apart, apart_members, _ = sky(two, known)
    both, both_members, changes = sky([*two, *between], known, earlier=earlier_of(apart, apart_members))
    assert len(apart) == 2 and len(both) == 1 and both["object_id"][0] in apart["object_id"]
    lost = np.setdiff1d(apart["object_id"], both["object_id"])
    assert [(CHANGES[c["change"]], c["previous_id"], c["object_id"], c["n_shared"]) for c in changes] == \
        [("merged", lost[0], both["object_id"][0], 6)]
    again, _, changes = sky(two, known, earlier=earlier_of(both, both_members))
    assert len(again) == 2 and both["object_id"][0] in again["object_id"] and len(np.unique(again["object_id"])) == 2
    assert {CHANGES[c] for c in changes["change"]} == {"split"} and sorted(changes["object_id"]) == sorted(again["object_id"])


def test_earlier_objects_that_are_gone_are_told():
    objects, members, _ = sky([detections(k, [50., 52.], [10., 10.]) for k in range(3)])
    again, _, changes = sky([detections(k, 50., 10.) for k in range(3)], earlier=earlier_of(objects, members))
    assert [CHANGES[c["change"]] for c in changes] == ["gone"] and changes["object_id"].tolist() == [-1]
    assert set(again["object_id"]) | set(changes["previous_id"]) == set(objects["object_id"])


def test_order_of_tables_does_not_matter():
    rng = np.random.default_rng(8)
    stars = rng.uniform(-0.003, 0.003, (2, 500))
    tables = [detections(k, stars[0]+rng.normal(0, 0.08, 500)*ARCSEC, stars[1]+rng.normal(0, 0.08, 500)*ARCSEC,
                         flux=rng.uniform(1, 100, 500)) for k in range(8)]
    results = [sky([tables[k] for k in order], catalogs(8)) for order in (range(8), rng.permutation(8))]
    for a, b in zip(*results):
        assert a.tobytes() == b.tobytes()


def test_nothing_is_no_trouble():
    objects, members, changes = sky([detections(0, [], [])])
    assert len(objects) == len(members) == len(changes) == 0


@pytest.mark.parametrize("values, told", [
    (dict(radius=0.), "radius is 0"), (dict(radius=100.), "at most 60"),
    (dict(policy="best"), "choose one of flag, sum, nearest"), (dict(error_floor=0.), "error_floor must be positive")])
def test_configurations_that_make_no_sense(values, told):
    with pytest.raises(ConfigError, match=told):
        ObjectsConfig(AssociationConfig(**values)).checked()
    with pytest.raises(ConfigError, match="clip"):
        ObjectsConfig(average=AverageConfig(clip=0.)).checked()
