"""The loop on small simulated fields: what it finds, how honest it is, and that nothing but its input decides the result."""
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from small_fields import NOISE, star_image

from crowdsource.config import PRESETS, CentroidConfig, CullConfig, DetectConfig, FitConfig, PSFConfig, SolveConfig
from crowdsource.core.errors import ConfigError, InputError
from crowdsource.core.flags import ENGINE, MASK_SHIFT, combine
from crowdsource.core.image import Image
from crowdsource.engine.design import model_image, sizes
from crowdsource.engine.given import GivenPositions
from crowdsource.engine.loop import fit, initialize
from crowdsource.engine.schedule import next_kind
from crowdsource.engine.schema import columns_of
from crowdsource.engine.state import PRUNE, SEARCH
from crowdsource.psf.model import FieldPSF
from crowdsource.simulate import SIMULATED, SimulationConfig, simulate_field
from crowdsource.validate.evaluate import compare, match_stars

QUICK = FitConfig(max_passes=5)


@pytest.fixture(scope="module")
def field():
    """Some 200 stars in 160 x 150 pixels, one of them saturated."""
    return simulate_field(SimulationConfig(shape=(160, 150), stars=160, saturated_stars=1, nebulosity=2., seed=11))


@pytest.fixture(scope="module")
def result(field):
    return fit(field.image())


def values(catalog):
    plain = {n: np.asarray(getattr(catalog[n], "value", catalog[n])) for n in catalog.colnames}
    return {n: v.astype(float) if v.dtype.kind == "f" else v for n, v in plain.items()}


def same(one, two):
    a, b = values(one.catalog), values(two.catalog)
    assert list(a) == list(b)
    for name in a:
        assert np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f"), name
    assert np.array_equal(one.model, two.model) and np.array_equal(one.sky, two.sky)
    assert np.array_equal(one.psf.stamp(59), two.psf.stamp(59))


def noise_image(shape=(90, 100), sigma=3., sky=50., seed=1, stars=(), psf=None, **metadata):
    """Sky and noise, with stars given as (x, y, flux)."""
    data = np.random.default_rng(seed).normal(sky, sigma, shape)
    if len(stars):
        x, y, flux = np.array(stars, dtype=float).T
        data = data+model_image(psf or FieldPSF.moffat(shape, 4.), x, y, flux, np.full(len(x), 59), shape)
    return Image.from_arrays(data, np.full(shape, 1/sigma**2), **metadata)


def test_what_the_model_does_not_need_goes_in_the_search_already(field, result):
    def gone(history):
        searches = [h for h in history if h["kind"] == "search"]
        return [before["sources"]+now["new"]-now["sources"] for before, now in zip(searches, searches[1:])]

    # without pruning only what is faint by itself goes, from the same start
    late = fit(field.image(), config=replace(FitConfig(), cull=replace(FitConfig().cull, prune_from=99)))
    assert sum(gone(result.history)) > sum(gone(late.history))
    none = fit(field.image(), config=FitConfig(detect=DetectConfig(threshold=3.5),
                                               cull=replace(FitConfig().cull, prune_from=99, min_significance=0.)))
    assert all(count <= 2 for count in gone(none.history))


def test_the_psf_is_refitted_in_turn(field):
    passes = dict(max_passes=5, stop_fraction=0., stop_new=0.)
    for every, wanted in ((1, [0, 1, 2]), (2, [0, 2])):
        c = FitConfig(psf=PSFConfig(every=every, settle_passes=9), **passes)
        history = fit(field.image(), config=c).history
        assert [h["passno"] for h in history if h["kind"] == "search" and "cpu_psf" in h] == wanted


def test_pairs_left_out_of_the_equations_change_the_way_not_the_end(field):
    c = FitConfig()
    whole, sparse = (fit(field.image(), config=replace(c, solve=replace(c.solve, min_overlap=n))).catalog for n in (1, 5))
    a, b = values(whole), values(sparse)
    row = match_stars(a, b, radius=0.5)
    bright = np.flatnonzero((row >= 0) & (a["flux"] > 20*a["dflux_iso"]))
    assert len(bright) > 40
    difference = (a["flux"][bright]-b["flux"][row[bright]])/a["dflux_joint"][bright]
    assert np.median(np.abs(difference)) < 0.05


