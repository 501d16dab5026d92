"""Joint fits that would take more work than their images deserve: shared passes end, and say which input looks wrong."""
from dataclasses import replace

import numpy as np
import pytest
from small_fields import NOISE, star_image

from crowdsource import Image
from crowdsource.config import FitConfig
from crowdsource.core.errors import InputError
from crowdsource.engine import budget
from crowdsource.engine.sources import Sources
from crowdsource.engine.state import PRUNE
from crowdsource.joint.config import JointConfig
from crowdsource.joint.loop import ImageSource, fit_joint, joint_state, next_kind
from crowdsource.joint.savings import load, within_budget

SHAPE = 64, 72


def images(as_weights=False):
    """Three images of the same stars; with themselves in the place of their inverse variances where that is wanted."""
    rng, out = np.random.default_rng(5), []
    x, y, flux = rng.uniform(8, 56, 25), rng.uniform(8, 56, 25), rng.uniform(3e3, 9e3, 25)
    for k in range(3):
        data = star_image(SHAPE, x, y, flux, seed=k).astype(np.float32)
        ivar = np.abs(data) if as_weights else np.full(SHAPE, NOISE**-2., np.float32)
        out.append(Image.from_arrays(data, ivar=ivar, saturation=1e12))
    return out


def told(result):
    return [[f for f in fit.image.findings if "crowded fields of its size" in f] for fit in result.fits]


@pytest.fixture(scope="module")
def started():
    """A joint fit before its first shared pass, and candidates all over its images."""
    sources = [ImageSource(f"{k}", image, None, FitConfig()) for k, image in enumerate(images())]
    state, refused = joint_state(sources, JointConfig())
    assert not refused
    rng = np.random.default_rng(7)
    return state, Sources.new(rng.uniform(0, 70, 300), rng.uniform(0, 62, 300), rng.uniform(200, 20000, 300), np.full(300, 60.))


def with_work(state, max_work):
    """The state with another budget of its images."""
    epochs = (replace(e, state=replace(e.state, config=replace(e.state.config, max_work=max_work))) for e in state.epochs)
    return replace(state, epochs=tuple(epochs))


def test_images_that_are_their_own_weights_end_and_are_told():
    free = fit_joint(images(True), config=FitConfig(max_work=np.inf), names="abc")
    bounded = fit_joint(images(True), config=FitConfig(max_work=0.16), names="abc")
    # one takes too much alone; the others take it in the passes that they share
    assert told(free) == [[], [], []] and list(bounded.refused) == ["c"] and bounded.names == ("a", "b")
    for (sentence,), size in zip(told(bounded), (31, 19)):
        assert f"no stamp is larger than {size} px" in sentence and "check the noise map and its units" in sentence
    assert all(len(fit.catalog) > 20 for fit in bounded.fits)


def test_stars_are_far_from_the_bound():
    free, bounded = (fit_joint(images(), config=FitConfig(max_work=w)) for w in (np.inf, FitConfig().max_work))
    assert told(bounded) == [[], [], []] and not bounded.refused
    for one, other in zip(free.fits, bounded.fits):
        assert np.array_equal(one.model, other.model) and np.array_equal(one.sky, other.sky)
    for name in free.objects.colnames:
        assert np.asarray(free.objects[name]).tobytes() == np.asarray(bounded.objects[name]).tobytes()


def test_what_is_within_the_budget_stays(started):
    state, candidates = started
    after, kept = within_budget(state, candidates)
    assert len(kept) == len(candidates) and len(after.stars) == len(state.stars)
    for k, (before, epoch) in enumerate(zip(state.epochs, after.epochs)):
        work = load(state.joined(candidates), k).work
        assert epoch.state.spent.overlap == pytest.approx(before.state.spent.overlap+work) and work > 0
        assert not epoch.state.spent.over and epoch.state.spent.largest == np.inf


def test_a_list_that_is_too_long_keeps_its_brightest(started, caplog):
    state, candidates = started
    state = with_work(state, 0.004)
    after, kept = within_budget(state, candidates)
    flux = np.r_[state.stars.flux, candidates.flux]
    stays = np.r_[np.isin(state.stars.x, after.stars.x), np.isin(candidates.x, kept.x)]
    assert 0 < stays.sum() < len(flux) and flux[stays].min() >= flux[~stays].max()
    assert next_kind(after) == PRUNE
    bound = budget.SOLVE*budget.share(after.epochs[0].state)
    for k, epoch in enumerate(after.epochs):
        assert load(after.joined(kept), k).work <= bound
        assert epoch.state.spent.over and epoch.state.spent.largest == epoch.state.config.solve.stamp_sizes[0]
        assert (epoch.rows < len(after.stars)).all() and f"{epoch.name}: this image takes more work" in caplog.text


def test_stars_that_are_given_stay_all_or_are_refused(started):
    state, candidates = started
    some = replace(state, ids=np.where(np.arange(len(state.stars)) < 3, np.arange(len(state.stars)), -1))
    after, kept = within_budget(with_work(some, 0.004), candidates)
    assert after.known.sum() == 3 and len(kept) < len(candidates)
    with pytest.raises(InputError, match=f"{len(state.stars)} positions on 72 x 64 pixels overlap more .*max_work, 1e-05"):
        within_budget(with_work(replace(state, ids=np.arange(len(state.stars))), 1e-5), candidates)
