"""Joint fits of small simulated images: what they find, how right that is, and what they do not depend on."""
import logging
from dataclasses import replace

import numpy as np
import pytest
from small_epochs import FIELD, Compared, names_of, plain, small_epochs
from small_fields import tan_wcs

from crowdsource import FitConfig
from crowdsource.core.errors import ConfigError, InputError
from crowdsource.core.image import Image
from crowdsource.engine.sources import Sources
from crowdsource.joint.config import JointConfig
from crowdsource.joint.loop import ImageSource, fit_joint, joint_state
from crowdsource.simulate import simulate_field
from crowdsource.simulate.epochs import EpochsConfig, simulate_epochs


def scatter(values):
    """Robust standard deviation of finite values about 0."""
    return 1.4826*np.median(np.abs(values[np.isfinite(values)]))


@pytest.fixture(scope="module")
def field():
    return small_epochs()


@pytest.fixture(scope="module")
def result(field):
    return fit_joint([e.image() for e in field[1]], names=names_of(field[1]))


@pytest.fixture(scope="module")
def compared(field, result):
    return Compared(*field, result)


@pytest.fixture(scope="module")
def single(field, result):
    """A fit of the reference alone."""
    number = result.names.index(result.objects.meta["reference"])
    return fit_joint([field[1][number].image()], names=[result.names[number]])


def test_stars_are_found_at_their_places(compared):
    assert compared.stars(8).sum() > 60 and np.array_equal(compared.found(8), compared.stars(8))
    bright = compared.found(30)
    assert np.median(compared.off[bright]) < 0.03 and compared.off[bright].max() < 0.3
    # hardly anything else is found
    objects = compared.result.objects
    lone = np.setdiff1d(np.arange(len(objects)), compared.row[compared.off < 2])
    assert len(lone) < 0.06*len(objects)


def test_positions_and_fluxes_have_honest_errors(compared):
    hit, objects = compared.found(5) & ~compared.variable, compared.result.objects
    for name in "xy":
        pull = (plain(objects, name)[compared.row]-getattr(compared.epoch, name))/plain(objects, "d"+name)[compared.row]
        assert 0.75 < scatter(pull[hit]) < 1.4
    assert 0.75 < scatter(compared.flux_errors(hit)[1]) < 1.4


def test_fluxes_are_unbiased(compared):
    for low, high, most in ((30, np.inf, 0.005), (8, 30, 0.025), (5, 8, 0.05)):
        off, _ = compared.flux_errors(compared.found(low, high) & ~compared.variable)
        assert len(off) >= 15 and abs(np.median(off)) < most


def test_frames_and_scales_of_all_images_are_found(field, compared):
    result, inside = compared.result, compared.inside
    own = plain(result.images, "scale")
    for k, (name, epoch) in enumerate(zip(result.names, field[1])):
        x, y = result.frames[k](compared.epoch.x, compared.epoch.y)
        assert np.hypot(x-epoch.x, y-epoch.y)[inside].max() < 0.1
        true = np.median(epoch.constant*epoch.light/(compared.epoch.constant*compared.epoch.light))
        assert own[k]/own[result.names.index(result.objects.meta["reference"])] == pytest.approx(true, rel=0.01)
        row = result.images[k]
        assert row["image"] == name and row["sources"] == len(result.fits[k].catalog) and row["mjd"].value == epoch.mjd
        assert row["fwhm"].value == pytest.approx(epoch.simulation.config.fwhm, rel=0.06) and 0.9 < row["chi2"] < 1.1
    assert len(result.history) <= JointConfig().max_passes and result.history[-1]["kind"] == "prune"


def test_repeats_scatter_by_their_errors(compared):
    curves, varying = compared.result.light_curves, compared.row[compared.variable & (compared.off < 1.5)]
    good = (plain(curves, "qf") > 0.9) & ~np.isin(curves["object_id"], varying)
    ids, weight = np.asarray(curves["object_id"])[good], plain(curves, "dflux")[good]**-2
    total = np.bincount(ids, weight)
    flux, many = plain(curves, "flux")[good], np.bincount(ids) > 2
    mean = np.bincount(ids, weight*flux)/np.maximum(total, 1e-300)
    pull = (flux-mean[ids])*np.sqrt(weight/np.maximum(1-weight/total[ids], 1e-9))
    bright = many[ids] & (plain(compared.result.objects, "flux")/plain(compared.result.objects, "dflux") > 8)[ids]
    assert bright.sum() > 250 and 0.8 < scatter(pull[bright]) < 1.25
    assert 0.8 < scatter(pull[many[ids] & ~bright]) < 1.25


