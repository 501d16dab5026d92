"""What comes into the store does not depend on batches, on files that come twice, or on how a format writes empty text."""
import numpy as np
import pytest
from astropy.table import Table
from small_catalogs import image_header, rows, write_catalog
from test_store import everything

from crowdsource.survey.store.columns import IngestOptions
from crowdsource.survey.store.ingest import ingest, ingest_zero_points
from crowdsource.survey.store.store import create_store


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path/"store")


@pytest.mark.parametrize("batch_rows", [1, 1000])
def test_what_is_rejected_does_not_depend_on_batches(store, tmp_path, batch_rows):
    headers = [image_header("r"), image_header("r", system="Vega"), image_header("R"), image_header("r", system="")]
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(10, k, image=k+1), f"e{k}", header=h) for k, h in enumerate(headers)]
    assert ingest(store, files, batch_rows=batch_rows).rejects == {
        "magnitudes are Vega, those of the store's band r are AB": 10, "band R differs from the store's r in case only": 10}
    assert store.snapshot().images.rows.tolist() == [10, 0, 0, 10] and store.snapshot().bands == ("r",)


def test_a_folder_for_each_band_with_files_of_the_same_name(store, tmp_path):
    for band in "gr":
        (tmp_path/band).mkdir()
        place = np.arange(20)/100
        Table(dict(ra=150+place, dec=2-place, flux=np.ones(20), dflux=np.ones(20))).write(tmp_path/band/"field.fits")
    assert ingest(store, [tmp_path/"g"/"field.fits"], IngestOptions(band="g")).counts == {"new": 1}
    report = ingest(store, [tmp_path/"r"/"field.fits"], IngestOptions(band="r"))
    # the identifiers would be the same, and nothing tells that one takes the other's place
    assert report.counts == {"refused": 1} and "--exposure NAME" in report.failed[0][1]
    assert ingest(store, [tmp_path/"r"/"field.fits"], IngestOptions(exposure="field-r", band="r")).counts == {"new": 1}
    # the same file under another name of the band is the same image
    assert ingest(store, [tmp_path/"g"/"field.fits"], IngestOptions(band="i")).counts == {"replaced": 1}
    assert len(everything(store.snapshot())) == 40 and store.snapshot().bands == ("i", "r")


def test_identifiers_are_those_of_one_row_in_a_table_of_several_bands(store, tmp_path):
    path = tmp_path/"t.fits"
    Table(dict(ra=[1., 2.], dec=[1., 2.], flux=[1., 2.], dflux=[1., 1.], detection_id=[1, 1], band=["g", "r"])).write(path)
    report = ingest(store, [path])
    assert report.status == 2 and "have the same identifier" in report.failed[0][1]


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits"])
def test_empty_fields_of_text(store, tmp_path, ending):
    path, points = tmp_path/f"t.{ending}", tmp_path/f"zp.{ending}"
    Table(dict(ra=[1., 2., 3.], dec=[1., 2., 3.], flux=[1., 2., 3.], dflux=[1., 1., 1.], exposure=["a", "a", "a"],
               detector=["", "N1", "N1"], band=["g", "g", ""])).write(path)
    report = ingest(store, [path])
    assert report.rows == 2 and report.rejects == {"no band is known": 1}
    images = store.snapshot().images
    assert sorted(zip(images.detector, images.band)) == [("", "g"), ("N1", ""), ("N1", "g")]
    Table(dict(exposure=["a", "a"], detector=["", "N1"], zeropoint=[24., 25.])).write(points)
    ingest_zero_points(store, str(points))
    assert dict(zip(images.detector, store.snapshot().zero_points())) == {"": 24., "N1": 25.}


def test_magnitude_systems_of_rows(store, tmp_path):
    path = tmp_path/"t.fits"
    columns = dict(ra=[1.], dec=[1.], flux=[1.], dflux=[1.], band=["g"])
    Table(dict(columns, system=["vega "])).write(path)
    assert ingest(store, [path]).failed == [] and store.snapshot().images.system.tolist() == ["Vega"]
    Table(dict(columns, system=["ST"])).write(path, overwrite=True)
    assert "system ST, which is unknown" in ingest(store, [path]).failed[0][1]
