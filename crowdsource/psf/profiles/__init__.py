"""Profiles: the shape of a PSF over its whole extent, analytic or tabulated, as it varies over an image."""
