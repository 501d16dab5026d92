"""Files that claim more than they hold or memory does, and headers without an end: each ends with one line, and takes nothing."""
import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from crowdsource.cli.main import main
from crowdsource.core import memory
from crowdsource.core.errors import DataFileError
from crowdsource.core.memory import MEGA, budget, check_claim, memory_budget
from crowdsource.io.fits import planes_of, read_image
from crowdsource.io.fits_rows import locate_hdus, read_fields
from crowdsource.io.hdf5 import read_rows
from crowdsource.io.tables import read_table
from crowdsource.nebulosity.network import read_network
from crowdsource.psf.formats.reading import read_psf

SIDE = 1200
"""Of the images that are claimed: 5.8 MB of pixels."""
SMALL = 16.
"""MB of memory that are allowed."""
READERS = {"image": lambda p: read_image(str(p)), "planes": planes_of, "psf": lambda p: read_psf(p, (64, 64)),
           "table": lambda p: read_table(str(p))}


@pytest.fixture(autouse=True)
def little_memory():
    with memory_budget(SMALL):
        yield


def header(*cards, **values):
    """A header's bytes, whole or with more cards than END follows."""
    whole = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", SIDE), ("NAXIS2", SIDE), *values.items()])
    return whole.tostring().encode() if not cards else whole.tostring(endcard=False, padding=False).encode()+b"".join(cards)


PACKERS = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}


@pytest.mark.parametrize("ending", [*PACKERS, "zip"])
@pytest.mark.parametrize("reader", ["image", "planes", "psf"])
def test_what_is_packed_unpacks_to_no_more_than_memory_holds(tmp_path, ending, reader):
    path, content = tmp_path/f"a.fits.{ending}", header()+bytes(4*SIDE**2)
    if ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
            whole.writestr("a.fits", content)
    else:
        with PACKERS[ending](path, "wb") as file:
            file.write(content)
    assert path.stat().st_size < len(content)/500
    with pytest.raises(DataFileError, match=r"unpacks to 6 MB or more, and 2 MB are allowed|packed in it would take \d+ MB"):
        READERS[reader](path)
    with memory_budget(2000):
        assert planes_of(path)[1][0][3] == (SIDE, SIDE)


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_text_unpacks_to_no_more_than_memory_holds(tmp_path, ending):
    path = tmp_path/f"a.csv.{ending}"
    with PACKERS[ending](path, "wb") as file:
        file.write(b"x,y\n1,2\n3,4\n")
    assert read_table(str(path))["y"].tolist() == [2, 4]
    with PACKERS[ending](path, "wb") as file:
        file.write(b"x,y\n"+b"1,2\n"*600_000)
    with pytest.raises(DataFileError, match="unpacks to more than 2 MB"):
        read_table(str(path))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataFileError, match="cannot be unpacked"):
        read_table(str(path))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_have_an_end(tmp_path, reader, packed, monkeypatch):
    path = tmp_path/"a.fits"
    for room in ("bounded_fits", "fits_rows"):
        monkeypatch.setattr(f"crowdsource.io.{room}.MOST_BLOCKS", 400)
    with (gzip.open if packed else open)(path, "wb") as file:
        file.write(header(b"COMMENT ".ljust(80)*15_000))
    with memory_budget(2000), pytest.raises(DataFileError, match="14,400 cards and no end"):
        READERS[reader](path)
    if not packed:
        with pytest.raises(DataFileError):
            locate_hdus(path)


def test_headers_may_be_long(tmp_path):
    path = tmp_path/"a.fits"
    whole = fits.Header([("NAXIS", 2)])
    whole.extend([("COMMENT", f"line {k}") for k in range(1000)], bottom=True)
    fits.PrimaryHDU(np.ones((8, 8), np.float32), whole).writeto(path)
    assert read_image(str(path)).data.shape == (8, 8)


