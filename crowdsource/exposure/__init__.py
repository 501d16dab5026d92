"""Exposures: the contract of instruments, runs over detectors, and what they read and write."""