def test_a_star_that_varies_stands_out(compared):
    index = plain(compared.result.objects, "stetson_j")
    varies, constant = (compared.row[compared.found(30) & which] for which in (compared.variable, ~compared.variable))
    assert len(varies) and index[varies].min() > 2.5 and index[constant].max() < 1.5
    assert plain(compared.result.objects, "amplitude")[varies].min() > 0.2
    assert plain(compared.result.objects, "rchi2")[varies].min() > 5


def test_light_curves_follow_the_truth(field, compared):
    curves = compared.result.light_curves
    images = np.asarray(curves["image"])
    for k, epoch in enumerate(field[1]):
        here = curves[images == compared.result.names[k]]
        flux = np.full(len(compared.result.objects), np.nan)
        flux[here["object_id"]] = plain(here, "flux")
        bright = compared.found(30)
        true = epoch.flux/epoch.constant*compared.epoch.constant*compared.epoch.light
        off = (flux[compared.row]/true-1)[bright & (np.hypot(epoch.x-100, epoch.y-100) < 90)]
        assert len(off) > 20 and abs(np.median(off)) < 0.01 and scatter(off) < 0.04


def test_tables_belong_together(result):
    objects, curves = result.objects, result.light_curves
    assert np.array_equal(objects["object_id"], np.arange(len(objects)))
    keys = list(zip(curves["object_id"].tolist(), [result.names.index(n) for n in curves["image"]]))
    assert keys == sorted(set(keys)) and len(keys) == sum(len(fit.catalog) for fit in result.fits)
    for name, fit, row in zip(result.names, result.fits, result.images):
        here, catalog = curves[np.asarray(curves["image"]) == name], fit.catalog
        order = np.argsort(catalog["object_id"])
        assert np.array_equal(here["object_id"], np.asarray(catalog["object_id"])[order])
        assert np.array_equal(here["flags"], np.asarray(catalog["flags"])[order])
        ratio = (plain(catalog, "flux")[order]/plain(here, "flux"))[plain(here, "flux") > 100*plain(here, "dflux")]
        # but for the map of the scale
        assert len(ratio) > 5 and np.allclose(ratio, row["scale"], rtol=0.02)
        assert (plain(catalog, "dflux") >= plain(catalog, "dflux_epoch")).all()
    assert (plain(objects, "n_detected") <= plain(objects, "n_images")).all() and plain(objects, "n_images").max() == 5
    for table in (objects, curves, result.images):
        assert all(table[name].info.description for name in table.colnames)


def test_more_images_show_fainter_stars(field, compared, single):
    alone = Compared(*field, single)
    assert np.array_equal(alone.epoch.x, compared.epoch.x)
    right = []
    for one in (alone, compared):
        hit = np.flatnonzero(one.found(3, 5))
        right.append(int((np.abs(np.log(1+one.flux_errors(hit)[0])) < np.log(1.5)).sum()))
    few, many = right
    assert compared.stars(3, 5).sum() > 30 and many > 0.7*compared.stars(3, 5).sum() and many > 1.5*few


def test_one_image_alone_is_enough(field, compared, single):
    alone = Compared(*field, single)
    assert np.mean(alone.found(8)[alone.stars(8)]) > 0.95
    assert abs(np.median(alone.flux_errors(alone.found(20))[0])) < 0.01
    assert not any(np.isfinite(plain(single.objects, n)).any() for n in ("rchi2", "stetson_j", "amplitude"))
    assert plain(single.images, "scale").tolist() == [1] and single.names == (single.objects.meta["reference"],)


def same_tables(one, other):
    """Whether two tables have the same columns and rows, bit for bit."""
    return one.colnames == other.colnames and all(
        np.asarray(getattr(one[n], "value", one[n])).tobytes() == np.asarray(getattr(other[n], "value", other[n])).tobytes()
        for n in one.colnames)


def test_neither_order_nor_threads_make_a_difference(field, result):
    epochs, names = field[1], names_of(field[1])
    again = fit_joint([e.image() for e in epochs[::-1]], names=names[::-1], threads=2)
    assert again.names == result.names[::-1]
    assert same_tables(again.objects, result.objects) and same_tables(again.images[::-1], result.images)
    curves = again.light_curves
    order = np.lexsort((np.asarray(curves["image"]), np.asarray(curves["object_id"])))
    assert same_tables(curves[order], result.light_curves)
    for one, other in zip(again.fits[::-1], result.fits):
        assert same_tables(one.catalog, other.catalog) and np.array_equal(one.model, other.model)


