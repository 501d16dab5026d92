"""Damaged files for each reader, from fixed seeds: each is read, or refused with one line that names it.

`python -m benchmarks.studies.fuzz` runs tens of thousands.
"""
import warnings

import pytest
from fuzz_readers import KEPT, KINDS, verdict

SEEDS = range(12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(tmp_path, kind):
    pytest.importorskip("asdf", reason="asdf is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    faults = []
    for seed in (*SEEDS, *KEPT[kind]):
        folder = tmp_path/str(seed)
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = verdict(kind, seed, folder)
        if answer.fault:
            faults.append((seed, answer.fault))
    assert not faults


def test_more_axes_and_columns_than_fits_has(tmp_path):
    from astropy.io import fits

    from crowdsource.core.errors import DataFileError
    from crowdsource.io.fits import read_image
    path = tmp_path/"a.fits"
    fits.PrimaryHDU([[1., 2.]]).writeto(path)
    whole = path.read_bytes()
    for card in (b"NAXIS   =                    2", b"TFIELDS =                    2"):
        new = card[:10]+b"99999999".rjust(20)
        path.write_bytes(whole.replace(card if card in whole else b"EXTEND  =                    T", new))
        with pytest.raises(DataFileError, match="a.fits: (NAXIS|TFIELDS) in a header is 99999999, and FITS has no more than 999"):
            read_image(str(path))