def test_light_on_masked_pixels_is_known_as_well_as_the_psf(result):
    c = values(result.catalog)
    saturated = c["flags"] >> MASK_SHIFT & ENGINE.saturated > 0
    assert saturated.sum() == 1
    hidden = 0.005*(1-c["qf"])*c["flux"]
    assert (c["dflux"] >= 0.999*hidden).all()
    assert c["dflux"][saturated] > 3*c["dflux_joint"][saturated]


def test_stars_fluxes_and_errors(field, result):
    c = compare(result.catalog, field.truth, shape=field.data.shape, edge=5, avoid=field.dq > 0, avoid_radius=8)
    # 78 stars above 10 sigma, all but close pairs to be found; fluxes to 1 %
    assert c.stars > 100 and c.found > 55
    assert c.bins["found"][-1] > 90
    assert abs(c.bias) < 1.5
    # a robust scatter of n pulls is known to 1.16/sqrt(n), 0.13 for fluxes and 0.09 for positions: 2.5 times that
    assert c.pull == pytest.approx(1, abs=0.33) and c.position_pull == pytest.approx(1, abs=0.23)
    assert c.spurious < 8


def test_model_sky_and_residual_account_for_the_image(field, result):
    image = field.image()
    residual = (image.data-result.sky-result.model)*np.sqrt(image.ivar)
    assert np.std(residual[image.good]) < 1.25
    assert np.mean(residual[image.good]) == pytest.approx(0, abs=0.1)
    # light of stars too faint to be sources is in the sky: a third of the noise of a pixel
    assert np.median(result.sky-field.sky) == pytest.approx(0, abs=3)
    assert result.model.dtype == result.sky.dtype == np.float32
    assert result.history[-1]["chi2"] == pytest.approx(np.mean(residual[image.good]**2), rel=1e-4)


def test_psf_is_that_of_the_field(field, result):
    x, y = result.psf.centre
    assert result.psf.profile.at([x], [y])[0, 0] == pytest.approx(field.psf.at([x], [y])[0, 0], rel=0.03)
    assert result.catalog["psf_star"].sum() >= 5


def test_catalog_has_every_column_with_finite_values(field, result):
    image = field.image()
    catalog = result.catalog
    assert catalog.colnames == [c.name for c in columns_of(world=True, magnitude=True)]
    for name, column in values(catalog).items():
        assert np.isfinite(column[values(catalog)["flux"] > 0]).all(), name
    v = values(catalog)
    assert all((v[n] > 0).all() for n in ("dflux", "dx", "dy", "dflux_iso"))
    assert (v["dflux"] >= 0.99*v["dflux_iso"]).mean() > 0.95
    ra, dec = image.wcs.all_pix2world(v["x"], v["y"], 0)
    assert np.array_equal(v["ra"], ra) and np.array_equal(v["dec"], dec)
    positive = v["flux"] > 0
    assert np.allclose(v["mag"][positive], 27.5-2.5*np.log10(v["flux"][positive]), atol=1e-5)
    px, py = (np.clip(np.round(v[n]).astype(int), 0, m-1) for n, m in (("x", 150), ("y", 160)))
    outside = (np.abs(v["x"]-74.5) > 75) | (np.abs(v["y"]-79.5) > 80)
    assert np.array_equal(v["flags"] & ~((ENGINE.offimage | ENGINE.near_bright) << 32), combine(image.dq, image.mask)[py, px])
    assert ((v["flags"] >> 32 & ENGINE.offimage > 0) == outside).all()
    assert np.allclose(v["sky"], result.sky[py, px])


def test_the_saturated_star_has_its_flux_from_its_wings(field, result):
    star = field.truth[0]
    v = values(result.catalog)
    near = np.hypot(v["x"]-star["x"], v["y"]-star["y"]) < 4
    k = np.flatnonzero(near)[np.argmax(v["flux"][near])]
    # what the PSF misses on the rim of the blob may become a source, but only one of some per cent
    assert v["flux"][near].sum() == pytest.approx(star["flux"], rel=0.1)
    assert v["flux"][k] > 0.8*star["flux"]
    assert v["flags"][k] & SIMULATED.saturated and v["flags"][k] >> MASK_SHIFT & ENGINE.bad
    assert v["qf"][k] < 0.9 and not v["psf_star"][k]


