"""Exports: HATS collections and what is in them, rows of a part of the sky, and maps of the coverage."""
import hashlib
import io
import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import healpy
import numpy as np
import pytest
from small_release import CENTRE, FakeSnapshot, FakeSurvey, small_survey

from crowdsource.core.errors import ConfigError, DataFileError, MissingExtraError, OutputError
from crowdsource.io.atomic_folder import atomic_folder
from crowdsource.survey.exports.coverage import coverage_of, plot_coverage, write_maps, write_moc
from crowdsource.survey.exports.export_tables import DetectionTable, ObjectTable
from crowdsource.survey.exports.hats import HatsConfig, PixelLimits, TaskRunner, export_hats, partitions
from crowdsource.survey.exports.release_reader import DetectionReader
from crowdsource.survey.exports.table_files import select, write_tables
from crowdsource.survey.healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER, HealpixPixel, index_of
from crowdsource.survey.objects.average import USES
from crowdsource.survey.regions import Region, angular_distance, cone_region, overlapping, pixel_region

pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
MAX_ROWS, MARGIN = 180, 10.


@pytest.fixture(scope="module")
def survey():
    return small_survey()


@pytest.fixture(scope="module")
def out(survey, tmp_path_factory):
    path = tmp_path_factory.mktemp("hats")/"dr1"
    export_hats(survey, path, HatsConfig(max_rows=MAX_ROWS, margin=MARGIN))
    return path


@pytest.fixture(scope="module")
def nested(survey, tmp_path_factory):
    path = tmp_path_factory.mktemp("hats")/"nested"
    export_hats(survey, path, HatsConfig("nested", MARGIN, MAX_ROWS))
    return path


