"""Catalogs: the columns of one image's catalog and how it is put together."""
