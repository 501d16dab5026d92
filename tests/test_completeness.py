"""Completeness by artificial stars: the plan, the rule of the match, surfaces, curves, depth, purity, the truth."""
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table, vstack
from scipy.spatial.distance import pdist
from scipy.stats import binom
from small_fields import NOISE, star_image

import crowdsource as cs
from crowdsource.psf.model import FieldPSF
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.validate.completeness.curve import Curve, fit_curve
from crowdsource.validate.completeness.depth import depth_map
from crowdsource.validate.completeness.local import LocalFit, Mosaic
from crowdsource.validate.completeness.measure import scene_of
from crowdsource.validate.completeness.plan import StarOptions, StarPlan, star_plan
from crowdsource.validate.completeness.purity import noise_run, purity_table
from crowdsource.validate.completeness.rivals import decided
from crowdsource.validate.completeness.surfaces import (
    counts,
    density_edges,
    factors,
    flux_edges,
    interpolated_factor,
    slope_of,
    surface,
    weighted_scatter,
)
from crowdsource.validate.completeness.trial import DensityMap, Scene, one_run, recovered
from crowdsource.validate.evaluate import match_stars

SHAPE = (120, 140)
PSF = FieldPSF.moffat(SHAPE, 4.)


@pytest.fixture(scope="module")
def field():
    """A crowded field, its image and the fit of that."""
    sim = simulate_field(SimulationConfig(shape=(192, 192), stars=320., seed=11, nebulosity=0., saturated_stars=0,
                                          brightest=500.))
    image = sim.image()
    return SimpleNamespace(sim=sim, image=image, result=cs.fit(image))


def image_of(value=100.):
    return cs.Image.from_arrays(np.random.default_rng(1).normal(value, NOISE, SHAPE), np.full(SHAPE, NOISE**-2), gain=4.)


def rows_of(x=(), y=(), flux=(), **more):
    x, y, flux = (np.array(v, dtype=float) for v in (x, y, flux))
    few = np.full(len(x), 0.1)
    return Table(dict(x=x, y=y, flux=flux, dflux=10*few, dx=few, dy=few, dflux_iso=10*few, flags=np.zeros(len(x), int),
                      good=np.ones(len(x), bool), **more))


def scene(catalog, fit=None):
    return Scene(image=image_of(), catalog=catalog, psf=PSF, fit=fit)


@pytest.mark.parametrize("layout", ["grid", "random"])
def test_stars_of_a_run_are_apart_and_others_in_the_next(layout):
    plan = StarPlan(shape=(400, 300), origin=(20, 30), count=30, fluxes=(10., 1000.), spacing=30., layout=layout, seed=3)
    good = np.ones((400, 300), bool)
    good[:, :150] = False
    some, other = plan.stars(0, np.ones_like(good)), plan.stars(1, np.ones_like(good))
    place = np.c_[some["x"], some["y"]]
    assert len(place) == 30 and pdist(place).min() > 29.99 and (some["x"] >= 19.5).all() and (some["y"] <= 429.5).all()
    assert (some["flux"] >= 10).all() and (some["flux"] <= 1000).all() and not np.isin(other["x"], some["x"]).any()
    assert all(np.array_equal(v, plan.stars(0, np.ones_like(good))[n]) for n, v in some.items())
    # a star whose pixel is masked is not added
    left = plan.stars(0, good)
    assert 5 < len(left["x"]) < 25 and (left["x"] > 169.5).all()
    # all phases in a pixel occur, and as many stars in each interval of magnitude
    many = vstack([Table(plan.stars(k, np.ones_like(good))) for k in range(40)])
    assert abs(np.mean(many["x"] % 1)-0.5) < 0.04 and abs(np.mean(np.log10(many["flux"]))-2) < 0.06