def test_history_tells_of_every_pass(result):
    history, c = result.history, result.config
    assert c.min_passes <= len(history) <= c.max_passes
    assert [h["passno"] for h in history] == list(range(len(history)))
    assert [h["kind"] for h in history].count("last") == 1 and history[-1]["kind"] == "last"
    assert history[0]["new"] > 20 and history[-1]["new"] == 0
    assert history[-1]["chi2"] < history[0]["chi2"]
    assert history[-1]["sources"] == len(result.catalog)
    assert all(h["iterations"] >= 1 and h["cpu_fit"] >= 0 for h in history)
    assert set(np.unique(result.catalog["passno"])) <= set(range(len(history)))


def test_same_input_same_result(field, result):
    same(result, fit(field.image()))


def test_threads_do_not_change_a_bit(field):
    config = replace(QUICK, solve=SolveConfig(tile=50, overlap=20))
    one, four = (fit(field.image(), config=config, threads=t) for t in (1, 4))
    assert len(one.catalog) > 80
    same(one, four)


def test_tiles_agree_with_the_whole(field):
    psf = FieldPSF.of(field.psf)
    config = replace(QUICK, psf=PSFConfig(refit=False))
    whole, tiled = (values(fit(field.image(), psf, replace(config, solve=SolveConfig(tile=t, overlap=30))).catalog)
                    for t in (1024, 60))
    assert len(tiled["x"]) == pytest.approx(len(whole["x"]), rel=0.05)
    match = match_stars(whole, tiled, 0.5)
    hit = match >= 0
    difference = (tiled["flux"][match[hit]]-whole["flux"][hit])/whole["dflux"][hit]
    # a tile does not see how its neighbours' stars give way
    assert hit.mean() > 0.9 and np.median(np.abs(difference)) < 0.05 and np.quantile(np.abs(difference), 0.9) < 0.5


def test_both_solvers_give_the_same_catalog(field):
    psf = FieldPSF.of(field.psf)
    config = replace(QUICK, psf=PSFConfig(refit=False), detect=DetectConfig(threshold=3.5))
    normal, lsqr = (values(fit(field.image(), psf, replace(config, solve=SolveConfig(method=m, search_tolerance=1e-2))).catalog)
                    for m in ("normal", "lsqr"))
    match = match_stars(normal, lsqr, 0.5)
    hit = match >= 0
    # both stop when near enough to the minimum; where a peak is accepted may turn on less
    assert hit.mean() > 0.95 and abs(len(lsqr["x"])-len(normal["x"])) <= 0.05*len(normal["x"])
    difference = (lsqr["flux"][match[hit]]-normal["flux"][hit])/normal["dflux"][hit]
    assert np.median(np.abs(difference)) < 0.02 and np.quantile(np.abs(difference), 0.9) < 0.3


@pytest.mark.parametrize("spacing", [0., 40.])
def test_sky_in_the_fit(field, spacing):
    config = replace(QUICK, solve=SolveConfig(sky_spacing=spacing))
    r = fit(field.image(), FieldPSF.of(field.psf), config)
    assert np.median(r.sky-field.sky) == pytest.approx(0, abs=3.)
    c = compare(r.catalog, field.truth, shape=field.data.shape, edge=5, avoid=field.dq > 0, avoid_radius=8)
    assert abs(c.bias) < 2.5 and c.bins["found"][-1] > 85


def test_moment_centroids(field):
    r = fit(field.image(), config=replace(FitConfig(), max_passes=6, centroid=CentroidConfig(method="moment")))
    c = compare(r.catalog, field.truth, shape=field.data.shape, edge=5, avoid=field.dq > 0, avoid_radius=8)
    assert c.bins["found"][-1] > 85 and abs(c.bias) < 2.5
    v = values(r.catalog)
    v = {n: c[v["flux"] > 0] for n, c in v.items()}
    match = match_stars({n: np.asarray(field.truth[n]) for n in ("x", "y", "flux")}, v)
    bright = (field.truth["snr"] > 50) & (match >= 0)
    off = np.hypot(v["x"][match[bright]]-field.truth["x"][bright], v["y"][match[bright]]-field.truth["y"][bright])
    assert np.median(off) < 0.06


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_and_find_the_bright_stars(field, name):
    r = fit(field.image(), config=PRESETS[name]())
    c = compare(r.catalog, field.truth, shape=field.data.shape, edge=5, avoid=field.dq > 0, avoid_radius=8)
    assert c.bins["found"][-1] > 80 and c.spurious < 15
    assert r.config == PRESETS[name]()


