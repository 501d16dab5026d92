"""The tuned constants: they come from one file, as the numbers that they are."""
import pytest

from crowdsource.artifacts import sharp
from crowdsource.config import FitConfig
from crowdsource.core.calibration import calibration, constants_of
from crowdsource.engine import confusion, merge


def test_modules_and_configuration_take_their_values_from_the_file():
    assert calibration.detect.threshold == FitConfig().detect.threshold == 2.8
    assert calibration.cull.prune == FitConfig().cull.prune == 4.5
    assert calibration.confusion.kept_share == confusion.KEPT_SHARE == 0.85
    assert calibration.merge.min_blending == merge.MIN_BLENDING == 2.5
    assert calibration.sharp.least == sharp.LEAST == 12.


def test_numbers_keep_their_kind():
    constants = constants_of('[a.whole]\nvalue = 3\n[a.part]\nvalue = 3.0\n[a.range]\nvalue = [-1.0, 4.0]\n'
                             '[derivation]\ndate = 2026-11-29\n')
    assert type(constants.a.whole) is int and type(constants.a.part) is float
    assert constants.a.range == (-1., 4.)


@pytest.mark.parametrize(("get", "message"), [
    (lambda c: c.group.other, r"\[group\] has no constant other"), (lambda c: c.other, "has no constant other"),
])
def test_a_constant_that_is_not_there_is_named(get, message):
    with pytest.raises(AttributeError, match=message):
        get(constants_of("[group.one]\nvalue = 1\n"))


def test_constants_do_not_change():
    with pytest.raises(AttributeError):
        calibration.detect.threshold = 3.