def test_how_many_stars_do_not_change_the_crowding():
    image, rows = image_of(), rows_of(np.zeros(400), np.zeros(400), np.linspace(1, 100, 400))
    # 5 % of 400 rows, but no more than have room 24+1 px apart; and by magnitudes, the faintest first
    assert star_plan(image, rows, 4., StarOptions()).count == 20
    assert star_plan(image, rows[:10], 4., StarOptions()).count == int(np.ceil(120*140/(256*16)))
    assert star_plan(image, rows, 8., StarOptions()).count == int(120*140/49**2)
    plan = star_plan(replace(image, zeropoint=25.), rows, 4., StarOptions(magnitudes=(17.5, 20.)))
    assert plan.fluxes == pytest.approx((100., 1000.))
    assert star_plan(image, rows, 4., StarOptions()).fluxes == pytest.approx((2.5, 500.))
    for wrong, message in ((StarOptions(stars=27), "no more than 26 have room"), (StarOptions(magnitudes=(1, 2)), "zero point")):
        with pytest.raises(cs.ConfigError, match=message):
            star_plan(image, rows, 4., wrong)
    with pytest.raises(cs.ConfigError, match="two positive numbers"):
        StarOptions(fluxes=(0., 5.))
    with pytest.raises(cs.ConfigError, match="nothing was found"):
        star_plan(image, rows[:0], 4., StarOptions())


def test_what_counts_as_found():
    own = rows_of([30., 60.], [30., 30.], [1000., 100.])
    stars = dict(x=np.array([30.4, 60.4, 90., 100., 20.]), y=np.array([30., 30., 60., 80., 90.]),
                 flux=np.array([100., 1000., 50., 50., 50.]))
    after = rows_of([30.05, 60.36, 90.2, 101.2, 20.1], [30., 30., 60., 80., 90.], [1090., 1100., 60., 50., 80.])
    found = recovered(scene(own), stars, after)
    # on a brighter star, whose row it is; on a fainter star: the row is its own; right; too far; too bright
    assert found["matched"].tolist() == [False, True, True, False, True]
    assert found["found"].tolist() == [False, True, True, False, False]
    assert found["flux_found"][1] == 1100 and found["distance"][2] == pytest.approx(0.2)
    # the row of the first is another one's, and the fourth has none
    assert found["rival"][0] == 1000 and np.isnan(found["rival"][1:]).all()
    assert found["flux_found"][0] == 1090 and np.isnan(found["flux_found"][3])
    # without the image's own stars the first would have been taken for found
    alone = recovered(scene(own[:0]), dict(x=stars["x"][:1], y=stars["y"][:1], flux=np.array([1000.])), after)
    assert alone["found"].tolist() == [True]


def test_density_does_not_depend_on_edges_or_masked_pixels():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-0.5, 399.5, (2, 8000))
    ivar = np.ones((400, 400))
    ivar[:, 200:] = 0
    image = cs.Image.from_arrays(rng.normal(size=(400, 400)), ivar)
    rows = rows_of(x[x < 199.5], y[x < 199.5], np.ones((x < 199.5).sum()))
    at = DensityMap.of(rows, image, 4.).at([1., 100., 195.], [1., 200., 398.])
    # 0.05 in a square pixel; a surrounding holds some 100
    assert at == pytest.approx(0.05, rel=0.3)
    # around a star alone there is nothing, wherever it lies
    for place in (100., 1., 199.):
        alone = DensityMap.of(rows_of([place], [place], [1.]), image, 4.)
        assert alone.at([place], [place]) > 5e-4 and alone.of_others([place], [place]) == pytest.approx(0, abs=1e-5)


def test_a_row_of_a_blend_is_that_of_the_brightest_star():
    """Rows of the image are blends as those of artificial stars are: half of these have rows twice as bright as they are."""
    n = 4000
    rng = np.random.default_rng(6)
    flux = np.r_[10**rng.uniform(1, 3, n), np.full(1000, 60.)]
    ratio = np.where(rng.random(len(flux)) < 0.5, 2., 1.)
    table = Table(dict(flux=flux, flux_found=flux*ratio, matched=np.arange(n+1000) < n, found=np.zeros(n+1000, bool),
                       rival=np.where(np.arange(n+1000) < n, np.nan, 100.), flags=np.full(n+1000, 3),
                       **dict.fromkeys(("x_found", "y_found", "dflux", "dx", "dy", "distance"), np.ones(n+1000))))
    found = decided(table, 1.)
    # a rival of 100 is a star of 100 or of 50; real stars of 50 are more
    won = found["matched"][n:]
    assert found["matched"][:n].all() and np.mean(won) == pytest.approx(0.5, abs=0.1)
    assert np.mean(decided(table, 3.)["matched"][n:]) == pytest.approx(0.8, abs=0.1)
    assert np.isnan(found["flux_found"][n:][~won]).all() and (found["flux_found"][n:][won] >= 60).all()
    assert not found["flags"][n:][~won].any() and found["flags"][n:][won].all()
    assert np.array_equal(decided(table, 1.)["matched"], found["matched"])
    table["flux"][n:] = 40.
    assert not decided(table, 1.)["matched"][n:].any()


