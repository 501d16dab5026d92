"""PSFs in files: the project's own format, and those of other programs."""
