"""The store of detections: commits, snapshots, pixels and borders, locks, damage."""
import json

import numpy as np
import pytest
from small_catalogs import image_header, rows, write_catalog

from crowdsource.core.errors import ConfigError, OutputError, StoreError
from crowdsource.survey.healpix import SPATIAL_INDEX, HealpixPixel, at_border, index_of
from crowdsource.survey.store import commit_log
from crowdsource.survey.store.ingest import ingest
from crowdsource.survey.store.store import create_store, open_store


def filled(folder, n=4, each=500, **options):
    """A store of n small catalogs in a row of 0.1 degrees each, and their tables."""
    store = create_store(folder/"store", **options)
    tables = [rows(each, k, ra=150+0.1*k, image=k+1) for k in range(n)]
    files = [write_catalog(folder/f"e{k}.cat.fits", t, f"exp{k}", header=image_header("gr"[k % 2]))
             for k, t in enumerate(tables)]
    for file in files:
        ingest(store, [file])
    return store, tables


def everything(snapshot, border=False):
    """All rows of a snapshot, by detection_id."""
    read = snapshot.read_border if border else snapshot.read
    out = np.concatenate([a for p in snapshot.pixels for a in read(p)])
    return out[np.argsort(out["detection_id"])]


def test_a_new_store_is_empty_and_says_what_it_is(tmp_path):
    store = create_store(tmp_path/"s", order=6, max_rows=1000, margin=20, bands=("g", "r"))
    again = open_store(tmp_path/"s")
    assert (again.order, again.max_rows, again.margin, again.bands) == (6, 1000, 20., ("g", "r"))
    assert again.margin_order == store.margin_order == 12
    snapshot = again.snapshot()
    assert (snapshot.number, snapshot.pixels, len(snapshot.images), snapshot.bands) == (0, (), 0, ("g", "r"))
    assert snapshot.zero_points().tolist() == []


@pytest.mark.parametrize("wrong, told", [(dict(order=-1), "order -1 is out of range"), (dict(order=13), "from 0 to 12"),
                                         (dict(order=9, margin=600), "from 0 to 7"), (dict(margin=0), "margin of 0"),
                                         (dict(max_rows=10), "too few"), (dict(bands=("g", "G")), "more than case"),
                                         (dict(bands=("",)), "has a name")])
def test_impossible_stores_are_refused(tmp_path, wrong, told):
    with pytest.raises(ConfigError, match=told):
        create_store(tmp_path/"s", **wrong)
    assert not (tmp_path/"s").exists()


def test_no_store_is_made_over_something(tmp_path):
    made = create_store(tmp_path/"s", bands=("g",))
    # the same again is there already
    assert create_store(tmp_path/"s", bands=("g",)).root == made.root
    with pytest.raises(OutputError, match="exists already"):
        create_store(tmp_path/"s", bands=("g", "r"))
    with pytest.raises(StoreError, match="is no store"):
        open_store(tmp_path)


def test_rows_come_back_as_they_were(tmp_path):
    store, tables = filled(tmp_path)
    found = everything(open_store(store.path).snapshot())
    assert len(found) == 2000
    for k, table in enumerate(tables):
        own = found[found["source"] == k]
        assert set(table.colnames) <= set(own.dtype.names)
        for name in table.colnames:
            wanted = np.asarray(getattr(table[name], "value", table[name]))
            assert own[name].dtype == wanted.dtype and (own[name] == wanted).all(), name
        assert (own[SPATIAL_INDEX] == index_of(own["ra"], own["dec"])).all()


def test_ledger(tmp_path):
    images = filled(tmp_path)[0].snapshot().images
    assert images.source.tolist() == [0, 1, 2, 3] and images.rows.tolist() == [500]*4 and images.alive.all()
    assert images.exposure.tolist() == ["exp0", "exp1", "exp2", "exp3"] and images.band.tolist() == ["g", "r", "g", "r"]
    assert images.system.tolist() == ["AB"]*4 and images.instrument.tolist() == ["generic"]*4
    assert images.mjd.tolist() == [57000.5]*4 and images.zeropoint.tolist() == [25.]*4
    assert images.image.tolist() == [1, 2, 3, 4] and set(map(len, images.checksum)) == {64}
    # of the header: 0.26 arcsec
    assert images.pixel_scale == pytest.approx(0.26, rel=1e-12)
    with pytest.raises(AttributeError):
        _ = images.seeing


def test_segments_are_sorted_with_the_border_first(tmp_path):
    store, _ = filled(tmp_path, order=8)
    snapshot, width = store.snapshot(), 0
    assert len(snapshot.pixels) > 4 and list(snapshot.pixels) == sorted(snapshot.pixels, key=lambda p: p.start)
    for pixel in snapshot.pixels:
        group = snapshot.state.segments[pixel.order, pixel.number]
        for segment, (rows_,) in zip(group, [snapshot.read(pixel)] if len(group) == 1 else []):
            border = at_border(rows_[SPATIAL_INDEX], pixel, store.margin_order)
            assert segment.border == border.sum() and border[:segment.border].all()
            index = rows_[SPATIAL_INDEX]
            assert (np.diff(index[:segment.border]) >= 0).all() and (np.diff(index[segment.border:]) >= 0).all()
        assert all(((r[SPATIAL_INDEX] >= pixel.start) & (r[SPATIAL_INDEX] < pixel.stop)).all() for r in snapshot.read(pixel))
        inner = np.concatenate(snapshot.read(pixel))
        border = np.concatenate(snapshot.read_border(pixel)) if snapshot.read_border(pixel) else inner[:0]
        wanted = inner[at_border(inner[SPATIAL_INDEX], pixel, store.margin_order)]
        assert sorted(border["detection_id"]) == sorted(wanted["detection_id"])
        width += len(border)
    assert 0 < width < 400