def test_an_image_of_another_field_or_of_nothing_is_left_out_and_named(field, result, caplog):
    epochs, names = field[1], names_of(field[1])
    other = replace(simulate_field(replace(FIELD, seed=77, stars=70., fwhm=4.5)).image(), wcs=None, band="z", mjd=59100.)
    rng = np.random.default_rng(2)
    blank = Image.from_arrays(rng.normal(300, 9, (120, 130)).astype(np.float32), np.full((120, 130), 1/400, np.float32), band="r")
    images = [other, *(e.image() for e in epochs), blank]
    with caplog.at_level(logging.WARNING):
        found = fit_joint(images, names=["elsewhere", *names, "nothing"])
    assert set(found.refused) == {"elsewhere", "nothing"}
    assert "no pattern of the reference's" in found.refused["elsewhere"] and found.names == tuple(names)
    assert "elsewhere is left out" in caplog.text and "nothing is left out" in caplog.text
    # the others are fitted as if it had not been there
    assert same_tables(found.objects, result.objects) and same_tables(found.light_curves, result.light_curves)


def test_the_best_image_is_not_the_reference_where_it_is_of_another_field_than_the_others(field):
    epochs, names = field[1][:3], names_of(field[1][:3])
    deep = replace(simulate_field(replace(FIELD, seed=77, stars=300., fwhm=3.)).image(), wcs=None, band="r")
    found = fit_joint([deep, *(e.image() for e in epochs)], names=["elsewhere", *names], joint=JointConfig(max_passes=4))
    assert found.names == tuple(names) and set(found.refused) == {"elsewhere"}
    # of two that do not agree the better one is kept
    found = fit_joint([epochs[0].image(), deep], names=["worse", "better"], joint=JointConfig(max_passes=4))
    assert found.names == ("better",) and set(found.refused) == {"worse"}


def test_images_may_be_mirrored_cut_and_have_world_coordinates(field):
    truth, epochs = field
    images = [e.image() for e in epochs[:4]]
    plane = {n: getattr(images[0], n)[:, ::-1].copy() for n in ("data", "ivar", "dq")}
    images[0] = replace(Image.from_arrays(**plane, gain=images[0].gain, saturation=images[0].saturation), band="r",
                        mjd=images[0].mjd)
    plane = {n: getattr(images[2], n)[40:, :150].copy() for n in ("data", "ivar", "dq")}
    images[2] = replace(Image.from_arrays(**plane, gain=images[2].gain, saturation=images[2].saturation), band="r",
                        mjd=images[2].mjd)
    images[1] = replace(images[1], wcs=tan_wcs(images[1].shape))
    found = fit_joint(images, names=names_of(images))
    assert not found.refused and found.objects.meta["reference"] == "night-1"
    one = Compared(truth, epochs, found)
    for number, x, y in ((0, 199-epochs[0].x, epochs[0].y), (2, epochs[2].x, epochs[2].y-40)):
        u, v = found.frames[number](one.epoch.x, one.epoch.y)
        assert np.hypot(u-x, v-y)[one.inside & (one.epoch.y > 50) & (one.epoch.x < 140)].max() < 0.15
    assert np.mean(one.found(8)[one.stars(8)]) > 0.97
    assert abs(np.median(one.flux_errors(one.found(20) & ~one.variable)[0])) < 0.007
    sky = tan_wcs(images[1].shape).all_world2pix(plain(found.objects, "ra"), plain(found.objects, "dec"), 0)
    assert np.allclose(sky, [plain(found.objects, n) for n in "xy"], atol=1e-6)


@pytest.fixture(scope="module")
def two_bands():
    truth, epochs = small_epochs(images=2, bands=("g", "r"), variables=0.)
    return truth, epochs, fit_joint([e.image() for e in epochs], names=names_of(epochs))


