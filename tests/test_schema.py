"""The catalog's columns: names, order, types, units, and magnitudes."""
import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from crowdsource.engine.schema import (
    DETECTION,
    FLUX,
    FORCED,
    MAGNITUDE,
    WORLD,
    columns_of,
    documentation,
    magnitudes,
    make_catalog,
)

EVERY = columns_of(True, True, True, 4)


def values(n=3):
    return {c.name: np.arange(n) for c in EVERY}


def test_names_are_unique_lower_case_and_all_described():
    names = [c.name for c in EVERY]
    assert len(set(names)) == len(names) and names == [n.lower() for n in names]
    assert all(len(c.description) > 10 for c in EVERY)


def test_the_promised_columns_are_there():
    promised = ("x y flux dflux dx dy dflux_iso passno qf rchi2 fracflux fluxlbs dfluxlbs fwhm spread_model dspread_model "
                "fluxiso xiso yiso flags sky psf_star").split()
    assert set(promised) <= {c.name for c in DETECTION}
    assert [c.name for c in FORCED] == ["deltx", "delty"]
    assert [c.name for c in WORLD] == ["ra", "dec", "detection_id"] and [c.name for c in MAGNITUDE] == ["mag", "dmag"]


def test_positions_fluxes_and_identifiers_are_wide_enough():
    types = {c.name: c.dtype for c in EVERY}
    assert all(types[n] == "f8" for n in ("x", "y", "flux", "ra", "dec"))
    assert types["flags"] == types["detection_id"] == "i8"


@pytest.mark.parametrize("forced, world, magnitude", [(False, False, False), (True, False, True), (True, True, True)])
def test_catalog_follows_the_schema(forced, world, magnitude):
    table = make_catalog(values(), "adu", forced=forced, world=world, magnitude=magnitude)
    wanted = columns_of(forced, world, magnitude)
    assert isinstance(table, QTable) and table.colnames == [c.name for c in wanted]
    for c in wanted:
        assert table[c.name].dtype == np.dtype(c.dtype)
        assert table[c.name].info.description == c.description
        unit = "adu" if c.unit == FLUX else c.unit
        assert (table[c.name].unit or u.dimensionless_unscaled) == u.Unit(unit)


def test_empty_catalog_has_all_columns():
    table = make_catalog(values(0))
    assert len(table) == 0 and table.colnames == [c.name for c in DETECTION]
    assert table["x"].unit == u.pix


def test_a_missing_value_is_an_error_not_a_hole():
    incomplete = values()
    del incomplete["rchi2"]
    with pytest.raises(KeyError, match="rchi2"):
        make_catalog(incomplete)


def test_documentation_lists_every_column_once():
    lines = documentation().splitlines()
    assert len(lines) == 2+len(EVERY)
    assert all(f"| `{c.name}` |" in line and c.description in line for c, line in zip(EVERY, lines[2:]))


def test_magnitudes():
    mag, dmag = magnitudes(np.array([1., 100., -5., 0.]), np.array([0.1, 1., 1., 1.]), 25.)
    assert mag[:2].tolist() == [25, 20]
    # 2.5/ln 10 of the relative error
    assert dmag[:2] == pytest.approx([0.108574, 0.0108574], rel=1e-5)
    assert np.isnan(mag[2:]).all() and np.isnan(dmag[2:]).all()