def properties(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def files(catalog):
    """Rows of each file of a catalog, by pixel; the list of pixels is that of the files."""
    listed = [HealpixPixel(*map(int, line.split(","))) for line in (catalog/"partition_info.csv").read_text().split()[1:]]
    found = {(catalog/"dataset"/p.path(".parquet")): p for p in listed}
    assert set(found) == set(catalog.rglob("Npix=*")) and listed == sorted(listed, key=lambda p: p.start)
    return {p: pq.ParquetFile(path).read() for path, p in found.items()}


def checksums(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


CATALOGS = {"objects": "object_id", "detections/detections": "detection_id"}


@pytest.mark.parametrize("name, identity", CATALOGS.items())
def test_files_hold_all_rows_once_in_order(survey, out, name, identity):
    tables = files(out/name)
    assert max(map(len, tables.values())) <= MAX_ROWS and len({p.order for p in tables}) > 1
    for pixel, table in tables.items():
        index, ids = (table[n].to_numpy() for n in (SPATIAL_INDEX, identity))
        assert (np.lexsort((ids, index)) == np.arange(len(table))).all()
        assert pixel.start <= index[0] and index[-1] < pixel.stop
        assert (index == index_of(table["ra"].to_numpy(), table["dec"].to_numpy())).all()
    expected = survey.release._objects if identity == "object_id" else survey.release._members
    assert np.array_equal(np.concatenate([t[identity] for t in tables.values()]), expected[identity])
    told = properties(out/name/"hats.properties")
    assert int(told["hats_nrows"]) == len(expected) and int(told["hats_max_rows"]) == max(map(len, tables.values()))
    assert int(told["hats_order"]) == max(p.order for p in tables)


def test_no_file_could_hold_more(out):
    tables = files(out/"objects")
    counts = {p: len(t) for p, t in tables.items()}
    for pixel in tables:
        if pixel.order:
            parent = HealpixPixel(pixel.order-1, pixel.number//4)
            assert sum(n for p, n in counts.items() if parent.start <= p.start < parent.stop) > MAX_ROWS


def test_properties_are_complete(out):
    told = properties(out/"collection.properties")
    assert told["hats_primary_table_url"] == "objects" and told["default_margin"] == told["all_margins"] == "objects_10arcs"
    kinds = {"objects": "object", "objects_10arcs": "margin", "detections/detections": "source",
             "detections/detections_10arcs": "margin"}
    for name, kind in kinds.items():
        told = properties(out/name/"hats.properties")
        assert told["dataproduct_type"] == kind and all(told.values())
        assert (told["hats_col_ra"], told["hats_col_dec"], told["hats_col_healpix"]) == ("ra", "dec", SPATIAL_INDEX)
        assert told == properties(out/name/"properties")
    assert float(properties(out/"objects_10arcs"/"hats.properties")["hats_margin_threshold"]) == MARGIN
    assert properties(out/"objects_10arcs"/"hats.properties")["hats_primary_table_url"] == "objects"


@pytest.mark.parametrize("name, identity", CATALOGS.items())
def test_margins_hold_what_is_near(out, name, identity):
    tables, margins = files(out/name), files(out/f"{name}_10arcs")
    ra, dec, index, ids = (np.concatenate([t[n] for t in tables.values()]) for n in ("ra", "dec", SPATIAL_INDEX, identity))
    some = 0
    for pixel in tables:
        outside = (index < pixel.start) | (index >= pixel.stop)
        got = margins[pixel][identity].to_numpy() if pixel in margins else np.zeros(0, np.int64)
        distance = from_edge(pixel, ra[outside], dec[outside])
        # the edge is known at points so close that 0.2 arcsec is more than they miss
        assert set(ids[outside][distance < MARGIN-0.2]) <= set(got) <= set(ids[outside][distance < 8*MARGIN])
        assert len(set(got)) == len(got)
        some += len(got)
    assert some == int(properties(out/f"{name}_10arcs"/"hats.properties")["hats_nrows"]) > 50


def from_edge(pixel, ra, dec, step=1.):
    """Distance from a pixel's edge in arcsec, at points so far apart near the positions; the edges of wide pixels there only."""
    number = int(2**np.ceil(np.log2(3600*58.6/2**pixel.order/step)))
    edge = healpy.boundaries(1 << pixel.order, pixel.number, step=min(number, 1 << 18), nest=True).T
    from scipy.spatial import cKDTree
    chord = cKDTree(edge).query(healpy.ang2vec(ra, dec, lonlat=True))[0] if len(ra) else np.zeros(0)
    return np.degrees(2*np.arcsin(chord/2))*3600


def test_margin_files_have_the_schema_of_the_catalog(out):
    for name in CATALOGS:
        schemas = [pq.read_schema(out/n/"dataset"/"_common_metadata") for n in (name, name+"_10arcs")]
        assert schemas[0].equals(schemas[1])
        assert all(t.schema.equals(schemas[0]) for n in (name, name+"_10arcs") for t in files(out/n).values())


def test_columns_are_described(out):
    schema = pq.read_schema(out/"objects"/"dataset"/"_common_metadata")
    assert schema.names[0] == SPATIAL_INDEX
    assert schema.field("ra").metadata[b"unit"] == b"deg" and schema.field("ra").metadata[b"ucd"] == b"pos.eq.ra;meta.main"
    assert schema.field("flux_r").metadata[b"description"] == b"mean flux in r weighted by errors, AB nanomaggies"
    from astropy.io.votable import parse_single_table
    content = schema.metadata[b"IVOA.VOTable-Parquet.content"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nanomaggies are no unit of the VO
        fields = parse_single_table(io.BytesIO(content)).fields
    assert [f.name for f in fields] == schema.names
    assert {f.name: f.datatype for f in fields}["object_id"] == "long"


def test_detections_are_those_of_the_catalogs_and_count_as_members(survey, out):
    import pyarrow as pa
    table = pa.concat_tables(files(out/"detections"/"detections").values()).sort_by("detection_id")
    stored = np.concatenate([t[["detection_id", "source", "ra", "flux"]] for t in survey.snapshot.tables])
    stored, members = np.sort(stored, order="detection_id"), np.sort(survey.release._members, order="detection_id")
    for name, values in (("ra", stored["ra"]), ("flux", stored["flux"]), ("object_id", members["object_id"]),
                         ("calibrated_flux", members["flux"]), ("calibrated_flux_error", members["flux_error"])):
        assert np.array_equal(table[name].to_numpy(), values, equal_nan=True), name
    source = stored["source"]
    assert table["exposure"].to_pylist() == [f"e{k}" for k in source]
    assert table["use"].to_pylist() == [USES[u] for u in members["use"]]
    assert table["band"].to_pylist() == survey.snapshot.images.band[source].tolist()
    assert np.array_equal(table["mjd"].to_numpy(), 55000.+source)


def test_columns_that_some_catalogs_lack_are_null(survey, out):
    import pyarrow as pa
    table = pa.concat_tables(files(out/"detections"/"detections").values()).sort_by("detection_id")
    has = table["source"].to_numpy() % 2 == 1
    stored = np.concatenate([t for t in survey.snapshot.tables if "x" in t.dtype.names])
    stored = np.sort(stored, order="detection_id")
    for name in ("x", "word", "pair"):
        assert np.array_equal(table[name].is_valid().to_numpy(), has)
    assert np.array_equal(table["x"].drop_null().to_numpy(), stored["x"])
    assert np.array_equal(np.array(table["pair"].drop_null().to_pylist(), np.float32), stored["pair"])
    assert set(table["word"].drop_null().to_pylist()) == {"star"}


def test_nested_detections_are_those_of_their_object(survey, nested):
    members = survey.release._members
    of_object = {}
    for m in np.sort(members, order="detection_id"):
        of_object.setdefault(m["object_id"], []).append(m["detection_id"])
    rows, across = 0, 0
    for pixel, table in files(nested/"objects").items():
        lists = table["detections"].combine_chunks()
        for name, ids in zip(table["object_id"].to_pylist(), lists.field("detection_id").to_pylist()):
            assert ids == of_object[name]
            rows += len(ids)
        ids = lists.field("detection_id").flatten().to_numpy()
        index = members[SPATIAL_INDEX][np.isin(members["detection_id"], ids)]
        across += np.sum((index < pixel.start) | (index >= pixel.stop))
    # some objects have detections on the other side of an edge, or none would be looked for there
    assert rows == np.sum(members["object_id"] >= 0) and across > 0


def test_bytes_do_not_depend_on_the_run_or_the_hands(survey, out, tmp_path):
    with ThreadPoolExecutor(4) as executor:
        export_hats(survey, tmp_path/"dr1", HatsConfig(max_rows=MAX_ROWS, margin=MARGIN), runner=TaskRunner(executor))
    assert checksums(tmp_path/"dr1") == checksums(out)


def test_leftovers_of_a_killed_export_are_removed(survey, tmp_path):
    code = ("import sys; from pathlib import Path; from crowdsource.io.atomic_folder import atomic_folder\n"
            "with atomic_folder(Path(sys.argv[1]), 'collection.properties') as folder:\n"
            "    (folder/'objects').mkdir(); import os; os.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, "-c", code, str(tmp_path/"dr1")], check=False)
    assert [p.name for p in tmp_path.iterdir()] == [".dr1.partial"]
    export_hats(survey, tmp_path/"dr1", HatsConfig("none"))
    assert [p.name for p in tmp_path.iterdir()] == ["dr1"] and (tmp_path/"dr1"/"collection.properties").is_file()


def test_a_failed_export_leaves_nothing(survey, tmp_path, monkeypatch):
    monkeypatch.setattr(type(survey.release), "members", lambda self, pixel: self._members[:3])
    with pytest.raises(DataFileError, match="are not the detections in the store, where others have replaced them"):
        export_hats(survey, tmp_path/"dr1")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_found_where_the_store_has_moved_them(survey, tmp_path):
    class Gone(FakeSnapshot):
        def read(self, pixel):
            raise DataFileError("Npix=0.h5", "cannot be read; restore it")
        read_border = read

    # an image that came later, and a pixel that has been divided
    late = survey.snapshot.tables[0].copy()
    late["source"], late["detection_id"] = len(survey.snapshot.tables), late["detection_id"]+(1 << 50)
    newest = FakeSnapshot([*survey.snapshot.tables, late], survey.snapshot.images)
    newest.number = 4
    moved = FakeSurvey(Gone(survey.snapshot.tables, survey.snapshot.images), survey.release, None)
    moved.newest = newest
    moved.row_types = survey.row_types
    before, after = DetectionReader(survey), DetectionReader(moved)
    for pixel in survey.release.pixels[:4]:
        for border in (False, True):
            assert np.array_equal(before.rows(pixel, border=border).members, after.rows(pixel, border=border).members)
    assert np.array_equal(before.rows(pixel).columns()["ra"], after.rows(pixel).columns()["ra"])
    newest.number = 3
    with pytest.raises(DataFileError, match="restore it"):
        after.rows(pixel)


def test_only_one_export_at_a_time(tmp_path):
    with atomic_folder(tmp_path/"a", "mark"), pytest.raises(OutputError, match="another process is writing there"):
        with atomic_folder(tmp_path/"a", "mark"):
            pass
    assert (tmp_path/"a").is_dir()


def test_collections_are_replaced_when_asked_for_and_other_folders_never(survey, tmp_path):
    other = tmp_path/"mine"
    other.mkdir()
    (other/"thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="holds other things"):
        export_hats(survey, other, overwrite=True)
    assert (other/"thesis.tex").read_text() == "x"
    export_hats(survey, tmp_path/"dr1", HatsConfig("none"))
    # the same again is there already; of a part that is lost it is not
    assert export_hats(survey, tmp_path/"dr1", HatsConfig("none")) == []
    with pytest.raises(OutputError, match="exists already"):
        export_hats(survey, tmp_path/"dr1", HatsConfig("none", margin=0))
    (tmp_path/"dr1"/"objects"/"partition_info.csv").unlink()
    with pytest.raises(OutputError, match="exists already"):
        export_hats(survey, tmp_path/"dr1", HatsConfig("none"))
    export_hats(survey, tmp_path/"dr1", HatsConfig("none", margin=0), overwrite=True)
    assert sorted(p.name for p in (tmp_path/"dr1").iterdir()) == ["collection.properties", "contents.json", "objects"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dr1", "mine"]


def forge_nothing(folder):
    (folder/"contents.json").unlink()


def forge_list(folder):
    (folder/"contents.json").write_text(json.dumps(dict(format="crowdsource-folder", version=1, key="", files={
        "collection.properties": 1, "thesis.tex": 9, "../other": 1})))
    (folder/"thesis.tex").write_text("years")


def add_file(folder):
    (folder/"objects"/"thesis.tex").write_text("years")


def change_file(folder):
    (folder/"objects"/"partition_info.csv").write_text("years")


def add_link(folder):
    (folder/"home").symlink_to(folder.parent)


def add_folder(folder):
    (folder/"plans").mkdir()


@pytest.mark.parametrize("odd", [forge_nothing, forge_list, add_file, change_file, add_link, add_folder])
def test_only_what_the_list_names_is_removed(tmp_path, odd):
    def publish():
        with atomic_folder(tmp_path/"out", "collection.properties", overwrite=True) as folder:
            (folder/"objects").mkdir()
            (folder/"objects"/"partition_info.csv").write_text("Norder,Npix\n")
            (folder/"collection.properties").write_text("a=b\n")
    publish()
    publish()
    odd(tmp_path/"out")
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="holds other things|not in its contents.json"):
        publish()
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_the_folder_of_unfinished_work_is_no_place_for_other_things(tmp_path):
    (tmp_path/".out.partial").mkdir()
    (tmp_path/".out.partial"/"thesis.tex").write_text("years")
    with pytest.raises(OutputError, match="move it away"), atomic_folder(tmp_path/"out", "mark"):
        pass
    assert (tmp_path/".out.partial"/"thesis.tex").read_text() == "years"


@pytest.mark.parametrize("values, message", [(dict(margin=-1), "a margin of -1 arcsec"), (dict(margin=1e4), "out of range"),
                                             (dict(max_rows=0), "at most 0 rows"), (dict(detections="x"), "'x' are unknown")])
def test_values_that_make_no_sense(survey, tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        export_hats(survey, tmp_path/"dr1", HatsConfig(**values))


def test_pixels_are_divided_where_they_hold_too_much():
    rng = np.random.default_rng(2)
    leaves = [HealpixPixel(3, k) for k in (5, 6, 7, 200)]
    index = {p: np.sort(rng.integers(p.start, p.stop, n)) for p, n in zip(leaves, (10, 20, 3000, 5))}
    found = partitions(leaves, [len(v) for v in index.values()], index.__getitem__, PixelLimits(1000, 20))
    every = np.sort(np.concatenate(list(index.values())))
    counts = [np.sum((every >= p.start) & (every < p.stop)) for p in found]
    assert sum(counts) == 3035 and max(counts) <= 1000 and min(counts) > 0
    assert HealpixPixel(3, 5) in found and HealpixPixel(0, 3) in found
    assert {p.order for p in found if p.start >= leaves[2].start} == {0, 4}
    assert partitions(leaves, [len(v) for v in index.values()], index.__getitem__, PixelLimits(1000, 3))[2] == HealpixPixel(3, 7)
    assert overlapping(leaves, HealpixPixel(4, 29)) == (HealpixPixel(3, 7),)
    assert overlapping(leaves, HealpixPixel(1, 0)) == tuple(leaves[:3])


@pytest.mark.parametrize("ra, dec, radius", [(*CENTRE, 900.), (45.2, 0.1, 30.), (405.2, 0.1, 200.), (10., 80., 5.)])
def test_cone_has_what_lies_within(survey, ra, dec, radius):
    for detections, all_rows in ((False, survey.release._objects), (True, np.concatenate(
            [t[["detection_id", "ra", "dec"]] for t in survey.snapshot.tables]))):
        name = "detection_id" if detections else "object_id"
        inside = angular_distance(ra, dec, all_rows["ra"], all_rows["dec"])*3600 <= radius
        found = select(survey, cone_region(ra, dec, radius), detections)
        assert np.array_equal(np.sort(found[name]), np.sort(all_rows[name][inside]))
        assert len(found) > 50 if radius == 900 else len(found) < 200
        assert str(found["ra"].unit) == "deg"


def test_cones_at_the_poles_and_at_zero():
    rng = np.random.default_rng(3)
    for ra, dec, radius in ((0., 90., 7200.), (30., -89.9, 3600.), (359.9999, 10., 600.), (100., 0., 648000.)):
        x = rng.normal(size=(20000, 3))*0.02+healpy.ang2vec(ra, dec, lonlat=True)
        ras, decs = healpy.vec2ang(x, lonlat=True)
        rows = {SPATIAL_INDEX: index_of(ras, decs), "ra": ras, "dec": decs}
        dot = (x/np.linalg.norm(x, axis=1)[:, None])@healpy.ang2vec(ra, dec, lonlat=True)
        expected = np.degrees(np.arccos(np.clip(dot, -1, 1)))*3600 <= radius
        assert np.array_equal(cone_region(ra, dec, radius).contains_rows(rows), expected) and expected.sum() > 10


@pytest.mark.parametrize("call, message", [
    (lambda: cone_region(10, 91, 1), "no position 10, 91"), (lambda: cone_region(np.nan, 0, 1), "no position nan"),
    (lambda: cone_region(0, 0, 0), "radius of 0"), (lambda: pixel_region(["5-3"]), "'5-3' is no pixel"),
    (lambda: pixel_region(["0/12"]), "'0/12' is no pixel"), (lambda: pixel_region(["30/1"]), "order from 0 to 29")])
def test_parts_of_the_sky_that_are_none(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_pixels_select_rows(survey, tmp_path):
    region = pixel_region(["7/0", "9/17", "7/1"])
    inner = HealpixPixel(9, 17)
    assert region.ranges == ((0, HealpixPixel(7, 1).stop), (inner.start, inner.stop)) or len(region.ranges) == 1
    index = survey.release._objects[SPATIAL_INDEX]
    found = select(survey, region)
    assert len(found) == np.sum(region.contains_rows({SPATIAL_INDEX: index})) > 20
    export_hats(survey, tmp_path/"part", HatsConfig(max_rows=50), region=region)
    assert sum(map(len, files(tmp_path/"part"/"objects").values())) == len(found)
    with pytest.raises(ConfigError, match="has no objects there; choose another part of the sky"):
        export_hats(survey, tmp_path/"none", region=pixel_region(["3/100"]))


@pytest.mark.parametrize("ending", ["fits", "parquet", "ecsv"])
def test_single_files_hold_the_rows(survey, tmp_path, ending):
    region = cone_region(*CENTRE, 900)
    contents = [ObjectTable(survey, region), DetectionTable(survey, region)]
    written = write_tables(contents, tmp_path/f"part.{ending}")
    from crowdsource.io.tables import read_table
    names = [f"part.{ending}:OBJECTS", f"part.{ending}:DETECTIONS"] if ending == "fits" else [p.name for p, _ in written]
    for name, detections in zip(names, (False, True)):
        expected = select(survey, region, detections)
        found = read_table(str(tmp_path/name))
        assert len(found) == len(expected) > 50
        for column in ("_healpix_29", "ra", "calibrated_flux" if detections else "flux_r"):
            assert np.array_equal(np.asarray(found[column]), np.asarray(expected[column]), equal_nan=True), column
    # the same again is there already
    assert write_tables(contents, tmp_path/f"part.{ending}") == written
    with pytest.raises(OutputError, match="exists already"):
        write_tables(contents[:1] if ending == "fits" else contents[::-1], tmp_path/f"part.{ending}")
    with pytest.raises(OutputError, match=r"ends in \.fits, \.ecsv or \.parquet"):
        write_tables(contents, tmp_path/"part.txt")


def test_maps_count_rows_and_tell_depth(survey, tmp_path):
    coverage = coverage_of(ObjectTable(survey), DetectionTable(survey))
    assert coverage.objects.sum() == len(survey.release._objects) and coverage.detections.sum() == len(survey.release._members)
    names = write_maps(coverage, str(tmp_path/"m_"))
    assert [Path(n).name for n in names] == ["m_objects.fits", "m_detections.fits", "m_depth_g.fits", "m_depth_r.fits"]
    sky = healpy.read_map(names[0], nest=True)
    objects = survey.release._objects
    cell = healpy.ang2pix(1 << coverage.order, objects["ra"], objects["dec"], nest=True, lonlat=True)
    assert np.array_equal(np.where(sky > 0, sky, 0), np.bincount(cell, minlength=len(sky)))
    depth = healpy.read_map(names[3], nest=True)
    fainter = np.abs(objects["flux_r"]) < 20*objects["flux_error_r"]
    chosen = np.bincount(cell[fainter]).argmax()
    expected = np.mean(22.5-2.5*np.log10(5*objects["flux_error_r"][fainter & (cell == chosen)].astype(float)))
    # float32 in the file
    assert depth[chosen] == pytest.approx(expected, abs=1e-5)


def test_moc_is_the_cells_that_hold_anything(survey, tmp_path):
    mocpy = pytest.importorskip("mocpy", reason="needs mocpy")
    coverage = coverage_of(ObjectTable(survey), DetectionTable(survey))
    write_moc(coverage, tmp_path/"moc.fits")
    moc = mocpy.MOC.load(tmp_path/"moc.fits", format="fits")
    assert moc.max_order == coverage.order
    assert moc.sky_fraction == pytest.approx(len(coverage.cells)/(12 << 2*coverage.order), rel=1e-9)
    from astropy import units
    objects = survey.release._objects
    assert moc.contains_lonlat(objects["ra"]*units.deg, objects["dec"]*units.deg).all()


def test_moc_without_mocpy(survey, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mocpy", None)
    with pytest.raises(MissingExtraError, match=r"a MOC needs mocpy: pip install 'crowdsourcephoto\[sky\]'"):
        write_moc(coverage_of(ObjectTable(survey), DetectionTable(survey)), tmp_path/"moc.fits")


@pytest.mark.parametrize("wide", [False, True])
def test_picture(survey, tmp_path, wide):
    from dataclasses import replace
    coverage = coverage_of(ObjectTable(survey), DetectionTable(survey))
    if wide:
        cells = np.arange(0, 12 << 8, 7)
        coverage = replace(coverage, order=4, cells=cells, objects=cells % 11, detections=cells % 13, depth={"r": cells/100})
    plot_coverage(coverage, tmp_path/"sky.png", "dr1")
    with open(tmp_path/"sky.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    plot_coverage(coverage, tmp_path/"sky.png", "dr1")
    with pytest.raises(OutputError, match="exists already"):
        plot_coverage(coverage, tmp_path/"sky.png", "dr2")


def test_regions_know_which_pixels_they_touch():
    region = Region(((HealpixPixel(5, 3).start, HealpixPixel(5, 3).stop),))
    assert region.contains_pixel(HealpixPixel(5, 3)) and region.contains_pixel(HealpixPixel(6, 12))
    assert not region.contains_pixel(HealpixPixel(4, 0))
    assert region.overlaps(HealpixPixel(4, 0)) and not region.overlaps(HealpixPixel(5, 4))
    index = int(index_of(np.array([45.]), np.array([0.]))[0])
    assert not cone_region(*CENTRE, 3600).contains_pixel(HealpixPixel(SPATIAL_INDEX_ORDER, index))
