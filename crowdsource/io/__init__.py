"""Files: FITS, tables, and how outputs are written."""
