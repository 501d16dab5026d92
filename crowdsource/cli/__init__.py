"""The command line; the only room that prints.

The linear algebra library gets small matrices only, for which its threads would wait for each other on all processors. It reads
how many it may use when numpy is loaded, so this is said here, before anything else of the command is imported. So is what
kernels are wanted in vain: they are chosen when they are imported, as all of the command will be.
"""
import os
import sys

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
for _name in ONE_THREAD:
    os.environ.setdefault(_name, "1")
try:
    from ..cython_ext import kinds as _  # noqa: F401
except ImportError as _problem:
    # one with a name is of a module that is not there
    if _problem.name is not None:
        raise
    print(f"crowdsource: error: {_problem}", file=sys.stderr)
    sys.exit(2)
