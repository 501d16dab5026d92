"""Tiles: cores that cover each pixel once, padded boxes that stay in the image."""
import numpy as np
import pytest

from crowdsource.core.tiles import Box, bands, make_tiles


@pytest.mark.parametrize("shape", [(5, 5), (100, 100), (1, 4000), (1500, 1600), (3000, 1100), (2048, 4096)])
@pytest.mark.parametrize("core", [60, 1024])
def test_cores_cover_each_pixel_once(shape, core):
    count = np.zeros(shape, int)
    for tile in make_tiles(shape, core, 30):
        count[tile.core.slices] += 1
        assert all(0.5*min(n, core) <= length <= 1.6*core for n, length in zip(shape, tile.core.shape))
    assert (count == 1).all()


@pytest.mark.parametrize("shape", [(300, 500), (64, 900)])
def test_padding_reaches_as_far_as_the_image_goes(shape):
    for tile in make_tiles(shape, 100, 30):
        c, p = tile.core, tile.padded
        assert (p.x0, p.y0) == (max(0, c.x0-30), max(0, c.y0-30))
        assert (p.x1, p.y1) == (min(shape[1], c.x1+30), min(shape[0], c.y1+30))


def test_small_images_are_one_tile_in_reading_order():
    assert len(make_tiles((1500, 1500), 1024, 30)) == 1
    assert len(make_tiles((1540, 1540), 1024, 30)) == 4
    tiles = make_tiles((200, 300), 100, 10)
    assert [(t.core.y0, t.core.x0) for t in tiles] == [(0, 0), (0, 100), (0, 200), (100, 0), (100, 100), (100, 200)]


def test_every_source_belongs_to_one_core():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 300, 1000), rng.integers(0, 200, 1000)
    assert (sum(t.core.holds(x, y).astype(int) for t in make_tiles((200, 300), 70, 10)) == 1).all()


def test_touches_is_sharing_a_pixel():
    box = Box(10, 20, 30, 50)
    assert box.shape == (20, 10)
    canvas = np.zeros((100, 100), bool)
    canvas[box.slices] = True
    rng = np.random.default_rng(2)
    x, y, size = rng.integers(20, 80, 500)-20, rng.integers(20, 80, 500), rng.choice([1, 5, 19], 500)
    shares = []
    for i, j, s in zip(x, y, size):
        h = s//2
        shares.append(canvas[max(0, j-h):j+h+1, max(0, i-h):i+h+1].any())
    assert box.touches(x, y, size).tolist() == shares


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 4096])
def test_bands_cover_each_row_once(rows):
    count = np.zeros(rows, int)
    for band in bands(rows):
        count[band] += 1
        assert band.stop <= rows
    assert (count == 1).all()
