"""Flag bits of DECam: codes and bits of the pipeline's data-quality planes, and what each is called here."""
import logging
import re

import numpy as np

from crowdsource.core.flags import ENGINE, FlagDefinition, FlagTable

log = logging.getLogger(__name__)
CODES = {1: "bad", 2: "novalue", 3: "saturated", 4: "bleed", 5: "cosmic", 6: "lowweight", 7: "difference", 8: "streak"}
"""Codes of the data-quality plane since version 3.5 of the pipeline; here each code is the number of a bit."""
OLD_BITS = {0: 1, 1: 3, 4: 5, 6: 4, 7: 7}
"""Bits of the plane before that version, and the codes that mean the same."""
FIRST_WITH_CODES = 3, 5
"""(major, minor) of the first version of the pipeline that writes codes."""
GRAVEST_FIRST = "saturated", "bleed", "cosmic", "bad", "novalue", "lowweight", "streak", "difference"
"""A pixel has one code: the first of these that applies."""
FLAGS = FlagTable("decam", [
    *(FlagDefinition(code, name, meaning) for (code, name), meaning in zip(CODES.items(), (
        "bad in the detector", "no value", "saturated", "bleed trail", "cosmic ray", "low weight",
        "differs from other exposures", "streak of a satellite or an aircraft"))),
    FlagDefinition(20, "badpix", "in the static mask of bad pixels"),
    FlagDefinition(21, "diffuse", "structured background"),
    FlagDefinition(22, "s7unstable", "in the half of CCD S7 whose amplifier drifts, after its correction"),
    FlagDefinition(23, "brightstar", "near a bright star"),
    FlagDefinition(24, "galaxy", "in the ellipse of a galaxy"),
])
HARMLESS = FLAGS.difference
"""Bits of pixels that may be used: a difference from other exposures, perhaps of a variable star, does not spoil a pixel."""
FROM_ENGINE = {ENGINE.nebulous: FLAGS.diffuse}
"""DECam's bit for one of the engine's."""


def version(text):
    """(major, minor) of the pipeline from PLVER as it comes: V4.8.2, DES 1.2, 5.2.2LS, 5.0beta, with +1; None when absent."""
    found = re.search(r"(\d+)\.(\d+)", str(text or ""))
    return (int(found[1]), int(found[2])) if found else None


def decoded(plane, plver):
    """Bits ``1 << code`` of a data-quality plane that holds codes or, of an older pipeline, bits.

    A value above the highest code means bits whatever the header says. Bits without a meaning count as bad.

    Parameters
    ----------
    plane : ndarray of integers, shape (ny, nx)
    plver : str or None
        PLVER of the header.

    Returns
    -------
    ndarray of uint32, shape (ny, nx)
    """
    plane = np.asarray(plane).astype(np.int64) & 0xFFFFFFFF
    known = version(plver)
    if plane.max(initial=0) <= max(CODES) and (known is None or known >= FIRST_WITH_CODES):
        return np.where(plane > 0, 1 << plane, 0).astype(np.uint32)
    bits, unknown = np.zeros(plane.shape, np.uint32), plane
    for old, code in OLD_BITS.items():
        bits |= np.where(plane >> old & 1, np.uint32(1 << code), np.uint32(0))
        unknown = unknown & ~(1 << old)
    if unknown.any():
        log.warning("%d pixels of the data-quality plane have bits without a meaning: they count as bad",
                    np.count_nonzero(unknown))
        bits[unknown > 0] |= np.uint32(FLAGS.bad)
    return bits


def codes_of(bits):
    """Codes of the data-quality plane from bits ``1 << code``, of which a pixel keeps the gravest; other bits are left out.

    Parameters
    ----------
    bits : ndarray of uint32, shape (ny, nx)

    Returns
    -------
    ndarray of int32, shape (ny, nx)
    """
    numbers = {name: code for code, name in CODES.items()}
    out = np.zeros(bits.shape, np.int32)
    for name in reversed(GRAVEST_FIRST):
        out[bits >> np.uint32(numbers[name]) & 1 > 0] = numbers[name]
    return out
