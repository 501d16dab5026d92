"""Flag tables: bits by name, decoding, and the two planes in one integer."""
import numpy as np
import pytest

from crowdsource.core.flags import ENGINE, MASK_SHIFT, FlagDefinition, FlagTable, combine, decode

CAMERA = FlagTable("camera", [FlagDefinition(0, "hot", "a hot pixel"), FlagDefinition(31, "far", "the highest bit")])


def test_bits_by_name_and_unknown_names():
    assert CAMERA.hot == 1 and CAMERA.far == 2**31
    with pytest.raises(AttributeError, match="camera has no bit named cold"):
        assert CAMERA.cold


@pytest.mark.parametrize("definitions", [
    [FlagDefinition(0, "a", ""), FlagDefinition(0, "b", "")], [FlagDefinition(0, "a", ""), FlagDefinition(1, "a", "")]])
def test_two_meanings_of_a_bit_or_name_are_refused(definitions):
    with pytest.raises(ValueError, match="unique"):
        FlagTable("t", definitions)


def test_engine_bits_fit_their_plane_and_are_described():
    assert all(0 <= d.bit < 31 and len(d.description) > 5 for d in ENGINE.definitions)
    assert {d.name for d in ENGINE.definitions if d.bit >= 16} == {"near_bright"}, "the planes hold 16 bits"
    assert {"bad", "saturated", "nonfinite", "nodeblend", "sharp"} <= {d.name for d in ENGINE.definitions}


def test_planes_do_not_collide_and_come_back():
    dq, mask = np.array([0, 1, 2**31, 2**32-1], np.uint32), np.array([0, ENGINE.sharp, 2**15, 2**16-1], np.uint16)
    flags = combine(dq, mask)
    assert flags.dtype == np.int64 and (flags >= 0).all() and len(set(flags)) == 4
    assert np.array_equal(flags & (1 << MASK_SHIFT)-1, dq) and np.array_equal(flags >> MASK_SHIFT, mask)


def test_decoder_prints_names():
    flags = combine(np.uint32(CAMERA.hot | 4), np.uint16(ENGINE.saturated | ENGINE.bad))
    assert decode(flags, CAMERA) == ["hot", "bit2", "bad", "saturated"]
    assert decode(flags) == ["bit0", "bit2", "bad", "saturated"]
    assert decode(0) == []
    assert decode(combine(np.uint32(2**31), np.uint16(0)), CAMERA) == ["far"]


def test_documentation_has_a_line_for_each_bit():
    lines = ENGINE.documentation().splitlines()
    assert len(lines) == len(ENGINE.definitions)
    assert all(d.name in line and d.description in line and str(d.bit) in line for d, line in zip(ENGINE.definitions, lines))
