"""Kinds of loops of simd.h: for any processor, for AVX2, for AVX-512. All give the same bits.

The widest that the processor has runs, or the one that the environment variable CROWDSOURCE_KERNELS names when this is imported.
No mutable state.
"""
from libc.stdlib cimport getenv

cdef extern from "simd.h" nogil:
    int cs_can(int kind)

VARIABLE = "CROWDSOURCE_KERNELS"
"""The environment variable that names a kind."""
NAMES = "plain", "avx2", "avx512"
AVAILABLE = tuple(name for k, name in enumerate(NAMES) if cs_can(k))
"""Those that the processor has, the widest last."""


def chosen_kind(name):
    """The kind of a name, or the widest where it is empty.

    Raises
    ------
    ImportError
        When there is no such kind, or the processor does not have it.
    """
    if name and name not in NAMES:
        raise ImportError(f"{VARIABLE} is {name!r}: it must be one of {', '.join(NAMES)}, or not set")
    if name and name not in AVAILABLE:
        raise ImportError(f"{VARIABLE} is {name!r}, for which this processor lacks the instructions: it has {', '.join(AVAILABLE)}")
    return name or AVAILABLE[len(AVAILABLE)-1]


cdef const char *wanted = getenv("CROWDSOURCE_KERNELS")
KIND = chosen_kind("" if wanted == NULL else wanted.decode("utf-8", "replace"))
"""The kind that runs."""
number = NAMES.index(KIND)
