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

from crowdsource.catalog import release as module
from crowdsource.catalog.healpix import INDEX, Pixel, cells_around
from crowdsource.catalog.ingest import ingest
from crowdsource.catalog.match import AssociationConfig
from crowdsource.catalog.objects import SkyConfig
from crowdsource.catalog.release import assemble, neighbours, open_release, releases
from crowdsource.catalog.store import create_store
from crowdsource.cli import main
from crowdsource.errors import ConfigError, DataFileError, OutputError, StoreError

ARCSEC = 1/3600
EXPOSURES = 6


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
        table = Table({n: rows[n] for n in rows.dtype.names if n not in (INDEX, "source")})
        table["exposure"], table["detector"], table["band"], table["mjd"] = f"e{k}", "A", "gri"[k % 3], 55000.+k
        paths.append(folder/f"e{k}.fits")
        table.write(paths[-1])
    return paths
