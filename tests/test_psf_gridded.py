"""PSFs on a grid of places: the stamps given at the nodes, bilinear between them, in few modes."""
import numpy as np
import pytest

from crowdsource.core.errors import InputError
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import GridProfile

SHAPE = 201, 301


def nodes(rows=3, columns=4, reach=25):
    yy, xx = np.mgrid[-reach:reach+1, -reach:reach+1]
    across, up = np.linspace(0, 0.3, columns), np.linspace(0, 0.4, rows)
    return np.array([[np.exp(-(xx**2*(1+a)+yy**2*(1+b)+2*a*b*xx*yy)/20) for a in across] for b in up])


def test_the_stamps_at_the_nodes_are_those_given():
    stamps = nodes()
    psf = FieldPSF.of(GridProfile.from_nodes(stamps, SHAPE), norm_size=41)
    for j, y in enumerate((0, 100, 200)):
        for i, x in enumerate((0, 100, 200, 300)):
            wanted = stamps[j, i]/stamps[j, i, 5:-5, 5:-5].sum()
            # modes below 1e-5 of the peak are left out
            assert np.abs(psf.stamp(51, x, y)-wanted).max() < 2e-5*wanted.max()


def test_between_nodes_it_is_bilinear_and_outside_as_at_the_edge():
    psf = FieldPSF.of(GridProfile.from_nodes(nodes(), SHAPE))
    at = {(x, y): psf.stamp(41, x, y) for x in (100, 125, 200) for y in (0, 50, 100)}
    mixed = 0.75*(at[100, 0]+at[100, 100])/2+0.25*(at[200, 0]+at[200, 100])/2
    assert np.abs(at[125, 50]-mixed).max() < 1e-6*mixed.max()
    assert np.array_equal(psf.stamp(41, -50, -7), psf.stamp(41, 0, 0))
    assert psf.varies


def test_few_modes_serve_many_nodes():
    assert 2 <= len(GridProfile.from_nodes(nodes(12, 16), SHAPE).samples) < 20
    same = GridProfile.from_nodes(np.broadcast_to(nodes()[0, 0], (4, 4, 51, 51)), SHAPE)
    assert len(same.samples) == 1 and not FieldPSF.of(same).varies


def test_a_single_node_is_a_constant_psf():
    psf = FieldPSF.of(GridProfile.from_nodes(nodes(1, 1), SHAPE))
    assert np.array_equal(psf.stamp(21, 0, 0), psf.stamp(21, 300, 200))


def test_a_stamp_that_is_none_is_refused():
    broken = nodes()
    broken[1, 1, 3, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        GridProfile.from_nodes(broken, SHAPE)