def test_figures_by_brightness_and_density():
    rng = np.random.default_rng(4)
    n = 4000
    flux, density = 10**rng.uniform(1, 3, n), np.where(np.arange(n) < n//2, 0.001, 0.01)*rng.uniform(0.9, 1.1, n)
    error = np.where(density < 0.005, 1., 2.)
    table = Table(dict(run=np.zeros(n), x=np.zeros(n), y=np.zeros(n), flux=flux, density=density, matched=rng.random(n) < 0.9,
                       x_found=rng.normal(0, 0.1, n), y_found=rng.normal(0, 0.1, n), dflux=np.ones(n), dx=np.full(n, 0.1),
                       dy=np.full(n, 0.1), flux_found=flux*np.where(flux > 100, 1.02, 1)+error*rng.normal(0, 1, n)))
    table["found"] = table["good"] = table["matched"] & (rng.random(n) < 0.8)
    bounds, classes = flux_edges(flux, 2.5), density_edges(density, 2)
    rows = surface(table, bounds, classes)
    assert len(bounds) == 3 and rows["density_class"].tolist() == [0, 0, 1, 1, 2, 2] and rows["stars"][:2].sum() == n
    assert rows["fraction"] == pytest.approx(0.72, abs=0.06) and (rows["fraction_low"] < rows["fraction"]).all()
    # bright stars: 2 % bias; pull of 1 and 2 where it is not the bias that scatters
    assert rows["bias"][1] == pytest.approx(0.02, abs=0.002)
    assert rows["pull"][[2, 4]] == pytest.approx([1., 2.], rel=0.12)
    assert rows["position_pull"] == pytest.approx(1, rel=0.1)
    some = counts(table[:100])
    # 68 % of draws lie within the bounds, by the definition of Jeffreys' interval
    assert binom.cdf(some["found"], 100, some["fraction_high"]) == pytest.approx(0.16, abs=0.04)
    # errors times their factor are right in each class, also in a half that the factors do not come from
    by = factors(table[::2], bounds, classes)
    rest = table[1::2][np.asarray(table["matched"][1::2]) & (np.asarray(table["flux"][1::2]) < 100)]
    pull = (rest["flux_found"]-rest["flux"])/(rest["dflux"]*interpolated_factor(by, rest["flux_found"], rest["density"]))
    for inside in (rest["density"] < 0.005, rest["density"] > 0.005):
        assert np.std(pull[inside]) == pytest.approx(1, rel=0.2)
    assert density_edges(np.full(50, 0.3)).shape == (2,)
    # numbers of stars that go as flux^-1.8; and values of which those of one kind count twice
    assert slope_of(10*rng.random(5000)**(-1/0.8), 20.) == pytest.approx(1.8, abs=0.05)
    values = rng.normal(0, np.repeat([1., 3.], 5000))
    assert weighted_scatter(values, np.repeat([2., 0.], 5000)) == pytest.approx(1, rel=0.05)
    assert interpolated_factor(by, [np.nan, -1.], [0.001, 0.001]).tolist() == [1, 1]


def test_the_curve_that_stars_were_drawn_from():
    truth = Curve(20., 0.4, 2., 0.99)
    assert truth(20.) == pytest.approx(0.495) and truth(truth.magnitude(0.8)) == pytest.approx(0.8)
    assert np.isnan(truth.magnitude(0.995)) and truth.parameters[3] == pytest.approx(np.log(99))
    rng = np.random.default_rng(6)
    off = []
    for _ in range(8):
        m = rng.uniform(16, 22, 600)
        curve = fit_curve(m, rng.random(600) < truth(m))
        off.append([(curve.magnitude(p)-truth.magnitude(p))/curve.error(p) for p in (0.5, 0.8)])
    # errors are right: of 8 draws their scatter is known to a quarter
    assert np.abs(np.mean(off, axis=0)).max() < 0.9 and np.std(off, axis=0) == pytest.approx(1, abs=0.55)
    assert fit_curve([1., 2.], [True, True]) is None and fit_curve([], []) is None


def test_depth_follows_what_is_found_at_each_place():
    rng = np.random.default_rng(7)
    x, y, m = rng.uniform(0, 400, 3000), rng.uniform(0, 200, 3000), rng.uniform(17, 23, 3000)
    curve = Curve(20., 0.2, 1., 0.999)
    stars = Table(dict(x=x+50, y=y, found=rng.random(3000) < np.where(x < 200, curve(m+0.6), curve(m-0.6))))
    depth, error, step = depth_map(stars, m, fit_curve(m, stars["found"]), (200, 400), (50, 0))
    assert step == 13 and depth.shape == (16, 31)
    left, right = depth[:, :10], depth[:, -10:]
    assert np.median(left) == pytest.approx(19.4, abs=0.15) and np.median(right) == pytest.approx(20.6, abs=0.15)
    assert 0.02 < np.median(error) < 0.3


def test_completeness_is_that_of_the_true_stars(field):
    found = cs.completeness(field.image, result=field.result, runs=8, purity=0, local=True)
    plan_stars, truth = found.table, field.sim.truth
    assert len(plan_stars) > 300 and (plan_stars["density"] > 0).all()
    stars = {n: np.asarray(truth[n]) for n in ("x", "y", "flux")}
    catalog = {n: np.asarray(getattr(field.result.catalog[n], "value", field.result.catalog[n])) for n in ("x", "y", "flux")}
    catalog = {n: v[np.asarray(field.result.catalog["flux"]) > 0] for n, v in catalog.items()}
    match = match_stars(stars, catalog)
    ratio = np.where(match >= 0, catalog["flux"][match], np.inf)/stars["flux"]
    right = np.abs(np.log(ratio)) < np.log(1.5)
    on = (stars["x"] > 0) & (stars["x"] < 191) & (stars["y"] > 0) & (stars["y"] < 191)
    for low, high in ((4, 7), (7, 12), (12, 50)):
        of_truth = on & (truth["snr"] > low) & (truth["snr"] <= high)
        expected = found.fraction(found.magnitude(stars["flux"][of_truth])).mean()
        inside = np.asarray(5*plan_stars["flux"]/truth.meta["FLUX5"])
        some = (inside > low) & (inside <= high)
        variance = expected*(1-expected)*(1/of_truth.sum()+1/some.sum())
        assert abs(right[of_truth].mean()-expected) < 2.5*np.sqrt(variance+1e-4), (low, high)
    # the crowd hides most of what an isolated star would show at 5 sigma
    assert found.fraction(found.magnitude(truth.meta["FLUX5"])) < 0.5 < found.fraction(found.magnitude(3*truth.meta["FLUX5"]))


def test_cutouts_give_what_whole_images_give(field):
    whole = scene_of(field.image, field.result, cs.fit)
    plan = star_plan(whole.image, whole.catalog, whole.fwhm, StarOptions(fluxes=(200., 20000.)))
    local = LocalFit(whole, field.result)
    a, b = (vstack([one(plan, k) for k in range(3)]) for one in (partial(one_run, whole), local))
    assert np.array_equal(a["x"], b["x"]) and np.sum(a["found"] != b["found"]) <= 0.1*len(a) and 15 < a["found"].sum() < len(a)
    both = np.asarray(a["found"] & b["found"])
    change = np.asarray((b["flux_found"]-a["flux_found"])/a["dflux"])[both]
    assert np.abs(np.median(change)) < 0.2 and np.quantile(np.abs(change), 0.75) < 0.5
    assert np.median((b["dflux"]/a["dflux"])[both]) == pytest.approx(1, abs=0.2)


def test_a_mosaic_holds_what_it_cuts():
    plane = np.arange(80*90, dtype=np.float32).reshape(80, 90)
    mosaic = Mosaic(np.array([3, 40, 70]), np.array([50, 20, 79]), 5, 4, (80, 90))
    cut = mosaic.cut(plane, np.float32(-1))
    rows, where = mosaic.inside(np.array([40., 60., 3., -9.]), np.array([20., 60., 55.2, 4.]))
    assert rows.tolist() == [0, 2] and where.tolist() == [1, 0]
    for k, (x, y) in enumerate(zip(mosaic.x, mosaic.y)):
        mx, my = x-mosaic.offset[0][k], y-mosaic.offset[1][k]
        assert cut[my, mx] == plane[y, x] and mosaic.back(np.array([mx-4.3]), np.array([my+5.4])) == (x-4.3, y+5.4)
    # an eleventh of each side is cut, less what lies off the image
    assert (cut >= 0).sum() == 11*(3+5+1)+121+11*6


def test_purity_counts_rows_that_no_star_explains():
    data = star_image(SHAPE, [40., 90.], [40., 70.], [4000., 4000.])
    image = cs.Image.from_arrays(data, np.full(SHAPE, NOISE**-2))
    own = rows_of([40., 90.], [40., 70.], [4000., 4000.])
    seen = []

    def fit(new):
        seen.append(new.data-image.data)
        return rows_of([40., 90., 20.], [40., 70., 20.], [4000., 4100., 50.])

    rows = noise_run(Scene(image=image, catalog=own, psf=PSF, fit=fit), data-100, np.full(SHAPE, 100., np.float32), 0, 5)
    assert rows["false"].tolist() == [False, False, True] and np.std(seen[0]) == pytest.approx(NOISE, rel=0.03)
    table = purity_table(rows, np.array([10., 1000., 10000.]))
    assert table["purity"].tolist() == [0, 1] and table["false"].tolist() == [1, 0]


def test_as_one_tries_first_and_to_a_file_and_back(tmp_path):
    data = star_image((100, 100), [20.3, 45.6, 70.], [30.2, 75.1, 50.], [6000., 3000., 4000.])
    image = cs.Image.from_arrays(data, np.full(data.shape, NOISE**-2), gain=4.)
    psf = FieldPSF.moffat(data.shape, 4.)
    found = cs.completeness(image, psf, cs.fit, [60., 300., 9000.], runs=3, stars=9, refit=False, max_passes=5)
    assert len(found.table) == 27 and found.figures["BRIGHTES"] == 9000 and found.purity["rows"].sum() >= 3
    assert 0 < found.table["found"].sum() < 27 and np.isfinite(found.curve["m50"][0]) and "3 runs" in found.lines()[0]
    path = tmp_path/"c.fits"
    cs.write_completeness(found, path)
    again = cs.read_completeness(path)
    assert again.lines() == found.lines() and np.array_equal(again.depth, found.depth) and again.figures == found.figures
    assert all(np.array_equal(again.table[n], found.table[n], equal_nan=n != "flags") for n in found.table.colnames)
    assert again.fraction(-6.) == found.fraction(-6.) and again.dflux_factor([100.], [0.01]).shape == (1,)
    assert found.density_of(rows_of([20.], [30.], [1.])).shape == (1,)
    with pytest.raises(cs.InputError, match="does not hold the map"):
        again.density_of(rows_of([20.], [30.], [1.]))
    with pytest.raises(cs.InputError, match="region is 'x'"):
        again.fraction(1., "x")
    with pytest.raises(cs.OutputError, match="exists already"):
        cs.write_completeness(again, path, config=["detect.threshold = 4"])
    with pytest.raises(cs.DataFileError, match="holds no completeness"):
        cs.read_completeness(_other(tmp_path))
    again.plot("a title").savefig(tmp_path/"c.png")


def _other(folder):
    from astropy.io import fits
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(folder/"other.fits")
    return folder/"other.fits"


def test_fit_functions_of_others():
    catalog = rows_of([20.], [30.], [500.])
    image = image_of()
    found = cs.completeness(image, PSF, lambda _: catalog, [50., 500.], runs=2, purity=0)
    assert not found.table["found"].any() and found.depth is None and np.isnan(found.curve["m50"][0])
    with pytest.raises(cs.InputError, match="give psf"):
        cs.completeness(image, None, lambda _: catalog, [50., 500.])
    with pytest.raises(cs.InputError, match="lacks what purity and cut-outs need"):
        cs.completeness(image, PSF, lambda _: catalog, [50., 500.])
