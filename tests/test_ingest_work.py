"""What an ingest of a table of many exposures does for each of them, counted: nothing is done again for all rows."""
import numpy as np
import pytest
from astropy.table import Table

from crowdsource.survey.store import batch, catalogs, image_catalog, segments
from crowdsource.survey.store.ingest import ingest
from crowdsource.survey.store.store import create_store, open_store

ROWS_EACH = 3


def table_of_exposures(path, number, seed=1):
    """A table of exposures, their rows mixed, spread over several pixels."""
    rng, k = np.random.default_rng(seed), np.repeat(np.arange(number), ROWS_EACH)
    n = len(k)
    table = Table(dict(ra=150+8*rng.random(n), dec=8*rng.random(n), flux=rng.normal(100, 1, n), dflux=np.ones(n),
                       exposure=[f"e{i:04d}" for i in k], band=np.array(["r"]*n), mjd=57000.+k))
    table[rng.permutation(n)].write(path)
    return path


@pytest.fixture
def counted(monkeypatch):
    """How much is done: rows that are placed, values that are read as names, pieces of segments, rows that are sorted."""
    done = dict(placed=0, calls=0, named=0, pieces=0, sorted=0)

    def count(module, name, tell):
        function = getattr(module, name)

        def counting(*arguments):
            for what, much in tell(*arguments).items():
                done[what] += much
            return function(*arguments)
        monkeypatch.setattr(module, name, counting)

    count(image_catalog, "index_of", lambda ra, dec: dict(placed=len(ra), calls=1))
    count(catalogs, "label_text", lambda values: dict(named=len(values)))
    count(segments, "take_rows", lambda parts, order, dtype: dict(pieces=len(parts)))
    count(batch, "order_by", lambda key: dict(sorted=len(key)))
    return done


@pytest.mark.parametrize("number", [50, 400])
def test_work_is_that_of_the_rows(tmp_path, counted, number):
    store = create_store(tmp_path/"store")
    report = ingest(store, [table_of_exposures(tmp_path/"many.parquet", number)])
    rows, leaves = number*ROWS_EACH, len(open_store(store.path).snapshot().pixels)
    assert report.counts == {"new": number} and report.rows == rows and leaves > 4
    assert counted == dict(placed=rows, calls=1, named=number+1, pieces=leaves, sorted=rows)
