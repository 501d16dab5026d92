"""Many exposures: a manifest of what is to be fitted, a run of it anywhere, and what became of each task."""