def test_tiles_that_claim_more_than_memory_holds(tmp_path, monkeypatch):
    path = tmp_path/"a.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((SIDE, SIDE), np.int16), name="SCI")]).writeto(path)
    assert path.stat().st_size < 1e6
    with memory_budget(10), pytest.raises(DataFileError, match=r"a.fits.fz\[SCI\]: its image would take 12 MB"):
        read_image(str(path))
    with memory_budget(10), pytest.raises(DataFileError, match="its image would take 12 MB"):
        read_psf(path, (64, 64))
    monkeypatch.chdir(tmp_path)
    # a fit of it is refused before a pixel is read, but one of a part is not
    assert main(["generic", "a.fits.fz", "--memory", "50", "--dry-run"]) == 2
    assert main(["generic", "a.fits.fz", "--memory", "50", "--cutout", "0:64,0:64", "--dry-run"]) == 0


def test_pixels_that_are_not_there_take_no_memory(tmp_path):
    path = tmp_path/"a.fits"
    path.write_bytes(header(NOTE="short")+bytes(2880))
    for reader in ("image", "psf"):
        with memory_budget(1e6), pytest.raises(DataFileError, match="truncated or damaged|missing at the end"):
            READERS[reader](path)
    Table(dict(x=np.arange(3.), y=np.arange(3.))).write(path, overwrite=True)
    path.write_bytes(path.read_bytes().replace(b"NAXIS2  =                    3", b"NAXIS2  =          10000000000"))
    with pytest.raises(DataFileError, match="a table of 10,000,000,000 rows would take"):
        read_table(str(path))
    with pytest.raises(DataFileError):
        read_fields(path, locate_hdus(path)[1], (), np.zeros(0))


def test_hdf5_that_claims_more_than_its_file_can_hold(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path/"a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("cat", shape=(10**9,), dtype=[("x", "f8"), ("y", "f8")], chunks=(1000,))
    for reader in (lambda: read_table(str(path)), lambda: read_rows(path, "cat")):
        with memory_budget(1e6), pytest.raises(DataFileError, match="claims 16,000,000,000 bytes, which a file of"):
            reader()
    with h5py.File(path, "w") as file:
        file.create_dataset("cat", data=np.zeros(10**6, "u1"))
    with memory_budget(1), pytest.raises(DataFileError, match="its dataset /cat would take 2 MB"):
        read_rows(path, "cat")
    with pytest.raises(DataFileError, match="has no dataset dog"):
        read_rows(path, "dog")
    (tmp_path/"a.h5").touch()
    (tmp_path/"a.json").write_text("["*100_000)
    with pytest.raises(DataFileError, match="nest too deep"):
        read_network(tmp_path/"a.json", (2,))


def test_parquet_whose_rows_take_more_than_memory_holds(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, rows = tmp_path/"a.parquet", 300_000
    parquet.write_table(arrow.table({"x": np.zeros(rows), "y": np.zeros(rows)}), path)
    assert path.stat().st_size < 1e5
    with pytest.raises(DataFileError, match="a table of 300,000 rows would take 29 MB of memory, and 16 MB are allowed"):
        read_table(str(path))
    with memory_budget(30):
        assert len(read_table(str(path))) == rows


def test_the_budget_is_three_quarters_of_what_there_is(tmp_path, monkeypatch):
    monkeypatch.delenv(memory.VARIABLE)
    monkeypatch.setattr(memory, "_machine", lambda: 8e9)
    monkeypatch.setattr(memory, "_group_files", lambda: [tmp_path/"none", tmp_path/"max"])
    (tmp_path/"max").write_text("max\n")
    assert budget() == 6e9
    (tmp_path/"max").write_text("4000000000\n")
    assert budget() == 3e9
    for odd in ("", "much", "nan", "-3", "inf"):
        monkeypatch.setenv(memory.VARIABLE, odd)
        assert budget() == 3e9
    with memory_budget(7):
        assert budget() == 7*MEGA
        check_claim("a.fits", 7*MEGA, "it")
        with pytest.raises(DataFileError, match=r"a.fits\[1\]: it would take 8 MB of memory, and 7 MB are allowed; .*--memory"):
            check_claim("a.fits", 8*MEGA, "it", 1)
    assert budget() == 3e9


def test_want_of_memory_is_told_on_one_line(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise MemoryError("Unable to allocate 102. GiB")
    monkeypatch.setattr("crowdsource.cli.commands.match.match", full)
    assert main(["match", "a", "b"]) == 2
    assert capsys.readouterr().err == ("crowdsource: error: there is not enough memory (Unable to allocate 102. GiB); give less "
                                       "at a time\n")
