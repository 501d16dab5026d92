"""What lies on an image and is no sky and no star: cosmic rays, hot and dead pixels, saturated cores that nobody has flagged."""
