"""Stars that one or a few of many images show: found, with their light curves, and nothing else in their place."""
from dataclasses import replace

import numpy as np
import pytest
from small_epochs import CONFIG, Compared, names_of, plain, small_epochs

from crowdsource.core.errors import ConfigError
from crowdsource.joint import transients
from crowdsource.joint.loop import fit_joint
from crowdsource.joint.transients import Seen, distinct, largest_difference, single_bound
from crowdsource.simulate.epochs import simulate_epochs
from crowdsource.simulate.stars import five_sigma_flux, true_psf

IMAGES, TRANSIENTS = 16, 14


@pytest.fixture(scope="module")
def field():
    return small_epochs(images=IMAGES, transients=TRANSIENTS)


def fitted(epochs):
    return fit_joint([e.image() for e in epochs], names=names_of(epochs))


@pytest.fixture(scope="module")
def compared(field):
    return Compared(*field, fitted(field[1]))


def transient(truth):
    return np.arange(len(truth)) >= len(truth)-TRANSIENTS


def test_simulated_transients_are_on_few_images_and_all_else_is_as_without(field):
    truth, epochs = field
    plain_truth, plain_epochs = small_epochs(images=IMAGES)
    flux = np.array([e.flux for e in epochs])[:, transient(truth)]
    assert set((flux > 0).sum(axis=0)) == {1, 2, 3}
    snr = [5*line[line > 0]/five_sigma_flux(e.simulation.config, true_psf(e.simulation.config)) for line, e in zip(flux, epochs)]
    assert 8 < min(np.concatenate(snr)) < 9 and 18 < max(np.concatenate(snr)) < 20
    assert all((truth[~transient(truth)][n] == plain_truth[n]).all() for n in plain_truth.colnames)
    # many pixels are far from them
    assert np.mean([np.mean(a.simulation.data == b.simulation.data) for a, b in zip(epochs, plain_epochs)]) > 0.5


def test_transients_are_found_and_nothing_else(field, compared, monkeypatch):
    truth, epochs = field
    monkeypatch.setattr("crowdsource.joint.loop.with_transients", lambda state: state)
    without = Compared(truth, epochs, fitted(epochs))
    new = compared.inside & transient(truth)
    assert new.sum() >= 12 and (compared.off[new] < 1).mean() > 0.85
    assert (without.off[new] < 1).sum() <= (compared.off[new] < 1).sum()-3
    # the others stay, with their identifiers, and each further row is a transient
    before, after = (c.result.objects for c in (without, compared))
    assert (after["object_id"][:len(before)] == before["object_id"]).all()
    further = np.arange(len(before), len(after))
    assert set(further) == set(compared.row[new & (compared.off < 1)]) & set(further)


def test_their_light_curves(field, compared):
    truth, epochs = field
    curves, pulls, off = compared.result.light_curves, [], []
    for star in np.flatnonzero(compared.inside & transient(truth) & (compared.off < 0.5)):
        rows = curves[curves["object_id"] == compared.result.objects["object_id"][compared.row[star]]]
        scale = {i["image"]: i["scale"] for i in compared.result.images}
        shown = 0
        for row in rows:
            epoch = epochs[int(row["image"].rpartition("-")[2])]
            chi = (plain(row, "flux")-epoch.flux[star]*epoch.light/scale[row["image"]])/plain(row, "dflux")
            (pulls if epoch.flux[star] > 0 else off).append(float(chi))
            shown += epoch.flux[star] > 0
        detected = compared.result.objects["n_detected"][compared.row[star]]
        assert shown <= detected <= shown+2
    assert len(pulls) > 15 and np.std(pulls) < 1.5 and abs(np.mean(pulls)) < 0.7
    assert 0.7 < np.std(off) < 1.4


def test_cosmic_rays_and_variable_stars_are_no_transients(monkeypatch):
    config = replace(CONFIG, images=8, variables=0.3, field=replace(CONFIG.field, cosmic_rays=10, saturated_stars=1))
    before, keep = [], transients.with_transients

    def counted(state):
        before.append(len(state.stars))
        return keep(state)

    monkeypatch.setattr("crowdsource.joint.loop.with_transients", counted)
    assert len(fitted(simulate_epochs(config)[1]).objects) == before[0]


def test_bounds_and_differences():
    assert single_bound(4.5, 1) == 4.5 and 5 < single_bound(4.5, 16) < single_bound(4.5, 64) < 5.5
    flux, error = np.zeros((8, 5)), np.ones((8, 5))
    flux[3], flux[:, 1], flux[:4, 2] = 10, 10, [10, 9, -9, 8]
    flux[3, 2] = 0
    flux[::2, 3] = [5, -5, 5, -5]
    error[:6, 4] = np.inf
    flux[6, 4], flux[3, 4] = 10, 0
    found = largest_difference(flux, error)
    # one image; all; an uncertain place; where the others scatter; where only two images tell
    assert found[0] == pytest.approx(10/np.sqrt(1+1/7)) and found[1] == 0 and found[2] > 5 and found[3] < 5 and found[4] == 0


def test_the_most_significant_of_several_at_one_place_stays():
    seen = Seen(np.array([1., 1.5, 9.]), np.array([1., 1., 1.]), np.array([6., 8., 7.]), np.zeros((3, 2, 2)))
    assert distinct(seen, 1.).significance.tolist() == [8, 7] and len(distinct(seen, 0.1)) == 3


@pytest.mark.parametrize("options", [dict(transients=-1), dict(transients=1, transient_images=(0, 2)),
                                     dict(transients=1, transient_images=(3, 2)), dict(transients=1, transient_snr=(0, 5))])
def test_transients_that_make_no_sense(options):
    with pytest.raises(ConfigError, match="transient"):
        small_epochs(**options)