def test_full_pixels_are_divided_and_stay_a_partition(tmp_path):
    store, tables = filled(tmp_path, order=3, max_rows=200)
    snapshot = store.snapshot()
    starts, stops = [p.start for p in snapshot.pixels], [p.stop for p in snapshot.pixels]
    assert all(a <= b for a, b in zip(stops, starts[1:]))
    sizes = [sum(map(len, snapshot.read(p))) for p in snapshot.pixels]
    assert sum(sizes) == 2000 and max(sizes) <= 200 and max(p.order for p in snapshot.pixels) > 6
    assert (3, HealpixPixel(3, int(index_of(150., 2.) >> 52)).number) in snapshot.state.split
    assert len(everything(snapshot)) == len(np.unique(everything(snapshot)["detection_id"]))


def test_one_place_with_too_many_rows_is_not_divided_for_ever(tmp_path):
    store = create_store(tmp_path/"s", max_rows=100)
    table = rows(300, width=0.)
    ingest(store, [write_catalog(tmp_path/"a.cat.fits", table)])
    pixel, = store.snapshot().pixels
    assert pixel.order == store.margin_order and len(store.snapshot().read(pixel)[0]) == 300
    assert len(store.snapshot().read_border(pixel)[0]) == 300


def test_many_small_segments_are_merged(tmp_path):
    store, _ = filled(tmp_path, n=30, each=20, order=0)
    snapshot = store.snapshot()
    group, = snapshot.state.segments.values()
    assert len(group) <= 8 and sum(s.rows for s in group) == 600 == len(everything(snapshot))
    # those that were merged are gone
    assert {p.name for p in (store.path/"detections").rglob("*.h5")} == {s.path.rpartition("/")[2] for s in group}
    assert store.orphans(snapshot.state) == []


def test_a_snapshot_is_frozen_while_somebody_reads(tmp_path):
    store, _ = filled(tmp_path, n=7, each=50, order=0)
    with store.reading():
        snapshot = store.snapshot()
        before = everything(snapshot)
        for k in range(7, 12):
            ingest(open_store(store.path), [write_catalog(tmp_path/"n.cat.fits", rows(50, k, image=k+1), f"exp{k}")])
        assert (everything(snapshot) == before).all() and len(before) == 350
        assert (everything(open_store(store.path).snapshot(snapshot.number)) == before).all()
        assert len(store.orphans(store.state())) == 8
    ingest(store, [])
    assert store.orphans(store.state()) == [] and len(everything(store.snapshot())) == 600


def test_a_state_read_from_a_checkpoint_is_that_of_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(commit_log, "COMMITS_PER_CHECKPOINT", 5)
    store, _ = filled(tmp_path, n=18, each=30, order=4, max_rows=100)
    ingest(store, [write_catalog(tmp_path/"e0.cat.fits", rows(40, 99, image=1), "exp0", header=image_header("g"))])
    again, fresh = open_store(store.path).state(), commit_log.replay(store.path, store.root, 12)
    assert again.checkpoint["number"] == 15 and fresh.checkpoint["number"] == 10
    assert sorted(p.name for p in (store.path/"log").glob("*.h5")) == ["000000000010.h5", "000000000015.h5"]
    path = store.path/again.checkpoint["path"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1]+bytes([whole[-1] ^ 1]))
    slow = open_store(store.path).state()
    assert "000000000015.h5: is not there or damaged" in caplog.text
    assert again.segments == slow.segments and again.split == slow.split and again.dead == slow.dead == {0}
    assert (again.ledger() == slow.ledger()).all() and again.sha256 == slow.sha256
    assert len(everything(open_store(store.path).snapshot())) == 17*30+40


def test_damage_of_the_log_is_found_on_opening(tmp_path):
    store, _ = filled(tmp_path)
    path = commit_log.commit_path(store.path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"rows":500', b'"rows":501'))
    with pytest.raises(StoreError, match=r"000000000002.json: its checksum"):
        open_store(store.path).snapshot()
    content = json.loads(whole)
    del content["sha256"]
    path.write_bytes(commit_log.signed_json({**content, "previous": "0"*64}))
    with pytest.raises(StoreError, match="does not follow on commit 1"):
        open_store(store.path).snapshot()
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        open_store(store.path).snapshot()
    with pytest.raises(StoreError, match="has no commit 9"):
        open_store(store.path).snapshot(9)


def test_a_later_version_is_refused(tmp_path):
    store = create_store(tmp_path/"s")
    content = json.loads((store.path/"store.json").read_bytes())
    del content["sha256"]
    (store.path/"store.json").write_bytes(commit_log.signed_json({**content, "version": 2}))
    with pytest.raises(StoreError, match="version 2, not crowdsource-store version 1"):
        open_store(store.path)
