"""Many images at once: one list of stars, fitted to all of them."""
