"""Networks from files of Keras 2 in numpy, and the classifier: stretch, windows, and how both modes decide."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_network import SIDE, layer, layers, slow, write_network

from crowdsource.core.errors import DataFileError
from crowdsource.nebulosity.classifier import ORDERS, continuous, equalised, hard, mean, padded, shrunk, starts
from crowdsource.nebulosity.network import files, read_network
from crowdsource.nebulosity.options import NebulosityConfig

CONFIG = NebulosityConfig()
WEIGHTS = Path(__file__).resolve().parents[2]/"shared"/"data"/"decam"/"nebulosity"/"27th_try.json"
PUBLISHED = dict(ridge=[0.6379099, 0.2874194, 0.0512971, 0.0233735], flat=[0.0002048, 0.0064694, 0.9916734, 0.0016525])


@dataclass
class Fake:
    """Gives the probabilities that a function finds for a window."""
    answer: object
    shape: tuple = (32, 32)

    def __call__(self, plane):
        return np.asarray(self.answer(plane), np.float32)


@pytest.mark.parametrize("ending", [".json", ".h5"])
def test_a_network_agrees_with_its_slow_twin(tmp_path, ending):
    weights = write_network(tmp_path/"net.json")
    network = read_network(tmp_path/f"net{ending}", ORDERS)
    for seed in range(3):
        plane = np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE))
        # float32 against float64
        assert network(plane) == pytest.approx(slow(plane, weights), abs=1e-5)
    assert network.shape == (SIDE, SIDE)


@pytest.mark.skipif(not WEIGHTS.exists(), reason="no weights of the published network beside this project")
def test_the_published_network():
    # what tf-keras 2.21 gives for these two windows
    network = read_network(WEIGHTS, ORDERS)
    y, x = np.indices(network.shape)
    flat = (y*7919+x*104729) % 1009/1009
    ridge = equalised(flat*20+300+200*np.exp(-((x+y-512)/60)**2))
    assert network(ridge) == pytest.approx(PUBLISHED["ridge"], abs=1e-5)
    assert network(equalised(flat)) == pytest.approx(PUBLISHED["flat"], abs=1e-5)


def test_files_that_cannot_be_run_are_told_of(tmp_path):
    path = tmp_path/"net.json"
    with pytest.raises(DataFileError, match=r"net.json: there is no such file; a network's .json and .h5 must lie side by side"):
        files(path)
    with pytest.raises(DataFileError, match="give the .json"):
        files(tmp_path/"net.txt")
    write_network(path)
    (tmp_path/"net.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataFileError, match="net.h5: cannot be read as HDF5"):
        read_network(path, ORDERS)
    for text in ("{", "{}", "[]", '{"class_name": "Sequential", "config": []}'):
        path.write_text(text)
        with pytest.raises(DataFileError, match="net.json: is no network that Keras 2 wrote"):
            read_network(path, ORDERS)


@pytest.mark.parametrize("place, bad, message", [
    (4, layer("LSTM", "memory"), "layer memory is a LSTM, which cannot be run: known are Conv2D"),
    (3, layer("Activation", "bend", activation="swish"), "layer bend cannot be run: its activation 'swish'"),
    (1, layer("MaxPooling2D", "pool", pool_size=[2, 2], strides=[1, 1]), "layer pool cannot be run: its strides"),
    (9, layer("Activation", "end", activation="relu"), "an array of shape .6,. where 3 or 4 probabilities are needed"),
    (1, layer("MaxPooling2D", "pool", pool_size=[16, 16]), "shapes do not go together"),
])
def test_layers_that_cannot_be_run_are_named(tmp_path, place, bad, message):
    listed = layers()
    listed[place] = bad
    write_network(tmp_path/"net.json", listed)
    with pytest.raises(DataFileError, match=message):
        read_network(tmp_path/"net.json", ORDERS)


def test_weights_that_do_not_suit_are_told_of(tmp_path):
    write_network(tmp_path/"net.json", first=[np.zeros((3, 3, 1, 2)), np.zeros(3)])
    with pytest.raises(DataFileError, match="layer first cannot be run: its weights have shapes"):
        read_network(tmp_path/"net.json", ORDERS)


def test_windows_are_stretched_and_equalised():
    # asinh((v-min)/median) of 0, 1, 2, 3: each value's rank, but the highest, which falls on the last bin's left edge or beyond
    assert equalised(np.array([[3., 0.], [2., 1.]])) == pytest.approx(np.array([[1, 0.25], [0.75, 0.5]]))
    window = np.random.default_rng(1).lognormal(3, 1, (100, 100))
    ranks = np.argsort(np.argsort(window.ravel())).reshape(window.shape)/window.size
    # bins hold several of the 10,000 values
    assert equalised(window) == pytest.approx(ranks, abs=0.01)
    assert equalised(3*window-7) == pytest.approx(equalised(window), abs=1e-3)
    assert (equalised(np.full((4, 4), 5.)) == 1).all()


def test_windows_cover_the_plane():
    # a CCD of the camera: 4x8 windows, and with steps 13x29
    assert starts(4096, 512, 512) == list(range(0, 4096, 512)) and len(starts(4096, 512, 128)) == 29
    assert starts(50, 32, 32) == [0, 18] and starts(32, 32, 8) == [0]
    assert padded(np.zeros((4094, 20)), (512, 512), 1).shape == (4096, 512)
    assert (padded(np.array([[1., 5., 5.]]), (1, 1), 1)[0] == 5).all()


def test_hard_mode_weighs_nebulosity_down():
    plane = np.zeros((62, 62))
    plane[:31, :31] = np.arange(31)
    # the sure window is the one that is not flat
    sure = Fake(lambda w: (0.85, 0.05, 0.1, 0) if w.min() < 1 else (0.7, 0.1, 0.2, 0))
    where, p = hard(plane, sure, CONFIG)
    assert where[:31, :31].all() and where.sum() == 31**2
    assert p.shape == (4, 62, 62) and p[0, 0, 0] == np.float32(0.85) and p[2, 61, 61] == np.float32(0.2)


def test_continuous_mode_averages_and_decides():
    plane = np.zeros((700, 300))
    for p, nebulous in (((0.67, 0, 0.33, 0), True), ((0.66, 0, 0.34, 0), False), ((0.5, 0.33, 0.17, 0), False),
                        ((0.6, 0.3, 0.1, 0), False), ((0.65, 0.3, 0.05, 0), True)):
        # (p0+p1/2)/(1-p0+1e-4) against 2
        where, planes = continuous(plane, Fake(lambda w, p=p: p, (300, 302)), CONFIG)
        assert where.all() == nebulous == where.any()
        assert planes.shape == (4, 700, 300) and np.abs(planes-np.array(p)[:, None, None]).max() < 1e-6


def test_sure_windows_count_for_more():
    # the second of two windows that overlap by a half is sure: where they do, its weight is 0.9001 against 0.1001
    plane = np.zeros((254, 382))
    plane[:, 300:] = np.arange(82)
    answers = iter([(0.1, 0, 0.9, 0), (0.9, 0, 0.1, 0)])
    _, p = continuous(plane, Fake(lambda w: next(answers), (256, 256)), CONFIG)
    overlap = (0.1*0.1001+0.9*0.9001)/1.0002
    kernel = np.exp(-0.5*(np.arange(-128, 129)/128)**2)
    row = np.r_[np.full(127, 0.1), np.full(128, overlap), np.full(127, 0.9)]
    wanted = (np.pad(row, 128, mode="edge")[190-128+128:190+129+128]*kernel).sum()/kernel.sum()
    assert p[0, 100, 190] == pytest.approx(wanted, abs=1e-5)


def test_planes_are_shrunk_by_means():
    plane = np.arange(17*20.).reshape(17, 20)
    small = shrunk(plane)
    assert small.shape == (3, 3) and small.dtype == np.float32
    assert small[0, 0] == plane[:8, :8].mean() and small[2, 2] == plane[16:, 16:].mean()


WISE = NebulosityConfig(mode="mean", weight=0.5, shift=64, smooth=64., stretch=100.)


def test_three_classes_are_light_normal_nebulosity():
    plane = np.zeros((512, 512))
    for (light, normal, nebulosity), nebulous in (((0.1, 0.2, 0.7), True), ((0.3, 0.1, 0.6), False), ((0.1, 0.33, 0.57), False),
                                                  ((0.33, 0.0, 0.67), True)):
        # half of nebulosity against the larger of the others, window by window and on the smoothed mean
        fake = Fake(lambda w, p=(light, normal, nebulosity): p, (256, 256))
        for mode in (hard, mean):
            where, planes = mode(plane, fake, WISE)
            assert where.all() == nebulous == where.any() and planes.shape == (3, 512, 512)
            assert np.abs(planes-np.array([nebulosity, light, normal])[:, None, None]).max() < 1e-6
    # (0.7+0.28/2)/(0.3+1e-4) is above 2, 0.6+0.1 over 0.4 is not
    assert continuous(plane, Fake(lambda w: (0.28, 0.02, 0.7), (256, 256)), WISE)[0].all()
    assert not continuous(plane, Fake(lambda w: (0.2, 0.2, 0.6), (256, 256)), WISE)[0].any()


def test_plain_means_of_windows_64_pixels_apart():
    # a window that starts at x has a probability of x/1000: a pixel's mean is that of the windows that hold it
    plane, seen = np.zeros((256, 512)), []

    def answer(_):
        seen.append(len(seen))
        return (0, 1-64*seen[-1]/1000, 64*seen[-1]/1000)

    _, p = mean(plane, Fake(answer, (256, 256)), NebulosityConfig(mode="mean", shift=64, smooth=0.01))
    assert len(seen) == 5
    assert p[0, 100, [0, 100, 300, 511]] == pytest.approx([0, 0.032, 0.160, 0.256], abs=1e-6)
    _, p = mean(plane, Fake(lambda w: (0, 0.5, 0.5), (256, 256)), WISE)
    assert p[0] == pytest.approx(0.5, abs=1e-6)


def test_the_stretch_about_the_median():
    window = np.random.default_rng(2).normal(50, 300, (256, 256))
    # 3,000 bins between -3 and 3 sigma: ranks, but those of bins at the ends; the scale changes nothing but the bins
    ranks = np.argsort(np.argsort(window.ravel())).reshape(window.shape)/window.size
    assert equalised(window, 100.) == pytest.approx(ranks, abs=0.005)
    # one saturated star takes nearly all bins of the stretch from the lowest pixel, where the scale is wide
    window[0, 0] = 1e6
    assert np.abs(equalised(window, 100.)-ranks)[1:].max() < 0.01


def test_a_network_of_three_classes(tmp_path):
    rng = np.random.default_rng(3)
    weights = write_network(tmp_path/"net.json", layers(3), out=[rng.normal(0, 0.5, (6, 3)), np.zeros(3)])
    plane = rng.normal(0, 1, (SIDE, SIDE))
    assert read_network(tmp_path/"net.h5", ORDERS)(plane) == pytest.approx(slow(plane, weights), abs=1e-5)
    five = [rng.normal(0, 0.5, (6, 5)), np.zeros(5)]
    write_network(tmp_path/"five.json", layers(5), out=five)
    with pytest.raises(DataFileError, match="where 3 or 4 probabilities are needed"):
        read_network(tmp_path/"five.json", ORDERS)