def test_progress_and_observer_are_called(field):
    stages, states = [], []
    r = fit(field.image(), config=QUICK, progress=lambda *a: stages.append(a), observer=states.append)
    assert [s[:3] for s in stages] == [("pass", k, 5, ) for k in range(len(r.history))]+[("measure", len(r.history), 5)]
    assert [s.passno for s in states] == list(range(1, len(r.history)+1))
    assert np.array_equal(states[-1].model, r.model)
    assert stages[-1][3]["sources"] == len(r.catalog)


def test_nothing_handed_in_is_changed(field):
    image, psf = field.image(), FieldPSF.moffat(field.data.shape, 4.)
    before = image.data.copy(), image.ivar.copy(), psf.stamp(59)
    fit(image, psf, QUICK)
    assert all(np.array_equal(a, b) for a, b in zip(before, (image.data, image.ivar, psf.stamp(59))))


def test_a_given_psf_stays_where_no_refit_is_asked(field):
    psf = FieldPSF.moffat(field.data.shape, 4.)
    assert fit(field.image(), psf, replace(QUICK, psf=PSFConfig(refit=False))).psf is psf


def test_cutouts_give_the_parents_positions(field):
    image = field.image().cutout(40, 140, 30, 130)
    v = values(fit(image, FieldPSF.moffat(image.shape, 4.), QUICK).catalog)
    stars = {n: np.asarray(field.truth[n]) for n in ("x", "y", "flux", "snr")}
    inside = (np.abs(stars["x"]-90) < 45) & (np.abs(stars["y"]-80) < 45) & (stars["snr"] > 50)
    match = match_stars({n: stars[n][inside] for n in ("x", "y", "flux")}, v, 0.5)
    assert (match >= 0).mean() > 0.85
    ra, dec = image.wcs.all_pix2world(v["x"], v["y"], 0)
    assert np.array_equal(v["ra"], ra)


def test_flat_image_gives_an_empty_catalog_with_all_columns():
    r = fit(Image.from_arrays(np.full((40, 50), 7.), np.ones((40, 50))))
    assert len(r.catalog) == 0 and r.catalog.colnames == [c.name for c in columns_of()]
    assert np.allclose(r.sky, 7) and not r.model.any()


def test_noise_alone_gives_few_sources():
    r = fit(noise_image((150, 150)), FieldPSF.moffat((150, 150), 4.))
    # 22,500 pixels hold some 1,500 independent peaks, of which 1 in 4,000 passes 3.5 sigma
    assert len(r.catalog) <= 5


@pytest.mark.parametrize("psf", [None, FieldPSF.moffat((90, 100), 4.)])
def test_one_star(psf):
    r = fit(noise_image(stars=[(40.3, 50.7, 3000.)]), psf)
    v = values(r.catalog)
    k = np.argmax(v["flux"])
    assert len(v["x"]) <= 4
    assert v["flux"][k] == pytest.approx(3000, abs=4*v["dflux"][k])
    assert v["x"][k] == pytest.approx(40.3, abs=4*v["dx"][k]) and v["y"][k] == pytest.approx(50.7, abs=4*v["dy"][k])
    # a PSF made of one star of S/N 130 leaves the light of its wings uncertain by 2 to 3 %
    assert v["dflux_joint"][k] == pytest.approx(v["dflux_iso"][k], rel=0.3) and 0.01 < v["dflux"][k]/3000 < 0.03
    assert v["fracflux"][k] == pytest.approx(1, abs=0.05) and v["qf"][k] > 0.999


def test_a_star_on_every_edge_and_corner():
    places = [(0., 45.), (99.2, 45.), (50., 0.3), (50., 89.), (-0.3, 0.2), (99., 88.6)]
    image = noise_image(stars=[(*p, 4000.) for p in places])
    r = fit(image, FieldPSF.moffat((90, 100), 4.), FitConfig(psf=PSFConfig(refit=False)))
    v = values(r.catalog)
    for x, y in places:
        k = np.argmin(np.hypot(v["x"]-x, v["y"]-y))
        assert np.hypot(v["x"][k]-x, v["y"][k]-y) < 0.2
        assert v["flux"][k] == pytest.approx(4000, abs=5*v["dflux"][k])


