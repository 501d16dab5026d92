"""A PSF from the stars of an image."""
