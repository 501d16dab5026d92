"""PSFs in files: the project's own format, and other programs'."""