def test_bands_have_fluxes_of_their_own_and_one_position(two_bands):
    truth, epochs, found = two_bands
    one = Compared(truth, epochs, found)
    assert found.objects.meta["bands"] == ["g", "r"] and "flux" not in found.objects.colnames
    assert one.found(10).sum() > 0.97*one.stars(10).sum() > 40
    for band in ("g", "r"):
        told = found.objects[f"flux_{band}"].info.description
        first = next(e for e, name in zip(epochs, found.names) if told.endswith(f"scale of image {name}"))
        assert first.band == band
        hit = one.found(30) & (np.hypot(first.x-100, first.y-100) < 90)
        off = plain(found.objects, f"flux_{band}")[one.row[hit]]/(first.constant*first.light)[hit]-1
        assert hit.sum() > 20 and abs(np.median(off)) < 0.015 and scatter(off-np.median(off)) < 0.04
        assert {f"{n}_{band}" for n in ("dflux", "mag", "dmag", "rchi2", "stetson_j", "amplitude")} <= set(found.objects.colnames)
    colour = [plain(found.objects, n)[one.row[one.found(30)]] for n in ("flux_g", "flux_r")]
    assert np.std(np.log10(colour[0]/colour[1])) > 0.05


def test_a_single_image_in_a_band_is_no_problem(two_bands):
    truth, epochs, _ = two_bands
    found = fit_joint([e.image() for e in epochs[:3]], names=names_of(epochs[:3]))
    one = Compared(truth, epochs, found)
    assert np.mean(one.found(10)[one.stars(10)]) > 0.95
    assert np.isfinite(plain(found.objects, "rchi2_g")).any() and not np.isfinite(plain(found.objects, "rchi2_r")).any()


def test_proper_motions_are_found():
    truth, epochs = small_epochs(images=4, motion=0.1, years=3., variables=0., fwhm=(3.4, 3.8))
    found = fit_joint([e.image() for e in epochs], names=names_of(epochs), joint=JointConfig(motion=True))
    one = Compared(truth, epochs, found)
    # the reference may be turned
    k = found.names.index(found.objects.meta["reference"])
    turn = np.radians(0.) if k == 0 else np.angle(np.polyfit(epochs[0].x+1j*epochs[0].y, epochs[k].x+1j*epochs[k].y, 1)[0])
    true = (np.asarray(truth["pm_x"])+1j*np.asarray(truth["pm_y"]))*np.exp(1j*turn)
    objects = found.objects
    # of three images at least
    bright = one.found(15) & one.alone & np.isfinite(plain(objects, "pm_x"))[one.row]
    row = one.row[bright]
    off = plain(objects, "pm_x")[row]+1j*plain(objects, "pm_y")[row]-true[bright]
    error = np.hypot(plain(objects, "dpm_x"), plain(objects, "dpm_y"))[row]
    # what motions of all stars have in common, linearly in their places, is in the frames: they are relative to each other
    terms = np.stack([np.ones(len(row)), plain(objects, "x")[row], plain(objects, "y")[row]], axis=1)
    off -= terms@np.linalg.lstsq(terms/error[:, None], off/error, rcond=None)[0]
    assert bright.sum() > 40 and np.median(np.abs(off)) < 0.3*np.median(np.abs(true[bright]))
    assert np.median(np.abs(off)[one.snr[bright] > 100]) < 0.01
    pull = np.r_[off.real/plain(objects, "dpm_x")[row], off.imag/plain(objects, "dpm_y")[row]]
    assert 0.6 < scatter(pull) < 1.6
    assert ((plain(objects, "epoch") >= 59000) & (plain(objects, "epoch") <= 59000+3*365.25)).all()
    # positions are of these dates, not of the mean date of all images
    bright, row = bright & (one.snr > 50), one.row[bright & (one.snr > 50)]
    terms = np.stack([np.ones(len(row)), plain(objects, "x")[row], plain(objects, "y")[row]], axis=1)

    def misplaced(dates):
        left = plain(objects, "x")[row]+1j*plain(objects, "y")[row]-epochs[k].x[bright]-1j*epochs[k].y[bright]
        left -= true[bright]*(dates-epochs[k].mjd)/365.25
        left -= terms@np.linalg.lstsq(terms, left, rcond=None)[0]
        return scatter(np.r_[left.real, left.imag])

    own = plain(objects, "epoch")[row]
    assert misplaced(own) < 0.7*misplaced(np.mean([e.mjd for e in epochs])) and misplaced(own) < 0.7*misplaced(own+180)