@pytest.mark.parametrize("shape", [(5, 5), (1, 30), (9, 200)])
def test_small_images(shape):
    image = noise_image(shape, stars=[(shape[1]//2, shape[0]//2, 3000.)])
    r = fit(image, FieldPSF.moffat(shape, 4.), FitConfig(psf=PSFConfig(refit=False)))
    assert r.model.shape == shape and np.isfinite(values(r.catalog)["flux"]).all()
    fit(image)


def test_blends_split_only_where_allowed():
    pair = [(40., 45.), (44.5, 45.), (70., 45.), (74.5, 45.)]
    stars = [(*p, f) for p, f in zip(pair, (8000., 3000., 8000., 3000.))]
    image = noise_image(stars=stars)
    mask = np.zeros((90, 100), np.uint16)
    mask[:, 60:] = ENGINE.nodeblend
    config = FitConfig(psf=PSFConfig(refit=False))
    v = values(fit(image.with_mask(mask), FieldPSF.moffat((90, 100), 4.), config).catalog)
    found = [np.hypot(v["x"]-x, v["y"]-y).min() < 0.5 for x, y in pair]
    assert found[:2] == [True, True] and v["flags"][np.argmax(v["x"])] >> MASK_SHIFT & ENGINE.nodeblend
    near = (np.abs(v["x"]-72) < 6) & (np.abs(v["y"]-45) < 4)
    assert near.sum() == 1


def forced(image, x, y, psf=None, **options):
    return values(fit(image, psf or FieldPSF.moffat(image.shape, 4.), FitConfig(psf=PSFConfig(refit=False)),
                      sources=dict(x=np.array(x, dtype=float), y=np.array(y, dtype=float)), **options).catalog)


def test_forced_fit_keeps_positions_and_gives_signed_fluxes():
    gx, gy = (g.ravel() for g in np.meshgrid(np.arange(12., 95, 12), np.arange(10., 85, 12)))
    star = np.arange(len(gx)) % 2 == 0
    image = noise_image(stars=[(a, b, 500.) for a, b in zip(gx[star], gy[star])])
    v = forced(image, gx, gy)
    assert np.array_equal(v["x"], gx) and np.array_equal(v["y"], gy)
    assert set(("deltx", "delty")) <= set(v)
    empty, full = v["flux"][~star], v["flux"][star]
    sigma = np.median(v["dflux_iso"])
    # 24 of each: means known to a fifth of an error, scatters to 15 %
    assert (empty < 0).sum() > 5
    assert np.mean(empty) == pytest.approx(0, abs=0.8*sigma) and np.mean(full) == pytest.approx(500, abs=0.8*sigma)
    assert 0.6 < np.std(empty)/sigma < 1.6


def test_forced_fit_tells_where_its_positions_should_have_been():
    gx, gy = (g.ravel() for g in np.meshgrid(np.arange(12., 95, 12), np.arange(10., 85, 12)))
    image = noise_image(stars=[(a, b, 8000.) for a, b in zip(gx, gy)])
    v = forced(image, gx-0.2, gy+0.1)
    # stars of 180 sigma: each offset is known to 0.01 px, and linear in a shift to a few per cent
    assert np.median(v["deltx"]) == pytest.approx(0.2, abs=0.02) and np.median(v["delty"]) == pytest.approx(-0.1, abs=0.02)
    pull = np.r_[(v["deltx"]-np.median(v["deltx"]))/v["dx"], (v["delty"]-np.median(v["delty"]))/v["dy"]]
    # 112 values: their standard deviation scatters by 7 %
    assert np.std(pull) == pytest.approx(1, abs=0.2)
    assert np.array_equal(v["x"], gx-0.2)


def test_forced_fit_gives_a_row_for_every_position_in_order():
    x, y = [50., -40., 30., 500., 50.], [45., 20., -100., 45., 45.]
    v = forced(noise_image(stars=[(50., 45., 2000.)]), x, y)
    assert v["x"].tolist() == x and v["y"].tolist() == y
    assert np.isnan(v["flux"]).tolist() == [False, True, True, True, False]
    # two sources at one place are one
    assert v["flux"][0] == v["flux"][4] == pytest.approx(2000, abs=200)


def test_forced_positions_are_the_parents_and_offsets_are_told():
    image = noise_image(stars=[(50., 45., 5000.)]).cutout(20, 90, 15, 80)
    v = forced(image, [50.1], [44.8])
    assert v["x"][0] == 50.1 and v["y"][0] == 44.8
    assert v["flux"][0] == pytest.approx(5000, rel=0.05)


def test_forced_fit_of_the_truth_is_unbiased_in_a_crowd(field):
    # sky and fluxes settle together, by a factor of 0.7 in a pass: ten passes take the sky's first bias to a thirtieth
    stars = field.truth[field.truth["snr"] > 1.5]
    r = fit(field.image(), FieldPSF.of(field.psf), FitConfig(min_passes=10, psf=PSFConfig(refit=False)), sources=stars)
    v = values(r.catalog)
    good = (stars["snr"] > 10) & (v["qf"] > 0.9) & (np.abs(stars["x"]-74) < 70) & (np.abs(stars["y"]-79) < 75)
    pull = (v["flux"]-stars["flux"])[good]/v["dflux"][good]
    assert len(v["x"]) == len(stars)
    assert np.median(v["flux"][good]/stars["flux"][good]) == pytest.approx(1, abs=0.02)
    # 80 pulls: their standard deviation scatters by 8 %, and few are of stars whose neighbours are not on the list
    assert good.sum() > 70 and np.std(pull) == pytest.approx(1, abs=0.24)


def test_given_sources_far_off_the_image_cost_nothing_and_change_nothing(field):
    stars, image = field.truth[field.truth["snr"] > 5], field.image()
    x, y = np.array(stars["x"]), np.array(stars["y"])
    # one at a million pixels, one beyond any sky, and a mark for "unknown" that many rows share
    far_x, far_y = np.r_[1e6, 1e300, np.full(3000, -9999.)], np.r_[1e6, -1e300, np.full(3000, -9999.)]

    def forced(*position):
        config = FitConfig(min_passes=2, max_passes=2, psf=PSFConfig(refit=False))
        return fit(image, FieldPSF.of(field.psf), config, sources=dict(zip("xy", position))).catalog

    near = forced(x, y)
    tracemalloc.start()
    try:
        catalog = forced(np.r_[x, far_x], np.r_[y, far_y])
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()
    assert len(catalog) == len(x)+len(far_x)
    for name in near.colnames:
        np.testing.assert_array_equal(catalog[name][:len(x)], near[name], name)
    far = {name: np.array(catalog[name])[len(x):] for name in ("x", "flux")}
    assert np.isnan(far["flux"]).all() and np.array_equal(far["x"], far_x)


@pytest.mark.parametrize("arguments, message", [
    (dict(sources=dict(x=[1., 2.], y=[1.])), "shapes"), (dict(sources=dict(x=["a"], y=[1.])), "must be numbers"),
    (dict(bright=dict(x=[1., np.nan], y=[1., 1.])), "finite"),
    (dict(sky=np.zeros((3, 3))), r"sky has shape \(3, 3\)")])
def test_input_that_does_not_suit_the_image(arguments, message):
    with pytest.raises(InputError, match=message):
        fit(noise_image(), FieldPSF.moffat((90, 100), 4.), **arguments)


def test_config_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="min_passes"):
        fit(noise_image(), config=FitConfig(min_passes=0))


def test_a_given_sky_starts_the_fit():
    slope = 3.*np.arange(100)[None, :]*np.ones((90, 1))
    rng = np.random.default_rng(5)
    image = Image.from_arrays(slope+rng.normal(0, 3, (90, 100)), np.full((90, 100), 1/9))
    skies = []
    fit(image, FieldPSF.moffat((90, 100), 4.), QUICK, sky=slope, observer=lambda s: skies.append(s.sky))
    assert np.array_equal(skies[0], slope.astype(np.float32)) and not np.array_equal(skies[1], skies[0])


def test_listed_bright_stars_get_their_wings_from_beyond_the_edge():
    star = (-30., 45., 4e8)
    image = noise_image(stars=[(60., 45., 3000.)])
    wide = FieldPSF.moffat((90, 100), 4.)
    light = model_image(wide, *(np.array([v]) for v in star), np.array([299]), (90, 100))
    image = Image.from_arrays(image.data+light, image.ivar)
    config = FitConfig(psf=PSFConfig(refit=False))
    v = values(fit(image, wide, config, bright=dict(x=[star[0]], y=[star[1]])).catalog)
    k = np.argmin(np.abs(v["x"]+30))
    assert v["x"][k] == pytest.approx(-30, abs=3)
    assert v["flux"][k] == pytest.approx(4e8, rel=0.3)
    assert v["flux"][np.argmin(np.hypot(v["x"]-60, v["y"]-45))] == pytest.approx(3000, rel=0.1)


def test_number_of_sources_is_guarded(field, caplog):
    r = fit(field.image(), config=replace(QUICK, max_sources=20))
    assert len(r.catalog) <= 20
    assert "max_sources is 20" in caplog.text


def test_listed_stars_take_over_the_peaks_near_them():
    shape = (61, 81)
    image = Image.from_arrays(star_image(shape, [20.3, 60.], [30.2, 20.], [20000., 9000.]), np.full(shape, NOISE**-2))
    listed = dict(x=[22.5, 40.], y=[32.5, 50.])
    v = values(fit(image, FieldPSF.moffat(shape, 4.), bright=listed).catalog)
    rows = np.argsort(v["x"])
    assert len(rows) == 3 and v["x"][rows] == pytest.approx([20.3, v["x"][rows[1]], 60], abs=0.1)
    # where there is no peak, a star is added as it is listed, and finds nothing
    assert np.hypot(v["x"][rows[1]]-40, v["y"][rows[1]]-50) < 5 and abs(v["flux"][rows[1]]) < 5*v["dflux"][rows[1]]


def test_a_search_goes_on_while_the_model_gets_better(field):
    state = replace(initialize(field.image(), None, FitConfig(), None, None, None), passno=3, grown=-9)

    def after(*chi2):
        return next_kind(replace(state, history=tuple(dict(kind=SEARCH, chi2=v, sky=0.) for v in chi2)))

    # sources that go make room for better ones; with as many as before it is over
    assert next_kind(replace(state, grown=0, history=tuple(dict(kind=SEARCH, chi2=v, sky=0.) for v in (6.4, 5.3)))) == PRUNE
    assert after(11.8, 6.4, 5.3) == SEARCH and after(11.8, 1.04, 1.02) == PRUNE and after(11.8, 1.02, 1.04) == PRUNE


def test_a_galaxy_is_modelled_to_its_core():
    shape, rng = (121, 121), np.random.default_rng(3)
    y, x = np.mgrid[:shape[0], :shape[1]]
    # an exponential disc several times as wide as the PSF, of 200 sigma in its middle
    disc = 200*NOISE*np.exp(-np.hypot(x-60, y-60)/9)
    data = star_image(shape, [20.3, 100.], [30.2, 90.], [20000., 9000.])+disc
    image = Image.from_arrays(data+rng.normal(0, NOISE, shape), np.full(shape, NOISE**-2))
    # the last pass would take part of it for stars too faint to be found
    result = fit(image, FieldPSF.moffat(shape, 4.), FitConfig(solve=SolveConfig(undetected=False)))
    # pieces of it that go for a while do not end the search, which leaves 15 then
    assert result.history[-1]["chi2"] < 9


def test_nothing_is_pruned_where_that_is_not_wanted(field, result):
    config = FitConfig(cull=CullConfig(prune=0.))
    rows = len(fit(field.image(), config=config).catalog)
    assert rows > 1.1*len(result.catalog)


def test_the_guard_on_stamps_counts_one_tile(field):
    config = FitConfig(solve=SolveConfig(stamp_sizes=(19, 59), max_stamp_pixels=9000))
    given = GivenPositions.of(dict(x=50+0.1*np.arange(10), y=[50.]*10), field.image())
    state = initialize(field.image(), None, config, given, None, None)
    sources = state.sources.with_values(flux=np.full(10, 1e6))
    # ten stamps of 59 pixels are 34,810
    assert set(sizes(state, sources)) == {19} and set(sizes(replace(state, tiles=state.tiles*4), sources)) == {59}
