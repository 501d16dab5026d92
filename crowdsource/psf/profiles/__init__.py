"""Profiles that a PSF is made of."""
