"""Two catalogs: matched with each other, and one calibrated by the other."""
