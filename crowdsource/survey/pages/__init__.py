"""Pages of releases and of objects."""