def test_what_cannot_be_fitted_is_refused(field):
    image = field[1][0].image()
    blank = Image.from_arrays(np.random.default_rng(2).normal(300, 9, (80, 90)).astype(np.float32),
                              np.full((80, 90), 1/400, np.float32))
    for images, names, message in (([], None, "no images"), ([image, image], ["a", "a"], "must be different"),
                                   ([image], ["a", "b"], "1 images, 2 names"), ([blank], ["empty"], "empty: it shows no stars")):
        with pytest.raises(InputError, match=message):
            fit_joint(images, names=names)
    with pytest.raises(InputError, match="2 images, 2 names and 1 PSFs"):
        fit_joint([image, image], psfs=[None])


@pytest.mark.parametrize("values, told", [
    (dict(max_passes=1), "max_passes must be a whole number of at least 2, not 1"), (dict(max_passes="x"), "max_passes"),
    (dict(first_passes=0), "first_passes"), (dict(min_passes=3.5), "min_passes"), (dict(psf_passes=-1), "psf_passes"),
    (dict(min_passes=9), "min_passes must be at most joint.max_passes"), (dict(motion=1), "motion must be true or false")])
def test_numbers_of_passes_are_checked(field, values, told):
    with pytest.raises(ConfigError, match=f"joint.{told}"):
        fit_joint([field[1][0].image()], joint=JointConfig(**values))


@pytest.mark.parametrize("values", [dict(images=0), dict(bands=()), dict(variables=1.5), dict(variables=-0.1)])
def test_impossible_simulated_images_are_refused(values):
    with pytest.raises(ConfigError, match="must be"):
        simulate_epochs(EpochsConfig(**values))


def test_objects_of_an_earlier_fit_stay_and_what_is_new_is_found(field):
    epochs, names = field[1], names_of(field[1])
    first = fit_joint([e.image() for e in epochs[:3]], names=names[:3])
    again = fit_joint([e.image() for e in epochs[3:]], names=names[3:], objects=first.objects)
    n, ids = len(first.objects), np.asarray(again.objects["object_id"])
    for name in ("object_id", "x", "y"):
        assert np.array_equal(plain(again.objects, name)[:n], plain(first.objects, name))
    assert len(np.unique(ids)) == len(ids) and (ids[n:] >= n).all() and again.objects.meta["reference"] == "given objects"
    bright = plain(first.objects, "flux") > 40*plain(first.objects, "dflux")
    ratio = plain(again.objects, "flux")[:n][bright]/plain(first.objects, "flux")[bright]
    assert bright.sum() > 10 and abs(np.nanmedian(ratio)-1) < 0.03


def test_objects_that_are_none_are_refused(field, result):
    with pytest.raises(InputError, match="no column object_id"):
        fit_joint([field[1][0].image()], objects=result.images)
    with pytest.raises(InputError, match="too few to register"):
        fit_joint([field[1][0].image()], objects=result.objects[:0])


def test_with_little_memory_the_result_is_the_same(field, result):
    little = fit_joint([e.image() for e in field[1]], names=names_of(field[1]), joint=JointConfig(memory=0.1))
    for name in result.objects.colnames:
        assert np.array_equal(plain(little.objects, name), plain(result.objects, name), equal_nan=True)
    assert isinstance(little.fits[0].model, np.memmap) and np.array_equal(little.fits[0].model, result.fits[0].model)


def test_a_list_grows_in_all_of_its_arrays(field):
    sources = [ImageSource(f"{k}", e.image(), None, FitConfig()) for k, e in enumerate(field[1][:2])]
    state, _ = joint_state(sources, JointConfig(first_passes=1))
    n, new = len(state.stars), Sources.new([10., 20.], [30., 40.], [100., 5000.], [10., 20.])
    grown = state.joined(new)
    assert [len(grown.stars), grown.fluxes.shape, grown.own.shape] == [n+2, (1, n+2), (2, n+2)]
    # a candidate may vary by a share of its flux
    assert grown.spread[n:].tolist() == [2., 100.] and (grown.spread[:n] == state.spread).all()
    assert grown.fluxes[0, n:].tolist() == [100, 5000] and grown.errors[0, n:].tolist() == [10, 20] and not grown.own[:, n:].any()
    assert grown.ids[n:].tolist() == [-1, -1] and grown.blending[n:].tolist() == [1, 1] and not grown.known.any()
    back = grown.subset(np.arange(n+2) < n)
    assert all((getattr(back, name) == getattr(state, name)).all() for name in (
        "fluxes", "errors", "own", "motion", "parallax", "ids", "given", "spread", "blending"))
