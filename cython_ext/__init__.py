"""Kernels in Cython: arrays in, arrays out; they import numpy only."""
