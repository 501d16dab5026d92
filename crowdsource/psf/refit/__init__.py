"""Refit of a PSF to stars: first the profile, then a pixel core on its residual."""
