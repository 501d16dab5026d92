"""Releases for others: HATS, Parquet, parts of the sky, maps of what is covered."""
