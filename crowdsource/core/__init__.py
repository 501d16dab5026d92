"""The ground of all rooms: images, flag bits, errors, tiles, and what is computed from pixels alone."""
