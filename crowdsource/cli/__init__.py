"""The command line; the only room that prints.

The linear algebra library gets small matrices only, for which its threads would wait for each other on all processors. It reads
how many it may use when numpy is loaded, so this is said here, before anything else of the command is imported.
"""
import os

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
for _name in ONE_THREAD:
    os.environ.setdefault(_name, "1")
