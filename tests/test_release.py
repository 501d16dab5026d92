"""Releases: the same whatever the order of ingests, pixels, workers and the store; resumed; named on; damaged ones told."""
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sky import detections

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, DataFileError, OutputError, StoreError
from crowdsource.survey.healpix import SPATIAL_INDEX, HealpixPixel, cells_around
from crowdsource.survey.objects import assemble as module
from crowdsource.survey.objects.assemble import assemble
from crowdsource.survey.objects.association import AssociationConfig
from crowdsource.survey.objects.pixel_objects import ObjectsConfig
from crowdsource.survey.objects.release import open_release, releases
from crowdsource.survey.regions import pixels_with_cells
from crowdsource.survey.store.columns import IngestOptions
from crowdsource.survey.store.ingest import ingest
from crowdsource.survey.store.store import create_store

ARCSEC = 1/3600
EXPOSURES = 6
GIVEN = IngestOptions(system="AB", zeropoint=25.)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Catalogs of a crowd that lies on edges of pixels of all orders, at ra 0 and dec 0."""
    folder, rng = tmp_path_factory.mktemp("catalogs"), np.random.default_rng(11)
    stars = rng.uniform(-25, 25, (2, 3000))*ARCSEC
    paths = []
    for k in range(EXPOSURES):
        seen = rng.random(3000) < 0.8
        where = (stars+rng.normal(0, 0.07, stars.shape)*ARCSEC)[:, seen]
        rows = detections(k, where[0], where[1], flux=rng.uniform(1, 100, seen.sum()), dflux=1.5, dx=0.3, dy=0.3,
                          fwhm=rng.uniform(3, 7))
        table = Table({n: rows[n] for n in rows.dtype.names if n not in (SPATIAL_INDEX, "source")})
        table["ra_error"] = table["dec_error"] = np.full(len(rows), 0.08)
        table["exposure"], table["detector"], table["band"], table["mjd"] = f"e{k}", "A", "gri"[k % 3], 55000.+k
        paths.append(folder/f"e{k}.fits")
        table.write(paths[-1])
    return paths


def stored(folder, paths, order=7, **given):
    store = create_store(folder, order=order, **given)
    for path in paths:
        assert ingest(store, [path], GIVEN).status == 0
    return store


def content(release):
    """All objects and members of a release, as bytes in the order of the sky."""
    rows = [[release.objects(p), release.members(p)] for p in release.pixels]
    return [np.concatenate(part) for part in zip(*rows)]


@pytest.fixture(scope="module")
def first(tables, tmp_path_factory):
    """A release of all tables, in one batch a table."""
    store = stored(tmp_path_factory.mktemp("first")/"store", tables)
    return store, assemble(store, "one")


def test_every_detection_has_an_object(first):
    store, release = first
    objects, members = content(release)
    rows = sum(len(t) for p in store.snapshot().pixels for t in store.snapshot().read(p))
    assert len(members) == rows and np.all(members["object_id"] >= 0)
    assert len(np.unique(objects["object_id"])) == len(objects) and set(members["object_id"]) == set(objects["object_id"])
    assert objects["n_det"].sum() == len(members) and np.all(np.diff(objects[SPATIAL_INDEX]) >= 0)
    assert release.record["uses"]["averaged"] == np.sum(members["use"] == 0)
    # 3000 stars seen in four of five images each, in a crowd with 1.2 of them in a square arcsecond of the radius' square
    assert 2500 < np.sum(objects["n_det"] >= 2) < 3000
    assert len(release.pixels) > 3


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(EXPOSURES)), st.sampled_from([0, 3, 5, 7, 9]), st.sampled_from([200, 1000, 10**6]))
def test_the_result_is_the_same_for_any_order(first, tables, tmp_path_factory, order_of_exposures, order, max_rows):
    store = stored(tmp_path_factory.mktemp("again")/"store", [tables[k] for k in order_of_exposures], order, max_rows=max_rows)
    for a, b in zip(content(first[1]), content(assemble(store, "again"))):
        assert a.tobytes() == b.tobytes()


def test_the_result_is_the_same_with_four_workers(first):
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        again = assemble(first[0], "workers", executor=pool)
    assert {p: d for p, d in again.record["files"].items()} == first[1].record["files"]


def test_a_run_that_was_cut_off_is_gone_on_with(first, monkeypatch):
    store, release = first
    made, real = [], module.make_pixel

    def cut_off(plan, folder, pixel):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(pixel)
        return real(plan, folder, pixel)
    monkeypatch.setattr(module, "make_pixel", cut_off)
    with pytest.raises(KeyboardInterrupt):
        assemble(store, "cut")
    assert "cut" not in releases(store)
    monkeypatch.setattr(module, "make_pixel", lambda *a: made.append(a[2]) or real(*a))
    again = assemble(store, "cut")
    assert len(made) == len(release.pixels) and again.record["files"] == release.record["files"]


def test_what_another_configuration_made_is_not_used(first, monkeypatch):
    store, release = first
    real = module.make_pixel
    calls = []

    def cut_off(plan, folder, pixel):
        calls.append(pixel)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(plan, folder, pixel)
    monkeypatch.setattr(module, "make_pixel", cut_off)
    with pytest.raises(KeyboardInterrupt):
        assemble(store, "other", ObjectsConfig(AssociationConfig(radius=0.2)))
    monkeypatch.undo()
    assert assemble(store, "other").record["files"] == release.record["files"]


def test_previous_release_keeps_identifiers(first, tables, tmp_path):
    store = stored(tmp_path/"store", tables[:4])
    before = assemble(store, "before")
    for path in tables[4:]:
        ingest(store, [path], GIVEN)
    after = assemble(store, "after", previous="before")
    fresh = assemble(store, "fresh")
    old, new, plain = (set(content(r)[0]["object_id"]) for r in (before, after, fresh))
    # means move, and names with them, where nothing is carried on
    assert len(old & new) > 0.98*len(old) and len(old & plain) < 0.5*len(old)
    changes = np.concatenate([after.changes(p) for p in after.pixels])
    assert set(changes["previous_id"]) <= old and old-new <= set(changes["previous_id"])
    assert after.record["previous"] == "before" and content(after)[0]["n_det"].sum() == content(fresh)[0]["n_det"].sum()


def test_neighbours_hold_all_that_is_near():
    pixels = [HealpixPixel(3, n) for n in range(100, 140) if n != 120]+HealpixPixel(3, 120).children()
    leaves = sorted(pixels, key=lambda p: p.start)
    pixel = HealpixPixel(3, 121)
    around = cells_around(pixel, 8)
    found = pixels_with_cells(leaves, around, 8)
    held = [p for p in leaves if np.any((around << 42 >= p.start) & (around << 42 < p.stop))]
    assert found == held and HealpixPixel(4, 481) in found and pixel not in found


def test_names_and_errors(first, tmp_path):
    store, release = first
    assert open_release(store, "one").columns[0].name == SPATIAL_INDEX
    assert release.bands == (("g", "AB"), ("i", "AB"), ("r", "AB"))
    before = {p: p.stat().st_mtime_ns for p in release.path.rglob("*")}
    # the same again is there already, and is not touched
    assert assemble(store, "one").record == release.record
    assert {p: p.stat().st_mtime_ns for p in release.path.rglob("*")} == before
    with pytest.raises(OutputError, match="exists already, of another config"):
        assemble(store, "one", ObjectsConfig(AssociationConfig(radius=0.3)))
    with pytest.raises(ConfigError, match="cannot be named"):
        assemble(store, "../one")
    with pytest.raises(ConfigError, match="make one with --margin 80"):
        assemble(store, "wide", ObjectsConfig(AssociationConfig(radius=2.)))
    with pytest.raises(DataFileError, match="choose one of .*one"):
        open_release(store, "none")
    with pytest.raises(DataFileError, match="make one with crowdsource healpix assemble"):
        open_release(create_store(tmp_path/"empty"), "none")
    with pytest.raises(DataFileError, match="is no release"):
        assemble(store, "next", previous="none")
    with pytest.raises(StoreError, match="zero points of version 3"):
        assemble(store, "calibrated", zero_points=3)


def test_damaged_record_is_told(tables, tmp_path):
    store = stored(tmp_path/"store", tables[:1])
    path = assemble(store, "one").path/"release.json"
    record = json.loads(path.read_text())
    record["snapshot"] = 0
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match="checksum"):
        open_release(store, "one")


def test_command(tables, tmp_path, capsys):
    stored(tmp_path/"store", tables[:2])
    (tmp_path/"sky.toml").write_text('[association]\nradius = 0.3\npolicy = "sum"\n')
    assert main(["healpix", "assemble", str(tmp_path/"store"), "--release", "one", "--config", str(tmp_path/"sky.toml"),
                 "--policy", "nearest", "--proper-motion"]) == 0
    out = capsys.readouterr().out
    store = module.open_store(tmp_path/"store")
    release = open_release(store, "one")
    config = release.record["config"]
    assert config["association"]["radius"] == 0.3 and config["association"]["policy"] == "nearest"
    assert config["average"]["proper_motion"] is True and "pmra" in [c.name for c in release.columns]
    assert f"{sum(c[0] for c in release.record['counts'])} objects of " in out and "averaged" in out
    assert main(["healpix", "assemble", str(tmp_path/"store"), "--release", "two", "--radius", "-1"]) == 2
    assert "radius is -1" in capsys.readouterr().err and releases(store) == ["one"]
    (tmp_path/"sky.toml").write_text("[association]\nradios = 0.3\n")
    assert main(["healpix", "assemble", str(tmp_path/"store"), "--release", "two", "--config", str(tmp_path/"sky.toml")]) == 2
    assert "association.radios is unknown" in capsys.readouterr().err
